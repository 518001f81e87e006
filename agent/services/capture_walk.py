"""Walks through a source, as far as they are the host's business.

A walk reads rows by key while changes flow on; what differs from the key ledger is captured like any change. A comparison also
finds what vanished: each chunk that was read whole tells which keys it holds, and keys of the ledger that no chunk holds when
the walk is through are candidates. They are asked for at the source once more, then everything that is under way in the source
is captured, and what the ledger still knows is deleted. When more would go than is bearable, nothing goes: that is a gap with a
number, and an operator decides.

What is known of a walk is kept in the memory of the flow, so that a comparison goes on after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import msgspec

from agent.events import Events, WalkCompleted
from agent.i18n import N_
from agent.mapping import keys as canonical
from agent.model import Append, Batch, Counters, FlowState, Op, Position, WalkKind, WalkOrder
from agent.ports import CaptureLog, Clock, KeyLedger
from agent.queries import AUDIT, Audit

WALK: Final = "host:walk"
"""The fact in the memory of a flow that tells of the walk that is on."""

HELD: Final = "deletes_held"
"""The kind of gap that waits for somebody to say whether so much may be deleted."""

_PAGE: Final = 500
_FEW: Final = 20
"""So many deletes are never too many, unless they are all there is."""


class WalkFact(msgspec.Struct, frozen=True, omit_defaults=True):
    """A walk that is on. `before`: ledger rows from this ordinal on are younger than the walk. `late`: found by it alone."""

    kind: WalkKind
    before: int
    epoch: str
    began_at: str
    covered: int = 0
    late: int = 0
    deleted: int = 0
    certain: bool = False
    sweeping: bool = False
    routine: bool = False


@dataclass(slots=True)
class _Sweep:
    """What is in hand while vanished rows are looked for."""

    after: str = ""
    absent: Sequence[str] = ()
    asked: bool = False  # whether so much may be deleted
    held: bool = False  # it may not
    columns: tuple[str, ...] = field(default_factory=tuple)
    entity: str = ""


class Walks:
    """The walks of one flow. Belongs to the capture thread.

    `key` are the columns of the flow's key, `most_percent` is how much of all rows may vanish without anybody being asked.
    """

    def __init__(
        self,
        flow: str,
        key: Sequence[str],
        most_percent: int,
        *,
        ledger: KeyLedger,
        log: CaptureLog,
        clock: Clock,
        events: Events,
    ) -> None:
        self._flow = flow
        self._key = tuple(key)
        self._most_percent = most_percent
        self._ledger = ledger
        self._log = log
        self._clock = clock
        self._events = events
        self._fact: WalkFact | None = None
        self._audit: Audit | None = None
        self._sweep = _Sweep()

    def opened(self, state: FlowState) -> None:
        """Take up what the store knows. A comparison never goes on across epochs: it begins anew."""
        self._sweep = _Sweep()
        self._fact = _read(state.memory.get(WALK, ""), WalkFact, state.epoch)
        self._audit = _read(state.memory.get(AUDIT, ""), Audit, state.epoch)

    @property
    def under_way(self) -> bool:
        """Whether a walk is on."""
        return self._fact is not None

    @property
    def sweeping(self) -> bool:
        """Whether vanished rows are being looked for."""
        return self._fact is not None and self._fact.sweeping

    def order(self, order: WalkOrder) -> WalkOrder:
        """Return an order completed with what the ledger knows."""
        if order.kind is not WalkKind.COMPARE or self._audit is None:
            return order
        return replace(order, changed=self._ledger.touched(self._flow, self._audit.before))

    def begun(self, order: WalkOrder, epoch: str, counters: Counters) -> Mapping[str, str]:
        """Note that a walk begins; returns the facts to store."""
        fact = self._new(order.kind, epoch, counters, certain=order.certain)
        self._fact = msgspec.structs.replace(fact, routine=order.routine)
        self._sweep = _Sweep()
        return {WALK: _write(self._fact)}

    def note(self, batch: Batch, step: Append, late: int) -> Mapping[str, str]:
        """Note a part of a walk that becomes durable with a step; returns the facts to store, if any are worth it now.

        `late` are the records of it that nothing but the walk found.
        """
        walked = batch.walked
        if walked is None or walked.kind is WalkKind.LOAD:
            return {}
        fact = self._fact
        if fact is None or fact.kind is not walked.kind or fact.sweeping:
            fact = self._new(walked.kind, step.epoch, step.before, certain=walked.certain)
        fact = msgspec.structs.replace(fact, covered=fact.covered + walked.covered, late=fact.late + late)
        self._fact = fact
        if walked.ended and walked.kind is WalkKind.COMPARE:
            self._fact = msgspec.structs.replace(fact, sweeping=True)
            self._sweep = _Sweep(columns=batch.columns, entity=batch.entity)
        elif walked.ended:
            return self._end(held=0)
        elif walked.chunk is None and not late:
            return {}
        return {WALK: _write(self._fact)}

    # -- what vanished -----------------------------------------------------------------------------------------------

    def to_ask(self) -> Sequence[str]:
        """Return keys that may have vanished, to be asked for at the source; none when the walk is through."""
        assert self._fact is not None
        self._sweep.absent = ()
        if not self._sweep.asked:
            self._sweep.asked = True
            if self._is_too_much(self._fact):
                return ()
        keys = self._ledger.unplaced(self._flow, self._fact.before, self._sweep.after, _PAGE)
        if keys:
            self._sweep.after = keys[-1]
        return keys

    def absent(self, keys: Sequence[str], found: Batch, found_keys: Sequence[str]) -> bool:
        """Note which of the keys the source does not have any more; tells whether there are any."""
        there = set(found_keys)
        self._sweep.absent = [key for key in keys if key not in there]
        self._sweep.columns, self._sweep.entity = found.columns, found.entity
        return bool(self._sweep.absent)

    @property
    def waiting(self) -> Sequence[str]:
        """Keys that are gone from the source; what is under way there is captured before they count as missed."""
        return self._sweep.absent

    def deletes(self) -> Batch:
        """Return the batch that deletes what is gone. The ledger leaves out what was deleted in the meantime."""
        width = len(self._key)
        places = [self._sweep.columns.index(name) for name in self._key]
        rows = []
        for key in self._sweep.absent:
            row: list[bool | int | float | str | bytes | None] = [None] * len(self._sweep.columns)
            for place, value in zip(places, canonical.values(key, width), strict=True):
                row[place] = value
            rows.append(tuple(row))
        self._sweep.absent = ()
        return Batch(self._sweep.entity, self._sweep.columns, rows, Position(""), ops=[Op.DELETE] * len(rows))

    def deleted(self, records: int) -> None:
        """Count deletes that became durable."""
        assert self._fact is not None
        self._fact = msgspec.structs.replace(self._fact, deleted=self._fact.deleted + records)

    def ended(self) -> Mapping[str, str]:
        """Note that nothing more is to be asked for; returns the facts to store."""
        assert self._fact is not None
        return self._end(held=self._ledger.count_unplaced(self._flow, self._fact.before) if self._sweep.held else 0)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _new(self, kind: WalkKind, epoch: str, counters: Counters, *, certain: bool) -> WalkFact:
        return WalkFact(kind, counters.next_ordinal, epoch, self._clock.now().isoformat(), certain=certain)

    def _is_too_much(self, fact: WalkFact) -> bool:
        """Tell whether so much vanished that somebody has to be asked, and ask."""
        gone = self._ledger.count_unplaced(self._flow, fact.before)
        alive = self._ledger.alive(self._flow)
        all_of_it = gone == alive and gone > 1
        share = gone * 100 / alive if alive else 0.0
        self._sweep.held = not fact.certain and (all_of_it or (gone > _FEW and share > self._most_percent))
        if self._sweep.held:
            details = {"gone": gone, "of": alive, "percent": f"{share:.1f}", "most_percent": self._most_percent}
            self._log.open_gap(self._flow, HELD, N_("{gone} of {of} rows are gone from the source: nothing was deleted"), details)
        return self._sweep.held

    def _end(self, *, held: int) -> Mapping[str, str]:
        fact = self._fact
        assert fact is not None
        self._fact, self._sweep = None, _Sweep()
        if not fact.routine or fact.late or fact.deleted or held:
            self._events.emit(WalkCompleted(self._flow, fact.kind.value, fact.covered, fact.late, fact.deleted, held))
        if fact.kind is not WalkKind.COMPARE:
            return {WALK: ""}
        now = self._clock.now().isoformat()
        self._audit = Audit(now, fact.covered, fact.late, fact.deleted, fact.before, fact.epoch, held)
        return {WALK: "", AUDIT: _write(self._audit)}


F = TypeVar("F", WalkFact, Audit)


def _read(text: str, kind: type[F], epoch: str) -> F | None:
    if not text:
        return None
    found = msgspec.json.decode(text, type=kind)
    return found if found.epoch == epoch else None


def _write(fact: WalkFact | Audit) -> str:
    return msgspec.json.encode(fact).decode()
