"""How much of a queue is taken ahead: one message after each consume, and more once it went well."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from agent.events import Events
from agent.ports import Delivered
from agent.testing.clock import FakeClock
from hub.ingest.handoff import Handoff
from hub.ingest.intake import Intake

QUEUE = "in.d1"


def delivered(tag: int) -> Delivered:
    return Delivered(
        tag=tag,
        queue=QUEUE,
        exchange="ing.d1",
        routing_key="",
        user_id=None,
        message_id=str(tag),
        type=None,
        encoding="",
        content_type=None,
        body=b"",
        headers={},
        redelivered=False,
        delivery_count=0,
    )


class Feed:
    """A connection that writes down what is asked of it, and insists on what `widen` needs."""

    def __init__(self) -> None:
        self.coming: list[Delivered] = []
        self.did: list[str] = []
        self._held: set[int] = set()

    def open(self) -> None: ...
    def close(self) -> None: ...
    def wake(self) -> None: ...

    def consume(self, _queue: str, prefetch: int | None = None) -> None:
        self.did.append(f"consume {prefetch}")

    def cancel(self, _queue: str) -> None:
        self._held.clear()
        self.did.append("cancel")

    def widen(self, _queue: str) -> None:
        assert len(self._held) == 1
        self.did.append("widen")

    def poll(self, _timeout_secs: float, limit: int) -> Sequence[Delivered]:
        some, self.coming = self.coming[:limit], self.coming[limit:]
        self._held |= {one.tag for one in some}
        return some

    def ack(self, tags: Sequence[int]) -> None:
        self._held -= set(tags)
        self.did.append(f"ack {tags}")


class Hub:
    """The intake with nobody around it: what it hands on is stored by hand."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.handoff = Handoff(8, 1 << 20)
        self.departments = frozenset({"d1"})
        self._intake = Intake(
            feed=lambda: self.feed,
            preparer=SimpleNamespace(prepare=lambda one: SimpleNamespace(arrival=one)),  # type: ignore[arg-type]
            handoff=self.handoff,
            duties=self,
            probe=lambda: None,
            events=Events(),
            clock=FakeClock(),
            random=lambda: 0.0,
        )

    def reconsider(self) -> None: ...

    def take(self, *tags: int) -> None:
        self.feed.coming += map(delivered, tags)
        self._intake.run_once()

    def store(self) -> None:
        era, items = self.handoff.take(8, 0.0)
        self.handoff.done(era, items)


@pytest.fixture
def hub() -> Hub:
    return Hub()


def test_more_is_taken_ahead_once_one_message_went_well(hub: Hub) -> None:
    """The window opens before the one message is acked, and only once."""
    hub.take(1)
    assert hub.feed.did == ["consume 1"]
    hub.store()
    hub.take(2, 3)
    hub.store()
    hub.take()
    assert hub.feed.did == ["consume 1", "widen", "ack [1]", "ack [2, 3]"]


def test_a_queue_that_came_back_is_on_trial_anew(hub: Hub) -> None:
    """Taken away and given back while its message was being stored: what ends then opens no window of the new consumer."""
    everybody: Any = hub.departments
    hub.take(1)
    hub.departments = frozenset()
    hub.take()
    hub.departments = everybody
    hub.take()
    hub.store()
    hub.take(2)
    assert hub.feed.did == ["consume 1", "cancel", "consume 1", "ack [1]"]
    hub.store()
    hub.take()
    assert hub.feed.did[4:] == ["widen", "ack [2]"]
