"""What differs between databases: how to connect, which SQL gives canonical values, and what their errors mean."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import pool, types

from agent.errors import HuitongError, SourceRefused, SourceUnavailable
from agent.i18n import N_
from agent.model import Value
from connectors.database.tables.pages import Statement
from connectors.database.tables.result import ResultType, no_rows
from connectors.database.tables.table import Column, Table, ValueKind, column_expression, standard_kind, table_expression

Row = tuple[Value, ...]


class Session:
    """One read-only connection. Belongs to the thread that opened it."""

    def __init__(self, database: Database, connection: sa.Connection) -> None:
        self._database = database
        self.connection = connection
        self.driver: Any = connection.connection.driver_connection
        self.cursor = database.reader(self.driver)
        self.inspector = sa.inspect(connection)
        self.suspicious = False  # the page read last holds text that is not valid

    def page(self, statement: Statement, **values: Value) -> Sequence[Row]:
        """Return all rows of a statement, in the form the database compares. Raises SourceUnavailable, SourceRefused."""
        self.suspicious = False
        with self._database.translated():
            return self._database.fetch(self, statement.sql, statement.parameters(values))

    def value(self, sql: str, **values: str) -> Any:
        """Return the one value of a statement with `:named` parameters, None for no row."""
        with self._database.translated():
            row = self.connection.execute(sa.text(sql), values).fetchone()
        return row[0] if row is not None else None

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(sa.exc.DBAPIError):  # it may be lost already, and is closed all the same
            self.connection.close()


class Translated:
    """Context in which every error of a driver leaves as one of ours."""

    def __init__(self, database: Database, doing: str) -> None:
        self._database = database
        self._connecting = doing == "connect"

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if error is None or isinstance(error, HuitongError):
            return
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
        if isinstance(cause, self._database.errors):
            raise self._database.translate(cause, connecting=self._connecting) from None


class Database(ABC):
    """A database server or file, and how to read it."""

    name: ClassVar[str]  # as SQLAlchemy and operators call it
    row_values: ClassVar[bool] = True
    account = ""  # who reads; a file knows no accounts

    def __init__(self, time_zone: str) -> None:
        self._zone = ZoneInfo(time_zone)
        self._engine = sa.create_engine(
            self.sqlalchemy_url(),
            creator=self.connect_driver,
            poolclass=pool.NullPool,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            hide_parameters=True,  # they are personal data
            **self.engine_options(),
        )

    # -- what each database says of itself ---------------------------------------------------------------------------

    @abstractmethod
    def sqlalchemy_url(self) -> str:
        """Return dialect and driver."""

    def engine_options(self) -> dict[str, Any]:
        """Return what else the dialect needs to know."""
        return {}

    @abstractmethod
    def connect_driver(self) -> Any:
        """Return a new driver connection, read-only, with time zone, timeouts and character set in place."""

    def reader(self, driver: Any) -> Any:
        """Return the driver's cursor that pages are read through."""
        return driver.cursor()

    @abstractmethod
    def fetch(self, session: Session, sql: str, parameters: Any) -> Sequence[Row]:
        """Run a statement and return its rows. Text that is not valid comes with surrogate escapes and makes `suspicious`."""

    @abstractmethod
    def incarnation(self, session: Session) -> str:
        """Return what names this very database, however it is reached."""

    @abstractmethod
    def utc_now(self, session: Session) -> datetime:
        """Return the clock of the database, aware UTC."""

    @abstractmethod
    def estimate(self, session: Session, table: Table) -> int | None:
        """Return about how many rows a table has, from statistics; None when that would cost a scan."""

    @property
    @abstractmethod
    def errors(self) -> tuple[type[BaseException], ...]:
        """The errors of the driver."""

    @abstractmethod
    def translate(self, error: BaseException, *, connecting: bool) -> HuitongError:
        """Return what an error of the driver means. Its text must not repeat values of rows."""

    def may_write(self, _session: Session, _table: Table) -> bool:
        """Tell whether the account could change the table, where the database answers that."""
        return False

    def kind_of(self, type_: types.TypeEngine[Any]) -> ValueKind:
        """Return the kind of values of a type."""
        return standard_kind(type_)

    def show(self, column: Column) -> sa.ColumnElement[Any]:
        """Return the expression that selects a column, as canonical as the database can make it."""
        return column_expression(column)

    def result_types(self, session: Session, table: Table) -> Sequence[ResultType]:
        """Return the columns of the query of a table, without reading its rows. Raises SourceRefused, SourceUnavailable."""
        session.page(no_rows(table, self.dialect))
        return [(str(found[0]), self.result_type(session, found)) for found in session.cursor.description]

    def result_type(self, _session: Session, _found: Any) -> types.TypeEngine[Any]:
        """Return the type of a column as the driver describes it after a statement."""
        return types.NullType()

    def bind(self, _column: Column, name: str) -> sa.ColumnElement[Any]:
        """Return the placeholder through which a column is compared with one of its values."""
        # Without a type, so that no cast keeps the database from using the column's own.
        return sa.bindparam(name, type_=types.NullType())

    def comparable(self, _column: Column, value: Value) -> Value:
        """Return a canonical value in the form `bind` wants."""
        return value

    def digest(self, _columns: Sequence[Column]) -> sa.ColumnElement[Any] | None:
        """Return an aggregate that tells two states of some rows apart; None where the database has no such thing."""
        return None

    @contextlib.contextmanager
    def unmoving(self, _session: Session) -> Iterator[bool]:
        """Let everything that is read inside belong to one moment; False where that cannot be had."""
        yield False

    def canonical(self, rows: Sequence[Row], _columns: Sequence[Column]) -> Sequence[Row]:
        """Return rows in canonical values, where the statement did not do it already."""
        return rows

    # -- what is the same for all ------------------------------------------------------------------------------------

    @property
    def dialect(self) -> sa.engine.Dialect:
        """The dialect statements are compiled for."""
        return self._engine.dialect

    def quoted(self, table: Table) -> str:
        """Return the name of a table as it stands in statements."""
        return self.dialect.identifier_preparer.format_table(table_expression(table))

    def connect(self) -> Session:
        """Open a session. Raises SourceUnavailable, SourceRefused."""
        with self.translated("connect"):
            return Session(self, self._engine.connect())
        raise AssertionError("unreachable")  # mypy: the context never swallows

    def translated(self, doing: str = "read") -> Translated:
        """Return the context in which errors of the driver become ours."""
        return Translated(self, doing)

    def present(self, session: Session, column: Column, _like: Value) -> str | None:
        """Return now as a value of the column, written as `_like` is; None when its values are not times."""
        return render_time(self.utc_now(session), column.kind, self._zone)


