"""SQLite files, opened read-only."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import types

from agent.errors import HuitongError, SourceRefused, SourceUnavailable
from agent.i18n import N_
from agent.model import Value
from connectors.database.dialects.base import Database, Row, Session, change_columns, first_line, refused, too_slow, unavailable
from connectors.database.settings import SqliteConnection
from connectors.database.tables.result import ResultType, no_rows
from connectors.database.tables.table import Column, Table, ValueKind

_BUSY_SECS: Final = 5.0
_STEPS: Final = 10_000
"""Virtual machine instructions between two looks at the clock."""

_VIEW: Final = "huitong_result"
_COMPUTED: Final = ("", "NUM")
"""What SQLite says of computed columns: nothing, or since version 3.41 their affinity. A number is no decimal for that."""

_PASSING: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_PROTOCOL", "SQLITE_SCHEMA")


class SqliteDatabase(Database):
    """An SQLite file. Its values have types of their own; declared types say what they are meant to be."""

    name = "sqlite"

    def __init__(self, settings: SqliteConnection, time_zone: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = settings.path
        self._limit_secs = settings.statement_timeout.total_seconds()
        self._monotonic = monotonic
        self._deadline = float("inf")
        self._inode = 0
        super().__init__(time_zone)

    def sqlalchemy_url(self) -> str:
        """See Database."""
        return "sqlite://"

    def connect_driver(self) -> Any:
        """See Database. The file is never created."""
        self._inode = self._path.stat().st_ino
        connection = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECS, isolation_level=None)
        connection.set_progress_handler(lambda: self._monotonic() > self._deadline, _STEPS)
        return connection

    def connect_writer(self) -> sqlite3.Connection:
        """Return a connection that may write: for nothing but our own change logs."""
        return sqlite3.connect(f"{self._path.as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None)

    def fetch(self, session: Session, sql: str, parameters: Any) -> Sequence[Row]:
        """See Database."""
        if self._path.stat().st_ino != self._inode:  # we would read a file that nobody writes to any more
            raise SourceUnavailable(N_("{path} was replaced by another file"), path=str(self._path))
        self._deadline = self._monotonic() + self._limit_secs
        try:
            return session.cursor.execute(sql, parameters).fetchall()  # type: ignore[no-any-return]
        except sqlite3.OperationalError as error:
            if "decode to UTF-8" not in str(error):
                raise
            session.suspicious = True
            # A statement that failed between two rows would go on holding its lock, and those who write to the file would wait.
            session.cursor.close()
            session.cursor = self.reader(session.driver)
            return _tolerant(session, sql, parameters)
        finally:
            self._deadline = float("inf")

    def incarnation(self, _session: Session) -> str:
        """Return path and inode: a file that was put in place of another is another database."""
        return f"sqlite:{self._path}:{self._inode}"

    def utc_now(self, session: Session) -> datetime:
        """See Database."""
        return datetime.fromisoformat(session.value("SELECT strftime('%Y-%m-%dT%H\\:%M\\:%f', 'now')")).replace(tzinfo=UTC)

    def present(self, session: Session, column: Column, like: Value) -> str | None:
        """See Database. Times are text in whatever form the application writes."""
        now = super().present(session, column, like)
        if now is None or not isinstance(like, str):
            return None
        return now.replace("T", " ") if like[10:11] == " " else now

    def estimate(self, session: Session, table: Table) -> int | None:
        """Return the greatest row id, found without a scan; tables without row ids and views have no estimate."""
        try:
            found = session.value(f"SELECT max(rowid) FROM {self.quoted(table)}")  # noqa: S608 - a name of the catalogue
        except SourceRefused:
            return None
        return found if isinstance(found, int) else None

    def canonical(self, rows: Sequence[Row], columns: Sequence[Column]) -> Sequence[Row]:
        """Return rows with declared decimals as text, booleans as booleans and times with a T."""
        return change_columns(rows, [(i, _CANONICAL[c.kind]) for i, c in enumerate(columns) if c.kind in _CANONICAL])

    def result_types(self, session: Session, table: Table) -> Sequence[ResultType]:
        """See Database. Only of a view does SQLite tell what its columns were declared as; a temporary one is not in the file.

        Computed columns have no declared type: their values come as they are.
        """
        session.page(no_rows(table, self.dialect))  # a view would be refused later, in words that do not say why
        with self.translated():
            session.driver.execute(f"CREATE TEMP VIEW {_VIEW} AS {table.query}")
            try:
                columns = session.driver.execute(f"PRAGMA temp.table_xinfo({_VIEW})").fetchall()
                known = {c["name"]: c["type"] for c in sa.inspect(session.connection).get_columns(_VIEW, schema="temp")}
            finally:
                session.driver.execute(f"DROP VIEW temp.{_VIEW}")
        return [(name, known[name] if type_ not in _COMPUTED else types.NullType()) for _, name, type_, *_ in columns]

    @property
    def errors(self) -> tuple[type[BaseException], ...]:
        """See Database."""
        return (sqlite3.Error, OSError)

    def translate(self, error: BaseException, *, connecting: bool) -> HuitongError:
        """See Database."""
        name = str(getattr(error, "sqlite_errorname", ""))
        if name == "SQLITE_INTERRUPT":
            return too_slow(self._limit_secs)
        if name == "SQLITE_NOTADB":
            return SourceRefused(N_("{path} is not an SQLite file: {why}"), path=str(self._path), why=first_line(error))
        return unavailable(error) if connecting or name.startswith(_PASSING) or isinstance(error, OSError) else refused(error)


def _tolerant(session: Session, sql: str, parameters: Any) -> Sequence[Row]:
    """Read a page again that holds text which is not UTF-8, with surrogate escapes in its place."""
    session.driver.text_factory = lambda octets: octets.decode("utf-8", "surrogateescape")
    try:
        return session.driver.execute(sql, parameters).fetchall()  # type: ignore[no-any-return]
    finally:
        session.driver.text_factory = str


def _decimal(value: Value) -> Value:
    # SQLite keeps a decimal as an integer or as the nearest binary fraction; its shortest text is what was written.
    return format(Decimal(repr(value)), "f") if isinstance(value, (int, float)) else value


def _boolean(value: Value) -> Value:
    return bool(value) if value in (0, 1) else value


def _timestamp(value: Value) -> Value:
    return f"{value[:10]}T{value[11:]}" if isinstance(value, str) and len(value) > 10 and value[10] == " " else value


_CANONICAL: Final[dict[ValueKind, Callable[[Value], Value]]] = {
    ValueKind.DECIMAL: _decimal,
    ValueKind.BOOLEAN: _boolean,
    ValueKind.TIMESTAMP: _timestamp,
}
