"""Values arrive as they are: exact decimals, dates, zones, binary, NULL beside the empty text."""

from __future__ import annotations

import psycopg
import pytest

from agent.model import Value
from agent.testing.nodes.postgres import PostgresNode
from tests.integration.connectors.database_kit import Bench

pytestmark = pytest.mark.integration


def one(bench: Bench, **settings: object) -> dict[str, Value]:
    """Read the only row of the table."""
    bench.open(**settings)
    (row,) = bench.drain()[:1]
    return row


def test_postgresql_types(pg: Bench) -> None:
    """Every type of PostgreSQL has one canonical form; nothing passes through a binary fraction or a local calendar."""
    pg.run(
        "CREATE TYPE mood AS ENUM ('好', '坏')",
        """CREATE TABLE t (id bigint PRIMARY KEY, n numeric, n2 numeric(30, 10), i2 smallint, f4 real, f8 double precision,
           odd double precision, b boolean, d date, ts timestamp, tz timestamptz, tm time, iv interval, tx text, ch char(5),
           by bytea, u uuid, j json, jb jsonb, ar int[], ta text[], en mood, bi bit(4), mo money, ip inet, nl text,
           inf timestamptz, di date, far timestamp, updated_at timestamptz)""",
        """INSERT INTO t VALUES (9007199254740993, 12345678901234567890.123456789, 1.5, -7, 0.1, 1e300, 'NaN', true,
           '0044-03-15', '2026-11-21 08:00:00.5', '2026-11-21 08:00:00+08', '23:59:59.000001', '1 day 2 hours', '',
           'ab', '\\x00ff', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{"a": 1.10}', '{"b":2, "a":1}', '{1,2}', '{a,NULL,"b c"}',
           '好', '0101', 12.5, '10.0.0.1', NULL, 'infinity', '-infinity', '1899-12-31 23:59:59', '2026-01-01 00:00:00+00')""",
    )
    assert one(pg) == {
        "id": 9007199254740993,
        "n": "12345678901234567890.123456789",
        "n2": "1.5000000000",
        "i2": -7,
        "f4": 0.1,
        "f8": 1e300,
        "odd": "NaN",
        "b": True,
        "d": "0044-03-15",
        "ts": "2026-11-21T08:00:00.5",
        "tz": "2026-11-21T00:00:00+00:00",
        "tm": "23:59:59.000001",
        "iv": "P1DT2H",
        "tx": "",
        "ch": "ab",
        "by": b"\x00\xff",
        "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "j": '{"a": 1.10}',
        "jb": '{"a": 1, "b": 2}',
        "ar": "{1,2}",
        "ta": '{a,NULL,"b c"}',
        "en": "好",
        "bi": "0101",
        "mo": "12.50",
        "ip": "10.0.0.1",
        "nl": None,
        "inf": "infinity",
        "di": "-infinity",
        "far": "1899-12-31T23:59:59",
        "updated_at": "2026-01-01T00:00:00+00:00",
    }


def test_mariadb_types(maria: Bench) -> None:
    """Every type of MariaDB has one canonical form; zero dates stay zero dates."""
    maria.run(
        "SET SESSION sql_mode = ''",
        """CREATE TABLE t (id bigint unsigned PRIMARY KEY, n decimal(30, 10), i tinyint(1), f float, d8 double, dt datetime(3),
           ts timestamp NULL, d date, z date, zt datetime, tm time, y year, tx varchar(20), ch char(5), by_ varbinary(9),
           bl blob, j json, en enum('好', '坏'), se set('a', 'b'), bi bit(10), nl text, updated_at datetime)""",
        """INSERT INTO t VALUES (18446744073709551615, 12345678901234567890.1234567891, 5, 0.1, 1e300, '2026-11-21 08:00:00.123',
           '2026-11-21 08:00:00', '1899-12-31', '0000-00-00', '0000-00-00 00:00:00', '-12:30:00', 2026, '', 'ab ',
           x'00ff', x'ff00', '{"a": 1.10}', '坏', 'a,b', b'1000000001', NULL, '2026-01-01 00:00:00')""",
    )
    row = one(maria)
    assert row == {
        "id": 18446744073709551615,
        "n": "12345678901234567890.1234567891",
        "i": 5,
        "f": 0.1,
        "d8": 1e300,
        "dt": "2026-11-21T08:00:00.123",
        "ts": row["ts"],
        "d": "1899-12-31",
        "z": "0000-00-00",
        "zt": "0000-00-00",
        "tm": "-12:30:00",
        "y": 2026,
        "tx": "",
        "ch": "ab",
        "by_": b"\x00\xff",
        "bl": b"\xff\x00",
        "j": '{"a": 1.10}',
        "en": "坏",
        "se": "a,b",
        "bi": 513,
        "nl": None,
        "updated_at": "2026-01-01T00:00:00",
    }
    assert str(row["ts"]).endswith("+00:00")


