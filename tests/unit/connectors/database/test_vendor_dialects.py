"""Databases of which no server is at hand: the SQL that is made for them, and what is made of what their drivers say."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy import exc, types
from sqlalchemy.dialects import mssql, oracle, postgresql

from agent.errors import HuitongError, SettingsError, SourceRefused, SourceUnavailable
from connectors.database.connect import database_for
from connectors.database.dialects import dameng, kingbase
from connectors.database.dialects.base import Database
from connectors.database.dialects.dameng import DamengDatabase, DamengNames
from connectors.database.dialects.kingbase import KingbaseDatabase, PostgresNames
from connectors.database.dialects.oceanbase import OceanbaseDatabase
from connectors.database.dialects.opengauss import OpengaussDatabase
from connectors.database.dialects.oracle import OracleDatabase
from connectors.database.dialects.sqlserver import SqlServerDatabase
from connectors.database.servers import (
    DamengConnection,
    KingbaseConnection,
    OceanbaseConnection,
    OpengaussConnection,
    OracleConnection,
    SqlServerConnection,
)
from connectors.database.settings import ServerConnection
from connectors.database.tables.pages import Pages, Shape, prepare
from connectors.database.tables.table import Column, Table, ValueKind, column_expression

LOGIN: dict[str, Any] = {"host": "db", "user": "reader"}

SETTINGS: dict[str, ServerConnection] = {
    "oracle": OracleConnection(type="oracle", database="PDB", **LOGIN),
    "sqlserver": SqlServerConnection(type="sqlserver", database="reg", **LOGIN),
    "dameng": DamengConnection(type="dameng", database="REG", **LOGIN),
    "kingbase": KingbaseConnection(type="kingbase", database="reg", **LOGIN),
    "opengauss": OpengaussConnection(type="opengauss", database="reg", **LOGIN),
    "oceanbase": OceanbaseConnection(type="oceanbase", database="reg", host="db", user="reader@tenant"),
}

MODULES = {
    "oracle": ("oracledb", "named"),
    "sqlserver": ("pymssql", "pyformat"),
    "dameng": ("dmPython", "qmark"),
    "kingbase": ("ksycopg2", "pyformat"),
    "opengauss": ("psycopg2", "pyformat"),
}


class DriverError(Exception):
    kbcode: str | None = None


class LostError(DriverError):
    pass


class Cursor:
    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.outputtypehandler: Any = None
        self.arraysize = 1

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, sql: str, parameters: Any = None) -> None:
        self.driver.executed.append((sql, parameters) if parameters is not None else sql)

    def fetchone(self) -> Any:
        return self.driver.answers.pop(0) if self.driver.answers else None

    def fetchall(self) -> Any:
        return self.driver.answers

    def var(self, type_: object, arraysize: int) -> object:
        return type_, arraysize

    def close(self) -> None:
        pass


class Driver(ModuleType):
    """A DB-API module that connects to nothing."""

    Error = DriverError
    DatabaseError = DriverError
    OperationalError = LostError
    InterfaceError = LostError
    version = __version__ = "26.1.0"

    def __init__(self, name: str = "driver", paramstyle: str = "named") -> None:
        super().__init__(name)
        self.paramstyle = paramstyle
        self.executed: list[Any] = []
        self.answers: list[Any] = []
        self.connected: dict[str, Any] = {}
        self.server_version = "19.3.0.0.0"

    def __getattr__(self, name: str) -> str:
        if name.isupper() and not name.startswith("_"):
            return name
        raise AttributeError(name)

    def connect(self, **given: Any) -> Any:
        self.connected = given
        return SimpleNamespace(cursor=lambda: Cursor(self), version=self.server_version)


def driver_of(kind: str) -> Driver:
    return Driver(*MODULES[kind])


def database(kind: str, driver: Driver | None = None) -> Any:
    made: dict[str, Any] = {
        "oracle": OracleDatabase,
        "sqlserver": SqlServerDatabase,
        "dameng": DamengDatabase,
        "kingbase": KingbaseDatabase,
        "opengauss": OpengaussDatabase,
    }
    if kind == "oceanbase":
        return OceanbaseDatabase(SETTINGS[kind], "secret", "UTC")  # type: ignore[arg-type]
    return made[kind](SETTINGS[kind], "secret", "huitong tax", "Asia/Shanghai", driver or driver_of(kind))


def column(name: str, *, nullable: bool = False) -> Column:
    return Column(name, ValueKind.TEXT, types.Text(), nullable, "")


def pages(made: Database, *, where: str | None = None) -> Pages:
    columns = {name: column(name) for name in ("a", "b", "c")}
    return Pages(
        Shape(
            table=Table("S", "T", columns, ("a", "b"), (frozenset({"a", "b"}),), (("a", "b"),), ""),
            columns=tuple(columns.values()),
            key=(columns["a"], columns["b"]),
            cursor=columns["c"],
            where=where,
            dialect=made.dialect,
            row_values=made.row_values,
            show=column_expression,
            bind=lambda _column, name: sa.bindparam(name, type_=types.NullType()),
            index={name: index for index, name in enumerate(columns)},
        )
    )


def sql(text: str) -> str:
    return " ".join(text.split())


def shown_and_bound(made: Database, type_: types.TypeEngine[Any]) -> tuple[ValueKind, str, str]:
    """Return kind, what is selected and what is compared for a column of this type."""
    c = Column("c", made.kind_of(type_), type_, False, "")
    statement = prepare(sa.select(made.show(c).label("x")).where(column_expression(c) > made.bind(c, "v")), made.dialect)
    before, _, after = sql(statement.sql).partition(" WHERE ")
    shown = before.removeprefix("SELECT ").removesuffix(" FROM DUAL").rpartition(" AS ")[0]
    return c.kind, shown, after.partition(" > ")[2]


class Asked:
    """A session that knows the answers to some questions, and refuses the others."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers

    def value(self, question: str, **_values: str) -> Any:
        for part, answer in self.answers.items():
            if part in question:
                return answer
        raise SourceRefused(why="no such thing")


