"""Tells a source that keeps states of its rows what became of those it handed over.

Nothing durable is needed for that: the source is asked, a page at a time, which rows wait for an answer, and the store what
became of them. An answer belongs to the content of a row and not to its key alone: it counts only while the row, translated
again, is what the ledger holds, or what was quarantined. So no row is ever called stored because an earlier version of it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from agent.errors import SettingsError
from agent.i18n import N_
from agent.mapping.compile import compile_map
from agent.mapping.mapper import Mapped, Mapper
from agent.model import Batch, FlowState, Op, RefusedRecord, State, Unreadable
from agent.model.handshake import Answer, Fate, Whereabouts
from agent.ports import Clock, Handshake, KeyLedger, Source
from agent.queries import Item
from agent.services.capture_plan import CapturePlan, Quarantine
from agent.services.capture_quarantine import Isolation, row_json
from agent.services.capture_records import HASH_BYTES
from agent.wire.identity import RecordIds

_ROWS: Final = 500
_PAGES: Final = 4
"""Pages of rows looked at in one go, so that capture is not kept waiting."""

_SOON_SECS: Final = 1.0
_LATE_SECS: Final = 5.0
"""Time to the next look: while rows wait for an answer, and when none did."""

_REST: Final = 20
"""After a look, none for so many times as long as it took: where the status has no index, only the answers wait."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it is now. `key` and `digest` (SHA-256 of its data) are None when it cannot be translated.

    `item_id` is the name under which this very content would be in quarantine.
    """

    key: str | None
    digest: bytes | None
    item_id: str


class Writeback:
    """Belongs to the capture thread. `ask` makes a call in the thread of the source."""

    def __init__(
        self,
        plan: CapturePlan,
        source: Source,
        ledger: KeyLedger,
        quarantine: Quarantine,
        *,
        ask: Callable[..., Future[Any]],
        clock: Clock,
    ) -> None:
        self._plan, self._source, self._ledger, self._quarantine = plan, source, ledger, quarantine
        self._ask = ask
        self._clock = clock
        self._state: FlowState | None = None
        self._incarnation = ""
        self._mapper: Mapper | None = None
        self._next_at = float("-inf")

    def opened(self, state: FlowState, incarnation: str) -> None:
        """Note the flow as it was opened."""
        self._state, self._incarnation = state, incarnation
        self._mapper = None
        self._next_at = float("-inf")

    def advance(self) -> None:
        """Answer some of what waits, when it is time for it. Raises SourceUnavailable, SourceRefused, StoreError."""
        now = self._clock.monotonic()
        if now < self._next_at or not isinstance(self._source, Handshake):
            return
        pause_secs = _SOON_SECS if self._look(self._source) else _LATE_SECS
        done_at = self._clock.monotonic()
        self._next_at = now + max(pause_secs, (done_at - now) * _REST)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _look(self, source: Handshake) -> bool:
        """Answer some pages; returns whether there was anything."""
        found = False
        for _ in range(_PAGES):
            batch = self._ask(source.awaiting, _ROWS).result()
            if batch is None:
                break
            if batch.rows:
                found = True
                self._ask(source.answer, self._answers(batch)).result()
            if not batch.more:
                break
        return found

    def _answers(self, batch: Batch) -> Sequence[Answer | None]:
        assert self._state is not None, "opened before"
        mapped = self._mapped(batch)
        if mapped is None:
            return [None] * len(batch.rows)
        rows = rows_of(batch, mapped, Isolation(self._plan.flow, self._incarnation), self._clock)
        found = self._ledger.whereabouts(self._plan.flow, [row.key for row in rows if row.key is not None])
        ids = RecordIds(self._plan.sender, self._plan.flow, self._incarnation, batch.entity)
        restored = bool(self._state.previous_epoch)
        answers = []
        for row in rows:
            known = found.get(row.key) if row.key is not None else None
            epochs = {known.epoch, self._state.epoch, self._state.previous_epoch} if known is not None else set()
            answers.append(judge(row, known, ids, epochs, self._quarantine.item, restored=restored))
        return answers

    def _mapped(self, batch: Batch) -> Mapped | None:
        """Translate the rows; None when the columns do not fit the map, which capture itself says."""
        try:
            if self._mapper is None or self._mapper.columns != batch.columns:
                self._mapper = compile_map(self._plan.spec, batch.columns)
        except SettingsError:
            return None
        return self._mapper.apply(batch.rows)


def rows_of(batch: Batch, mapped: Mapped, isolation: Isolation, clock: Clock) -> Sequence[Row]:
    """Return what identifies each row of a batch and its content."""
    keys: dict[int, str | None] = {rejected.row: rejected.key for rejected in mapped.rejected}
    keys |= dict(zip(mapped.index, mapped.keys, strict=True))
    digests = {row: hashlib.sha256(data).digest() for row, data in zip(mapped.index, mapped.data, strict=True)}

    def item_id(row: tuple[Any, ...]) -> str:
        # Ids of quarantined rows without a place of their own are derived from their content alone, whatever is wrong with it.
        return isolation.unreadable(batch, Unreadable("", row_json(batch.columns, row), "", ""), clock.now()).item_id

    return [Row(keys.get(index), digests.get(index), item_id(row)) for index, row in enumerate(batch.rows)]


def judge(
    row: Row,
    known: Whereabouts | None,
    ids: RecordIds,
    epochs: Collection[str],
    item: Callable[[str], Item | None],
    *,
    restored: bool,
) -> Answer | None:
    """Return what became of a row that was handed over; None while that is open, or when nobody knows.

    `known` is what the store says of its key, `epochs` are those in which the record may have got its id. `restored` tells
    that the store was put back from a copy, so that it may have forgotten what it took.
    """
    if known is not None and row.key is not None and row.digest is not None and known.hash == row.digest[:HASH_BYTES]:
        data, place = row.digest.hex(), known.ordinal
        return of_message(known, {ids.of(row.key, f"{epoch}:{place}", Op.UPSERT, data) for epoch in epochs})
    if (quarantined := item(row.item_id)) is not None:
        return Answer(Fate.FAILED, quarantined.input.text, quarantined.input.details, quarantined.input.field)
    if restored:
        return Answer(Fate.AGAIN)
    if known is None or known.state is State.PARTLY_STORED:
        return None
    return of_message(known, ())  # changed, but not handed over again: what is said is about what was


def of_message(known: Whereabouts, records: Collection[str]) -> Answer | None:
    """Return what became of a record with one of these ids, from the message that carried it."""
    match known.state:
        case State.PENDING | State.CONFIRMED:
            return None
        case State.DEAD if known.code:
            said = f"{known.text} ({known.code})" if known.text else known.code
            return Answer(Fate.FAILED, N_("the hub refused the message: {said}"), {"said": said})
        case State.DEAD:
            return Answer(Fate.FAILED, N_("an operator of the agent gave the message up"))
        case _:
            refused = next((each for each in known.refused if each.record in records), None)
            return Answer(Fate.STORED) if refused is None else _refusal(refused)


def _refusal(refused: RefusedRecord) -> Answer:
    said = f"{refused.message} ({refused.code})"
    return Answer(Fate.FAILED, N_("the hub refused the record: {said}"), {"said": said}, refused.field)