def test_mariadb_timestamps_are_instants(maria: Bench) -> None:
    """A TIMESTAMP written in another zone is read as the same moment."""
    maria.run("CREATE TABLE t (id int PRIMARY KEY, updated_at timestamp NULL)")
    with maria.engine.connect() as connection:
        connection.exec_driver_sql("SET time_zone = '+08:00'")
        connection.exec_driver_sql("INSERT INTO t VALUES (1, '2026-11-21 08:00:00')")
    assert one(maria)["updated_at"] == "2026-11-21T00:00:00+00:00"


def test_sqlite_types(lite: Bench) -> None:
    """SQLite keeps a type with each value; declared decimals, booleans and times become what they are meant to be."""
    lite.run(
        """CREATE TABLE t (id INTEGER PRIMARY KEY, n DECIMAL(10, 2), n2 NUMERIC, b BOOLEAN, ts TIMESTAMP, r REAL, tx TEXT, bl BLOB,
           nl TEXT, any, updated_at TEXT)""",
        """INSERT INTO t VALUES (1, 12.5, 10, 1, '2026-11-21 08:00:00', 0.1, '', x'00ff', NULL, 7, '2026-01-01')""",
    )
    assert one(lite) == {
        "id": 1,
        "n": "12.5",
        "n2": "10",
        "b": True,
        "ts": "2026-11-21T08:00:00",
        "r": 0.1,
        "tx": "",
        "bl": b"\x00\xff",
        "nl": None,
        "any": 7,
        "updated_at": "2026-01-01",
    }


def test_the_first_load_and_the_poll_read_the_same(any_database: Bench) -> None:
    """A row read in the first load and again in a poll is octet for octet the same, so the ledger knows it."""
    any_database.run(
        "CREATE TABLE t (id int PRIMARY KEY, n decimal(10, 2), f double precision, updated_at timestamp NULL)",
        "INSERT INTO t VALUES (1, 10.50, 0.1, '2026-11-21 08:00:00'), (2, NULL, NULL, '2026-11-21 08:00:01')",
    )
    any_database.open()
    first, again = any_database.drain()[:2], any_database.drain()
    assert again == first


def test_text_that_is_no_text_is_isolated(postgres: PostgresNode) -> None:
    """A database without an encoding may hold any bytes: such rows are told, their neighbours flow on."""
    name = "ascii_bytes"
    postgres.delete_database(name)
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    bench = Bench.postgres(postgres.database(name))
    try:
        with psycopg.connect(postgres.database(name), client_encoding="UTF8", autocommit=True) as connection:
            connection.execute("CREATE TABLE t (id int PRIMARY KEY, name text, updated_at timestamptz)")
            gbk = "convert_from('\\xd5c5c8fd'::bytea, 'SQL_ASCII')"
            connection.execute(f"INSERT INTO t VALUES (1, 'a', now()), (2, {gbk}, now()), (3, 'c', now())")
        bench.open()
        batch = bench.read()
        assert [row[0] for row in batch.rows] == [1, 3]
        (bad,) = batch.unreadable
        assert bad.reason == "undecodable"
        assert bad.details == {"column": "name"}
        assert b'"id": 2' in bad.raw
    finally:
        bench.close()
        postgres.delete_database(name)


def test_names_are_taken_as_they_stand(any_database: Bench) -> None:
    """Chinese names, capitals, spaces, percent signs and reserved words are read without further ado."""
    quote = "`" if any_database.engine.dialect.name == "mysql" else '"'
    q = lambda name: f"{quote}{name}{quote}"  # noqa: E731
    percent = q("100%合格") if any_database.engine.dialect.name == "sqlite" else q("100%合格").replace("%", "%%")
    any_database.run(
        f"CREATE TABLE {q('Order 表')} ({q('主键')} int PRIMARY KEY, {percent} text, {q('select')} text, {q('Gxsj')} timestamp NULL)",
        f"INSERT INTO {q('Order 表')} VALUES (1, 'a', 'b', '2026-11-21 08:00:00')",
    )
    any_database.open(table="Order 表", key=("主键",), cursor="Gxsj")
    row = any_database.drain()[0]
    assert (row["主键"], row["100%合格"], row["select"]) == (1, "a", "b")
