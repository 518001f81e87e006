"""PostgreSQL through psycopg."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from psycopg import postgres
from psycopg.types.string import TextLoader
from sqlalchemy import types
from sqlalchemy.dialects import postgresql

from agent.errors import HuitongError, SourceRefused
from agent.model import Value
from connectors.database.dialects.base import Database, Row, Session, change_columns, refused, too_slow, unavailable
from connectors.database.settings import PostgresConnection
from connectors.database.tables.table import Column, Table, ValueKind, column_expression

_TYPED: Final = frozenset({"int2", "int4", "int8", "oid", "bool", "float4", "float8", "bytea"})
"""Types that become Python values; all others come as the text PostgreSQL writes, which keeps every digit."""

_SESSION: Final = (
    "SET default_transaction_read_only = on",
    "SET TimeZone = 'UTC'",
    "SET DateStyle = 'ISO, YMD'",
    "SET IntervalStyle = 'iso_8601'",
    "SET bytea_output = 'hex'",
    "SET extra_float_digits = 1",
    "SET lc_monetary = 'C'",
    "SET statement_timeout = {timeout_ms}",
)

_RESULTS: Final[Mapping[str, types.TypeEngine[Any]]] = {
    "int2": types.SmallInteger(),
    "int4": types.Integer(),
    "int8": types.BigInteger(),
    "float4": types.Float(),
    "float8": types.Double(),
    "numeric": types.Numeric(),
    "money": postgresql.MONEY(),
    "bool": types.Boolean(),
    "bytea": types.LargeBinary(),
    "date": types.Date(),
    "time": types.Time(),
    "timetz": types.Time(timezone=True),
    "timestamp": types.DateTime(),
    "timestamptz": types.DateTime(timezone=True),
    "bpchar": types.CHAR(),
    "varchar": types.VARCHAR(),
    "text": types.Text(),
}
"""Types of result columns; a domain comes as the type it is made of. What is not named here comes as text."""

_PASSING: Final = ("08", "40", "53", "55", "57P", "58")
"""Beginnings of SQLSTATEs that pass by themselves: connection, rollback, resources, locks, shutdown, system error."""

_QUERY_CANCELED: Final = "57014"

_QUOTES_VALUES: Final = ("22", "23", "P0", "XX")
"""Beginnings of SQLSTATEs whose messages repeat values of rows: data and constraint errors, those of functions, internal ones."""

_CODECS: Final = {"EUC_CN": "gb2312", "LATIN1": "latin-1"}
"""Server encodings other than UTF-8 that are met, by the name Python gives them."""


class PostgresDatabase(Database):
    """A PostgreSQL database. The account needs nothing but SELECT."""

    name = "postgresql"

    def __init__(self, settings: PostgresConnection, password: str | None, application: str, time_zone: str) -> None:
        self._settings = settings
        self.account = settings.user
        self._password = password
        self._application = application
        super().__init__(time_zone)

    def sqlalchemy_url(self) -> str:
        """See Database."""
        return "postgresql+psycopg://"

    def engine_options(self) -> dict[str, Any]:
        """See Database."""
        return {"use_native_hstore": False}

    def connect_driver(self) -> Any:
        """See Database."""
        given = self._settings
        connection = psycopg.connect(
            host=given.host,
            port=given.port,
            dbname=given.database,
            user=given.user,
            password=self._password,
            sslmode=given.tls,
            sslrootcert=str(given.ca) if given.ca else None,
            connect_timeout=max(2, round(given.connect_timeout.total_seconds())),
            application_name=self._application,
            client_encoding="UTF8",
            keepalives_idle=15,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=30_000,  # milliseconds; a half-open connection is noticed within half a minute
            autocommit=True,
        )
        timeout_ms = round(given.statement_timeout.total_seconds() * 1000)
        connection.execute("; ".join(_SESSION).format(timeout_ms=timeout_ms))
        return connection

    def reader(self, driver: Any) -> Any:
        """See Database."""
        return _with_loaders(driver.cursor(), TextLoader)

    def fetch(self, session: Session, sql: str, parameters: Any) -> Sequence[Row]:
        """See Database."""
        try:
            session.cursor.execute(sql, _as_text(parameters), prepare=True)
            return session.cursor.fetchall()  # type: ignore[no-any-return]
        except (UnicodeDecodeError, psycopg.errors.CharacterNotInRepertoire, psycopg.errors.UntranslatableCharacter):
            session.suspicious = True
            if session.driver.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
                session.driver.execute("ROLLBACK")
            return _tolerant(session.driver, sql, _as_text(parameters))

    def incarnation(self, session: Session) -> str:
        """Return system identifier and database; the identifier is that of a cluster and all its standbys."""
        system = session.value("SELECT system_identifier::text FROM pg_control_system()")
        database = session.value("SELECT oid::text FROM pg_database WHERE datname = current_database()")
        return f"postgresql:{system}:{database}"

    def utc_now(self, session: Session) -> datetime:
        """See Database."""
        moment: datetime = session.value("SELECT clock_timestamp()")
        return moment.astimezone(UTC)

    def estimate(self, session: Session, table: Table) -> int | None:
        """See Database; views and tables never analysed have no estimate."""
        asked = "SELECT reltuples::bigint FROM pg_catalog.pg_class WHERE oid = to_regclass(:name)"
        found = session.value(asked, name=self.quoted(table))
        return found if isinstance(found, int) and found > 0 else None

    def may_write(self, session: Session, table: Table) -> bool:
        """See Database."""
        asked = "SELECT has_table_privilege(:name, 'INSERT, UPDATE, DELETE, TRUNCATE')"
        return bool(session.value(asked, name=self.quoted(table)))

    def show(self, column: Column) -> sa.ColumnElement[Any]:
        """See Database."""
        expression = column_expression(column)
        text = sa.cast(expression, types.Text())
        match column.kind:
            case ValueKind.CHAR:
                return text  # the cast removes the padding
            case ValueKind.TIMESTAMP:
                return sa.func.replace(text, sa.literal_column("' '"), sa.literal_column("'T'"))
            case ValueKind.INSTANT:
                iso = sa.func.replace(text, sa.literal_column("' '"), sa.literal_column("'T'"))
                # The session is in UTC, so the offset is always written +00.
                return sa.case((sa.func.isfinite(expression), iso.concat(sa.literal_column("':00'"))), else_=text)
            case _:
                return _by_type(column.type, expression, text)

    def result_type(self, _session: Session, found: Any) -> types.TypeEngine[Any]:
        """See Database."""
        known = postgres.types.get(found.type_code)
        if known is None or known.oid != found.type_code:  # it is also found by the number of its arrays
            return types.NullType()
        return _RESULTS.get(known.name, types.NullType())

    def digest(self, columns: Sequence[Column]) -> sa.ColumnElement[Any]:
        """See Database: the sum of 64 bits of the MD5 of each row, which does not depend on the order."""
        row = sa.cast(sa.func.row(*map(column_expression, columns)), types.Text())
        bits = sa.func.concat("x", sa.func.substr(sa.func.md5(row), 1, 16)).op("::")(sa.literal_column("bit(64)"))
        return sa.cast(sa.func.sum(bits.op("::")(sa.literal_column("bigint"))), types.Text())

    @contextlib.contextmanager
    def unmoving(self, session: Session) -> Iterator[bool]:
        """See Database."""
        with self.translated():
            session.driver.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        try:
            yield True
        finally:
            with contextlib.suppress(psycopg.Error):  # the connection may be lost; then nothing is left to end
                session.driver.execute("COMMIT")

    def canonical(self, rows: Sequence[Row], columns: Sequence[Column]) -> Sequence[Row]:
        """Return rows with NaN and infinities as text: JSON has no such numbers."""
        floats = [i for i, column in enumerate(columns) if column.kind is ValueKind.FLOAT]
        odd = [i for i in floats if not all(_is_ordinary(row[i]) for row in rows)]
        return change_columns(rows, [(i, lambda value: value if _is_ordinary(value) else _odd_float(value)) for i in odd])

    @property
    def errors(self) -> tuple[type[BaseException], ...]:
        """See Database."""
        return (psycopg.Error,)

    def translate(self, error: BaseException, *, connecting: bool) -> HuitongError:
        """See Database."""
        state = error.sqlstate if isinstance(error, psycopg.Error) else None
        if state == _QUERY_CANCELED:
            return too_slow(self._settings.statement_timeout.total_seconds())
        if connecting or (state is None and isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))):
            return unavailable(error)
        if state is not None and state.startswith(_QUOTES_VALUES):
            return SourceRefused(why=f"{type(error).__name__} ({state})")
        return unavailable(error) if state is not None and state.startswith(_PASSING) else refused(error)


def _by_type(
    type_: types.TypeEngine[Any], expression: sa.ColumnElement[Any], text: sa.ColumnElement[Any]
) -> sa.ColumnElement[Any]:
    """Return what selects a column of a type that needs help to be canonical; the column itself for all others."""
    match type_:
        case postgresql.ARRAY():
            # A row as JSON keeps the members of an array and not where it begins.
            return sa.func.regexp_replace(text, sa.literal_column("'^(\\[[-0-9]+:[-0-9]+\\])+='"), sa.literal_column("''"))
        case postgresql.JSON():
            # The JSON null is no value, and white space around a document no part of it: a row as JSON keeps neither.
            return sa.func.nullif(sa.func.btrim(text, sa.literal_column("E' \\t\\n\\r'")), sa.literal_column("'null'"))
        case postgresql.MONEY():
            return sa.cast(sa.cast(expression, types.Numeric()), types.Text())
        case _:
            return expression


def _with_loaders(cursor: Any, text: type[Any]) -> Any:
    for info in postgres.types:
        if info.oid and info.name not in _TYPED:
            cursor.adapters.register_loader(info.oid, text)
        if info.array_oid:
            cursor.adapters.register_loader(info.array_oid, text)
    cursor.adapters.register_loader(0, text)  # types of extensions
    return cursor


def _tolerant(connection: Any, sql: str, parameters: Any) -> Sequence[Row]:
    """Read a page again that holds text which is not valid, as the octets the database has."""
    encoding = _CODECS.get(connection.info.parameter_status("server_encoding"), "utf-8")

    class Loader(psycopg.adapt.Loader):
        def load(self, data: Any) -> str:
            return bytes(data).decode(encoding, "surrogateescape")

    connection.execute("SET client_encoding = 'SQL_ASCII'")  # no conversion, and no check
    try:
        cursor = _with_loaders(connection.cursor(), Loader)
        cursor.execute(sql, parameters)
        return cursor.fetchall()  # type: ignore[no-any-return]
    finally:
        connection.execute("SET client_encoding = 'UTF8'")


def _as_text(parameters: Mapping[str, Value]) -> dict[str, Value]:
    # Text without a type takes the type of the column it is compared with, so an index on it is used.
    return {
        name: value if value is None or isinstance(value, bytes) or name == "limit" else _literal(value)
        for name, value in parameters.items()
    }


def _literal(value: Value) -> str:
    return repr(value) if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _is_ordinary(value: Value) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _odd_float(value: Value) -> str:
    assert isinstance(value, float)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
