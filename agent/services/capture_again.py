"""What the hub refused for ever, sent again when an operator asks: as a new message with a new sequence and the same record ids.

Only what still is the latest version of its key is sent. The source is asked first, where it can be: a later version is
captured as any other, and what was refused is superseded by it. So is what is gone from the source, and what the source now
holds in a form that cannot be translated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.model import Append, Counters, LedgerRow
from agent.queries import Closed
from agent.services.capture_messages import BatchLimits, Packed, Writer, pack
from agent.services.capture_step import Context, Step


@dataclass(frozen=True, slots=True)
class Former:
    """A record as it stood in the refused message. `key` is canonical key text.

    `ordinal` is that of the key in the ledger when it was looked up; another one means that a later version was captured.
    """

    key: str
    ordinal: int
    encoded: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter to try again: a refused record, or a refused message with its records. `subject` is its id."""

    subject: str
    formers: Sequence[Former]


def keys_of(letters: Sequence[Letter]) -> list[str]:
    """Return the keys, each once."""
    return list(dict.fromkeys(former.key for letter in letters for former in letter.formers))


def still_latest(letters: Sequence[Letter], rows: Mapping[str, LedgerRow], reread: Step | None) -> list[Former]:
    """Return the records that are worth sending, in their order, each key once.

    `rows` are the ledger's, after the source was read again; `reread` is what that gave, None when the source cannot be asked.
    """
    chosen: dict[str, Former] = {}
    for letter in letters:
        for former in letter.formers:
            row = rows.get(former.key)
            unchanged = reread is None or former.key in reread.unchanged
            if row is not None and row.ordinal == former.ordinal and unchanged:
                chosen.setdefault(former.key, former)
    return list(chosen.values())


def judge(letters: Sequence[Letter], sent: Iterable[str], wanted: Sequence[Former]) -> Mapping[str, Closed | None]:
    """Return how each letter is closed; None for one with a record that no message can carry. `sent` are keys."""
    carried, chosen = set(sent), {former.key for former in wanted}

    def close(letter: Letter) -> Closed | None:
        latest = {former.key for former in letter.formers} & chosen
        if not latest <= carried:
            return None
        return Closed.RETRIED if latest else Closed.SUPERSEDED

    return {letter.subject: close(letter) for letter in letters}


def repeat(
    flow: str, context: Context, writer: Writer, limits: BatchLimits, formers: Sequence[Former], rows: Mapping[str, LedgerRow]
) -> Step:
    """Return the step that sends records again; their ledger rows move to the messages that carry them now."""
    before = context.counters
    packed = [
        made
        for made in pack(writer, [former.encoded for former in formers], before.next_sequence, limits)
        if isinstance(made, Packed)
    ]
    carried = [(former.key, each.message.sequence) for each in packed for former in formers[each.first : each.last]]
    append = Append(
        flow=flow,
        epoch=context.epoch,
        incarnation=context.incarnation,
        before=before,
        after=Counters(before.next_sequence + len(packed), before.next_ordinal),
        position=context.position,
        messages=[each.message for each in packed],
        ledger=[replace(rows[key], sequence=sequence) for key, sequence in carried],
    )
    return Step(append, emitted=[key for key, _ in carried], put_aside=(), warnings=())
