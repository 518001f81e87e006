"""The SQLite engine: which library, which settings, how its errors read in ours.

All connections of a process to the store must come from one library: two copies of SQLite in one process drop each other's
POSIX locks. `driver` is the only choice, and everything opens through this module.
"""

from __future__ import annotations

import importlib
import sqlite3
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
BUSY_MS: Final = 2000

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
    connection: sqlite3.Connection | None = None
    try:
        connection = _connect(f"file:{quote(str(path))}?mode=rwc", BUSY_MS)
        settings: dict[str, int | str] = {
            "journal_mode": "wal",
            "synchronous": 2,  # FULL: every commit is on the disk before it is told to anybody
            "foreign_keys": 1,
            "wal_autocheckpoint": WAL_PAGES,
            "journal_size_limit": 2 * WAL_PAGES * PAGE_BYTES,
            "temp_store": 2,
            "trusted_schema": 0,
            "cache_size": -8000,
        }
        connection.execute("PRAGMA secure_delete = FAST")  # purged bodies are overwritten where that costs no extra write
        connection.execute("PRAGMA cell_size_check = 1")
        for name, value in settings.items():
            _set(connection, name, value)
    except driver().Error as error:
        if connection is not None:
            connection.close()
        raise translate(error, path) from error
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that can only read; any number of these, in any process. Raises StoreError, Denied."""
    try:
        connection = _connect(f"file:{quote(str(path))}?mode=ro", BUSY_MS)
        _set(connection, "query_only", 1)
        _set(connection, "cache_size", -1000)
    except driver().Error as error:
        raise translate(error, path) from error
    return connection


def _connect(uri: str, busy_ms: int) -> sqlite3.Connection:
    connection: sqlite3.Connection = driver().connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=busy_ms / 1000
    )
    return connection


def _set(connection: sqlite3.Connection, name: str, value: int | str) -> None:
    """Set a PRAGMA and look whether it holds: SQLite says nothing about one it did not take."""
    connection.execute(f"PRAGMA {name} = {value}").fetchall()
    (found,) = connection.execute(f"PRAGMA {name}").fetchone()
    if found != value:
        raise StoreError(why=f"PRAGMA {name} is {found}, not {value}")


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
