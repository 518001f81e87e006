"""Oracle 12.1 and later through oracledb in its thin mode.

Rules of this module come from Oracle's and the driver's documents; it was never run against a server.
"""

from __future__ import annotations

import contextlib
import math
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar, Final

import sqlalchemy as sa
from sqlalchemy import types
from sqlalchemy.dialects import oracle, registry
from sqlalchemy.dialects.oracle.base import OracleCompiler
from sqlalchemy.dialects.oracle.cx_oracle import OracleCompiler_cx_oracle
from sqlalchemy.dialects.oracle.oracledb import OracleDialect_oracledb

from agent.errors import HuitongError, SourceRefused
from agent.i18n import N_
from agent.model import Value
from connectors.database.dialects.base import Row, Session, change_columns, first_line, too_slow, unavailable
from connectors.database.dialects.driven import DrivenDatabase
from connectors.database.servers import OracleConnection
from connectors.database.tables.table import Column, Table, ValueKind, column_expression, standard_kind

_SESSION: Final = (
    "ALTER SESSION SET TIME_ZONE = '+00:00' NLS_NUMERIC_CHARACTERS = '.,' NLS_CALENDAR = 'GREGORIAN'"
    " NLS_SORT = 'BINARY' NLS_COMP = 'BINARY' NLS_LANGUAGE = 'AMERICAN'"
)

_DATE: Final[sa.ColumnElement[Any]] = sa.literal_column("'YYYY-MM-DD\"T\"HH24:MI:SS'")
_TIMESTAMP: Final[sa.ColumnElement[Any]] = sa.literal_column("'YYYY-MM-DD\"T\"HH24:MI:SS.FF9'")

_CODE: Final = re.compile(r"\b(ORA|DPY)-(\d{4,5})")

_PASSING: Final = re.compile(
    r"ORA-(00018|00020|00028|00054|00060|01012|01033|01034|01089|01090|01092|02396|03113|03114|03135|08177|12\d{3}|25408)"
    r"|DPY-(1001|4011|6\d{3})"
)
"""Errors that pass by themselves: sessions, locks, shutdown, network. All of ORA-12xxx but the next are of the listener."""

_QUOTES_VALUES: Final = re.compile(r"ORA-(00001|01400|0140[67]|01722|018\d\d|02290|02291|06502|06512|12899|20\d{3})")
"""Errors whose messages may repeat values of rows, or what a trigger or function says."""

_TOO_SLOW: Final = ("DPY-4024", "ORA-01013")
_TOO_OLD: Final = ("DPY-3010", "DPY-3015")


class Rownum(OracleCompiler):
    """Writes a limit with ROWNUM, for which Oracle stops reading an index in any optimiser mode.

    SQLAlchemy's own form of it names the columns again, and constants have no name.
    """

    def visit_select(self, select_stmt: Any, asfrom: Any = False, **kw: Any) -> Any:  # type: ignore[override]
        """Return the statement."""
        limit = select_stmt._limit_clause  # noqa: SLF001
        if asfrom or limit is None or select_stmt._offset_clause is not None:  # noqa: SLF001
            return super().visit_select(select_stmt, asfrom=asfrom, **kw)  # type: ignore[no-untyped-call]
        inner = super().visit_select(select_stmt.limit(None), **kw)  # type: ignore[no-untyped-call]
        return f"SELECT * FROM ({inner}) WHERE ROWNUM <= {self.process(limit)}"  # noqa: S608 - made of compiled parts


class _RownumCompiler(Rownum, OracleCompiler_cx_oracle):
    """With what the driver needs."""


class Named(types.UserDefinedType[str]):
    """A type by its name in SQL."""

    cache_ok = True

    def __init__(self, spec: str) -> None:
        self.spec = spec

    def get_col_spec(self, **_kw: Any) -> str:
        """Return the name."""
        return self.spec


class OracleNames(OracleDialect_oracledb):
    """SQLAlchemy's dialect, with names as they stand in the catalogue: Oracle folds unquoted ones to upper case."""

    supports_statement_cache = True
    statement_compiler = _RownumCompiler
    requires_name_normalize = False

    def normalize_name(self, name: Any) -> Any:
        """Return the name unchanged."""
        return name

    def denormalize_name(self, name: Any) -> Any:
        """Return the name unchanged."""
        return name

    def denormalize_schema_name(self, name: Any) -> Any:
        """Return the name unchanged."""
        return name


