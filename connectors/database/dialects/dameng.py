"""Dameng (DM8) through dmPython.

SQLAlchemy knows no such database, and the vendor's package for it cannot be loaded with SQLAlchemy 2.1. So statements are
written as for Oracle, whose words Dameng takes, and the few questions to the catalogue are asked here. The rules come from the
vendor's documents and its package; the module was never run against a server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, ClassVar, Final

import sqlalchemy as sa
from sqlalchemy import exc, types
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.oracle.base import OracleDialect

from agent.errors import HuitongError, SourceRefused
from agent.model import Value
from connectors.database.dialects.base import Row, Session, change_columns, refused, too_slow, unavailable
from connectors.database.dialects.driven import DrivenDatabase
from connectors.database.dialects.oracle import Named, Rownum, plain_decimal, plain_float
from connectors.database.servers import DamengConnection
from connectors.database.tables.table import Column, Table, ValueKind, column_expression, standard_kind

_PASSING: Final = frozenset({-6001, -6002, -6007, -6010, -6403, -70019, -70025, -70028, -70065})
"""Codes of errors that pass by themselves: network, shutdown, deadlock."""

_TOO_SLOW: Final = frozenset({-70029, -544, -7180})

_TYPES: Final[dict[str, Callable[..., types.TypeEngine[Any]]]] = {
    "BIT": types.Boolean,
    "BOOLEAN": types.Boolean,
    "TINYINT": types.SmallInteger,
    "BYTE": types.SmallInteger,
    "SMALLINT": types.SmallInteger,
    "INT": types.Integer,
    "INTEGER": types.Integer,
    "BIGINT": types.BigInteger,
    "REAL": types.Float,
    "FLOAT": types.Float,
    "DOUBLE": types.Double,
    "DOUBLE PRECISION": types.Double,
    "DATE": types.Date,
    "TIME": types.Time,
    "DATETIME": types.DateTime,
    "TIMESTAMP": types.DateTime,
    "BINARY": types.LargeBinary,
    "VARBINARY": types.LargeBinary,
    "RAW": types.LargeBinary,
    "BLOB": types.LargeBinary,
    "IMAGE": types.LargeBinary,
    "LONGVARBINARY": types.LargeBinary,
    "TEXT": types.Text,
    "CLOB": types.Text,
    "LONG": types.Text,
    "LONGVARCHAR": types.Text,
}
_RESULTS: Final = {"STRING": "VARCHAR", "FIXED_STRING": "CHAR", "LONG_STRING": "TEXT", "LONG_BINARY": "BLOB"}
"""Classes of the driver that are not called as the type is."""

_NUMBERS: Final = ("DEC", "DECIMAL", "NUMERIC", "NUMBER")
_TEXTS: Final = ("VARCHAR", "VARCHAR2", "CHARACTER VARYING", "NVARCHAR", "NVARCHAR2", "ROWID")
_PADDED: Final = ("CHAR", "CHARACTER", "NCHAR")

_COLUMNS: Final = (
    "SELECT column_name, data_type, data_length, data_precision, data_scale, nullable FROM all_tab_columns"
    " WHERE owner = :owner AND table_name = :name ORDER BY column_id"
)
_CONSTRAINTS: Final = (
    "SELECT c.constraint_name, k.column_name FROM all_constraints c JOIN all_cons_columns k"
    " ON k.owner = c.owner AND k.constraint_name = c.constraint_name"
    " WHERE c.owner = :owner AND c.table_name = :name AND c.constraint_type = :type ORDER BY c.constraint_name, k.position"
)
_INDEXES: Final = (
    "SELECT i.index_name, k.column_name, i.uniqueness FROM all_indexes i JOIN all_ind_columns k"
    " ON k.index_owner = i.owner AND k.index_name = i.index_name"
    " WHERE i.table_owner = :owner AND i.table_name = :name ORDER BY i.index_name, k.column_position"
)


class DamengNames(OracleDialect):
    """What SQLAlchemy must know: names as they stand in the catalogue, limits with ROWNUM, tables from the ALL_ views."""

    name = "dameng"
    driver = "dmPython"
    default_paramstyle = "qmark"
    supports_statement_cache = True
    statement_compiler = Rownum
    requires_name_normalize = False

    def initialize(self, connection: Any) -> None:
        """Ask for the schema of the session; nothing else of the server matters to the statements."""
        self.server_version_info = (12,)
        self.default_schema_name = connection.connection.driver_connection.current_schema
        self.default_isolation_level = "READ COMMITTED"

    def get_isolation_level_values(self, dbapi_connection: Any) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the levels that may be set."""
        return ["AUTOCOMMIT"]

    def detect_autocommit_setting(self, dbapi_connection: Any) -> bool:  # noqa: ARG002 - SQLAlchemy's signature
        """Tell that every statement is a transaction of its own: we never connect in another way."""
        return True

    def set_isolation_level(self, dbapi_connection: Any, level: str) -> None:
        """Do nothing: the driver commits by itself from the beginning."""

    def get_columns(self, connection: Any, table_name: str, schema: str | None = None, **_kw: Any) -> Any:
        """Return the columns of a table or view. Raises NoSuchTableError."""
        found = self._ask(connection, _COLUMNS, table_name, schema)
        if not found:
            raise exc.NoSuchTableError(table_name)
        comments = self._comments(connection, table_name, schema)
        return [
            {
                "name": name,
                "type": type_of(str(type_), length, precision, scale),
                "nullable": nullable != "N",
                "default": None,
                "comment": comments.get(name, ""),
            }
            for name, type_, length, precision, scale, nullable in found
        ]

    def get_pk_constraint(self, connection: Any, table_name: str, schema: str | None = None, **_kw: Any) -> Any:
        """Return the primary key."""
        found = self._ask(connection, _CONSTRAINTS, table_name, schema, type="P")
        return {"constrained_columns": [column for _, column in found], "name": found[0][0] if found else None}

    def get_unique_constraints(self, connection: Any, table_name: str, schema: str | None = None, **_kw: Any) -> Any:
        """Return the UNIQUE constraints."""
        named: dict[str, list[str]] = {}
        for constraint, column in self._ask(connection, _CONSTRAINTS, table_name, schema, type="U"):
            named.setdefault(constraint, []).append(column)
        return [{"name": name, "column_names": columns} for name, columns in named.items()]

    def get_indexes(self, connection: Any, table_name: str, schema: str | None = None, **_kw: Any) -> Any:
        """Return the indexes."""
        named: dict[str, dict[str, Any]] = {}
        for index, column, uniqueness in self._ask(connection, _INDEXES, table_name, schema):
            made = named.setdefault(index, {"name": index, "column_names": [], "unique": uniqueness == "UNIQUE"})
            made["column_names"].append(column)
        return list(named.values())

    def get_table_comment(self, connection: Any, table_name: str, schema: str | None = None, **_kw: Any) -> Any:
        """Return the comment of a table or view."""
        asked = "SELECT comments FROM all_tab_comments WHERE owner = :owner AND table_name = :name"
        found = self._ask(connection, asked, table_name, schema)
        return {"text": found[0][0] if found else None}

    def get_table_names(self, connection: Any, schema: str | None = None, dblink: Any = None, **_kw: Any) -> Any:  # noqa: ARG002
        """Return the tables of a schema."""
        return [name for (name,) in self._ask(connection, "SELECT table_name FROM all_tables WHERE owner = :owner", None, schema)]

    def get_view_names(self, connection: Any, schema: str | None = None, dblink: Any = None, **_kw: Any) -> Any:  # noqa: ARG002
        """Return the views of a schema."""
        return [name for (name,) in self._ask(connection, "SELECT view_name FROM all_views WHERE owner = :owner", None, schema)]

    def _comments(self, connection: Any, table: str, schema: str | None) -> dict[str, str]:
        asked = "SELECT column_name, comments FROM all_col_comments WHERE schema_name = :owner AND table_name = :name"
        try:
            return {name: comment or "" for name, comment in self._ask(connection, asked, table, schema)}
        except exc.DBAPIError:  # the name of the column with the schema differs between versions; comments only help people
            return {}

    def _ask(self, connection: Any, sql: str, table: str | None, schema: str | None, **values: str) -> Sequence[Any]:
        named = {"owner": schema or self.default_schema_name, **({"name": table} if table is not None else {}), **values}
        found: Sequence[Any] = connection.execute(sa.text(sql), named).fetchall()
        return found


