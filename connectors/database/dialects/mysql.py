"""MySQL and MariaDB through PyMySQL."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pymysql  # type: ignore[import-untyped]
import sqlalchemy as sa
from pymysql.constants import FIELD_TYPE, FLAG  # type: ignore[import-untyped]
from sqlalchemy import types
from sqlalchemy.dialects import mysql

from agent.errors import HuitongError, SourceRefused
from agent.model import Value
from connectors.database.dialects.base import Database, Row, Session, refused, too_slow, unavailable
from connectors.database.settings import MysqlConnection
from connectors.database.tables.table import Column, Table, ValueKind, column_expression, standard_kind

_DECODERS: Final[dict[Any, Callable[[str], Value]]] = {
    FIELD_TYPE.TINY: int,
    FIELD_TYPE.SHORT: int,
    FIELD_TYPE.INT24: int,
    FIELD_TYPE.LONG: int,
    FIELD_TYPE.LONGLONG: int,
    FIELD_TYPE.YEAR: int,
    FIELD_TYPE.FLOAT: float,
    FIELD_TYPE.DOUBLE: float,
}
"""Types that become Python values; all others come as the text the server writes, which keeps every digit and zero dates."""

_RESULTS: Final[dict[int, types.TypeEngine[Any]]] = {
    **dict.fromkeys(
        (FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG), types.BigInteger()
    ),
    FIELD_TYPE.FLOAT: types.Float(),
    FIELD_TYPE.DOUBLE: types.Double(),
    FIELD_TYPE.DATE: types.Date(),
    FIELD_TYPE.NEWDATE: types.Date(),
    FIELD_TYPE.TIME: types.Time(),
    FIELD_TYPE.DATETIME: types.DateTime(),
    FIELD_TYPE.TIMESTAMP: types.TIMESTAMP(),
    FIELD_TYPE.BIT: mysql.BIT(),
    FIELD_TYPE.STRING: types.Text(),  # an ENUM or SET
}
"""Types of result columns that are told by their number alone."""

_TEXTS: Final = frozenset(
    {
        *(FIELD_TYPE.VARCHAR, FIELD_TYPE.VAR_STRING, FIELD_TYPE.STRING),
        *(FIELD_TYPE.TINY_BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB, FIELD_TYPE.BLOB),
    }
)
_OCTETS: Final = 63
"""The number of the character set of what is not text."""

_PASSING: Final = frozenset(
    {1040, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1226, 1927, 2003, 2006, 2013, 2055}
)
"""Numbers of errors that pass by themselves: shutdown, connections, network, locks, limits of use."""

_TOO_SLOW: Final = frozenset({1969, 3024})

_QUOTES_VALUES: Final = frozenset({1062, 1264, 1292, 1366, 1406, 1411, 1690})
"""Numbers of errors whose messages repeat values of rows."""

_ENCODERS: Final = {kind: pymysql.converters.encoders[kind] for kind in (str, bytes, int, float, bool, type(None))}


class MysqlDatabase(Database):
    """A MySQL or MariaDB database. The account needs nothing but SELECT."""

    name = "mysql"
    row_values = False  # the optimiser uses no index range for (a, b) > (x, y)

    def __init__(self, settings: MysqlConnection, password: str | None, time_zone: str) -> None:
        self._settings = settings
        self.account = settings.user
        self._password = password
        super().__init__(time_zone)

    def sqlalchemy_url(self) -> str:
        """See Database."""
        return "mysql+pymysql://"

    def connect_driver(self) -> Any:
        """See Database."""
        given = self._settings
        timeout_secs = given.statement_timeout.total_seconds()
        connection = pymysql.connect(
            host="localhost" if given.host.startswith("/") else given.host,
            unix_socket=given.host if given.host.startswith("/") else None,
            port=given.port,
            user=given.user,
            password=self._password or "",
            database=given.database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=max(1, round(given.connect_timeout.total_seconds())),
            read_timeout=timeout_secs + 15,  # the server's own limit speaks first
            write_timeout=30,
            local_infile=False,
            conv={**_ENCODERS, **_DECODERS},
            # Before the dialect looks: other modes change quoting, padding and what backslashes mean.
            init_command="SET SESSION sql_mode = '', time_zone = '+00:00'",
            **_encryption(given),
        )
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            cursor.execute(_limit_of_statements(connection.server_version, timeout_secs))
        return connection

    def fetch(self, session: Session, sql: str, parameters: Any) -> Sequence[Row]:
        """See Database. The server converts to UTF-8 itself, so there is no text that is not valid."""
        session.cursor.execute(sql, parameters)
        return session.cursor.fetchall()  # type: ignore[no-any-return]

    def incarnation(self, session: Session) -> str:
        """Return the UUID of the server, on MariaDB, which has none, host, port and data directory; and the database."""
        if self.dialect.is_mariadb:  # type: ignore[attr-defined]
            server = session.value("SELECT CONCAT_WS(':', @@hostname, @@port, @@datadir)")
        else:
            server = session.value("SELECT @@server_uuid")
        return f"mysql:{server}:{self._settings.database}"

    def utc_now(self, session: Session) -> datetime:
        """See Database."""
        return datetime.fromisoformat(str(session.value("SELECT CAST(UTC_TIMESTAMP(6) AS CHAR)"))).replace(tzinfo=UTC)

    def estimate(self, session: Session, table: Table) -> int | None:
        """See Database."""
        found = session.value(
            "SELECT table_rows FROM information_schema.tables WHERE table_schema = :schema AND table_name = :name",
            schema=table.schema or self._settings.database,
            name=table.name,
        )
        return int(found) if found else None

    def kind_of(self, type_: types.TypeEngine[Any]) -> ValueKind:
        """See Database. A TIMESTAMP is a moment, shown in the zone of the session; a DATETIME is not."""
        return ValueKind.INSTANT if isinstance(type_, types.TIMESTAMP) else standard_kind(type_)

    def show(self, column: Column) -> sa.ColumnElement[Any]:
        """See Database. A zero date is `0000-00-00` in every type."""
        expression = column_expression(column)
        if isinstance(column.type, mysql.BIT):
            return expression + sa.literal_column("0")
        if column.kind not in (ValueKind.TIMESTAMP, ValueKind.INSTANT):
            return expression
        iso: sa.ColumnElement[Any] = sa.func.replace(expression, sa.literal_column("' '"), sa.literal_column("'T'"))
        if column.kind is ValueKind.INSTANT:  # the session is in UTC
            iso = sa.func.concat(iso, sa.literal_column("'+00:00'"))
        zero = sa.func.date(expression) == sa.literal_column("0")
        return sa.case((zero, sa.literal_column("'0000-00-00'")), else_=iso)

    def result_type(self, session: Session, found: Any) -> types.TypeEngine[Any]:
        """See Database. What tells octets from text is only in the driver's own description."""
        fields = session.cursor._result.fields  # noqa: SLF001
        return _type_of(next(field for field in fields if field.name == found[0]))

    def digest(self, columns: Sequence[Column]) -> sa.ColumnElement[Any]:
        """See Database: 64 bits of the MD5 of each row, combined by exclusive or, which does not depend on the order.

        A row too long for one packet has no checksum; a random one in its place lets the part be read.
        """
        shown = [column_expression(column) for column in columns]
        parts = [
            sa.func.coalesce(sa.func.concat(sa.func.length(c), sa.literal_column("':'"), c), sa.literal_column("'-'"))
            for c in shown
        ]
        row = sa.func.left(sa.func.md5(sa.func.concat(*parts)), 16)
        bits = sa.func.conv(row, 16, 10).cast(mysql.BIGINT(unsigned=True))
        odd = (sa.func.rand() * sa.literal_column("1e18")).cast(mysql.BIGINT(unsigned=True))
        return sa.func.bit_xor(sa.func.coalesce(bits, odd))

    @contextlib.contextmanager
    def unmoving(self, session: Session) -> Iterator[bool]:
        """See Database."""
        with self.translated():
            session.cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        try:
            yield True
        finally:
            with contextlib.suppress(pymysql.Error, OSError):  # the connection may be lost; then nothing is left to end
                session.cursor.execute("COMMIT")

    def bind(self, column: Column, name: str) -> sa.ColumnElement[Any]:
        """See Database. Decimals are cast, otherwise MySQL compares them as floating point."""
        plain = super().bind(column, name)
        return sa.cast(plain, column.type) if column.kind is ValueKind.DECIMAL else plain

    def comparable(self, column: Column, value: Value) -> Value:
        """See Database. MariaDB takes no offset in a literal; the session is in UTC."""
        if column.kind is ValueKind.INSTANT and isinstance(value, str):
            return value.removesuffix("+00:00")
        return value

    @property
    def errors(self) -> tuple[type[BaseException], ...]:
        """See Database."""
        return (pymysql.Error, OSError)

    def translate(self, error: BaseException, *, connecting: bool) -> HuitongError:
        """See Database."""
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if number in _TOO_SLOW:
            return too_slow(self._settings.statement_timeout.total_seconds())
        if number in _QUOTES_VALUES:
            return SourceRefused(why=f"error {number}")
        passing = connecting or number in _PASSING or isinstance(error, (pymysql.InterfaceError, OSError))
        return unavailable(_Said(error)) if passing else refused(_Said(error))


