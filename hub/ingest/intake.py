"""The thread that consumes and prepares. It owns the consuming connection; acks follow commits and nothing else.

When the store cannot be used, the connection is closed, which gives every unacked message back, and opened again only after
the store has answered: nothing is ever rejected or requeued one by one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from agent.errors import HuitongError
from agent.events import BrokerConnected, BrokerLost, Events
from agent.ports import Clock, Delivered, Feed
from agent.retry import Backoff
from agent.wire.topology import inbound_queue
from hub.errors import LeaseLost, StoreUnavailable
from hub.events import LeaseRefused, StoreFound, StoreLost
from hub.ingest.handoff import Handoff
from hub.ingest.prepare import Preparer

SOLO_DELIVERIES: Final = 3
"""A message delivered this often is prepared and stored alone, so that it cannot take its neighbours down with it."""

TRIAL_PREFETCH: Final = 1
"""Until one message of a queue went well only one is taken at a time: a message that kills us is then delivered alone, and
its neighbours behind it collect no redeliveries that they do not deserve."""

MOUTHFUL: Final = 4
"""Deliveries prepared between two looks at acks, heartbeats and room."""

_BACKOFF: Final = Backoff(first_secs=0.2, cap_secs=30.0)

QUEUE_PAUSE_SECS: Final = 30.0
"""How long a queue that cannot be consumed (deleted, no right) is left alone; the others go on."""


class QueueFeed(Feed, Protocol):
    """A feed whose queues come and go."""

    def consume(self, queue: str, prefetch: int | None = None) -> None:
        """Consume one more queue. Raises NotConnected, Forbidden."""
        ...

    def cancel(self, queue: str) -> None:
        """Stop consuming a queue; what was not acked of it is delivered again. Raises NotConnected."""
        ...

    def widen(self, queue: str) -> None:
        """Take more ahead of a queue consumed one by one, while the one message is held. Raises NotConnected."""
        ...


class Duties(Protocol):
    """What this process works for now; changes at any time."""

    @property
    def departments(self) -> frozenset[str]:
        """Departments whose queues are ours."""
        ...

    def reconsider(self) -> None:
        """Look again at once who works for whom."""
        ...


class Intake:
    """Consumes `in.D` of every department that is ours."""

    name = "hub-intake"

    def __init__(  # noqa: PLR0913 - a composition root hands it everything by name
        self,
        *,
        feed: Callable[[], QueueFeed],
        preparer: Preparer,
        handoff: Handoff,
        duties: Duties,
        probe: Callable[[], None],
        events: Events,
        clock: Clock,
        random: Callable[[], float],
        backoff: Backoff = _BACKOFF,
    ) -> None:
        self._new_feed = feed
        self._feed: QueueFeed | None = None
        self._preparer = preparer
        self._handoff = handoff
        self._duties = duties
        self._probe = probe
        self._events = events
        self._clock = clock
        self._random = random
        self._backoff = backoff
        self._consumed: set[str] = set()
        self._trusted: set[str] = set()
        self._on_trial: dict[int, str] = {}
        self._shunned: dict[str, float] = {}
        self._failures = 0
        self._let_goes = 0
        self._suspects_message = False
        self._opened_at = 0.0
        self._not_before = 0.0
        self._store_lost = False
        self._closing = False
        self._bell = threading.Event()

    # -- Worker ------------------------------------------------------------------------------------------------------

    def run_once(self) -> None:
        """Ack what is committed, take what has come, hand it on."""
        pause = self._not_before - self._clock.monotonic()
        if pause > 0:
            self._rest(min(pause, 0.5))
            return
        try:
            feed = self._connected()
            if feed is None:
                self._rest(0.5)
                return
            self._round(feed)
        except (StoreUnavailable, LeaseLost) as error:
            self._store_failed(error)
        except HuitongError as error:
            self._feed_failed(error)

    def wake(self) -> None:
        """Make a wait return; called after commits and when duties change."""
        self._bell.set()
        feed = self._feed
        if feed is not None:
            feed.wake()

    def drained(self) -> bool:
        """From the first call on nothing new is taken; done when everything taken is committed and acked."""
        self._closing = True
        return self._feed is None or self._handoff.idle

    def finish(self) -> None:
        """Ack the last commits and close."""
        if self._feed is not None:
            done, _ = self._handoff.finished()
            try:
                self._feed.ack(done)
            except HuitongError as error:
                self._events.emit(BrokerLost("consume", error, 0.0))
            self._feed.close()

    # -- one round ---------------------------------------------------------------------------------------------------

    def _round(self, feed: QueueFeed) -> None:
        self._settle(feed)
        room = 0 if self._closing else self._handoff.room()
        if room == 0:
            self._handoff.wait_for_news(0.1)
            feed.poll(0.0, 0)  # heartbeats
            return
        for delivered in feed.poll(0.5, min(room, MOUTHFUL)):
            self._take(feed, delivered)

    def _take(self, feed: QueueFeed, delivered: Delivered) -> None:
        if delivered.delivery_count:
            # Deliveries we gave back for reasons of our own say nothing against the message; each counts at most once.
            delivered = replace(delivered, delivery_count=max(0, delivered.delivery_count - self._let_goes))
        suspect = delivered.delivery_count >= SOLO_DELIVERIES
        if suspect:
            self._settle_all(feed)
        elif delivered.queue not in self._trusted:
            self._on_trial[delivered.tag] = delivered.queue
        self._handoff.put(self._preparer.prepare(delivered))
        if suspect:
            self._settle_all(feed)

    def _trust(self, feed: QueueFeed, queue: str) -> None:
        """Take as much ahead as the feed likes, now that a message of this queue went well."""
        if queue in self._consumed:
            feed.widen(queue)
            self._trusted.add(queue)

    def _settle(self, feed: QueueFeed) -> None:
        """Ack what was committed, then face what went wrong."""
        done, trouble = self._handoff.finished()
        if done:
            for queue in [self._on_trial.pop(tag) for tag in done if tag in self._on_trial]:
                self._trust(feed, queue)
            feed.ack(done)
            self._failures = 0
        if trouble is not None:
            raise trouble
        self._follow_duties(feed)

    def _settle_all(self, feed: QueueFeed) -> None:
        while not self._handoff.idle:
            self._handoff.wait_for_news(0.1)
            self._settle(feed)
        self._settle(feed)

    # -- connections and duties --------------------------------------------------------------------------------------

    def _connected(self) -> QueueFeed | None:
        """Return an open feed; None when there is nothing to consume."""
        if self._feed is not None or self._closing or not self._wanted():
            return self._feed
        self._ask_store()
        if self._store_lost:
            self._store_lost = False
            self._events.emit(StoreFound())
        feed = self._new_feed()
        feed.open()
        self._feed = feed
        self._follow_duties(feed)
        self._opened_at = self._clock.monotonic()
        self._events.emit(BrokerConnected("consume"))
        return feed

    def _ask_store(self) -> None:
        """Probe the store before anything is consumed. Raises StoreUnavailable."""
        try:
            self._probe()
        except StoreUnavailable:
            # It was the store, then, and not what we tried to write to it.
            self._let_goes += self._suspects_message
            self._suspects_message = False
            raise
        self._suspects_message = False

    def _follow_duties(self, feed: QueueFeed) -> None:
        wanted = self._wanted()
        for queue in sorted(self._consumed - wanted):
            self._consumed.discard(queue)
            self._trusted.discard(queue)
            self._on_trial = {tag: other for tag, other in self._on_trial.items() if other != queue}  # not ours to ack any more
            feed.cancel(queue)
        for queue in sorted(wanted - self._consumed):
            try:
                feed.consume(queue, TRIAL_PREFETCH)
            except HuitongError as error:
                error.details.setdefault("queue", queue)
                raise
            self._consumed.add(queue)

    def _wanted(self) -> set[str]:
        now = self._clock.monotonic()
        self._shunned = {queue: until for queue, until in self._shunned.items() if until > now}
        return {inbound_queue(code) for code in self._duties.departments} - set(self._shunned)

    # -- failures ----------------------------------------------------------------------------------------------------

    def _store_failed(self, error: HuitongError) -> None:
        self._let_go(excused=isinstance(error, LeaseLost))
        if isinstance(error, LeaseLost):
            self._events.emit(LeaseRefused(str(error.details.get("departments", ""))))
            self._duties.reconsider()
            return
        self._store_lost = self._suspects_message = True
        self._events.emit(StoreLost(error, self._postpone()))

    def _feed_failed(self, error: HuitongError) -> None:
        self._let_go(excused=True)
        queue = error.details.get("queue")
        if isinstance(queue, str):
            self._shunned[queue] = self._clock.monotonic() + QUEUE_PAUSE_SECS
        self._events.emit(BrokerLost("consume", error, self._postpone()))

    def _let_go(self, *, excused: bool) -> None:
        """Close the connection: everything unacked goes back to its queue, in order.

        Excused: the redeliveries that follow cannot be the fault of a message.
        """
        feed, self._feed = self._feed, None
        self._consumed.clear()
        self._trusted.clear()
        self._on_trial.clear()
        if feed is not None:
            feed.close()
            self._let_goes += excused
            if self._clock.monotonic() - self._opened_at > self._backoff.cap_secs:
                self._failures = 0
        self._handoff.reset()

    def _postpone(self) -> float:
        self._failures += 1
        delay = self._backoff.delay(self._failures, self._random)
        self._not_before = self._clock.monotonic() + delay
        return delay

    def _rest(self, secs: float) -> None:
        self._bell.wait(secs)
        self._bell.clear()
