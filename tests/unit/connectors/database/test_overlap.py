"""The window in which rows that become visible late are still found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.testing.clock import FakeClock
from connectors.database.streams.overlap import Overlap


class Table:
    """Rows whose cursor value is given out at once and that become visible after a while, as transactions do."""

    def __init__(self, secs_a_row: float = 0.0) -> None:
        self.rows: list[tuple[int, float]] = []  # value, visible from
        self.secs_a_row = secs_a_row

    def read(self, above: int | None, now: float) -> list[int]:
        return sorted(value for value, visible in self.rows if visible <= now and (above is None or value > above))


def poll(table: Table, overlap: Overlap, clock: FakeClock) -> list[int]:
    """Run one round and return the values it saw."""
    low = overlap.begin_round()
    assert low is None or isinstance(low, int)
    seen = table.read(low, clock.monotonic())
    clock.advance(len(seen) * table.secs_a_row)
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
@given(steps, st.sampled_from((0.0, 0.01, 0.3, 2.0)))
def test_no_row_that_is_late_by_less_than_the_window_is_missed(
    history: list[tuple[list[float], float, bool]], secs_a_row: float
) -> None:
    """However writes, delays, polls and restarts interleave, whatever reading costs: what is late by ten seconds is seen."""
    clock, table, seen = FakeClock(), Table(secs_a_row), set()
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
    for _ in range(10):  # deep looks rest for as long as they cost
        clock.advance(10 + 31 * secs_a_row * len(table.rows))
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
    assert len(overlap._marks) <= 256
    near = next(when for when, _value in reversed(overlap._marks) if when <= clock.monotonic() - 0.25)
    assert clock.monotonic() - near < 0.5


def test_a_busy_table_is_not_read_over_and_over() -> None:
    """Polled fifty times a second at two hundred rows a second and 10 µs a row, a row is read some dozen times, not 30 000."""
    clock, table = FakeClock(), Table(secs_a_row=10e-6)
    overlap = Overlap(clock, 600)
    value = read = 0
    for _poll in range(3000):
        table.rows += [(number, 0.0) for number in range(value + 1, value + 5)]
        value += 4
        seen = poll(table, overlap, clock)
        assert seen[-1] == value
        read += len(seen)
        clock.advance(0.02 - len(seen) * 10e-6 if len(seen) < 1500 else 0.0)
    assert read < 100 * value


def test_a_row_is_found_the_sooner_the_less_late_it_is() -> None:
    """With a look of the whole depth that takes 12 s, a row late by 0.1 s comes with the next poll, one by 3 s after seconds."""
    clock, table = FakeClock(), Table(secs_a_row=0.001)
    overlap = Overlap(clock, 600)
    value, late = 0, {}
    for number in range(2500):
        for _row in range(2):
            value += 1
            delay = {800: 0.1, 1500: 3.0}.get(number, 0.0) if _row == 0 else 0.0
            table.rows.append((value, clock.monotonic() + delay))
            if delay:
                late[value] = clock.monotonic() + delay
        for found in set(poll(table, overlap, clock)) & set(late):
            late[found] -= clock.monotonic()
            assert -10 < late.pop(found) <= 0
        clock.advance(0.1)
    assert not late


@pytest.mark.parametrize("late_secs", [0.1, 2.0, 5.0, 9.9])
def test_shallow_looks_settle_nothing(late_secs: float) -> None:
    """A look of the whole depth takes a second and rests for thirty: the many polls between them let no late row slip behind."""
    clock, table = FakeClock(), Table(secs_a_row=0.01)
    overlap = Overlap(clock, 10)
    value, low, seen = 0, overlap.low, set()
    for number in range(1200):
        value += 2
        table.rows += [(value - 1, clock.monotonic() + (late_secs if number % 50 == 7 else 0.0)), (value, clock.monotonic())]
        seen |= set(poll(table, overlap, clock))
        settled = overlap.low if isinstance(overlap.low, int) else 0
        assert {row for row, _visible in table.rows if row <= settled} <= seen
        low = overlap.low
        clock.advance(0.1)
    assert isinstance(low, int)
    assert low > value // 2