def render_time(moment: datetime, kind: ValueKind, zone: ZoneInfo) -> str | None:
    """Return a moment as a canonical value of a kind of column; what has no zone is read in `zone`."""
    match kind:
        case ValueKind.INSTANT:
            return moment.astimezone(UTC).isoformat()
        case ValueKind.TIMESTAMP:
            return moment.astimezone(zone).replace(tzinfo=None).isoformat()
        case ValueKind.DATE:
            return moment.astimezone(zone).date().isoformat()
        case _:
            return None


def change_columns(rows: Sequence[Row], changes: Sequence[tuple[int, Callable[[Value], Value]]]) -> Sequence[Row]:
    """Return rows with some columns passed through functions; the rows themselves when there is nothing to do."""
    if not changes or not rows:
        return rows
    columns: list[Sequence[Value]] = list(zip(*rows, strict=True))
    for index, change in changes:
        columns[index] = [None if value is None else change(value) for value in columns[index]]
    return list(zip(*columns, strict=True))


def unavailable(error: BaseException) -> SourceUnavailable:
    """Return the error for a database that cannot be reached now."""
    return SourceUnavailable(why=first_line(error))


def refused(error: BaseException) -> SourceRefused:
    """Return the error for a database that does not do what is asked."""
    return SourceRefused(why=first_line(error))


def too_slow(secs: float) -> SourceRefused:
    """Return the error for a statement that ran into its time limit."""
    return SourceRefused(
        N_("a statement ran longer than {secs} s"),
        hint=N_("give the cursor (followed by the key) an index, or allow more time with statement_timeout"),
        secs=f"{secs:g}",
    )


def first_line(error: BaseException) -> str:
    """Return the first line of what a driver says; the lines below it may quote values."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
