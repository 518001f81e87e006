"""How far back a poll has to look, so that rows which become visible late are not missed.

A cursor value is given out (a clock is read, a sequence is advanced) before the row it stands in becomes visible to others,
and transactions become visible in another order. So when a poll has seen the value H, rows with a smaller value may still be
on their way, namely those whose transactions are open. The rule here: a value becomes *settled* when it had been seen at
least `overlap_secs` before a full round began and that round, which started at the last settled value, is complete. Only then
the next full round starts above it. A row is missed only if it becomes visible more than `overlap_secs` after a greater value
was seen.

Between two full rounds, others look back less far. How often which depth is looked at follows from what it costs: after a look
that took a second there is none as deep for half a minute. So a small table is read whole by every poll, and a busy one that
is polled fifty times a second is not read fifty times over: what is late by little is found soon, what is late by much within
the pause that its depth needs.

Time is that of the agent's monotonic clock and never compared with cursor values. So an idle table is soon no longer read
again, the rule is the same for times and numbers, and clock steps or a wrong time zone cannot move the window.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.model import Value
from agent.ports import Clock

_NEAR_SECS: Final = 0.25
"""Every round looks back so far: most transactions are shorter."""

_DEEPER: Final = 4.0
_PAUSE: Final = 30.0
"""A look rests for so many times what it took; all depths together then cost some tenth of the time."""

_FINENESS: Final = 8.0
_MARKS: Final = 256
"""Values remembered, at most; fewer only means looking back a little longer."""


@dataclass(slots=True)
class _Look:
    """One depth: when it was looked at last, and what that took."""

    depth_secs: float
    at: float = -math.inf
    took_secs: float = 0.0

    def is_due(self, now: float) -> bool:
        return now - self.at >= _PAUSE * self.took_secs


class Overlap:
    """What has been seen since when. Forgets everything on `restart`, which is always safe."""

    def __init__(self, clock: Clock, overlap_secs: float) -> None:
        self._clock = clock
        self._overlap_secs = overlap_secs
        self._marks: deque[tuple[float, Value]] = deque()
        self._settling: Value = None
        self._begun_at = 0.0
        self._look: _Look | None = None  # of the round that is on
        self.low: Value = None
        self.restart(None)

    def restart(self, low: Value) -> None:
        """Start over: everything up to `low` is settled, nothing else is known. None means nothing is settled."""
        self._marks.clear()
        self._looks = [_Look(depth) for depth in _depths(self._overlap_secs)]
        self._look = None
        self.low = self._settling = low

    def begin_round(self) -> Value:
        """Return the value above which the round that starts now has to read; None for everything."""
        now = self._begun_at = self._clock.monotonic()
        self._look = next((look for look in self._looks if look.is_due(now)), None)
        if self._look is self._looks[0]:
            while self._marks and self._marks[0][0] <= now - self._overlap_secs:
                self._settling = self._marks.popleft()[1]
            return self.low
        before = now - (self._look.depth_secs if self._look is not None else _NEAR_SECS)
        return next((value for when, value in reversed(self._marks) if when <= before), self.low)

    def complete_round(self, last: Value) -> None:
        """Note that the round which began last has read everything it had to, up to `last` (None: there was nothing)."""
        now = self._clock.monotonic()
        if self._look is not None:
            self._note(self._look, now)
        if last is not None and (not self._marks or self._marks[-1][1] != last):
            self._marks.append((now, last))
            if len(self._marks) > _MARKS:
                self._thin_out(now)

    def _note(self, done: _Look, now: float) -> None:
        done.took_secs = now - self._begun_at
        for look in self._looks:
            if look.depth_secs <= done.depth_secs:
                look.at = now
        if done is self._looks[0]:
            self.low = self._settling

    def _thin_out(self, now: float) -> None:
        """Keep marks about as far apart as an eighth of their age: recent ones are looked up by the fraction of a second."""
        kept: deque[tuple[float, Value]] = deque()
        for when, value in reversed(self._marks):
            if not kept or kept[0][0] - when >= (now - when) / _FINENESS:
                kept.appendleft((when, value))
        self._marks = kept


def _depths(overlap_secs: float) -> Iterator[float]:
    """Yield how far back looks go, the deepest first: the whole overlap, then ever less."""
    yield overlap_secs
    depths, depth = [], _NEAR_SECS * _DEEPER
    while depth < overlap_secs:
        depths.append(depth)
        depth *= _DEEPER
    yield from reversed(depths)
