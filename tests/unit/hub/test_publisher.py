"""When the publisher looks for receipts that are due, and when it may end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime

import pytest

from agent.events import Events
from agent.ports import Parcel, Published
from agent.testing.clock import FakeClock
from hub.model import DuePost, Post, PostKind
from hub.publisher import BATCH, Publisher

AT = datetime(2026, 1, 1, tzinfo=UTC)


class Store:
    """Posts that are due, and how often somebody looked."""

    def __init__(self) -> None:
        self.waiting: list[DuePost] = []
        self.looks = 0

    def commit(self, count: int = 1) -> None:
        post = Post("bdc-01", "m", PostKind.RECEIPT, "r", "t", "", b"{}", "jws", AT)
        self.waiting += [DuePost(len(self.waiting) + number, post) for number in range(count)]

    def due(self, departments: Collection[str] | None, limit: int) -> Sequence[DuePost]:
        assert departments == {"bdc-01"}
        self.looks += 1
        return self.waiting[:limit]

    def flush(self) -> None:
        pass

    def published(self, post_ids: Sequence[int], at: datetime) -> None:
        assert at == FakeClock().now()
        self.waiting = [one for one in self.waiting if one.post_id not in post_ids]


class Sink:
    """A broker that takes everything; `meanwhile` happens while somebody waits for it."""

    def __init__(self) -> None:
        self.taken: list[Parcel] = []
        self.waits = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self._out: list[Parcel] = []

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def wake(self) -> None:
        pass

    def send(self, parcels: Sequence[Parcel]) -> None:
        self._out += parcels

    def poll(self, timeout_secs: float) -> Sequence[Published]:
        assert timeout_secs > 0
        self.waits += not self._out
        self.meanwhile()
        done, self._out = self._out, []
        self.taken += done
        return [Published(parcel.tag, None) for parcel in done]


class Bench:
    """A publisher with store and broker."""

    def __init__(self) -> None:
        self.store, self.sink = Store(), Sink()
        self.publisher = Publisher(
            store=self.store,  # type: ignore[arg-type]  # as much of it as a publisher uses
            sink=self.sink,
            departments=lambda: frozenset({"bdc-01"}),
            events=Events(),
            clock=FakeClock(),
            random=lambda: 0.5,
        )

    def commit(self) -> None:
        """Store a receipt, and tell."""
        self.store.commit()
        self.publisher.wake()


@pytest.fixture
def bench() -> Bench:
    """One that has looked once and found nothing."""
    bench = Bench()
    bench.publisher.run_once()
    assert (bench.store.looks, bench.sink.waits) == (1, 0)
    return bench


def test_one_receipt_costs_one_look(bench: Bench) -> None:
    """Told of it, the publisher looks, sends, and then waits instead of looking again for nothing."""
    bench.commit()
    bench.publisher.run_once()
    assert (len(bench.sink.taken), bench.store.looks, bench.sink.waits) == (1, 2, 0)
    bench.publisher.run_once()
    assert bench.sink.waits == 1


def test_what_is_stored_while_others_are_sent_is_looked_for_at_once(bench: Bench) -> None:
    """A word that comes in the middle of a batch is not lost."""
    bench.commit()
    bench.sink.meanwhile = bench.commit
    bench.publisher.run_once()
    bench.sink.meanwhile = lambda: None
    assert not bench.publisher.drained()
    bench.publisher.run_once()
    assert (len(bench.sink.taken), bench.sink.waits, bench.store.waiting) == (2, 0, [])
    assert bench.publisher.drained()


def test_a_full_batch_is_followed_by_the_next(bench: Bench) -> None:
    """More than one batch goes out without a wait and without another word."""
    bench.store.commit(2 * BATCH + 1)
    bench.publisher.wake()
    for _ in range(3):
        bench.publisher.run_once()
    assert (len(bench.sink.taken), bench.sink.waits) == (2 * BATCH + 1, 0)


def test_it_does_not_end_before_it_has_looked(bench: Bench) -> None:
    """The last commits come just before the stop: told of them, it is not done."""
    assert bench.publisher.drained()
    bench.commit()
    assert not bench.publisher.drained()
    bench.publisher.run_once()
    assert bench.publisher.drained()
