"""The publishing connection: a window of unconfirmed messages on one channel in confirm mode.

Persistent, mandatory, confirmed and `user_id` are not options. A confirm may cover many messages and come out of order; a
return comes before the confirm of its message and cancels it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pika.spec import Basic, BasicProperties

from agent.adapters.amqp.address import BrokerAddress
from agent.adapters.amqp.connection import Connection, OpenChannel
from agent.adapters.amqp.translate import publish_error
from agent.errors import HuitongError, NotConnected, Refused, Unroutable
from agent.failpoints import failpoint
from agent.i18n import N_
from agent.ports import Parcel, Published

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"


@dataclass(slots=True)
class _Window:
    """What one channel has sent and not yet resolved. Delivery tags count from 1 on every channel."""

    channel: OpenChannel
    next_tag: int = 1
    lowest: int = 1
    unresolved: dict[int, Parcel] = field(default_factory=dict)
    returned: list[str] = field(default_factory=list)  # message ids whose confirm means nothing

    def resolve(self, delivery_tag: int, *, multiple: bool) -> list[Parcel]:
        """Take out what an ack or nack speaks of. Tag 0 with `multiple` means everything."""
        if not multiple:
            parcel = self.unresolved.pop(delivery_tag, None)
            return [] if parcel is None else [parcel]
        upto = delivery_tag or self.next_tag - 1
        found = [self.unresolved.pop(tag) for tag in range(self.lowest, upto + 1) if tag in self.unresolved]
        self.lowest = max(self.lowest, upto + 1)
        return found

    def abandon(self) -> list[Parcel]:
        """Take out everything."""
        parcels = list(self.unresolved.values())
        self.unresolved.clear()
        return parcels


class AmqpSink:
    """`ports.Sink` on RabbitMQ. `user_id` must be the user of the connection; the broker refuses any other."""

    def __init__(self, address: BrokerAddress, *, user_id: str, app_id: str) -> None:
        self._connection = Connection(address)
        self._node = user_id.removeprefix("agent.")
        self._fixed = {"content_type": CONTENT_TYPE, "delivery_mode": 2, "user_id": user_id, "app_id": app_id}
        self._window: _Window | None = None
        self._outcomes: deque[Published] = deque()

    def open(self) -> None:
        """Connect and open a channel. Raises NotConnected, Forbidden."""
        self._outcomes.clear()
        self._window = None
        self._connection.open()
        self._window = self._open_window()

    def send(self, parcels: Sequence[Parcel]) -> None:
        """Publish, in order, as far as the socket takes it at once; `poll` goes on with the rest. Raises NotConnected."""
        window = self._window
        if self._connection.lost is not None or window is None:
            raise self._why_lost()
        if window.channel.reason is not None:
            window = self._window = self._open_window()
        for parcel in parcels:
            window.unresolved[window.next_tag] = parcel
            window.next_tag += 1
            self._publish(window, parcel)
        self._connection.serve(0.0, lambda: True)
        if window.unresolved:
            failpoint("C08")

    def poll(self, timeout_secs: float) -> Sequence[Published]:
        """Serve the connection until there are outcomes. Raises NotConnected, Forbidden once all outcomes were given out."""
        self._connection.serve(0.0 if self._outcomes else timeout_secs, lambda: bool(self._outcomes))
        outcomes = list(self._outcomes)
        self._outcomes.clear()
        if not outcomes and self._connection.lost is not None:
            raise self._why_lost()
        return outcomes

    def wake(self) -> None:
        """Make a `poll` in progress, or the next one, return. Any thread."""
        self._connection.wake()

    def close(self) -> None:
        """Close the connection; what has no outcome is in doubt. Idempotent."""
        self._connection.close()

    def _why_lost(self) -> HuitongError:
        if self._window is not None and self._window.unresolved:
            failpoint("C11")
        return self._connection.lost or NotConnected(why="not open")

    def _open_window(self) -> _Window:
        channel = self._connection.channel()
        window = _Window(channel)
        channel.raw.add_on_return_callback(lambda _channel, _method, properties, _body: self._on_return(window, properties))
        channel.raw.add_on_close_callback(lambda _channel, _error: self._on_closed(window))
        channel.ask(channel.raw.confirm_delivery, ack_nack_callback=lambda frame: self._on_confirm(window, frame.method))
        return window

    def _publish(self, window: _Window, parcel: Parcel) -> None:
        properties = BasicProperties(  # type: ignore[no-untyped-call]
            content_encoding=parcel.encoding or None,
            headers=dict(parcel.headers),
            message_id=parcel.message_id,
            timestamp=parcel.timestamp,
            type=parcel.type,
            **self._fixed,
        )
        window.channel.raw.basic_publish(parcel.exchange, parcel.routing_key, parcel.body, properties, mandatory=True)

    def _on_return(self, window: _Window, properties: BasicProperties) -> None:
        window.returned.append(str(properties.message_id))
        failpoint("C10")

    def _on_confirm(self, window: _Window, method: Any) -> None:
        refused = (
            None
            if isinstance(method, Basic.Ack)
            else Refused(N_("the message broker did not take the message: its queue is full"))
        )
        for parcel in window.resolve(method.delivery_tag, multiple=method.multiple):
            error: HuitongError | None = refused
            if parcel.message_id in window.returned:
                window.returned.remove(parcel.message_id)
                error = Unroutable(exchange=parcel.exchange, node=self._node)
            self._outcomes.append(Published(parcel.tag, error))

    def _on_closed(self, window: _Window) -> None:
        """Fail what was in flight when the broker closed the channel. When the connection was lost, it stays in doubt."""
        reason = window.channel.reason
        if reason is not None:
            for parcel in window.abandon():
                self._outcomes.append(Published(parcel.tag, publish_error(reason, self._node, parcel.exchange)))
