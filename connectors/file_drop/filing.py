"""Putting files away: archive, rejected. Never overwrites, never deletes, and may be interrupted anywhere.

A file is moved by rename only, so it is in exactly one place at any time. What was moved is looked at again: if somebody put
another file under the name a moment before, it goes back under a free name and is read as a drop of its own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from agent.errors import SourceRefused, SourceUnavailable
from agent.failpoints import failpoint
from agent.i18n import N_
from connectors.file_drop.position import Identity

_NAME_BYTES: Final = 255
_SUFFIX_CHARS: Final = 16


class Cabinet:
    """Moves files of one folder. All folders are on one file system."""

    def __init__(self, folder: Path, archive: Path, rejected: Path) -> None:
        self._folder = folder
        self._archive = archive
        self._rejected = rejected

    def prepare(self, *, archive: bool) -> None:
        """Create the folders that are missing. Raises SourceRefused."""
        for path in (self._archive, self._rejected) if archive else (self._rejected,):
            with _translated(path):
                path.mkdir(parents=True, exist_ok=True)
                if path.stat().st_dev != self._folder.stat().st_dev:
                    raise SourceRefused(
                        N_("{path} is on another file system than {folder}"),
                        hint=N_("files are moved by renaming, which works within one file system only: choose another folder"),
                        path=str(path),
                        folder=str(self._folder),
                    )

    def archive(self, name: str, identity: Identity, ordinal: int, companions: Iterable[Path]) -> bool:
        """Move a file that was read, and the files that said it was ready; False when it is not there (any more)."""
        return self._move(name, identity, ordinal, companions, self._archive)

    def reject(self, name: str, identity: Identity, ordinal: int, companions: Iterable[Path], reason: bytes) -> bool:
        """Move a file that cannot be read, beside a text that says why."""
        if self._is(name, identity):
            self.write(f"{name}.reason.txt", ordinal, reason)
        return self._move(name, identity, ordinal, companions, self._rejected)

    def write(self, name: str, ordinal: int, *parts: bytes | Iterable[bytes]) -> Path:
        """Write a file into the folder of rejects, whole or not at all; a file with this very content is left as it is."""
        with _translated(self._rejected):
            draft = self._rejected / f".{ordinal}.draft"
            with draft.open("wb") as file:
                for part in parts:
                    file.writelines([part] if isinstance(part, bytes) else part)
                file.flush()
                os.fsync(file.fileno())
            for path in _names(self._rejected, name, ordinal):
                if not os.path.lexists(path):
                    draft.rename(path)
                    _sync(self._rejected)
                    return path
                if _same(path, draft):
                    draft.unlink()
                    return path
        raise AssertionError("unreachable")

    # -- inside ------------------------------------------------------------------------------------------------------

    def _is(self, name: str, identity: Identity) -> bool:
        try:
            return Identity.of((self._folder / name).stat(follow_symlinks=False)) == identity
        except FileNotFoundError:
            return False

    def _move(self, name: str, identity: Identity, ordinal: int, companions: Iterable[Path], to: Path) -> bool:
        with _translated(to):
            if not self._is(name, identity):
                return False
            # First what says ready: left behind, it would vouch for the next file of this name while that is being written.
            for companion in companions:
                _rename(companion, to, companion.name, ordinal)
            failpoint("C06")
            moved = _rename(self._folder / name, to, name, ordinal)
            if moved is None:
                return False
            failpoint("C07")
            if Identity.of(moved.stat(follow_symlinks=False)) != identity:
                _rename(moved, self._folder, name, ordinal)
                return False
            _sync(to)
            _sync(self._folder)
            return True


def _rename(source: Path, folder: Path, name: str, ordinal: int) -> Path | None:
    """Move a file under a free name, None when it is gone. Only this process puts files into our folders."""
    target = next(path for path in _names(folder, name, ordinal) if not os.path.lexists(path))
    try:
        source.rename(target)
    except FileNotFoundError:
        return None
    return target


def _names(folder: Path, name: str, ordinal: int) -> Iterable[Path]:
    """Return the name, and then names made from it, without end: `deed.csv`, `deed.17.csv`, `deed.17-2.csv` and so on."""
    yield folder / _fitting(name, "")
    number = 1
    while True:
        yield folder / _fitting(name, f".{ordinal}" if number == 1 else f".{ordinal}-{number}")
        number += 1


def _fitting(name: str, addition: str) -> str:
    """Return the name with an addition before its suffix, its stem cut to what a file system takes."""
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix) > _SUFFIX_CHARS:
        stem, dot, suffix = name, "", ""
    room = _NAME_BYTES - len((addition + dot + suffix).encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + addition + dot + suffix


def _same(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        read: Callable[[], tuple[bytes, bytes]] = lambda: (left.read(1 << 20), right.read(1 << 20))  # noqa: E731
        return all(a == b for a, b in iter(read, (b"", b"")))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _translated:  # noqa: N801 - reads as a word where it is used
    """Context in which an error of the file system leaves as one of ours."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, OSError):
            return
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            raise SourceRefused(
                N_("files cannot be put into {path}: {why}"),
                hint=N_("give the user huitong the right to write there; nothing is lost, files stay where they are"),
                path=str(self._path),
                why=error.strerror or "",
            ) from error
        raise SourceUnavailable(
            N_("files cannot be put into {path}: {why}"), path=str(self._path), why=error.strerror or str(error)
        ) from error
