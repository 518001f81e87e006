"""The folder that is watched: which files there are, which of them are complete, and opening one safely.

The scan is the truth; it streams the directory and keeps the first names in natural order (`a2` before `a10`), so that a
million files need no more memory than some thousands.
"""

from __future__ import annotations

import errno
import fnmatch
import heapq
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

from agent.errors import SourceRefused, SourceUnavailable
from agent.i18n import N_
from agent.ports import Clock
from connectors.file_drop.position import Identity

AT_ONCE: Final = 10_000
"""Files taken from one scan, at most."""

_UNFINISHED: Final = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".swp", "~")
_ODD: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that make a name look like another one, or are no text at all."""

_DIGITS: Final = re.compile(r"(\d+)")

Ready = Literal["ok-file", "stable", "rename"]


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return the sort key under which numbers in names count as numbers."""
    # Split gives text at even and digits at odd places, so only like is compared with like.
    return [int(part) if index % 2 else part for index, part in enumerate(_DIGITS.split(name))], name


def shown(name: str) -> str:
    """Return a name that can be shown and logged: what is not plain text is escaped."""
    return "".join(c if unicodedata.category(c) not in _ODD else c.encode("unicode_escape").decode() for c in name)


class Folder:
    """One folder and the rule by which its files are ready. `refused` is told the names that are left alone, and why."""

    def __init__(
        self,
        path: Path,
        pattern: str,
        *,
        ready: Ready,
        ready_suffix: str,
        stable_for: timedelta,
        clock: Clock,
        refused: Callable[[str, str], None],
        at_once: int = AT_ONCE,
    ) -> None:
        self.path = path
        self._pattern = pattern
        self._ready = ready
        self._suffix = ready_suffix
        self._stable_secs = stable_for.total_seconds()
        self._clock = clock
        self._refused = refused
        self._at_once = at_once
        self._seen: dict[str, tuple[Identity, float]] = {}
        self._first_due: float | None = None
        self._told: set[str] = set()

    def scan(self) -> list[str]:
        """Return names of complete files in natural order. Raises SourceUnavailable, SourceRefused."""
        names = heapq.nsmallest(self._at_once, self._candidates(), key=natural_key)
        return self._stable(names) if self._ready == "stable" else names

    def all_names(self) -> Iterator[str]:
        """Yield the names of all files that match, complete or not. Raises SourceUnavailable, SourceRefused at the first."""
        return self._candidates()

    def due_secs(self) -> float | None:
        """Return in how many seconds a file that is watched for stability may be complete; None if there is none."""
        return None if self._first_due is None else max(0.0, self._first_due - self._clock.monotonic())

    def status(self, name: str) -> Identity | None:
        """Return what the file of this name is now, None when it is gone."""
        try:
            return Identity.of((self.path / name).stat(follow_symlinks=False))
        except FileNotFoundError:
            return None

    def open(self, name: str) -> int | None:
        """Open one file for reading and return its descriptor, never through a link and never what is not a plain file.

        None, told once, for a file that must or may not be opened. Raises FileNotFoundError, SourceUnavailable.
        """
        try:
            descriptor = os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO):
                self._leave(name, "no_permission" if error.errno in (errno.EACCES, errno.EPERM) else "not_a_plain_file")
                return None
            raise self._translate(error) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            self._leave(name, "not_a_plain_file")
            return None
        return descriptor

    def ready_files(self, name: str) -> list[Path]:
        """Return the files that say that a file is ready: `deed.ok` or `deed.csv.ok` for `deed.csv`."""
        if self._ready != "ok-file":
            return []
        return [path for path in self._ready_paths(name) if path.exists()]

    # -- inside ------------------------------------------------------------------------------------------------------

    def _candidates(self) -> Iterator[str]:
        try:
            with os.scandir(self.path) as entries:
                yield from (entry.name for entry in entries if self._is_candidate(entry))
        except OSError as error:
            raise self._translate(error) from error

    def _is_candidate(self, entry: os.DirEntry[str]) -> bool:
        name = entry.name
        if name.startswith(".") or name.lower().endswith(_UNFINISHED) or not fnmatch.fnmatchcase(name, self._pattern):
            return False
        if self._ready == "ok-file" and (name.endswith(self._suffix) or not self.ready_files(name)):
            return False
        if entry.is_dir(follow_symlinks=False):
            return False
        if any(unicodedata.category(c) in _ODD for c in name):
            return self._leave(name, "odd_name")
        return entry.is_file(follow_symlinks=False) or self._leave(name, "not_a_plain_file")

    def _leave(self, name: str, reason: str) -> bool:
        """Tell once that a file is left alone."""
        if name not in self._told and len(self._told) < self._at_once:
            self._told.add(name)
            self._refused(shown(name), reason)
        return False

    def _ready_paths(self, name: str) -> tuple[Path, Path]:
        return self.path / (name + self._suffix), self.path / (Path(name).stem + self._suffix)

    def _stable(self, names: list[str]) -> list[str]:
        """Return those whose size and time have not changed for long enough, and go on watching the others."""
        now = self._clock.monotonic()
        before, self._seen, self._first_due = self._seen, {}, None
        stable: list[str] = []
        for name in names:
            identity = self.status(name)
            if identity is None:  # gone since the scan
                continue
            known, since = before.get(name, (identity, now))
            since = since if known == identity else now
            self._seen[name] = (identity, since)
            if now - since >= self._stable_secs:
                stable.append(name)
            else:
                due = since + self._stable_secs
                self._first_due = due if self._first_due is None else min(due, self._first_due)
        return stable

    def _translate(self, error: OSError) -> Exception:
        if isinstance(error, PermissionError):
            return SourceRefused(
                N_("no permission to read {path}"),
                hint=N_("give the user huitong the right to read this folder and its files"),
                path=str(self.path),
            )
        return SourceUnavailable(
            N_("the folder {path} cannot be read: {why}"),
            hint=N_("check that it exists and is mounted"),
            path=str(self.path),
            why=error.strerror or str(error),
        )