# -- drivers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_a_missing_driver_is_named_with_what_installs_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which package, and the extra of ours that brings it."""
    module = "pymysql" if kind == "oceanbase" else MODULES[kind][0]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError) as caught:
        database_for(SETTINGS[kind], lambda name: name, "UTC")
    _, hint = caught.value.localised()
    extra = "mysql" if kind == "oceanbase" else kind
    assert f"huitong[{extra}]" in hint


@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_every_connection_has_its_database(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings alone say which database is meant; nothing is connected to."""
    if kind in MODULES:
        monkeypatch.setitem(sys.modules, MODULES[kind][0], driver_of(kind))
    assert type(database_for(SETTINGS[kind], lambda name: name, "UTC")) is type(database(kind))


def test_oracle_sessions_speak_one_language() -> None:
    """Time zone, separators, order and limits do not depend on the server; from version 23 on they cannot write."""
    driver = driver_of("oracle")
    connection = database("oracle", driver).connect_driver()
    assert driver.connected["service_name"] == "PDB"
    assert driver.connected["protocol"] == "tcp"
    assert (connection.call_timeout, connection.module, connection.autocommit) == (120_000, "huitong tax", True)
    assert "TIME_ZONE = '+00:00' NLS_NUMERIC_CHARACTERS = '.,'" in driver.executed[0]
    assert len(driver.executed) == 1
    driver.server_version = "23.4.0.24.05"
    database("oracle", driver).connect_driver()
    assert driver.executed[-1] == "ALTER SESSION SET READ_ONLY = TRUE"


def test_sql_server_sessions_read_snapshots_where_they_may() -> None:
    """They say that they only read, and wait for nobody if the database allows it."""
    driver = driver_of("sqlserver")
    driver.answers = [(1,)]
    database("sqlserver", driver).connect_driver()
    assert driver.connected["read_only"] is True
    assert driver.connected["encryption"] == "request"
    assert driver.executed[-1] == "SET TRANSACTION ISOLATION LEVEL SNAPSHOT"
    driver.answers = [(0,)]
    database("sqlserver", driver).connect_driver()
    assert driver.executed[-1] != "SET TRANSACTION ISOLATION LEVEL SNAPSHOT"


def test_dameng_sessions_are_read_only() -> None:
    """The driver is told so, with the limits and the character set."""
    driver = driver_of("dameng")
    database("dameng", driver).connect_driver()
    assert driver.connected["access_mode"] == "DSQL_MODE_READ_ONLY"
    assert driver.connected["schema"] == "REG"
    assert driver.connected["connection_timeout"] == 120
    assert driver.executed == ["SET TIME ZONE '+00:00'"]


def test_sessions_of_descendants_of_postgresql_are_read_only() -> None:
    """As those of PostgreSQL itself: no writing, UTC, ISO dates, a limit for statements."""
    driver = driver_of("kingbase")
    connection = database("kingbase", driver).connect_driver()
    assert connection.autocommit is True
    assert driver.connected["application_name"] == "huitong tax"
    assert driver.executed[0] == "SET default_transaction_read_only = on"
    assert driver.executed[-1] == "SET statement_timeout = 120000"


class Reflecting(Cursor):
    """A cursor that tells SQLAlchemy what it asks of a new connection."""

    connection = SimpleNamespace(notices=None)
    description = (("X", None, None, None, None, None, None),)
    rowcount = -1

    def execute(self, sql: str, parameters: Any = None) -> None:
        super().execute(sql, parameters)
        known = {"@@version": "Microsoft SQL Server 2019 - 15.0.2000.5", "1.1 FROM": "1.1", "ISOLATION_LEVEL\n": "SNAPSHOT"}
        named = next((value for part, value in known.items() if part in sql), None)
        self.driver.answers = [(named or ("REG" if "schema" in sql else 1),)]


class Opened:
    """A connection of such a driver."""

    version = "19.3.0"
    current_schema = "REG"
    max_identifier_length = 128

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.closed = False
        self.autocommit: Any = lambda _value: None

    def cursor(self) -> Cursor:
        return Reflecting(self.driver)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("kind", ["oracle", "sqlserver", "dameng", "kingbase"])
def test_sessions_open_and_close_through_sqlalchemy(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each dialect finds the schema of the session, takes parameters in the form of its driver, and never rolls back."""
    driver = driver_of(kind)
    opened = Opened(driver)
    monkeypatch.setattr(driver, "connect", lambda **_given: opened, raising=False)
    session = database(kind, driver).connect()
    assert session.inspector.default_schema_name == "REG"
    assert session.value("SELECT x WHERE a = :b AND b = :c", b="1", c="2") == 1
    expected = {
        "oracle": ("SELECT x WHERE a = :b AND b = :c", {"b": "1", "c": "2"}),
        "dameng": ("SELECT x WHERE a = ? AND b = ?", ("1", "2")),
    }
    assert driver.executed[-1] == expected.get(kind, ("SELECT x WHERE a = %(b)s AND b = %(c)s", {"b": "1", "c": "2"}))
    session.close()
    assert opened.closed


# -- statements ------------------------------------------------------------------------------------------------------


def test_oracle_pages_stop_at_a_row_number() -> None:
    """ROWNUM outside of the order, names quoted as in the catalogue, comparisons of several columns spelt out."""
    made = pages(database("oracle"))
    assert sql(made.load(resumed=True).sql) == (
        'SELECT * FROM (SELECT "a", "b", "c" FROM "S"."T" WHERE "a" >= :k0 AND ("a" > :k0 OR "a" = :k0 AND "b" > :k1)'
        ' ORDER BY "a", "b") WHERE ROWNUM <= :limit'
    )
    assert sql(made.any_null((column("c"),)).sql) == ('SELECT * FROM (SELECT 1 FROM "S"."T" WHERE "c" IS NULL) WHERE ROWNUM <= 1')


def test_sql_server_pages_are_the_top() -> None:
    """TOP takes a parameter and needs no order."""
    made = pages(database("sqlserver"), where="zt <> 9")
    assert (
        sql(made.load(resumed=False).sql) == "SELECT TOP (%(limit)s) [a], [b], [c] FROM [S].[T] WHERE (zt <> 9) ORDER BY [a], [b]"
    )
    assert sql(made.keyless().sql) == (
        "SELECT TOP (%(limit)s) [a], [b], [c] FROM [S].[T] WHERE ([a] IS NULL OR [b] IS NULL) AND (zt <> 9)"
    )


def test_dameng_pages_take_their_parameters_in_order() -> None:
    """As for Oracle, with question marks, the limit last."""
    statement = pages(database("dameng")).load(resumed=True)
    assert statement.parameters({"k0": "A", "k1": "B", "limit": 9}) == ("A", "A", "A", "B", 9)
    assert sql(statement.sql).endswith("WHERE ROWNUM <= ?")


@pytest.mark.parametrize("kind", ["kingbase", "opengauss"])
def test_descendants_of_postgresql_page_as_it_does(kind: str) -> None:
    """Row values and LIMIT."""
    assert sql(pages(database(kind)).load(resumed=True).sql) == (
        'SELECT "a", "b", "c" FROM "S"."T" WHERE ("a", "b") > (%(k0)s, %(k1)s) ORDER BY "a", "b" LIMIT %(limit)s'
    )


@pytest.mark.parametrize("kind", ["oracle", "sqlserver", "dameng", "kingbase"])
def test_no_quote_ends_a_name(kind: str) -> None:
    """Quotes within a name are doubled in the words of each database."""
    made = database(kind)
    first, last = ("[", "]") if kind == "sqlserver" else ('"', '"')
    name = f"a{last}; DROP TABLE t --"
    found = prepare(sa.select(column_expression(column(name))), made.dialect).sql
    assert first + name.replace(last, last * 2) + last in found


ORACLE_DATE = "'YYYY-MM-DD\"T\"HH24:MI:SS'"
ORACLE_TIME = "'YYYY-MM-DD\"T\"HH24:MI:SS.FF9'"


@pytest.mark.parametrize(
    "type_, expected",
    [
        (oracle.DATE(), ("timestamp", f'to_char("c", {ORACLE_DATE})', f"to_date(substr(:v, 1, 19), {ORACLE_DATE})")),
        (
            oracle.TIMESTAMP(),
            ("timestamp", f"rtrim(rtrim(to_char(\"c\", {ORACLE_TIME}), '0'), '.')", f"to_timestamp(:v, {ORACLE_TIME})"),
        ),
        (
            oracle.TIMESTAMP(timezone=True),
            (
                "instant",
                f"rtrim(rtrim(to_char(sys_extract_utc(\"c\"), {ORACLE_TIME}), '0'), '.') || '+00:00'",
                f"from_tz(to_timestamp(replace(:v, '+00:00'), {ORACLE_TIME}), '+00:00')",
            ),
        ),
        (oracle.NUMBER(12, 0), ("integer", '"c"', ":v")),
        (oracle.NUMBER(12, 2), ("decimal", '"c"', "to_number(:v)")),
        (types.CHAR(5), ("char", 'rtrim("c")', "CAST(:v AS CHAR(5 CHAR))")),
        (types.NCHAR(5), ("char", 'rtrim("c")', "CAST(:v AS NCHAR(5))")),
        (oracle.RAW(16), ("binary", '"c"', ":v")),
        (oracle.INTERVAL(), ("other", 'to_char("c")', ":v")),
    ],
)
def test_oracle_values_are_canonical_and_compared_as_their_own_type(
    type_: types.TypeEngine[Any], expected: tuple[str, str, str]
) -> None:
    """A DATE has a time, moments are in UTC, padding goes, and no conversion keeps an index from being used."""
    assert shown_and_bound(database("oracle"), type_) == expected


@pytest.mark.parametrize(
    "type_, expected",
    [
        (
            mssql.DATETIMEOFFSET(7),
            (
                "instant",
                "convert(varchar(27), CAST(switchoffset([c], '+00:00') AS DATETIME2(7)), 126) + '+00:00'",
                "CAST(%(v)s AS DATETIMEOFFSET(7))",
            ),
        ),
        (mssql.DATETIME2(7), ("timestamp", "convert(varchar(27), [c], 126)", "CAST(%(v)s AS DATETIME2(7))")),  # type: ignore[no-untyped-call]
        (mssql.DATETIME(), ("timestamp", "convert(varchar(27), [c], 126)", "CAST(CAST(%(v)s AS DATETIME2(3)) AS DATETIME)")),
        (types.DATE(), ("date", "convert(varchar(27), [c], 23)", "CAST(%(v)s AS DATE)")),
        (mssql.MONEY(), ("decimal", "convert(varchar(41), [c], 2)", "CAST(%(v)s AS MONEY)")),
        (types.NUMERIC(9, 2), ("decimal", "convert(varchar(41), [c], 0)", "CAST(%(v)s AS NUMERIC(9, 2))")),
        (mssql.UNIQUEIDENTIFIER(), ("other", "convert(char(36), [c], 0)", "CAST(%(v)s AS UNIQUEIDENTIFIER)")),
        (mssql.ROWVERSION(), ("integer", "CAST([c] AS BIGINT)", "CAST(CAST(%(v)s AS BIGINT) AS BINARY(8))")),
        (mssql.BIT(), ("boolean", "[c]", "%(v)s")),
        (types.NVARCHAR(20), ("text", "[c]", "%(v)s")),
        (types.VARCHAR(20, "Chinese_PRC_CI_AS"), ("text", "convert(nvarchar(20), [c])", "CAST(%(v)s AS VARCHAR(20))")),
        (types.CHAR(5), ("char", "rtrim(convert(nvarchar(5), [c]))", "CAST(%(v)s AS CHAR(5))")),
        (mssql.XML(), ("text", "convert(nvarchar(max), [c])", "%(v)s")),
    ],
)
def test_sql_server_values_are_canonical_and_compared_as_their_own_type(
    type_: types.TypeEngine[Any], expected: tuple[str, str, str]
) -> None:
    """Every digit of a time and of money, text as Unicode, a rowversion as a number, and casts on the side of the value."""
    assert shown_and_bound(database("sqlserver"), type_) == expected


@pytest.mark.parametrize(
    "type_, expected",
    [
        (
            types.DateTime(timezone=True),
            ("instant", '"c"', "CAST(replace(replace(?, 'T', ' '), '+00:00', ' +00:00') AS TIMESTAMP(6) WITH TIME ZONE)"),
        ),
        (types.DateTime(), ("timestamp", '"c"', "CAST(replace(?, 'T', ' ') AS TIMESTAMP(6))")),
        (types.CHAR(5), ("char", 'rtrim("c")', "?")),
        (types.Numeric(9, 2), ("decimal", '"c"', "to_number(?)")),
    ],
)
def test_dameng_values_are_compared_as_their_own_type(type_: types.TypeEngine[Any], expected: tuple[str, str, str]) -> None:
    """Times are cast from the form that its documents give."""
    assert shown_and_bound(database("dameng"), type_) == expected


@pytest.mark.parametrize(
    "written, kind, shown",
    [
        ("timestamp(3) with time zone", "instant", "replace(replace(CAST(\"c\" AS TEXT), ' ', 'T'), '+00', '+00:00')"),
        ("timestamp without time zone", "timestamp", "replace(CAST(\"c\" AS TEXT), ' ', 'T')"),
        ("date", "date", "replace(CAST(\"c\" AS TEXT), ' ', 'T')"),
        ("numeric(10,2)", "decimal", 'CAST("c" AS TEXT)'),
        ("character(6)", "char", 'rtrim(CAST("c" AS TEXT))'),
        ("character(6 char)", "char", 'rtrim(CAST("c" AS TEXT))'),
        ("integer", "integer", '"c"'),
        ("money", "other", 'CAST(CAST("c" AS NUMERIC) AS TEXT)'),
        ("jsonb", "other", 'CAST("c" AS TEXT)'),
    ],
)
def test_kingbase_types_are_read_as_they_are_written(written: str, kind: str, shown: str) -> None:
    """From the words of format_type; what is not known comes as text."""
    found = shown_and_bound(database("kingbase"), kingbase.type_of(written))
    assert found == (kind, shown, "%(v)s")


# -- values ----------------------------------------------------------------------------------------------------------


def test_oracle_numbers_are_never_floating_point() -> None:
    """What may have a fraction is fetched as text, large objects as values, the rest as the driver does."""
    cursor = database("oracle").reader(SimpleNamespace(cursor=lambda: Cursor(driver_of("oracle"))))

    def fetched(code: str, precision: int = 0, scale: int = 0) -> object:
        return cursor.outputtypehandler(cursor, SimpleNamespace(type_code=code, precision=precision, scale=scale))

    assert fetched("DB_TYPE_NUMBER", 12, 2) == (str, 1000)
    assert fetched("DB_TYPE_NUMBER", 0, -127) == (str, 1000)
    assert fetched("DB_TYPE_NUMBER", 12, 0) is None
    assert fetched("DB_TYPE_CLOB") == ("DB_TYPE_LONG", 1000)
    assert fetched("DB_TYPE_BLOB") == ("DB_TYPE_LONG_RAW", 1000)
    assert fetched("DB_TYPE_VARCHAR") is None


def test_oracle_numbers_have_one_form() -> None:
    """No exponent, a digit before the point, whole numbers as such, and no number that JSON does not have."""
    kinds = (ValueKind.DECIMAL, ValueKind.INTEGER, ValueKind.FLOAT)
    columns = [Column("c", kind, types.NullType(), True, "") for kind in kinds]
    rows = [(".5", "7", "1.25"), ("1E+3", 8, float("nan")), (None, None, None)]
    assert database("oracle").canonical(rows, columns) == [("0.5", 7, 1.25), ("1000", 8, "NaN"), (None, None, None)]


def test_dameng_values_become_ours() -> None:
    """Decimals without an exponent, times in ISO form and UTC, large objects read."""
    driver = driver_of("dameng")
    east = timezone(timedelta(hours=8))
    driver.answers = [
        (
            Decimal("1E+3"),
            datetime(2026, 11, 1, 8, tzinfo=east),
            datetime.fromisoformat("2026-11-01T08:00:00.000005"),
            date(2026, 1, 2),
            None,
        ),
        (1, SimpleNamespace(read=lambda: b"\xff"), bytearray(b"x"), "text", True),
    ]
    rows = database("dameng").fetch(SimpleNamespace(cursor=Cursor(driver)), "SELECT", ())
    assert rows == [
        ("1000", "2026-11-01T00:00:00+00:00", "2026-11-01T08:00:00.000005", "2026-01-02", None),
        (1, b"\xff", b"x", "text", True),
    ]
    moment = Column("c", ValueKind.INSTANT, types.DateTime(timezone=True), True, "")
    assert database("dameng").canonical([("2026-11-01 08:00:00.5 +08:00",)], [moment]) == [("2026-11-01T00:00:00.500000+00:00",)]


@pytest.mark.parametrize(
    "given, expected",
    [
        (("NUMBER", 22, 12, 2), "NUMERIC(12, 2)"),
        (("NUMBER", 22, 12, 0), "INTEGER"),
        (("VARCHAR2", 20, None, None), "VARCHAR(20)"),
        (("TIMESTAMP(6) WITH TIME ZONE", 10, None, None), "DATETIME"),
        (("DATETIME(6)", 8, None, None), "DATETIME"),
        (("VECTOR", 8, None, None), "VECTOR"),
    ],
)
def test_dameng_types_are_read_from_its_catalogue(given: tuple[Any, ...], expected: str) -> None:
    """What is not known keeps its name and comes as text."""
    assert str(dameng.type_of(*given)) == expected


class Catalogue:
    """A connection whose statements are answered by a part of their text."""

    def __init__(self, answers: dict[str, Sequence[Any]]) -> None:
        self.answers = answers
        self.asked: list[Any] = []

    def execute(self, statement: Any, values: dict[str, str]) -> Any:
        self.asked.append(values)
        found = next((rows for part, rows in self.answers.items() if part in str(statement)), ())
        return SimpleNamespace(fetchall=lambda: found)


def test_dameng_tables_are_read_from_its_views() -> None:
    """Columns, primary key and indexes by the names of the catalogue, in the schema of the session unless one is given."""
    known = DamengNames(dbapi=driver_of("dameng"))
    known.default_schema_name = "REG"
    catalogue = Catalogue(
        {
            "all_tab_columns": [("ID", "BIGINT", 8, 19, 0, "N"), ("名称", "VARCHAR", 50, None, None, "Y")],
            "all_col_comments": [("ID", "number")],
            "all_constraints": [("PK", "ID")],
            "all_indexes": [("IX", "名称", "NONUNIQUE"), ("IX", "ID", "NONUNIQUE")],
        }
    )
    columns = known.get_columns(catalogue, "QSZT")
    assert [(c["name"], str(c["type"]), c["nullable"], c["comment"]) for c in columns] == [
        ("ID", "BIGINT", False, "number"),
        ("名称", "VARCHAR(50)", True, ""),
    ]
    assert catalogue.asked[0] == {"owner": "REG", "name": "QSZT"}
    assert known.get_pk_constraint(catalogue, "QSZT", "S")["constrained_columns"] == ["ID"]
    assert known.get_indexes(catalogue, "QSZT")[0]["column_names"] == ["名称", "ID"]
    with pytest.raises(exc.NoSuchTableError):
        known.get_columns(Catalogue({}), "QSZT")


def test_descendants_of_postgresql_tell_their_tables_in_old_words() -> None:
    """An index on an expression names no column, and a partial one is marked as such."""
    known = PostgresNames(dbapi=driver_of("kingbase"))
    known.default_schema_name = "public"
    catalogue = Catalogue(
        {
            "pg_attribute": [(1, "id", "bigint", True, None), (3, "gx", "timestamp with time zone", False, "time of change")],
            "pg_index": [("pk", True, True, False, "1"), ("ix", False, False, False, "0 3"), ("some", True, False, True, "3")],
        }
    )
    assert [c["nullable"] for c in known.get_columns(catalogue, "t")] == [False, True]
    assert isinstance(known.get_columns(catalogue, "t")[1]["type"], postgresql.TIMESTAMP)
    assert known.get_pk_constraint(catalogue, "t")["constrained_columns"] == ["id"]
    assert [index["column_names"] for index in known.get_indexes(catalogue, "t")] == [["id"], [None, "gx"], ["gx"]]
    assert known.get_indexes(catalogue, "t")[2]["dialect_options"]


def test_oracle_names_are_those_of_the_catalogue() -> None:
    """Neither folded to lower case when read nor to upper case when asked for."""
    known: Any = database("oracle").dialect
    for name in ("QSZT", "qszt", "Qszt", "权属"):
        assert known.normalize_name(name) == known.denormalize_name(name) == known.denormalize_schema_name(name) == name


# -- what names a database -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, answers, expected",
    [
        ("oracle", {"v$database": "17.9", "con_name": "PDB1"}, "oracle:17.9:PDB1"),
        ("oracle", {"db_name": "REG", "con_name": "PDB1"}, "oracle:REG:PDB1"),
        ("sqlserver", {"family_guid": "F.R"}, "mssql:F.R:reg"),
        ("sqlserver", {"family_guid": None, "service_broker_guid": "B"}, "mssql:B:reg"),
        ("sqlserver", {"service_broker_guid": "B"}, "mssql:B:reg"),
        ("dameng", {"permanent_magic": 77}, "dameng:77"),
        ("dameng", {"v$database": "REG.2026"}, "dameng:REG.2026"),
        ("kingbase", {"sys_control_system": "9", "pg_database": "16"}, "kingbase:9:16"),
        ("kingbase", {"pg_control_system": "8", "pg_database": "16"}, "kingbase:8:16"),
        ("opengauss", {"pg_database": "16"}, "opengauss:reg:16"),
        ("oceanbase", {"effective_tenant_id": 1002}, "oceanbase:1002:reg"),
        ("oceanbase", {}, "oceanbase:tenant:reg"),
    ],
)
def test_a_database_is_recognised_however_it_is_reached(kind: str, answers: dict[str, object], expected: str) -> None:
    """By what its replicas share; where the account may not see that, by what everybody may."""
    assert database(kind).incarnation(Asked(**answers)) == expected


