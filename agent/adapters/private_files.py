"""Small files that matter: written whole or not at all, read only when nobody else could have read or changed them."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.errors import Denied, HuitongError, StoreError
from agent.i18n import N_

MAX_BYTES: Final = 64 * 1024


def write_whole(path: Path, octets: bytes, mode: int) -> None:
    """Put `octets` at `path`: readers see the old file or the new one, also after a power cut. Raises Denied, StoreError."""
    try:
        _write(path, octets, mode)
    except PermissionError as error:
        raise Denied(path=str(path)) from error
    except OSError as error:
        raise StoreError(why=f"{path}: {error.strerror}") from error


def make_private_directory(path: Path) -> None:
    """Make a directory only its owner may enter, unless there is one. Raises Denied, StoreError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except PermissionError as error:
        raise Denied(path=str(path)) from error
    except OSError as error:
        raise StoreError(why=f"{path}: {error.strerror}") from error


def read_guarded(path: Path, forbidden_mode: int, unguarded: HuitongError) -> bytes:
    """Return the octets of a regular file of ours or root's whose mode has none of `forbidden_mode`.

    Looked at through the open file, so that nothing can be swapped in between. Raises FileNotFoundError, `unguarded` when
    others could have read or changed it, Denied when we may not read it ourselves or it is another account's.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:  # no permission, or a symbolic link
        raise Denied(path=str(path)) from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_mode & forbidden_mode:
            raise unguarded
        if found.st_uid not in (0, os.geteuid()):
            raise _foreign(path, found.st_uid)
        octets = file.read(MAX_BYTES + 1)
    if len(octets) > MAX_BYTES:
        raise StoreError(why=f"{path}: larger than {MAX_BYTES} bytes")
    return octets


def _foreign(path: Path, owner: int) -> Denied:
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = str(owner)
    return Denied(
        N_("{path} belongs to the account {owner}"),
        hint=N_("run this command as that account: sudo -u {owner} huitong …"),
        path=str(path),
        owner=name,
    )


def _write(path: Path, octets: bytes, mode: int) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make names that were added, renamed or removed in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
