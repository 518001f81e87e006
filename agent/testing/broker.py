"""A message broker in memory that behaves as RabbitMQ does, where it matters.

It ships: it is what the unit tests, `preview` and the demonstration without a broker run on. It passes the same contract
suite as the AMQP adapter (tests/contract/broker): mandatory returns, nacks by full queues, channel errors that take
everything in flight with them, permissions, the check of `user_id`, redelivery of what was not acked, single active
consumer. On top of that it can be told to misbehave, publication by publication, and does so the same way every time.

Thread-safe: one lock for everything; a `poll` waits on it. With `blocking=False` a poll never waits, for tests without
threads.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from agent.errors import Forbidden, HuitongError, NotConnected, Refused, Unroutable
from agent.ports import Delivered, Parcel
from agent.testing.links import Fault, Link, MemoryFeed, MemorySink


@dataclass(frozen=True, slots=True)
class Rights:
    """Regular expressions over names, as RabbitMQ has them; the empty pattern `^$` allows nothing."""

    write: str = ".*"
    read: str = ".*"


@dataclass(slots=True)
class Queue:
    """A queue and who consumes it; the first consumer is the active one."""

    name: str
    max_length: int | None = None
    single_active: bool = False
    ready: deque[Delivered] = field(default_factory=deque)
    consumers: list[MemoryFeed] = field(default_factory=list)


class MemoryBroker:
    """Exchanges, queues and users; `sink` and `feed` give connections to it."""

    def __init__(self, *, max_body_bytes: int = 16 * 1024 * 1024, blocking: bool = True) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.blocking = blocking
        self._max_body_bytes = max_body_bytes
        self._exchanges: dict[str, str] = {}
        self._bindings: dict[str, list[tuple[str, str]]] = {}
        self._queues: dict[str, Queue] = {}
        self._users: dict[str, Rights] = {}
        self._links: list[Link] = []
        self._faults: deque[Fault] = deque()
        self._withholding = False
        self._down: HuitongError | None = None

    # -- topology ----------------------------------------------------------------------------------------------------

    def add_user(self, user: str, rights: Rights = Rights()) -> None:
        """Create a user or give it other rights. Without any user everybody may do everything."""
        with self.changed:
            self._users[user] = rights

    def declare_exchange(self, name: str, kind: str) -> None:
        """Create an exchange; `kind` is fanout or direct."""
        with self.changed:
            self._exchanges[name] = kind
            self._bindings.setdefault(name, [])

    def declare_queue(self, name: str, *, max_length: int | None = None, single_active: bool = False) -> None:
        """Create a queue; a publication over `max_length` waiting messages is refused."""
        with self.changed:
            self._queues.setdefault(name, Queue(name, max_length, single_active))

    def bind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        """Route from an exchange to a queue."""
        with self.changed:
            self._bindings[exchange].append((routing_key, queue))

    def unbind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        """Take a route away."""
        with self.changed:
            self._bindings[exchange].remove((routing_key, queue))

    def delete_exchange(self, name: str) -> None:
        """Remove an exchange with its bindings."""
        with self.changed:
            self._exchanges.pop(name, None)
            self._bindings.pop(name, None)

    def delete_queue(self, name: str) -> None:
        """Remove a queue with its messages; its consumers are cancelled, which ends their connections."""
        with self.changed:
            queue = self._queues.pop(name, None)
            for routes in self._bindings.values():
                routes[:] = [route for route in routes if route[1] != name]
            for consumer in list(queue.consumers) if queue else ():
                self.sever(consumer, NotConnected("the queue {queue} is gone", queue=name))

    # -- connections -------------------------------------------------------------------------------------------------

    def sink(self, user: str, *, user_id: str | None = None) -> MemorySink:
        """Return a publishing connection, not yet open. `user_id` other than the user is refused, as it should be."""
        return MemorySink(self, user, user if user_id is None else user_id)

    def feed(self, user: str, queues: Iterable[str] = (), *, prefetch: int = 256) -> MemoryFeed:
        """Return a consuming connection, not yet open."""
        return MemoryFeed(self, user, queues, prefetch)

    # -- faults ------------------------------------------------------------------------------------------------------

    def script(self, faults: Iterable[Fault]) -> None:
        """Say what happens to the publications to come, one fault each; after the last all goes well again."""
        with self.changed:
            self._faults.extend(faults)

    def withhold_confirms(self) -> None:
        """Store what is published, but send no confirm until `release_confirms`."""
        with self.changed:
            self._withholding = True

    def release_confirms(self) -> None:
        """Send the confirms that were withheld and withhold no more."""
        with self.changed:
            self._withholding = False
            for link in self._links:
                if isinstance(link, MemorySink):
                    link.release()
            self.changed.notify_all()

    def drop_connections(self, user: str | None = None) -> None:
        """Break the connections of one user, or all."""
        with self.changed:
            for link in [link for link in self._links if user in (None, link.user)]:
                self.sever(link, NotConnected(why="connection reset"))

    def go_down(self, error: HuitongError | None = None) -> None:
        """Break every connection and refuse new ones, with NotConnected or the given error, until `come_up`."""
        with self.changed:
            self._down = error or NotConnected(why="connection refused")
            self.drop_connections()

    def come_up(self) -> None:
        """Accept connections again."""
        with self.changed:
            self._down = None

    # -- inspection --------------------------------------------------------------------------------------------------

    def waiting(self, queue: str) -> Sequence[Delivered]:
        """Return the messages that wait in a queue, oldest first; what consumers hold is not among them."""
        with self.changed:
            return tuple(self._queues[queue].ready)

    # -- for the connections: the caller holds the lock --------------------------------------------------------------

    def attach(self, link: Link) -> None:
        """Accept a connection. Raises what `go_down` said, Forbidden for an unknown user."""
        if self._down is not None:
            raise self._down
        if self._users and link.user not in self._users:
            raise Forbidden(why="user or password is wrong", node=link.node)
        self._links.append(link)

    def detach(self, link: Link) -> None:
        """Forget a connection and put back what it held."""
        if link in self._links:
            self._links.remove(link)
        if isinstance(link, MemoryFeed):
            for name in link.queues:
                self.leave(link, name)

    def sever(self, link: Link, error: HuitongError) -> None:
        """Break a connection: its owner learns of it at the next call."""
        self.detach(link)
        link.lost = error
        self.changed.notify_all()

    def publish(self, sink: MemorySink, parcel: Parcel) -> tuple[Fault, HuitongError | None]:
        """Take one publication: what happened to it and, unless it was stored, why not."""
        fault = self._faults.popleft() if self._faults else Fault.NONE
        if fault is Fault.DROP_BEFORE:
            return fault, NotConnected(why="connection reset")
        if fault is Fault.NACK:
            return fault, Refused(why="by script")
        self._check_channel(sink, parcel)
        targets = [] if fault is Fault.RETURN else self._route(parcel)
        if not targets:
            return Fault.RETURN, Unroutable(exchange=parcel.exchange, node=sink.node)
        if any(queue.max_length is not None and len(queue.ready) >= queue.max_length for queue in targets):
            return Fault.NACK, Refused(why="the queue is full")
        for queue in targets:
            queue.ready.append(_delivered(queue.name, sink.user_id, parcel))
        self.changed.notify_all()
        return (Fault.WITHHOLD if self._withholding else fault), None

    def join(self, feed: MemoryFeed, name: str) -> None:
        """Make a feed a consumer of a queue."""
        if name not in self._queues:
            raise NotConnected("there is no queue {queue}", queue=name)
        if not self._allows(feed.user, name, "read"):
            raise Forbidden(why=f"no right to read from {name}", node=feed.node, queue=name)
        self._queues[name].consumers.append(feed)

    def leave(self, feed: MemoryFeed, name: str) -> None:
        """End a subscription; what the feed holds of that queue goes back to its head, counted and marked."""
        held = [again(message) for message in feed.forget(name)]
        queue = self._queues.get(name)
        if queue is None:
            return
        queue.ready.extendleft(reversed(held))
        if feed in queue.consumers:
            queue.consumers.remove(feed)
        self.changed.notify_all()

    def offers(self, feed: MemoryFeed, name: str) -> bool:
        """Say whether there is a message for this consumer now: it may have to wait for its turn."""
        queue = self._queues.get(name)
        if queue is None or not queue.ready or feed not in queue.consumers:
            return False
        return not queue.single_active or queue.consumers[0] is feed

    def take(self, name: str) -> Delivered:
        """Remove and return the message that was offered."""
        return self._queues[name].ready.popleft()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _check_channel(self, sink: MemorySink, parcel: Parcel) -> None:
        """Raise what makes the broker close the channel."""
        if parcel.exchange not in self._exchanges:
            raise Unroutable(exchange=parcel.exchange, node=sink.node)
        if not self._allows(sink.user, parcel.exchange, "write"):
            raise Forbidden(why=f"no right to write to {parcel.exchange}", node=sink.node)
        if sink.user_id != sink.user:
            raise Forbidden(why="user_id is not the user of the connection", node=sink.node)
        if len(parcel.body) > self._max_body_bytes:
            raise Refused(why=f"the message has {len(parcel.body)} bytes, the broker takes {self._max_body_bytes}")

    def _allows(self, user: str, name: str, right: str) -> bool:
        rights = self._users.get(user)
        return rights is None or re.search(getattr(rights, right), name) is not None

    def _route(self, parcel: Parcel) -> list[Queue]:
        fanout = self._exchanges[parcel.exchange] == "fanout"
        names = [queue for key, queue in self._bindings[parcel.exchange] if fanout or key == parcel.routing_key]
        return [self._queues[name] for name in dict.fromkeys(names) if name in self._queues]


def again(message: Delivered) -> Delivered:
    """Return a message as it is delivered once more."""
    return replace(message, redelivered=True, delivery_count=message.delivery_count + 1)


def _delivered(queue: str, user_id: str, parcel: Parcel) -> Delivered:
    return Delivered(
        tag=0,
        queue=queue,
        exchange=parcel.exchange,
        routing_key=parcel.routing_key,
        user_id=user_id,
        message_id=parcel.message_id,
        type=parcel.type,
        encoding=parcel.encoding,
        content_type="application/cloudevents+json; charset=utf-8",
        body=parcel.body,
        headers=dict(parcel.headers),
        redelivered=False,
        delivery_count=0,
    )
