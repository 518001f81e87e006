"""The rule of the watermark: in whatever order transactions commit, nothing is missed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.testing.clock import FakeClock
from connectors.database.streams.activity_mysql import Horizon, Transaction, Witness
from connectors.database.streams.stream import Changes
from connectors.database.streams.watermark import WatermarkStream, _low_of
from connectors.database.tables.reader import TableReader
from connectors.database.tables.table import ValueKind

START = datetime(2026, 11, 21, 8, tzinfo=UTC)


def at(secs: float) -> datetime:
    return START + timedelta(seconds=secs)


@dataclass
class Written:
    """A transaction with one row; `key` may be that of others."""

    key: int
    began: float
    ends: float
    version: int


@dataclass
class Scripted:
    """A table, its open transactions and a reader of both."""

    clock: FakeClock = field(default_factory=FakeClock)
    written: list[Written] = field(default_factory=list)
    blind: bool = False  # nothing can be said of open transactions
    back_secs: float = 0.0  # by which the clock of the database was set back

    def now(self) -> float:
        return self.clock.monotonic() - 1000 - self.back_secs

    # Lookout

    def look(self) -> Horizon:
        now = self.now()
        open_ = [at(one.began) for one in self.written if one.began <= now < one.ends]
        return Horizon(at(now), None if self.blind else min([at(now), *open_]))

    def close(self) -> None:
        pass

    # TableReader

    @property
    def pages(self) -> Any:
        cursor, key = SimpleNamespace(name="u", kind=ValueKind.INSTANT), SimpleNamespace(name="id")
        shape = SimpleNamespace(index={"id": 0, "version": 1, "u": 2}, key=(key,), cursor=cursor)
        return SimpleNamespace(cursor=cursor, shape=shape, poll=lambda **which: which)

    @property
    def database(self) -> Any:
        return SimpleNamespace(comparable=lambda _column, value: value)

    def page(self, statement: Any, limit: int, **values: Any) -> Any:
        after = (datetime.fromisoformat(values["c"]), values["k0"]) if statement["resumed"] else None
        low = None if after else datetime.fromisoformat(values["low"])
        rows = [
            (key, version, began.isoformat())
            for key, version, began in self.rows()
            if ((began, key) > after if after else low is not None and began >= low)
        ]
        rows.sort(key=lambda row: (datetime.fromisoformat(row[2]), row[0]))
        return SimpleNamespace(rows=rows[:limit], suspicious=False)

    def rows(self) -> list[tuple[int, int, datetime]]:
        """Return the rows that are visible: of each key the version committed last."""
        done = sorted((one for one in self.written if one.ends <= self.now()), key=lambda one: one.ends)
        return [(one.key, one.version, at(one.began)) for one in {one.key: one for one in done}.values()]

    def key_of(self, row: Any) -> tuple[Any, ...]:
        return (row[0],)

    def bound(self, place: tuple[Any, ...]) -> dict[str, Any]:
        return {f"k{number}": value for number, value in enumerate(place)}

    def stream(self) -> WatermarkStream:
        return WatermarkStream(cast("TableReader", self), self, timedelta(minutes=10), self.clock)


steps = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 5), st.floats(0.01, 20)), max_size=4),  # rows written now, by key, and until when
        st.floats(0.01, 6),  # time until the next poll
        st.sampled_from(("kept", "kept", "kept", "again", "restart")),
        st.booleans(),
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(steps, st.integers(1, 4))
def test_nothing_is_missed_in_whatever_order_transactions_commit(
    history: list[tuple[list[tuple[int, float]], float, str, bool]], limit: int
) -> None:
    """However writes, polls, pages read twice and restarts interleave: in the end the host has every row as it is."""
    world = Scripted()
    stream = world.stream()
    mark = stream.begin()
    host: dict[int, int] = {}
    version, free = 0, dict.fromkeys(range(6), -1.0)  # a key is locked until its transaction ends
    for writes, pause, what, blind in history:
        for key, secs in writes:
            if free[key] <= world.now():
                version += 1
                free[key] = world.now() + secs
                world.written.append(Written(key, world.now(), free[key], version))
        world.blind = blind
        if what == "restart":
            stream = world.stream()
        changes = stream.read(mark, limit)
        if what == "again":
            changes = stream.read(mark, limit)
        host.update({row[0]: row[1] for row in changes.rows})  # type: ignore[misc]
        mark = changes.mark
        world.clock.advance(pause)
    world.clock.advance(30)
    world.blind = False
    for _round in range(2):  # one may have been under way
        mark, rows = drained(stream, mark, limit)
        host.update({row[0]: row[1] for row in rows})
    assert host == {key: number for key, number, _began in world.rows()}


def drained(stream: WatermarkStream, mark: Any, limit: int = 10) -> tuple[Any, list[Any]]:
    rows: list[Any] = []
    more = True
    while more:
        changes: Changes = stream.read(mark, limit)
        rows += changes.rows
        mark, more = changes.mark, changes.more
    return mark, rows


def test_what_was_handed_out_does_not_come_again() -> None:
    """While a transaction is open for an hour, each row above it is handed out once."""
    world = Scripted()
    stream = world.stream()
    mark = stream.begin()
    world.written = [Written(0, 0.0, 3600.0, 1), *(Written(key, float(key), key + 0.5, key) for key in range(1, 100))]
    given: list[Any] = []
    for _poll in range(50):
        world.clock.advance(3)
        mark, rows = drained(stream, mark)
        given += rows
    assert sorted(row[0] for row in given) == list(range(1, 100))
    world.clock.advance(3600)
    assert [row[0] for row in drained(stream, mark)[1]] == [0]


def test_a_row_that_goes_back_to_what_it_was_comes_again() -> None:
    """With times of whole seconds, A, B and A may share one: the second A is news to a host that has B."""
    world = Scripted()
    stream = world.stream()
    mark = stream.begin()
    seen = []
    for version in (1, 2, 1):
        world.clock.advance(0.1)
        world.written = [Written(7, 0.0, world.now(), version)]
        mark, rows = drained(stream, mark)
        seen += [row[1] for row in rows]
    assert seen == [1, 2, 1]


def test_a_page_read_twice_is_the_same() -> None:
    """Until a page is kept it comes again, with the same mark, although the clock went on."""
    world = Scripted()
    stream = world.stream()
    mark = stream.begin()
    world.written = [Written(key, 0.0, 0.1, key) for key in range(5)]
    world.clock.advance(1)
    first = stream.read(mark, 3)
    world.clock.advance(1)
    assert stream.read(mark, 3) == first
    assert len(first.rows) == 3


def test_a_clock_that_is_set_back_is_noticed() -> None:
    """Rows written since carry smaller times: they are read, and a comparison is asked for; running or after a restart."""
    for restart in (False, True):
        world = Scripted()
        stream = world.stream()
        mark = stream.begin()
        for _poll in range(3):
            world.clock.advance(10)
            mark, _rows = drained(stream, mark)
        world.back_secs = 25.0
        world.clock.advance(1)
        world.written = [Written(1, world.now() - 0.5, world.now(), 1)]
        changes = (world.stream() if restart else stream).read(mark, 10)
        assert changes.doubt
        assert [row[0] for row in changes.rows] == [1]


def test_rows_below_the_watermark_are_settled() -> None:
    """What a walk finds below it was missed; what lies above is still to be read."""
    world = Scripted()
    world.clock.advance(100)
    stream = world.stream()
    rows = [(1, 1, at(98).isoformat()), (2, 1, at(99).isoformat()), (3, 1, "infinity"), (4, 1, None)]
    assert stream.settled(stream.begin(), cast("Any", rows)) == [True, False, False, False]


# -- statements that wait before their transaction begins ----------------------------------------------------------------

lives = st.lists(
    st.tuples(
        st.integers(1, 4),  # thread
        st.floats(0, 20),  # idle before the statement
        st.floats(0, 8),  # the statement waits
        st.floats(0.01, 8),  # the transaction is open, the statement over at half of it
    ),
    max_size=20,
)


@settings(max_examples=300, deadline=None)
@given(lives, st.lists(st.floats(0.15, 5), min_size=1, max_size=60))
def test_what_becomes_visible_later_is_never_older_than_the_watermark(
    plan: list[tuple[int, float, float, float]], pauses: list[float]
) -> None:
    """Statements take their time before InnoDB knows their transactions: from the first look on, the bound holds."""
    ready = dict.fromkeys(range(1, 5), 0.0)
    life = []
    for number, (thread, idle, wait, secs) in enumerate(plan, 1):
        began = ready[thread] + idle
        ready[thread] = began + wait + secs
        life.append((number, thread, began, began + wait, began + wait + secs / 2, ready[thread]))
    witness, now, low = Witness(), 0.0, at(-600)
    for pause in pauses:
        now += pause
        running = {thread: at(began) for _n, thread, began, _opened, over, _ends in life if began <= now < over}
        open_ = [
            Transaction(number, thread, at(int(opened)))
            for number, thread, _began, opened, _over, ends in life
            if opened <= now < ends
        ]
        earliest, unwitnessed = witness.note(at(now), running, open_)
        assert earliest is not None
        low = _low_of(Horizon(at(now), earliest, unwitnessed), low, timedelta(minutes=10))
        assert all(at(began) >= low for _n, _thread, began, _opened, _over, ends in life if ends > now)


def test_a_transaction_keeps_its_beginning_when_its_connection_goes() -> None:
    """Prepared by a connection that is gone, it is known by its number."""
    witness = Witness()
    witness.note(at(0), {}, [])
    assert witness.note(at(1), {5: at(0.5)}, [])[0] == at(0.5)
    assert witness.note(at(60), {}, [Transaction(9, 5, at(59))]) == (at(0.5), None)
    assert witness.note(at(70), {}, [Transaction(9, 0, at(59))]) == (at(0.5), None)
    assert witness.note(at(80), {}, []) == (at(80), None)


def test_a_recovered_transaction_holds_the_watermark() -> None:
    """Prepared before the server crashed, it says that it started when the server did: nothing is settled until it ends."""
    witness = Witness()
    assert witness.note(at(100), {}, [Transaction(9, 0, at(90))]) == (None, at(90))
    assert _low_of(Horizon(at(100), None, at(90)), at(-5000), timedelta(minutes=10)) == at(-5000)
    assert witness.note(at(101), {}, []) == (at(101), None)
