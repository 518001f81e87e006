"""KingbaseES through ksycopg2, and what it shares with other descendants of old PostgreSQL versions.

They keep the catalogue of PostgreSQL, but not the words of its version, by which SQLAlchemy decides what to ask; so the few
questions are asked here, in a form that every version since 8.4 answers. That was run against PostgreSQL 15; what is special to
KingbaseES comes from its documents and was never run against a server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import sqlalchemy as sa
from sqlalchemy import exc, types
from sqlalchemy.dialects import postgresql, registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from agent.errors import HuitongError, SourceRefused
from agent.model import Value
from connectors.database.dialects.base import Row, Session, change_columns, refused, too_slow, unavailable
from connectors.database.dialects.driven import DrivenDatabase
from connectors.database.dialects.oracle import Named, plain_float
from connectors.database.servers import KingbaseConnection, OpengaussConnection
from connectors.database.tables.table import Column, Table, ValueKind, column_expression, standard_kind

_SESSION: Final = (
    "SET default_transaction_read_only = on",
    "SET TimeZone = 'UTC'",
    "SET DateStyle = 'ISO, YMD'",
    "SET extra_float_digits = 3",  # before version 12 the default loses digits
    "SET statement_timeout = {timeout_ms}",
)

_PASSING: Final = ("08", "40", "53", "55", "57P", "58")
_QUERY_CANCELED: Final = "57014"
_QUOTES_VALUES: Final = ("22", "23", "P0", "XX")
"""Beginnings of SQLSTATEs, as for PostgreSQL."""

_OF_TABLE: Final = (
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace{join}"
    " WHERE n.nspname = :schema AND c.relname = :name AND c.relkind IN ('r', 'v', 'm', 'f', 'p'){where}"
)
_COLUMNS: Final = (
    "SELECT a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,"
    " pg_catalog.col_description(c.oid, a.attnum)"
    + _OF_TABLE.format(
        join=" JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid",
        where=" AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    )
)
_INDEXES: Final = (
    "SELECT x.relname, i.indisunique, i.indisprimary, i.indpred IS NOT NULL, CAST(i.indkey AS text)"
    + _OF_TABLE.format(
        join=" JOIN pg_catalog.pg_index i ON i.indrelid = c.oid JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid",
        where=" AND i.indisvalid ORDER BY x.relname",
    )
)
_NAMES: Final = (
    "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = :schema AND position(CAST(c.relkind AS text) IN :kinds) > 0"
)

_TYPES: Final[dict[str, Callable[..., types.TypeEngine[Any]]]] = {
    "smallint": types.SmallInteger,
    "integer": types.Integer,
    "bigint": types.BigInteger,
    "tinyint": types.SmallInteger,
    "numeric": types.Numeric,
    "number": types.Numeric,
    "money": postgresql.MONEY,
    "real": types.Float,
    "double precision": types.Double,
    "boolean": types.Boolean,
    "bytea": types.LargeBinary,
    "blob": types.LargeBinary,
    "raw": types.LargeBinary,
    "date": types.Date,
    "time without time zone": types.Time,
    "timestamp without time zone": types.DateTime,
    "character": types.CHAR,
    "bpchar": types.CHAR,
    "character varying": types.VARCHAR,
    "varchar2": types.VARCHAR,
    "nvarchar2": types.VARCHAR,
    "text": types.Text,
    "clob": types.Text,
}


class PostgresNames(PGDialect_psycopg2):
    """What SQLAlchemy must know: drivers made after psycopg2, and a catalogue like that of old PostgreSQL."""

    supports_statement_cache = True

    def initialize(self, connection: Any) -> None:
        """Ask for the schema of the session; nothing else of the server matters to the statements."""
        self.server_version_info = (9, 2)
        self.default_schema_name = connection.exec_driver_sql("SELECT current_schema()").scalar()
        self.default_isolation_level = "READ COMMITTED"

    def on_connect(self) -> None:
        """Register nothing with the driver: all values come as text, or as plain numbers."""

    def set_isolation_level(self, dbapi_connection: Any, level: Any) -> None:
        """Commit after every statement, which is all we ask for."""
        dbapi_connection.autocommit = level == "AUTOCOMMIT"

    def get_columns(self, connection: Any, table_name: str, schema: str | None = None, **_kw: Any) -> Any:
        """Return the columns of a table or view. Raises NoSuchTableError."""
        found = self._ask(connection, _COLUMNS, schema, name=table_name)
        if not found:
            raise exc.NoSuchTableError(table_name)
        return [
            {"name": name, "type": type_of(type_), "nullable": not filled, "default": None, "comment": comment}
            for _, name, type_, filled, comment in found
        ]

    def get_pk_constraint(self, connection: Any, table_name: str, schema: str | None = None, **_kw: Any) -> Any:
        """Return the primary key."""
        primary = [i for i in self._indexes(connection, table_name, schema) if i["primary"]]
        return {"constrained_columns": primary[0]["column_names"], "name": primary[0]["name"]} if primary else {}

    def get_unique_constraints(self, connection: Any, table_name: str, schema: str | None = None, **_kw: Any) -> Any:  # noqa: ARG002
        """Return nothing: each has an index."""
        return []

    def get_indexes(self, connection: Any, table_name: str, schema: str | None = None, **_kw: Any) -> Any:
        """Return the indexes; an expression has no column name."""
        return self._indexes(connection, table_name, schema)

    def get_table_comment(self, connection: Any, table_name: str, schema: str | None = None, **_kw: Any) -> Any:
        """Return the comment of a table or view."""
        asked = "SELECT pg_catalog.obj_description(c.oid, 'pg_class')" + _OF_TABLE.format(join="", where="")
        found = self._ask(connection, asked, schema, name=table_name)
        return {"text": found[0][0] if found else None}

    def get_table_names(self, connection: Any, schema: str | None = None, **_kw: Any) -> Any:
        """Return the tables of a schema."""
        return [name for (name,) in self._ask(connection, _NAMES, schema, kinds="rpf")]

    def get_view_names(self, connection: Any, schema: str | None = None, **_kw: Any) -> Any:
        """Return the views of a schema."""
        return [name for (name,) in self._ask(connection, _NAMES, schema, kinds="vm")]

    def _indexes(self, connection: Any, table: str, schema: str | None) -> list[dict[str, Any]]:
        names = {number: name for number, name, *_ in self._ask(connection, _COLUMNS, schema, name=table)}
        return [
            {
                "name": index,
                "column_names": [names.get(int(number)) for number in str(numbers).split()],
                "unique": bool(unique),
                "primary": bool(primary),
                "dialect_options": {"postgresql_where": "some rows"} if partial else {},
            }
            for index, unique, primary, partial, numbers in self._ask(connection, _INDEXES, schema, name=table)
        ]

    def _ask(self, connection: Any, sql: str, schema: str | None, **values: str) -> Sequence[Any]:
        found: Sequence[Any] = connection.execute(
            sa.text(sql), {"schema": schema or self.default_schema_name, **values}
        ).fetchall()
        return found


class PostgresLike(DrivenDatabase[KingbaseConnection | OpengaussConnection]):
    """A database that descends from PostgreSQL, through a driver made after psycopg2."""

    system_identifiers: ClassVar[tuple[str, ...]] = ("SELECT CAST(system_identifier AS text) FROM pg_control_system()",)
    """Statements that give what a cluster and its standbys share, in the order they are tried."""

    def sqlalchemy_url(self) -> str:
        """See Database."""
        registry.register("huitong.postgreslike", __name__, "PostgresNames")
        return "huitong+postgreslike://"

    def engine_options(self) -> dict[str, Any]:
        """See Database."""
        return {**super().engine_options(), "use_native_hstore": False}

    def connect_driver(self) -> Any:
        """See Database."""
        given = self._settings
        connection = self._driver.connect(
            host=given.host,
            port=given.port,
            dbname=given.database,
            user=given.user,
            password=self._password,
            sslmode=given.tls,
            **({"sslrootcert": str(given.ca)} if given.ca else {}),
            connect_timeout=max(2, round(given.connect_timeout.total_seconds())),
            application_name=self._application,
            client_encoding="UTF8",
            keepalives_idle=15,
            keepalives_interval=5,
            keepalives_count=3,
        )
        connection.autocommit = True
        cursor = connection.cursor()
        for statement in _SESSION:
            cursor.execute(statement.format(timeout_ms=round(given.statement_timeout.total_seconds() * 1000)))
        cursor.close()
        return connection

    def fetch(self, session: Session, sql: str, parameters: Any) -> Sequence[Row]:
        """See Database. The server converts text to UTF-8; what it cannot convert is an error."""
        session.cursor.execute(sql, parameters)
        return [tuple([bytes(v) if isinstance(v, memoryview) else v for v in row]) for row in session.cursor.fetchall()]

    def incarnation(self, session: Session) -> str:
        """Return system identifier and database; without the right to see the identifier only the database."""
        database = session.value("SELECT CAST(oid AS text) FROM pg_catalog.pg_database WHERE datname = current_database()")
        for asked in self.system_identifiers:
            try:
                return f"{self.name}:{session.value(asked)}:{database}"
            except SourceRefused:
                continue
        return f"{self.name}:{self._settings.database}:{database}"

    def utc_now(self, session: Session) -> datetime:
        """See Database."""
        asked = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24\\:MI\\:SS.US')"
        return datetime.fromisoformat(session.value(asked)).replace(tzinfo=UTC)

    def estimate(self, session: Session, table: Table) -> int | None:
        """See Database; views and tables never analysed have no estimate."""
        asked = "SELECT CAST(c.reltuples AS bigint)" + _OF_TABLE.format(join="", where="")
        found = session.value(asked, schema=table.schema or str(self.dialect.default_schema_name), name=table.name)
        return int(found) if found and int(found) > 0 else None

    def may_write(self, session: Session, table: Table) -> bool:
        """See Database."""
        return bool(session.value("SELECT has_table_privilege(:name, 'INSERT, UPDATE, DELETE')", name=self.quoted(table)))

    def kind_of(self, type_: types.TypeEngine[Any]) -> ValueKind:
        """See Database."""
        return standard_kind(type_)

    def show(self, column: Column) -> sa.ColumnElement[Any]:
        """See Database. A DATE is cast too: in the modes that imitate Oracle it has a time of day."""
        expression = column_expression(column)
        text = sa.cast(expression, types.Text())
        iso = sa.func.replace(text, sa.literal_column("' '"), sa.literal_column("'T'"))
        if isinstance(column.type, postgresql.MONEY):
            return sa.cast(sa.cast(expression, types.Numeric()), types.Text())
        match column.kind:
            case ValueKind.INTEGER | ValueKind.FLOAT | ValueKind.BOOLEAN | ValueKind.BINARY:
                return expression
            case ValueKind.CHAR:
                return sa.func.rtrim(text)
            case ValueKind.DATE | ValueKind.TIMESTAMP:
                return iso
            case ValueKind.INSTANT:
                # The session is in UTC, so the offset is always written +00; infinity has none.
                return sa.func.replace(iso, sa.literal_column("'+00'"), sa.literal_column("'+00:00'"))
            case _:
                return text

    def result_type(self, session: Session, found: Any) -> types.TypeEngine[Any]:
        """See Database. The driver gives the number of the type."""
        return type_of(session.value("SELECT pg_catalog.format_type(CAST(:oid AS oid), NULL)", oid=str(found[1])))

    def canonical(self, rows: Sequence[Row], columns: Sequence[Column]) -> Sequence[Row]:
        """Return rows with NaN and infinities as text: JSON has no such numbers."""
        return change_columns(rows, [(i, plain_float) for i, c in enumerate(columns) if c.kind is ValueKind.FLOAT])

    @property
    def errors(self) -> tuple[type[BaseException], ...]:
        """See Database."""
        return (self._driver.Error, UnicodeDecodeError)

    def translate(self, error: BaseException, *, connecting: bool) -> HuitongError:
        """See Database. The attribute with the SQLSTATE is called after the vendor."""
        state = getattr(error, "kbcode", None) or getattr(error, "pgcode", None)
        if isinstance(error, UnicodeDecodeError):
            return SourceRefused(why=type(error).__name__)
        if state == _QUERY_CANCELED:
            return too_slow(self._settings.statement_timeout.total_seconds())
        lost = state is None and isinstance(error, (self._driver.OperationalError, self._driver.InterfaceError))
        if connecting or lost:
            return unavailable(error)
        if state is None or state.startswith(_QUOTES_VALUES):
            return SourceRefused(why=f"{type(error).__name__} ({state})")
        return unavailable(error) if state.startswith(_PASSING) else refused(error)


class KingbaseDatabase(PostgresLike):
    """A KingbaseES database. The account needs nothing but SELECT. In its Oracle mode the empty string is NULL."""

    name = "kingbase"
    system_identifiers = (
        "SELECT CAST(system_identifier AS text) FROM sys_control_system()",
        *PostgresLike.system_identifiers,
    )


def type_of(written: Value) -> types.TypeEngine[Any]:
    """Return the type that `format_type` writes, such as `numeric(10,2)` or `timestamp(3) with time zone`."""
    text = str(written).rpartition('."')[2].replace('"', "")
    numbers = [int(n) for n in re.findall(r"\d+", found[0])] if (found := re.findall(r"\([\d,\s]+[a-z ]*\)", text)) else []
    word = re.sub(r"\([\d,\s]+[a-z ]*\)", "", text).strip()
    if word == "timestamp with time zone":
        return postgresql.TIMESTAMP(timezone=True)
    made = _TYPES.get(word)
    if made is None:
        return Named(word)
    sized = made in (types.CHAR, types.VARCHAR, types.Numeric)
    return made(*numbers[:2]) if sized else made()
