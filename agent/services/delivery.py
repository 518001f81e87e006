"""The delivery service: one thread, one connection, the outbox on one side and the broker on the other.

It keeps no message: what it sends it reads from the outbox, in order, and what the broker did not take for certain it reads
again. Flows take turns. A nack stops its flow; no route or no right stops all, because every message would fail; a lost
connection puts everything on its way in doubt. How a flow stops and resumes is in `agent.services.windows`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Final, Protocol

from agent.errors import Disposition, Forbidden, NotConnected, disposition
from agent.events import (
    Events,
    FlowPaused,
    FlowResumed,
    MessageRefused,
    MessagesConfirmed,
    MessagesSent,
)
from agent.failpoints import failpoint
from agent.i18n import N_
from agent.model import ExchangeMessage, FlowState, State
from agent.ports import Clock, Outbox, Parcel, Published, Sink
from agent.retry import Backoff
from agent.services.connecting import RECONNECT, ROUND_SECS, SLOW, LastContact, Opener, Pause
from agent.services.service import Service
from agent.services.windows import Flight, FlowWindow, Unsettled

LOOK_SECS: Final = 5.0  # a hint may be lost: so often we look without one
BURST: Final = 16  # messages of one flow before it is the next one's turn

RESEND: Final = Backoff(first_secs=0.2, cap_secs=30.0)

HOLDS: Final = ("fork", "operator")
"""What the stored reason of a pause begins with when the flow may not be sent either. A flow that its source or the disk
paused still sends what it has."""


class DeliveryStore(Outbox, Protocol):
    """The outbox, and which flows there are."""

    def flows(self) -> Sequence[FlowState]:
        """Return every flow (see ports.CaptureLog)."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """How much may be on its way, how long to wait, how fast to try again."""

    unconfirmed: int = 200
    unsettled: int = 1000  # confirmed, but without a receipt
    window_bytes: int = 32 * 1024 * 1024  # bodies on their way; one read of the outbox may exceed it
    confirm_secs: float = 60.0
    reconnect: Backoff = RECONNECT
    resend: Backoff = RESEND  # after a nack
    slow: Backoff = SLOW


class DeliveryService(Service):
    """Sends what is pending. Only `wake`, `say`, `settled`, `refused`, `reopened` and `look_again` are for other threads.

    `parcel` turns a message into a publication with the given tag; `greet` returns what to say first on each connection.
    """

    def __init__(  # noqa: PLR0913 - a composition root hands it everything by name
        self,
        *,
        sink: Sink,
        store: DeliveryStore,
        parcel: Callable[[ExchangeMessage, int], Parcel],
        greet: Callable[[], Sequence[ExchangeMessage]],
        events: Events,
        clock: Clock,
        random: Callable[[], float],
        limits: DeliveryLimits = DeliveryLimits(),
        contact: LastContact | None = None,
    ) -> None:
        super().__init__("delivery", events, clock)
        self._sink, self._store, self._parcel, self._greet = sink, store, parcel, greet
        self._random, self._limits = random, limits
        self._opener = Opener("publish", sink, events, clock, random, limits.reconnect, contact)
        self._windows: dict[str, FlowWindow] = {}
        self._owner: dict[int, FlowWindow] = {}  # entry on its way → its flow
        self._bytes = 0
        self._unsettled = Unsettled()
        self._to_say: list[ExchangeMessage] = []
        self._said = 0
        self._orders: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._greeted = False
        self._gate = Pause()  # stops all flows
        self._gate_trial = False
        self._look_at = 0.0

    # -- for other threads -------------------------------------------------------------------------------------------

    def wake(self, flow: str = "") -> None:
        """There is something new to send, of this flow or of any."""
        self._order(partial(self._hint, flow))

    def say(self, message: ExchangeMessage) -> None:
        """Send a control message once, as soon as there is a connection; it is lost if that breaks."""
        self._order(partial(self._to_say.append, message))

    def settled(self, message_ids: Sequence[str]) -> None:
        """Note that these messages have their receipts."""
        self._order(partial(self._settled, message_ids))

    def refused(self, flow: str, message_id: str, why: str) -> None:
        """Note that the hub refused a message for now: its flow waits, then tries that message alone."""
        self._order(partial(self._refused, flow, message_id, why))

    def reopened(self, message_ids: Sequence[str]) -> None:
        """Note that these confirmed messages are pending again."""
        self._order(partial(self._reopened, message_ids))

    def look_again(self) -> None:
        """Flows were added, paused or resumed."""
        self._order(self._look)

    # -- the round ---------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Count what an earlier run left without a receipt."""
        self._unsettled = Unsettled(self._confirmed_in_store())

    def run_once(self) -> None:
        """Send what may be sent, then wait for outcomes, for news or for a second."""
        while not self._orders.empty():
            self._orders.get()()
        try:
            if self._connect():
                self._fill()
                self._hear(self._sink.poll(self._patience()))
                self._check_silence()
        except (NotConnected, Forbidden) as error:
            self._lose(error)

    def drained(self) -> bool:
        """Wait for the confirms of what is on its way."""
        return not self._opener.is_open or not self._owner

    def finish(self) -> None:
        """Close the connection."""
        self._opener.close()

    # -- the connection ----------------------------------------------------------------------------------------------

    def _connect(self) -> bool:
        if not self._opener.is_open and self._opener.open():
            self._greeted = False
        return self._opener.is_open

    def _lose(self, error: NotConnected | Forbidden) -> None:
        self._opener.lose(error)
        for window in self._windows.values():
            window.lose()
        self._owner.clear()
        self._to_say.clear()
        self._bytes = 0

    def _check_silence(self) -> None:
        """Treat a connection that confirms nothing for too long as lost: what is on its way is in doubt."""
        first = [next(iter(window.in_flight.values())).sent_at for window in self._windows.values() if window.in_flight]
        if first and self._clock.monotonic() - min(first) > self._limits.confirm_secs:
            secs = round(self._limits.confirm_secs)
            raise NotConnected(N_("the message broker has confirmed nothing for {secs} seconds"), secs=secs)

    def _patience(self) -> float:
        now = self._clock.monotonic()
        moments = [self._gate.until, self._look_at, *(window.pause.until for window in self._windows.values())]
        return min([ROUND_SECS, *(moment - now for moment in moments if moment > now)])

    # -- sending -----------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look()
        if self.stopping or now < self._gate.until:
            return
        self._say_what_is_due()
        windows = list(self._windows.values())
        while sum(self._send_some(window, now) for window in windows):
            pass
        if len(windows) > 1:  # somebody else is first the next time
            first = windows[0].flow
            self._windows[first] = self._windows.pop(first)

    def _say_what_is_due(self) -> None:
        if not self._greeted:
            self._greeted = True
            self._to_say[:0] = self._greet()
        for message in self._to_say:
            self._said += 1
            self._sink.send([self._parcel(message, -self._said)])
        self._to_say.clear()

    def _send_some(self, window: FlowWindow, now: float) -> int:
        """Send a burst of one flow; returns how far it got, 0 when there was no room or nothing to send."""
        room, own_room = self._room(), window.room(now)
        size = min(BURST, room if own_room is None else min(room, own_room))
        if size <= 0:
            return 0
        found = self._store.pending(window.flow, window.cursor, size)
        entries = window.advance(found)
        if entries:
            flights = window.send(entries, now)
            self._owner.update((flight.entry_id, window) for flight in flights)
            size_bytes = sum(flight.body_bytes for flight in flights)
            self._bytes += size_bytes
            self._sink.send([self._parcel(entry.message, entry.entry_id) for entry in entries])
            records = sum(flight.records for flight in flights)
            self._events.emit(MessagesSent(window.flow, len(flights), records, size_bytes))
        return len(found)

    def _room(self) -> int:
        if self._gate_trial:
            return 1 - len(self._owner)
        if self._bytes >= self._limits.window_bytes:
            return 0
        on_their_way = len(self._owner)
        return min(self._limits.unconfirmed, self._limits.unsettled - len(self._unsettled)) - on_their_way

    # -- outcomes ----------------------------------------------------------------------------------------------------

    def _hear(self, outcomes: Sequence[Published]) -> None:
        confirmed: dict[str, list[Flight]] = defaultdict(list)
        for published in outcomes:
            window = self._owner.pop(published.tag, None)
            if published.error is not None:
                self._failed(window, published, published.error)
                continue
            self._work_again()
            if window is not None:
                confirmed[window.flow].append(self._confirmed(window, published.tag))
        if confirmed:
            failpoint("C09")
            self._store.confirm([flight.entry_id for flights in confirmed.values() for flight in flights])
        for flow, flights in confirmed.items():
            self._events.emit(MessagesConfirmed(flow, len(flights), sum(flight.records for flight in flights)))

    def _confirmed(self, window: FlowWindow, entry_id: int) -> Flight:
        flight = window.confirm(entry_id)
        self._bytes -= flight.body_bytes
        if flight.records:  # control messages have none
            self._unsettled.add(flight.message_id)
        self._resume(window)
        return flight

    def _failed(self, window: FlowWindow | None, published: Published, error: Exception) -> None:
        now = self._clock.monotonic()
        slow = disposition(error) is Disposition.PAUSE
        backoff = self._limits.slow if slow else self._limits.resend
        if window is None:  # what we only said: nothing is lost, but the next thing we say is hello again
            self._greeted = False
            self._pause_all(now, backoff)
            return
        flight = window.fail(published.tag)
        self._bytes -= flight.body_bytes
        if slow:
            delay = self._pause_all(now, backoff)
            self._alarm(window, str(error), error)
        else:
            delay = window.pause.begin(now, backoff, self._random)
        if delay is not None:
            self._events.emit(MessageRefused(window.flow, flight.message_id, error, delay))

    def _pause_all(self, now: float, backoff: Backoff) -> float | None:
        self._gate_trial = True
        return self._gate.begin(now, backoff, self._random)

    def _work_again(self) -> None:
        self._opener.prove()
        if self._clock.monotonic() >= self._gate.until:  # during the pause it is only the rest of the window
            self._gate_trial = False
            self._gate.end()

    def _alarm(self, window: FlowWindow, why: str, error: Exception | None = None) -> None:
        if not window.alarmed:
            window.alarmed = True
            self._events.emit(FlowPaused(window.flow, "hub", why, error))

    def _resume(self, window: FlowWindow) -> None:
        if window.alarmed and window.trusted:
            window.alarmed = False
            self._events.emit(FlowResumed(window.flow, "hub"))

    # -- orders of other threads, carried out in ours ----------------------------------------------------------------

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)
        self._opener.ring()
        self._sink.wake()

    def _hint(self, flow: str) -> None:
        for window in [self._window(flow)] if flow else self._windows.values():
            window.dry = False

    def _settled(self, message_ids: Sequence[str]) -> None:
        self._unsettled.remove(message_ids)
        for window in self._windows.values():
            if not window.trusted:
                window.settle(message_ids)
                self._resume(window)

    def _refused(self, flow: str, message_id: str, why: str) -> None:
        window = self._window(flow)
        self._unsettled.remove([message_id])
        window.refuse()
        window.pause.begin(self._clock.monotonic(), self._limits.slow, self._random)
        self._alarm(window, why)

    def _reopened(self, message_ids: Sequence[str]) -> None:
        self._unsettled.remove(message_ids)
        for window in self._windows.values():
            window.rewind(message_ids)

    def _look(self) -> None:
        """Look without a hint: which flows there are, which are held, what is pending, how much is unsettled."""
        self._look_at = self._clock.monotonic() + LOOK_SECS
        for state in self._store.flows():
            window = self._window(state.flow)
            window.held = state.paused if state.paused.startswith(HOLDS) else ""
            window.look()
        if len(self._unsettled) >= self._limits.unsettled:
            self._unsettled.recount(self._confirmed_in_store())

    def _confirmed_in_store(self) -> int:
        return sum(depth.messages.get(State.CONFIRMED, 0) for depth in self._store.depth())

    def _window(self, flow: str) -> FlowWindow:
        return self._windows.setdefault(flow, FlowWindow(flow))
