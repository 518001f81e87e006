"""Where the hub's store is, and opening it as a process needs it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.errors import Busy, Denied
from hub.store.leases import EveryDepartment, PostgresLeases
from hub.store.postgres import Postgres, PostgresDialect
from hub.store.sql import SqlStore
from hub.store.sqlite import SqliteDialect, open_reader, open_writer
from hub.store.store import Leases


@dataclass(frozen=True, slots=True)
class Sqlite:
    """Where the database file is."""

    path: Path


Location = Sqlite | Postgres


def open_store(location: Location) -> SqlStore:
    """Open for writing. On SQLite one process at a time: raises Busy while another holds it, Denied."""
    if isinstance(location, Postgres):
        return SqlStore(location.engine(), PostgresDialect())
    let_go = _lock(location.path)
    return SqlStore(open_writer(location.path), SqliteDialect(), let_go)


def leases_of(store: SqlStore) -> Leases:
    """Return how departments are dealt out among the processes on this store."""
    return PostgresLeases(store) if store.engine.dialect.name == "postgresql" else EveryDepartment(store)


@contextmanager
def reading(location: Location) -> Iterator[SqlStore]:
    """Open for reading only, beside whoever writes."""
    if isinstance(location, Postgres):
        store = SqlStore(location.engine(pool_size=1), PostgresDialect())
    else:
        store = SqlStore(open_reader(location.path), SqliteDialect())
    try:
        yield store
    finally:
        store.close()


def _lock(path: Path) -> Callable[[], None]:
    """Hold `<path>.lock` until the returned function is called or the process ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise Denied(path=str(path)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Busy(path=str(path)) from error
    held = [descriptor]

    def let_go() -> None:
        while held:
            os.close(held.pop())

    return let_go
