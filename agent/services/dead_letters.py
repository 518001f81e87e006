"""Dead letters tried again: which kind each is, what of it still is the latest version, and what came of it.

Three things wait for a person: input that could not be read or translated here, records the hub refused one by one, and
messages it refused whole. Input goes through the source and the map again. Of what the hub refused, only records that still
are the last version of their key travel again, with their record ids, in a new message: the old sequence is closed for ever.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from agent.errors import Conflict, HuitongError
from agent.i18n import N_
from agent.model import Gap, LedgerRow, OutboxEntry, State, WalkOrder
from agent.queries import Closed, Item, Refusal, Trace
from agent.services.capture_again import Former, Letter
from agent.services.capture_records import DELETED_HASH, HASH_BYTES
from agent.services.restore import encoded
from agent.wire.limits import Limits
from agent.wire.reader import WireRecord, open_body

UNKNOWN: Final = N_("there is no dead letter with this id")
CLOSED: Final = N_("it was dealt with before")
WAITING: Final = N_("it is no dead letter: it waits for its receipt")
STORED: Final = N_("it is no dead letter: the hub has stored it")
REMOVED: Final = N_("its flow is not configured any more")
PURGED: Final = N_("its body was dropped by age; correct the record at the source instead")
STILL_WRONG: Final = N_("it is still not right; correct it at the source or in the map")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an act on one dead letter. `how` is retried, superseded, discarded or failed; the rest says why it failed."""

    how: str
    text: str = ""
    hint: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Tell whether the letter is closed now."""
        return self.how != "failed"


def failed(why: str | HuitongError) -> Outcome:
    """Return the outcome of a letter that stays open; `why` is a catalogue key or what was raised."""
    if isinstance(why, str):
        return Outcome("failed", why)
    return Outcome("failed", why.text, why.hint, {name: str(value) for name, value in why.details.items()})


def discarded() -> Outcome:
    """Return the outcome of a letter that was given up."""
    return Outcome(Closed.DISCARDED.value)


class Files(Protocol):
    """Where things are looked up; `StoreReader` is one."""

    def trace(self, message_id: str) -> Trace | None:
        """Return everything known of one message; None when it is unknown."""
        ...

    def gaps(self, flow_name: str = "", *, closed: bool = False) -> Sequence[Gap]:
        """Return the open gaps of a flow, or of all; with `closed` those that were closed too."""
        ...

    def item(self, item_id: str) -> Item | None:
        """Return one quarantined input; None when it is unknown."""
        ...

    def refused(self, record: str) -> Sequence[Refusal]:
        """Return the refusals of one record."""
        ...

    def entry(self, message_id: str) -> OutboxEntry | None:
        """Return a message with its body; None when it is unknown or purged."""
        ...

    def carried(self, message_id: str) -> Sequence[LedgerRow]:
        """Return the ledger rows whose last version a message carried."""
        ...


class Capturing(Protocol):
    """A flow's capture, as far as an operator can reach it."""

    def tick(self) -> None:
        """Look at the source now."""
        ...

    def retry(self, item_ids: Sequence[str]) -> Future[Mapping[str, Closed | None]]:
        """Translate quarantined input again; per item how it was closed, None when it is still not right."""
        ...

    def again(self, letters: Sequence[Letter]) -> Future[Mapping[str, Closed | None]]:
        """Send refused records again; per letter how it was closed, None when no message can carry it."""
        ...

    def walk(self, order: WalkOrder) -> Future[None]:
        """Begin a comparison or a backfill."""
        ...

    def count(self, order: WalkOrder) -> Future[int]:
        """Count the rows that a walk would read."""
        ...