class DamengDatabase(DrivenDatabase[DamengConnection]):
    """A Dameng database. The account needs nothing but SELECT. The driver itself keeps sessions from writing.

    As the server is set up by default, the empty string is NULL or not as in Oracle mode or MySQL mode.
    """

    name = "dameng"
    row_values: ClassVar[bool] = False

    def sqlalchemy_url(self) -> str:
        """See Database."""
        registry.register("huitong.dameng", __name__, "DamengNames")
        return "huitong+dameng://"

    def engine_options(self) -> dict[str, Any]:
        """See Database."""
        return {**super().engine_options(), "enable_offset_fetch": False}

    def connect_driver(self) -> Any:
        """See Database."""
        given, driver = self._settings, self._driver
        connection = driver.connect(
            server=given.host,
            port=given.port,
            user=given.user,
            password=self._password or "",
            **({"schema": given.database} if given.database else {}),
            access_mode=driver.DSQL_MODE_READ_ONLY,
            autoCommit=True,
            login_timeout=max(1, round(given.connect_timeout.total_seconds())),
            connection_timeout=max(1, round(given.statement_timeout.total_seconds())),  # of a statement, despite its name
            app_name=self._application,
            local_code=driver.PG_UTF8,
            lang_id=driver.LANGUAGE_EN,
        )
        cursor = connection.cursor()
        cursor.execute("SET TIME ZONE '+00:00'")
        cursor.close()
        return connection

    def fetch(self, session: Session, sql: str, parameters: Any) -> Sequence[Row]:
        """See Database. Decimals and times arrive as Python has them; times have six digits, whatever the column holds."""
        session.cursor.execute(sql, parameters)
        return [tuple([_plain(value) for value in row]) for row in session.cursor.fetchall()]

    def incarnation(self, session: Session) -> str:
        """Return the permanent magic, which the standbys of a database share; else its name and age."""
        try:
            found = session.value("SELECT permanent_magic")
        except SourceRefused:
            found = session.value("SELECT name || '.' || create_time FROM v$database")
        return f"dameng:{found}"

    def utc_now(self, session: Session) -> datetime:
        """See Database."""
        moment = _instant(_plain(session.value("SELECT systimestamp FROM dual")))
        made = datetime.fromisoformat(str(moment))
        return made.astimezone(UTC) if made.tzinfo is not None else made.replace(tzinfo=UTC)

    def estimate(self, session: Session, table: Table) -> int | None:
        """See Database."""
        asked = "SELECT num_rows FROM all_tables WHERE owner = :owner AND table_name = :name"
        found = session.value(asked, owner=table.schema or str(self.dialect.default_schema_name), name=table.name)
        return int(found) if found else None

    def show(self, column: Column) -> sa.ColumnElement[Any]:
        """See Database."""
        expression = column_expression(column)
        return sa.func.rtrim(expression) if column.kind is ValueKind.CHAR else expression

    def result_type(self, _session: Session, found: Any) -> types.TypeEngine[Any]:
        """See Database. The driver has a class for each kind of column."""
        word = str(getattr(found[1], "__name__", found[1])).rpartition(".")[2].upper()
        return type_of(_RESULTS.get(word, word), found[3], found[4], found[5])

    def bind(self, column: Column, name: str) -> sa.ColumnElement[Any]:
        """See Database. Times are cast from the form that the vendor documents for literals."""
        plain = super().bind(column, name)
        spaced = sa.func.replace(plain, sa.literal_column("'T'"), sa.literal_column("' '"))
        match column.kind:
            case ValueKind.TIMESTAMP:
                return sa.cast(spaced, Named("TIMESTAMP(6)"))
            case ValueKind.INSTANT:
                apart = sa.func.replace(spaced, sa.literal_column("'+00:00'"), sa.literal_column("' +00:00'"))
                return sa.cast(apart, Named("TIMESTAMP(6) WITH TIME ZONE"))
            case ValueKind.DATE:
                return sa.cast(plain, Named("DATE"))
            case ValueKind.DECIMAL:
                return sa.func.to_number(plain)
            case _:
                return plain

    def kind_of(self, type_: types.TypeEngine[Any]) -> ValueKind:
        """See Database."""
        return standard_kind(type_)

    def canonical(self, rows: Sequence[Row], columns: Sequence[Column]) -> Sequence[Row]:
        """Return rows with booleans, numbers and moments in their canonical form."""
        return change_columns(rows, [(i, _CANONICAL[c.kind]) for i, c in enumerate(columns) if c.kind in _CANONICAL])

    @property
    def errors(self) -> tuple[type[BaseException], ...]:
        """See Database."""
        return (self._driver.Error, OSError)

    def translate(self, error: BaseException, *, connecting: bool) -> HuitongError:
        """See Database. Which messages repeat values is not documented: only those of missing names and rights are passed on."""
        code = getattr(error.args[0], "code", 0) if error.args else 0
        if code in _TOO_SLOW and not connecting:
            return too_slow(self._settings.statement_timeout.total_seconds())
        if connecting or code in _PASSING or isinstance(error, (self._driver.InterfaceError, OSError)):
            return unavailable(error)
        return refused(error) if -5999 <= code <= -2000 else SourceRefused(why=f"error {code}")


