"""The clock of the machine."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """Implements `ports.Clock`."""

    def now(self) -> datetime:
        """Return the wall clock as aware UTC."""
        return datetime.now(UTC)  # noqa: TID251 - here is where the time comes from

    def monotonic(self) -> float:
        """Return seconds since some moment; never steps."""
        return time.monotonic()
