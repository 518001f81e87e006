"""How fast a walk may go."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from agent.testing.clock import FakeClock
from connectors.database.pace import Pace

ZONE = "Asia/Shanghai"


def clock_at(text: str) -> FakeClock:
    clock = FakeClock()
    clock.advance((datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONE)) - clock.now()).total_seconds())
    return clock


def test_without_bounds_there_is_no_pause() -> None:
    """Neither a rate nor hours: reading goes on at once."""
    pace = Pace(None, None, FakeClock(), ZONE)
    pace.took(1_000_000)
    assert pace.pause_secs() == 0


def test_a_rate_is_kept_on_the_average() -> None:
    """After a page of a thousand rows at a hundred a second, ten seconds pass."""
    clock = FakeClock()
    pace = Pace(100, None, clock, ZONE)
    assert pace.pause_secs() == 0
    pace.took(1000)
    assert pace.pause_secs() == pytest.approx(10)
    clock.advance(9)
    assert pace.pause_secs() == pytest.approx(1)
    clock.advance(1)
    assert pace.pause_secs() == pytest.approx(0)


def test_time_that_passed_unused_is_not_made_up_for() -> None:
    """After an hour without a walk the next pages come no faster."""
    clock = FakeClock()
    pace = Pace(100, None, clock, ZONE)
    pace.took(100)
    clock.advance(3600)
    pace.took(100)
    assert pace.pause_secs() == pytest.approx(1)


@pytest.mark.parametrize(
    "hours, now, secs",
    [
        ("22:00-06:00", "2026-11-21T23:30:00", 0),
        ("22:00-06:00", "2026-11-22T05:59:59", 0),
        ("22:00-06:00", "2026-11-22T06:00:00", 16 * 3600),
        ("22:00-06:00", "2026-11-21T21:59:30", 30),
        ("12:00-13:00", "2026-11-21T12:00:00", 0),
        ("12:00-13:00", "2026-11-21T13:00:00", 23 * 3600),
        ("12:00-13:00", "2026-11-21T11:00:00", 3600),
    ],
)
def test_outside_of_its_hours_a_walk_rests(hours: str, now: str, secs: float) -> None:
    """The hours are those of the agent's time zone, also over midnight."""
    assert Pace(None, hours, clock_at(now), ZONE).pause_secs() == pytest.approx(secs)
