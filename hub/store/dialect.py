"""What differs between the databases, and how their errors become ours."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from agent.errors import HuitongError, StoreError
from agent.wire.envelope import WireRecord
from hub.errors import RecordsCollide, StoreUnavailable, Unstorable
from hub.model import MessageRow, PackedRecords, RecordBatch
from hub.store.lookups import Question, Spelling


class Dialect(Protocol):
    """The few things each database does its own way."""

    name: str
    spelling: Spelling
    single: Mapping[str, Any]
    """Execution options under which one statement takes one round trip."""

    def ask(self, connection: Connection, questions: Sequence[Question]) -> list[list[Any]]:
        """Return all rows of each of these statements, in as few round trips as the database allows."""
        ...

    def together(self, connection: Connection) -> AbstractContextManager[None]:
        """Send what is written inside in as few round trips as the database allows; nothing may be asked inside."""
        ...

    def pack(self, records: Sequence[WireRecord], positions: Sequence[int]) -> PackedRecords:
        """Bring records into the form that `insert_records` takes."""
        ...

    def commit_lazily(self, connection: Connection) -> None:
        """Let the commit of this transaction return before it is durable, where the database can."""
        ...

    def flush(self, connection: Connection) -> None:
        """Make the commit of this transaction wait until everything committed before is durable."""
        ...

    def insert_records(self, connection: Connection, batches: Sequence[RecordBatch]) -> None:
        """Insert records in bulk; any id that is stored already makes all of it fail."""
        ...

    def insert_messages(self, connection: Connection, rows: Sequence[MessageRow]) -> None:
        """Insert messages in bulk, bodies included."""
        ...


@contextmanager
def translated() -> Iterator[None]:
    """Raise ours for theirs: StoreUnavailable, RecordsCollide, Unstorable, or StoreError for what must not be worked around."""
    try:
        yield
    except HuitongError:
        raise
    except PoolTimeout as error:
        raise StoreUnavailable(why="no free connection") from error
    except DBAPIError as error:
        raise _translate(error.orig or error) from error
    except Exception as error:
        if _is_driver_error(error):
            raise _translate(error) from error
        raise


def _is_driver_error(error: BaseException) -> bool:
    return isinstance(error, sqlite3.Error) or type(error).__module__.partition(".")[0] in ("psycopg", "psycopg_pool")


def _translate(error: BaseException) -> HuitongError:
    why = _why(error)
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error, why)
    if type(error).__name__ == "DataError":  # psycopg's own, without SQLSTATE: a NUL in text, a number out of range
        return Unstorable(why=why)
    return _of_sqlstate(getattr(error, "sqlstate", None), why)


def _why(error: BaseException) -> str:
    """Return the first line: PostgreSQL puts values of the row into the lines after it."""
    line = str(error).strip().partition("\n")[0]
    return re.sub(r"\s+", " ", line)[:300] or type(error).__name__


_AWAY = ("08", "53", "57", "58", "40", "25006", "25P03", "55P03", "XX")
"""SQLSTATE prefixes of what passes: connection, resources, operator intervention, I/O, serialisation, read-only, timeouts."""

_VALUES = ("22", "54")
"""SQLSTATE prefixes of a value the server will never take, nested or long beyond its limits included."""


def _of_sqlstate(sqlstate: str | None, why: str) -> HuitongError:
    if sqlstate is None or sqlstate.startswith(_AWAY):
        return StoreUnavailable(why=why)
    if sqlstate == "23505":
        return RecordsCollide()
    if sqlstate.startswith(_VALUES):
        return Unstorable(why=why)
    return StoreError(why=f"{sqlstate} {why}")


_SQLITE_AWAY = ("locked", "busy", "full", "i/o", "unable to open", "readonly")


def _of_sqlite(error: sqlite3.Error, why: str) -> HuitongError:
    if isinstance(error, sqlite3.IntegrityError) and "UNIQUE" in why:
        return RecordsCollide()
    if isinstance(error, sqlite3.DataError | sqlite3.InterfaceError):
        return Unstorable(why=why)
    if isinstance(error, sqlite3.OperationalError) and any(word in why.lower() for word in _SQLITE_AWAY):
        return StoreUnavailable(why=why)
    return StoreError(why=why)


def driver_connection(connection: Connection) -> Any:
    """Return the DBAPI connection beneath, inside the same transaction."""
    return connection.connection.driver_connection
