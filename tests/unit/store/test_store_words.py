"""The small parts of the store that need no disk: versions, errors, times, statements, and the fakes that ship."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.clock import SystemClock
from agent.adapters.store import append, engine
from agent.adapters.store import statements as sql
from agent.adapters.store.rows import hour, micros, moment
from agent.errors import Busy, Denied, StoreError, StoreFull
from agent.events import Event, FlowResumed, ServiceStarted
from agent.model import LedgerRow, State, Trigger
from agent.testing.clock import FakeClock
from agent.testing.memory_store import MemoryStore
from agent.testing.recorder import EventRecorder
from tests.contract.store.makers import step_of

# -- engine ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "version, warned",
    [((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 51, 2), True), ((3, 51, 3), False), ((4, 0, 0), False)],
)
def test_versions_with_the_reset_fault_are_warned_about(version: tuple[int, int, int], warned: bool) -> None:
    """The range of SQLite versions that can lose a commit is warned about, its ends included and excluded rightly."""
    assert bool(engine.warning_for(version)) == warned


def test_the_engine_in_use_has_a_version() -> None:
    """The version shown is that of the library the store really uses, the newer of those there are."""
    with closing(engine.driver().connect(":memory:")) as db:
        (text,) = db.execute("SELECT sqlite_version()").fetchone()
    assert tuple(map(int, text.split("."))) == engine.engine_version() >= sqlite3.sqlite_version_info


@pytest.mark.parametrize(
    "code, expected",
    [(13, StoreFull), (5, Busy), (6, Busy), (261, Busy), (14, Denied), (8, Denied), (10, StoreError), (1034, StoreError)],
)
def test_errors_of_the_driver_are_translated(code: int, expected: type[Exception]) -> None:
    """Each kind of driver error becomes one of ours that names the file; extended codes count as their kind."""
    error = sqlite3.OperationalError("x")
    error.sqlite_errorcode = code
    translated = engine.translate(error, Path("/var/lib/huitong/store.db"))
    assert type(translated) is expected
    assert "/var/lib/huitong/store.db" in str(translated)
    assert engine.is_full(error) == (code == 13)


def test_an_old_engine_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A SQLite that lacks what the statements need is refused by its version, before anything is opened."""
    monkeypatch.setattr(engine, "engine_version", lambda: (3, 37, 2))
    with pytest.raises(StoreError, match=r"3\.37\.2"):
        engine.open_writer(tmp_path / "store.db")
    assert list(tmp_path.iterdir()) == []


# -- rows ------------------------------------------------------------------------------------------------------------

MOMENTS = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=8))])).filter(lambda when: 2 < when.year < 9998)


@given(MOMENTS)
def test_times_survive(when: datetime) -> None:
    """A time stored as whole microseconds is the same instant when read, before 1970 too."""
    assert moment(micros(when)) == when
    assert moment(micros(when)).tzinfo is UTC
    assert hour(when) == micros(when) // 3_600_000_000


def test_no_time_is_no_time() -> None:
    """What has not happened has no time."""
    assert moment(None) is None


# -- statements ------------------------------------------------------------------------------------------------------


def test_moves_are_those_of_the_table() -> None:
    """The states in a statement are the sources and the target of its trigger."""
    assert (sql.sources(Trigger.CONFIRM), sql.target(Trigger.CONFIRM)) == ("'pending'", State.CONFIRMED)
    assert (sql.sources(Trigger.DISCARD), sql.target(Trigger.DISCARD)) == ("'pending', 'confirmed'", State.DEAD)


@given(st.integers(0, 300))
def test_many_rows_go_through_few_statements(count: int) -> None:
    """Rows are inserted in order whatever their number, through at most four distinct statements."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE t (a INTEGER, b BLOB)")
        seen: list[str] = []
        db.set_trace_callback(seen.append)
        rows = [(number, bytes([number % 256])) for number in range(count)]
        assert sql.insert_many(db, "INSERT INTO t (a, b) VALUES ", rows) == count
        assert len({statement.count("(") for statement in seen if statement.startswith("INSERT")}) <= 4
        assert db.execute("SELECT a, b FROM t ORDER BY rowid").fetchall() == rows


@given(st.lists(st.integers(1, 40), unique=True).map(sorted))
def test_runs_are_consecutive_and_lose_nothing(ordinals: list[int]) -> None:
    """Ledger rows are cut exactly where their ordinals are not consecutive."""
    rows = [LedgerRow(f"k{ordinal}", b"h" * 16, ordinal, 1) for ordinal in ordinals]
    runs = list(append._runs(rows))
    assert [row for run in runs for row in run] == rows
    for run in runs:
        assert [row.ordinal for row in run] == list(range(run[0].ordinal, run[0].ordinal + len(run)))
    for left, right in pairwise(runs):
        assert right[0].ordinal != left[-1].ordinal + 1


def test_a_hash_has_sixteen_octets() -> None:
    """A ledger row with a hash of another length is refused: the statement cuts them by position."""
    step = replace(step_of(MemoryStore().open_flow("qszt"), 1), ledger=[LedgerRow("k", b"short", 1, 1)])
    with closing(sqlite3.connect(":memory:")) as db, pytest.raises(ValueError, match="16 octets"):
        append._upsert_ledger(db, 1, 1, step)


# -- the fakes -------------------------------------------------------------------------------------------------------


def test_a_fake_clock_moves_when_told() -> None:
    """Both times move together; a step moves the wall clock alone."""
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    start = clock.monotonic()
    clock.advance(1.5)
    clock.step(datetime(2020, 1, 1, tzinfo=UTC))
    assert clock.monotonic() - start == 1.5
    assert clock.now() == datetime(2020, 1, 1, tzinfo=UTC)


def test_the_system_clock_is_aware_and_moves() -> None:
    """The real clock gives UTC and never runs back."""
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


@pytest.fixture
def recorder() -> Iterator[EventRecorder]:
    """A recorder with one event in it."""
    made = EventRecorder()
    made(ServiceStarted("first"))
    yield made
    assert all(isinstance(event, Event) for event in made.events)


def test_a_recorder_waits_for_what_happens_elsewhere(recorder: EventRecorder) -> None:
    """`wait_for` returns what happened before, or what another thread lets happen, by type or by predicate."""
    assert recorder.wait_for(ServiceStarted) == ServiceStarted("first")
    thread = threading.Thread(target=lambda: [recorder(FlowResumed("a", "disk")), recorder(FlowResumed("b", "disk"))])
    thread.start()
    found = recorder.wait_for(lambda event: isinstance(event, FlowResumed) and event.flow == "b")
    assert found == FlowResumed("b", "disk")
    assert len(recorder.wait_until(lambda events: len(events) >= 3)) == 3
    thread.join()
    assert recorder.of(FlowResumed) == [FlowResumed("a", "disk"), FlowResumed("b", "disk")]


def test_a_recorder_says_what_happened_instead(recorder: EventRecorder) -> None:
    """Waiting in vain fails and lists what did happen."""
    with pytest.raises(AssertionError, match="ServiceStarted"):
        recorder.wait_for(FlowResumed, timeout=0.01)
    with pytest.raises(AssertionError, match="ServiceStarted"):
        recorder.wait_until(lambda events: len(events) > 5, timeout=0.01)
    recorder.clear()
    assert recorder.events == []
