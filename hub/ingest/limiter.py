"""How many refusals a department is told about: a bucket per department and reason."""

from __future__ import annotations

from agent.ports import Clock


class RefusalLimiter:
    """Allows `burst` at once and `per_minute` after that. A message left untold is found by the sender's own query.

    Callable from one thread at a time.
    """

    def __init__(self, clock: Clock, *, burst: int, per_minute: float) -> None:
        self._clock = clock
        self._burst = float(burst)
        self._per_sec = per_minute / 60.0
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}

    def allow(self, department: str, code: str) -> bool:
        """Take one token if there is one."""
        now = self._clock.monotonic()
        tokens, at = self._buckets.get((department, code), (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_sec)
        allowed = tokens >= 1.0
        self._buckets[department, code] = (tokens - 1.0 if allowed else tokens, now)
        return allowed
