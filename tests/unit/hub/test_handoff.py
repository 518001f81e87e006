"""The queue between preparing and storing."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime

from agent.model import Outcome
from hub.ingest.handoff import Handoff
from hub.ingest.items import Arrival, Refusal

ARRIVAL = Arrival(
    0, "bdc-01", "ing.bdc-01", "agent.bdc-01", "m", "t", "", b"x" * 10, b"", "", "{}", datetime(2026, 1, 1, tzinfo=UTC)
)


def item(tag: int, size: int = 10) -> Refusal:
    return Refusal(replace(ARRIVAL, tag=tag, body=b"x" * size), Outcome.REFUSED_RETRY, "unknown_type", "")


def test_takes_what_waits_up_to_the_limit() -> None:
    """A group is what is there already, in order, never more than asked for."""
    handoff = Handoff(10, 1000)
    for tag in range(5):
        handoff.put(item(tag))
    assert [one.arrival.tag for one in handoff.take(3, 0)[1]] == [0, 1, 2]
    assert [one.arrival.tag for one in handoff.take(3, 0)[1]] == [3, 4]
    assert not handoff.take(3, 0)[1]


def test_room_is_bounded_by_count_and_bytes() -> None:
    """Full means full by either measure; what was taken makes room."""
    handoff = Handoff(3, 100)
    assert handoff.room() == 3
    handoff.put(item(1, 99))
    assert handoff.room() == 2
    handoff.put(item(2, 1))
    assert handoff.room() == 0
    handoff.take(1, 0)
    assert handoff.room() == 2


def test_tags_come_back_once_committed() -> None:
    """Finished tags are told once; idle means that nothing waits and nothing is being stored."""
    handoff = Handoff(10, 1000)
    assert handoff.idle
    handoff.put(item(7))
    assert not handoff.idle
    era, items = handoff.take(5, 0)
    assert not handoff.idle
    handoff.done(era, items)
    assert handoff.idle
    assert handoff.finished() == ([7], None)
    assert handoff.finished() == ([], None)


def test_after_trouble_nothing_is_taken_until_the_reset() -> None:
    """A failed group stops the storing side; the reset forgets everything that was on its way."""
    handoff = Handoff(10, 1000)
    handoff.put(item(1))
    handoff.put(item(2))
    era, _items = handoff.take(1, 0)
    trouble = RuntimeError("x")
    handoff.failed(era, trouble)
    assert not handoff.take(5, 0)[1]
    assert handoff.finished() == ([], trouble)
    handoff.reset()
    assert (handoff.idle, handoff.room()) == (True, 10)
    assert handoff.finished() == ([], None)


def test_an_era_that_is_over_is_not_acked() -> None:
    """A group that commits after its connection was given up acks nothing: its tags mean nothing any more."""
    handoff = Handoff(10, 1000)
    handoff.put(item(1))
    era, items = handoff.take(5, 0)
    handoff.reset()
    handoff.done(era, items)
    assert handoff.finished() == ([], None)
    handoff.failed(era, RuntimeError("x"))
    assert handoff.finished() == ([], None)
    assert handoff.idle


def test_a_wait_ends_with_news() -> None:
    """Waiting for news returns when a group is done."""
    handoff = Handoff(10, 1000)
    handoff.put(item(1))
    waited = threading.Event()

    def wait() -> None:
        handoff.wait_for_news(10)
        waited.set()

    thread = threading.Thread(target=wait)
    thread.start()
    era, items = handoff.take(5, 1)
    handoff.done(era, items)
    assert waited.wait(5)
    thread.join()
