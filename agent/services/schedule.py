"""When polled flows look at their source: `every:` so many seconds, or `cron:`, in the agent's time zone.

APScheduler keeps the time; durable positions are the stores', so its jobs live in memory and a missed one is simply late.
Two habits of cron are restored that APScheduler does not have: weekdays count from Sunday, and a day of the month beside a
weekday means either of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from agent.errors import SettingsError
from agent.i18n import N_
from agent.services.service import Failed

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class Every:
    """Every so many seconds."""

    secs: float


@dataclass(frozen=True, slots=True)
class Cron:
    """Five fields: minute, hour, day of the month, month, weekday (0 or 7 or sun is Sunday)."""

    expression: str


class Schedule:
    """Calls `tick(flow)`, quickly and in a thread of its own, when a flow is due. A `service.Managed`."""

    def __init__(
        self, tick: Callable[[str], object], plans: Mapping[str, Every | Cron], timezone: str, name: str = "schedule"
    ) -> None:
        self.name = name
        self._tick = tick
        self._triggers = {flow: trigger_for(plan, timezone) for flow, plan in plans.items()}
        self._timezone = ZoneInfo(timezone)
        self._scheduler: BackgroundScheduler | None = None

    def start(self, failed: Failed) -> None:
        """Start the thread. A tick that fails is told to `failed`."""
        scheduler = BackgroundScheduler(
            timezone=self._timezone,
            executors={"default": ThreadPoolExecutor(max_workers=1)},
            # Late is fine, several at once are one, and never two at the same time.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        for flow, trigger in self._triggers.items():
            scheduler.add_job(partial(self._tick, flow), trigger, id=flow)

        def on_error(event: JobExecutionEvent) -> None:
            failed(self.name, event.exception)

        scheduler.add_listener(on_error, EVENT_JOB_ERROR)
        scheduler.start()
        self._scheduler = scheduler

    def stop(self, within_secs: float) -> bool:  # noqa: ARG002 - a tick takes no time
        """End; idempotent, also before `start`."""
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=True)
            self._scheduler = None
        return True


def trigger_for(plan: Every | Cron, timezone: str) -> BaseTrigger:
    """Return APScheduler's trigger for a plan. Raises SettingsError when a cron expression cannot be read."""
    zone = ZoneInfo(timezone)
    if isinstance(plan, Every):
        return IntervalTrigger(seconds=plan.secs, timezone=zone)
    try:
        return _cron(plan.expression.split(), zone)
    except ValueError as error:
        raise SettingsError(
            N_('cannot read the cron expression "{expression}": {why}'),
            hint=N_('five fields: minute, hour, day, month, weekday; "30 2 * * 1-5" is 02:30 from Monday to Friday'),
            expression=plan.expression,
            why=error,
        ) from error


def _cron(fields: Sequence[str], zone: ZoneInfo) -> BaseTrigger:
    if len(fields) != 5:
        raise ValueError(f"it has {len(fields)} fields, not 5")
    minute, hour, day, month, weekday = fields
    at = partial(CronTrigger, minute=minute, hour=hour, month=month, timezone=zone)
    days = _weekdays(weekday)
    if not day.startswith("*") and not weekday.startswith("*"):
        return OrTrigger([at(day=day), at(day_of_week=days)])
    return at(day=day, day_of_week=days)


def _weekdays(field: str) -> str:
    """Return a cron weekday field as names, which mean the same to everybody."""
    days: set[int] = set()
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0-6" if span == "*" else span).partition("-")
        # A single day with a step runs to the end of the week, as in "1/2".
        end = _weekday(last) if last else (6 if step else _weekday(first))
        if end < _weekday(first):
            raise ValueError(f"{part} runs backwards")
        days.update(number % 7 for number in range(_weekday(first), end + 1, int(step or 1)))
    return ",".join(DAYS[day] for day in sorted(days))


def _weekday(text: str) -> int:
    number = DAYS.index(text) if text in DAYS else int(text)
    if not 0 <= number <= 7:
        raise ValueError(f"there is no weekday {text}")
    return number
