"""The log of a real PostgreSQL as a stream: nothing missed, nothing twice, whatever transactions and servers do."""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy.event import listen

from agent.errors import SourceGone, SourceRefused
from agent.model import Op, Value
from agent.testing.clock import FakeClock
from agent.testing.nodes.postgres import PostgresDatabase as Server
from agent.testing.nodes.postgres import PostgresNode
from connectors.database.dialects.base import Session
from connectors.database.dialects.postgres import PostgresDatabase
from connectors.database.settings import DatabaseFrom, PostgresConnection
from connectors.database.streams.about import About
from connectors.database.streams.choose import choose
from connectors.database.streams.slot import SlotStream, log_of, obstacle, stream_of
from connectors.database.streams.slot_server import (
    check_slot,
    database_number,
    retention,
    slot_ddl,
    slot_drop_ddl,
    slot_of,
)
from connectors.database.streams.stream import Changes, Mark
from connectors.database.tables.pages import Pages
from connectors.database.tables.reader import TableReader
from connectors.database.tables.shape import shape_of

pytestmark = pytest.mark.integration


class Kit:
    """A database, applications that write to it, and a host that follows one table."""

    def __init__(self, server: Server, **connection: object) -> None:
        self.server = server
        fields = {"host": server.host, "port": server.port, "database": server.database, "user": server.user, "tls": "disable"}
        settings = PostgresConnection.of(type="postgres", **{**fields, **connection})
        self.database = PostgresDatabase(settings, server.password, "huitong test", "UTC")
        self.session = self.database.connect()
        self.app = self.client()
        self.clock = FakeClock()
        self.mark: Mark = None
        self.streams: list[SlotStream] = []
        self.slots: list[str] = []

    def client(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.server, autocommit=True)

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.app.execute(statement)

    def follow(self, table: str = "t", key: Sequence[str] = ("id",), columns: Sequence[str] = (), **more: Any) -> SlotStream:
        """Make publication and slot as the operator would, and begin to follow the table."""
        name = f"h{secrets.token_hex(5)}"
        self.run(*slot_ddl(name, name, more.pop("table_sql", table)))
        self.slots.append(name)
        self.stream = self.open(table, key, columns, **more)
        self.mark = self.stream.begin()
        return self.stream

    def open(self, table: str = "t", key: Sequence[str] = ("id",), columns: Sequence[str] = (), **more: Any) -> SlotStream:
        settings = DatabaseFrom.of(connection="c", table=table, key=tuple(key), every="5s", **more)
        self.session.close()
        self.session = self.database.connect()  # what the catalogue said before is remembered by a session
        self.shape = shape_of(self.database, self.session, settings, columns)
        stream = SlotStream(self.database, self.session, self.shape, self.slots[-1], self.slots[-1], self.clock)
        self.streams.append(stream)
        return stream

    def pages(self, limit: int = 1000) -> list[Changes]:
        """Read until the log as it is now is read."""
        head, pages = self.stream.head(), []
        while not self.stream.covers(self.mark, head):
            changes = self.stream.read(self.mark, limit)
            assert len(changes.rows) <= limit
            self.mark = changes.mark
            pages.append(changes)
        return pages

    def changes(self, limit: int = 1000) -> list[tuple[Value, ...]]:
        """Return (op, *row) of what changed."""
        return [change for page in self.pages(limit) for change in shown(page)]

    def close(self) -> None:
        for stream in self.streams:
            stream.close()
        self.session.close()
        with contextlib.suppress(psycopg.Error):
            self.app.close()
        with self.client() as last:
            last.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
            )


def shown(page: Changes) -> list[tuple[Value, ...]]:
    assert page.ops is not None
    return [({Op.UPSERT: "+", Op.DELETE: "-"}[op], *row) for op, row in zip(page.ops, page.rows, strict=True)]


def tokens(pages: Sequence[Changes]) -> list[str]:
    return [token for page in pages for token in page.tokens or ()]


@pytest.fixture
def kit(pg_database: Server) -> Iterator[Kit]:
    """A table t (id, v) that is not followed yet."""
    made = Kit(pg_database)
    made.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    yield made
    made.close()


