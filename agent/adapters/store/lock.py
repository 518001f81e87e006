"""One process at a time works on a store."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Self

from agent.errors import Busy, Denied
from agent.i18n import N_

NAME = "huitong.lock"


class InstanceLock:
    """A lock on a state directory that the kernel releases when the process ends, however it ends.

    The file stays where it is: removing it would let two processes hold locks on two files of one name.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self._file: int | None = None

    def acquire(self) -> Self:
        """Take the lock. Raises Busy, naming the process that holds it, or Denied."""
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError as error:
            raise Denied(path=self.path) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(file, 20, 0).decode("ascii", "replace").strip()
            os.close(file)
            raise Busy(N_("process {pid} is at work on this store: {path}"), pid=pid or "?", path=self.path.parent) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return self

    def release(self) -> None:
        """Let go. Idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
