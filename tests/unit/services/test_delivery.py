"""The rules of delivery, one by one, on the memory broker."""

from __future__ import annotations

import pytest

from agent.errors import StoreError
from agent.events import BrokerConnected, BrokerLost, FlowPaused, FlowResumed, MessagesConfirmed, MessagesSent
from agent.model import Outcome, State
from agent.retry import Backoff
from agent.services.delivery import DeliveryLimits
from agent.testing.links import Fault
from tests.unit.services.kit import Bench, control

FAST = Backoff(first_secs=1.0, cap_secs=8.0)


def test_what_is_pending_is_sent_in_order_and_confirmed() -> None:
    """A captured window reaches the queue in order and its messages become CONFIRMED, no further."""
    bench = Bench("f")
    names = bench.capture("f", 50)
    bench.rounds(3)
    assert bench.arrived() == names
    assert bench.states("f") == [State.CONFIRMED] * 50


def test_one_round_is_enough_for_a_single_event() -> None:
    """A hint wakes the service; the message is on the wire in the same round."""
    bench = Bench("f")
    bench.rounds(2)
    names = bench.capture("f")
    bench.rounds(1)
    assert bench.arrived() == names


def test_without_a_hint_it_is_found_within_seconds() -> None:
    """A hint may be lost: the outbox is looked at every five seconds without one."""
    bench = Bench("f")
    bench.rounds(2)
    bench.delivery.wake = lambda _flow="": None  # type: ignore[method-assign]
    names = bench.capture("f")
    bench.rounds(1)
    assert bench.arrived() == []
    bench.rounds(2, secs=5.1)
    assert bench.arrived() == names


def test_a_flow_that_appears_later_is_sent() -> None:
    """A hint that names an unknown flow is enough."""
    bench = Bench()
    bench.rounds(1)
    names = bench.capture("new")
    bench.rounds(1)
    assert bench.arrived() == names


def test_no_more_than_the_window_is_unconfirmed() -> None:
    """While the broker withholds confirms, the window bounds what is on its way."""
    bench = Bench("f", limits=DeliveryLimits(unconfirmed=20))
    bench.broker.withhold_confirms()
    bench.capture("f", 50)
    bench.rounds(5)
    assert len(bench.arrived()) == 20
    bench.broker.release_confirms()
    bench.rounds(8)
    assert len(bench.arrived()) == 50


def test_no_more_than_the_bytes_of_the_window_are_on_their_way() -> None:
    """Large bodies fill the window sooner than their number does; one read may overshoot."""
    bench = Bench("f", limits=DeliveryLimits(window_bytes=10_000))
    bench.broker.withhold_confirms()
    bench.capture("f", 60, size=1000)
    bench.rounds(5)
    assert len(bench.arrived()) == 16
    bench.broker.release_confirms()
    bench.until(lambda: len(bench.arrived()) == 60)


def test_no_more_than_the_limit_waits_for_receipts() -> None:
    """Confirmed messages without a receipt are bounded too; receipts make room."""
    bench = Bench("f", limits=DeliveryLimits(unsettled=10))
    names = bench.capture("f", 30)
    bench.rounds(5)
    assert bench.arrived() == names[:10]
    for name in names[:4]:
        bench.settle(name)
    bench.rounds(5)
    assert bench.arrived() == names[:14]


def test_what_an_earlier_run_left_without_receipts_counts() -> None:
    """After a restart the store says how many are unsettled."""
    bench = Bench("f", limits=DeliveryLimits(unsettled=10))
    names = bench.capture("f", 30)
    bench.store.confirm(range(1, 9))
    bench.delivery.prepare()
    bench.rounds(5)
    assert bench.arrived() == names[8:10]


def test_room_that_an_operator_made_is_found() -> None:
    """At the limit the store is believed: messages closed without a receipt do not block for ever."""
    bench = Bench("f", limits=DeliveryLimits(unsettled=5))
    names = bench.capture("f", 12)
    bench.rounds(3)
    for record in list(bench.store.tables.messages.values())[:5]:
        record.state = State.DEAD
    bench.until(lambda: len(bench.arrived()) == 10)
    assert bench.arrived() == names[:10]


