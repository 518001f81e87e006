"""First load and polling on real databases: nothing left out, nothing read for ever, trouble told as what it is."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from agent.adapters.clock import SystemClock
from agent.errors import SourceGone, SourceRefused, SourceUnavailable
from agent.model import START, Position
from agent.ports import Keyed
from agent.testing.nodes.postgres import PostgresDatabase, PostgresNode
from connectors.database.connect import database_for, database_of
from connectors.database.describe import describe_table, list_tables
from tests.integration.connectors.database_kit import Bench

pytestmark = pytest.mark.integration


def fill(bench: Bench, count: int, *, at: str = "2026-11-20 10:00:00", first: int = 1, extra: str = "") -> None:
    """Create the table of a test and rows with ascending ids and one cursor value."""
    bench.run(
        f"CREATE TABLE t (id int PRIMARY KEY, name varchar(40), updated_at timestamp NULL{extra})",
        "CREATE INDEX t_updated_at ON t (updated_at, id)",
    )
    insert(bench, first, count, at)


def insert(bench: Bench, first: int, count: int, at: str) -> None:
    rows = ", ".join(f"({n}, 'x', '{at}')" for n in range(first, first + count))
    bench.run(f"INSERT INTO t (id, name, updated_at) VALUES {rows}")


def ids(rows: list[dict[str, Any]]) -> list[Any]:
    return [row["id"] for row in rows]


# -- nothing is left out -----------------------------------------------------------------------------------------------


def test_rows_that_share_a_cursor_value_are_all_read(any_database: Bench) -> None:
    """A page may end in the midst of rows with one cursor value; the next begins behind the last of them."""
    fill(any_database, 1)
    any_database.open()
    any_database.drain()
    insert(any_database, 2, 50, "2026-11-20 11:00:00")
    assert ids([row for row in any_database.drain(limit=7) if row["id"] > 1]) == list(range(2, 52))


def test_changes_during_the_first_load_are_read_after_it(any_database: Bench) -> None:
    """Rows behind the place the load has got to may change: polling starts before the load did."""
    fill(any_database, 30)
    any_database.open()
    for _ in range(3):
        any_database.read(limit=5)
    any_database.run("UPDATE t SET name = 'new', updated_at = '2026-11-20 10:00:30' WHERE id = 2")
    insert(any_database, 0, 1, "2026-11-20 10:00:31")
    rows = any_database.drain(limit=5) + any_database.drain(limit=5)
    assert {"id": 2, "name": "new"}.items() <= next(row for row in reversed(rows) if row["id"] == 2).items()
    assert 0 in ids(rows)
    assert set(ids(rows)) >= set(range(16, 31))


def test_what_was_being_written_when_the_load_began_is_read(pg: Bench) -> None:
    """A transaction that was open at the beginning and commits after its page was read is within the window."""
    fill(pg, 10)
    with psycopg.connect(host=str(pg.engine.url.host), **_login(pg)) as writer:
        writer.execute("INSERT INTO t VALUES (-5, 'late', '2026-11-20 09:59:50')")
        pg.open()
        before = pg.drain()
        writer.commit()
    assert -5 not in ids(before)
    assert -5 in ids(pg.drain())


def test_a_row_that_commits_late_is_read(pg: Bench) -> None:
    """An older cursor value that becomes visible after newer ones is found while it is within the window, and only then."""
    fill(pg, 3)
    pg.open()
    pg.drain()
    with psycopg.connect(host=str(pg.engine.url.host), **_login(pg)) as writer:
        writer.execute("INSERT INTO t VALUES (50, 'late', '2026-11-20 11:00:00')")
        insert(pg, 60, 1, "2026-11-20 11:00:05")
        assert 60 in ids(pg.drain())
        pg.clock.advance(20)
        pg.drain()
        writer.commit()
    assert 50 in ids(pg.drain())


def test_a_settled_table_is_no_longer_read_again(any_database: Bench) -> None:
    """After the window an idle table gives nothing, at a position that stays."""
    fill(any_database, 20)
    any_database.open()
    any_database.drain()
    for _ in range(3):
        any_database.clock.advance(31)
        any_database.drain()
    rest = any_database.position
    assert any_database.drain() == []
    assert any_database.position == rest


@pytest.mark.parametrize("hours_off", [0, -8])
def test_one_wrong_date_in_the_future_hides_nothing(any_database: Bench, hours_off: int) -> None:
    """A row dated years ahead does not make polling wait until then, not even where times are in another zone than we think."""
    zone = ZoneInfo("UTC" if any_database.engine.dialect.name == "mysql" else "Asia/Shanghai")  # how the test's session writes
    written = SystemClock().now().astimezone(zone) + timedelta(hours=hours_off, seconds=-100)
    at = lambda secs: (written + timedelta(seconds=secs)).strftime("%Y-%m-%d %H:%M:%S")  # noqa: E731
    fill(any_database, 1, at=at(0))
    insert(any_database, 99, 1, "2037-01-01 00:00:00")
    any_database.open()
    any_database.drain()
    for number in range(2, 8):
        any_database.clock.advance(31)
        insert(any_database, number, 1, at(number))
        assert number in ids(any_database.drain())


def test_rows_without_a_cursor_value_are_read_once(any_database: Bench) -> None:
    """The first load finds them; polling cannot, and check says so."""
    fill(any_database, 2)
    any_database.run("INSERT INTO t VALUES (7, 'x', NULL)")
    any_database.open()
    assert ids(any_database.drain()).count(7) == 1
    assert 7 not in ids(any_database.drain())
    texts = [finding.text for finding in any_database.source.check() if finding.warning]
    assert any("no value in {cursor}" in text for text in texts)


def test_rows_without_a_key_do_not_go_unseen(any_database: Bench) -> None:
    """No page reaches a NULL in the key: such rows come on a page of their own, for the host to quarantine."""
    any_database.run(
        "CREATE TABLE t (id int, name varchar(9), updated_at timestamp NULL)",
        "INSERT INTO t VALUES (1, 'a', '2026-11-20 10:00:00'), (NULL, 'b', '2026-11-20 10:00:00'), (2, 'c', NULL)",
    )
    any_database.open()
    assert set(ids(any_database.drain())) == {1, 2, None}


def test_a_composite_key_is_paged_in_order(any_database: Bench) -> None:
    """All columns of the key count, in their order."""
    any_database.run("CREATE TABLE t (a varchar(9), b int, updated_at timestamp NULL, PRIMARY KEY (a, b))")
    rows = ", ".join(f"('k{n // 7}', {n % 7}, '2026-11-20 10:00:00')" for n in range(40))
    any_database.run(f"INSERT INTO t VALUES {rows}")
    any_database.open(key=("a", "b"))
    loaded = []
    while (batch := any_database.read(limit=3)).loading is not None:
        loaded += [row[:2] for row in batch.rows]
    assert loaded == [(f"k{n // 7}", n % 7) for n in range(40)]


def test_a_number_as_cursor(any_database: Bench) -> None:
    """A version number works as a cursor; late ones are found within the window."""
    any_database.run("CREATE TABLE t (id int PRIMARY KEY, version bigint)", "INSERT INTO t VALUES (1, 1), (2, 2)")
    any_database.open(cursor="version")
    any_database.drain()
    any_database.run("UPDATE t SET version = 10 WHERE id = 1")
    assert 1 in ids(any_database.drain())
    any_database.clock.advance(10)
    any_database.run("UPDATE t SET version = 9 WHERE id = 2")
    assert 2 in ids(any_database.drain())


def test_a_date_as_cursor_reads_the_whole_day_again(any_database: Bench) -> None:
    """Rows of a day may come at any time of it: the last day is never settled as a whole."""
    any_database.run("CREATE TABLE t (id int PRIMARY KEY, day date)", "INSERT INTO t VALUES (1, '2026-11-19')")
    any_database.open(cursor="day")
    any_database.drain()
    for _ in range(3):
        any_database.clock.advance(31)
        any_database.drain()
    any_database.run("INSERT INTO t VALUES (2, '2026-11-19')")
    assert 2 in ids(any_database.drain())


def test_a_table_without_a_cursor_is_walked_each_time(any_database: Bench) -> None:
    """Each run reads it from end to end; the first tells progress, the position rests at the same place."""
    fill(any_database, 12)
    any_database.open(cursor=None)
    first = any_database.read(limit=5)
    assert first.loading is not None
    any_database.drain(limit=5)
    any_database.drain(limit=5)
    rest = any_database.position
    any_database.run("UPDATE t SET name = 'new' WHERE id = 3")
    rows = any_database.drain(limit=5)
    assert ids(rows) == list(range(1, 13))
    assert rows[2]["name"] == "new"
    assert any_database.position == rest


def test_a_condition_limits_what_is_read(any_database: Bench) -> None:
    """`where` is part of every page."""
    fill(any_database, 10)
    any_database.open(where="id % 2 = 0 AND name LIKE 'x%'")
    assert set(ids(any_database.drain(limit=2))) == {2, 4, 6, 8, 10}


def test_only_what_is_needed_is_read(any_database: Bench) -> None:
    """The account needs no right on other columns: the columns of map, key and cursor are all that is asked for."""
    fill(any_database, 1, extra=", secret varchar(9)")
    any_database.open(columns=("name",))
    assert set(any_database.drain()[0]) == {"name", "id", "updated_at"}


def test_single_records_are_looked_up_by_key(any_database: Bench) -> None:
    """The host asks for keys as they are now."""
    fill(any_database, 9)
    any_database.open()
    source = any_database.source
    assert isinstance(source, Keyed)
    any_database.run("UPDATE t SET name = 'now' WHERE id = 4")
    batch = source.read_keys(['[["i","4"]]', '[["i","8"]]', '[["i","77"]]'])
    assert [row[:2] for row in batch.rows] == [(4, "now"), (8, "x")]
    assert source.read_keys([]).rows == []


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_a_key_that_is_not_unique_stops_the_flow(any_database: Bench) -> None:
    """Two rows under one key would be one record that changes for ever: that is told instead of sent."""
    any_database.run(
        "CREATE TABLE t (id int NOT NULL, name varchar(9), updated_at timestamp NULL)",
        "INSERT INTO t VALUES (1, 'a', '2026-11-20 10:00:00'), (1, 'b', '2026-11-20 10:00:00')",
    )
    any_database.open()
    with pytest.raises(SourceRefused, match="not unique"):
        any_database.drain()


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"table": "nowhere"}, "no table nowhere"),
        ({"key": ("no_such",)}, "no column no_such"),
        ({"cursor": "no_such"}, "no column no_such"),
        ({"where": "no such thing"}, "refuses"),
    ],
)
def test_what_is_not_there_is_named(any_database: Bench, settings: dict[str, Any], said: str) -> None:
    """A missing table or column, or a condition that is no SQL, is refused with its name; check finds it too."""
    fill(any_database, 1)

    def read() -> None:
        any_database.open(**settings)
        any_database.drain()

    with pytest.raises(SourceRefused, match=re.escape(said)):
        read()
    assert [f for f in any_database.build(**settings).check() if not f.ok and not f.warning]


def test_a_position_of_another_table_is_lost(any_database: Bench) -> None:
    """After the key was changed in the settings, the old position is not read on from."""
    fill(any_database, 3)
    any_database.open()
    any_database.read(limit=2)
    stored = any_database.position
    any_database.open(key=("id", "name"))
    with pytest.raises(SourceGone):
        any_database.source.read(stored, 10)
    with pytest.raises(SourceGone):
        any_database.source.read(Position("nonsense"), 10)


def test_the_account_cannot_write_through_us(any_database: Bench) -> None:
    """Sessions are read-only: even a condition with side effects changes nothing."""
    fill(any_database, 1)
    any_database.open()
    session = database_of(any_database.wiring()).connect()
    with contextlib.closing(session), pytest.raises((SourceRefused, SourceUnavailable)):
        session.value("DELETE FROM t")
    assert set(ids(any_database.drain())) == {1}


def test_a_statement_that_takes_too_long_is_ended(pg_database: PostgresDatabase) -> None:
    """The limit of a statement is kept, and the hint speaks of the index."""
    bench = Bench.postgres(pg_database, statement_timeout="1s")
    try:
        fill(bench, 1)
        bench.open(where="pg_sleep(30) IS NULL")
        with pytest.raises(SourceRefused, match="longer than 1 s") as caught:
            bench.drain()
        assert "index" in caught.value.hint
    finally:
        bench.close()


def test_a_long_statement_in_sqlite_is_ended(tmp_path: Path) -> None:
    """SQLite has no such limit of its own; ours interrupts it."""
    bench = Bench.sqlite(tmp_path)
    try:
        bench.connection = type(bench.connection).of(type="sqlite", path=str(tmp_path / "registry.db"), statement_timeout="1s")
        fill(bench, 1)
        endless = "id < (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e12) SELECT count(*) FROM n)"
        bench.open(where=endless)
        with pytest.raises(SourceRefused, match="longer than 1 s"):
            bench.drain()
    finally:
        bench.close()


def test_another_file_in_place_of_the_database_is_noticed(lite: Bench, tmp_path: Path) -> None:
    """A file that was put in place of the old one is another source, and the old one is not read on."""
    fill(lite, 3)
    before = lite.open()
    (tmp_path / "registry.db").rename(tmp_path / "old.db")
    fill(lite, 3)
    with pytest.raises(SourceUnavailable):
        lite.drain()
    assert lite.open() != before


def test_errors_do_not_repeat_values(pg: Bench) -> None:
    """What a database says about a row is personal data: it does not get into our errors."""
    fill(pg, 1)
    pg.run("UPDATE t SET name = '绝密'")
    pg.open(where="name::int > 0")
    with pytest.raises(SourceRefused) as caught:
        pg.drain()
    assert "绝密" not in str(caught.value)


# -- restarts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(private_postgres: PostgresNode) -> Iterator[Bench]:
    bench = Bench.postgres(private_postgres.add_database("registry"), connect_timeout="2s")
    yield bench
    bench.close()


@pytest.mark.faults
@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_server_that_restarts_costs_a_reconnect(own: Bench, private_postgres: PostgresNode, how: str) -> None:
    """Restarted or killed in mid-load, the server is reconnected to and the load goes on where it was."""
    fill(own, 100)
    incarnation = own.open()
    read = ids([dict(zip(b.columns, row, strict=True)) for b in (own.read(10), own.read(10)) for row in b.rows])
    if how == "restart":
        private_postgres.restart()
    else:
        private_postgres.kill()
        private_postgres.start()
    with pytest.raises(SourceUnavailable):
        own.drain(limit=10)
    assert own.open() == incarnation
    assert sorted({*read, *ids(own.drain(limit=10))}) == list(range(1, 101))


@pytest.mark.faults
def test_a_server_that_is_gone_is_told_quickly(own: Bench, private_postgres: PostgresNode) -> None:
    """A server that does not run is unavailable, also to check."""
    fill(own, 1)
    private_postgres.stop()
    with pytest.raises(SourceUnavailable):
        own.open()
    (finding,) = own.source.check()
    assert not finding.ok


# -- describing --------------------------------------------------------------------------------------------------------


def test_a_table_describes_itself(pg: Bench) -> None:
    """Columns with their comments, the key, and the column that looks like a time of change."""
    pg.run(
        "CREATE TABLE qszt (bdcdyh varchar(28) PRIMARY KEY, qlrmc text, djsj timestamp, gxsj timestamptz NOT NULL)",
        "CREATE INDEX ON qszt (gxsj)",
        "COMMENT ON TABLE qszt IS '权属状态'",
        "COMMENT ON COLUMN qszt.qlrmc IS '权利人名称'",
    )
    table = describe_table(database_for(pg.connection, lambda _name: pg.password, "Asia/Shanghai"), "public.qszt")
    assert (table.comment, table.key, table.cursor) == ("权属状态", ("bdcdyh",), "gxsj")
    assert {c.name: (c.type, c.comment) for c in table.columns}["qlrmc"] == ("text", "权利人名称")


def test_tables_are_listed(any_database: Bench) -> None:
    """Tables and views of the default schema, by name."""
    fill(any_database, 1)
    any_database.run("CREATE VIEW a_view AS SELECT id FROM t")
    assert list_tables(database_for(any_database.connection, lambda _name: any_database.password, "UTC")) == ["a_view", "t"]


def test_check_names_the_risks(any_database: Bench) -> None:
    """Without index, unique key or sure cursor, each is a warning with what to do; the residual risk is always told."""
    any_database.run(
        "CREATE TABLE t (id int NOT NULL, name varchar(40), updated_at varchar(40))",
        "INSERT INTO t VALUES (1, 'a', '20261121')",
    )
    findings = any_database.build().check()
    warnings = " | ".join(f.text for f in findings if f.warning)
    assert "nothing in the database keeps the key" in warnings
    assert "no index begins with {cursor}" in warnings
    assert "neither a time nor a number" in warnings
    assert all(f.hint for f in findings if f.warning)
    (risk,) = [f for f in findings if "found by the next comparison only" in f.text]
    assert risk.details["secs"] == "30"


def test_check_of_a_good_table_warns_of_nothing(any_database: Bench) -> None:
    """A table as it should be gives no warning but that of a too mighty account."""
    any_database.run(
        "CREATE TABLE t (id int PRIMARY KEY, name varchar(40), updated_at timestamp NOT NULL DEFAULT '2026-01-01 00:00:00')",
        "CREATE INDEX t_updated_at ON t (updated_at, id)",
        "INSERT INTO t VALUES (1, 'a', '2026-11-20 10:00:00')",
    )
    assert {f.subject for f in any_database.build().check() if not f.ok} <= {"privileges"}
    assert any_database.position == START


def _login(bench: Bench) -> dict[str, Any]:
    url = bench.engine.url
    return {"port": url.port, "user": url.username, "password": bench.password, "dbname": url.database}
