"""The queue between preparing and storing."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime

from agent.model import Outcome
from hub.errors import StoreUnavailable
from hub.ingest.flusher import Flusher
from hub.ingest.handoff import Handoff
from hub.ingest.items import Arrival, Refusal
from hub.ingest.storer import Storer

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
    handoff.put(item(2))
    era, items = handoff.take(1, 0)
    handoff.take(1, 0)
    handoff.reset()
    assert not handoff.idle
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


class Flushes:
    """A store that is told to flush."""

    def __init__(self, handoff: Handoff) -> None:
        self.count = 0
        self.error: Exception | None = None
        self.told: list[object] = []
        self.flusher = Flusher(handoff, self, committed=lambda: self.told.append(handoff.idle))

    def __call__(self) -> None:
        self.count += 1
        if self.error is not None:
            raise self.error


def test_one_flush_covers_every_group_that_waits() -> None:
    """Groups are acked after the flush and not before; however many wait, it is one."""
    handoff = Handoff(10, 1000)
    flushes = Flushes(handoff)
    for tag in range(3):
        handoff.put(item(tag))
        flushes.flusher.later(*handoff.take(1, 0))
    assert handoff.finished() == ([], None)
    assert not handoff.idle
    assert not flushes.flusher.drained()
    flushes.flusher.run_once()
    assert handoff.finished() == ([0, 1, 2], None)
    assert (flushes.count, flushes.told, handoff.idle, flushes.flusher.drained()) == (1, [True], True, True)


def test_a_flush_that_fails_acks_nothing() -> None:
    """A disk or a server that is gone is trouble: everything is delivered again."""
    handoff = Handoff(10, 1000)
    flushes = Flushes(handoff)
    flushes.error = StoreUnavailable(why="gone")
    handoff.put(item(1))
    flushes.flusher.later(*handoff.take(1, 0))
    flushes.flusher.run_once()
    assert handoff.finished() == ([], flushes.error)
    assert handoff.idle


class Records:
    """An ingest that remembers how it was asked to commit."""

    def __init__(self) -> None:
        self.lazily: list[bool] = []

    def store(self, items: object, fences: object, *, lazily: bool) -> None:
        assert items
        assert fences == {}
        self.lazily.append(lazily)


def test_only_a_group_with_others_behind_it_is_committed_lazily() -> None:
    """Low load waits for the disk at once; under load the wait is shared."""
    handoff, ingest = Handoff(10, 1000), Records()
    flushes = Flushes(handoff)
    storer = Storer(handoff, ingest, dict, group_messages=2, committed=lambda: None, flusher=flushes.flusher)  # type: ignore[arg-type]
    for tag in range(5):
        handoff.put(item(tag))
    for _ in range(3):
        storer.run_once()
    assert ingest.lazily == [True, True, False]
    assert handoff.finished() == ([4], None)
    flushes.flusher.run_once()
    assert handoff.finished() == ([0, 1, 2, 3], None)
