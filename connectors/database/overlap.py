"""How far back a poll has to look, so that rows which become visible late are not missed.

A cursor value is given out (a clock is read, a sequence is advanced) before the row it stands in becomes visible to others,
and transactions become visible in another order. So when a poll has seen the value H, rows with a smaller value may still be
on their way, namely those whose transactions are open. The rule here: a value becomes *settled* when it had been seen at
least `overlap_secs` before a round began and that round, which started at the last settled value, is complete. Only then the
next round starts above it. A row is missed only if it becomes visible more than `overlap_secs` after a greater value was seen.

Time is that of the agent's monotonic clock and never compared with cursor values. So an idle table is soon no longer read
again, the rule is the same for times and numbers, and clock steps or a wrong time zone cannot move the window.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from agent.model import Value
from agent.ports import Clock

_MARKS: Final = 64
"""Values remembered per window, at most; fewer only means looking back a little longer."""


class Overlap:
    """What has been seen since when. Forgets everything on `restart`, which is always safe."""

    def __init__(self, clock: Clock, overlap_secs: float) -> None:
        self._clock = clock
        self._overlap_secs = overlap_secs
        self._marks: deque[tuple[float, Value]] = deque()
        self._settling: Value = None
        self.low: Value = None

    def restart(self, low: Value) -> None:
        """Start over: everything up to `low` is settled, nothing else is known. None means nothing is settled."""
        self._marks.clear()
        self.low = self._settling = low

    def begin_round(self) -> None:
        """Note that a round starts now, reading everything above `low`."""
        before = self._clock.monotonic() - self._overlap_secs
        while self._marks and self._marks[0][0] <= before:
            self._settling = self._marks.popleft()[1]

    def complete_round(self, last: Value) -> None:
        """Note that the round which began last has read everything above `low`, up to `last` (None: there was nothing)."""
        self.low = self._settling
        now = self._clock.monotonic()
        if last is not None and (not self._marks or self._due(now, last)):
            self._marks.append((now, last))

    def _due(self, now: float, last: Value) -> bool:
        when, value = self._marks[-1]
        return value != last and now - when >= self._overlap_secs / _MARKS
