"""The two worlds in which the broker contract holds, the memory broker and a real RabbitMQ, and what the tests do in them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol

from agent.adapters.amqp.address import BrokerAddress
from agent.adapters.amqp.admin import AmqpAdmin
from agent.adapters.amqp.feed import AmqpFeed
from agent.adapters.amqp.sink import AmqpSink
from agent.ports import Delivered, Feed, Parcel, Published, Sink
from agent.testing.broker import MemoryBroker, Rights
from agent.testing.nodes.rabbitmq import BrokerSpace, RabbitmqNode

DEADLINE_SECS = 20.0


class ManyQueues(Feed, Protocol):
    def consume(self, queue: str, prefetch: int | None = None) -> None: ...
    def cancel(self, queue: str) -> None: ...
    def widen(self, queue: str) -> None: ...


class World(Protocol):
    """What a contract test needs of a broker. `user` may write to `ing.d1` and `to`, and read all but `secret`."""

    user: str

    def sink(self, *, known: bool = True, user_id: str | None = None) -> Sink: ...
    def feed(self, *queues: str, prefetch: int = 256) -> ManyQueues: ...
    def declare_exchange(self, name: str, kind: str) -> None: ...
    def declare_queue(self, name: str, *, bound: int = 10_000, single_active: bool = False) -> None: ...
    def bind(self, queue: str, exchange: str, routing_key: str = "") -> None: ...
    def unbind(self, queue: str, exchange: str, routing_key: str = "") -> None: ...
    def delete_queue(self, name: str) -> None: ...
    def drop_connections(self) -> None: ...
    def close(self) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.user = "agent.d1"
        self.broker.add_user(self.user, Rights(write=r"^(ing\.d1|to|nowhere)$", read=r"^(?!secret)"))

    def sink(self, *, known: bool = True, user_id: str | None = None) -> Sink:
        return self.broker.sink(self.user if known else "agent.nobody", user_id=user_id)

    def feed(self, *queues: str, prefetch: int = 256) -> ManyQueues:
        return self.broker.feed(self.user, queues, prefetch=prefetch)

    def declare_exchange(self, name: str, kind: str) -> None:
        self.broker.declare_exchange(name, kind)

    def declare_queue(self, name: str, *, bound: int = 10_000, single_active: bool = False) -> None:
        self.broker.declare_queue(name, max_length=bound, single_active=single_active)

    def bind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        self.broker.bind(queue, exchange, routing_key)

    def unbind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        self.broker.unbind(queue, exchange, routing_key)

    def delete_queue(self, name: str) -> None:
        self.broker.delete_queue(name)

    def drop_connections(self) -> None:
        self.broker.drop_connections()

    def close(self) -> None:
        pass


class RabbitWorld:
    def __init__(self, node: RabbitmqNode, space: BrokerSpace) -> None:
        self.node = node
        self.space = space
        self.password = secrets.token_hex(8)
        self.user = f"agent.d1.{space.vhost}"  # users belong to the whole node
        node.add_user(self.user, self.password)
        node.set_permissions(self.user, space.vhost, "", r"^(ing\.d1|to|nowhere)$", r"^(?!secret)")
        self.admin = AmqpAdmin(BrokerAddress.parse(space.url)).__enter__()
        self.declare_exchange = self.admin.declare_exchange
        self.bind, self.unbind = self.admin.bind, self.admin.unbind
        self.delete_queue = self.admin.delete_queue
        self.open: list[Sink | Feed] = []

    def sink(self, *, known: bool = True, user_id: str | None = None) -> Sink:
        sink = AmqpSink(
            self._address(self.user if known else "agent.nobody"), user_id=user_id or self.user, app_id="huitong/test"
        )
        self.open.append(sink)
        return sink

    def feed(self, *queues: str, prefetch: int = 256) -> ManyQueues:
        feed = AmqpFeed(self._address(self.user), queues, prefetch)
        self.open.append(feed)
        return feed

    def declare_queue(self, name: str, *, bound: int = 10_000, single_active: bool = False) -> None:
        self.admin.declare_queue(name, bound=bound, single_active=single_active)

    def drop_connections(self) -> None:
        self.node.ctl("close_all_connections", "-p", self.space.vhost, "test")
        self.admin.__enter__()

    def close(self) -> None:
        for connection in self.open:
            connection.close()
        self.admin.__exit__(None, None, None)
        self.node.delete_user(self.user)

    def _address(self, user: str) -> BrokerAddress:
        return BrokerAddress.parse(
            f"amqp://{self.space.host}:{self.space.port}/{self.space.vhost}", user=user, password=self.password
        )


def parcel(tag: int, *, exchange: str = "ing.d1", key: str = "", body: bytes | None = None) -> Parcel:
    """Return a publication whose body names its tag."""
    return Parcel(
        tag=tag,
        exchange=exchange,
        routing_key=key,
        message_id=f"m{tag}",
        type="cn.huitong.records.v1",
        encoding="zstd",
        body=f"body {tag}".encode() if body is None else body,
        headers={"jws": f"e30..{tag}"},
        timestamp=1_700_000_000 + tag,
    )


def outcomes(sink: Sink, count: int) -> list[Published]:
    """Poll until there are `count` outcomes."""
    found: list[Published] = []
    while len(found) < count:
        batch = sink.poll(DEADLINE_SECS)
        assert batch, f"{len(found)} of {count} outcomes in time"
        found.extend(batch)
    return found


def deliveries(feed: Feed, count: int, *, limit: int = 1000) -> list[Delivered]:
    """Poll until there are `count` deliveries."""
    found: list[Delivered] = []
    while len(found) < count:
        batch = feed.poll(DEADLINE_SECS, limit)
        assert batch, f"{len(found)} of {count} deliveries in time"
        found.extend(batch)
    return found


def bodies(messages: Sequence[Delivered]) -> list[str]:
    return [message.body.decode() for message in messages]


def for_ever(poll: Callable[[], object]) -> NoReturn:
    """Poll until it raises."""
    while True:
        poll()
