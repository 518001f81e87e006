"""What every ports.Sink does; run on the memory broker and on RabbitMQ."""

from __future__ import annotations

import threading

import pytest

from agent.errors import Forbidden, NotConnected, Refused, Unroutable
from tests.contract.broker.worlds import World, bodies, deliveries, for_ever, outcomes, parcel


@pytest.fixture
def routed(world: World) -> World:
    world.declare_queue("in.d1")
    world.bind("in.d1", "ing.d1")
    return world


def test_every_parcel_gets_one_outcome_and_arrives_in_order(routed: World) -> None:
    """A confirmed window is in the queue, whole and in the order of sending."""
    sink, feed = routed.sink(), routed.feed("in.d1")
    sink.open()
    sink.send([parcel(n) for n in range(1, 51)])
    sink.send([parcel(n) for n in range(51, 101)])
    confirmed = outcomes(sink, 100)
    assert sorted(published.tag for published in confirmed) == list(range(1, 101))
    assert all(published.error is None for published in confirmed)
    feed.open()
    assert bodies(deliveries(feed, 100)) == [f"body {n}" for n in range(1, 101)]


def test_what_identifies_a_message_travels_with_it(routed: World) -> None:
    """Identity, type, encoding, signature and the user that the broker vouches for arrive with the body."""
    sink, feed = routed.sink(), routed.feed("in.d1")
    sink.open()
    sink.send([parcel(7)])
    outcomes(sink, 1)
    feed.open()
    (message,) = deliveries(feed, 1)
    assert (message.message_id, message.type, message.encoding) == ("m7", "cn.huitong.records.v1", "zstd")
    assert (message.exchange, message.routing_key, message.user_id) == ("ing.d1", "", routed.user)
    assert message.headers["jws"] == "e30..7"
    assert message.content_type == "application/cloudevents+json; charset=utf-8"
    assert not message.redelivered
    assert message.delivery_count == 0


def test_no_route_is_an_error_not_a_confirm(world: World) -> None:
    """A message that no queue takes is returned, although the broker confirms it."""
    sink = world.sink()
    sink.open()
    sink.send([parcel(1)])
    (published,) = outcomes(sink, 1)
    assert isinstance(published.error, Unroutable)
    assert "ing.d1" in published.error.localised()[0]


def test_a_return_cancels_its_own_confirm_only(world: World) -> None:
    """Neighbours of a returned message are confirmed."""
    world.declare_queue("rcpt.d1")
    world.bind("rcpt.d1", "to", "rcpt.d1")
    sink = world.sink()
    sink.open()
    sink.send([parcel(n, exchange="to", key="rcpt.d1" if n % 3 else "nobody") for n in range(1, 31)])
    failed = {published.tag for published in outcomes(sink, 30) if published.error is not None}
    assert failed == set(range(3, 31, 3))


def test_the_same_message_may_be_in_the_window_twice(world: World) -> None:
    """When one message is sent again before it is resolved, each sending has its own outcome."""
    world.declare_queue("rcpt.d1")
    world.bind("rcpt.d1", "to", "rcpt.d1")
    sink = world.sink()
    sink.open()
    sink.send([parcel(5, exchange="to", key="nobody"), parcel(5, exchange="to", key="nobody")])
    assert [type(published.error) for published in outcomes(sink, 2)] == [Unroutable, Unroutable]


def test_a_full_queue_refuses(world: World) -> None:
    """Over the bound of a queue a publication is refused; what was not refused is in the queue."""
    world.declare_queue("in.d1", bound=5)
    world.bind("in.d1", "ing.d1")
    sink, feed = world.sink(), world.feed("in.d1")
    sink.open()
    taken: list[int] = []
    for n in range(1, 21):
        sink.send([parcel(n)])
        (published,) = outcomes(sink, 1)
        assert published.error is None or isinstance(published.error, Refused)
        if published.error is None:
            taken.append(n)
    assert 5 <= len(taken) < 20
    feed.open()
    assert bodies(deliveries(feed, len(taken))) == [f"body {n}" for n in taken]