def test_the_clock_is_that_of_the_database() -> None:
    """Aware, in UTC, whatever form it is asked for in."""
    expected = datetime(2026, 11, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert database("oracle").utc_now(Asked(systimestamp="2026-11-01T00:00:00.500000")) == expected
    assert database("sqlserver").utc_now(Asked(SYSUTCDATETIME="2026-11-01T00:00:00.5000000")) == expected
    assert database("dameng").utc_now(Asked(systimestamp="2026-11-01 08:00:00.5 +08:00")) == expected
    assert database("kingbase").utc_now(Asked(clock_timestamp="2026-11-01 00:00:00.500000")) == expected


# -- errors ----------------------------------------------------------------------------------------------------------


class KingbaseError(DriverError):
    kbcode = "57014"


class ValueKingbaseError(DriverError):
    kbcode = "22P02"


def dm_error(code: int) -> DriverError:
    return DriverError(SimpleNamespace(code=code))


@pytest.mark.parametrize(
    "kind, error, expected, words",
    [
        ("oracle", DriverError("ORA-12541: TNS:no listener"), SourceUnavailable, "no listener"),
        ("oracle", DriverError("ORA-03113: end-of-file"), SourceUnavailable, "03113"),
        ("oracle", DriverError("ORA-00942: table or view does not exist"), SourceRefused, "00942"),
        ("oracle", DriverError("DPY-4024: call timeout of 120000 ms exceeded"), SourceRefused, "ran longer"),
        ("oracle", DriverError("DPY-3010: not supported in thin mode"), SourceRefused, "thick mode"),
        (
            "sqlserver",
            LostError((20009, b"DB-Lib error message 20009:\nserver is unavailable\n")),
            SourceUnavailable,
            "server is un",
        ),
        ("sqlserver", DriverError(18456, b"Login failed for user 'reader'."), SourceUnavailable, "Login failed"),
        ("sqlserver", DriverError(229, b"The SELECT permission was denied"), SourceRefused, "permission"),
        ("sqlserver", DriverError(20003, b"timed out"), SourceRefused, "ran longer"),
        ("dameng", dm_error(-70028), SourceUnavailable, ""),
        ("dameng", dm_error(-2106), SourceRefused, ""),
        ("kingbase", KingbaseError("canceling statement"), SourceRefused, "ran longer"),
        ("kingbase", LostError("server closed the connection"), SourceUnavailable, "closed"),
        ("kingbase", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), SourceRefused, "UnicodeDecodeError"),
        ("oceanbase", Exception(4012, "Timeout"), SourceRefused, "ran longer"),
    ],
)
def test_errors_say_whether_they_pass(kind: str, error: Exception, expected: type[HuitongError], words: str) -> None:
    """Network, locks and logins pass by themselves; what the account may not do does not."""
    found = database(kind).translate(error, connecting=False)
    assert type(found) is expected
    assert words in str(found)


