"""What every ports.Feed does; run on the memory broker and on RabbitMQ."""

from __future__ import annotations

import random
import threading

import pytest

from agent.errors import Forbidden, NotConnected
from tests.contract.broker.worlds import World, bodies, deliveries, for_ever, outcomes, parcel


def fill(world: World, count: int, *, key: str = "q1") -> None:
    """Put `count` messages into a queue."""
    sink = world.sink()
    sink.open()
    sink.send([parcel(n, exchange="to", key=key) for n in range(1, count + 1)])
    assert all(published.error is None for published in outcomes(sink, count))
    sink.close()


@pytest.fixture
def queues(world: World) -> World:
    for name in ("q1", "q2"):
        world.declare_queue(name)
        world.bind(name, "to", name)
    return world


def test_deliveries_come_in_order_with_distinct_tags(queues: World) -> None:
    """A queue is delivered first in, first out; every delivery has a tag of its own."""
    fill(queues, 100)
    feed = queues.feed("q1")
    feed.open()
    found = deliveries(feed, 100)
    assert bodies(found) == [f"body {n}" for n in range(1, 101)]
    assert len({message.tag for message in found}) == 100
    assert {message.queue for message in found} == {"q1"}


def test_poll_gives_no_more_than_asked_for(queues: World) -> None:
    """The limit of a poll holds; the rest comes with the next."""
    fill(queues, 10)
    feed = queues.feed("q1")
    feed.open()
    sizes = []
    while sum(sizes) < 10:
        sizes.append(len(feed.poll(20, 3)))
    assert max(sizes) <= 3


def test_prefetch_bounds_what_is_held(queues: World) -> None:
    """Without acks no more than the prefetch is delivered; an ack makes room."""
    fill(queues, 10)
    feed = queues.feed("q1", prefetch=4)
    feed.open()
    held = deliveries(feed, 4)
    assert feed.poll(0.2, 100) == []
    feed.ack([held[0].tag])
    assert bodies(deliveries(feed, 1)) == ["body 5"]


@pytest.mark.parametrize("seed", range(4))
def test_exactly_what_was_not_acked_comes_again(queues: World, seed: int) -> None:
    """Acks in any order and grouping settle exactly their messages; the others are delivered again, marked and counted."""
    fill(queues, 40)
    chance = random.Random(seed)
    feed = queues.feed("q1")
    feed.open()
    found = deliveries(feed, 40)
    chance.shuffle(found)
    kept, acked = found[:15], found[15:]
    while acked:
        size = chance.randint(1, 6)
        feed.ack([message.tag for message in acked[:size]])
        feed.poll(0.0, 1)
        acked = acked[size:]
    feed.close()
    feed.open()
    again = deliveries(feed, 15)
    assert sorted(bodies(again)) == sorted(bodies(kept))
    assert all(message.redelivered and message.delivery_count == 1 for message in again)
    assert feed.poll(0.2, 100) == []


def test_acks_of_an_earlier_connection_mean_nothing(queues: World) -> None:
    """After reopening, old tags are ignored and do not disturb the new deliveries."""
    fill(queues, 3)
    feed = queues.feed("q1")
    feed.open()
    old = [message.tag for message in deliveries(feed, 3)]
    feed.close()
    feed.open()
    new = deliveries(feed, 3)
    feed.ack(old)
    feed.ack([message.tag for message in new])
    feed.ack([message.tag for message in new])
    feed.poll(0.2, 1)
    feed.close()
    feed.open()
    assert feed.poll(0.3, 10) == []


def test_a_queue_that_is_not_acked_does_not_hold_up_another(queues: World) -> None:
    """Every queue has its own prefetch."""
    fill(queues, 5, key="q1")
    feed = queues.feed("q1", "q2", prefetch=5)
    feed.open()
    deliveries(feed, 5)
    fill(queues, 3, key="q2")
    assert {message.queue for message in deliveries(feed, 3)} == {"q2"}


def test_queues_may_come_and_go(queues: World) -> None:
    """A queue consumed later is delivered; a cancelled one is not, and what was held of it goes to its next consumer."""
    fill(queues, 4, key="q1")
    fill(queues, 4, key="q2")
    feed, other = queues.feed("q1"), queues.feed("q2")
    feed.open()
    deliveries(feed, 4)
    feed.consume("q2", 2)
    held = deliveries(feed, 2)
    assert {message.queue for message in held} == {"q2"}
    feed.ack([held[0].tag])
    feed.cancel("q2")
    other.open()
    assert sorted(bodies(deliveries(other, 3))) == ["body 2", "body 3", "body 4"]  # order of redelivery is nobody's promise
    assert feed.poll(0.2, 100) == []