def test_every_change_comes_in_order(kit: Kit) -> None:
    """Insert, update, change of key, there and back again, delete and insert again: each is one change, a new key two."""
    kit.run("INSERT INTO t VALUES (1, 'old')")
    kit.follow()
    kit.run(
        "INSERT INTO t VALUES (2, 'A'), (3, '')",
        "UPDATE t SET v = 'B' WHERE id = 2",
        "UPDATE t SET v = 'A' WHERE id = 2",
        "UPDATE t SET id = 4, v = NULL WHERE id = 3",
        "DELETE FROM t WHERE id = 1",
        "INSERT INTO t VALUES (1, 'new')",
    )
    pages = kit.pages()
    assert [change for page in pages for change in shown(page)] == [
        ("+", 2, "A"),
        ("+", 3, ""),
        ("+", 2, "B"),
        ("+", 2, "A"),
        ("-", 3, None),
        ("+", 4, None),
        ("-", 1, None),
        ("+", 1, "new"),
    ]
    assert len(set(tokens(pages))) == 8
    (page,) = [page for page in pages if page.rows]
    assert list(page.ends) == [1, 2, 3, 5, 6, 7]
    assert page.times is not None
    assert all(str(time).endswith("+00:00") and len(str(time)) == 32 for time in page.times)
    assert kit.changes() == []


def test_transactions_that_do_not_commit_are_not_seen(kit: Kit) -> None:
    """What was rolled back, whole or to a savepoint, never comes; what a savepoint released does."""
    kit.follow()
    kit.run(
        "BEGIN; INSERT INTO t VALUES (1, 'a'); ROLLBACK",
        "BEGIN; INSERT INTO t VALUES (2, 'b'); SAVEPOINT s; INSERT INTO t VALUES (3, 'c'); ROLLBACK TO s;"
        "SAVEPOINT r; INSERT INTO t VALUES (4, 'd'); RELEASE r; COMMIT",
    )
    assert kit.changes() == [("+", 2, "b"), ("+", 4, "d")]


def test_a_prepared_transaction_comes_when_it_commits(kit: Kit) -> None:
    """Two-phase commit: nothing at PREPARE, everything at COMMIT PREPARED, even when others committed in between."""
    kit.follow()
    kit.run("BEGIN; INSERT INTO t VALUES (1, 'a'); PREPARE TRANSACTION 'slot_p'", "INSERT INTO t VALUES (2, 'b')")
    assert kit.changes() == [("+", 2, "b")]
    kit.stream.commit(kit.mark)
    kit.run("COMMIT PREPARED 'slot_p'")
    assert kit.changes() == [("+", 1, "a")]


@pytest.mark.parametrize("first_begun_first_committed", [True, False])
def test_late_commits_are_not_missed(kit: Kit, first_begun_first_committed: bool) -> None:
    """Of two transactions that overlap, each comes when it commits, in whichever order; those open at the beginning too."""
    one, two = kit.client(), kit.client()
    kit.follow()  # making a slot waits for open transactions
    one.execute("BEGIN; INSERT INTO t VALUES (1, 'one')")
    kit.mark = kit.stream.begin()
    two.execute("BEGIN; INSERT INTO t VALUES (2, 'two')")
    assert kit.changes() == []
    order = [(one, ("+", 1, "one")), (two, ("+", 2, "two"))]
    for client, change in order if first_begun_first_committed else reversed(order):
        client.execute("COMMIT")
        assert kit.changes() == [change]
        kit.stream.commit(kit.mark)
    one.close()
    two.close()


def test_what_was_visible_at_the_beginning_is_passed_over(kit: Kit) -> None:
    """A slot that waited for long: what the first load sees does not come from the log once more."""
    kit.follow()
    kit.run("INSERT INTO t SELECT n, 'x' FROM generate_series(1, 50) AS n")
    kit.mark = kit.stream.begin()
    assert set(kit.mark) == {"lsn", "seen", "until"}
    kit.run("UPDATE t SET v = 'y' WHERE id = 7")
    assert kit.changes() == [("+", 7, "y")]
    assert set(kit.mark) == {"lsn"}


def test_a_huge_transaction_is_read_in_pages_and_resumed_in_its_middle(kit: Kit) -> None:
    """200 000 rows of one transaction: pages of 1000, and from any page on the same rows with the same tokens come again."""
    kit.follow()
    begin = kit.mark
    kit.run("INSERT INTO t VALUES (0, 'before')", "INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 200000) AS n")
    kit.run("INSERT INTO t VALUES (-1, 'after')")
    pages = kit.pages()
    rows = [row for page in pages for row in page.rows]
    assert [row[0] for row in rows] == [*range(200_001), -1]
    told = tokens(pages)
    assert len(set(told)) == 200_002
    assert sum(len(page.ends) for page in pages) == 3
    for number in (0, 57, 199):
        again = kit.open()
        kit.stream, kit.mark = again, pages[number].mark
        assert set(kit.mark) >= {"lsn", "into", "index"}
        again.commit(kit.mark)  # only to where the transaction before it ended
        assert tokens(kit.pages(50_000)) == told[1000 * (number + 1) :]
        again.close()
    kit.stream, kit.mark = kit.open(), begin
    with pytest.raises(SourceGone):  # the slot has moved on behind the first transaction
        kit.pages()


