"""Capture: reads a source, gives every change its permanent identity and makes it durable before the source position passes it.

One thread for each flow. A round opens the source, takes one page, or waits for news; the source itself is called in a thread
of its own (`capture_source`). What happens to an error is decided by its disposition alone:

    RETRY, RECONNECT   close, wait with a growing pause, open again from what the store holds
    PAUSE              the same, more slowly, and the flow is shown as paused; StoreFull waits for room
    SourceGone         a numbered gap; a table is compared at once, anything else waits until an operator resumes it
    FATAL              ends the service, and with it the process

What is opened again goes on from what the store holds; what is in memory is only ever that of steps in flight.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final, TypeVar

from agent.errors import Conflict, Disposition, HuitongError, SourceChanged, SourceGone, StoreFull, disposition
from agent.events import Events, FlowPaused, FlowResumed, SourceLost, SourceOpened
from agent.i18n import N_
from agent.model import START, Batch, Counters, FlowState, Position, WalkKind, WalkOrder
from agent.ports import CaptureLog, Clock, Keyed, KeyLedger, Source, Walkable
from agent.retry import Backoff
from agent.services.capture_again import Letter
from agent.services.capture_flow import Captured, FlowWriter, FreshLedger, OpenFlow
from agent.services.capture_gap import REPLACED, accept_offer, lose, loss_of
from agent.services.capture_orders import Orders, Outcome
from agent.services.capture_plan import CapturePlan, Quarantine
from agent.services.capture_records import RecordMaker
from agent.services.capture_source import ROUND_SECS, SourceThread, arrived
from agent.services.capture_step import OpenItems, Step, StepMaker
from agent.services.capture_sweep import Sweeper
from agent.services.capture_walk import Walks
from agent.services.capture_writeback import Writeback
from agent.services.service import Service
from agent.wire.control import EpochOpen

T = TypeVar("T")

_CLOSE_SECS: Final = 5.0

BY_SOURCE: Final = "source"  # who paused a flow, in events
BY_DISK: Final = "disk"


class CaptureService(Service):
    """Captures one flow. `tick`, `retry`, `wake` and `stop` are for any thread."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        plan: CapturePlan,
        *,
        source: Source,
        log: CaptureLog,
        ledger: KeyLedger,
        writer_for: Callable[[str], FlowWriter],
        events: Events,
        clock: Clock,
        random: Callable[[], float],
        notify: Callable[[], None] = lambda: None,
        quarantine: Quarantine | None = None,
    ) -> None:
        super().__init__(f"capture {plan.flow}", events, clock)
        self._plan = plan
        self._source = source
        self._log = log
        self._writer_for = writer_for
        self._random = random
        self._notify = notify
        self._quarantine = quarantine or Quarantine()
        self._thread_of_source = SourceThread(source, f"source {plan.flow}")
        self._maker = StepMaker(plan, RecordMaker(plan.sender, plan.flow, plan.spec), clock)
        self._fresh = FreshLedger()
        self._items: OpenItems | None = None
        self._walks = Walks(plan.flow, plan.spec.key, plan.most_deletes, ledger=ledger, log=log, clock=clock, events=events)
        self._sweeper = Sweeper(self._walks, read_keys=self._read_keys)
        self._writeback = Writeback(plan, source, ledger, self._quarantine, ask=self._ask, clock=clock)
        self._orders = Orders(
            plan,
            source,
            self._quarantine,
            running=self._running,
            read_keys=self._read_keys,
            begin_walk=self._begin_walk,
            count_rows=lambda walked, order: self._ask(walked.count, order).result(),
        )
        self._bell = threading.Event()
        self._due = threading.Event()
        self._opening: Future[str] | None = None
        self._state = FlowState(plan.flow, "", "", START, Counters(), {})
        self._flow: OpenFlow | None = None
        self._reading: Future[Batch] | None = None
        self._commits: deque[Future[None]] = deque()
        self._attempt = 0
        self._retry_at = float("-inf")
        self._paused = ""  # the stored reason, which only an operator takes away
        self._shown = ""  # who paused the flow for now, as events told
        self._captured = Captured()
        self._trouble: HuitongError | None = None
        self._passes = 0

    # -- any thread --------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Look at the source, and at whether the flow is paused, now."""
        self._due.set()
        self.wake()

    def wake(self) -> None:
        """See Service."""
        self._bell.set()
        self._thread_of_source.wake()

    def retry(self, item_ids: Sequence[str]) -> Future[Outcome]:
        """Try quarantined items again; per item how it was closed, None when it is still not right.

        The error of the future is Conflict when the flow is not running or its source cannot do that.
        """
        return self._given(self._orders.give_retry(item_ids))

    def again(self, letters: Sequence[Letter]) -> Future[Outcome]:
        """Send again what the hub refused for ever, unless a later version is known (see `capture_again`).

        Per letter how it was closed, None when no message can carry it. Errors as of `retry`.
        """
        return self._given(self._orders.give_again(letters))

    def walk(self, order: WalkOrder) -> Future[None]:
        """Let the source be compared with what was captured, or part of it be read again. Errors as of `retry`."""
        return self._given(self._orders.give_walk(order))

    def count(self, order: WalkOrder) -> Future[int]:
        """Count the rows that a walk would read. Errors as of `retry`."""
        return self._given(self._orders.give_count(order))

    def _given(self, order: Future[T]) -> Future[T]:
        self.wake()
        return order

    # -- the thread --------------------------------------------------------------------------------------------------

    def run_once(self) -> None:
        """See Service."""
        try:
            if self._rests():
                self._orders.serve()
                self._rest()
            elif self._flow is None:
                self._open()
            else:
                self._orders.serve()
                self._capture(self._flow)
        except HuitongError as error:
            self._recover(error)

    def finish(self) -> None:
        """See Service. What is in flight becomes durable; what was not handed over was never promised."""
        if self._flow is not None:
            flow, self._flow = self._flow, None
            try:
                flow.harvest(wait=True)
            except StoreFull:
                flow.abandon()
        self._thread_of_source.stop(_CLOSE_SECS)
        self._orders.serve()  # nobody is left waiting for an answer

    def drain(self, patience_secs: float = 0.0) -> Captured:
        """Capture what there is and return what was made durable; for a command, in its own thread, instead of `start`.

        After everything was read, waits so long for more. Raises whatever is in the way instead of trying again.
        """
        try:
            while True:
                passes, self._trouble = self._passes, None
                self._due.set()
                while self._passes == passes or self._walks.sweeping:
                    self.run_once()
                    if self._paused:
                        raise Conflict(why=self._paused)
                    if self._trouble is not None:
                        raise self._trouble
                if not self._thread_of_source.ask(self._source.wait, patience_secs).result():
                    return self._captured
        finally:
            self.finish()

    # -- capturing ---------------------------------------------------------------------------------------------------

    def _capture(self, flow: OpenFlow) -> None:
        flow.harvest()
        self._check_commits()
        if self._walks.sweeping:
            self._due.set()
            if self._sweeper.advance(flow, self._source, self._passes):
                return
        if self._reading is None and not self._due.is_set():
            self._writeback.advance()
            if self._ask(self._source.wait, ROUND_SECS).result():
                self._due.set()
            return
        if self._due.is_set() and self._stored_pause():
            return
        if (batch := arrived(self._reading or self._read_on(flow))) is None:
            return
        self._reading = self._read_after(batch.position) if batch.more else None  # while this one is translated
        flow.take(batch)
        if not batch.more:
            self._complete_pass(flow)

    def _read_on(self, flow: OpenFlow) -> Future[Batch]:
        self._due.clear()
        source = self._source
        if isinstance(source, Walkable) and not self._walks.sweeping and self._ask(source.wants_walk, flow.position).result():
            self._begin_walk(flow, source, WalkOrder(WalkKind.COMPARE, routine=True))
        self._reading = self._read_after(flow.position)
        return self._reading

    def _read_after(self, position: Position) -> Future[Batch]:
        return self._ask(self._source.read, position, self._plan.page_rows)

    def _complete_pass(self, flow: OpenFlow) -> None:
        """Come to rest: everything read is durable and committed at the source."""
        flow.harvest(wait=True)
        self._check_commits(wait=True)
        self._writeback.advance()
        self._works()
        self._passes += 1

    def _after(self, step: Step) -> None:
        """Tell source and delivery that a step is durable."""
        self._commits.append(self._ask(self._source.commit, step.append.position))
        self._captured.add(step.append)
        self._works()
        if step.append.messages:
            self._notify()

    def _check_commits(self, *, wait: bool = False) -> None:
        while self._commits and (wait or self._commits[0].done()):
            self._commits.popleft().result()

    # -- opening -----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._opening is None:
            self._state = self._log.open_flow(self._plan.flow)
            if self._state.paused and self._stored_pause():
                return
            self._opening = self._ask(self._open_source, self._state)
        if (incarnation := arrived(self._opening)) is not None:
            self._opening = None
            self._opened(self._state, incarnation)

    def _opened(self, state: FlowState, incarnation: str) -> None:
        if state.incarnation not in ("", incarnation):
            self._ask(self._source.close)
            self._lose(state, incarnation, REPLACED, {"before": state.incarnation, "now": incarnation})
            return
        self._fresh.opened(state)
        self._walks.opened(state)
        self._writeback.opened(state, incarnation)
        writer = self._writer_for(state.epoch)
        self._announce(state, writer)
        if self._items is None:
            self._items = OpenItems(self._quarantine.open_items())
        self._flow = OpenFlow(
            state,
            incarnation,
            log=self._log,
            maker=self._maker,
            writer=writer,
            items=self._items,
            fresh=self._fresh,
            walks=self._walks,
            events=self._events,
            clock=self._clock,
            in_flight=self._plan.in_flight,
            tell=self._after,
        )
        self._due.set()
        self._events.emit(SourceOpened(self._plan.flow))

    def _open_source(self, state: FlowState) -> str:
        """Open, and commit once more what is durable: a crash may have come between append and commit."""
        incarnation = self._source.open(state)
        if state.position != START and state.incarnation == incarnation:
            self._source.commit(state.position)
        return incarnation

    def _announce(self, state: FlowState, writer: FlowWriter) -> None:
        if not state.announced:
            self._log.announce(state.flow, writer.control(EpochOpen(state.flow, state.epoch, state.previous_epoch))).result()
            self._notify()

    # -- what goes wrong ---------------------------------------------------------------------------------------------

    def _recover(self, error: HuitongError) -> None:
        error = self._close(error)
        self._trouble = error
        if isinstance(error, SourceGone | SourceChanged):
            self._lose(self._state, self._state.incarnation, *loss_of(error))
            return
        match disposition(error):
            case Disposition.RETRY | Disposition.RECONNECT:
                self._wait_out(self._plan.reconnect)
                self._events.emit(SourceLost(self._plan.flow, error, self._retry_at - self._clock.monotonic()))
            case Disposition.PAUSE | Disposition.QUARANTINE:
                if not isinstance(error, StoreFull):
                    self._wait_out(self._plan.slow)
                self._show(BY_DISK if isinstance(error, StoreFull) else BY_SOURCE, error)
            case Disposition.FATAL:
                raise error

    def _close(self, error: HuitongError) -> HuitongError:
        """Let what is in flight come to its end, close the source; returns the error that counts."""
        flow, self._flow = self._flow, None
        if flow is not None:
            try:
                flow.harvest(wait=True)
            except HuitongError as of_store:
                flow.abandon()
                error = of_store
        self._opening = self._reading = None
        self._commits.clear()
        self._ask(self._source.close)
        return error

    def _wait_out(self, backoff: Backoff) -> None:
        self._attempt += 1
        self._retry_at = self._clock.monotonic() + backoff.delay(self._attempt, self._random)

    def _lose(self, state: FlowState, incarnation: str, kind: str, details: Mapping[str, str]) -> None:
        walks = isinstance(self._source, Walkable)
        self._paused = lose(self._log, self._clock, state, incarnation, kind, details, walks=walks)
        if self._paused:
            self._events.emit(FlowPaused(state.flow, BY_SOURCE, self._paused))
        else:
            self._fresh.lost()

    def _works(self) -> None:
        """Note that reading and storing work (again)."""
        self._attempt = 0
        self._show("")

    def _show(self, by: str, error: HuitongError | None = None) -> None:
        """Tell, once, that the flow is paused for now, or that it goes on."""
        if by == self._shown:
            return
        shown, self._shown = self._shown, by
        self._events.emit(FlowPaused(self._plan.flow, by, str(error), error) if by else FlowResumed(self._plan.flow, shown))

    # -- resting -----------------------------------------------------------------------------------------------------

    def _rests(self) -> bool:
        if self._paused and self._due.is_set():
            self._stored_pause()
        if self._paused or self._clock.monotonic() < self._retry_at:
            return True
        return self._shown == BY_DISK and self._flow is None and not self._log.room()

    def _rest(self) -> None:
        self._bell.wait(ROUND_SECS)
        self._bell.clear()

    def _stored_pause(self) -> bool:
        """Look up whether the flow is paused, and close the source if it is."""
        states = {state.flow: state for state in self._log.flows()}
        self._paused = states[self._plan.flow].paused if self._plan.flow in states else ""
        if self._paused:
            self._due.clear()
            if self._flow is not None:
                self._close(Conflict(why=self._paused))
            accept_offer(self._log, self._plan.flow)
        return bool(self._paused)

    # -- operators ---------------------------------------------------------------------------------------------------

    def _running(self) -> OpenFlow:
        if self._flow is None:
            raise Conflict(N_("the flow {flow} is not running now"), flow=self._plan.flow)
        return self._flow

    def _read_keys(self, source: Keyed, keys: Sequence[str]) -> Batch:
        return self._ask(source.read_keys, keys).result()

    def _begin_walk(self, flow: OpenFlow, source: Walkable, order: WalkOrder) -> None:
        if self._reading is not None:  # it reads on without the walk
            self._reading.exception()
            self._reading = None
            self._due.set()
        flow.harvest(wait=True)
        order = self._walks.order(order)
        flow.begin_walk(self._ask(source.begin_walk, flow.position, order).result(), order)

    def _ask(self, call: Callable[..., T], *arguments: object) -> Future[T]:
        return self._thread_of_source.ask(call, *arguments)
