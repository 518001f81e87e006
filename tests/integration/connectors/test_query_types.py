"""Columns of a query have the types the database gives them: values as when the table itself is read."""

from __future__ import annotations

import pytest

from agent.model import START
from tests.integration.connectors.database_kit import Bench

pytestmark = pytest.mark.integration

TYPES = {
    "pg": (
        "CREATE DOMAIN amount AS numeric(12, 3)",
        "CREATE TYPE mood AS ENUM ('好', '坏')",
        """CREATE TABLE t (id bigint PRIMARY KEY, n numeric, n2 numeric(30, 10), i2 smallint, f4 real, f8 double precision,
           odd double precision, b boolean, d date, ts timestamp, tz timestamptz, tm time, tmz timetz, iv interval, tx text,
           ch char(5), vc varchar(9), by bytea, u uuid, j json, jb jsonb, ar int[], en mood, bi bit(4), mo money, ip inet,
           nl text, inf timestamptz, di date, dom amount, updated_at timestamptz)""",
        """INSERT INTO t VALUES (9007199254740993, 12345678901234567890.123456789, 1.5, -7, 0.1, 1e300, 'NaN', true,
           '0044-03-15', '2026-11-21 08:00:00.5', '2026-11-21 08:00:00+08', '23:59:59.000001', '23:59:59+08', '1 day 2 hours',
           '', 'ab', 'c', '\\x00ff', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{"a": 1.10}', '{"b":2, "a":1}', '{1,2}',
           '好', '0101', 12.5, '10.0.0.1', NULL, 'infinity', '-infinity', 7.5, '2026-01-01 00:00:00+00')""",
    ),
    "maria": (
        "SET SESSION sql_mode = ''",
        """CREATE TABLE t (id bigint unsigned PRIMARY KEY, n decimal(30, 10), du decimal(5, 2) unsigned, i tinyint(1), f float,
           d8 double, dt datetime(3), ts timestamp NULL, d date, z date, zt datetime, tm time, y year, tx varchar(20), ch char(5),
           by_ varbinary(9), bl blob, lt longtext, j json, en enum('好', '坏'), se set('a', 'b'), bi bit(10), nl text,
           updated_at datetime)""",
        """INSERT INTO t VALUES (18446744073709551615, 12345678901234567890.1234567891, 1.5, 5, 0.1, 1e300,
           '2026-11-21 08:00:00.123', '2026-11-21 08:00:00', '1899-12-31', '0000-00-00', '0000-00-00 00:00:00', '-12:30:00', 2026,
           '', 'ab ', x'00ff', x'ff00', '长', '{"a": 1.10}', '坏', 'a,b', b'1000000001', NULL, '2026-01-01 00:00:00')""",
    ),
    "lite": (
        """CREATE TABLE t (id integer PRIMARY KEY, price decimal(10,2), big numeric, at datetime, b boolean, d date, x real,
           o blob, n text, updated_at timestamp)""",
        """INSERT INTO t VALUES (1, 2.5, 12345678901234, '2026-01-01 10:00:00', 1, '2026-01-01', 0.1, x'00ff', '',
           '2026-01-01 00:00:00')""",
    ),
}


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_a_query_gives_values_in_the_form_of_the_table(kind: str, request: pytest.FixtureRequest) -> None:
    """Every type arrives as it does when the table itself is read, and so does its kind, through brackets of any depth."""
    bench: Bench = request.getfixturevalue(kind)
    bench.run(*TYPES[kind])
    bench.open()
    of_table = bench.drain()[:1]
    kinds = {column.name: column.kind for column in bench.source._open.reader.pages.shape.columns}
    bench.position = START
    bench.open(table=None, query="SELECT * FROM (SELECT * FROM t) AS inside")
    assert bench.drain()[:1] == of_table
    found = {column.name: column.kind for column in bench.source._open.reader.pages.shape.columns}
    as_text = {"text", "other", "char"}
    kinds.pop("dom", None)  # a result has no domains, only what they are made of
    found.pop("dom", None)
    assert {name: kind for name, kind in found.items() if kind not in as_text} == {
        name: kind for name, kind in kinds.items() if kind not in as_text
    }


def test_computed_columns_have_the_type_of_their_expression(any_database: Bench) -> None:
    """Sums of decimals stay exact where the database computes exactly, and counts are numbers."""
    any_database.run(
        "CREATE TABLE t (id int PRIMARY KEY, a decimal(10, 2), b decimal(10, 2))",
        "INSERT INTO t VALUES (1, 0.10, 0.20), (2, 5, 6.25)",
    )
    any_database.open(table=None, query="SELECT id, a + b AS total, a AS kept, id * 2 AS twice FROM t", cursor=None)
    row = any_database.drain()[0]
    assert row["twice"] == 2
    if any_database.engine.dialect.name != "sqlite":
        assert (row["total"], row["kept"]) == ("0.30", "0.10")
    else:
        assert (row["total"], row["kept"]) == (pytest.approx(0.3), "0.1")  # SQLite computes with binary fractions