def test_what_was_read_but_not_committed_comes_again(kit: Kit) -> None:
    """A crash between read and commit: the same changes have the same tokens, and nothing behind the mark is repeated."""
    kit.follow()
    kit.run("INSERT INTO t VALUES (1, 'a')", "UPDATE t SET id = 2 WHERE id = 1")
    mark = kit.mark
    first = tokens(kit.pages(limit=2))
    kit.stream.close()
    kit.stream, kit.mark = kit.open(), mark
    assert tokens(kit.pages(limit=1)) == first
    assert len(first) == 3
    kit.stream.commit(kit.mark)
    kit.stream.commit(mark)  # never back
    assert kit.changes() == []


def test_an_emptied_table_is_told(kit: Kit) -> None:
    """TRUNCATE: the changes before it end their page, those after it come with the news; a foreign truncate says nothing."""
    kit.run("CREATE TABLE other (id int PRIMARY KEY)")
    kit.follow(table_sql="t, other")
    kit.run(
        "INSERT INTO t VALUES (1, 'a')",
        "BEGIN; INSERT INTO t VALUES (2, 'b'); TRUNCATE t; INSERT INTO t VALUES (3, 'c'); COMMIT",
        "TRUNCATE other",
        "TRUNCATE t",
    )
    told = [(page.emptied, [row[0] for row in page.rows], list(page.ends)) for page in kit.pages() if page.rows or page.emptied]
    assert told == [(False, [1, 2], [0]), (True, [3], [0]), (True, [], [])]


def test_values_that_were_not_logged_are_read_from_the_table(kit: Kit) -> None:
    """A long value that an update left alone is completed; a row that went meanwhile is left to the delete that follows."""
    kit.run(
        "ALTER TABLE t ALTER v SET STORAGE EXTERNAL, ADD n int",
        "INSERT INTO t VALUES (1, repeat('长', 4000)), (2, repeat('x', 9000))",
    )
    kit.follow()
    kit.run("UPDATE t SET n = 1", "UPDATE t SET id = 3 WHERE id = 1")
    long = "长" * 4000
    assert kit.changes() == [("+", 2, "x" * 9000, 1), ("-", 1, None, None), ("+", 3, long, 1)]
    kit.run("UPDATE t SET n = 2 WHERE id = 2", "DELETE FROM t WHERE id = 2")
    pages = kit.pages()
    assert [c for page in pages for c in shown(page)] == [("-", 2, None, None)]
    assert [list(page.ends) for page in pages if page.rows] == [[0]]
    kit.run("ALTER TABLE t REPLICA IDENTITY FULL", "UPDATE t SET n = 5 WHERE id = 3", "DELETE FROM t")
    assert kit.changes() == [("+", 3, long, 5), ("-", 3, None, None)]


def test_a_table_that_is_altered_on_the_way(kit: Kit) -> None:
    """Columns added or retyped do not disturb; a column of the flow that is dropped is refused; one added later is read."""
    kit.follow()
    kit.run("INSERT INTO t VALUES (1, '7')", "ALTER TABLE t ADD w int DEFAULT 5", "INSERT INTO t VALUES (2, '8', 9)")
    assert kit.changes() == [("+", 1, "7"), ("+", 2, "8")]
    kit.run(
        "INSERT INTO t VALUES (3, '9')",
        "ALTER TABLE t ALTER v TYPE int USING v::int, ADD z int DEFAULT 1",
        "UPDATE t SET v = 10 WHERE id = 3",
    )
    mark = kit.mark
    assert kit.changes() == [("+", 3, "9"), ("+", 3, 10)]
    kit.stream, kit.mark = kit.open(), mark
    assert kit.changes() == [("+", 3, "9", 5, 1), ("+", 3, 10, 5, 1)]
    kit.run("ALTER TABLE t DROP v", "UPDATE t SET w = 0 WHERE id = 3")
    with pytest.raises(SourceRefused):
        kit.changes()


def test_two_slots_on_one_table_know_nothing_of_each_other(kit: Kit) -> None:
    """Each has its own place; committing one leaves the other where it is."""
    one = kit.follow()
    mark = kit.mark
    kit.follow()
    kit.run("INSERT INTO t VALUES (1, 'a')")
    assert kit.changes() == [("+", 1, "a")]
    kit.stream.commit(kit.mark)
    kit.stream, kit.mark = one, mark
    assert kit.changes() == [("+", 1, "a")]


def test_a_busy_neighbour_moves_the_slot_on(kit: Kit) -> None:
    """Nothing of ours was logged: the mark moves all the same, and committing it lets the server drop its log."""
    kit.run("CREATE TABLE other (id int)")
    kit.follow()
    before = kit.mark
    kit.run("INSERT INTO other SELECT generate_series(1, 100000)", "CHECKPOINT")
    assert kit.changes() == []
    assert kit.stream.covers(kit.mark, before)
    assert kit.mark["lsn"] != before["lsn"]
    kit.stream.commit(kit.mark)
    found = kit.app.execute(
        "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s", kit.slots
    ).fetchone()
    assert found == (kit.mark["lsn"],)