@pytest.mark.parametrize("single_active", [False, True])
def test_a_queue_taken_one_by_one_is_widened_without_disorder(world: World, single_active: bool) -> None:
    """One message, then many ahead: everything comes once, in order, and nothing counts as delivered again."""
    world.declare_queue("narrow", single_active=single_active)
    world.bind("narrow", "to", "narrow")
    fill(world, 200, key="narrow")
    feed = world.feed(prefetch=64)
    feed.open()
    feed.consume("narrow", 1)
    (first,) = deliveries(feed, 1)
    feed.widen("narrow")
    found = [first, *deliveries(feed, 60)]
    feed.ack([message.tag for message in found])
    while len(found) < 200:
        some = deliveries(feed, 1)
        feed.ack([message.tag for message in some])
        found += some
    assert bodies(found) == [f"body {n}" for n in range(1, 201)]
    assert {message.delivery_count for message in found} == {0}


def test_a_queue_consumed_later_is_consumed_again_after_reopening(queues: World) -> None:
    """The set of queues outlives the connection."""
    feed = queues.feed()
    feed.open()
    feed.consume("q1")
    feed.consume("q1")
    feed.close()
    feed.open()
    fill(queues, 1)
    assert bodies(deliveries(feed, 1)) == ["body 1"]


def test_a_queue_that_cannot_be_consumed_does_not_harm_the_others(queues: World) -> None:
    """The failure is told by `consume`; the feed stays open."""
    queues.declare_queue("secret")
    feed = queues.feed("q1")
    feed.open()
    for queue, error in (("nothing", NotConnected), ("secret", Forbidden)):
        with pytest.raises(error):
            feed.consume(queue)
    fill(queues, 2)
    assert bodies(deliveries(feed, 2)) == ["body 1", "body 2"]


def test_a_single_active_consumer_is_alone_until_it_leaves(world: World) -> None:
    """The second consumer of such a queue is silent, without an error, and takes over when the first leaves."""
    world.declare_queue("q1", single_active=True)
    world.bind("q1", "to", "q1")
    first, second = world.feed("q1"), world.feed("q1")
    first.open()
    second.open()
    fill(world, 3)
    assert len(deliveries(first, 3)) == 3
    assert second.poll(0.2, 10) == []
    first.close()
    assert sorted(bodies(deliveries(second, 3))) == ["body 1", "body 2", "body 3"]


def test_a_queue_deleted_under_its_consumer_is_noticed(queues: World) -> None:
    """A consumer that the broker cancels is an error that names the queue, not silence."""
    feed = queues.feed("q1", "q2")
    feed.open()
    queues.delete_queue("q2")
    with pytest.raises(NotConnected) as caught:
        for_ever(lambda: feed.poll(20, 10))
    assert caught.value.details["queue"] == "q2"


def test_a_missing_queue_and_a_missing_right_are_told_apart(queues: World) -> None:
    """A queue that is not there is NotConnected, one we may not read is Forbidden; both name the queue."""
    queues.declare_queue("secret")
    with pytest.raises(NotConnected) as missing:
        queues.feed("nothing").open()
    with pytest.raises(Forbidden) as forbidden:
        queues.feed("secret").open()
    assert missing.value.details["queue"] == "nothing"
    assert forbidden.value.details["queue"] == "secret"


def test_a_lost_connection_is_told_and_can_be_reopened(queues: World) -> None:
    """After NotConnected the feed opens again and gets what it had not acked."""
    fill(queues, 2)
    feed = queues.feed("q1")
    feed.open()
    deliveries(feed, 2)
    queues.drop_connections()
    with pytest.raises(NotConnected):
        for_ever(lambda: feed.poll(20, 10))
    with pytest.raises(NotConnected):
        feed.ack([1])
    feed.open()
    assert sorted(bodies(deliveries(feed, 2))) == ["body 1", "body 2"]


def test_wake_ends_a_poll(queues: World) -> None:
    """Another thread can end a poll at once, also one that begins after the wake."""
    feed = queues.feed("q1")
    feed.open()
    feed.wake()
    assert feed.poll(600, 1) == []
    waker = threading.Timer(0.05, feed.wake)
    waker.start()
    assert feed.poll(600, 1) == []
    waker.join()


def test_close_is_idempotent_and_final(queues: World) -> None:
    """A closed feed gives nothing; closing it again, or before opening, is harmless."""
    feed = queues.feed("q1")
    feed.close()
    feed.open()
    feed.close()
    feed.close()
    feed.wake()
    with pytest.raises(NotConnected):
        feed.poll(0, 1)
