"""Changes the status of rows, and nothing else: the one connection to a source that may write.

Some rows at a time are locked, compared with what was read, changed and let go, in a transaction of some milliseconds. Nobody
is waited for: a row that somebody else holds stays as it is until the next time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import pool

from agent.errors import SourceRefused, SourceUnavailable
from agent.i18n import N_, _, spoken, use_language
from agent.model import Value
from agent.model.handshake import Answer
from connectors.database.dialects.base import Row, Session
from connectors.database.dialects.sqlite import SqliteDatabase
from connectors.database.settings import StatusFrom
from connectors.database.streams.status_grant import StatusGrant
from connectors.database.streams.status_pages import StatusPages
from connectors.database.tables.pages import Statement
from connectors.database.tables.reader import TableReader
from connectors.database.tables.table import Column, ValueKind

_AT_ONCE: Final = 50
"""Rows that are held at the same time."""

_PREPARED: Final = {
    "postgresql": (
        "SET default_transaction_read_only = off",
        "SET lock_timeout = '500ms'",
        "SET idle_in_transaction_session_timeout = '30s'",
        "SET synchronous_commit = off",  # a mark that is lost in a crash is made again
    ),
    "mysql": (
        "SET SESSION TRANSACTION READ WRITE",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",  # without locks on the gaps between rows
        "SET SESSION innodb_lock_wait_timeout = 1",
    ),
    "sqlite": ("PRAGMA busy_timeout = 500",),
}
_BEGIN: Final = {"postgresql": "BEGIN", "mysql": "START TRANSACTION", "sqlite": "BEGIN IMMEDIATE"}

_LIKE_TEXT: Final = "2000-01-01 00:00:00"
_TIMES: Final = (ValueKind.INSTANT, ValueKind.TIMESTAMP, ValueKind.DATE)


class StatusWriter:
    """Belongs to the thread of its source, and to one opening of it."""

    def __init__(self, reader: TableReader, status: StatusFrom) -> None:
        """Connect. Raises SourceUnavailable, SourceRefused."""
        self._reader = reader
        self._database = reader.database
        self._status = status
        self._pages = StatusPages(reader.pages.shape, status.column)
        self._columns = [reader.pages.shape.table.columns[name] for name in status.written]
        self._session = self._connected()

    def prove(self) -> None:
        """Do what marking does to no row at all. Raises SourceRefused, with the statement for the DBA, when that is refused."""
        try:
            with self._transaction():
                self._fetch(self._pages.locked(0, skips=self._skips), s=self._status.pending, limit=1)
                values = self._values(self._status.sent, None)
                self._execute(self._pages.change(0, self._status.written), s=self._status.pending, **values)
        except SourceRefused as error:
            raise SourceRefused(
                N_("the status of the rows of {table} cannot be written: {why}"),
                hint=N_("let the DBA run: {grant}"),
                table=self._database.quoted(self._pages.shape.table),
                why=str(error),
                grant=StatusGrant(self._reader, self._status).grant(),
            ) from error
        except SourceUnavailable:
            self._ping()  # somebody holds the table, so nothing is known yet; marking will show

    def move(self, rows: Sequence[Row], before: str, after: str, reason: str | None = None) -> None:
        """Set the status of rows that still have the status `before` and are as they were read.

        Others stay as they are, and so do those that somebody else is changing. Raises SourceUnavailable, SourceRefused.
        """
        for start in range(0, len(rows), _AT_ONCE):
            try:
                with self._transaction():
                    self._move(rows[start : start + _AT_ONCE], before, after, reason)
            except SourceUnavailable:
                self._ping()  # the connection lives, so it was a lock: there is a next time

    def close(self) -> None:
        """End the connection. Idempotent."""
        self._session.close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _move(self, rows: Sequence[Row], before: str, after: str, reason: str | None) -> None:
        keys = self._keys(rows)
        found = self._fetch(self._pages.locked(len(keys), skips=self._skips), s=before, limit=len(keys), **_numbered(keys))
        now = {self._reader.key_of(row): row for row in found}
        # NaN differs from itself; its text does not.
        same = [row for row in rows if repr(now.get(self._reader.key_of(row))) == repr(row)]
        if same:
            keys = self._keys(same)
            values = self._values(after, reason)
            self._execute(self._pages.change(len(keys), self._status.written), s=before, **_numbered(keys), **values)

    def _keys(self, rows: Sequence[Row]) -> Sequence[tuple[Value, ...]]:
        """Return the keys of rows: one, or filled up to `_AT_ONCE` with the last, so that there are two statements, not fifty."""
        columns = self._pages.shape.key
        keys = [
            tuple(self._database.comparable(column, value) for column, value in zip(columns, key, strict=True))
            for key in map(self._reader.key_of, rows)
        ]
        return keys if len(keys) == 1 else [*keys, *[keys[-1]] * (_AT_ONCE - len(keys))]

    def _values(self, status: str, reason: str | None) -> dict[str, Value]:
        """Return what is written, as parameters of `StatusPages.change`."""
        given: dict[str, Value] = {self._status.column: status}
        for column in self._columns:
            if column.name == self._status.message:
                empty = None if column.nullable else ""
                given[column.name] = empty if reason is None else reason[: getattr(column.type, "length", None)]
            elif column.name == self._status.at:
                given[column.name] = self._now(column)
        return {f"c{index}": self._database.comparable(c, given[c.name]) for index, c in enumerate(self._columns)}

    def _now(self, column: Column) -> str | None:
        if column.kind in _TIMES:
            return self._database.present(self._reader.session, column, _LIKE_TEXT)
        local = self._database.present(self._reader.session, replace(column, kind=ValueKind.TIMESTAMP), _LIKE_TEXT)
        return None if local is None else local.replace("T", " ")[: len(_LIKE_TEXT)]

    # -- the connection ----------------------------------------------------------------------------------------------

    def _connected(self) -> Session:
        session = self._writable() if isinstance(self._database, SqliteDatabase) else self._database.connect()
        try:
            with self._database.translated():
                for statement in _PREPARED[self._database.name]:
                    session.cursor.execute(statement)
        except BaseException:
            session.close()
            raise
        return session

    def _writable(self) -> Session:
        assert isinstance(self._database, SqliteDatabase)
        engine = sa.create_engine(
            self._database.sqlalchemy_url(),
            creator=self._database.connect_writer,
            poolclass=pool.NullPool,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            hide_parameters=True,
        )
        with self._database.translated("connect"):
            return Session(self._database, engine.connect())
        raise AssertionError("unreachable")  # mypy: the context never swallows

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what is done inside, or nothing."""
        with self._database.translated():
            self._session.cursor.execute(_BEGIN[self._database.name])
            try:
                yield
                self._session.cursor.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(*self._database.errors):
                    self._session.cursor.execute("ROLLBACK")
                raise

    def _ping(self) -> None:
        with self._database.translated():
            self._session.cursor.execute("SELECT 1")
            self._session.cursor.fetchall()

    def _fetch(self, statement: Statement, **values: Value) -> Sequence[Row]:
        return self._session.page(statement, **values)

    def _execute(self, statement: Statement, **values: Value) -> None:
        if self._database.name == "postgresql":  # text without a type takes the type of its column
            values = {name: _untyped(value) for name, value in values.items()}
        self._session.cursor.execute(statement.sql, statement.parameters(values))

    @property
    def _skips(self) -> bool:
        """Whether the server knows SKIP LOCKED."""
        dialect: Any = self._database.dialect
        if self._database.name != "mysql":
            return self._database.name != "sqlite"
        version = dialect.server_version_info or (0,)
        return bool(version >= ((10, 6) if dialect.is_mariadb else (8, 0, 1)))


def said(answer: Answer, language: str) -> str:
    """Return the reason of an answer in a language, in one line."""

    def speak() -> str:
        use_language(language)
        text, details = _(answer.text), spoken(answer.details)
        return f"{answer.field}: " * bool(answer.field) + (text.format_map(details) if details else text)

    return " ".join(copy_context().run(speak).split())


def _numbered(keys: Sequence[tuple[Value, ...]]) -> dict[str, Value]:
    return {f"k{n}_{i}": value for n, key in enumerate(keys) for i, value in enumerate(key)}


def _untyped(value: Value) -> Value:
    if value is None or isinstance(value, bytes):
        return value
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)
