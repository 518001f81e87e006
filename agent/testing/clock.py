"""A clock that moves only when a test moves it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Implements `ports.Clock`. Wall clock and monotonic time move together, or the wall clock alone is stepped."""

    def __init__(self, start: datetime = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)) -> None:
        self._lock = threading.Lock()
        self._now = start
        self._monotonic = 1000.0

    def now(self) -> datetime:
        """Return the wall clock."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Return seconds for timers."""
        with self._lock:
            return self._monotonic

    def advance(self, secs: float) -> None:
        """Let time pass."""
        with self._lock:
            self._now += timedelta(seconds=secs)
            self._monotonic += secs

    def step(self, to: datetime) -> None:
        """Set the wall clock, as a wrong NTP server does; timers do not notice."""
        with self._lock:
            self._now = to
