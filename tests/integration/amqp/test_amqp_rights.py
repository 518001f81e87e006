"""What the topology of PROTOCOL 4 allows a department, and what travels with a message."""

from __future__ import annotations

from collections.abc import Iterator

import pika
import pytest

from agent.adapters.amqp.admin import AmqpAdmin
from agent.adapters.amqp.feed import AmqpFeed
from agent.adapters.amqp.sink import AmqpSink
from agent.errors import Forbidden, NotConnected, Refused, Unroutable
from agent.wire.topology import inbound_queue, ingress_exchange, out_queue, receipt_queue
from tests.contract.broker.worlds import deliveries, outcomes, parcel
from tests.integration.amqp.conftest import MAX_MESSAGE_BYTES, Department, TlsNode, admit

pytestmark = pytest.mark.integration


@pytest.fixture
def sink(department: Department) -> Iterator[AmqpSink]:
    sink = AmqpSink(department.agent, user_id=department.user, app_id="huitong/1.0")
    sink.open()
    yield sink
    sink.close()


def send(sink: AmqpSink, exchange: str, *, key: str = "", body: bytes | None = None) -> Exception | None:
    """Publish one message and return its error."""
    sink.send([parcel(1, exchange=exchange, key=key, body=body)])
    return outcomes(sink, 1)[0].error


def test_the_properties_of_the_protocol_are_on_the_wire(department: Department, sink: AmqpSink) -> None:
    """Read with the stock client: persistent, typed, signed, with user, application, time and encoding."""
    assert send(sink, ingress_exchange(department.code)) is None
    with pika.BlockingConnection(department.hub.parameters()) as stock:
        _method, properties, body = next(stock.channel().consume(inbound_queue(department.code), auto_ack=True))
    assert properties is not None
    assert body == b"body 1"
    assert (properties.delivery_mode, properties.message_id) == (2, "m1")
    assert (properties.user_id, properties.app_id) == (department.user, "huitong/1.0")
    assert (properties.type, properties.timestamp) == ("cn.huitong.records.v1", 1_700_000_001)
    assert (properties.content_type, properties.content_encoding) == ("application/cloudevents+json; charset=utf-8", "zstd")
    assert properties.headers == {"jws": "e30..1"}
    assert properties.expiration is None


def test_a_department_writes_to_its_own_exchange_only(tls_node: TlsNode, department: Department, sink: AmqpSink) -> None:
    """Not to a neighbour's, not to `to`, not to the default exchange; and the sink survives every refusal."""
    other = admit(tls_node.node)
    for exchange, key in ((ingress_exchange(other.code), ""), ("to", receipt_queue(other.code)), ("", inbound_queue(other.code))):
        assert isinstance(send(sink, exchange, key=key), Forbidden)
        assert send(sink, ingress_exchange(department.code)) is None


def test_a_department_reads_its_own_queues_only(tls_node: TlsNode, department: Department) -> None:
    """Its receipts and deliveries; not its own inbound queue, not a neighbour's anything."""
    other = admit(tls_node.node)
    feed = AmqpFeed(department.agent, [receipt_queue(department.code), out_queue(department.code)])
    feed.open()
    feed.close()
    for queue in (inbound_queue(department.code), receipt_queue(other.code), out_queue(other.code)):
        feed = AmqpFeed(department.agent, [queue])
        with pytest.raises(Forbidden):
            feed.open()
        feed.close()


def test_a_department_declares_nothing(department: Department) -> None:
    """Topology is the hub's."""
    with AmqpAdmin(department.agent) as admin:
        with pytest.raises(Forbidden):
            admin.declare_queue("mine", bound=1)
        with pytest.raises(Forbidden):
            admin.declare_exchange("mine", "fanout")
        with pytest.raises(Forbidden):
            admin.bind(receipt_queue(department.code), ingress_exchange(department.code))
        with pytest.raises(Forbidden):
            admin.delete_queue(inbound_queue(department.code))


def test_the_hub_reaches_a_department_by_the_name_of_its_queue(department: Department) -> None:
    """The direct exchange `to` routes receipts and deliveries apart."""
    hub = AmqpSink(department.hub, user_id=department.hub.user, app_id="huitong/1.0")
    hub.open()
    feed = AmqpFeed(department.agent, [receipt_queue(department.code), out_queue(department.code)])
    feed.open()
    for queue in (receipt_queue(department.code), out_queue(department.code)):
        assert send(hub, "to", key=queue) is None
        (message,) = deliveries(feed, 1)
        assert (message.queue, message.exchange, message.user_id) == (queue, "to", department.hub.user)
        feed.ack([message.tag])
    assert isinstance(send(hub, "to", key="rcpt.nobody"), Unroutable)
    hub.close()
    feed.close()


def test_admission_is_idempotent_and_its_contradiction_fails(department: Department) -> None:
    """Declaring again changes nothing; declaring otherwise is refused; the next declaration works."""
    with AmqpAdmin(department.hub) as admin:
        admin.admit(department.code, inbound_bound=1000)
        with pytest.raises(NotConnected, match="406"):
            admin.admit(department.code, inbound_bound=5)
        admin.admit(department.code, inbound_bound=1000)
        assert admin.server_version >= (3, 10)


def test_a_dismissed_department_has_no_route(department: Department, sink: AmqpSink) -> None:
    """After dismissal its exchange is gone, and dismissing again is fine."""
    with AmqpAdmin(department.hub) as admin:
        assert admin.depth(inbound_queue(department.code)) == 0
        admin.dismiss(department.code)
        admin.dismiss(department.code)
        with pytest.raises(NotConnected, match="404"):
            admin.depth(inbound_queue(department.code))
    assert isinstance(send(sink, ingress_exchange(department.code)), Unroutable)


def test_queues_never_drop(tls_node: TlsNode, department: Department) -> None:
    """Quorum, bounded, refusing when full, one active consumer inbound; no TTL, no dead letters, no delivery limit."""
    for name in (inbound_queue(department.code), receipt_queue(department.code), out_queue(department.code)):
        arguments = tls_node.node.manage("GET", f"/api/queues/%2F/{name}")["arguments"]
        single = arguments.pop("x-single-active-consumer", False)
        assert single == (name == inbound_queue(department.code))
        assert set(arguments) == {"x-queue-type", "x-max-length", "x-overflow"}
        assert (arguments["x-queue-type"], arguments["x-overflow"]) == ("quorum", "reject-publish")


def test_an_oversize_message_is_refused_and_the_sink_goes_on(department: Department, sink: AmqpSink) -> None:
    """The broker closes the channel over its limit; with a body within it the next message works."""
    exchange = ingress_exchange(department.code)
    error = send(sink, exchange, body=b"x" * (MAX_MESSAGE_BYTES + 1))
    assert isinstance(error, Refused)
    assert "size" in str(error)
    assert send(sink, exchange, body=b"x" * (MAX_MESSAGE_BYTES - 1000)) is None
