"""The statements that read a table: names are quoted, values are bound, the SQL is what each database needs."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import mysql, postgresql, sqlite

from agent.model import Value
from connectors.database.tables.pages import Pages, Shape
from connectors.database.tables.table import Column, Table, ValueKind, column_expression

DIALECTS = {
    "postgresql": (postgresql.dialect(paramstyle="pyformat"), True),
    "mysql": (mysql.dialect(paramstyle="format"), False),
    "sqlite": (sqlite.dialect(paramstyle="qmark"), True),
}


def column(name: str, *, nullable: bool = False) -> Column:
    return Column(name, ValueKind.TEXT, sa.Text(), nullable, "")


def pages(dialect: str = "sqlite", key: tuple[str, ...] = ("a", "b"), *, where: str | None = None, table: str = "t") -> Pages:
    columns = {name: column(name) for name in (*key, "c", "v")}
    known, row_values = DIALECTS[dialect]
    return Pages(
        Shape(
            table=Table("s", table, columns, key, (frozenset(key),), (key,), ""),
            columns=tuple(columns.values()),
            key=tuple(columns[name] for name in key),
            cursor=columns["c"],
            where=where,
            dialect=known,
            row_values=row_values,
            show=column_expression,
            bind=lambda _column, name: sa.bindparam(name, type_=sa.types.NullType()),
            index={name: index for index, name in enumerate(columns)},
        )
    )


def sql(text: str) -> str:
    return " ".join(text.split())


def test_a_page_is_what_an_index_can_answer() -> None:
    """Row values where the database uses an index for them, spelt out where it does not."""
    assert sql(pages("postgresql").load(resumed=True).sql) == (
        'SELECT "a", "b", "c", "v" FROM "s"."t" WHERE ("a", "b") > (%(k0)s, %(k1)s) ORDER BY "a", "b" LIMIT %(limit)s::INTEGER'
    )
    assert sql(pages("mysql").load(resumed=True).sql) == (
        "SELECT `a`, `b`, `c`, `v` FROM `s`.`t` WHERE `a` >= %s AND (`a` > %s OR `a` = %s AND `b` > %s) ORDER BY `a`, `b` LIMIT %s"
    )


def test_parameters_come_in_the_order_the_driver_wants() -> None:
    """Positional drivers get a tuple, with a value wherever it is used again."""
    statement = pages("mysql").load(resumed=True)
    assert statement.parameters({"k0": "A", "k1": "B", "limit": 9}) == ("A", "A", "A", "B", 9)
    named = pages("postgresql").load(resumed=True)
    assert named.parameters({"k0": "A", "k1": "B", "limit": 9}) == {"k0": "A", "k1": "B", "limit": 9}


def test_polling_reads_by_cursor_and_key() -> None:
    """Above the settled value, from it where values are coarse, or behind a row; never rows without a cursor."""
    made = pages()
    assert 'WHERE "c" > ? ORDER BY "c", "a", "b"' in sql(made.poll(low=True, resumed=False, inclusive=False).sql)
    assert 'WHERE "c" >= ? ORDER BY' in sql(made.poll(low=True, resumed=False, inclusive=True).sql)
    assert 'WHERE "c" IS NOT NULL ORDER BY' in sql(made.poll(low=False, resumed=False, inclusive=False).sql)
    assert 'WHERE ("c", "a", "b") > (?, ?, ?)' in sql(made.poll(low=True, resumed=True, inclusive=False).sql)


def test_a_condition_is_added_in_brackets_as_it_was_written() -> None:
    """Percent signs, colons and quotes of the operator's condition reach the database unchanged."""
    where = "zt <> 9 OR x LIKE '5%' AND y = 'a:b' AND z::int = 1"
    made = pages("postgresql", where=where).load(resumed=True)
    assert f"AND ({where.replace('%', '%%')})" in sql(made.sql)
    assert set(made.parameters({"k0": 1, "k1": 2, "limit": 3})) == {"k0", "k1", "limit"}


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@given(name=names, table=names)
def test_no_name_breaks_out_of_its_quotes(dialect: str, name: str, table: str) -> None:
    """Whatever a catalogue calls its columns, the name stays one quoted word, its quotes doubled."""
    mark = "`" if dialect == "mysql" else '"'
    statement = pages(dialect, key=(name,), table=table).load(resumed=False).sql
    for part in (name, table):
        quoted = mark + part.replace(mark, mark * 2) + mark
        assert (quoted.replace("%", "%%") if dialect != "sqlite" else quoted) in statement


def test_statements_are_made_once() -> None:
    """The same page is the same statement object; compiling is not for every page."""
    made = pages()
    assert made.load(resumed=True) is made.load(resumed=True)


def test_keys_are_looked_up_together() -> None:
    """Several keys are one statement."""
    statement = pages().matching(2)
    assert 'WHERE "a" = ? AND "b" = ? OR "a" = ? AND "b" = ?' in sql(statement.sql)
    values: dict[str, Value] = {"k0_0": 1, "k0_1": 2, "k1_0": 3, "k1_1": 4, "limit": 5}
    assert statement.parameters(values)[:4] == (1, 2, 3, 4)
