"""Whatever happens, and whenever the process dies: what a hub holds in the end is what the source says.

Random histories of a source are captured by a process that dies at random places (in any call of the source, in front of an
append, behind its commit), loses its source, runs out of disk and starts again. In the end every change is there once.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import SourceUnavailable
from agent.model import Append, Op
from agent.testing.memory_store import MemoryStore
from agent.testing.scripted_source import ScriptedSource
from tests.unit.services.capture_kit import FLOW, Bench, Sent, by_id


class Died(BaseException):
    """The process is gone at this point."""


class DeadlyLog:
    """A store whose user dies now and then, just before it asks for something or just after it was done."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.before = self.after = 0  # appends from now until the death; 0 is never

    def append(self, step: Append) -> Future[None]:
        self._die("before")
        done = self._store.append(step)
        self._die("after")
        return done

    def announce(self, flow: str, message: Any) -> Future[None]:
        self._die("before")
        done = self._store.announce(flow, message)
        self._die("after")
        return done

    def _die(self, when: str) -> None:
        left = getattr(self, when)
        setattr(self, when, max(0, left - 1))
        if left == 1:
            raise Died

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


Act = Callable[["Life"], None]


class Life:
    """A source, its capture, and everything that can happen to them."""

    def __init__(self, *, log: bool, overlap: int, page_rows: int, in_flight: int) -> None:
        source = ScriptedSource(log=log, overlap=overlap, first_load=not log)
        self.bench = Bench(source, log=DeadlyLog, page_rows=page_rows, in_flight=in_flight)
        self.deadly = self.bench.log
        assert isinstance(self.deadly, DeadlyLog)
        self.script = source
        self.history: dict[Any, list[str | None]] = {}

    def put(self, key: int, name: str) -> None:
        self.script.put((key, name))
        self.history.setdefault(key, []).append(name)

    def delete(self, key: int) -> None:
        self.script.delete(key)
        self.history.setdefault(key, []).append(None)

    def run(self) -> None:
        """Let the process work until it has read everything, or dies; then there is a new one."""
        try:
            self.bench.run(rounds=60)
        except Died:
            self.bench.restart()
        except AssertionError:  # it waits for something
            self.bench.clock.advance(1000)

    def rounds(self, count: int) -> None:
        try:
            self.bench.rounds(count)
        except Died:
            self.bench.restart()

    def kill(self) -> None:
        self.bench.restart()

    def heal(self) -> None:
        """Let nothing happen any more, and capture what is left."""
        self.deadly.before = self.deadly.after = 0
        self.script._failures.clear()
        self.bench.store.fill_disk(full=False)
        self.bench.clock.advance(10_000)
        self.bench.run(rounds=5000)


keys = st.integers(0, 5)
names = st.sampled_from("ABC")
deaths = st.integers(1, 4)
calls = st.sampled_from(["open", "read", "commit"])


def table_acts() -> st.SearchStrategy[Act]:
    return st.one_of(
        st.builds(lambda key, name: lambda life: life.put(key, name), keys, names),
        st.builds(lambda key, name: lambda life: life.put(key, name), keys, names),
        st.just(lambda life: life.run()),
        st.builds(lambda count: lambda life: life.rounds(count), st.integers(1, 6)),
        st.just(lambda life: life.kill()),
        st.builds(lambda when: lambda life: setattr(life.deadly, "before", when), deaths),
        st.builds(lambda when: lambda life: setattr(life.deadly, "after", when), deaths),
        st.builds(lambda call: lambda life: life.script.fail(call, Died()), calls),
        st.builds(lambda call: lambda life: life.script.fail(call, SourceUnavailable(why="away")), calls),
        st.booleans().map(lambda full: lambda life: life.bench.store.fill_disk(full=full)),
    )


def log_acts() -> st.SearchStrategy[Act]:
    return st.one_of(table_acts(), st.builds(lambda key: lambda life: life.delete(key), keys))


sizes = st.integers(1, 4)


def check_wire(life: Life) -> list[Sent]:
    """Check what must hold for every history: ids are unique, sequences without gap, counters beyond all of them."""
    sent = life.bench.sent()
    by_id(sent)
    sequences = life.bench.sequences()
    assert sequences == list(range(1, len(sequences) + 1))
    state = life.bench.store.open_flow(FLOW)
    assert state.counters.next_sequence == len(sequences) + 1
    assert state.counters.next_ordinal == len(sent) + 1
    return sent


@settings(max_examples=150)
@given(st.lists(table_acts(), max_size=40), st.integers(0, 4), sizes, sizes)
def test_a_polled_table_ends_up_as_it_is(acts: list[Act], overlap: int, page_rows: int, in_flight: int) -> None:
    """Of a polled table, every key's last state arrives; states on the way come in order, and none twice in a row."""
    life = Life(log=False, overlap=overlap, page_rows=page_rows, in_flight=in_flight)
    for act in acts:
        act(life)
    life.heal()
    sent = check_wire(life)
    assert life.bench.view() == {key: {"id": key, "name": row[1]} for key, row in life.script.rows().items()}
    for key, history in life.history.items():
        events = [record.data["name"] for record in sent if record.key["id"] == key]
        assert is_subsequence(events, history)
        assert all(one != other for one, other in pairwise(events))
    life.bench.service.finish()


@settings(max_examples=150)
@given(st.lists(log_acts(), max_size=40), sizes, sizes)
def test_a_log_arrives_change_by_change(acts: list[Act], page_rows: int, in_flight: int) -> None:
    """Of a change log, every change arrives exactly once and in order, deletes included."""
    life = Life(log=True, overlap=0, page_rows=page_rows, in_flight=in_flight)
    for act in acts:
        act(life)
    life.heal()
    sent = check_wire(life)
    arrived = [(record.key["id"], record.data["name"] if record.op is Op.UPSERT else None) for record in sent]
    assert arrived == [(change.row[0], change.row[1]) for change in life.script._changes]
    life.bench.service.finish()


def is_subsequence(some: list[Any], whole: list[Any]) -> bool:
    """Tell whether `some` is `whole` with parts left out."""
    rest = iter(whole)
    return all(item in rest for item in some)
