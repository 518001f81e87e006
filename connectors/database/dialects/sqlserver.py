"""Microsoft SQL Server through pymssql.

Rules of this module come from Microsoft's and the driver's documents; it was never run against a server.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import sqlalchemy as sa
from sqlalchemy import types
from sqlalchemy.dialects import mssql, registry
from sqlalchemy.dialects.mssql.base import MSSQLCompiler
from sqlalchemy.dialects.mssql.pymssql import MSDialect_pymssql

from agent.errors import HuitongError, SourceRefused, SourceUnavailable
from agent.model import Value
from connectors.database.dialects.base import Row, Session, too_slow
from connectors.database.dialects.driven import DrivenDatabase
from connectors.database.servers import SqlServerConnection
from connectors.database.tables.result import ResultType, no_rows
from connectors.database.tables.table import Column, Table, ValueKind, column_expression, standard_kind

_SESSION: Final = (
    "SET LANGUAGE us_english; SET DATEFORMAT ymd; SET NOCOUNT ON; SET DEADLOCK_PRIORITY LOW; SET LOCK_TIMEOUT {timeout_ms}"
)
_SNAPSHOTS: Final = "SELECT snapshot_isolation_state FROM sys.databases WHERE database_id = DB_ID()"

_DESCRIBE: Final = (
    "SELECT name, system_type_name FROM sys.dm_exec_describe_first_result_set(:query, NULL, 0)"
    " WHERE is_hidden = 0 ORDER BY column_ordinal"
)

_TOO_SLOW: Final = frozenset({20003, 1222})

_PASSING: Final = frozenset(
    {
        *(233, 596, 976, 978, 979, 983, 1204, 1205, 3960, 3961, 4060, 6005, 6104, 6106),
        *(10053, 10054, 10060, 10928, 10929, 17830, 18456, 20002, 20004, 20006, 20009, 20017, 20020, 20047),
        *(40197, 40501, 40613, 49918, 49919, 49920),
    }
)
"""Numbers of errors that pass by themselves: network, locks, snapshots, shutdown, fail-over, limits of use, and logins."""

_QUOTES_VALUES: Final = frozenset({241, 242, 244, 245, 248, 295, 529, 547, 2601, 2627, 2628, 6522, 8114, 8115, 8152, 8169})
"""Numbers of errors whose messages may repeat values of rows. So may those from 50000 on, which procedures raise."""

_STYLES: Final = {ValueKind.DATE: 23, ValueKind.TIME: 121, ValueKind.TIMESTAMP: 126}
"""Numbers of the forms that CONVERT writes: those of ISO 8601."""

_ENCRYPTION: Final = {"disable": "off", "prefer": "request", "require": "require"}


class TopCompiler(MSSQLCompiler):
    """Writes a limit as TOP (…), which needs no order; SQLAlchemy itself allows that only for constants."""

    def get_select_precolumns(self, select: Any, **kw: Any) -> str:
        """Return what stands before the columns."""
        before = sa.sql.compiler.SQLCompiler.get_select_precolumns(self, select, **kw)
        return f"{before}TOP ({self.process(select._limit_clause, **kw)}) " if self._use_top(select) else before  # noqa: SLF001

    def _use_top(self, select: Any) -> bool:
        return select._limit_clause is not None and select._offset_clause is None  # noqa: SLF001


class SqlServerNames(MSDialect_pymssql):
    """SQLAlchemy's dialect with that compiler."""

    supports_statement_cache = True
    statement_compiler = TopCompiler

    def detect_autocommit_setting(self, dbapi_connection: Any) -> bool:  # noqa: ARG002 - SQLAlchemy's signature
        """Tell that every statement is a transaction of its own: we never connect in another way."""
        return True