def test_flows_take_turns() -> None:
    """A flow with much to send does not hold up one with little."""
    bench = Bench("big", "small", limits=DeliveryLimits(unconfirmed=40))
    bench.broker.withhold_confirms()
    bench.capture("big", 500)
    small = bench.capture("small", 3)
    bench.rounds(1)
    assert set(small) <= set(bench.arrived())


def test_turns_are_taken_also_when_confirms_trickle() -> None:
    """With room for one message at a time every flow gets its share."""
    bench = Bench("a", "b", "c", limits=DeliveryLimits(unconfirmed=1))
    for flow in "abc":
        bench.capture(flow, 20)
    bench.rounds(30)
    assert {flow: sum(name.startswith(flow) for name in bench.arrived()) for flow in "abc"} == {"a": 10, "b": 10, "c": 10}


def test_a_held_flow_is_not_sent_until_it_is_released() -> None:
    """A fork or an operator holds a flow; what its source or the disk paused is still sent."""
    bench = Bench("fork", "operator", "source")
    bench.store.pause("fork", "fork")
    bench.store.pause("operator", "operator: holiday")
    bench.store.pause("source", "source: no such table")
    for flow in ("fork", "operator", "source"):
        bench.capture(flow, 2)
    bench.rounds(3)
    assert bench.arrived() == ["source-1", "source-2"]
    bench.store.pause("operator", "")
    bench.delivery.look_again()
    bench.rounds(1)
    assert bench.arrived()[2:] == ["operator-1", "operator-2"]


def test_a_message_refused_for_now_is_tried_alone_until_its_receipt_comes() -> None:
    """The flow pauses with an alarm, goes back to the refused message, waits for its receipt and then opens again."""
    bench = Bench("f", limits=DeliveryLimits(slow=FAST))
    names = bench.capture("f", 3)
    bench.rounds(3)
    bench.settle("f-2", Outcome.REFUSED_RETRY)
    names += bench.capture("f", 4)
    bench.rounds(3)
    assert len(bench.published) == 3
    assert [(event.flow, event.by, event.reason) for event in bench.recorder.of(FlowPaused)] == [("f", "hub", "unknown_type")]
    bench.clock.advance(2)
    bench.rounds(5)
    assert [parcel.message_id for parcel in bench.published[3:]] == ["f-2"]
    bench.settle("f-2", Outcome.REFUSED_RETRY)
    bench.rounds(1)
    assert len(bench.published) == 4
    bench.clock.advance(4)
    bench.rounds(3)
    assert [parcel.message_id for parcel in bench.published[4:]] == ["f-2"]
    bench.settle("f-2")
    bench.rounds(3)
    assert bench.arrived()[-4:] == names[3:]
    assert [event.flow for event in bench.recorder.of(FlowResumed)] == ["f"]


def test_a_message_the_hub_never_got_is_sent_again() -> None:
    """Reopened messages are sent, ahead of what is new, and count as unsettled only once."""
    bench = Bench("f", limits=DeliveryLimits(unsettled=4))
    bench.capture("f", 6)
    bench.rounds(3)
    assert bench.arrived() == ["f-1", "f-2", "f-3", "f-4"]
    bench.store.reopen(["f-2"]).result()
    bench.delivery.reopened(["f-2"])
    bench.rounds(3)
    assert bench.arrived()[4:] == ["f-2"]


def test_going_back_never_skips_what_was_reopened() -> None:
    """A connection lost while a later message is on its way does not make an earlier, reopened one wait."""
    bench = Bench("f", limits=DeliveryLimits(resend=FAST))
    bench.broker.script([Fault.NONE, Fault.NONE, Fault.NACK, Fault.WITHHOLD])
    bench.capture("f", 3)
    bench.until(lambda: len(bench.published) == 4)
    bench.store.reopen(["f-1"]).result()
    bench.delivery.reopened(["f-1"])
    bench.broker.drop_connections()
    bench.until(lambda: len(bench.published) == 6)
    assert [parcel.message_id for parcel in bench.published[3:]] == ["f-3", "f-1", "f-3"]


