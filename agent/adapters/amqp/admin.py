"""Declaring the topology of PROTOCOL 4, over AMQP. The hub does this; an agent has no right to.

Everything is idempotent, and a declaration that contradicts what exists fails instead of changing it.
"""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any, Self

from agent.adapters.amqp.address import BrokerAddress
from agent.adapters.amqp.connection import Connection, OpenChannel
from agent.wire.topology import DELIVERY_EXCHANGE, inbound_queue, ingress_exchange, out_queue, receipt_queue

DEFAULT_BOUND = 100_000


class AmqpAdmin:
    """A connection that declares. `with AmqpAdmin(address) as admin: admin.admit("bdc-01")`."""

    def __init__(self, address: BrokerAddress) -> None:
        self._connection = Connection(address)
        self._current: OpenChannel | None = None

    def __enter__(self) -> Self:
        """Connect. Raises NotConnected, Forbidden."""
        self._connection.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    # -- the topology of PROTOCOL 4 ----------------------------------------------------------------------------------

    @property
    def server_version(self) -> tuple[int, ...]:
        """The broker's version, (3, 10, 8) for example.

        From 4.0 on a quorum queue has a delivery limit of 20 unless a policy sets `delivery-limit` to -1. A policy cannot be
        set over AMQP: whoever starts a hub has to assert it, because the limit silently removes innocent messages.
        """
        return tuple(int(number) for number in re.findall(r"\d+", str(self._connection.server_properties.get("version", "")))[:3])

    def admit(self, code: str, *, inbound_bound: int = DEFAULT_BOUND, outbound_bound: int = DEFAULT_BOUND) -> None:
        """Declare what a department needs; the bounds are in messages, and over them a publication is refused.

        No TTL, no dead-letter exchange and no delivery limit: a queue never drops what it has taken.
        """
        self.declare_exchange(ingress_exchange(code), "fanout")
        self.declare_queue(inbound_queue(code), bound=inbound_bound, single_active=True)
        self.bind(inbound_queue(code), ingress_exchange(code))
        self.declare_exchange(DELIVERY_EXCHANGE, "direct")
        for queue in (receipt_queue(code), out_queue(code)):
            self.declare_queue(queue, bound=outbound_bound)
            self.bind(queue, DELIVERY_EXCHANGE, queue)

    def dismiss(self, code: str) -> None:
        """Delete what `admit` declared for a department, with everything in its queues."""
        self.delete_exchange(ingress_exchange(code))
        for queue in (inbound_queue(code), receipt_queue(code), out_queue(code)):
            self.delete_queue(queue)

    # -- one thing at a time -----------------------------------------------------------------------------------------

    def declare_exchange(self, name: str, kind: str) -> None:
        """Declare a durable exchange; `kind` is fanout or direct."""
        self._ask("exchange_declare", exchange=name, exchange_type=kind, durable=True)

    def declare_queue(self, name: str, *, bound: int, single_active: bool = False) -> None:
        """Declare a quorum queue that refuses publications over `bound` messages."""
        arguments: dict[str, object] = {"x-queue-type": "quorum", "x-max-length": bound, "x-overflow": "reject-publish"}
        if single_active:
            arguments["x-single-active-consumer"] = True
        self._ask("queue_declare", queue=name, durable=True, arguments=arguments)

    def bind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        """Route from an exchange to a queue."""
        self._ask("queue_bind", queue=queue, exchange=exchange, routing_key=routing_key)

    def unbind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        """Take a route away."""
        self._ask("queue_unbind", queue=queue, exchange=exchange, routing_key=routing_key)

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange; none there is fine."""
        self._ask("exchange_delete", exchange=name)

    def delete_queue(self, name: str) -> None:
        """Delete a queue with its messages; none there is fine."""
        self._ask("queue_delete", queue=name)

    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue. Raises NotConnected when there is none."""
        return int(self._ask("queue_declare", queue=queue, passive=True).method.message_count)

    def _ask(self, method: str, **arguments: object) -> Any:
        # The broker answers a wrong declaration by closing the channel; the next question gets a new one.
        if self._current is None or not self._current.raw.is_open:
            self._current = self._connection.channel()
        return self._current.ask(getattr(self._current.raw, method), **arguments)
