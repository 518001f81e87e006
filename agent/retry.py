"""Capped exponential backoff with full jitter, as a pure function of the attempt number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that grow from `first_secs` by `factor` up to `cap_secs`, each drawn evenly from (0, limit].

    Full jitter spreads a fleet of agents over the whole interval after a broker restart (AWS Architecture Blog,
    "Exponential Backoff And Jitter").
    """

    first_secs: float = 0.5
    cap_secs: float = 60.0
    factor: float = 2.0

    def limit(self, attempt: int) -> float:
        """Return the longest delay in seconds before `attempt` (1 = first retry)."""
        if attempt < 1:
            return 0.0
        # The exponent is clamped so that a week of retries cannot overflow a float.
        return min(self.cap_secs, self.first_secs * self.factor ** min(attempt - 1, 64))

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Return the delay in seconds; `random` gives floats in [0, 1)."""
        return self.limit(attempt) * (1.0 - random())
