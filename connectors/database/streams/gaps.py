"""Which numbers of a log were read, where numbers are given out before transactions commit.

Numbers are given out when rows are written, and become visible when their transactions commit, in any order. So everything
behind the greatest number read so far is taken at once, and numbers that are missing below it are remembered as holes, with the
time of the server at which they were first seen missing. Each reading looks into the holes again. A hole is forgotten (its
transaction was rolled back) when no transaction is left that could still fill it: whoever took a number had begun before it was
seen missing, so when all transactions that are open began later, it was over before we looked; and the reading that follows the
look, in a snapshot taken after it, sees what it committed. The server knows starts to the second, therefore the margin.

Per key the order is right. A transaction that fills a hole has changed its row before it took the number and holds the row's
lock until it commits; so a later change of that row takes a greater number after that, and no snapshot shows it without the
first. Within a reading entries come in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

MARGIN_SECS: Final = 2.0
"""How much later than a hole a transaction must have begun to have nothing to do with it, and how old a hole must be."""

MOST_HOLES: Final = 2000
"""Holes that are remembered. With more, reading does not go on behind the greatest number until some are closed: they come from
a transaction that is still open and wrote much beside others, and the mark, stored with each batch, must not grow without end."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Numbers that were missing, both ends included, and when that was seen first (seconds since 1970, server time)."""

    first: int
    last: int
    seen_at: float


@dataclass(frozen=True, slots=True)
class Gaps:
    """Everything up to `hi` was read, but for the holes. They are in order and do not touch what was read."""

    hi: int
    holes: tuple[Hole, ...] = ()

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Gaps:
        """Return what `stored` gave."""
        return cls(stored["hi"], tuple(Hole(*hole) for hole in stored["holes"]))

    def stored(self) -> dict[str, Any]:
        """Return the gaps as JSON has them."""
        return {"hi": self.hi, "holes": [[hole.first, hole.last, hole.seen_at] for hole in self.holes]}

    @property
    def full(self) -> bool:
        """Whether there are so many holes that reading has to wait for them."""
        return len(self.holes) >= MOST_HOLES

    @property
    def low(self) -> int:
        """The greatest number up to which nothing can come any more."""
        return min([hole.first - 1 for hole in self.holes[:1]] + [self.hi])

    def condition(self, upto: int | None = None) -> str:
        """Return the SQL condition that a number is news, up to a number if there is one: in a hole, or behind the greatest."""
        end = float("inf") if upto is None else upto
        some = [f"seq BETWEEN {hole.first:d} AND {min(hole.last, end):d}" for hole in self.holes if hole.first <= end]
        if upto is None and not self.full:
            some.append(f"seq > {self.hi:d}")
        if upto is not None and upto > self.hi:
            some.append(f"seq BETWEEN {self.hi + 1:d} AND {upto:d}")
        return " OR ".join(some)

    def after(self, found: Sequence[int], now: float) -> Gaps:
        """Return the gaps after entries with these numbers, ascending, were read; `now` is not before their snapshot."""
        behind = [number for number in found if number > self.hi]
        holes = list(_without(self.holes, [number for number in found if number <= self.hi]))
        hi = self.hi
        for number in behind:
            if number > hi + 1:
                holes.append(Hole(hi + 1, number - 1, now))
            hi = number
        return Gaps(hi, tuple(holes))

    def settled(self, before: float, read_to: int | None = None) -> Gaps:
        """Return the gaps without the holes that nothing can fill any more: seen missing before that time.

        `read_to` is the number up to which the holes were looked into after the transactions; None when all of them were.
        """
        kept = [hole for hole in self.holes if hole.seen_at >= before or (read_to is not None and hole.last > read_to)]
        return replace(self, holes=tuple(kept))


def settled_before(looked_at: float, oldest: float | None) -> float:
    """Return the time such that holes seen before it are settled, for a look that is fresh; `oldest`: the oldest open start."""
    return min(looked_at, looked_at if oldest is None else oldest) - MARGIN_SECS


def _without(holes: Sequence[Hole], found: Sequence[int]) -> Iterable[Hole]:
    at = 0
    for hole in holes:
        first = hole.first
        while at < len(found) and found[at] <= hole.last:
            if found[at] > first:
                yield Hole(first, found[at] - 1, hole.seen_at)
            first = max(first, found[at] + 1)
            at += 1
        if first <= hole.last:
            yield replace(hole, first=first)