class _Said(Exception):
    """What the server said, without the number in front."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error.args[1]) if len(error.args) > 1 else str(error))


def _type_of(field: Any) -> types.TypeEngine[Any]:
    """Return the type of a result column, as the server describes it."""
    code = field.type_code
    if code in (FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL):
        signs = (field.scale > 0) + (not field.flags & FLAG.UNSIGNED)  # its length counts point and sign
        return types.Numeric(min(max(field.length - signs, 1), 65), field.scale)
    if code in _TEXTS and not field.flags & (FLAG.ENUM | FLAG.SET):
        if field.charsetnr == _OCTETS:
            return types.LargeBinary()
        return types.CHAR() if code == FIELD_TYPE.STRING else types.Text()
    return _RESULTS.get(code, types.NullType())


def _limit_of_statements(server_version: str, timeout_secs: float) -> str:
    if "MariaDB" in server_version:
        return f"SET SESSION max_statement_time = {timeout_secs:g}"
    return f"SET SESSION max_execution_time = {round(timeout_secs * 1000)}"


def _encryption(given: MysqlConnection) -> dict[str, Any]:
    """Return the driver's TLS options. `prefer` is what it does when nothing is said: encrypt if the server can."""
    if given.tls in ("disable", "prefer"):
        return {"ssl_disabled": True} if given.tls == "disable" else {}
    context = ssl.create_default_context(cafile=str(given.ca) if given.ca else None)
    context.check_hostname = given.tls == "verify-full"
    if given.tls == "require":
        context.verify_mode = ssl.CERT_NONE
    return {"ssl": context}
