"""What delivery does when the broker refuses, has no route, breaks or falls silent."""

from __future__ import annotations

from agent.errors import Forbidden, NotConnected, Refused, Unroutable
from agent.events import BrokerConnected, BrokerLost, FlowPaused, FlowResumed, MessageRefused
from agent.model import State
from agent.retry import Backoff
from agent.services.delivery import DeliveryLimits
from agent.testing.links import Fault
from tests.unit.services.kit import Bench

FAST = Backoff(first_secs=1.0, cap_secs=8.0)


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
