"""Watching that the files of the store are still the ones that were opened."""

from __future__ import annotations

from pathlib import Path

from agent.errors import StoreError
from agent.i18n import N_


class FileWatch:
    """Notices a database or write-ahead log that was renamed, removed or put back from a copy while it is open.

    SQLite goes on writing into the file it has open, whatever its name is now; what it commits there is gone at the next
    start. Looking costs two system calls a transaction. The files are only looked at, never opened: closing a file of the
    database inside the process would drop SQLite's locks on it.
    """

    def __init__(self, path: Path) -> None:
        self._paths = (path, path.with_name(path.name + "-wal"))
        self._seen: dict[Path, tuple[int, int]] = {}

    def check(self) -> None:
        """Raise StoreError if a file is not the one seen first."""
        for path in self._paths:
            try:
                found = path.stat()
            except FileNotFoundError:
                if path not in self._seen:
                    continue
                raise StoreError(N_("{path} disappeared while it was open"), path=path) from None
            inode = (found.st_dev, found.st_ino)
            if self._seen.setdefault(path, inode) != inode:
                raise StoreError(
                    N_("{path} was replaced while it was open"),
                    hint=N_("stop Huitong before putting a store back, then: huitong restore --why TEXT"),
                    path=path,
                )
