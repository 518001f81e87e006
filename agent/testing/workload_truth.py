"""What writers really did to a table, and what somebody saw of it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

from agent.model import Op


class Change(NamedTuple):
    """One change as it was committed. Versions are unique texts that grow along the changes of a key, deletes included."""

    op: Op
    key: str
    version: str
    born: bool = False  # by INSERT: a row with an id of its own


class Captured(NamedTuple):
    """One record as it was captured. The version of a delete means nothing."""

    op: Op
    key: str
    version: str | None
    at: float  # monotonic seconds
    token: str | None = None  # names the change; None for the state of a row


class Truth:
    """The committed changes, written by many threads and read when they have ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._committed: list[tuple[float, Sequence[Change]]] = []
        self.rolled_back = 0
        self.failed = 0  # deadlocks, time-outs, connections lost before the commit
        self.two_phase = 0  # prepared and then committed; none of many tried means that something forbids it
        self.unknown = 0  # commits without an answer, whose outcome was looked up

    def version(self) -> str:
        """Return the next version. For a key that several writers change, take it while holding the lock of its row."""
        return f"{next(self._numbers):012d}"

    def commit(self, changes: Sequence[Change], at: float) -> None:
        """Note a transaction that has committed."""
        with self._lock:
            self._committed.append((at, tuple(changes)))

    def note(self, *, rolled_back: int = 0, failed: int = 0, two_phase: int = 0, unknown: int = 0) -> None:
        """Count what left no changes behind, commits in two phases, and those whose outcome had to be looked up."""
        with self._lock:
            self.rolled_back += rolled_back
            self.failed += failed
            self.two_phase += two_phase
            self.unknown += unknown

    @property
    def transactions(self) -> int:
        """How many transactions have committed."""
        return len(self._committed)

    def changes(self) -> Sequence[Change]:
        """Return every committed change; for each key in the order in which they happened."""
        return sorted((change for _, some in self._committed for change in some), key=lambda change: change.version)

    def histories(self) -> Mapping[str, Sequence[Change]]:
        """Return the changes by key, in order."""
        found: dict[str, list[Change]] = defaultdict(list)
        for change in self.changes():
            found[change.key].append(change)
        return dict(found)

    def times(self) -> Mapping[str, float]:
        """Return version → the monotonic second at which its commit was known."""
        return {change.version: at for at, some in self._committed for change in some}

    def final(self) -> Mapping[str, str]:
        """Return key → version of the rows that are there in the end."""
        last = {key: some[-1] for key, some in self.histories().items()}
        return {key: change.version for key, change in last.items() if change.op is Op.UPSERT}