class SqlServerDatabase(DrivenDatabase[SqlServerConnection]):
    """A database of SQL Server. The account needs CONNECT and SELECT on the tables.

    No session can be made read-only: ApplicationIntent=ReadOnly says what is meant, and lets an availability group answer
    from a replica. We send nothing but queries. Where the database allows snapshots, they neither wait nor make others wait.
    """

    name = "mssql"
    row_values: ClassVar[bool] = False  # there are none

    def __init__(
        self, settings: SqlServerConnection, password: str | None, application: str, time_zone: str, driver: Any
    ) -> None:
        self._snapshots = False
        super().__init__(settings, password, application, time_zone, driver)

    def sqlalchemy_url(self) -> str:
        """See Database."""
        registry.register("huitong.sqlserver", __name__, "SqlServerNames")
        return "huitong+sqlserver://"

    def connect_driver(self) -> Any:
        """See Database."""
        given = self._settings
        timeout_secs = given.statement_timeout.total_seconds()
        connection = self._driver.connect(
            server=given.host,
            port=str(given.port),
            user=given.user,
            password=self._password or "",
            database=given.database,
            timeout=max(1, round(timeout_secs)),
            login_timeout=max(1, round(given.connect_timeout.total_seconds())),
            charset="UTF-8",
            appname=self._application[:128],
            encryption=_ENCRYPTION[given.tls],
            read_only=True,
            autocommit=True,
        )
        cursor = connection.cursor()
        cursor.execute(_SESSION.format(timeout_ms=round(timeout_secs * 1000)))
        cursor.execute(_SNAPSHOTS)
        self._snapshots = (cursor.fetchone() or (0,))[0] == 1
        if self._snapshots:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL SNAPSHOT")
        cursor.close()
        return connection

    def fetch(self, session: Session, sql: str, parameters: Any) -> Sequence[Row]:
        """See Database. The server converts text to Unicode itself, so there is none that is not valid."""
        # Without parameters the driver leaves percent signs as they are, doubled.
        session.cursor.execute(sql if parameters else sql.replace("%%", "%"), parameters)
        return session.cursor.fetchall()  # type: ignore[no-any-return]

    def incarnation(self, session: Session) -> str:
        """Return the backup family and its fork, which replicas share and a restore changes; else what every account may see."""
        asked = (
            "SELECT CONVERT(char(36), family_guid) + '.' + CONVERT(char(36), recovery_fork_guid)"
            " FROM sys.database_recovery_status WHERE database_id = DB_ID()"
        )
        try:
            found = session.value(asked)
        except SourceRefused:
            found = None
        if found is None:
            found = session.value("SELECT CONVERT(char(36), service_broker_guid) FROM sys.databases WHERE database_id = DB_ID()")
        return f"mssql:{found}:{self._settings.database}"

    def utc_now(self, session: Session) -> datetime:
        """See Database."""
        return datetime.fromisoformat(session.value("SELECT CONVERT(varchar(27), SYSUTCDATETIME(), 126)")).replace(tzinfo=UTC)

    def estimate(self, session: Session, table: Table) -> int | None:
        """See Database; views have none."""
        asked = "SELECT SUM(rows) FROM sys.partitions WHERE object_id = OBJECT_ID(:name) AND index_id IN (0, 1)"
        found = session.value(asked, name=self.quoted(table))
        return int(found) if found else None

    def may_write(self, session: Session, table: Table) -> bool:
        """See Database."""
        rights = " + ".join(f"HAS_PERMS_BY_NAME(:name, 'OBJECT', '{right}')" for right in ("INSERT", "UPDATE", "DELETE"))
        return bool(session.value(f"SELECT {rights}", name=self.quoted(table)))

    def kind_of(self, type_: types.TypeEngine[Any]) -> ValueKind:
        """See Database. A rowversion (once called timestamp) is a number that grows with every change in the database."""
        if isinstance(type_, mssql.TIMESTAMP):
            return ValueKind.INTEGER
        if isinstance(type_, mssql.MONEY | mssql.SMALLMONEY):
            return ValueKind.DECIMAL
        if isinstance(type_, mssql.DATETIMEOFFSET):
            return ValueKind.INSTANT
        if isinstance(type_, types.NCHAR):
            return ValueKind.CHAR
        return standard_kind(type_)

    def show(self, column: Column) -> sa.ColumnElement[Any]:
        """See Database."""
        expression = column_expression(column)
        match column.kind:
            case ValueKind.INTEGER if isinstance(column.type, mssql.TIMESTAMP):
                return sa.cast(expression, types.BigInteger())
            case ValueKind.DECIMAL:
                style = 2 if isinstance(column.type, mssql.MONEY | mssql.SMALLMONEY) else 0  # money with all four digits
                return _convert("varchar(41)", expression, style)
            case ValueKind.DATE | ValueKind.TIME | ValueKind.TIMESTAMP:
                return _convert("varchar(27)", expression, _STYLES[column.kind])
            case ValueKind.INSTANT:
                moment = sa.func.switchoffset(expression, sa.literal_column("'+00:00'"))
                local = sa.cast(moment, _datetime2(_digits(column)))
                return _convert("varchar(27)", local, 126).concat(sa.literal_column("'+00:00'"))
            case _:
                return _shown_text(column, expression)

    def result_types(self, session: Session, table: Table) -> Sequence[ResultType]:
        """See Database. The driver's own description knows only numbers, text, times and octets."""
        session.page(no_rows(table, self.dialect))
        with self.translated():
            found = session.connection.execute(sa.text(_DESCRIBE), {"query": table.query}).fetchall()
        return [(str(name), _type_of(str(type_))) for name, type_ in found]

    def bind(self, column: Column, name: str) -> sa.ColumnElement[Any]:
        """See Database. The driver writes text as N'…': cast to the column's type, so that its index is used."""
        plain = super().bind(column, name)
        type_ = _compared_as(column)
        if isinstance(column.type, mssql.TIMESTAMP):
            return sa.cast(sa.cast(plain, types.BigInteger()), mssql.BINARY(8))
        if isinstance(column.type, mssql.SMALLDATETIME | mssql.DATETIME) and not isinstance(column.type, mssql.DATETIME2):
            return sa.cast(sa.cast(plain, _datetime2(3)), type_)  # a text with more digits is none of these
        return plain if isinstance(type_, types.NullType) else sa.cast(plain, type_)

    @contextlib.contextmanager
    def unmoving(self, session: Session) -> Iterator[bool]:
        """See Database. Only where the database allows snapshots."""
        if not self._snapshots:
            yield False
            return
        with self.translated():
            session.cursor.execute("BEGIN TRANSACTION")
        try:
            yield True
        finally:
            with contextlib.suppress(*self.errors):  # the connection may be lost; then nothing is left to end
                session.cursor.execute("IF @@TRANCOUNT > 0 COMMIT TRANSACTION")

    @property
    def errors(self) -> tuple[type[BaseException], ...]:
        """See Database."""
        return (self._driver.Error, OSError)

    def translate(self, error: BaseException, *, connecting: bool) -> HuitongError:
        """See Database. The detail `number` of a refusal is that of the server."""
        number, said = _said(error)
        if number in _TOO_SLOW and not connecting:
            return too_slow(self._settings.statement_timeout.total_seconds())
        if number in _QUOTES_VALUES or number >= 50_000:
            return SourceRefused(why=f"error {number}", number=number)
        if connecting or number in _PASSING or isinstance(error, (self._driver.InterfaceError, OSError)):
            return SourceUnavailable(why=said)
        return SourceRefused(why=said, number=number)