def test_the_window_of_a_peek_loses_nothing(kit: Kit) -> None:
    """However little of the log is decoded at a time, every change comes once."""
    kit.run("CREATE TABLE other (id int)")
    kit.follow()
    for n in range(20):
        kit.run(f"INSERT INTO t VALUES ({n}, 'x')", "INSERT INTO other SELECT generate_series(1, 50)")
    kit.stream._window = 256
    assert [row[1] for row in kit.changes(limit=3)] == list(range(20))


def test_a_slot_that_is_gone_is_said_to_be_gone(kit: Kit) -> None:
    """Dropped, made anew or of another plugin: the position is lost; at the beginning it is a refusal with a hint."""
    stream = kit.follow()
    kit.run("INSERT INTO t VALUES (1, 'a')")
    kit.run(*slot_drop_ddl(kit.slots[0], kit.slots[0]))
    with pytest.raises(SourceGone, match="no replication slot"):
        stream.read(kit.mark, 10)
    with pytest.raises(SourceRefused, match=kit.slots[0]):
        stream.begin()
    kit.run(*slot_ddl(kit.slots[0], kit.slots[0], "t"))
    with pytest.raises(SourceGone, match="made again"):
        stream.read(kit.mark, 10)
    for nonsense in (None, {}, {"lsn": "x"}, {"lsn": "0/0", "index": "a"}, "0/0", {"lsn": "FFFFFF/0"}):
        with pytest.raises(SourceGone):
            stream.read(nonsense, 10)
    kit.run(
        *slot_drop_ddl(kit.slots[0], kit.slots[0]),
        f"SELECT pg_create_logical_replication_slot('{kit.slots[0]}', 'test_decoding')",
    )
    with pytest.raises(SourceRefused):
        stream.begin()


def test_what_the_log_cannot_tell_is_refused_before_anything_is_read(kit: Kit) -> None:
    """A key outside the replica identity, a table that is not published, a condition that the publication does not have."""
    kit.run("CREATE TABLE u (id int PRIMARY KEY, code text NOT NULL UNIQUE)")
    with pytest.raises(SourceRefused, match="key") as caught:
        kit.follow("u", ("code",))
    assert "REPLICA IDENTITY" in caught.value.hint
    kit.run("ALTER TABLE u REPLICA IDENTITY USING INDEX u_code_key")
    kit.stream = kit.open("u", ("code",))
    kit.mark = kit.stream.begin()
    kit.run("INSERT INTO u VALUES (1, 'a')", "UPDATE u SET code = 'b'", "DELETE FROM u")
    assert kit.changes() == [("+", 1, "a"), ("-", None, "a"), ("+", 1, "b"), ("-", None, "b")]
    with pytest.raises(SourceRefused, match="does not tell"):
        kit.open("t").begin()
    with pytest.raises(SourceRefused, match="condition"):
        kit.open("u", ("code",), where="id > 5").begin()
    kit.follow("t", table_sql="t WHERE (id > 5)", where="id > 5")
    kit.run("INSERT INTO t VALUES (1, 'out'), (6, 'in')")
    assert kit.changes() == [("+", 6, "in")]


def test_a_partitioned_table_is_followed_as_a_whole(kit: Kit) -> None:
    """Changes of partitions come as changes of their table."""
    kit.run(
        "CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE p2 (v text, gone int, id int NOT NULL)",
        "ALTER TABLE p2 DROP gone",
        "ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)",
    )
    kit.follow("p")
    kit.run("INSERT INTO p VALUES (1, 'a'), (11, 'b')", "UPDATE p SET id = 12 WHERE id = 1", "TRUNCATE p")
    pages = kit.pages()
    assert [c for page in pages for c in shown(page)] == [("+", 1, "a"), ("+", 11, "b"), ("-", 1, None), ("+", 12, "a")]
    assert [page.emptied for page in pages if page.rows or page.emptied] == [False, True]