def test_a_missing_exchange_fails_the_window_and_the_sink_goes_on(routed: World) -> None:
    """The broker closes the channel for a missing exchange: everything in flight fails, the next window works."""
    sink = routed.sink()
    sink.open()
    sink.send([parcel(n, exchange="nowhere") for n in (1, 2, 3)])
    assert [type(published.error) for published in outcomes(sink, 3)] == [Unroutable] * 3
    sink.send([parcel(4)])
    assert [(published.tag, published.error) for published in outcomes(sink, 1)] == [(4, None)]


def test_a_missing_right_fails_the_window_and_the_sink_goes_on(routed: World) -> None:
    """An exchange we may not write to is Forbidden, with a hint that names the node."""
    sink = routed.sink()
    sink.open()
    sink.send([parcel(1, exchange="forbidden")])
    (published,) = outcomes(sink, 1)
    assert isinstance(published.error, Forbidden)
    assert "hub admit d1" in published.error.localised()[1]
    sink.send([parcel(2)])
    assert [(published.tag, published.error) for published in outcomes(sink, 1)] == [(2, None)]


def test_nobody_publishes_under_another_name(routed: World) -> None:
    """A user_id that is not the user of the connection is Forbidden."""
    sink = routed.sink(user_id="agent.d2")
    sink.open()
    sink.send([parcel(1)])
    (published,) = outcomes(sink, 1)
    assert isinstance(published.error, Forbidden)


def test_an_unknown_user_is_forbidden(routed: World) -> None:
    """Wrong credentials are told apart from a broker that cannot be reached."""
    sink = routed.sink(known=False)
    with pytest.raises(Forbidden):
        sink.open()


def test_a_lost_connection_is_told_and_can_be_reopened(routed: World) -> None:
    """After NotConnected the sink opens again and works."""
    sink = routed.sink()
    sink.open()
    sink.send([parcel(1)])
    outcomes(sink, 1)
    routed.drop_connections()
    with pytest.raises(NotConnected):
        for_ever(lambda: sink.poll(20))
    with pytest.raises(NotConnected):
        sink.send([parcel(2)])
    sink.open()
    sink.send([parcel(2)])
    assert [(published.tag, published.error) for published in outcomes(sink, 1)] == [(2, None)]


def test_poll_returns_when_the_time_is_over(routed: World) -> None:
    """With nothing to report a poll ends by itself."""
    sink = routed.sink()
    sink.open()
    assert sink.poll(0.05) == []


def test_wake_ends_a_poll(routed: World) -> None:
    """Another thread can end a poll at once, also one that begins after the wake."""
    sink = routed.sink()
    sink.open()
    sink.wake()
    sink.poll(600)
    waker = threading.Timer(0.05, sink.wake)
    waker.start()
    sink.poll(600)
    waker.join()


def test_wake_works_after_every_reopening(routed: World) -> None:
    """A wake that was on its way when the connection closed does not spoil those of the next."""
    sink = routed.sink()
    for _ in range(3):
        sink.open()
        sink.wake()
        sink.close()
    sink.open()
    sink.poll(0)
    sink.wake()
    sink.poll(600)


def test_close_is_idempotent_and_final(routed: World) -> None:
    """A closed sink takes nothing; closing it again, or before opening, is harmless."""
    sink = routed.sink()
    sink.close()
    sink.open()
    sink.close()
    sink.close()
    sink.wake()
    with pytest.raises(NotConnected):
        sink.send([parcel(1)])
    with pytest.raises(NotConnected):
        sink.poll(0)


def test_a_large_body_arrives_whole(routed: World) -> None:
    """A body of many frames is one message."""
    body = bytes(range(256)) * 4096 * 3
    sink, feed = routed.sink(), routed.feed("in.d1")
    sink.open()
    sink.send([parcel(1, body=body)])
    assert outcomes(sink, 1)[0].error is None
    feed.open()
    assert deliveries(feed, 1)[0].body == body
