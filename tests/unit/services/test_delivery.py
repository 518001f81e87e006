"""The rules of delivery, one by one, on the memory broker."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import Forbidden, NotConnected, Refused, StoreError, Unroutable
from agent.events import BrokerConnected, BrokerLost, FlowPaused, FlowResumed, MessageRefused, MessagesConfirmed, MessagesSent
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


def test_after_a_nack_nothing_new_is_sent_before_the_window_came_home() -> None:
    """A nack stops its flow; what was behind it in the window comes home; it resumes at the refused message."""
    bench = Bench("f", limits=DeliveryLimits(unconfirmed=10, resend=FAST))
    bench.broker.script([Fault.NONE, Fault.NONE, Fault.NACK])
    names = bench.capture("f", 30)
    bench.rounds(1)
    assert len(bench.published) == 10
    bench.rounds(3)
    assert len(bench.published) == 10
    bench.clock.advance(1.0)
    bench.rounds(1)
    assert [parcel.message_id for parcel in bench.published[10:]] == [names[2]]
    bench.rounds(10)
    assert set(bench.arrived()) == set(names)
    assert bench.states("f") == [State.CONFIRMED] * 30


def test_a_nack_delays_longer_every_time_and_is_told_once_a_time() -> None:
    """Repeated nacks back off; each stop is one event, however many messages failed with it."""
    bench = Bench("f", limits=DeliveryLimits(resend=FAST))
    bench.broker.script([Fault.NACK] * 20)
    bench.capture("f", 10)
    bench.until(lambda: len(bench.recorder.of(MessageRefused)) == 4, secs=0.25)
    refused = bench.recorder.of(MessageRefused)
    assert all(isinstance(event.error, Refused) and event.message_id == "f-1" for event in refused)
    assert all(0 < event.delay_secs <= FAST.limit(attempt) for attempt, event in enumerate(refused, 1))


def test_a_nack_of_one_flow_does_not_stop_another() -> None:
    """Only the flow of the refused message waits."""
    bench = Bench("a", "b", limits=DeliveryLimits(resend=FAST))
    bench.broker.script([Fault.NACK])
    bench.capture("a", 2)
    names = bench.capture("b", 5)
    bench.rounds(3)
    assert [name for name in bench.arrived() if name.startswith("b")] == names
    assert "a-1" not in bench.arrived()


def test_confirms_of_the_rest_of_the_window_do_not_end_the_pause() -> None:
    """Messages behind a refused one are confirmed while its flow pauses: the pause holds."""
    bench = Bench("f", limits=DeliveryLimits(resend=FAST))
    bench.broker.script([Fault.NACK])
    bench.capture("f", 5)
    bench.rounds(1)
    bench.capture("f", 5)
    bench.rounds(5)
    assert len(bench.published) == 5


def test_no_route_pauses_everything_with_an_alarm_and_tries_slowly() -> None:
    """Without a binding all flows stop, one message is tried at a time, and all go on once there is a route."""
    bench = Bench("a", "b", limits=DeliveryLimits(slow=FAST))
    bench.broker.unbind("in", "ing.d1")
    bench.capture("a", 5)
    bench.rounds(1)
    bench.capture("b", 5)
    bench.rounds(2)
    assert {parcel.message_id for parcel in bench.published} == {f"a-{n}" for n in range(1, 6)}
    assert [(event.flow, event.by) for event in bench.recorder.of(FlowPaused)] == [("a", "hub")]
    assert isinstance(bench.recorder.of(MessageRefused)[0].error, Unroutable)
    before = len(bench.published)
    bench.until(lambda: len(bench.recorder.of(MessageRefused)) == 4, secs=0.5)
    assert len(bench.published) - before == 3
    bench.broker.bind("in", "ing.d1")
    bench.until(lambda: len(set(bench.arrived())) == 10)
    bench.rounds(2)
    assert {event.flow for event in bench.recorder.of(FlowResumed)} == {event.flow for event in bench.recorder.of(FlowPaused)}


def test_a_missing_right_pauses_everything() -> None:
    """A channel closed with access refused is treated as no route is."""
    bench = Bench("a", limits=DeliveryLimits(slow=FAST))
    bench.broker.delete_exchange("ing.d1")
    bench.capture("a", 3)
    bench.rounds(2)
    assert bench.states("a") == [State.PENDING] * 3
    assert len(bench.recorder.of(FlowPaused)) == 1


def test_a_lost_connection_puts_the_window_in_doubt() -> None:
    """What had no outcome is sent again from the lowest; the hub tells repeats apart by id."""
    bench = Bench("f")
    bench.broker.script([Fault.NONE, Fault.DROP_AFTER])
    names = bench.capture("f", 5)
    bench.until(lambda: bench.states("f") == [State.CONFIRMED] * 5)
    assert bench.arrived() == [names[0], names[1], *names[1:]]
    lost = bench.recorder.of(BrokerLost)
    assert [event.role for event in lost] == ["publish"]
    assert 0 < lost[0].delay_secs <= 0.5
    assert len(bench.recorder.of(BrokerConnected)) == 2


def test_the_broker_may_be_down_at_start() -> None:
    """Connecting is tried again, more slowly every time, and greeted when it works."""
    bench = Bench("f", limits=DeliveryLimits(reconnect=FAST))
    bench.broker.go_down()
    names = bench.capture("f", 3)
    bench.until(lambda: len(bench.recorder.of(BrokerLost)) == 5, secs=0.5)
    delays = [event.delay_secs for event in bench.recorder.of(BrokerLost)]
    assert all(0 < delay <= FAST.limit(attempt) for attempt, delay in enumerate(delays, 1))
    bench.broker.come_up()
    bench.until(lambda: bench.arrived() == names)


def test_refused_credentials_are_tried_slowly() -> None:
    """A broker that does not let us in is asked at the slow pace, since somebody has to act first."""
    bench = Bench("f")
    bench.delivery._opener._random = lambda: 0.0
    bench.broker.go_down(Forbidden(why="no", node="d1"))
    bench.until(lambda: len(bench.recorder.of(BrokerLost)) == 3, secs=1.0)
    assert [event.delay_secs for event in bench.recorder.of(BrokerLost)] == [5.0, 10.0, 20.0]


def test_a_connection_that_breaks_at_once_does_not_reset_the_delay() -> None:
    """Only a connection that confirmed something, or lived for a while, counts as a success."""
    bench = Bench("f", limits=DeliveryLimits(reconnect=FAST), seed=1)
    bench.broker.script([Fault.DROP_BEFORE] * 6)
    bench.capture("f", 1)
    bench.until(lambda: len(bench.recorder.of(BrokerLost)) == 6, secs=0.5)
    assert max(event.delay_secs for event in bench.recorder.of(BrokerLost)) > FAST.limit(1)
    bench.until(lambda: bench.arrived() == ["f-1"])


def test_silence_is_a_lost_connection() -> None:
    """When a confirm does not come in time, the connection is opened again and the window sent again."""
    bench = Bench("f", limits=DeliveryLimits(confirm_secs=60.0))
    bench.broker.withhold_confirms()
    bench.capture("f", 2)
    bench.rounds(2)
    bench.clock.advance(59)
    bench.rounds(1)
    assert not bench.recorder.of(BrokerLost)
    bench.clock.advance(2)
    bench.rounds(1)
    assert isinstance(bench.recorder.of(BrokerLost)[0].error, NotConnected)
    bench.broker.release_confirms()
    bench.until(lambda: bench.states("f") == [State.CONFIRMED] * 2)
    assert bench.arrived() == ["f-1", "f-2", "f-1", "f-2"]


def test_what_was_settled_while_in_doubt_is_not_sent_again() -> None:
    """A receipt may be faster than the confirm: such a message is not resent after the connection was lost."""
    bench = Bench("f")
    bench.broker.withhold_confirms()
    bench.capture("f", 3)
    bench.rounds(1)
    bench.settle("f-1")
    bench.settle("f-3")
    bench.broker.drop_connections()
    bench.broker.release_confirms()
    bench.until(lambda: bench.states("f") == [State.STORED, State.CONFIRMED, State.STORED])
    assert bench.arrived() == ["f-1", "f-2", "f-3", "f-2"]


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


# -- whatever happens ------------------------------------------------------------------------------------------------

faults = st.sampled_from([*Fault, Fault.NONE, Fault.NONE])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("capture"), st.sampled_from("ab"), st.integers(1, 12)),
        st.tuples(st.just("faults"), st.lists(faults, max_size=15), st.just(0)),
        st.tuples(st.just("round"), st.just(""), st.integers(1, 4)),
        st.tuples(st.just("wait"), st.just(""), st.integers(1, 70)),
        st.tuples(st.just("drop"), st.just(""), st.just(0)),
        st.tuples(st.just("receipt"), st.sampled_from([*Outcome]), st.integers(0, 30)),
        st.tuples(st.just("missing"), st.just(""), st.integers(0, 30)),
    ),
    max_size=25,
)


@settings(max_examples=500, deadline=None)
@given(steps=steps, seed=st.integers(0, 9))
def test_nothing_is_lost_and_nothing_overtakes(steps: list, seed: int) -> None:
    """Whatever happens, no message overtakes an earlier one of its flow that still waits, and in the end all have arrived."""
    bench = Bench("a", "b", limits=DeliveryLimits(unconfirmed=7, confirm_secs=30.0), seed=seed)
    watch_order(bench)
    for action, what, number in steps:
        act(bench, action, what, number)
    bench.broker._faults.clear()
    bench.broker.release_confirms()
    bench.until(lambda: not unfinished(bench), secs=5.0)
    arrived = set(bench.arrived())
    for record in bench.store.tables.messages.values():
        assert record.about.message_id in arrived or record.state in (State.DEAD, State.STORED, State.PARTLY_STORED)


def act(bench: Bench, action: str, what: object, number: int) -> None:
    names = list(bench.sent)
    match action:
        case "capture":
            bench.capture(str(what), number)
        case "faults":
            bench.broker.script(what)
        case "round":
            bench.rounds(number, secs=0.1)
        case "wait":
            bench.rounds(2, secs=number)
        case "drop":
            bench.broker.drop_connections()
        case "receipt" if number < len(names) and what is not Outcome.FORK:
            bench.settle(names[number], what)
        case "missing" if number < len(names):
            bench.store.reopen([names[number]]).result()
            bench.delivery.reopened([names[number]])


def unfinished(bench: Bench) -> bool:
    """Settle whatever waits on trial for a receipt, as a hub that is well again would; say whether anything is pending."""
    for name in set(bench.arrived()):
        if bench.store.tables.named([name])[0].state is State.CONFIRMED:
            bench.settle(name)
    return any(record.state is State.PENDING for record in bench.store.tables.messages.values())


def watch_order(bench: Bench) -> None:
    """Check the rule at every send."""
    send = bench.delivery._sink.send

    def checked(parcels: list) -> None:
        for parcel in parcels:
            for record in bench.store.tables.messages.values():
                if record.entry_id < parcel.tag and record.state is State.PENDING:
                    sent = bench.store.tables.messages[parcel.tag].about
                    if record.about.flow == sent.flow:
                        assert record.entry_id in bench.delivery._owner, f"{sent.message_id} overtakes {record.about.message_id}"
        send(parcels)

    bench.delivery._sink.send = checked