class OracleDatabase(DrivenDatabase[OracleConnection]):
    """An Oracle database. The account needs CREATE SESSION and SELECT on the tables.

    In Oracle the empty string is NULL. Before version 23 no session can be made read-only as such: we send nothing but
    queries, each of which reads one moment, and `unmoving` opens a READ ONLY transaction.
    """

    name = "oracle"
    row_values: ClassVar[bool] = False  # Oracle compares lists only for equality

    def sqlalchemy_url(self) -> str:
        """See Database."""
        registry.register("huitong.oracle", __name__, "OracleNames")
        return "huitong+oracle://"

    def engine_options(self) -> dict[str, Any]:
        """See Database."""
        return {**super().engine_options(), "enable_offset_fetch": False}

    def connect_driver(self) -> Any:
        """See Database."""
        given = self._settings
        connection = self._driver.connect(
            user=given.user,
            password=self._password,
            host=given.host,
            port=given.port,
            service_name=given.database,
            tcp_connect_timeout=given.connect_timeout.total_seconds(),
            retry_count=0,
            expire_time=1,  # minutes; a half-open connection is noticed
            program="huitong",
            **_encryption(given),
        )
        connection.autocommit = True
        connection.call_timeout = round(given.statement_timeout.total_seconds() * 1000)
        connection.module = self._application[:48]
        with connection.cursor() as cursor:
            cursor.execute(_SESSION)
            if int(str(connection.version).partition(".")[0]) >= 23:
                cursor.execute("ALTER SESSION SET READ_ONLY = TRUE")
        return connection

    def reader(self, driver: Any) -> Any:
        """See Database."""
        cursor = driver.cursor()
        cursor.arraysize = 1000
        cursor.outputtypehandler = _exact_values(self._driver)
        return cursor

    def fetch(self, session: Session, sql: str, parameters: Any) -> Sequence[Row]:
        """See Database. The driver takes text that is not valid in the character set for an error."""
        session.cursor.execute(sql, parameters)
        return session.cursor.fetchall()  # type: ignore[no-any-return]

    def incarnation(self, session: Session) -> str:
        """Return the id of the database and its last opening with RESETLOGS; without SELECT on V_$DATABASE only its names."""
        container = session.value("SELECT sys_context('userenv', 'con_name') FROM dual")
        try:
            found = session.value("SELECT to_char(dbid) || '.' || to_char(resetlogs_change#) FROM v$database")
        except SourceRefused:
            found = session.value("SELECT sys_context('userenv', 'db_name') FROM dual")
        return f"oracle:{found}:{container}"

    def utc_now(self, session: Session) -> datetime:
        """See Database."""
        asked = "SELECT to_char(sys_extract_utc(systimestamp), 'YYYY-MM-DD\"T\"HH24\\:MI\\:SS.FF6') FROM dual"
        return datetime.fromisoformat(session.value(asked)).replace(tzinfo=UTC)

    def estimate(self, session: Session, table: Table) -> int | None:
        """See Database."""
        found = session.value(
            "SELECT num_rows FROM all_tables"
            " WHERE owner = coalesce(:schema, sys_context('userenv', 'current_schema')) AND table_name = :name",
            schema=table.schema or "",  # Oracle takes it for NULL
            name=table.name,
        )
        return int(found) if found else None

    def may_write(self, session: Session, table: Table) -> bool:
        """See Database. The owner of a table always may."""
        asked = (
            "SELECT count(*) FROM dual WHERE coalesce(:schema, sys_context('userenv', 'current_schema')) = user OR EXISTS"
            " (SELECT 1 FROM all_tab_privs WHERE table_schema = coalesce(:schema, sys_context('userenv', 'current_schema'))"
            " AND table_name = :name AND privilege IN ('INSERT', 'UPDATE', 'DELETE', 'ALTER')"
            " AND (grantee IN (user, 'PUBLIC') OR grantee IN (SELECT role FROM session_roles)))"
        )
        return bool(session.value(asked, schema=table.schema or "", name=table.name))

    def kind_of(self, type_: types.TypeEngine[Any]) -> ValueKind:
        """See Database. A DATE has a time of day."""
        if isinstance(type_, oracle.TIMESTAMP) and (type_.timezone or type_.local_timezone):
            return ValueKind.INSTANT
        if isinstance(type_, oracle.RAW):
            return ValueKind.BINARY
        if isinstance(type_, oracle.NUMBER) and type_.scale == 0:
            return ValueKind.INTEGER
        if isinstance(type_, types.NCHAR):
            return ValueKind.CHAR
        return standard_kind(type_)

    def show(self, column: Column) -> sa.ColumnElement[Any]:
        """See Database."""
        expression = column_expression(column)
        match column.kind:
            case ValueKind.CHAR:
                return sa.func.rtrim(expression)
            case ValueKind.INSTANT:
                return _shown(sa.func.sys_extract_utc(expression)).concat(sa.literal_column("'+00:00'"))
            case ValueKind.TIMESTAMP if isinstance(column.type, oracle.DATE):
                return sa.func.to_char(expression, _DATE)
            case ValueKind.TIMESTAMP:
                return _shown(expression)
            case _:
                return _shown_otherwise(column, expression)

    def result_type(self, _session: Session, found: Any) -> types.TypeEngine[Any]:
        """See Database."""
        return _type_of(self._driver, found)

    def bind(self, column: Column, name: str) -> sa.ColumnElement[Any]:
        """See Database. The type is that of the column, so that its index is used and CHAR is compared with its padding."""
        plain = super().bind(column, name)
        match column.kind:
            case ValueKind.TIMESTAMP if isinstance(column.type, oracle.DATE):
                return sa.func.to_date(sa.func.substr(plain, sa.literal_column("1"), sa.literal_column("19")), _DATE)
            case ValueKind.TIMESTAMP:
                return sa.func.to_timestamp(plain, _TIMESTAMP)
            case ValueKind.INSTANT:
                local = sa.func.replace(plain, sa.literal_column("'+00:00'"))
                return sa.func.from_tz(sa.func.to_timestamp(local, _TIMESTAMP), sa.literal_column("'+00:00'"))
            case ValueKind.CHAR if isinstance(column.type, types.String) and column.type.length:
                letters = "NCHAR({})" if isinstance(column.type, types.NCHAR) else "CHAR({} CHAR)"  # not octets
                return sa.cast(plain, Named(letters.format(column.type.length)))
            case ValueKind.DECIMAL:
                return sa.func.to_number(plain)
            case _:
                return plain

    def comparable(self, column: Column, value: Value) -> Value:
        """See Database. A FLOAT is a NUMBER to Oracle, and is compared as one."""
        return repr(value) if column.kind is ValueKind.FLOAT and isinstance(value, float) else value

    def canonical(self, rows: Sequence[Row], columns: Sequence[Column]) -> Sequence[Row]:
        """Return rows with numbers in their canonical form."""
        return change_columns(rows, [(i, _CANONICAL[c.kind]) for i, c in enumerate(columns) if c.kind in _CANONICAL])

    @contextlib.contextmanager
    def unmoving(self, session: Session) -> Iterator[bool]:
        """See Database."""
        with self.translated():
            session.driver.autocommit = False
            session.cursor.execute("SET TRANSACTION READ ONLY")
        try:
            yield True
        finally:
            with contextlib.suppress(*self.errors):  # the connection may be lost; then nothing is left to end
                session.driver.rollback()
                session.driver.autocommit = True

    @property
    def errors(self) -> tuple[type[BaseException], ...]:
        """See Database."""
        return (self._driver.Error, OSError)

    def translate(self, error: BaseException, *, connecting: bool) -> HuitongError:
        """See Database. The detail `number` of a refusal is Oracle's, for those who know what to do about it."""
        found = _CODE.search(str(error))
        code = found.group() if found else ""
        if code in _TOO_OLD:
            return SourceRefused(
                N_("this version of Oracle needs the thick mode of the driver, which is not supported: {why}"),
                why=first_line(error),
            )
        if code in _TOO_SLOW:
            return too_slow(self._settings.statement_timeout.total_seconds())
        if _QUOTES_VALUES.fullmatch(code):
            return SourceRefused(why=code, number=code)
        if connecting or _PASSING.fullmatch(code) or isinstance(error, OSError):
            return unavailable(error)
        return SourceRefused(why=first_line(error), number=code)


