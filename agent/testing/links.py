"""The two kinds of connection to the memory broker: `MemorySink` publishes, `MemoryFeed` consumes.

Both keep the contracts of `agent.ports` to the letter, including the unpleasant parts: what is in flight when a channel is
closed fails together, what is in flight when the connection breaks is in doubt, what was not acked comes again.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Protocol

from agent.errors import Forbidden, HuitongError, NotConnected, Refused, Unroutable
from agent.ports import Delivered, Parcel, Published


class Fault(StrEnum):
    """What happens to one publication instead of the usual."""

    NONE = "none"
    NACK = "nack"  # not stored, refused
    RETURN = "return"  # not stored, returned as unroutable
    DROP_BEFORE = "drop_before"  # the connection breaks before the message arrives
    DROP_AFTER = "drop_after"  # the message is stored, the connection breaks before the confirm
    WITHHOLD = "withhold"  # the message is stored, its confirm waits for `release_confirms`


class Broker(Protocol):
    """What connections need of the broker; every call happens under `changed`."""

    changed: threading.Condition
    blocking: bool

    def attach(self, link: Link) -> None:
        """Accept a connection. Raises NotConnected, Forbidden."""

    def detach(self, link: Link) -> None:
        """Forget a connection and put back what it held."""

    def sever(self, link: Link, error: HuitongError) -> None:
        """Break a connection."""

    def publish(self, sink: MemorySink, parcel: Parcel) -> tuple[Fault, HuitongError | None]:
        """Take one publication. Raises what closes the channel."""

    def join(self, feed: MemoryFeed, name: str) -> None:
        """Begin a subscription. Raises NotConnected, Forbidden."""

    def leave(self, feed: MemoryFeed, name: str) -> None:
        """End a subscription."""

    def offers(self, feed: MemoryFeed, name: str) -> bool:
        """Say whether there is a message for this consumer now."""

    def take(self, name: str) -> Delivered:
        """Remove and return the message that was offered."""


class Link(ABC):
    """What both kinds share: being open, being broken, being woken."""

    def __init__(self, broker: Broker, user: str) -> None:
        self._broker = broker
        self.user = user
        self.node = user.removeprefix("agent.")
        self.lost: HuitongError | None = NotConnected(why="not open")
        self._woken = False

    def wake(self) -> None:
        """Make a `poll` in progress, or the next one, return."""
        with self._broker.changed:
            self._woken = True
            self._broker.changed.notify_all()

    def _raise_if_lost(self) -> None:
        if self.lost is not None:
            raise self.lost

    def _wait(self, timeout_secs: float) -> None:
        """Wait for news of any kind, once; the caller looks what it was."""
        if self._broker.blocking and not self._woken:
            self._broker.changed.wait_for(lambda: self._woken or self.lost is not None or self._news(), timeout_secs)
        self._woken = False

    @abstractmethod
    def _news(self) -> bool:
        """Say whether there is something to return."""


class MemorySink(Link):
    """A publishing connection (ports.Sink)."""

    def __init__(self, broker: Broker, user: str, user_id: str) -> None:
        super().__init__(broker, user)
        self.user_id = user_id
        self._in_flight: list[int] = []  # tags without an outcome: withheld, or in doubt
        self._outcomes: deque[Published] = deque()

    def open(self) -> None:
        """Connect. Raises NotConnected, Forbidden."""
        with self._broker.changed:
            self._broker.attach(self)
            self._in_flight.clear()
            self._outcomes.clear()
            self.lost = None

    def send(self, parcels: Sequence[Parcel]) -> None:
        """Publish, in order. Raises NotConnected; then what has no outcome is in doubt."""
        with self._broker.changed:
            self._raise_if_lost()
            for index, parcel in enumerate(parcels):
                self._in_flight.append(parcel.tag)
                if not self._publish(parcel, parcels[index + 1 :]):
                    break
            self._broker.changed.notify_all()

    def poll(self, timeout_secs: float) -> Sequence[Published]:
        """Return outcomes, waiting for the first. Raises NotConnected when the connection broke and all were given out."""
        with self._broker.changed:
            if not self._outcomes and self.lost is None:
                self._wait(timeout_secs)
            outcomes = list(self._outcomes)
            self._outcomes.clear()
            if not outcomes:
                self._raise_if_lost()
            return outcomes

    def close(self) -> None:
        """Close the connection. Idempotent."""
        with self._broker.changed:
            self._broker.detach(self)
            self.lost = self.lost or NotConnected(why="closed")

    def release(self) -> None:
        """Confirm what was withheld; called by the broker."""
        self._outcomes.extend(Published(tag) for tag in self._in_flight)
        self._in_flight.clear()

    def _publish(self, parcel: Parcel, behind: Sequence[Parcel]) -> bool:
        """Publish one; False when the channel or the connection, and with it what was sent behind, did not survive it."""
        try:
            fault, error = self._broker.publish(self, parcel)
        except (Unroutable, Forbidden, Refused) as closed:
            # The broker closed the channel: whatever was in flight on it fails with the same words.
            self._in_flight.extend(later.tag for later in behind)
            self._outcomes.extend(Published(tag, closed) for tag in self._in_flight)
            self._in_flight.clear()
            return False
        if fault in (Fault.DROP_BEFORE, Fault.DROP_AFTER):
            self._in_flight.extend(later.tag for later in behind)
            self._broker.sever(self, error if error is not None else NotConnected(why="connection reset"))
            return False
        if fault is not Fault.WITHHOLD:
            self._in_flight.remove(parcel.tag)
            self._outcomes.append(Published(parcel.tag, error))
        return True

    def _news(self) -> bool:
        return bool(self._outcomes)


class MemoryFeed(Link):
    """A consuming connection (ports.Feed), with queues that may come and go."""

    def __init__(self, broker: Broker, user: str, queues: Iterable[str], prefetch: int) -> None:
        super().__init__(broker, user)
        self.queues: dict[str, int] = dict.fromkeys(queues, prefetch)
        self._prefetch = prefetch
        self._held: dict[int, Delivered] = {}
        self._last_tag = 0

    def open(self) -> None:
        """Connect and consume. Raises NotConnected, Forbidden."""
        with self._broker.changed:
            self._broker.attach(self)
            self._held.clear()
            self.lost = None
            try:
                for name in self.queues:
                    self._broker.join(self, name)
            except HuitongError as error:
                self._broker.sever(self, error)
                raise

    def consume(self, queue: str, prefetch: int | None = None) -> None:
        """Consume one more queue. Raises NotConnected, Forbidden."""
        with self._broker.changed:
            self._raise_if_lost()
            if queue not in self.queues:
                self._broker.join(self, queue)
                self.queues[queue] = prefetch or self._prefetch

    def cancel(self, queue: str) -> None:
        """Stop consuming a queue; what is held of it is delivered again, to whoever consumes it then."""
        with self._broker.changed:
            if self.queues.pop(queue, None) is not None and self.lost is None:
                self._broker.leave(self, queue)

    def widen(self, queue: str) -> None:
        """Take as much ahead of a queue as of others, where it was consumed with a prefetch of 1 and that one is held."""
        with self._broker.changed:
            self._raise_if_lost()
            held = sum(message.queue == queue for message in self._held.values())
            assert held == self.queues[queue] == 1, "the one message has to be held"
            self.queues[queue] = self._prefetch

    def poll(self, timeout_secs: float, limit: int) -> Sequence[Delivered]:
        """Return at most `limit` messages, waiting for the first. Raises NotConnected."""
        with self._broker.changed:
            self._raise_if_lost()
            taken = self._take(limit)
            if not taken:
                self._wait(timeout_secs)
                self._raise_if_lost()
                taken = self._take(limit)
            self._woken = False
            return taken

    def ack(self, tags: Sequence[int]) -> None:
        """Note that these are dealt with; tags of an earlier connection mean nothing any more. Raises NotConnected."""
        with self._broker.changed:
            self._raise_if_lost()
            for tag in tags:
                self._held.pop(tag, None)

    def close(self) -> None:
        """Close; what was not acked is delivered again. Idempotent."""
        with self._broker.changed:
            self._broker.detach(self)
            self.lost = self.lost or NotConnected(why="closed")

    def forget(self, queue: str) -> list[Delivered]:
        """Return what is held of a queue, in order, and hold it no more; called by the broker."""
        tags = [tag for tag, message in self._held.items() if message.queue == queue]
        return [self._held.pop(tag) for tag in tags]

    def _take(self, limit: int) -> list[Delivered]:
        taken: list[Delivered] = []
        for name in self.queues:
            while len(taken) < limit and self._offered(name):
                self._last_tag += 1
                message = replace(self._broker.take(name), tag=self._last_tag)
                self._held[self._last_tag] = message
                taken.append(message)
        return taken

    def _offered(self, name: str) -> bool:
        held = sum(message.queue == name for message in self._held.values())
        return held < self.queues[name] and self._broker.offers(self, name)

    def _news(self) -> bool:
        return any(self._offered(name) for name in self.queues)
