"""The window in which rows that become visible late are still found."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.testing.clock import FakeClock
from connectors.database.overlap import Overlap


class Table:
    """Rows whose cursor value is given out at once and that become visible after a while, as transactions do."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float]] = []  # value, visible from

    def read(self, above: int | None, now: float) -> list[int]:
        return sorted(value for value, visible in self.rows if visible <= now and (above is None or value > above))


def poll(table: Table, overlap: Overlap, clock: FakeClock) -> list[int]:
    """Run one round and return the values it saw."""
    overlap.begin_round()
    low = overlap.low
    assert low is None or isinstance(low, int)
    seen = table.read(low, clock.monotonic())
    overlap.complete_round(seen[-1] if seen else None)
    return seen


steps = st.lists(
    st.tuples(
        st.lists(st.floats(0, 9.9), max_size=3),  # rows written now, each visible after so many seconds
        st.floats(0.01, 30),  # time until the next poll
        st.booleans(),  # a restart: what is in memory is gone
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(steps)
def test_no_row_that_is_late_by_less_than_the_window_is_missed(history: list[tuple[list[float], float, bool]]) -> None:
    """However writes, delays, polls and restarts interleave: what becomes visible within ten seconds is seen."""
    clock, table, seen = FakeClock(), Table(), set()
    overlap = Overlap(clock, 10)
    stored = overlap.low
    value = 0
    for delays, pause, restart in history:
        for delay in delays:
            value += 1
            table.rows.append((value, clock.monotonic() + delay))
        if restart:
            overlap = Overlap(clock, 10)
            overlap.restart(stored)
        seen |= set(poll(table, overlap, clock))
        stored = overlap.low
        clock.advance(pause)
    clock.advance(10)
    seen |= set(poll(table, overlap, clock))
    assert seen == {row[0] for row in table.rows}


def test_an_idle_table_is_soon_no_longer_read_again() -> None:
    """Once the window is over, nothing that was seen comes again."""
    clock, table = FakeClock(), Table()
    table.rows = [(n, 0.0) for n in range(1, 6)]
    overlap = Overlap(clock, 10)
    assert len(poll(table, overlap, clock)) == 5
    clock.advance(5)
    assert len(poll(table, overlap, clock)) == 5
    clock.advance(6)
    assert len(poll(table, overlap, clock)) == 5  # the round that proves that nothing came late
    assert poll(table, overlap, clock) == []


def test_a_row_later_than_the_window_is_the_risk_that_is_told() -> None:
    """What becomes visible after the window, below what was seen, is missed: that is why doctor speaks of it."""
    clock, table = FakeClock(), Table()
    overlap = Overlap(clock, 10)
    table.rows = [(1, clock.monotonic() + 25), (2, clock.monotonic())]
    seen = set(poll(table, overlap, clock))
    for _ in range(5):
        clock.advance(11)
        seen |= set(poll(table, overlap, clock))
    assert seen == {2}


def test_a_step_of_the_wall_clock_changes_nothing() -> None:
    """The window is measured by the monotonic clock."""
    clock, table = FakeClock(), Table()
    overlap = Overlap(clock, 10)
    table.rows = [(2, 0.0)]
    poll(table, overlap, clock)
    clock.step(clock.now().replace(year=2030))
    poll(table, overlap, clock)
    table.rows.append((1, clock.monotonic()))
    assert poll(table, overlap, clock) == [1, 2]


def test_few_values_are_remembered_however_often_one_polls() -> None:
    """Polling a hundred times a second fills no memory."""
    clock, table = FakeClock(), Table()
    overlap = Overlap(clock, 600)
    for value in range(1, 5000):
        table.rows = [(value, 0.0)]
        poll(table, overlap, clock)
        clock.advance(0.01)
    assert len(overlap._marks) <= 70
