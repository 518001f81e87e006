"""The consuming connection: every queue on a channel of its own, so that one cannot starve another.

Nothing is ever rejected. What is not acked when channel or connection ends is delivered again; a consumer that the broker
cancels (queue deleted, node moved) ends the connection with NotConnected, because pika would only fall silent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pika.spec import Basic, BasicProperties

from agent.adapters.amqp.address import BrokerAddress
from agent.adapters.amqp.connection import Connection, OpenChannel
from agent.adapters.amqp.lenient import text
from agent.errors import HuitongError, NotConnected
from agent.i18n import N_
from agent.ports import Delivered


@dataclass(slots=True)
class _Tap:
    """One consumed queue: its channel and the deliveries not yet acked, by delivery tag, ascending."""

    queue: str
    channel: OpenChannel
    unacked: dict[int, int] = field(default_factory=dict)  # delivery tag → our tag
    consumer: str = ""
    flows: bool = False  # the broker agreed to deliver

    def ack(self, delivery_tags: set[int]) -> None:
        """Ack these and no others: the leading run with one frame, the rest one by one."""
        run = 0
        for delivery_tag in self.unacked:
            if delivery_tag not in delivery_tags:
                break
            run = delivery_tag
        if run:
            self.channel.raw.basic_ack(run, multiple=True)
        for delivery_tag in delivery_tags:
            if delivery_tag > run:
                self.channel.raw.basic_ack(delivery_tag)
            del self.unacked[delivery_tag]


class AmqpFeed:
    """`ports.Feed` on RabbitMQ, with queues that may come and go while it is open.

    A queue with a single active consumer may stay silent for as long as another one is active; that is not an error.
    """

    def __init__(self, address: BrokerAddress, queues: Iterable[str] = (), prefetch: int = 256) -> None:
        self._connection = Connection(address)
        self._queues: dict[str, int] = dict.fromkeys(queues, prefetch)
        self._prefetch = prefetch
        self._taps: dict[str, _Tap] = {}
        self._arrived: deque[Delivered] = deque()
        self._held: dict[int, tuple[_Tap, int]] = {}  # our tag → where it came from
        self._last_tag = 0
        self._broken: HuitongError | None = None

    def open(self) -> None:
        """Connect and consume every queue. Raises NotConnected, Forbidden; `details["queue"]` names the queue at fault."""
        self._arrived.clear()
        self._held.clear()
        self._taps.clear()
        self._broken = None
        self._connection.open()
        for queue, prefetch in self._queues.items():
            self._open_tap(queue, prefetch)

    def consume(self, queue: str, prefetch: int | None = None) -> None:
        """Consume one more queue, also after every reopening. Raises NotConnected, Forbidden."""
        if queue not in self._queues:
            self._open_tap(queue, prefetch or self._prefetch)
            self._queues[queue] = prefetch or self._prefetch

    def cancel(self, queue: str) -> None:
        """Stop consuming a queue; what was not acked of it is delivered to its next consumer. Raises NotConnected."""
        self._queues.pop(queue, None)
        tap = self._taps.pop(queue, None)
        if tap is not None:
            self._forget(tap)
            tap.channel.close()
            self._forget(tap)  # what arrived before the broker read of it

    def widen(self, queue: str) -> None:
        """Take as much ahead of a queue as of others, where it was consumed with a prefetch of 1. Raises NotConnected.

        Only while that one message is not acked: it keeps the broker from delivering what would have to go back, out of order.
        """
        tap = self._taps[queue]
        assert len(tap.unacked) == self._queues[queue] == 1, "the one message has to be held"
        tap.channel.ask(tap.channel.raw.basic_cancel, consumer_tag=tap.consumer)
        self._queues[queue] = self._prefetch
        self._start(tap, self._prefetch)

    def poll(self, timeout_secs: float, limit: int) -> Sequence[Delivered]:
        """Serve the connection until something arrived; return at most `limit`. Raises NotConnected, Forbidden."""
        timeout_secs = 0.0 if self._arrived else timeout_secs
        self._connection.serve(timeout_secs, lambda: bool(self._arrived) or self._broken is not None)
        self._raise_if_broken()
        return [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]

    def ack(self, tags: Sequence[int]) -> None:
        """Tell the broker that these are dealt with; tags of an earlier connection mean nothing any more. Raises NotConnected."""
        self._raise_if_broken()
        done: dict[str, set[int]] = {}
        for tag in tags:
            held = self._held.pop(tag, None)
            if held is not None:
                done.setdefault(held[0].queue, set()).add(held[1])
        for queue, delivery_tags in done.items():
            self._taps[queue].ack(delivery_tags)

    def wake(self) -> None:
        """Make a `poll` in progress, or the next one, return. Any thread."""
        self._connection.wake()

    def close(self) -> None:
        """Close; what was not acked is delivered again. Idempotent."""
        self._connection.close()

    def _open_tap(self, queue: str, prefetch: int) -> None:
        try:
            channel = self._connection.channel()
            tap = self._taps[queue] = _Tap(queue, channel)
            channel.raw.add_on_cancel_callback(lambda _frame: self._on_gone(tap))
            channel.raw.add_on_close_callback(lambda _channel, _error: self._on_closed(tap))
            self._start(tap, prefetch)
        except HuitongError as error:
            self._taps.pop(queue, None)
            error.details.setdefault("queue", queue)
            raise

    def _start(self, tap: _Tap, prefetch: int) -> None:
        channel = tap.channel
        channel.ask(channel.raw.basic_qos, prefetch_count=prefetch)
        begun = channel.ask(
            channel.raw.basic_consume,
            queue=tap.queue,
            on_message_callback=lambda _channel, method, properties, body: self._on_message(tap, method, properties, body),
        )
        tap.consumer = begun.method.consumer_tag
        tap.flows = True

    def _on_message(self, tap: _Tap, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        if self._taps.get(tap.queue) is not tap:
            return  # cancelled meanwhile; delivered again to whoever consumes next
        self._last_tag += 1
        tap.unacked[method.delivery_tag] = self._last_tag
        self._held[self._last_tag] = tap, method.delivery_tag
        self._arrived.append(_delivered(self._last_tag, tap.queue, method, properties, body))

    def _on_gone(self, tap: _Tap) -> None:
        self._broken = self._broken or NotConnected(N_("the queue {queue} is gone"), queue=tap.queue)

    def _on_closed(self, tap: _Tap) -> None:
        error = tap.channel.error
        if error is not None and tap.flows and self._taps.get(tap.queue) is tap:
            error.details.setdefault("queue", tap.queue)
            self._broken = self._broken or error

    def _forget(self, tap: _Tap) -> None:
        tags = set(tap.unacked.values())
        tap.unacked.clear()
        for tag in tags:
            self._held.pop(tag, None)
        self._arrived = deque(message for message in self._arrived if message.tag not in tags)

    def _raise_if_broken(self) -> None:
        error = self._connection.lost or self._broken
        if error is not None:
            raise error


def _delivered(tag: int, queue: str, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> Delivered:
    headers = {text(name) or "": value for name, value in (properties.headers or {}).items()}
    # The broker counts from the second delivery on; before, this header is whatever the sender wrote.
    count = headers.get("x-delivery-count") if method.redelivered else 0
    return Delivered(
        tag=tag,
        queue=queue,
        exchange=method.exchange,
        routing_key=method.routing_key,
        user_id=text(properties.user_id),
        message_id=text(properties.message_id),
        type=text(properties.type),
        encoding=text(properties.content_encoding) or "",
        content_type=text(properties.content_type),
        body=body,
        headers=headers,
        redelivered=bool(method.redelivered),
        delivery_count=int(count) if isinstance(count, int) else 0,
    )
