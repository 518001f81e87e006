"""Which sequences of an epoch are closed, as pure values.

A sequence is closed when its message was stored or finally refused, or when the sender voided it. The high-water mark counts
the unbroken run from 1; what is closed beyond it is a short list of ranges, and the holes between them are the gaps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_RANGES: Final = 10_000
"""A sender that leaves more holes than this is refused until it fills some: the state of a flow stays bounded."""

Range = tuple[int, int]
"""First and last sequence, both included."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The closed sequences of one (sender, flow, epoch).

    `ahead` is sorted; its ranges neither overlap nor touch each other, nor the run that ends at `high_water`.
    """

    high_water: int = 0
    ahead: tuple[Range, ...] = ()

    @property
    def top(self) -> int:
        """Return the greatest closed sequence."""
        return self.ahead[-1][1] if self.ahead else self.high_water

    def covers(self, sequence: int) -> bool:
        """Say whether this sequence is closed."""
        if sequence <= self.high_water:
            return True
        at = bisect_right(self.ahead, (sequence, _BEYOND)) - 1
        return at >= 0 and self.ahead[at][1] >= sequence

    def close(self, first: int, last: int | None = None) -> Closed:
        """Return this with `first`..`last` closed as well; closing twice changes nothing."""
        last = first if last is None else last
        if not 1 <= first <= last:
            raise ValueError(f"not a range of sequences: {first}..{last}")
        if not self.ahead and first <= self.high_water + 1:
            return self if last <= self.high_water else Closed(last)
        return _normal(self.high_water, _merge(self.ahead, (first, last)))

    def gaps(self) -> Iterator[Range]:
        """Yield the holes below `top`, lowest first."""
        below = self.high_water
        for first, last in self.ahead:
            yield below + 1, first - 1
            below = last

    def missing(self) -> int:
        """Return how many sequences the gaps hold."""
        return sum(last - first + 1 for first, last in self.gaps())


_BEYOND: Final = 1 << 64


def _merge(ranges: tuple[Range, ...], new: Range) -> list[Range]:
    """Insert `new` into sorted ranges, swallowing what it overlaps or touches."""
    first, last = new
    before = [r for r in ranges if r[1] < first - 1]
    after = [r for r in ranges if r[0] > last + 1]
    touched = ranges[len(before) : len(ranges) - len(after)]
    if touched:
        first, last = min(first, touched[0][0]), max(last, touched[-1][1])
    return [*before, (first, last), *after]


def _normal(high_water: int, ranges: list[Range]) -> Closed:
    """Let the run from 1 swallow what it has reached."""
    taken = 0
    for first, last in ranges:
        if first > high_water + 1:
            break
        high_water = max(high_water, last)
        taken += 1
    return Closed(high_water, tuple(ranges[taken:]))


def write_ranges(ranges: tuple[Range, ...]) -> str:
    """Return ranges as text: `5-9,12`."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def read_ranges(text: str) -> tuple[Range, ...]:
    """Parse what `write_ranges` wrote."""
    return tuple(_read_range(part) for part in text.split(",")) if text else ()


def _read_range(part: str) -> Range:
    first, dash, last = part.partition("-")
    return int(first), int(last if dash else first)