class DeadLetters:
    """Looks dead letters up and has their flows try them again. Callable from any thread."""

    def __init__(self, files: Files, captures: Mapping[str, Capturing]) -> None:
        self._files, self._captures = files, captures

    def retry(self, subjects: Sequence[str]) -> Mapping[str, Outcome]:
        """Try each again; what cannot be tried says why. Waits for the flows."""
        outcomes: dict[str, Outcome] = {}
        items: dict[str, list[str]] = defaultdict(list)
        letters: dict[str, list[Letter]] = defaultdict(list)
        for subject in dict.fromkeys(subjects):
            found = self._found(subject)
            if not isinstance(found, _Found):
                outcomes[subject] = failed(found)
            elif found.flow not in self._captures:
                outcomes[subject] = failed(REMOVED)
            elif found.letter is None:
                items[found.flow].append(subject)
            else:
                letters[found.flow].append(found.letter)
        waiting = [(ids, self._captures[flow].retry(ids)) for flow, ids in items.items()]
        waiting += [([one.subject for one in some], self._captures[flow].again(some)) for flow, some in letters.items()]
        for ids, future in waiting:
            outcomes.update(_told(ids, future))
        return outcomes

    def closable(self, subject: str) -> str | None:
        """Return None when this is an open dead letter, otherwise why it cannot be closed."""
        found = self._look_up(subject, with_body=False)
        return found if isinstance(found, str) else None

    # -- inside ------------------------------------------------------------------------------------------------------

    def _found(self, subject: str) -> _Found | str | HuitongError:
        try:
            return self._look_up(subject)
        except HuitongError as error:  # one damaged body is no reason to leave the others
            return error

    def _look_up(self, subject: str, *, with_body: bool = True) -> _Found | str:
        item = self._files.item(subject)
        if item is not None:
            return CLOSED if item.closed_as is not None else _Found(item.input.flow)
        refusals = self._files.refused(subject)
        if refusals:
            last = next((one for one in reversed(refusals) if one.closed_as is None), None)
            return CLOSED if last is None else self._letter(subject, last.flow, last.message_id, subject, with_body=with_body)
        trace = self._files.trace(subject)
        if trace is None:
            return UNKNOWN
        message = trace.message
        if message.state is not State.DEAD:
            return WAITING if message.state in (State.PENDING, State.CONFIRMED) else STORED
        return CLOSED if message.closed_as else self._letter(subject, message.flow, subject, "", with_body=with_body)

    def _letter(self, subject: str, flow: str, message_id: str, record: str, *, with_body: bool) -> _Found | str:
        if not with_body:
            return _Found(flow)
        entry = self._files.entry(message_id)
        if entry is None:
            return PURGED
        envelope = open_body(entry.message.body, entry.message.encoding, Limits())
        carried = _Carried(self._files.carried(message_id))
        formers = [former for one in reversed(envelope.records) if (former := carried.take(one)) and record in ("", one.id)]
        carried.require_all_deletes()
        return _Found(flow, Letter(subject, formers[::-1]))


class _Carried:
    """The keys whose last version a message carries, matched with its records from the last one backwards.

    A key is not in the message as the ledger has it, but its data is: the ledger's hash is over the same octets. Records of
    the same data are told apart by their order, which is that of the ordinals.
    """

    def __init__(self, rows: Sequence[LedgerRow]) -> None:
        self._by_hash: dict[bytes, list[LedgerRow]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: row.ordinal):
            self._by_hash[row.hash].append(row)

    def take(self, record: WireRecord) -> Former | None:
        """Return what there is to send of a record; None when it is not the last version of its key."""
        if record.data is None:
            rows = self._by_hash[DELETED_HASH]
            row = next((row for row in reversed(rows) if _texts_of_key(row.key) == _texts_of(record)), None)
        else:
            rows = self._by_hash[hashlib.sha256(record.data).digest()[:HASH_BYTES]]
            row = rows[-1] if rows else None
        if row is None:
            return None
        rows.remove(row)
        return Former(row.key, row.ordinal, encoded(record))

    def require_all_deletes(self) -> None:
        """Raise Conflict when a delete found no partner, because its key was converted on the way: better than losing it."""
        if self._by_hash[DELETED_HASH]:
            raise Conflict(N_("a delete cannot be told from the others in its message; compare this flow with the hub"))


def _texts_of_key(key: str) -> list[str]:
    return sorted(text for _letter, text in msgspec.json.decode(key))


def _texts_of(record: WireRecord) -> list[str]:
    members: dict[str, msgspec.Raw] = msgspec.json.decode(record.key, type=dict[str, msgspec.Raw])
    return sorted(msgspec.json.decode(raw) if bytes(raw).startswith(b'"') else bytes(raw).decode() for raw in members.values())


@dataclass(frozen=True, slots=True)
class _Found:
    flow: str
    letter: Letter | None = None


def _told(ids: Sequence[str], future: Future[Mapping[str, Closed | None]]) -> dict[str, Outcome]:
    try:
        closed = future.result()
    except HuitongError as error:
        return dict.fromkeys(ids, failed(error))
    return {subject: Outcome(how.value) if (how := closed.get(subject)) else failed(STILL_WRONG) for subject in ids}
