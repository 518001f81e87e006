"""Room on the disk: when capture pauses, and how receipts still settle when there is none left.

Two marks. Below `low_water_bytes` of room nothing that grows the store is taken; room is what the file system has free
plus what the database file has free inside (purged bodies), so that a store that was emptied goes on by itself. And some
megabytes must be physically free whatever the database has inside, because the write-ahead log needs them.

A reserve file of a few megabytes lies beside the store. When the disk is really full it is given up, so that receipts,
which free space, can still be written; it comes back when there is room again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.errors import StoreFull
from agent.events import DiskLow, DiskRecovered, Events
from agent.ports import Clock

RESERVE_BYTES: Final = 4 << 20
PHYSICAL_BYTES: Final = 16 << 20
FRESH_SECS: Final = 1.0


class Disk:
    """The room of one store. Callable from any thread."""

    def __init__(self, path: Path, low_water_bytes: int, clock: Clock, events: Events) -> None:
        self._path = path
        self._reserve = path.with_name(path.name + ".reserve")
        self.mark_bytes = low_water_bytes
        self._clock = clock
        self._events = events
        self._lock = threading.Lock()
        self._low = False
        self._asked = float("-inf")

    def has_room(self, free_inside: Callable[[], int]) -> bool:
        """Whether something that grows the store may be written; `free_inside` gives the free bytes inside the database.

        Looks at most once a second. Emits DiskLow and DiskRecovered at the turns.
        """
        with self._lock:
            now = self._clock.monotonic()
            if now - self._asked < FRESH_SECS:
                return not self._low
            self._asked = now
            was_low, free = self._low, self.free_bytes()
            self._low = self._is_low(free, free_inside())
            if not self._low:
                self._restore_reserve(free)
        if self._low and not was_low:
            self._events.emit(DiskLow(str(self._path), free, self.mark_bytes))
        elif was_low and not self._low:
            self._events.emit(DiskRecovered(str(self._path), free))
        return not self._low

    def require_room(self, free_inside: Callable[[], int]) -> None:
        """Raise StoreFull unless there is room."""
        if not self.has_room(free_inside):
            raise StoreFull(path=self._path, free_bytes=self.free_bytes(), mark_bytes=self.mark_bytes)

    def free_bytes(self) -> int:
        """Return what the file system has free for us."""
        found = os.statvfs(self._path.parent)
        return found.f_bavail * found.f_frsize

    def prepare_to_open(self) -> None:
        """Give up the reserve before the store is opened on a full disk: opening needs some pages of its own."""
        if self.free_bytes() < RESERVE_BYTES:
            self.give_up_reserve()

    def give_up_reserve(self) -> None:
        """Free the reserve, because the disk is really full, and look again before anything grows."""
        self._reserve.unlink(missing_ok=True)
        with self._lock:
            self._asked = float("-inf")

    def _is_low(self, free: int, inside: int) -> bool:
        # Coming back asks for an eighth more than falling below, so that one message does not swing capture to and fro.
        mark = self.mark_bytes + self.mark_bytes // 8 if self._low else self.mark_bytes
        return free + inside < mark or free < min(self.mark_bytes, PHYSICAL_BYTES)

    def _restore_reserve(self, free: int) -> None:
        if self.mark_bytes == 0 or self._reserve.exists() or free < self.mark_bytes + RESERVE_BYTES:
            return
        file = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, RESERVE_BYTES)
        except OSError:
            self._reserve.unlink(missing_ok=True)  # somebody else took the room: tried again at the next look
        finally:
            os.close(file)
