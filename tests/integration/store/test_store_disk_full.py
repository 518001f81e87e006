"""A full disk stops capture and nothing else, and the store goes on by itself when there is room again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.adapters.store import SqliteStore
from agent.adapters.store.disk import RESERVE_BYTES
from agent.errors import StoreFull
from agent.events import DiskLow, DiskRecovered, Events
from agent.model import ExchangeMessage, State
from agent.testing.clock import FakeClock
from agent.testing.recorder import EventRecorder
from tests.contract.store.makers import AGENT, START, message_of, receipt_for, step_of

pytestmark = [pytest.mark.integration, pytest.mark.faults]

DISK_BYTES = 64 << 20
MARK_BYTES = 32 << 20
BODY_BYTES = 100_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB of the test's own."""
    where = tmp_path / "disk"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "huitong-test", where], check=True)
    yield where
    subprocess.run(["umount", where], check=True)


class Site:
    """A store on a small disk, its clock and what it told."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self.clock, self.recorder = FakeClock(START), EventRecorder()
        self.store = self.open()

    def open(self) -> SqliteStore:
        return SqliteStore.open(
            self.disk / "store.db",
            agent_id=AGENT,
            clock=self.clock,
            events=Events(self.recorder),
            low_water_bytes=MARK_BYTES,
        )

    def capture(self) -> ExchangeMessage:
        """Append one message with a body that takes its space."""
        state = self.store.open_flow("qszt")
        sequence = state.counters.next_sequence
        message = message_of(state, sequence, body=os.urandom(BODY_BYTES))
        self.store.append(replace(step_of(state, 1), messages=[message])).result()
        self.clock.advance(2)
        return message

    def capture_until_full(self) -> list[ExchangeMessage]:
        """Append until the store refuses."""
        messages = []
        while True:
            try:
                messages.append(self.capture())
            except StoreFull:
                return messages

    def settle(self, messages: list[ExchangeMessage]) -> list[str]:
        """Settle one by one, each in a transaction of its own."""
        return [str(done.verdict) for m in messages for done in self.store.settle([receipt_for(m)]).result()]

    def stored(self) -> int:
        """Return how many messages are stored."""
        (depth,) = self.store.depth()
        return depth.messages[State.STORED]

    def fill(self) -> Path:
        """Let somebody else take every last octet of the disk."""
        other = self.disk / "other.log"
        size = 1 << 20
        with other.open("ab", buffering=0) as file:
            while size:
                try:
                    file.write(b"x" * size)
                except OSError:
                    size //= 2
        found = os.statvfs(self.disk)
        assert found.f_bavail == 0
        return other


def test_capture_pauses_at_the_mark_and_resumes_by_itself(small_disk: Path) -> None:
    """Below the low-water mark only capture stops, with one alarm; purged bodies make room and it goes on, with one all-clear."""
    site = Site(small_disk)
    with closing(site.store):
        messages = site.capture_until_full()
        assert len(messages) > 50
        with pytest.raises(StoreFull):
            site.capture()
        assert not site.store.room()
        assert len(site.recorder.of(DiskLow)) == 1
        found = os.statvfs(small_disk)
        assert found.f_bavail * found.f_frsize > MARK_BYTES // 2

        assert site.settle(messages) == ["moved"] * len(messages)
        site.clock.advance(10)
        while site.store.purge(site.clock.now(), START, 20).result():
            pass
        site.clock.advance(2)
        assert site.store.room()
        assert len(site.recorder.of(DiskRecovered)) == 1
        more = site.capture_until_full()
        assert len(more) > 50
        assert [e.message for e in site.store.pending("qszt", 0, 3)] == more[:3]


def test_receipts_settle_on_a_disk_without_a_free_octet(small_disk: Path) -> None:
    """When somebody else fills the disk to the last octet, receipts still settle; freed, capture resumes without a restart."""
    site = Site(small_disk)
    with closing(site.store):
        messages = [site.capture() for _ in range(60)]
        reserve = small_disk / "store.db.reserve"
        assert reserve.stat().st_size == RESERVE_BYTES
        other = site.fill()
        with pytest.raises(StoreFull):
            site.capture()
        assert site.settle(messages) == ["moved"] * len(messages)
        assert site.stored() == len(messages)
        later = site.clock.now() + timedelta(days=1)
        assert site.store.purge(later, START, 20).result() == 20
        with pytest.raises(StoreFull):
            site.capture()

        other.unlink()
        site.clock.advance(2)
        assert site.store.room()
        site.capture()
        assert reserve.stat().st_size == RESERVE_BYTES
        assert len(site.recorder.of(DiskLow)) == len(site.recorder.of(DiskRecovered)) == 1


def test_a_disk_that_fills_unseen_fails_nothing_but_the_append(small_disk: Path) -> None:
    """A disk that is full before anybody looked again costs the append that met it, and receipts in the same breath settle."""
    site = Site(small_disk)
    with closing(site.store):
        messages = [site.capture() for _ in range(40)]
        state = site.store.open_flow("qszt")  # the last look at the disk is fresh: the store believes there is room
        other = site.fill()
        body = os.urandom(8 << 20)
        step = replace(step_of(state, 1), messages=[message_of(state, state.counters.next_sequence, body=body)])
        append = site.store.append(step)
        settled = site.store.settle([receipt_for(m) for m in messages])
        assert isinstance(append.exception(), StoreFull)
        assert [done.verdict for done in settled.result()] == ["moved"] * len(messages)
        assert site.store.open_flow("qszt").counters == state.counters
        other.unlink()
        site.clock.advance(2)
        site.store.append(step).result()
        assert [e.message.body for e in site.store.pending("qszt", 0, 1)] == [body]


def test_a_store_opens_on_a_full_disk(small_disk: Path) -> None:
    """Started on a full disk, the store takes receipts and refuses captures."""
    site = Site(small_disk)
    messages = [site.capture() for _ in range(30)]
    site.store.close()
    site.fill()
    site.store = site.open()
    with closing(site.store):
        assert not site.store.room()
        assert site.settle(messages) == ["moved"] * len(messages)
        with pytest.raises(StoreFull):
            site.capture()
