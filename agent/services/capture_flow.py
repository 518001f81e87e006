"""An opened flow: batches become steps, steps become durable, and then it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from agent.events import (
    Event,
    Events,
    FirstLoadAdvanced,
    FirstLoadCompleted,
    FlowCaptured,
    RecordQuarantined,
    ValuesDoubted,
)
from agent.failpoints import failpoint
from agent.model import Append, Batch, ExchangeMessage, FlowState, LedgerRow, Position, Progress, WalkOrder
from agent.ports import CaptureLog, Clock
from agent.services.capture_again import Former, repeat
from agent.services.capture_messages import BatchLimits, Writer
from agent.services.capture_pipeline import Pipeline
from agent.services.capture_quarantine import group_doubts
from agent.services.capture_step import Context, OpenItems, Step, StepMaker
from agent.services.capture_walk import Walks
from agent.wire.control import Control

_TOLD_MOST: Final = 20
"""Quarantined records of one step that get an event of their own; all are counted."""

_PROGRESS_SECS: Final = 1.0


class FlowWriter(Writer, Protocol):
    """What writes the messages of a flow in one epoch; `agent.wire.envelope.MessageWriter` is one."""

    def control(self, data: Control) -> ExchangeMessage:
        """Return a signed control message."""
        ...


@dataclass(slots=True)
class Captured:
    """What was made durable."""

    rows: int = 0
    records: int = 0
    unchanged: int = 0
    messages: int = 0
    quarantined: int = 0

    def add(self, step: Append) -> None:
        """Count a step."""
        self.rows += step.captured
        self.records += sum(message.records for message in step.messages)
        self.unchanged += step.unchanged
        self.messages += len(step.messages)
        self.quarantined += len(step.quarantined)


@dataclass(slots=True)
class FreshLedger:
    """Whether the ledger of a flow may be left unasked.

    True from the moment a flow is opened that never gave an ordinal, continues no earlier epoch and has read nothing: its
    ledger is empty. It stays true through the first load, in which no key comes twice (each page begins behind the last key
    of the one before), so a key can never be in the ledger already, and through reconnects, because only this process
    appends. The first change that comes in between ends it; and a load that is resumed by another process asks the ledger.
    """

    value: bool = False

    def opened(self, state: FlowState) -> None:
        """Note the state in which the flow was found."""
        untouched = state.counters.next_ordinal == 1 and not state.previous_epoch and state.position == ""
        self.value = untouched or (self.value and not state.loaded)

    def lost(self) -> None:
        """Note that keys may come that are in the ledger."""
        self.value = False


class OpenFlow:
    """Belongs to the capture thread, and to one opening of the source. `tell` is called with each step that is durable."""

    def __init__(  # noqa: PLR0913 - what it brings together
        self,
        state: FlowState,
        incarnation: str,
        *,
        log: CaptureLog,
        maker: StepMaker,
        writer: Writer,
        items: OpenItems,
        fresh: FreshLedger,
        walks: Walks,
        events: Events,
        clock: Clock,
        in_flight: int,
        tell: Callable[[Step], None],
    ) -> None:
        self.flow = state.flow
        self.position: Position = state.position  # to read on from
        self._context = Context(state.epoch, incarnation, state.counters, state.position, state.loaded)
        self._pipeline = Pipeline(log, state.flow, in_flight)
        self._maker = maker
        self._writer = writer
        self._items = items
        self._fresh = fresh
        self._walks = walks
        self._events = events
        self._clock = clock
        self._tell = tell
        self._loading: Progress | None = None
        self._told_at = float("-inf")

    def take(self, batch: Batch) -> None:
        """Translate a batch and hand it to the store. Raises SourceRefused, StoreFull, StoreError, Conflict."""
        if batch.rows and batch.walked is None:
            self._fresh.lost()
        known = None if self._fresh.value and batch.loading is not None else self._pipeline.known
        step = self._maker.make(batch, self._context, self._writer, known, self._items)
        step = _remembering(step, self._walks.note(batch, step.append, step.late))
        self.position = batch.position
        self._loading = batch.loading or self._loading
        if step.is_empty and (batch.more or batch.position == self._context.position):
            return  # a position alone is worth a transaction only where reading rests
        _pass_crash_points(step.append)
        self.add(step)

    def translate_again(self, batch: Batch) -> Step:
        """Return the step for rows that were read once more, apart from the order of reading: the position stays."""
        loading = None if self._context.loaded else Progress(0, None)
        batch = replace(batch, position=self._context.position, memory={}, loading=loading, walked=None)
        return self._maker.make(batch, self._context, self._writer, self._pipeline.known, self._items)

    def begin_walk(self, position: Position, order: WalkOrder) -> None:
        """Go on from a position from which a walk begins. Durable with the next harvest."""
        self.position = position
        facts = self._walks.begun(order, self._context.epoch, self._context.counters)
        self.add(self._noting(position, facts))

    def remember(self, facts: Mapping[str, str]) -> None:
        """Store facts of the host."""
        if facts:
            self.add(self._noting(self._context.position, facts))

    def known(self, keys: Sequence[str]) -> Mapping[str, LedgerRow]:
        """Return what the ledger says of these keys when everything in flight is committed."""
        return self._pipeline.known(keys)

    def repeat(self, formers: Sequence[Former], rows: Mapping[str, LedgerRow], limits: BatchLimits) -> Step:
        """Return the step that sends refused records again; see `capture_again`."""
        return repeat(self.flow, self._context, self._writer, limits, formers, rows)

    def add(self, step: Step) -> None:
        """Hand a step, made from where the one before ended, to the store."""
        self._pipeline.add(step)
        append = step.append
        self._context = replace(
            self._context,
            counters=append.after,
            position=append.position,
            loaded=self._context.loaded or append.loaded,
        )

    def make_durable(self, step: Step) -> None:
        """Hand a step to the store and wait until it is durable."""
        if not step.is_empty:
            self.add(step)
            self.harvest(wait=True)

    def harvest(self, *, wait: bool = False) -> None:
        """Tell of each step that has become durable, then emit its events. Raises what failed."""
        for step in self._pipeline.harvest(wait=wait):
            self._items.add(step.append.quarantined)
            self._items.discard(step.append.closes)
            self._tell(step)
            for event in self._events_of(step):
                self._events.emit(event)

    def abandon(self) -> None:
        """Forget what is in flight; see Pipeline."""
        self._pipeline.abandon()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _noting(self, position: Position, facts: Mapping[str, str]) -> Step:
        context = self._context
        append = Append(
            flow=self.flow,
            epoch=context.epoch,
            incarnation=context.incarnation,
            before=context.counters,
            after=context.counters,
            position=position,
            memory=facts,
        )
        return Step(append, (), (), ())

    def _events_of(self, step: Step) -> Iterator[Event]:
        append = step.append
        if append.captured:
            yield FlowCaptured(
                flow=self.flow,
                rows=append.captured,
                records=sum(message.records for message in append.messages),
                unchanged=append.unchanged,
                messages=len(append.messages),
                quarantined=len(append.quarantined),
                body_bytes=sum(len(message.body) for message in append.messages),
            )
        for item in append.quarantined[:_TOLD_MOST]:
            yield RecordQuarantined(self.flow, item.item_id, item.reason, item.field)
        for (field, reason), records in group_doubts(step.warnings).items():
            yield ValuesDoubted(self.flow, field, reason, records)
        yield from self._load_events(append)

    def _load_events(self, append: Append) -> Iterator[Event]:
        if self._loading is None:
            return
        now = self._clock.monotonic()
        if append.loaded:
            yield FirstLoadCompleted(self.flow, self._loading.done)
            self._loading = None
        elif not self._context.loaded and now - self._told_at >= _PROGRESS_SECS:
            self._told_at = now
            yield FirstLoadAdvanced(self.flow, self._loading.done, self._loading.total)


def _remembering(step: Step, facts: Mapping[str, str]) -> Step:
    """Return the step with further facts to store."""
    return replace(step, append=replace(step.append, memory={**step.append.memory, **facts})) if facts else step


def _pass_crash_points(append: Append) -> None:
    """Pass the points between reading and writing: any step, the first after a load, one that reads its overlap again."""
    failpoint("C01")
    if append.loaded:
        failpoint("C04")
    if append.unchanged and append.messages:
        failpoint("C05")
