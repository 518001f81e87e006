"""A broker that is killed, frozen or out of memory while a window is on its way."""

from __future__ import annotations

from itertools import count

import pytest

from agent import failpoints
from agent.adapters.amqp.admin import AmqpAdmin
from agent.adapters.amqp.feed import AmqpFeed
from agent.adapters.amqp.sink import AmqpSink
from agent.errors import NotConnected, Unroutable
from agent.testing.nodes.rabbitmq import RabbitmqNode
from agent.wire.topology import inbound_queue, ingress_exchange, receipt_queue
from tests.contract.broker.worlds import bodies, deliveries, for_ever, outcomes, parcel
from tests.integration.amqp.conftest import Department, admit

pytestmark = [pytest.mark.integration, pytest.mark.faults]


def open_sink(department: Department, **limits: float) -> AmqpSink:
    sink = AmqpSink(department.patient(**limits), user_id=department.user, app_id="t")
    sink.open()
    return sink


def test_what_was_confirmed_survives_the_death_of_the_broker(private_rabbitmq: RabbitmqNode) -> None:
    """Killed in the middle of a window: the rest is in doubt; after the restart every confirmed message is there, once."""
    department = admit(private_rabbitmq)
    sink = open_sink(department)
    confirmed: set[int] = set()
    windows = count(1, 50)

    def send_a_window() -> None:
        first = next(windows)
        sink.send([parcel(n, exchange=ingress_exchange(department.code)) for n in range(first, first + 50)])
        confirmed.update(published.tag for published in sink.poll(5) if published.error is None)
        if first > 400 and private_rabbitmq.running:
            private_rabbitmq.kill()

    with pytest.raises(NotConnected):
        for_ever(send_a_window)
    sink.close()
    assert len(confirmed) > 0
    private_rabbitmq.start()
    feed = AmqpFeed(department.hub, [inbound_queue(department.code)], prefetch=1000)
    feed.open()
    found = bodies(deliveries(feed, len(confirmed)))
    found += bodies(feed.poll(1.0, 1000))
    assert {f"body {n}" for n in confirmed} <= set(found)
    assert len(found) == len(set(found))
    assert found == sorted(found, key=lambda body: int(body.split()[1]))
    feed.close()
    sink.open()
    sink.send([parcel(1, exchange=ingress_exchange(department.code))])
    assert outcomes(sink, 1)[0].error is None
    sink.close()


def test_a_frozen_broker_is_noticed_by_sink_and_feed(private_rabbitmq: RabbitmqNode) -> None:
    """SIGSTOP leaves the connection open and silent: after two missed heartbeats it is lost; closing takes no answer."""
    department = admit(private_rabbitmq)
    sink = open_sink(department, heartbeat_secs=1)
    feed = AmqpFeed(department.patient(heartbeat_secs=1), [receipt_queue(department.code)])
    feed.open()
    private_rabbitmq.pause()
    try:
        sink.send([parcel(1, exchange=ingress_exchange(department.code))])
        passed: list[str] = []
        failpoints.arm(passed.append)
        with pytest.raises(NotConnected):
            for_ever(lambda: sink.poll(30))
        assert passed == ["C11"]
        with pytest.raises(NotConnected):
            for_ever(lambda: feed.poll(30, 10))
        sink.close()
        feed.close()
        with pytest.raises(NotConnected):
            open_sink(department, connect_secs=0.5)
    finally:
        failpoints.arm(None)
        private_rabbitmq.resume()
    sink = open_sink(department)
    sink.send([parcel(2, exchange=ingress_exchange(department.code))])
    assert outcomes(sink, 1)[0].error is None
    sink.close()


def test_closing_does_not_wait_for_a_frozen_broker(private_rabbitmq: RabbitmqNode) -> None:
    """A close without an answer cuts the socket."""
    department = admit(private_rabbitmq)
    sink = open_sink(department)
    private_rabbitmq.pause()
    try:
        sink.close()
    finally:
        private_rabbitmq.resume()
    with pytest.raises(NotConnected):
        sink.poll(0)


def test_a_memory_alarm_blocks_publishing_but_not_receipts(private_rabbitmq: RabbitmqNode) -> None:
    """The publishing connection ends after its time limit; the consuming one keeps delivering and acking."""
    department = admit(private_rabbitmq)
    hub = AmqpSink(department.hub, user_id=department.hub.user, app_id="t")
    hub.open()
    hub.send([parcel(n, exchange="to", key=receipt_queue(department.code)) for n in (1, 2)])
    outcomes(hub, 2)
    hub.close()
    feed = AmqpFeed(department.agent, [receipt_queue(department.code)], prefetch=1)
    feed.open()
    (first,) = deliveries(feed, 1)
    sink = open_sink(department, blocked_secs=1.0)
    private_rabbitmq.ctl("set_vm_memory_high_watermark", "0.00001")
    sink.send([parcel(1, exchange=ingress_exchange(department.code))])
    with pytest.raises(NotConnected, match="blocks"):
        for_ever(lambda: sink.poll(30))
    feed.ack([first.tag])
    assert bodies(deliveries(feed, 1)) == ["body 2"]
    private_rabbitmq.ctl("set_vm_memory_high_watermark", "0.6")
    sink.close()
    sink.open()
    sink.send([parcel(2, exchange=ingress_exchange(department.code))])
    assert outcomes(sink, 1)[0].error is None
    sink.close()
    feed.close()


def test_crash_points_of_publishing_are_where_they_belong(department: Department) -> None:
    """C08 after the bytes went out, C10 between return and confirm."""
    passed: list[str] = []
    failpoints.arm(passed.append)
    try:
        sink = open_sink(department)
        exchange = ingress_exchange(department.code)
        sink.send([parcel(1, exchange=exchange)])
        assert passed == ["C08"]
        outcomes(sink, 1)
        with AmqpAdmin(department.hub) as admin:
            admin.unbind(inbound_queue(department.code), exchange)
        sink.send([parcel(2, exchange=exchange)])
        assert isinstance(outcomes(sink, 1)[0].error, Unroutable)
        assert passed.count("C10") == 1
        sink.close()
    finally:
        failpoints.arm(None)
