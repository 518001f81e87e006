"""The one thread that writes: group commit, isolation of failures, order, and stopping for good when the disk fails."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent import failpoints
from agent.adapters.store import engine, schema, writer
from agent.adapters.store.disk import Disk
from agent.adapters.store.writer import Writer
from agent.errors import Conflict, HuitongError, StoreError, StoreFull
from agent.events import Events
from agent.testing.clock import FakeClock

pytestmark = pytest.mark.integration

WAIT_SECS = 20


class Wire:
    """The writing connection, with a tap: what was executed, and failures on demand."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.executed: list[str] = []
        self.before: Callable[[str], None] = lambda _: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *parameters: Any) -> Any:
        self.executed.append(statement)
        self.before(statement)
        return self._connection.execute(statement, *parameters)


def driver_error(code: int) -> Exception:
    """Return what the driver raises for a result code of SQLite."""
    error: Exception = engine.driver().OperationalError("made by the test")
    error.sqlite_errorcode = code  # type: ignore[attr-defined]
    return error


class Bench:
    """A writer over a scratch database, tapped, with a gate that holds its thread inside a transaction."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        schema.bring_up(path)
        self.path = path
        self.wires: list[Wire] = []
        opened = engine.open_writer

        def tapped(where: Path) -> Any:
            self.wires.append(Wire(opened(where)))
            return self.wires[-1]

        monkeypatch.setattr(engine, "open_writer", tapped)
        self.writer = Writer(path, Disk(path, 0, FakeClock(), Events()))
        self.writer.start()
        self.held, self.go = threading.Event(), threading.Event()

    @property
    def wire(self) -> Wire:
        return self.wires[-1]

    def hold(self) -> None:
        """Keep the thread busy in a transaction until `go` is set: what is submitted meanwhile gathers."""

        def work(_: sqlite3.Connection) -> None:
            self.held.set()
            assert self.go.wait(WAIT_SECS)

        self.writer.submit(work)
        assert self.held.wait(WAIT_SECS)

    def put(self, name: str, **options: Any) -> Any:
        """Submit the insertion of a row."""
        return self.writer.submit(lambda db: insert(db, name), **options)

    def rows(self) -> list[str]:
        """Return the rows that are committed."""
        with closing(engine.open_reader(self.path)) as db:
            return [name for (name,) in db.execute("SELECT value FROM meta WHERE name LIKE 'test %' ORDER BY name")]


def insert(db: sqlite3.Connection, name: str) -> str:
    db.execute("INSERT INTO meta (name, value) VALUES (?, ?)", (f"test {name}", name))
    return name


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A running writer."""
    made = Bench(tmp_path / "store.db", monkeypatch)
    yield made
    made.go.set()
    made.writer.close()
    failpoints.arm(None)


def test_what_gathers_is_committed_together(bench: Bench) -> None:
    """Everything that is queued while a transaction is under way shares the next one."""
    bench.hold()
    futures = [bench.put(f"{number:02}") for number in range(30)]
    bench.wire.executed.clear()
    bench.go.set()
    assert [future.result(WAIT_SECS) for future in futures] == [f"{number:02}" for number in range(30)]
    assert bench.wire.executed.count("COMMIT") == 2
    assert len(bench.rows()) == 30