def test_a_message_reopened_without_a_hint_is_found() -> None:
    """An idle flow is looked at from its start, so a resend by an operator needs no hint."""
    bench = Bench("f")
    bench.capture("f", 3)
    bench.rounds(3)
    bench.store.reopen(["f-1"]).result()
    bench.until(lambda: bench.arrived()[3:] == ["f-1"], secs=1.0, limit=15)


def test_hello_comes_first_on_every_connection() -> None:
    """The greeting goes out before any record, again after every reconnect, and is not stored."""
    bench = Bench("f")
    bench.hello = [control("hello", bench.clock)]
    bench.capture("f", 2)
    bench.rounds(2)
    bench.broker.drop_connections()
    bench.until(lambda: len(bench.recorder.of(BrokerConnected)) == 2)
    bench.rounds(2)
    assert [parcel.message_id for parcel in bench.published] == ["hello", "f-1", "f-2", "hello"]
    assert len(bench.store.tables.messages) == 2


def test_a_hello_that_finds_no_route_is_said_again() -> None:
    """The first thing to be said once there is a route is hello."""
    bench = Bench("f", limits=DeliveryLimits(slow=FAST))
    bench.hello = [control("hello", bench.clock)]
    bench.broker.unbind("in", "ing.d1")
    bench.rounds(3)
    bench.broker.bind("in", "ing.d1")
    bench.capture("f", 1)
    bench.until(lambda: "f-1" in bench.arrived())
    assert bench.arrived() == ["hello", "f-1"]


def test_what_is_said_is_sent_once_and_forgotten() -> None:
    """Control messages of other services are sent without being stored, and are lost with the connection."""
    bench = Bench("f")
    bench.delivery.say(control("query", bench.clock))
    bench.rounds(2)
    assert bench.arrived() == ["query"]
    bench.broker.go_down()
    bench.rounds(1)
    bench.delivery.say(control("lost", bench.clock))
    bench.until(lambda: len(bench.recorder.of(BrokerLost)) == 3)
    bench.broker.come_up()
    bench.until(lambda: len(bench.recorder.of(BrokerConnected)) == 2)
    bench.rounds(2)
    assert bench.arrived() == ["query"]


def test_stopping_waits_for_what_is_on_its_way_and_sends_nothing_new() -> None:
    """After a stop was asked for, the service is drained once the window came home."""
    bench = Bench("f", limits=DeliveryLimits(unconfirmed=3))
    bench.broker.withhold_confirms()
    bench.capture("f", 10)
    bench.rounds(1)
    bench.delivery._stopping.set()
    assert not bench.delivery.drained()
    bench.broker.release_confirms()
    bench.rounds(1)
    assert bench.delivery.drained()
    assert len(bench.arrived()) == 3
    assert bench.states("f")[:4] == [State.CONFIRMED] * 3 + [State.PENDING]


def test_a_store_that_fails_kills_the_service() -> None:
    """Only the connection is retried; what is wrong with the store is not ours to work around."""
    bench = Bench("f")
    bench.rounds(1)
    bench.store.pending = lambda *_: (_ for _ in ()).throw(StoreError(why="disk"))  # type: ignore[method-assign]
    bench.delivery.wake("f")
    with pytest.raises(StoreError):
        bench.rounds(1)


def test_events_carry_the_numbers() -> None:
    """Sent and confirmed are told with messages, records and bytes."""
    bench = Bench("f")
    bench.capture("f", 2, size=100)
    bench.rounds(2)
    assert bench.recorder.of(MessagesSent) == [MessagesSent("f", 2, 6, 200)]
    assert bench.recorder.of(MessagesConfirmed) == [MessagesConfirmed("f", 2, 6)]
