"""What every ports.Source does, as a suite that a connector's test file subclasses.

A world is where the source reads from, and what a test may do to it. Worlds that give changes no token of their own may show
a row again (`rereads`): the key ledger of the host knows it, and here the host is a set of what was seen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from agent.errors import SourceUnavailable
from agent.model import START, Batch, Counters, FlowState, Position, Value, WalkKind, WalkOrder
from agent.ports import Source, Walkable

COLUMNS = ("id", "name", "amount", "seen_at", "note")
SOME = 23


@dataclass(frozen=True)
class Record:
    """A record as a world is asked to hold it; amounts and times are canonical text."""

    id: int
    name: str = "王五"
    amount: str | None = "10.50"
    seen_at: str | None = "2026-11-21T08:00:00"
    note: str | None = "-"


def records(first: int, count: int = 1) -> list[Record]:
    """Return records with ascending ids."""
    return [Record(n, name=f"张三{n}", amount=f"{n}.25") for n in range(first, first + count)]


class World(Protocol):
    """Where a source reads from."""

    rereads: bool
    built: list[Source]  # every source that was built, to be closed at the end

    def put(self, some: Sequence[Record]) -> None:
        """Let records arrive, in this order."""
        ...

    def source(self) -> Source:
        """Return a new source of this world, unopened."""
        ...

    def misconfigured(self) -> Source:
        """Return a source that cannot work: wrong credentials, no such place."""
        ...

    def cut(self) -> None:
        """Make the world unreachable, connections that are open included."""
        ...

    def mend(self) -> None:
        """Make it reachable again."""
        ...

    def shown(self, record: Record) -> tuple[Value, ...]:
        """Return how a source delivers a record, in the order of COLUMNS."""
        ...


@dataclass
class Host:
    """Does what the capture service does, as far as a source can notice; everything here counts as durable."""

    source: Source
    limit: int = 5
    position: Position = START
    memory: dict[str, str] = field(default_factory=dict)
    loaded: bool = False
    seen: list[tuple[Value, ...]] = field(default_factory=list)
    steps: list[tuple[Position, dict[str, str], int]] = field(default_factory=list)
    unreadable: set[tuple[str, bytes]] = field(default_factory=set)

    def state(self) -> FlowState:
        """Return what a store would say of the flow."""
        return FlowState("f", "e0", "", self.position, Counters(), dict(self.memory), loaded=self.loaded)

    def open(self) -> None:
        """Open the source; what was durable is committed once more, as after a crash."""
        self.source.open(self.state())
        if self.position != START:
            self.source.commit(self.position)

    def step(self, *, commit: bool = True) -> Batch:
        """Read one batch and make it durable."""
        if isinstance(self.source, Walkable) and self.source.wants_walk(self.position):
            self.position = self.source.begin_walk(self.position, WalkOrder(WalkKind.COMPARE))
        batch = self.source.read(self.position, self.limit)
        self.keep(batch)
        if commit:
            self.source.commit(batch.position)
        return batch

    def keep(self, batch: Batch) -> None:
        """Make a batch durable."""
        self.position = batch.position
        self.memory.update(batch.memory)
        self.loaded = self.loaded or batch.loading is None
        self.seen += [row for row in in_order(batch) if row not in self.seen]
        self.unreadable |= {(item.token, item.raw) for item in batch.unreadable}
        self.steps.append((self.position, dict(self.memory), len(self.seen)))

    def drain(self, *, commit: bool = True) -> None:
        """Read until there is nothing new."""
        while True:
            before = len(self.seen)
            batch = self.step(commit=commit)
            if not batch.more and len(self.seen) == before:
                return

    def restarted(self, source: Source, after: int | None = None) -> Host:
        """Return a host that starts from what was durable after step number `after`, the last by default."""
        position, memory, seen = self.steps[-1 if after is None else after]
        return Host(source, self.limit, position, dict(memory), self.loaded, list(self.seen[:seen]))


def in_order(batch: Batch) -> Iterable[tuple[Value, ...]]:
    """Return the rows of a batch with their columns in the order of COLUMNS."""
    places = [batch.columns.index(name) for name in COLUMNS] if batch.rows else []
    return [tuple(row[place] for place in places) for row in batch.rows]


def drained(source: Source, limit: int = 5) -> Host:
    """Return a host that has read everything."""
    host = Host(source, limit)
    host.open()
    host.drain()
    return host


class SourceContract:
    """Subclass with a fixture `world`."""

    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def close_sources(self, world: World) -> Iterator[None]:
        yield
        for source in world.built:
            source.close()

    def test_everything_is_read_once_and_in_order(self, world: World) -> None:
        """What was there before the source is read whole, each record once, in order."""
        world.put(records(1, SOME))
        assert drained(world.source()).seen == [world.shown(r) for r in records(1, SOME)]

    def test_what_arrives_later_is_read_too(self, world: World) -> None:
        """After everything was read, new records are read, and only they are new."""
        world.put(records(1, 7))
        host = drained(world.source())
        world.put(records(8, 6))
        host.drain()
        assert host.seen == [world.shown(r) for r in records(1, 13)]

    def test_reading_is_repeatable(self, world: World) -> None:
        """Reading after the same position twice gives the same batch."""
        world.put(records(1, SOME))
        host = Host(world.source())
        host.open()
        for _ in range(4):
            first = host.source.read(host.position, 5)
            again = host.source.read(host.position, 5)
            assert (again.rows, again.tokens, again.position) == (first.rows, first.tokens, first.position)
            host.keep(again)

    def test_reading_resumes_from_every_stored_position(self, world: World) -> None:
        """Whatever position was stored last before a restart, the rest is read and nothing is left out."""
        world.put(records(1, SOME))
        source = world.source()
        host = Host(source)
        host.open()
        host.drain(commit=False)
        source.close()
        for number in range(len(host.steps)):
            resumed = host.restarted(world.source(), number)
            resumed.open()
            resumed.drain(commit=False)
            assert resumed.seen == host.seen
            resumed.source.close()

    def test_a_commit_twice_is_harmless(self, world: World) -> None:
        """Committing a position again, or one from before, changes nothing."""
        world.put(records(1, SOME))
        host = Host(world.source())
        host.open()
        positions = [host.step().position for _ in range(4)]
        for position in (*positions, positions[-1]):
            host.source.commit(position)
        host.drain()
        assert host.seen == [world.shown(r) for r in records(1, SOME)]

    def test_a_crash_before_the_commit_is_made_good(self, world: World) -> None:
        """A crash between the durable append and the commit loses and doubles nothing."""
        world.put(records(1, SOME))
        host = Host(world.source())
        host.open()
        host.drain(commit=False)
        world.put(records(SOME + 1, 4))
        after = host.restarted(world.source())
        after.open()
        after.drain()
        assert after.seen == [world.shown(r) for r in records(1, SOME + 4)]

    def test_nothing_new_is_an_empty_batch_at_the_same_position(self, world: World) -> None:
        """When there is nothing new the position stays and no row is new."""
        world.put(records(1, SOME))
        host = drained(world.source())
        rest = host.position
        for _ in range(3):
            batch = host.source.read(rest, 100)
            while batch.more and world.rereads:  # one that compares everything takes several batches for it
                assert set(in_order(batch)) <= set(host.seen)
                batch = host.source.read(batch.position, 100)
            assert batch.position == rest
            assert not batch.more
            assert set(in_order(batch)) <= set(host.seen)
            assert world.rereads or not batch.rows

    def test_an_empty_world_has_nothing(self, world: World) -> None:
        """Reading where there is nothing gives nothing, and does not spin."""
        host = drained(world.source())
        assert host.seen == []
        assert not host.step().more

    @pytest.mark.parametrize("limit", [1, 2, 7])
    def test_the_limit_is_respected(self, world: World, limit: int) -> None:
        """No batch has more rows than asked for, and a small limit loses none."""
        world.put(records(1, SOME))
        host = Host(world.source(), limit)
        host.open()
        sizes = [len(host.step().rows) for _ in range(3 * SOME)]
        assert max(sizes) <= limit
        assert host.seen == [world.shown(r) for r in records(1, SOME)]

    def test_an_unreachable_world_is_told_and_got_over(self, world: World) -> None:
        """SourceUnavailable while the world is gone; after close and open, reading goes on where it was."""
        world.put(records(1, SOME))
        host = Host(world.source())
        host.open()
        host.step()
        world.cut()
        with pytest.raises(SourceUnavailable):
            host.drain()
        host.source.close()
        with pytest.raises(SourceUnavailable):
            host.open()
        world.mend()
        host.open()
        host.drain()
        assert host.seen == [world.shown(r) for r in records(1, SOME)]

    def test_values_survive(self, world: World) -> None:
        """Rare characters, NULL, the empty string, long decimals and line breaks arrive as they were."""
        difficult = [
            Record(1, name='䶮𠮷 O\'Neil "x", 100%', amount="12345678901234567.89", note="a\nb\tc"),
            Record(2, name="", amount=None, seen_at=None, note=None),
            Record(3, name=" 前后空格 ", amount="-0.01", seen_at="1899-12-31T23:59:59", note="=1+1"),
            Record(4, name="%s %(x)s :y ?", amount="0.00", seen_at="2026-11-21T08:00:00.123456", note="\\'"),
        ]
        world.put(difficult)
        assert drained(world.source()).seen == [world.shown(r) for r in difficult]

    def test_the_incarnation_stays_the_same(self, world: World) -> None:
        """Opening again names the same source."""
        world.put(records(1, 2))
        first, second = world.source(), world.source()
        host = Host(first)
        assert first.open(host.state()) == second.open(host.state()) != ""

    def test_waiting_ends_after_the_timeout(self, world: World) -> None:
        """A wait in which nothing happens says that there was no news."""
        source = world.source()
        Host(source).open()
        source.wait(0)  # news from before, if any
        assert source.wait(0.05) is False

    def test_a_wake_ends_the_wait(self, world: World) -> None:
        """Another thread can end a wait at once."""
        source = world.source()
        Host(source).open()
        source.wait(0)
        waker = threading.Timer(0.05, source.wake)
        waker.start()
        assert source.wait(60) is True
        waker.join()

    def test_a_wake_before_the_wait_is_not_lost(self, world: World) -> None:
        """A wake that comes a moment too early ends the next wait."""
        source = world.source()
        Host(source).open()
        source.wake()
        assert source.wait(60) is True

    def test_check_is_content_with_a_good_source(self, world: World) -> None:
        """Check on an unopened source finds nothing in the way and leaves everything as it is."""
        world.put(records(1, 3))
        findings = world.source().check()
        assert findings
        assert [f.text for f in findings if not f.ok and not f.warning] == []
        assert drained(world.source()).seen == [world.shown(r) for r in records(1, 3)]

    def test_check_finds_what_cannot_work(self, world: World) -> None:
        """Check names what is wrong, with what to do about it, and does not raise."""
        wrong = [f for f in world.misconfigured().check() if not f.ok and not f.warning]
        assert wrong
        assert all(f.text and f.hint for f in wrong)

    def test_closing_twice_is_harmless(self, world: World) -> None:
        """Close lets go, also of a source that was never opened, and may be called again."""
        source = world.source()
        source.close()
        Host(source).open()
        source.close()
        source.close()
        world.put(records(1, 2))
        assert drained(source).seen == [world.shown(r) for r in records(1, 2)]


class BadRecordContract:
    """For worlds that can hold what nobody can read: subclass beside SourceContract, with `put_unreadable`."""

    def put_unreadable(self, world: World) -> None:
        """Let one record arrive that cannot be read."""
        raise NotImplementedError

    def test_one_bad_record_is_isolated(self, world: World) -> None:
        """A record that cannot be read is told as such; its neighbours flow on."""
        world.put(records(1, 3))
        self.put_unreadable(world)
        world.put(records(5, 3))
        host = drained(world.source())
        assert host.seen == [world.shown(r) for r in [*records(1, 3), *records(5, 3)]]
        assert len(host.unreadable) == 1


def as_mapping(record: Record) -> Mapping[str, Value]:
    """Return a record as columns and values."""
    return {name: getattr(record, name) for name in COLUMNS}
