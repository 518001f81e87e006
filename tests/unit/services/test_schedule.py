"""When scheduled flows are due."""

from __future__ import annotations

import threading
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import SettingsError
from agent.services.schedule import Cron, Every, Schedule, trigger_for

ZONE = ZoneInfo("Asia/Shanghai")
SATURDAY = datetime(2026, 11, 21, 12, 0, tzinfo=ZONE)


def fires(expression: str, count: int, *, zone: str = "Asia/Shanghai", start: datetime = SATURDAY) -> list[str]:
    """Return when a cron expression fires next."""
    trigger = trigger_for(Cron(expression), zone)
    moments: list[str] = []
    last = None
    now = start
    while len(moments) < count:
        last = trigger.get_next_fire_time(last, now)
        assert last is not None
        moments.append(last.strftime("%a %d %H:%M"))
        now = last
    return moments


@pytest.mark.parametrize(
    "expression, expected",
    [
        ("0 2 * * 1", ["Mon 23 02:00", "Mon 30 02:00"]),
        ("0 2 * * 0", ["Sun 22 02:00", "Sun 29 02:00"]),
        ("0 2 * * 7", ["Sun 22 02:00", "Sun 29 02:00"]),
        ("30 8 * * 1-5", ["Mon 23 08:30", "Tue 24 08:30"]),
        ("30 8 * * MON-FRI", ["Mon 23 08:30", "Tue 24 08:30"]),
        ("0 0 * * */2", ["Sun 22 00:00", "Tue 24 00:00", "Thu 26 00:00", "Sat 28 00:00"]),
        ("0 0 * * 5-7", ["Sun 22 00:00", "Fri 27 00:00", "Sat 28 00:00"]),
        ("0 0 * * sat,sun", ["Sun 22 00:00", "Sat 28 00:00"]),
        ("*/20 * * * *", ["Sat 21 12:00", "Sat 21 12:20", "Sat 21 12:40", "Sat 21 13:00"]),
        ("0 6 1 * *", ["Tue 01 06:00"]),
        ("0 6 25 * 1", ["Mon 23 06:00", "Wed 25 06:00", "Mon 30 06:00"]),
    ],
)
def test_cron_means_what_cron_means(expression: str, expected: list[str]) -> None:
    """Sunday is 0 and 7, and a day of the month beside a weekday means either."""
    found = fires(expression, len(expected) + 3)
    assert list(dict.fromkeys(found))[: len(expected)] == expected


@given(days=st.sets(st.integers(0, 6), min_size=1))
def test_every_set_of_weekdays_is_understood(days: set[int]) -> None:
    """The weekdays that fire are those that were written, counted from Sunday."""
    found = fires("0 0 * * " + ",".join(map(str, days)), 8)
    names = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    assert {moment[:3] for moment in found} == {names[day] for day in days}


@pytest.mark.parametrize(
    "expression", ["", "* * * *", "61 * * * *", "0 0 * * 8", "0 0 * * fri-mon", "0 0 * * x", "@daily", "0 0 * * 1/x"]
)
def test_what_cannot_be_read_is_a_settings_error(expression: str) -> None:
    """The error quotes the expression and shows how to write one."""
    with pytest.raises(SettingsError) as caught:
        trigger_for(Cron(expression), "Asia/Shanghai")
    assert f'"{expression}"' in str(caught.value)
    assert "1-5" in caught.value.hint


def test_nothing_runs_before_the_start_and_nothing_after_the_stop() -> None:
    """Building a schedule starts no thread; a started one ticks; stop is idempotent."""
    before = threading.active_count()
    ticks: list[str] = []
    ticked = threading.Event()

    def tick(flow: str) -> None:
        ticks.append(flow)
        ticked.set()

    schedule = Schedule(tick, {"f": Every(0.02)}, "Asia/Shanghai")
    assert threading.active_count() == before
    assert schedule.stop(1)
    schedule.start(lambda *_: None)
    assert ticked.wait(10)
    assert schedule.stop(1)
    assert schedule.stop(1)
    assert set(ticks) == {"f"}
    assert threading.active_count() == before


def test_a_tick_that_fails_is_told() -> None:
    """An error in a tick is the death of a service, not a line in a log."""
    failed: list[tuple[str, BaseException]] = []
    told = threading.Event()

    def fail(name: str, error: BaseException) -> None:
        failed.append((name, error))
        told.set()

    def tick(_flow: str) -> None:
        raise ValueError("broken")

    schedule = Schedule(tick, {"f": Every(0.02)}, "Asia/Shanghai")
    schedule.start(fail)
    assert told.wait(10)
    assert schedule.stop(1)
    assert failed[0][0] == "schedule"
    assert str(failed[0][1]) == "broken"
