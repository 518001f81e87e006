"""Queries as sources: what their text shows, what the settings allow, the SQL that reads them, and the types of their columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pymysql.constants import FIELD_TYPE, FLAG  # type: ignore[import-untyped]
from sqlalchemy.dialects import mssql, oracle

from connectors.database.dialects.base import Session
from connectors.database.dialects.dameng import DamengDatabase
from connectors.database.dialects.kingbase import KingbaseDatabase
from connectors.database.dialects.mysql import MysqlDatabase
from connectors.database.position import Belonging, Reached
from connectors.database.query import begins_with_with, fault_of, stands_in
from connectors.database.servers import DamengConnection, KingbaseConnection
from connectors.database.settings import DatabaseFrom, MysqlConnection
from connectors.database.tables.pages import Pages
from connectors.database.tables.table import Table, ValueKind
from tests.unit.connectors.database.test_pages import DIALECTS, pages, sql
from tests.unit.connectors.database.test_vendor_streams import Driver, oracle_database, sqlserver

BLOCK: dict[str, object] = {"connection": "c", "key": ("id",), "every": "5s"}
QUERY = "SELECT id FROM t"


# -- what the text shows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 AS a",
        "select a.b from t a -- it's; fine",
        "/* first; */ WITH x AS (SELECT 1 AS a) SELECT a FROM x",
        "(SELECT a FROM t) UNION ALL (SELECT b FROM u)",
        "SELECT ';' AS a, \"b;c\", `d;e` FROM t",
        "SELECT '\\' AS a FROM t",
        "SELECT 'it\\'s; so' AS a FROM t",
        "SELECT $$; it's '$$ AS a, $x$ $$; $x$ AS b",
        "SELECT a FROM t # it's a comment of MySQL",
        "SELECT replace(a, 'x', 'y') AS b, (insert(a, 1, 2, 'z')) AS c, t.delete, t.into FROM t",
        "SELECT update_time, deleted FROM t WHERE doc #> '{a}' IS NOT NULL",
        "SELECT a FROM t ORDER BY a LIMIT 5",
    ],
)
def test_a_select_is_a_select(query: str) -> None:
    """Whatever stands in quotes and comments, and whatever columns and functions are called."""
    assert fault_of(query) == ""


@pytest.mark.parametrize(
    "query, said",
    [
        ("SELECT a FROM t;", "semicolon"),
        ("SELECT a FROM t; DROP TABLE t", "semicolon"),
        ("DELETE FROM t", "SELECT or WITH"),
        ("", "SELECT or WITH"),
        ("-- nothing", "SELECT or WITH"),
        ("CALL p()", "SELECT or WITH"),
        ("WITH gone AS (DELETE FROM t RETURNING id) SELECT id FROM gone", "only read"),
        ("WITH x AS (SELECT 1 AS a) UPDATE t SET a = 1", "only read"),
        ("WITH x AS (SELECT 1 AS a) INSERT INTO t SELECT a FROM x", "only read"),
        ("SELECT a INTO b FROM t", "only read"),
        ("SELECT a FROM t FOR UPDATE", "only read"),
        ("SELECT 'a FROM t", "not closed"),
        ("SELECT a /* FROM t", "not closed"),
        ("SELECT a FROM t) AS q, (SELECT b FROM u", "brackets"),
        ("SELECT (a FROM t", "brackets"),
    ],
)
def test_what_is_no_single_select_is_refused_by_its_text(query: str, said: str) -> None:
    """A semicolon, a verb of change, a bracket too many: told when the settings are read."""
    assert said in fault_of(query)
    with pytest.raises(ValidationError):
        DatabaseFrom.of(**BLOCK, query=query)


@given(st.text(max_size=80))
def test_any_text_has_an_answer(text: str) -> None:
    """No text makes the reading of it fail."""
    assert isinstance(fault_of(text), str)
    assert isinstance(begins_with_with(text), bool)


@pytest.mark.parametrize(
    "query, name, unnamed",
    [
        ("SELECT count(*) FROM t", "count(*)", True),
        ("SELECT COUNT( * ) FROM t", "COUNT(*)", True),
        ("SELECT a+1 FROM t", "a+1", True),
        ("SELECT a AS [a+1] FROM t", "a+1", False),
        ('SELECT a AS "面积(m2)" FROM t', "面积(m2)", False),
        ("SELECT * FROM t", "面积(m2)", False),
        ("SELECT a FROM t", "a", False),
        ("SELECT 1", "1", True),
    ],
)
def test_a_column_without_a_name_is_told_from_a_strange_name(query: str, name: str, *, unnamed: bool) -> None:
    """Some databases call a computed column by the text of its expression, which is no name to rely on."""
    assert stands_in(query, name) is unnamed


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, code",
    [
        ({}, "HT-C023"),
        ({"table": "t", "query": QUERY}, "HT-C023"),
        ({"table": "t", "entity": "e"}, "HT-C032"),
        ({"query": QUERY, "mode": "trigger"}, "HT-C038"),
        ({"query": QUERY, "mode": "slot"}, "HT-C038"),
        ({"query": QUERY, "mode": "binlog"}, "HT-C038"),
        ({"query": QUERY, "mode": "change-tracking"}, "HT-C038"),
        ({"query": QUERY, "mode": "flashback"}, "HT-C038"),
        ({"query": QUERY, "mode": "rowversion"}, "HT-C038"),
        ({"query": QUERY, "status": {"column": "zt"}}, "HT-C033"),
    ],
)
def test_a_table_or_a_query_and_what_goes_with_it(fields: dict[str, object], code: str) -> None:
    """Exactly one of the two; an entity only for a query, and only modes that need nothing in the source."""
    with pytest.raises(ValidationError, match=code):
        DatabaseFrom.of(**BLOCK, **fields)


@pytest.mark.parametrize("mode", ["auto", "watermark", "polling", "compare"])
def test_modes_of_a_query(mode: str) -> None:
    """All that only read are allowed."""
    assert DatabaseFrom.of(**BLOCK, query=QUERY, mode=mode).mode == mode


def test_rows_belong_to_something_that_stays() -> None:
    """The table, the name that was given, or the flow: never the text of the query."""
    assert DatabaseFrom.of(**BLOCK, table="s.t").entity_of("people") == "s.t"
    assert DatabaseFrom.of(**BLOCK, query=QUERY).entity_of("people") == "people"
    assert DatabaseFrom.of(**BLOCK, query=QUERY, entity="s.t").entity_of("people") == "s.t"


def test_a_position_keeps_no_text_of_a_query() -> None:
    """It may contain values of rows; its digest tells another one from it."""
    belonging = Belonging("people", ("id",), None, None, "SELECT id FROM t WHERE name = '张三'")
    position = belonging.encode(Reached("compare", None))
    assert "张三" not in position
    assert belonging.decode(position) == Reached("compare", None)
    of_table = replace(belonging, query=None).encode(Reached("compare", None))
    assert of_table != position


# -- SQL ---------------------------------------------------------------------------------------------------------------


def of_query(dialect: str, query: str, **kwargs: Any) -> Pages:
    made = pages(dialect, **kwargs)
    return Pages(replace(made.shape, table=replace(made.shape.table, query=query)))


def test_a_query_takes_the_place_of_the_table() -> None:
    """Pages are made around it; a comment at its end does not swallow what follows."""
    made = of_query("postgresql", "SELECT * FROM t -- all")
    assert made.load(resumed=True).sql == (
        'SELECT "a", "b", "c", "v" \nFROM (\nSELECT * FROM t -- all\n) AS "q" \n'
        'WHERE ("a", "b") > (%(k0)s, %(k1)s) ORDER BY "a", "b" \n LIMIT %(limit)s::INTEGER'
    )
    assert "FROM ( SELECT * FROM t -- all ) AS `q` WHERE" in sql(
        of_query("mysql", "SELECT * FROM t -- all").count().sql + " WHERE"
    )


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_every_letter_of_a_query_reaches_the_database(dialect: str, text: str) -> None:
    """Colons, backslashes and percent signs are no parameters of ours, whatever stands around them."""
    made = of_query(dialect, text).load(resumed=False)
    arrived = made.sql if dialect == "sqlite" else made.sql.replace("%%", "%")
    assert f"FROM (\n{text}\n) AS " in arrived
    assert set(made.names or ("limit",)) <= {"limit", "param_1"}


def test_oracle_and_sql_server_write_it_their_way() -> None:
    """Without AS for Oracle, and with brackets for SQL Server."""
    shape = pages().shape
    table = Table(None, "q", shape.table.columns, (), (), (), "", "SELECT 'a:b 5%' AS a FROM dual")
    for database, expected in ((oracle_database(), '\n) "q"'), (sqlserver(), "\n) AS [q]")):
        made = Pages(replace(shape, table=table, dialect=database.dialect, row_values=False)).load(resumed=False).sql
        assert expected in made
        assert "'a:b 5%" in made


def test_rows_with_an_empty_key_are_on_no_page_but_their_own() -> None:
    """Of a result nobody knows that its key is filled: so pages say so, and one statement reads the others."""
    made = pages()
    loose = tuple(replace(column, nullable=True) for column in made.shape.key)
    statement = Pages(replace(made.shape, key=loose)).load(resumed=True).sql
    assert '"a" IS NOT NULL AND "b" IS NOT NULL' in sql(statement)
    assert "IS NOT NULL" not in made.load(resumed=True).sql


# -- types of result columns -------------------------------------------------------------------------------------------


def field(code: int, *, length: int = 10, scale: int = 0, flags: int = 0, charset: int = 45) -> SimpleNamespace:
    return SimpleNamespace(name="a", type_code=code, length=length, scale=scale, flags=flags, charsetnr=charset)


@pytest.mark.parametrize(
    "described, kind",
    [
        (field(FIELD_TYPE.LONGLONG), ValueKind.INTEGER),
        (field(FIELD_TYPE.NEWDECIMAL, length=12, scale=2), ValueKind.DECIMAL),
        (field(FIELD_TYPE.DOUBLE), ValueKind.FLOAT),
        (field(FIELD_TYPE.TIMESTAMP), ValueKind.INSTANT),
        (field(FIELD_TYPE.DATETIME), ValueKind.TIMESTAMP),
        (field(FIELD_TYPE.BLOB, charset=63, flags=FLAG.BINARY), ValueKind.BINARY),
        (field(FIELD_TYPE.BLOB), ValueKind.TEXT),
        (field(FIELD_TYPE.STRING), ValueKind.CHAR),
        (field(FIELD_TYPE.STRING, flags=FLAG.ENUM), ValueKind.TEXT),
        (field(FIELD_TYPE.GEOMETRY), ValueKind.OTHER),
    ],
)
def test_kinds_of_mysql_results(described: SimpleNamespace, kind: ValueKind) -> None:
    """Numbers of types, flags and character sets say what a column is."""
    database = MysqlDatabase(MysqlConnection(type="mysql", host="db", database="r", user="u"), None, "UTC")
    session = SimpleNamespace(cursor=SimpleNamespace(_result=SimpleNamespace(fields=[described])))
    type_ = database.result_type(cast("Session", session), ("a",))
    assert database.kind_of(type_) is kind
    if kind is ValueKind.DECIMAL:
        assert (cast("Any", type_).precision, cast("Any", type_).scale) == (10, 2)


@pytest.mark.parametrize(
    "name, precision, scale, kind",
    [
        ("DB_TYPE_NUMBER", 10, 0, ValueKind.INTEGER),
        ("DB_TYPE_NUMBER", 10, 2, ValueKind.DECIMAL),
        ("DB_TYPE_NUMBER", 0, -127, ValueKind.DECIMAL),
        ("DB_TYPE_DATE", None, None, ValueKind.TIMESTAMP),
        ("DB_TYPE_TIMESTAMP_TZ", None, None, ValueKind.INSTANT),
        ("DB_TYPE_NCHAR", None, None, ValueKind.CHAR),
        ("DB_TYPE_RAW", None, None, ValueKind.BINARY),
        ("DB_TYPE_BINARY_DOUBLE", None, None, ValueKind.FLOAT),
        ("DB_TYPE_VARCHAR", None, None, ValueKind.TEXT),
    ],
)
def test_kinds_of_oracle_results(name: str, precision: int | None, scale: int | None, kind: ValueKind) -> None:
    """What the driver says of a column is what the catalogue would say."""
    database = oracle_database()
    found = SimpleNamespace(type_code=name, precision=precision, scale=scale, display_size=7)
    type_ = database.result_type(cast("Session", None), found)
    assert database.kind_of(type_) is kind
    if name == "DB_TYPE_DATE":
        assert isinstance(type_, oracle.DATE)


class Described:
    """A session of SQL Server that describes a result."""

    def __init__(self, *rows: tuple[str, str]) -> None:
        self.rows = rows
        self.connection = self
        self.given: dict[str, str] = {}

    def page(self, *_given: object) -> list[object]:
        return []

    def execute(self, _asked: object, given: dict[str, str]) -> Described:
        self.given = given
        return self

    def fetchall(self) -> tuple[tuple[str, str], ...]:
        return self.rows


def test_kinds_of_sql_server_results() -> None:
    """The server describes the query itself, which is handed over as a value."""
    written = {
        "decimal(10,2)": ValueKind.DECIMAL,
        "money": ValueKind.DECIMAL,
        "bigint": ValueKind.INTEGER,
        "timestamp": ValueKind.INTEGER,
        "datetime2(3)": ValueKind.TIMESTAMP,
        "datetimeoffset(7)": ValueKind.INSTANT,
        "nvarchar(max)": ValueKind.TEXT,
        "nchar(5)": ValueKind.CHAR,
        "float": ValueKind.FLOAT,
        "bit": ValueKind.BOOLEAN,
        "varbinary(9)": ValueKind.BINARY,
        "geography": ValueKind.OTHER,
    }
    database = sqlserver()
    session = Described(*((f"c{n}", name) for n, name in enumerate(written)))
    table = Table(None, "q", {}, (), (), (), "", "SELECT 'a:b' AS c0")
    found = database.result_types(cast("Session", session), table)
    assert [database.kind_of(type_) for _, type_ in found] == list(written.values())
    assert session.given == {"query": "SELECT 'a:b' AS c0"}
    assert isinstance(found[3][1], mssql.TIMESTAMP)


def test_sql_server_gets_percent_signs_as_they_are() -> None:
    """Its driver undoubles them only when it puts in parameters."""
    told: list[str] = []
    cursor = SimpleNamespace(execute=lambda text, _given: told.append(text), fetchall=list)
    session = cast("Session", SimpleNamespace(cursor=cursor))
    for parameters in ({}, {"limit": 1}):
        sqlserver().fetch(session, "SELECT 5 %% 3 AS a", parameters)
    assert told == ["SELECT 5 % 3 AS a", "SELECT 5 %% 3 AS a"]


def test_kinds_of_kingbase_results() -> None:
    """The number of a type is asked of the catalogue, in words that every descendant of PostgreSQL knows."""
    settings = KingbaseConnection(type="kingbase", host="db", database="r", user="u")
    database = KingbaseDatabase(settings, None, "huitong", "UTC", Driver("pyformat"))
    words = {"1700": "numeric", "1184": "timestamp with time zone", "9999": "mood"}
    session = cast("Session", SimpleNamespace(value=lambda _asked, oid: words[oid]))
    kinds = [database.kind_of(database.result_type(session, ("a", int(oid)))) for oid in words]
    assert kinds == [ValueKind.DECIMAL, ValueKind.INSTANT, ValueKind.OTHER]


def test_kinds_of_dameng_results() -> None:
    """The driver's classes are called after types."""
    settings = DamengConnection(type="dameng", host="db", user="u")
    database = DamengDatabase(settings, None, "huitong", "UTC", Driver("qmark"))
    kind: Callable[[str], ValueKind] = lambda name: database.kind_of(  # noqa: E731
        database.result_type(cast("Session", None), ("a", type(name, (), {}), 9, 9, 10, 2))
    )
    assert kind("DECIMAL") is ValueKind.DECIMAL
    assert kind("STRING") is ValueKind.TEXT
    assert kind("FIXED_STRING") is ValueKind.CHAR
    assert kind("TIMESTAMP") is ValueKind.TIMESTAMP
