"""Snapshots of PostgreSQL: which transactions had committed at a moment.

A snapshot is text `xmin:xmax:open,…`. A transaction below `xmax` that is not open was over then; what it wrote is visible unless
it was rolled back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot, read."""

    xmin: int
    xmax: int
    open: frozenset[int]

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the snapshot a text describes. Raises ValueError."""
        xmin, xmax, open_ = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(int(txid) for txid in open_.split(",") if txid))

    def holds(self, earlier: Snapshot) -> bool:
        """Tell whether everything that was over in another snapshot is over in this one."""
        return self.xmax >= earlier.xmax and all(txid in earlier.open for txid in self.open if txid < earlier.xmax)
