"""The SQLite engine: which library, which settings, how its errors read in ours.

All connections of a process to the store must come from one library: two copies of SQLite in one process drop each other's
POSIX locks. `driver` is the only choice, and everything opens through this module.
"""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final
from urllib.parse import quote

from agent.errors import Busy, Denied, HuitongError, StoreError, StoreFull
from agent.i18n import N_

OLDEST: Final = (3, 38, 0)
"""STRICT tables, RETURNING, UPDATE … FROM and the JSON functions are all there from here on."""

WAL_RESET_BUG: Final = ((3, 7, 0), (3, 51, 3))
"""From, and fixed in: two connections that write or checkpoint at the same moment can lose a committed transaction."""

PAGE_BYTES: Final = 4096
WAL_PAGES: Final = 2000
BUSY_SECS: Final = 2.0

_FULL = 13
_BUSY = (5, 6)
FAULTS_OF_ONE: Final = (0, 18, 19, 20)  # a value the driver cannot bind, TOOBIG, CONSTRAINT, MISMATCH
_DENIED = (3, 8, 14, 23)  # PERM, READONLY, CANTOPEN, AUTH


@cache
def driver() -> ModuleType:
    """Return the DBAPI module with the newer SQLite: the standard library's, or pysqlite3 where it is installed."""
    try:
        other = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return sqlite3
    return other if other.sqlite_version_info > sqlite3.sqlite_version_info else sqlite3


def engine_version() -> tuple[int, int, int]:
    """Return the version of SQLite in use."""
    major, minor, patch = driver().sqlite_version_info
    return major, minor, patch


def warning_for(version: tuple[int, int, int]) -> str:
    """Return the catalogue key of what there is to say against a version, empty when nothing."""
    first, fixed = WAL_RESET_BUG
    if first <= version < fixed:
        return N_(
            "this SQLite has a fault that can lose a commit when two connections write at once; Huitong writes through "
            "one only; do not open the store with another program that writes"
        )
    return ""


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the connection that writes and checkpoints; autocommit, so that every transaction is begun explicitly.

    There is one of these in a process at a time. Raises StoreError, Denied, Busy.
    """
    if engine_version() < OLDEST:
        raise StoreError(
            N_("SQLite {version} is too old"),
            hint=N_("install the package pysqlite3, or a Python with SQLite 3.38 or newer"),
            version=".".join(map(str, engine_version())),
        )
    settings: dict[str, int | str] = {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL: every commit is on the disk before it is told to anybody
        "foreign_keys": 1,
        "wal_autocheckpoint": WAL_PAGES,
        "journal_size_limit": 2 * WAL_PAGES * PAGE_BYTES,
        "temp_store": 2,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "cache_size": -8000,
    }
    connection = _connect(path, "rwc", settings)
    connection.execute("PRAGMA secure_delete = FAST")  # purged bodies are overwritten where that costs no extra write
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that can only read; any number of these, in any process. Raises StoreError, Denied."""
    return _connect(path, "ro", {"query_only": 1, "cache_size": -1000})


def _connect(path: Path, mode: str, settings: dict[str, int | str]) -> sqlite3.Connection:
    with translated(path):
        connection: sqlite3.Connection = driver().connect(
            f"file:{quote(str(path))}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_SECS,
        )
        try:
            for name, value in settings.items():
                _set(connection, name, value)
        except BaseException:
            connection.close()
            raise
    return connection


def _set(connection: sqlite3.Connection, name: str, value: int | str) -> None:
    """Set a PRAGMA and look whether it holds: SQLite says nothing about one it did not take."""
    connection.execute(f"PRAGMA {name} = {value}").fetchall()
    (found,) = connection.execute(f"PRAGMA {name}").fetchone()
    if found != value:
        raise StoreError(why=f"PRAGMA {name} is {found}, not {value}")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Let what happens inside fail with our errors."""
    try:
        yield
    except driver().Error as error:
        raise translate(error, path) from error


def code_of(error: BaseException) -> int:
    """Return the primary result code of a driver error, 0 when it has none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_full(error: BaseException) -> bool:
    """Whether the disk was full."""
    return code_of(error) == _FULL


def translate(error: Exception, path: Path) -> HuitongError:
    """Return what a driver error is called above this package."""
    code = code_of(error)
    if code == _FULL:
        return StoreFull(
            N_("the disk of {path} is full"), hint=N_("free some space; nothing that was promised is lost"), path=path
        )
    if code in _BUSY:
        return Busy(path=path)
    if code in _DENIED:
        return Denied(path=path)
    return StoreError(why=f"{path}: {error}")