@pytest.mark.parametrize(
    "kind, error",
    [
        ("oracle", DriverError("ORA-12899: value too large for 王小明")),
        ("oracle", DriverError("ORA-20001: 王小明")),
        ("sqlserver", DriverError(245, "Conversion failed when converting 王小明".encode())),
        ("sqlserver", DriverError(50001, "王小明".encode())),
        ("dameng", DriverError(SimpleNamespace(code=-6118), "王小明")),
        ("kingbase", ValueKingbaseError("invalid input syntax: 王小明")),
        ("oracle", DriverError("ORA-00942: no such table\n王小明")),
    ],
)
def test_errors_repeat_no_values(kind: str, error: Exception) -> None:
    """Messages that may quote a row are reduced to their number."""
    assert "王小明" not in str(database(kind).translate(error, connecting=False))


def test_opengauss_says_what_its_passwords_need() -> None:
    """A server that wants the vendor's kind of login is refused with what to do about it."""
    error = LostError("authentication method 10 not supported")
    found = database("opengauss").translate(error, connecting=True)
    assert type(found) is SourceRefused
    assert "password_encryption_type" in found.localised()[1]


class TestUnmoving:
    """Reading one moment."""

    opened: ClassVar[dict[str, str]] = {"oracle": "SET TRANSACTION READ ONLY", "sqlserver": "BEGIN TRANSACTION"}

    @pytest.mark.parametrize("kind", ["oracle", "sqlserver"])
    def test_it_is_a_transaction_that_always_ends(self, kind: str) -> None:
        """Also when what is read inside fails."""
        driver = driver_of(kind)
        driver.answers = [(1,)]
        made = database(kind, driver)
        made.connect_driver()
        ended: list[str] = []
        session = SimpleNamespace(cursor=Cursor(driver), driver=SimpleNamespace(rollback=lambda: ended.append("rollback")))
        began: list[str] = []

        def fail() -> None:
            with made.unmoving(session) as unmoving:
                assert unmoving
                began.append(driver.executed[-1])
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert began == [self.opened[kind]]
        assert ended or driver.executed[-1] == "IF @@TRANCOUNT > 0 COMMIT TRANSACTION"

    def test_without_snapshots_sql_server_has_none(self) -> None:
        """It says so instead of reading rows of different moments."""
        with database("sqlserver").unmoving(SimpleNamespace()) as unmoving:
            assert not unmoving