def type_of(name: str, length: int | None, precision: int | None, scale: int | None) -> types.TypeEngine[Any]:
    """Return the type of a column as ALL_TAB_COLUMNS names it."""
    word = re.sub(r"\(\d+(,\s*-?\d+)?\)", "", name.upper()).strip()
    if word in _NUMBERS:
        return types.Integer() if precision and scale == 0 else types.Numeric(precision or None, scale)
    if word in _TEXTS:
        return types.VARCHAR(length)
    if word in _PADDED:
        return types.CHAR(length)
    if word.endswith(" TIME ZONE") and word.startswith(("TIMESTAMP", "DATETIME")):
        return types.DateTime(timezone=True)
    return _TYPES[word]() if word in _TYPES else Named(word)


def _plain(value: Any) -> Value:
    """Return a value of the driver as we know values."""
    if hasattr(value, "read"):  # a large object
        value = value.read()
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo is not None else value).isoformat()
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _instant(value: Value) -> Value:
    """Return a moment in UTC. Some come as text: `2026-11-01 08:00:00.000000 +08:00`."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value.replace(" ", "T", 1).replace(" ", ""))
    except ValueError:
        return value
    return moment.astimezone(UTC).isoformat() if moment.tzinfo is not None else moment.isoformat()


def _integer(value: Value) -> Value:
    return int(Decimal(value)) if isinstance(value, str) else value


def _boolean(value: Value) -> Value:
    return bool(value) if value in (0, 1) else value


_CANONICAL: Final[dict[ValueKind, Callable[[Value], Value]]] = {
    ValueKind.BOOLEAN: _boolean,
    ValueKind.INTEGER: _integer,
    ValueKind.DECIMAL: plain_decimal,
    ValueKind.FLOAT: plain_float,
    ValueKind.INSTANT: _instant,
}
