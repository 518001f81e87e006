"""The hub's threads together: consuming, storing, acking, publishing, and what each of them does when its world breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from agent.errors import StoreError
from agent.events import BrokerConnected, BrokerLost, ServiceFailed
from agent.model import Outcome
from agent.testing.broker import Fault
from agent.wire.control import Hello, HubHello
from agent.wire.topology import inbound_queue, receipt_queue
from hub.errors import LeaseLost, StoreUnavailable
from hub.events import (
    GroupStored,
    LeaseRefused,
    LeasesChanged,
    MessageRefused,
    MessageRepeated,
    MessageStored,
    ReceiptRefused,
    ReceiptsPublished,
    StoreFound,
    StoreLost,
)
from hub.model import Changes, DepartmentState
from hub.store.store import IngestUnit
from hub.store.unit import SqlUnit
from hub.testing import LiveHub, SampleDepartment

pytestmark = pytest.mark.integration


def count(live: LiveHub, table: str) -> int:
    with live.store.transaction() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM {table}")))


def break_store(live: LiveHub, errors: list[Exception], *, after: Callable[[], None] = lambda: None) -> None:
    """Make the next ingest transactions fail at their start, one for each error."""
    whole = live.store.begin

    @contextmanager
    def begin(fences: object) -> Iterator[IngestUnit]:
        if errors:
            after()
            raise errors.pop(0)
        with whole(fences) as unit:  # type: ignore[arg-type]
            yield unit

    live.store.begin = begin  # type: ignore[method-assign,assignment]


def break_probe(live: LiveHub, errors: list[Exception]) -> None:
    """Make each probe after a failed transaction fail once: the store is really away."""
    left = [len(errors)]

    def probe() -> None:
        if len(errors) < left[0]:
            left[0] = len(errors)
            raise StoreUnavailable(why="still down")

    live.store.probe = probe  # type: ignore[method-assign]


def test_messages_become_receipts(live: LiveHub) -> None:
    """Everything a department sends is stored and receipted; hello is answered; a graceful stop leaves nothing behind."""
    bdc = live.admit("bdc-01")
    live.start()
    hello = bdc.control(Hello(instance="i", version="1"))
    messages = [hello, bdc.opening(), *(bdc.records(n) for n in range(1, 41))]
    live.send(bdc, *messages)
    heard = live.hear(bdc, 43)
    receipts = [one for one in heard if not isinstance(one, HubHello)]
    assert len(receipts) == 42
    assert {one.outcome for one in receipts} == {Outcome.STORED}  # type: ignore[union-attr]
    assert {one.message_id for one in receipts} == {message.message_id for message in messages}  # type: ignore[union-attr]
    assert any(group.messages > 1 for group in live.recorder.of(GroupStored))
    live.stop()
    assert live.store.due(None, 10) == []
    assert count(live, "record") == 80


def test_departments_are_found_while_running(live: LiveHub) -> None:
    """A department admitted later is worked for within seconds; a suspended one no more."""
    live.start()
    live.recorder.wait_for(StoreFound)
    bdc = live.admit("bdc-01")
    live.recorder.wait_for(lambda event: event == LeasesChanged(("bdc-01",), ()))
    live.send(bdc, bdc.opening())
    live.receipts(bdc, 1)
    live.registry.set_state("bdc-01", DepartmentState.SUSPENDED, bdc._clock.now(), "test")
    live.recorder.wait_for(lambda event: event == LeasesChanged((), ("bdc-01",)))


def test_readiness_follows_what_happens(live: LiveHub) -> None:
    """Not ready before the store and the broker answered, ready after, not ready when the broker is gone."""
    live.admit("bdc-01")
    assert live.health.ready()[0] is False
    live.start()
    live.recorder.wait_for(lambda event: event == BrokerConnected("consume"))
    live.recorder.wait_for(lambda event: event == BrokerConnected("publish"))
    assert live.health.ready()[0] is True
    live.broker.drop_connections("hub")
    live.recorder.wait_for(BrokerLost)


def test_a_store_outage_consumes_nothing_and_loses_nothing(live: LiveHub) -> None:
    """The feed is closed, tried again with a backoff, and everything is stored once; redeliveries of our own making do not count."""
    bdc = live.admit("bdc-01")
    errors: list[Exception] = [StoreUnavailable(why="down") for _ in range(6)]
    break_probe(live, errors)
    break_store(live, errors)
    live.send(bdc, bdc.opening(), *(bdc.records(n) for n in range(1, 21)))
    live.start()
    receipts = live.receipts(bdc, 21)
    assert {one.outcome for one in receipts} == {Outcome.STORED}
    assert len(live.recorder.of(StoreLost)) == 12
    assert live.recorder.of(MessageRefused) == []
    assert count(live, "record") == 40


def test_a_message_that_breaks_the_store_is_put_aside(live: LiveHub) -> None:
    """A message whose transaction fails again and again while the store is well goes to quarantine; its neighbours are stored."""
    bdc = live.admit("bdc-01")
    bad = bdc.records(2)
    whole = SqlUnit.write

    def write(self: SqlUnit, flows: Any, changes: Changes, at: Any) -> None:
        if any(row.message_id == bad.message_id for row in changes.messages):
            raise StoreUnavailable(why="statement timeout")
        whole(self, flows, changes, at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqlUnit, "write", write)
        live.send(bdc, bdc.opening(), bdc.records(1), bad, bdc.records(3))
        live.start()
        receipts = {one.message_id: one for one in live.receipts(bdc, 4)}
    assert (receipts.pop(bad.message_id).code, {one.outcome for one in receipts.values()}) == ("not_processed", {Outcome.STORED})


def test_a_store_that_stays_away_is_probed_before_consuming(live: LiveHub) -> None:
    """While the probe fails no connection to the broker is opened, so no message collects redeliveries."""
    live.admit("bdc-01")
    failing = threading.Event()

    def probe() -> None:
        if not failing.is_set():
            raise StoreUnavailable(why="down")

    live.store.probe = probe  # type: ignore[method-assign]
    live.start()
    live.recorder.wait_until(lambda events: sum(isinstance(event, StoreLost) for event in events) >= 3)
    assert BrokerConnected("consume") not in live.recorder.events
    failing.set()
    live.recorder.wait_for(lambda event: event == BrokerConnected("consume"))


def test_a_lost_lease_gives_everything_back(live: LiveHub) -> None:
    """A transaction that was fenced out is rolled back, its messages are delivered again and stored once."""
    bdc = live.admit("bdc-01")
    break_store(live, [LeaseLost(departments="bdc-01")])
    live.start()
    live.send(bdc, bdc.opening(), bdc.records(1))
    assert {one.outcome for one in live.receipts(bdc, 2)} == {Outcome.STORED}
    assert live.recorder.of(LeaseRefused) == [LeaseRefused("bdc-01")]


def test_an_unknown_failure_ends_the_process(live: LiveHub) -> None:
    """What nobody has thought of stops every thread and is raised, so that the service manager starts the hub again."""
    bdc = live.admit("bdc-01")
    break_store(live, [StoreError(why="42P01")])
    live.start()
    live.send(bdc, bdc.opening())
    live.recorder.wait_for(ServiceFailed)
    live._thread.join(20)  # type: ignore[union-attr]
    assert isinstance(live.failure, StoreError)
    live.failure = None


def test_a_broken_broker_connection_stores_nothing_twice(live: LiveHub) -> None:
    """Connections of the hub drop again and again under load; every message is stored once and receipted."""
    bdc = live.admit("bdc-01")
    live.start()
    live.send(bdc, bdc.opening())
    for turn in range(5):
        live.send(bdc, *(bdc.records(turn * 20 + n) for n in range(1, 21)))
        live.broker.drop_connections("hub")
    wanted = {f"{n}" for n in range(1, 101)}
    live.recorder.wait_until(lambda events: sum(isinstance(event, MessageStored) for event in events) == 100, timeout=30)
    live.stop()
    with live.store.transaction() as connection:
        sequences = connection.execute(text("SELECT sequence FROM message WHERE sequence IS NOT NULL")).scalars().all()
        assert {str(n) for n in sequences} == wanted
        assert connection.execute(text("SELECT high_water, ahead FROM epoch")).one() == (100, "")
    assert count(live, "record") == 200


def test_a_missing_queue_stops_only_its_department(live: LiveHub) -> None:
    """A queue that was deleted is left alone for a while; the others are consumed."""
    bdc, tax = live.admit("bdc-01"), live.admit("tax-02")
    live.broker.delete_queue(inbound_queue("bdc-01"))
    live.start()
    live.send(tax, tax.opening(), tax.records(1))
    assert len(live.receipts(tax, 2)) == 2
    lost = live.recorder.of(BrokerLost)[0]
    assert inbound_queue(bdc.code) in str(lost.error)


def test_a_full_receipt_queue_stops_only_its_department(live: LiveHub) -> None:
    """Receipts that the broker does not take wait; those of other departments go out."""
    bdc, tax = live.admit("bdc-01", receipts=1), live.admit("tax-02")
    live.start()
    live.send(bdc, bdc.opening(), *(bdc.records(n) for n in range(1, 6)))
    live.recorder.wait_for(ReceiptRefused)
    live.send(tax, tax.opening(), *(tax.records(n) for n in range(1, 6)))
    assert len(live.receipts(tax, 6)) == 6
    assert {one.message_id for one in live.receipts(bdc, 6)} != set()


def test_receipts_in_doubt_are_sent_again(live: LiveHub) -> None:
    """A connection that breaks between publication and confirm costs a repeat, never a receipt."""
    bdc = live.admit("bdc-01")
    live.broker.script([Fault.NONE, Fault.NONE, Fault.DROP_AFTER, Fault.DROP_BEFORE])
    sent = [bdc.opening(), bdc.records(1)]
    live.send(bdc, *sent)
    live.start()
    receipts = live.receipts(bdc, 3)
    assert {one.message_id for one in receipts} == {message.message_id for message in sent}
    live.recorder.wait_for(ReceiptsPublished)


def test_a_returned_receipt_waits(live: LiveHub) -> None:
    """Without a route a receipt is not lost: it goes out when the queue is bound again."""
    bdc = live.admit("bdc-01")
    live.broker.unbind(receipt_queue("bdc-01"), "to", receipt_queue("bdc-01"))
    live.start()
    live.send(bdc, bdc.opening())
    live.recorder.wait_for(ReceiptRefused)
    live.broker.bind(receipt_queue("bdc-01"), "to", receipt_queue("bdc-01"))
    assert len(live.receipts(bdc, 1)) == 1


def deliver_often(live: LiveHub, department: SampleDepartment, times: int) -> None:
    """Give what waits in a queue back unacked so many times, as a crashing hub does."""
    for _ in range(times):
        feed = live.broker.feed("hub", [inbound_queue(department.code)])
        feed.open()
        assert feed.poll(1.0, 100)
        feed.close()


def test_messages_delivered_often_are_stored_one_at_a_time(live: LiveHub) -> None:
    """From the third redelivery on each message has a transaction of its own, in order."""
    bdc = live.admit("bdc-01")
    live.send(bdc, bdc.opening(), *(bdc.records(n) for n in range(1, 8)))
    deliver_often(live, bdc, 3)
    live.start()
    assert {one.outcome for one in live.receipts(bdc, 8)} == {Outcome.STORED}
    assert [group.messages for group in live.recorder.of(GroupStored)] == [1] * 8


def test_messages_delivered_too_often_are_put_aside(live: LiveHub) -> None:
    """From the fifth redelivery on a message goes to quarantine unread; later ones are stored."""
    bdc = live.admit("bdc-01")
    live.send(bdc, bdc.opening())
    deliver_often(live, bdc, 5)
    live.start()
    (refused,) = live.receipts(bdc, 1)
    assert (refused.outcome, refused.code) == (Outcome.REFUSED_RETRY, "not_processed")
    live.send(bdc, bdc.opening(), bdc.records(1))
    assert {one.outcome for one in live.receipts(bdc, 2)} == {Outcome.STORED}


def test_repeats_by_the_broker_are_stored_once(live: LiveHub) -> None:
    """A duplicate storm: each message ten times, stored once, receipted each time or at least once, identically."""
    bdc = live.admit("bdc-01")
    live.start()
    live.send(bdc, bdc.opening())
    messages = [bdc.records(n) for n in range(1, 11)]
    for _ in range(10):
        live.send(bdc, *messages)
    live.recorder.wait_until(
        lambda events: (
            sum(isinstance(event, MessageStored) for event in events) == 10
            and sum(isinstance(event, MessageRepeated) for event in events) == 90
        ),
        timeout=30,
    )
    live.stop()
    assert count(live, "record") == 20
    with live.store.transaction() as connection:
        assert connection.scalar(text("SELECT count(DISTINCT about) FROM receipt WHERE kind = 'receipt'")) == 11
        assert connection.scalar(text("SELECT repeats FROM flow")) == 90