def test_a_transaction_is_bounded_by_count_and_octets(bench: Bench) -> None:
    """No transaction carries more pieces or octets than it may; a piece larger than that travels alone."""
    bench.hold()
    futures = [bench.put(f"n{number}") for number in range(writer.MAX_OPERATIONS)]
    futures += [bench.put(f"m{number}", size_bytes=writer.MAX_BYTES // 2) for number in range(2)]
    futures.append(bench.put("large", size_bytes=writer.MAX_BYTES * 3))
    bench.wire.executed.clear()
    bench.go.set()
    for future in futures:
        future.result(WAIT_SECS)
    assert bench.wire.executed.count("COMMIT") == 4


def test_who_submits_too_much_waits(bench: Bench) -> None:
    """Submitting waits while the queue is full, and goes on when there is space: memory stays bounded."""
    bench.hold()
    bench.put("a", size_bytes=writer.QUEUE_BYTES)
    passed = threading.Event()

    def submit() -> None:
        bench.put("b")
        passed.set()

    thread = threading.Thread(target=submit)
    thread.start()
    assert not passed.wait(0.05)
    bench.go.set()
    assert passed.wait(WAIT_SECS)
    thread.join()


def test_one_that_fails_harms_nobody(bench: Bench) -> None:
    """A piece that raises is undone alone, whatever it raised; its neighbours before and after it commit."""

    def fails(db: sqlite3.Connection) -> None:
        insert(db, "half done")
        raise Conflict(why="test")

    def breaks(db: sqlite3.Connection) -> None:
        insert(db, "half done")
        raise ZeroDivisionError

    def twice(db: sqlite3.Connection) -> None:
        insert(db, "half done")
        insert(db, "half done")

    bench.hold()
    before = bench.put("before")
    bad = [bench.writer.submit(work) for work in (fails, breaks, twice)]
    after = bench.put("after")
    bench.go.set()
    assert (before.result(WAIT_SECS), after.result(WAIT_SECS)) == ("before", "after")
    assert [type(future.exception(WAIT_SECS)) for future in bad] == [Conflict, ZeroDivisionError, Conflict]
    assert bench.rows() == ["after", "before"]
    assert type(bench.writer.submit(fails).exception(WAIT_SECS)) is Conflict
    assert bench.rows() == ["after", "before"]


def test_a_piece_alone_needs_no_savepoint(bench: Bench) -> None:
    """A single piece runs straight in its transaction."""
    bench.put("a").result(WAIT_SECS)
    assert not [statement for statement in bench.wire.executed if "SAVEPOINT" in statement]


def test_futures_resolve_in_order_and_after_the_commit(bench: Bench) -> None:
    """When a future resolves its row can be read by anybody, and no later future resolved before."""
    order: list[tuple[str, bool]] = []
    bench.hold()
    for name in "abc":
        bench.put(name).add_done_callback(lambda future: order.append((future.result(), future.result() in bench.rows())))
    last = bench.put("d")
    bench.go.set()
    last.result(WAIT_SECS)
    assert order == [("a", True), ("b", True), ("c", True)]


def test_a_callback_may_submit(bench: Bench) -> None:
    """A callback, which runs on the writer's own thread, may submit even when the queue is full."""
    bench.hold()
    done = threading.Event()
    first = bench.put("a", size_bytes=writer.QUEUE_BYTES)
    first.add_done_callback(lambda _: bench.put("b", size_bytes=writer.QUEUE_BYTES).add_done_callback(lambda _: done.set()))
    bench.go.set()
    assert done.wait(WAIT_SECS)


def test_lazy_work_waits_for_company_and_not_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lazy work is committed with the next eager piece, or by itself after a moment."""
    monkeypatch.setattr(writer, "LINGER_SECS", WAIT_SECS * 10)
    lazy = [bench.put(f"lazy {number}", lazy=True) for number in range(3)]
    bench.put("eager").result(WAIT_SECS)
    assert [future.done() for future in lazy] == [True] * 3
    assert bench.wire.executed.count("COMMIT") == 1
    monkeypatch.setattr(writer, "LINGER_SECS", 0.01)
    assert bench.put("alone", lazy=True).result(WAIT_SECS) == "alone"


def test_much_lazy_work_does_not_wait(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a transaction's worth of lazy work has gathered it is committed at once."""
    monkeypatch.setattr(writer, "LINGER_SECS", WAIT_SECS * 10)
    futures = [bench.put(f"{number:03}", lazy=True) for number in range(writer.MAX_OPERATIONS)]
    assert [future.result(WAIT_SECS) for future in futures] == [f"{n:03}" for n in range(writer.MAX_OPERATIONS)]


def test_closing_commits_what_was_handed_over(bench: Bench) -> None:
    """Close commits the queue, lazy work too, folds the log into the database and refuses what comes later."""
    bench.hold()
    futures = [bench.put("a"), bench.put("b", lazy=True)]
    closer = threading.Thread(target=bench.writer.close)
    closer.start()
    bench.go.set()
    closer.join(WAIT_SECS)
    assert [future.result(WAIT_SECS) for future in futures] == ["a", "b"]
    assert not bench.path.with_name("store.db-wal").exists()
    assert isinstance(bench.put("late").exception(WAIT_SECS), StoreError)
    bench.writer.close()
    assert bench.rows() == ["a", "b"]


@pytest.mark.parametrize("code", [10, 1034, 11, 26, 5, 21], ids=["IOERR", "FSYNC", "CORRUPT", "NOTADB", "BUSY", "MISUSE"])
def test_a_failed_disk_stops_the_writer_for_good(bench: Bench, code: int) -> None:
    """After a failed commit everything of the transaction and everything later fails, and no sync is ever tried again."""

    def fail(statement: str) -> None:
        if statement == "COMMIT":
            raise driver_error(code)

    bench.hold()
    bench.wire.before = fail
    futures = [bench.put("a"), bench.put("b")]
    bench.go.set()
    errors = [future.exception(WAIT_SECS) for future in futures]
    assert [type(error) for error in errors] == [StoreError, StoreError]
    bench.wire.before = lambda _: None
    commits = bench.wire.executed.count("COMMIT")
    assert isinstance(bench.put("later").exception(WAIT_SECS), StoreError)
    assert bench.wire.executed.count("COMMIT") == commits
    assert bench.rows() == []


def test_a_full_disk_is_survived_piece_by_piece(bench: Bench) -> None:
    """When a commit finds the disk full, pieces that do not grow the store are tried again alone, the others are refused."""
    fulls = iter([False, True])  # the first commit is that of the transaction that holds the thread

    def fail(statement: str) -> None:
        if statement == "COMMIT" and next(fulls, False):
            raise driver_error(13)

    bench.hold()
    growing = bench.put("growing", grows=True)
    small = [bench.put("a"), bench.put("b")]
    bench.wire.before = fail
    bench.go.set()
    assert isinstance(growing.exception(WAIT_SECS), StoreFull)
    assert [future.result(WAIT_SECS) for future in small] == ["a", "b"]
    assert bench.put("later", grows=True).result(WAIT_SECS) == "later"
    assert bench.rows() == ["a", "b", "later"]


def test_a_disk_that_stays_full_is_told_to_everybody(bench: Bench) -> None:
    """When nothing helps, each piece fails with StoreFull and the store works again as soon as there is room."""

    def fail(statement: str) -> None:
        if statement == "COMMIT":
            raise driver_error(13)

    bench.hold()
    bench.wire.before = fail
    futures = [bench.put("a"), bench.put("b")]
    bench.go.set()
    assert [type(future.exception(WAIT_SECS)) for future in futures] == [StoreFull, StoreFull]
    bench.wire.before = lambda _: None
    assert bench.put("c").result(WAIT_SECS) == "c"
    assert bench.rows() == ["c"]


def test_a_surprise_after_the_commit_is_never_taken_for_one(bench: Bench) -> None:
    """When something unknown happens between commit and telling, nobody is told of success and the writer stops."""

    def surprise(name: str) -> None:
        raise RuntimeError(name)

    failpoints.arm(surprise)
    assert isinstance(bench.put("a").exception(WAIT_SECS), StoreError)
    failpoints.arm(None)
    assert isinstance(bench.put("b").exception(WAIT_SECS), StoreError)
    assert bench.rows() == ["a"]


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_files_that_change_under_it_stop_the_writer(bench: Bench, suffix: str, how: str) -> None:
    """A database or log that is removed, renamed or put back from a copy while open is noticed before the next commit."""
    bench.put("a").result(WAIT_SECS)
    bench.put("b").result(WAIT_SECS)
    file = bench.path.with_name(bench.path.name + suffix)
    octets = file.read_bytes()
    file.rename(file.with_name("elsewhere"))
    if how == "replaced":
        file.write_bytes(octets)
    error = bench.put("c").exception(WAIT_SECS)
    assert isinstance(error, StoreError)
    assert str(file) in str(error)
    assert isinstance(bench.put("d").exception(WAIT_SECS), HuitongError)


def test_idle_the_log_is_folded_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while without work the write-ahead log is empty, once, without being asked."""
    rested = threading.Event()
    rest = Writer._rest

    def watched(self: Writer) -> None:
        rest(self)
        rested.set()

    monkeypatch.setattr(Writer, "_rest", watched)
    monkeypatch.setattr(writer, "IDLE_SECS", 0.01)
    bench = Bench(tmp_path / "store.db", monkeypatch)
    bench.put("a").result(WAIT_SECS)
    assert rested.wait(WAIT_SECS)
    assert bench.path.with_name("store.db-wal").stat().st_size == 0
    bench.writer.close()


def test_a_reader_in_the_way_is_waited_for_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader with an old snapshot keeps the log, and is neither waited for nor an error."""
    rests: list[int] = []
    rested = threading.Semaphore(0)
    rest = Writer._rest

    def watched(self: Writer) -> None:
        rest(self)
        rests.append(tmp_path.joinpath("store.db-wal").stat().st_size)
        rested.release()

    monkeypatch.setattr(Writer, "_rest", watched)
    monkeypatch.setattr(writer, "IDLE_SECS", 0.01)
    bench = Bench(tmp_path / "store.db", monkeypatch)
    bench.put("a").result(WAIT_SECS)
    assert rested.acquire(timeout=WAIT_SECS)
    with closing(engine.open_reader(bench.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM meta").fetchone()
        bench.put("b").result(WAIT_SECS)
        assert rested.acquire(timeout=WAIT_SECS)
    bench.put("c").result(WAIT_SECS)
    assert rested.acquire(timeout=WAIT_SECS)
    assert [size > 0 for size in rests] == [False, True, False]
    bench.writer.close()