def _shown(moment: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the text of a timestamp, its fraction without zeros at the end."""
    text = sa.func.to_char(moment, _TIMESTAMP)
    return sa.func.rtrim(sa.func.rtrim(text, sa.literal_column("'0'")), sa.literal_column("'.'"))


def _shown_otherwise(column: Column, expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    if isinstance(column.type, types.Interval | oracle.INTERVAL):
        return sa.func.to_char(expression)
    if isinstance(column.type, types.JSON):
        return sa.func.json_serialize(expression.op("RETURNING")(sa.literal_column("CLOB")))
    return expression


def _exact_values(driver: Any) -> Callable[[Any, Any], Any]:
    """Return the driver's hook that says how a column is fetched: numbers that may have a fraction as text, LOBs as values."""
    whole = {
        driver.DB_TYPE_CLOB: driver.DB_TYPE_LONG,
        driver.DB_TYPE_NCLOB: driver.DB_TYPE_LONG_NVARCHAR,
        driver.DB_TYPE_BLOB: driver.DB_TYPE_LONG_RAW,
    }

    def handler(cursor: Any, info: Any) -> Any:
        if info.type_code is driver.DB_TYPE_NUMBER and not (info.precision and info.scale == 0):
            return cursor.var(str, arraysize=cursor.arraysize)
        wanted = whole.get(info.type_code)
        return None if wanted is None else cursor.var(wanted, arraysize=cursor.arraysize)

    return handler


def _type_of(driver: Any, found: Any) -> types.TypeEngine[Any]:
    """Return the type of a result column; a number is whole where it has a precision and no fraction, as in `_exact_values`."""
    code = found.type_code
    if code is driver.DB_TYPE_NUMBER:
        whole = found.precision and found.scale == 0
        return oracle.NUMBER(found.precision, 0) if whole else oracle.NUMBER()  # type: ignore[no-untyped-call]
    if code in (driver.DB_TYPE_CHAR, driver.DB_TYPE_NCHAR):
        return (types.CHAR if code is driver.DB_TYPE_CHAR else types.NCHAR)(found.display_size)
    known: dict[Any, types.TypeEngine[Any]] = {
        driver.DB_TYPE_DATE: oracle.DATE(),
        driver.DB_TYPE_TIMESTAMP: oracle.TIMESTAMP(),
        driver.DB_TYPE_TIMESTAMP_TZ: oracle.TIMESTAMP(timezone=True),
        driver.DB_TYPE_TIMESTAMP_LTZ: oracle.TIMESTAMP(local_timezone=True),
        driver.DB_TYPE_BINARY_FLOAT: oracle.BINARY_FLOAT(),
        driver.DB_TYPE_BINARY_DOUBLE: oracle.BINARY_DOUBLE(),
        driver.DB_TYPE_RAW: oracle.RAW(),
        driver.DB_TYPE_BLOB: types.BLOB(),
        driver.DB_TYPE_INTERVAL_DS: types.Interval(),
        driver.DB_TYPE_JSON: types.JSON(),
    }
    return known.get(code, types.Text())


def _encryption(given: OracleConnection) -> dict[str, Any]:
    if given.tls == "disable":
        return {"protocol": "tcp"}
    context = ssl.create_default_context(cafile=str(given.ca) if given.ca else None)
    context.check_hostname = False  # the driver compares the name itself
    if given.tls == "require":
        context.verify_mode = ssl.CERT_NONE
    return {"protocol": "tcps", "ssl_context": context, "ssl_server_dn_match": given.tls == "verify-full"}


def plain_decimal(value: Value) -> Value:
    """Return a number as text without an exponent and with a digit before the point."""
    return format(Decimal(str(value)), "f") if isinstance(value, (int, float, str)) else value


def plain_float(value: Value) -> Value:
    """Return a number as floating point, and as text when JSON has no such number."""
    number = float(value) if isinstance(value, (int, float, str)) else math.nan
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _integer(value: Value) -> Value:
    return int(Decimal(value)) if isinstance(value, str) else value


_CANONICAL: Final[dict[ValueKind, Callable[[Value], Value]]] = {
    ValueKind.INTEGER: _integer,
    ValueKind.DECIMAL: plain_decimal,
    ValueKind.FLOAT: plain_float,
}