def test_an_account_with_little_rights_can_follow(kit: Kit) -> None:
    """REPLICATION and SELECT are enough, in a session that is read-only; without REPLICATION doctor says so."""
    role = f"r{secrets.token_hex(4)}"
    kit.run(f"CREATE ROLE {role} LOGIN PASSWORD 'p'", f"GRANT SELECT ON t TO {role}")
    kit.follow()
    server = Server(host=kit.server.host, port=kit.server.port, user=role, password="p", database=kit.server.database)
    other = Kit(server)
    try:
        other.slots = kit.slots[:]
        stream = other.open()
        findings = check_slot(other.database, other.session, other.shape, kit.slots[0], kit.slots[0])
        assert [f.ok for f in findings][-1] is False
        kit.run(f"ALTER ROLE {role} REPLICATION")
        other.stream, other.mark = stream, stream.begin()
        kit.run("INSERT INTO t VALUES (1, 'a')")
        assert other.changes() == [("+", 1, "a")]
        stream.commit(other.mark)
        findings = check_slot(other.database, other.session, other.shape, kit.slots[0], kit.slots[0])
        assert [(f.ok, f.warning) for f in findings] == [(False, True)]  # no max_slot_wal_keep_size
        kept = retention(other.session, kit.slots[0])
        assert kept is not None
        assert (kept.bound, kept.status) == (None, "reserved")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            other.session.driver.execute("INSERT INTO t VALUES (9)")
    finally:
        stream.close()
        other.slots = []
        other.close()
        kit.run(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_a_restart_of_the_server_is_survived(private_postgres: PostgresNode) -> None:
    """Killed between read and commit: afterwards everything behind the mark comes, in the middle of a transaction too."""
    kit = Kit(private_postgres.add_database("d"))
    kit.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    kit.follow()
    kit.run("INSERT INTO t SELECT n, 'v' FROM generate_series(1, 5000) AS n")
    first = kit.stream.read(kit.mark, 2000)
    kit.stream.close()
    kit.session.close()
    kit.app.close()
    private_postgres.kill()
    private_postgres.start()
    kit.session, kit.app = kit.database.connect(), kit.client()
    kit.stream, kit.mark = kit.open(), first.mark
    assert [row[1] for row in kit.changes()] == list(range(len(first.rows) + 1, 5001))
    kit.close()


def test_what_waits_for_a_standby_is_not_told_before_others_see_it(private_postgres: PostgresNode) -> None:
    """A commit that is logged but not visible yet is held back, also when following begins meanwhile; then it comes once."""
    kit = Kit(private_postgres.add_database("d"))
    kit.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    kit.follow()
    early = kit.mark
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    kit.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
    with kit.client() as writer:
        thread = threading.Thread(target=writer.execute, args=("INSERT INTO t VALUES (1, 'a')",))
        try:
            eventually(lambda: kit.app.execute("SHOW synchronous_standby_names").fetchone() == ("nobody",))
            thread.start()
            eventually(lambda: kit.app.execute(waiting).fetchone() == (1,))
            assert kit.app.execute("SELECT count(*) FROM t").fetchone() == (0,)
            changes = kit.stream.read(early, 10)
            assert (list(changes.rows), changes.more) == ([], False)
            late = kit.stream.begin()
        finally:
            kit.run("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        thread.join(30)
    for mark in (early, changes.mark, late):
        kit.mark = mark
        assert kit.changes() == [("+", 1, "a")]
    kit.close()


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds, for half a minute at most."""
    deadline, pause = time.monotonic() + 30, threading.Event()
    while not holds():
        assert time.monotonic() < deadline
        pause.wait(0.01)


def test_a_slot_that_kept_too_much_is_lost(private_postgres: PostgresNode) -> None:
    """Beyond max_slot_wal_keep_size the server throws the log away: doctor warns at half of it, and reading says it is lost."""
    kit = Kit(private_postgres.add_database("d"))
    kit.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "ALTER SYSTEM SET max_slot_wal_keep_size = '64MB'",
        "SELECT pg_reload_conf()",
    )
    kit.follow()
    (well,) = check_slot(kit.database, kit.session, kit.shape, kit.slots[0], kit.slots[0])
    assert well.ok
    kit.run(*["SELECT pg_logical_emit_message(false, 'x', repeat('y', 10000000))"] * 4)
    (half,) = check_slot(kit.database, kit.session, kit.shape, kit.slots[0], kit.slots[0])
    assert not half.ok
    kit.run(*["SELECT pg_logical_emit_message(false, 'x', repeat('y', 10000000)), pg_switch_wal()"] * 10, "CHECKPOINT")
    with pytest.raises(SourceGone, match="threw the log away"):
        kit.stream.read(kit.mark, 10)
    kit.close()


# -- cost ------------------------------------------------------------------------------------------------------------


class Ticking(FakeClock):
    """A clock on which every look at it takes a while."""

    tick = 0.0

    def monotonic(self) -> float:
        self.advance(self.tick)
        return super().monotonic()


@pytest.fixture
def slow(kit: Kit) -> Ticking:
    """The clock of the kit, on which every look into the log takes as long as its `tick`."""
    kit.clock = clock = Ticking()
    return clock


def test_a_look_that_took_long_is_followed_by_a_rest(kit: Kit, slow: Ticking) -> None:
    """Nothing is read for twice as long as the last look took, then all that came meanwhile; a mark never moves in a rest."""
    stream = kit.follow()
    kit.run("INSERT INTO t VALUES (1, 'a')")
    slow.tick = 1.0
    first = stream.read(kit.mark, 10)
    slow.tick = 0.0
    assert len(first.rows) == 1
    kit.run("INSERT INTO t VALUES (2, 'b')")
    slow.advance(1.9)
    resting = stream.read(first.mark, 10)
    assert (list(resting.rows), resting.mark, resting.more) == ([], first.mark, False)
    slow.advance(0.2)
    assert [row[0] for row in stream.read(first.mark, 10).rows] == [2]


def test_no_rest_is_longer_than_some_seconds(kit: Kit, slow: Ticking) -> None:
    """However long a look took, after five seconds there is another."""
    stream = kit.follow()
    kit.run("INSERT INTO t VALUES (1, 'a')")
    slow.tick = 100.0
    mark = stream.read(kit.mark, 10).mark
    slow.tick = 0.0
    kit.run("INSERT INTO t VALUES (2, 'b')")
    slow.advance(4.9)
    assert not stream.read(mark, 10).rows
    slow.advance(0.2)
    assert [row[0] for row in stream.read(mark, 10).rows] == [2]


def test_nobody_is_kept_waiting_by_a_rest(kit: Kit, slow: Ticking) -> None:
    """A walk that waits for the log to pass a head does not wait longer than the log takes; no more do pages that are at hand."""
    stream = kit.follow()
    kit.run("INSERT INTO t SELECT n, 'x' FROM generate_series(1, 5) AS n")
    slow.tick = 100.0
    assert [row[0] for row in kit.changes(limit=2)] == ["+"] * 5
    slow.tick = 0.0
    kit.run("INSERT INTO t VALUES (6, 'b')")
    assert not stream.read(kit.mark, 10).rows
    assert kit.changes() == [("+", 6, "b")]


def test_an_idle_server_is_not_made_to_decode(private_postgres: PostgresNode) -> None:
    """When nothing was logged behind the mark, a poll is one statement on the catalogue and no look into the log."""
    kit = Kit(private_postgres.add_database("d"))
    kit.run("CREATE TABLE t (id int PRIMARY KEY, v text)", "CHECKPOINT")
    stream = kit.follow()
    kit.run("INSERT INTO t VALUES (1, 'a')")
    eventually(lambda: kit.changes() == [] and stream.read(kit.mark, 10).mark == kit.mark)
    asked: list[str] = []
    assert stream._own is not None
    listen(stream._own.connection, "before_cursor_execute", lambda _c, _cursor, statement, *_rest: asked.append(statement))
    asked_log: list[int] = []
    stream._peek = asked_log.append  # type: ignore[method-assign]
    assert stream.read(kit.mark, 10) == Changes(rows=(), mark=kit.mark)
    assert (len(asked), asked_log) == (1, [])
    kit.close()


def test_an_advance_that_took_long_is_not_repeated_at_once(kit: Kit, slow: Ticking) -> None:
    """The slot stays where it is for ten times as long as moving it took, and is moved by a later commit."""
    stream = kit.follow()
    place = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s"

    def change_and_commit() -> bool:
        kit.run("INSERT INTO t SELECT coalesce(max(id), 0) + 1, 'a' FROM t")
        kit.pages()
        stream.commit(kit.mark)
        return kit.app.execute(place, kit.slots).fetchone() == (kit.mark["lsn"],)

    slow.tick = 0.25
    assert change_and_commit()
    slow.tick = 0.0
    assert not change_and_commit()
    slow.advance(3)
    assert change_and_commit()


# -- as a mode -------------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(kit: Kit) -> Iterator[About]:
    """A flow on table t, seen by an account that may only connect."""
    role = f"r{secrets.token_hex(4)}"
    kit.run(f"CREATE ROLE {role} LOGIN PASSWORD 'p'", f"GRANT SELECT ON t TO {role}")
    kit.clock = FakeClock()
    given = {"host": kit.server.host, "port": kit.server.port, "database": kit.server.database, "tls": "disable"}
    settings = PostgresConnection.of(type="postgres", user=role, **given)
    database = PostgresDatabase(settings, "p", "huitong test", "UTC")
    session = database.connect()
    yield about_table(database, session, kit.clock)
    session.close()
    kit.run(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()",
        f"DROP OWNED BY {role}",
        f"DROP ROLE {role}",
    )


def about_table(database: PostgresDatabase, session: Session, clock: FakeClock, flow: str = "land-use", **more: Any) -> About:
    settings = DatabaseFrom.of(**{"connection": "c", "table": "t", "key": ("id",), "every": "5s", "mode": "slot", **more})
    shape = shape_of(database, session, settings, ())
    return About(flow, settings, TableReader(database, session, Pages(shape)), clock)


def account_of(about: About) -> str:
    return str(about.reader.session.value("SELECT current_user"))


def test_every_statement_brings_the_mode_nearer(kit: Kit, reader: About) -> None:
    """Each thing that is missing is named as the obstacle until the DBA ran all that is printed; then the stream reads."""
    name = log_of(reader, account_of(reader)).name
    statements = list(log_of(reader, account_of(reader)).create())
    assert [statement.split()[0] for statement in statements] == ["ALTER", "GRANT", "CREATE", "SELECT"]
    assert "no replication slot" in obstacle(reader)
    kit.run(statements[3])
    assert "may not read" in obstacle(reader)
    kit.run(statements[0], statements[1])
    assert "publication does not tell" in obstacle(reader)
    kit.run(*slot_drop_ddl(name, name), *statements[2:])
    assert obstacle(reader) == ""
    stream = stream_of(reader)
    mark = stream.begin()
    kit.run("INSERT INTO t VALUES (1, 'a')")
    assert [row[0] for row in stream.read(mark, 10).rows] == [1]
    stream.close()


def test_what_was_created_can_be_taken_away(kit: Kit, reader: About) -> None:
    """Dropping leaves neither slot nor publication, may be done again, and is then said to be the obstacle."""
    log = log_of(reader, account_of(reader))
    kit.run(*log.create())
    assert obstacle(reader) == ""
    kit.run(*log.drop(), *log.drop())
    assert "no replication slot" in obstacle(reader)
    assert kit.app.execute("SELECT count(*) FROM pg_publication WHERE pubname = %s", (log.name,)).fetchone() == (0,)


def test_the_best_that_is_possible_is_taken(kit: Kit, reader: About) -> None:
    """With a slot at hand auto takes it, and says why nothing better was taken."""
    kit.run(*log_of(reader, account_of(reader)).create())
    settings = DatabaseFrom.of(connection="c", table="t", key=("id",), every="5s")
    chosen = choose(reader.flow, settings, reader.reader, reader.clock)
    chosen.stream.close()
    assert (chosen.mode, [mode for mode, _ in chosen.passed]) == ("slot", ["trigger"])


@pytest.mark.parametrize(
    "key, where", [("PRIMARY KEY", "id > 5 AND v <> '%'"), ("NOT NULL", None)], ids=["a condition", "no primary key"]
)
def test_publishing_never_stops_the_application(kit: Kit, reader: About, key: str, where: str | None) -> None:
    """PostgreSQL refuses changes of a published table whose log does not identify rows: so that is mended first."""
    kit.run("DROP TABLE t", f"CREATE TABLE t (id int {key}, v text)")
    more = {} if where is None else {"where": where}
    session = reader.reader.database.connect()
    kit.run(f"GRANT SELECT ON t TO {account_of(reader)}")
    about = about_table(kit.database, session, kit.clock, **more)
    log = log_of(about, account_of(reader))
    assert log.create()[0].endswith("REPLICA IDENTITY FULL")
    kit.run(*log.create(), "INSERT INTO t VALUES (6, 'a')", "UPDATE t SET v = 'b'", "DELETE FROM t")
    assert obstacle(about) == ""
    session.close()


def test_two_flows_never_share_a_slot(reader: About) -> None:
    """Names differ for any two flows and databases, and PostgreSQL takes them as they are."""
    flows = ["a", "a-1", "a-16384", "land-use", "x" * 63, f"{'x' * 62}y", f"{'x' * 31}-{'0' * 8}", "a-b-c"]
    names = [slot_of(flow, database) for flow in flows for database in (1, 16384, 4294967295)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z0-9_]{1,63}", name) for name in names)
    assert log_of(reader).name == slot_of("land-use", database_number(reader.reader.session))


def test_other_databases_have_no_slots(reader: About) -> None:
    """What speaks the language of PostgreSQL but is another database is not taken for it."""
    other = copy(reader.reader.database)
    other.name = "kingbase"  # type: ignore[misc]
    assert "only PostgreSQL" in obstacle(replace(reader, reader=TableReader(other, reader.reader.session, reader.reader.pages)))


# -- values ----------------------------------------------------------------------------------------------------------


COLUMNS = {
    "i2": ("smallint", ["-32768", "7"]),
    "i8": ("bigint", ["9007199254740993", "-1"]),
    "o": ("oid", ["4294967295"]),
    "n": ("numeric", ["'12345678901234567890.123456789'", "'NaN'", "'-Infinity'", "1.50"]),
    "n2": ("numeric(30, 10)", ["1.5"]),
    "f4": ("real", ["0.1", "'Infinity'", "'NaN'"]),
    "f8": ("double precision", ["1e300", "'-Infinity'", "'NaN'", "0.1", "-0.0"]),
    "b": ("boolean", ["true", "false"]),
    "by": ("bytea", [r"'\x00ff'", "''"]),
    "ch": ("char(5)", ["'ab'", "''", "'长 '"]),
    "vc": ("varchar(9)", ["'ab '", "''"]),
    "q": ('"char"', ["'a'", "' '"]),
    "tx": ("text", ["''", "'字 ''\"'", r"E'a\nb\tc\\'"]),
    "nm": ("name", ["'abc'"]),
    "d": ("date", ["'2026-11-21'", "'infinity'", "'0044-03-15 BC'", "'12026-01-01'"]),
    "tm": ("time", ["'23:59:59.000001'", "'24:00'"]),
    "tt": ("timetz", ["'08:00:00.5+08'"]),
    "ts": ("timestamp", ["'2026-11-21 08:00:00.5'", "'-infinity'", "'0044-03-15 08:00 BC'", "'1899-12-31'"]),
    "tz": ("timestamptz", ["'2026-11-21 08:00:00.25+08'", "'infinity'", "'-infinity'", "'0044-03-15 08:00+08 BC'"]),
    "iv": ("interval", ["'1 day 2 hours -3 minutes'", "'0'", "'1 year 2 mons 0.5 s'"]),
    "u": ("uuid", ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"]),
    "j": ("json", ["'{\"a\": 1.10}'"]),
    "jb": ("jsonb", ['\'{"b":2, "a":1}\'']),
    "xm": ("xml", ["'<a>b</a>'"]),
    "ai": ("int[]", ["'{1,NULL,2}'", "'{}'"]),
    "at": ("text[]", ["'{a,NULL,\"b c\"}'"]),
    "az": ("timestamptz[]", ["'{2026-11-21 08:00:00+08}'"]),
    "en": ("mood", ["'好'"]),
    "dm": ("whole", ["7"]),
    "dd": ("whole2", ["8"]),
    "dc": ("code", ["'ab'"]),
    "dz": ("moment", ["'2026-11-21 08:00:00+08'"]),
    "mo": ("money", ["12.5", "-1234567.89", "0"]),
    "ip": ("inet", ["'10.0.0.1/8'"]),
    "cd": ("cidr", ["'10.0.0.0/8'"]),
    "mc": ("macaddr", ["'08:00:2b:01:02:03'"]),
    "bi": ("bit(4)", ["B'0101'"]),
    "vb": ("varbit", ["B'1'"]),
    "rg": ("int4range", ["'[1,5]'"]),
    "tr": ("tstzrange", ["'[2026-01-01, 2026-02-01)'"]),
    "pt": ("point", ["'(1.5,2)'"]),
    "vs": ("tsvector", ["'a fat cat'"]),
    "hs": ("hstore", ["'a=>1, b=>NULL'"]),
    "ci": ("citext", ["'Abc'"]),
    "cp": ("pair", ["'(1,\"a b\")'"]),
    "ln": ("pg_lsn", ["'0/16B3748'"]),
}


@pytest.mark.filterwarnings("ignore:Did not recognize type")
@pytest.mark.parametrize("full", [False, True])
def test_the_log_and_the_table_give_the_same_values(kit: Kit, full: bool) -> None:
    """Every type: a row from the log is what the first load reads, value for value and type for type."""
    kit.run(
        "CREATE EXTENSION hstore; CREATE EXTENSION citext",
        "CREATE TYPE mood AS ENUM ('好', '坏'); CREATE TYPE pair AS (a int, b text)",
        "CREATE DOMAIN whole AS int; CREATE DOMAIN whole2 AS whole; CREATE DOMAIN code AS char(5); CREATE DOMAIN moment AS timestamptz",
        f"CREATE TABLE v (id int PRIMARY KEY, {', '.join(f'{name} {kind}' for name, (kind, _) in COLUMNS.items())})",
        *(["ALTER TABLE v REPLICA IDENTITY FULL"] if full else []),
    )
    kit.follow("v")
    kit.run("INSERT INTO v (id) VALUES (0)")
    for n in range(5):
        values = ", ".join(f"{values[n % len(values)]}" for _, values in COLUMNS.values())
        kit.run(f"INSERT INTO v VALUES ({n + 1}, {values})")
    if full:
        kit.run("UPDATE v SET i8 = i8 + 1")
    logged = [row for page in kit.pages() for row in page.rows][-6:]
    stored = kit.session.page(Pages(kit.shape).load(resumed=False), limit=10)
    logged, stored = [list(kit.database.canonical(rows, kit.shape.columns)) for rows in (logged, stored)]
    for column, *values in zip(kit.shape.columns, *logged, *stored, strict=True):
        told, read = values[:6], values[6:]
        assert list(map(repr, told)) == list(map(repr, read)), column.name
