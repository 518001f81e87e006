"""How fast a walk through a table may go, so that those who work with the database do not feel it: rows a second, and hours."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

from agent.ports import Clock

_DAY: timedelta = timedelta(days=1)


class Pace:
    """The pace of one source: `rate` rows a second, within `hours` (`22:00-06:00`); None means without bounds."""

    def __init__(self, rate: int | None, hours: str | None, clock: Clock, time_zone: str) -> None:
        self._rate = rate
        self._hours = None if hours is None else [_since_midnight(part) for part in hours.split("-")]
        self._clock = clock
        self._zone = ZoneInfo(time_zone)
        self._free_at = float("-inf")

    def pause_secs(self) -> float:
        """Return for how long nothing more may be read; 0 when it may now."""
        return max(self._free_at - self._clock.monotonic(), self._closed_secs())

    def took(self, rows: int) -> None:
        """Note that rows were read."""
        if self._rate:
            self._free_at = max(self._free_at, self._clock.monotonic()) + rows / self._rate

    def _closed_secs(self) -> float:
        if self._hours is None:
            return 0.0
        now = self._clock.now().astimezone(self._zone)
        since_midnight = timedelta(hours=now.hour, minutes=now.minute, seconds=now.second, microseconds=now.microsecond)
        begins, ends = self._hours
        into = (since_midnight - begins) % _DAY
        return 0.0 if into < (ends - begins) % _DAY else (_DAY - into).total_seconds()


def _since_midnight(text: str) -> timedelta:
    hours, minutes = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))
