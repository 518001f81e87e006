"""One batch → one step: everything that it makes durable, in one transaction (I1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from agent.mapping.mapper import Rejected
from agent.model import (
    Append,
    Batch,
    Counters,
    ExchangeMessage,
    LedgerColumns,
    LedgerRow,
    Placing,
    Position,
    Quarantined,
    WalkKind,
)
from agent.ports import Clock
from agent.queries import Closed
from agent.services.capture_messages import Packed, Writer, breaks_of, pack
from agent.services.capture_plan import CapturePlan
from agent.services.capture_quarantine import Isolation
from agent.services.capture_records import Known, RecordMaker, Records

_REMEMBERED: Final = 10_000


class OpenItems:
    """Quarantined items that are still open, as far as remembered: a bounded number, the newest.

    Reading a bad row again is then no news, and a good version of its key closes the item.
    """

    def __init__(self, items: Iterable[Quarantined] = ()) -> None:
        self._keys: OrderedDict[str, str | None] = OrderedDict()
        self._by_key: dict[str, set[str]] = {}
        self.add(items)

    def add(self, items: Iterable[Quarantined]) -> None:
        """Remember items."""
        for item in items:
            self._keys[item.item_id] = item.key
            self._keys.move_to_end(item.item_id)
            if item.key is not None:
                self._by_key.setdefault(item.key, set()).add(item.item_id)
            if len(self._keys) > _REMEMBERED:
                self.discard([next(iter(self._keys))])

    def discard(self, item_ids: Iterable[str]) -> None:
        """Forget items."""
        for item_id in item_ids:
            key = self._keys.pop(item_id, None)
            if key is not None:
                self._by_key[key].discard(item_id)
                if not self._by_key[key]:
                    del self._by_key[key]

    def __contains__(self, item_id: str) -> bool:
        """Tell whether an item is remembered."""
        return item_id in self._keys

    def of(self, keys: Iterable[str]) -> list[str]:
        """Return the items of these keys."""
        return [item_id for key in keys for item_id in self._by_key.get(key, ())] if self._by_key else []


@dataclass(frozen=True, slots=True)
class Context:
    """What a step goes on from: the flow as it will be when everything before this step is durable."""

    epoch: str
    incarnation: str
    counters: Counters
    position: Position
    loaded: bool


@dataclass(frozen=True, slots=True)
class Step:
    """A step and what to say about it. `emitted` and `unchanged` are keys."""

    append: Append
    emitted: Sequence[str]
    put_aside: Sequence[Quarantined]  # also what was known before
    warnings: Sequence[Rejected]
    unchanged: Sequence[str] = ()
    late: int = 0  # records that capture had its chance to see, and nothing but a walk found

    @property
    def is_empty(self) -> bool:
        """Tell whether this step makes nothing durable but a position."""
        step = self.append
        return not (step.messages or step.quarantined or step.memory or step.closes or step.loaded or step.placed)


class StepMaker:
    """Makes the steps of one flow. Belongs to the capture thread."""

    def __init__(self, plan: CapturePlan, maker: RecordMaker, clock: Clock) -> None:
        self._flow = plan.flow
        self._limits = plan.limits
        self._whole = plan.whole_transactions
        self._maker = maker
        self._clock = clock

    def make(self, batch: Batch, context: Context, writer: Writer, known: Known | None, items: OpenItems) -> Step:
        """Return the step of a batch. Raises SourceRefused."""
        before = context.counters
        made = self._maker.make(
            batch, epoch=context.epoch, incarnation=context.incarnation, first_ordinal=before.next_ordinal, known=known
        )
        messages, ledger, too_large = self._pack(made, writer, before.next_sequence, batch.ends if self._whole else ())
        put_aside = self._put_aside(Isolation(self._flow, context.incarnation), batch, [*made.rejected, *too_large])
        emitted = made.keys if not too_large else [row.key for row in ledger]
        append = Append(
            flow=self._flow,
            epoch=context.epoch,
            incarnation=context.incarnation,
            before=before,
            after=Counters(before.next_sequence + len(messages), made.first_ordinal + len(made.encoded)),
            position=batch.position,
            messages=messages,
            ledger=ledger,
            quarantined=[item for item in put_aside if item.item_id not in items],
            memory=batch.memory,
            captured=len(batch.rows) + len(batch.unreadable),
            unchanged=len(made.unchanged),
            loaded=batch.loading is None and not context.loaded,
            closes=dict.fromkeys(items.of([*emitted, *made.unchanged]), Closed.SUPERSEDED.value),
            placed=_placed(batch, made),
        )
        return Step(append, emitted, put_aside, made.warnings, made.unchanged, _late(batch, made))

    def _pack(
        self, made: Records, writer: Writer, sequence: int, ends: Sequence[int]
    ) -> tuple[Sequence[ExchangeMessage], Sequence[LedgerRow], Sequence[Rejected]]:
        """Return messages, the ledger rows of the records in them, and the records that no message can carry."""
        messages: list[ExchangeMessage] = []
        sequences: list[int] = []  # of the message that carries a record; 0 for one that none can carry
        too_large: list[Rejected] = []
        for packed in pack(writer, made.encoded, sequence, self._limits, breaks_of(made.rows, ends)):
            if isinstance(packed, Packed):
                messages.append(packed.message)
                sequences += [packed.message.sequence] * (packed.last - packed.first)
            else:
                sequences.append(0)
                too_large.append(Rejected(made.rows[packed.index], made.keys[packed.index], packed.error))
        ledger = LedgerColumns(made.keys, made.hashes, made.first_ordinal, sequences, made.deleted)
        return messages, [row for row in ledger if row.sequence] if too_large else ledger, too_large

    def _put_aside(self, isolation: Isolation, batch: Batch, rejected: Sequence[Rejected]) -> Sequence[Quarantined]:
        if not rejected and not batch.unreadable:
            return ()
        now = self._clock.now()
        unread = [isolation.unreadable(batch, item, now) for item in batch.unreadable]
        return unread + [isolation.rejected(batch, r.row, r.key, r.error, now) for r in rejected]


def _placed(batch: Batch, made: Records) -> Placing | None:
    """Return the keys of a chunk that was read whole. A row that cannot be translated is there too."""
    if batch.walked is None or batch.walked.chunk is None:
        return None
    rejected = [each.key for each in made.rejected if each.key is not None]
    return Placing(batch.walked.chunk, [*made.keys, *made.unchanged, *rejected])


def _late(batch: Batch, made: Records) -> int:
    """Count the records that are in a batch only because something was missed before."""
    if batch.walked is None or batch.walked.kind is not WalkKind.COMPARE:
        return 0
    settled = batch.walked.settled
    return len(made.rows) if settled is None else sum(settled[row] for row in made.rows)