def _type_of(written: str) -> types.TypeEngine[Any]:
    """Return the type that the server writes, such as `decimal(10,2)` or `nvarchar(max)`."""
    word, _, rest = written.partition("(")
    made: Any = mssql.base.ischema_names.get(word)
    if made is None:
        return types.NullType()
    numbers = [int(number) for number in re.findall(r"\d+", rest)]
    if word in ("datetimeoffset", "datetime2", "time"):
        return made(precision=numbers[0] if numbers else None)  # type: ignore[no-any-return]
    sized = numbers and issubclass(made, types.String | types.Numeric) and not issubclass(made, types.Float)
    return made(*numbers) if sized else made()  # type: ignore[no-any-return]


def _convert(to: str, expression: sa.ColumnElement[Any], style: int) -> sa.ColumnElement[Any]:
    return sa.func.convert(sa.literal_column(to), expression, sa.literal_column(str(style)))


def _datetime2(digits: int) -> types.TypeEngine[Any]:
    made: types.TypeEngine[Any] = mssql.DATETIME2(digits)  # type: ignore[no-untyped-call]
    return made


def _digits(column: Column) -> int:
    found = getattr(column.type, "precision", None)
    return 7 if found is None else int(found)


def _shown_text(column: Column, expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return text as Unicode, whatever code page its column has, and what is not text but can be written as such."""
    if isinstance(column.type, types.Uuid):
        return _convert("char(36)", expression, 0)
    if column.kind is ValueKind.CHAR:
        return sa.func.rtrim(_unicode(column, expression))
    unicode = isinstance(column.type, types.Unicode | types.NVARCHAR | types.UnicodeText)
    if isinstance(column.type, mssql.XML | mssql.SQL_VARIANT) or (column.kind is ValueKind.TEXT and not unicode):
        return _unicode(column, expression)
    return expression


def _unicode(column: Column, expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    length = getattr(column.type, "length", None)
    fits = isinstance(length, int) and 0 < length <= 4000
    return sa.func.convert(sa.literal_column(f"nvarchar({length if fits else 'max'})"), expression)


def _compared_as(column: Column) -> types.TypeEngine[Any]:
    """Return the type a value is cast to before it is compared with the column; NullType for none."""
    type_, length = column.type, getattr(column.type, "length", None)
    match column.kind:
        case ValueKind.DECIMAL | ValueKind.DATE | ValueKind.TIME | ValueKind.TIMESTAMP | ValueKind.INSTANT:
            return type_
        case _ if isinstance(type_, types.Uuid):
            return mssql.UNIQUEIDENTIFIER()
        case ValueKind.CHAR | ValueKind.TEXT if isinstance(type_, types.VARCHAR | types.CHAR) and isinstance(length, int):
            # Without the collation of the column, which a cast cannot name: that of the column counts anyway.
            return types.CHAR(length) if isinstance(type_, types.CHAR) else types.VARCHAR(length)
        case _:
            return types.NullType()


def _said(error: BaseException) -> tuple[int, str]:
    """Return the number and the first useful line of an error; the driver packs them in several ways."""
    args: Any = error.args[0] if error.args and isinstance(error.args[0], tuple) else error.args
    number = args[0] if args and isinstance(args[0], int) else 0
    text: Value = args[1] if len(args) > 1 else str(error)
    whole = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    lines = [line for line in whole.splitlines() if line.strip() and not line.startswith("DB-Lib error message")]
    return number, lines[0].strip() if lines else type(error).__name__
