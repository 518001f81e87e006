"""The change log of MySQL and MariaDB: triggers that fill it, and the stream that reads it by number."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest

from agent.adapters.clock import SystemClock
from agent.errors import SourceGone, SourceRefused, SourceUnavailable
from agent.model import Op
from agent.testing.nodes.mariadb import MariadbNode
from connectors.database.dialects.mysql import MysqlDatabase
from connectors.database.settings import DatabaseFrom, MysqlConnection
from connectors.database.streams.about import About
from connectors.database.streams.log_mysql import log_of, obstacle, stream_of
from connectors.database.streams.stream import Changes, Mark
from connectors.database.tables.pages import Pages
from connectors.database.tables.reader import TableReader
from connectors.database.tables.shape import shape_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Did not recognize type:sqlalchemy.exc.SAWarning"),  # geometry and addresses
]

PEOPLE = "CREATE TABLE t (id INT PRIMARY KEY, n VARCHAR(40)) CHARACTER SET utf8mb4"
SUMMER = """INSERT INTO time_zone VALUES (1, 'N'); INSERT INTO time_zone_name VALUES ('Test/Summer', 1);
INSERT INTO time_zone_transition_type VALUES (1, 0, 7200, 1, 'S'), (1, 1, 3600, 0, 'W');
INSERT INTO time_zone_transition VALUES (1, -2000000000, 1), (1, 1774746000, 0), (1, 1792890000, 1);"""
"""A zone in which the hour after 2026-10-25 00:00 UTC comes twice."""

UP, DEL = Op.UPSERT, Op.DELETE


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariadbNode]:
    """A MariaDB that these tests restart and set up anew."""
    node = MariadbNode(tmp_path_factory.mktemp("mariadb"))
    node.start()
    node.sql(SUMMER)
    yield node
    node.remove()


class Follower:
    """A table with a change log, an application that changes it, and a host that follows it."""

    def __init__(self, node: MariadbNode) -> None:
        self.node = node
        self.name = f"l{secrets.token_hex(4)}"
        node.add_database(self.name)
        self._opened: list[Any] = []
        self.mark: Mark = None
        self.app = self.application()

    def application(self, user: str = "", password: str = "", **more: Any) -> Any:
        connection = pymysql.connect(
            host="127.0.0.1",
            port=self.node.ports["mysql"],
            user=user or self.node.user,
            password=password or self.node.password,
            database=self.name,
            **{"autocommit": True, "charset": "utf8mb4", **more},
        )
        self._opened.append(connection)
        return connection

    def run(self, *statements: str, on: Any = None) -> Any:
        with (on or self.app).cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if statements else ()

    def about(self, flow: str = "f", user: str = "", password: str = "", **settings: Any) -> About:
        fields = {"type": "mariadb", "host": "127.0.0.1", "port": self.node.ports["mysql"], "database": self.name}
        connection = MysqlConnection.of(**fields, user=user or self.node.user, password="secret:p", tls="disable")
        self.database = MysqlDatabase(connection, password or self.node.password, "Asia/Shanghai")
        session = self.database.connect()
        self._opened.append(session)
        wanted = DatabaseFrom.of(**{"connection": "c", "table": "t", "key": ("id",), "every": "5s", **settings})
        reader = TableReader(self.database, session, Pages(shape_of(self.database, session, wanted, ())))
        return About(flow, wanted, reader, SystemClock())

    def install(self, **how: Any) -> None:
        for statement in log_of(self.about(**how)).create():
            self.run(statement)

    def open(self, **how: Any) -> None:
        self.current = self.about(**how)
        self.stream = stream_of(self.current)
        self._opened.append(self.stream)

    def follow(self, *statements: str, **how: Any) -> None:
        """Create the table and its log, and begin."""
        self.run(*statements)
        self.install(**how)
        self.open(**how)
        self.mark = self.stream.begin()

    def read(self, limit: int = 1000) -> Changes:
        changes = self.stream.read(self.mark, limit)
        self.mark = json.loads(json.dumps(changes.mark))
        return changes

    def changes(self, limit: int = 1000) -> list[tuple[Op, tuple[Any, ...]]]:
        """Read all there is."""
        pages = [self.read(limit)]
        while pages[-1].more:
            pages.append(self.read(limit))
        return [(op, row) for page in pages for op, row in zip(page.ops or (), page.rows, strict=True)]

    def snapshot(self) -> list[tuple[Any, ...]]:
        reader = self.current.reader
        return [tuple(row) for row in reader.session.page(reader.pages.load(resumed=False), limit=10_000)]

    def close(self) -> None:
        while self._opened:
            with contextlib.suppress(pymysql.Error):  # the server ended it
                self._opened.pop().close()


@pytest.fixture
def follower(node: MariadbNode) -> Iterator[Follower]:
    made = Follower(node)
    yield made
    made.close()


def _await(condition: Callable[[], bool], deadline_secs: float = 30.0) -> None:
    deadline = time.monotonic() + deadline_secs
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"


def _closed(follower: Follower) -> Callable[[], bool]:
    def closed() -> bool:
        follower.read()
        return not follower.mark["holes"]

    return closed


# -- what happens to rows --------------------------------------------------------------------------------------------


def test_inserts_updates_and_deletes_come_in_order(follower: Follower) -> None:
    """Each change is told once, there and back again as well, a delete with nothing but its key, and all have tokens."""
    follower.follow(PEOPLE)
    follower.run(
        "INSERT INTO t VALUES (1, '张三'), (2, NULL), (3, '')",
        "UPDATE t SET n = 'b' WHERE id = 1",
        "UPDATE t SET n = '张三' WHERE id = 1",
        "DELETE FROM t WHERE id = 1",
        "INSERT INTO t VALUES (1, 'a')",
        "REPLACE INTO t VALUES (1, 'r')",
    )
    page = follower.read()
    assert list(zip(page.ops or (), page.rows, strict=True)) == [
        (UP, (1, "张三")),
        (UP, (2, None)),
        (UP, (3, "")),
        (UP, (1, "b")),
        (UP, (1, "张三")),
        (DEL, (1, None)),
        (UP, (1, "a")),
        (DEL, (1, None)),
        (UP, (1, "r")),
    ]
    assert len(set(page.tokens or ())) == len(page.rows)
    assert all(at is not None and at.endswith("+00:00") and len(at) == 32 for at in page.times or ())
    assert follower.changes() == []


def test_a_changed_key_is_a_delete_and_an_upsert(follower: Follower) -> None:
    """The old key is deleted before the new one is told."""
    follower.follow(PEOPLE)
    follower.run("INSERT INTO t VALUES (1, 'a')", "UPDATE t SET id = 9, n = 'b' WHERE id = 1")
    assert follower.changes(1) == [(UP, (1, "a")), (DEL, (1, None)), (UP, (9, "b"))]


@pytest.mark.parametrize("first", ["early", "late"])
def test_late_commits_are_not_lost(follower: Follower, first: str) -> None:
    """Of two transactions that overlap both are told, whichever commits first."""
    follower.follow(PEOPLE)
    early, late = follower.application(), follower.application()
    follower.run("BEGIN", "INSERT INTO t VALUES (1, 'early')", on=early)
    follower.run("BEGIN", "INSERT INTO t VALUES (2, 'late')", on=late)
    order = [("early", early, (1, "early")), ("late", late, (2, "late"))]
    for _name, connection, row in order if first == "early" else reversed(order):
        follower.run("COMMIT", on=connection)
        assert follower.changes() == [(UP, row)]
    assert follower.mark["holes"] == []


def test_what_is_rolled_back_is_forgotten(follower: Follower) -> None:
    """Neither a transaction nor what came after a savepoint is told, and their numbers are not looked for any longer."""
    follower.follow(PEOPLE)
    other = follower.application()
    follower.run("BEGIN", "INSERT INTO t VALUES (1, 'no')", on=other)
    follower.run(
        "BEGIN", "INSERT INTO t VALUES (2, 'yes')", "SAVEPOINT s", "INSERT INTO t VALUES (3, 'no')", "ROLLBACK TO s",
        "INSERT INTO t VALUES (4, 'yes')", "COMMIT",
    )  # fmt: skip
    assert follower.changes() == [(UP, (2, "yes")), (UP, (4, "yes"))]
    assert [hole[:2] for hole in follower.mark["holes"]] == [[1, 1], [3, 3]]
    follower.run("ROLLBACK", on=other)
    _await(_closed(follower))
    assert follower.changes() == []


def test_a_transaction_that_stays_open_keeps_its_hole(follower: Follower) -> None:
    """While it is open a hole is kept, also when others that are younger are long over; what it commits is told."""
    follower.follow(PEOPLE)
    other = follower.application()
    follower.run("BEGIN", "INSERT INTO t VALUES (1, 'slow')", on=other)
    follower.run("INSERT INTO t VALUES (2, 'fast')")
    assert follower.changes() == [(UP, (2, "fast"))]
    until = time.monotonic() + 4.5
    _await(lambda: follower.changes() != [] or time.monotonic() > until)
    follower.run("COMMIT", on=other)
    assert follower.changes() == [(UP, (1, "slow"))]


def test_two_phase_commits_survive_a_restart(follower: Follower, node: MariadbNode) -> None:
    """What is prepared is told when it is committed, even after a restart that makes it look younger than its hole."""
    follower.follow(PEOPLE)
    other = follower.application()
    follower.run("XA START 'a'", "INSERT INTO t VALUES (1, 'two')", "XA END 'a'", "XA PREPARE 'a'", on=other)
    follower.run("INSERT INTO t VALUES (2, 'one')")
    assert follower.changes() == [(UP, (2, "one"))]
    until = time.monotonic() + 3.5
    _await(lambda: follower.changes() != [] or time.monotonic() > until)
    node.restart()
    with pytest.raises(SourceUnavailable):
        follower.read()
    follower.open()
    until = time.monotonic() + 4.5
    _await(lambda: follower.changes() != [] or time.monotonic() > until)
    follower.app = follower.application()
    follower.run("XA COMMIT 'a'", "INSERT INTO t VALUES (3, 'on')")
    assert follower.changes() == [(UP, (1, "two")), (UP, (3, "on"))]


def test_a_bulk_insert_is_read_in_pages(follower: Follower) -> None:
    """Two hundred thousand rows of one statement arrive once each."""
    follower.follow(PEOPLE)
    follower.run("INSERT INTO t SELECT seq, CONCAT('n', seq) FROM seq_1_to_200000")
    seen: list[Any] = []
    page = follower.read(5000)
    while page.rows:
        seen += [row[0] for row in page.rows]
        page = follower.read(5000)
    assert sorted(seen) == list(range(1, 200_001))
    assert follower.mark["holes"] == []


def test_a_beginning_in_the_midst_of_transactions_misses_none(follower: Follower) -> None:
    """What was open when a flow began is told when it commits; what was visible then is not told."""
    follower.follow(PEOPLE)
    follower.run("INSERT INTO t VALUES (1, 'before')")
    other = follower.application()
    follower.run("BEGIN", "INSERT INTO t VALUES (2, 'open')", on=other)
    follower.run("INSERT INTO t VALUES (3, 'before')")
    follower.mark = follower.stream.begin()
    assert follower.changes() == []
    follower.run("COMMIT", on=other)
    assert follower.changes() == [(UP, (2, "open"))]


def test_a_head_is_covered_when_everything_visible_was_read(follower: Follower) -> None:
    """Neither a mark from before nor a page of the way covers it; holes that were filled before it was asked for count."""
    follower.follow(PEOPLE)
    other = follower.application()
    follower.run("BEGIN", "INSERT INTO t VALUES (1, 'slow')", on=other)
    follower.run("INSERT INTO t VALUES (2, 'fast')")
    follower.read()
    before = follower.mark
    follower.run("COMMIT", on=other)
    head = follower.stream.head()
    assert not follower.stream.covers(before, head)
    assert [row for _op, row in follower.changes()] == [(1, "slow")]
    assert follower.stream.covers(follower.mark, head)
    follower.run("INSERT INTO t VALUES (3, 'a'), (4, 'b')")
    head = follower.stream.head()
    follower.read(1)
    assert not follower.stream.covers(follower.mark, head)
    follower.read(1)
    assert follower.stream.covers(follower.mark, head)


def test_two_flows_on_one_table_share_nothing(follower: Follower) -> None:
    """Each has its log and its triggers; taking one away leaves the other."""
    follower.follow(PEOPLE, flow="one")
    follower.install(flow="two")
    follower.run("INSERT INTO t VALUES (1, 'a')")
    for statement in log_of(follower.about(flow="two")).drop():
        follower.run(statement)
    follower.run("INSERT INTO t VALUES (2, 'b')")
    follower.open(flow="one")
    assert follower.changes() == [(UP, (1, "a")), (UP, (2, "b"))]


def test_a_condition_is_judged_with_the_types_of_the_table(follower: Follower) -> None:
    """A row that stops to fulfil the condition is deleted; dates, numbers and text compare as in the table."""
    follower.follow(
        "CREATE TABLE t (id INT PRIMARY KEY, n VARCHAR(9), d DECIMAL(9,2), ts TIMESTAMP NULL) CHARACTER SET gbk",
        where="n = '张三' AND d < 10 AND ts > '2026-01-01 00:00:00' AND n LIKE '%三%'",
    )
    follower.run("SET time_zone = '+08:00'")
    follower.run(
        "INSERT INTO t VALUES (1, '张三', 9.5, '2026-01-01 08:00:01'), (2, '张三', 9.5, '2026-01-01 08:00:00')",
        "UPDATE t SET d = 10 WHERE id = 1",
        "UPDATE t SET n = '张三 ', ts = NOW() WHERE id = 2",
    )
    assert [(op, row[:3]) for op, row in follower.changes()] == [
        (UP, (1, "张三", "9.50")),
        (DEL, (1, None, None)),
        (UP, (2, "张三 ", "9.50")),
    ]


# -- values ----------------------------------------------------------------------------------------------------------

TYPES = """CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, n DECIMAL(40,10), nz DECIMAL(9,2) ZEROFILL, i TINYINT(1), iz INT(8) ZEROFILL,
f FLOAT, f2 FLOAT(9,3), g DOUBLE, b1 BIT(1), b64 BIT(64), d DATE, dt DATETIME, dt3 DATETIME(3), ts TIMESTAMP NULL, ts6 TIMESTAMP(6) NULL,
tm TIME(2), y YEAR, c CHAR(5), v VARCHAR(20), tx LONGTEXT, u VARCHAR(20) CHARACTER SET utf8mb4, l VARCHAR(9) CHARACTER SET latin1,
w VARCHAR(9) CHARACTER SET utf16, bi BINARY(4), vb VARBINARY(9), bl BLOB, e ENUM('好','坏'), s SET('a','b','c'), j JSON, p POINT, ip INET6,
uu UUID, gen INT AS (i * 2) VIRTUAL, sto INT AS (i * 3) STORED, `{long}` INT, `100%合格 '"` TEXT) CHARACTER SET gbk"""

ROWS = (
    """18446744073709551615, -123456789012345678901234567890.0123456789, 1.5, 1, 42, 0.1, 1.5, 1e300, 1, 18446744073709551615,
    '0044-03-15', '1899-12-31 23:59:59', '2026-11-21 08:00:00.5', '2026-10-25 00:30:00', '2026-10-25 01:30:00.123456', '-838:59:59', 2026,
    'ab', 'x ', '', '䶮𠮷', 'é', '汉', x'00ff', x'ff00', x'00', '坏', 'a,c', '{"a": 1.10}', POINT(1, 2), '::1', UUID(), DEFAULT, DEFAULT,
    7, '%s :x ?'""",
    """2, 0, 0, -1, 0, -3.40282e38, 0, 5e-324, 0, 0, '0000-00-00', '0000-00-00', '0000-00-00', 0, 0, '-00:00:01.25', 0, '', ' ', 'a\\nb',
    '', '', '', '', '', '', '', '', '[]', NULL, NULL, NULL, DEFAULT, DEFAULT, NULL, ''""",
    """3, 0.1, 1, 127, 1, 16777217, 0.001, -0.0, 1, 9223372036854775808, '2026-02-31', '2026-00-00 10:00:00', '9999-12-31 23:59:59.999',
    '1970-01-02 00:00:00', '2038-01-19 01:00:00.000001', '12:00:00', 1901, '汉字', '汉字', REPEAT('汉', 100000), 'a', 'a', 'a',
    x'00000000', x'0000', REPEAT(x'ff', 100000), 2, 7, 'null', NULL, '::ffff:1.2.3.4', NULL, DEFAULT, DEFAULT, 1, NULL""",
    f"4{', NULL' * 31}, DEFAULT, DEFAULT, NULL, NULL",
)

SESSIONS = {
    "plain": (),
    "strict": ("SET sql_mode = 'STRICT_ALL_TABLES,ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'",),
    "zone": ("SET time_zone = '-11:30'", "SET sql_mode = 'PAD_CHAR_TO_FULL_LENGTH'"),
    "gbk": ("SET NAMES gbk", "SET time_zone = '+08:00', collation_connection = 'gbk_bin'"),
    "dst": ("SET time_zone = 'Test/Summer'",),
}


@pytest.mark.parametrize("session", SESSIONS)
def test_the_log_and_a_page_say_the_same(follower: Follower, session: str) -> None:
    """Every type, whatever the session of the application is set to: the log gives exactly what a page gives."""
    follower.run("SET sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,STRICT_ALL_TABLES'")
    follower.follow(TYPES.replace("{long}", "长" * 64))
    with follower.application(init_command="SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'") as filling:
        for row in ROWS:
            follower.run(f"INSERT INTO t VALUES ({row})", on=filling)
    first = follower.snapshot()
    assert sorted(row for _op, row in follower.changes()) == sorted(first)
    changing = follower.application()
    follower.run(*SESSIONS[session], on=changing)
    follower.run("UPDATE t SET f2 = COALESCE(f2, 0) + 1", on=changing)
    now = follower.snapshot()
    assert sorted(row for _op, row in follower.changes()) == sorted(now) != sorted(first)
    follower.run("DELETE FROM t", on=changing)
    assert sorted(row[0] for op, row in follower.changes() if op is DEL) == sorted(row[0] for row in now)


def test_an_invalid_key_of_every_kind_is_the_key_of_a_page(follower: Follower) -> None:
    """Keys before a change are as in a page too: times, decimals, octets and text."""
    key = ("ts", "d", "o", "c")
    follower.follow(
        "CREATE TABLE t (ts TIMESTAMP(2), d DECIMAL(9,3), o VARBINARY(9), c CHAR(4), n INT, PRIMARY KEY (ts, d, o, c))", key=key
    )
    follower.run("INSERT INTO t VALUES ('2026-01-02 03:04:05.25', 1.5, x'ff', 'a', 1)")
    (row,) = follower.snapshot()
    follower.run("UPDATE t SET n = 2", "UPDATE t SET c = 'b'")
    assert [(op, line[:4]) for op, line in follower.changes()] == [
        (UP, row[:4]),
        (UP, row[:4]),
        (DEL, row[:4]),
        (UP, (*row[:3], "b")),
    ]


# -- what may happen to log and table --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "done",
    [
        ("DROP TRIGGER huitong_log_f_u",),
        ("CREATE OR REPLACE TRIGGER huitong_log_f_u AFTER UPDATE ON t FOR EACH ROW SET @x = 1",),
        ("DROP TRIGGER huitong_log_f_u", "again"),
        ("RENAME TABLE t TO old", PEOPLE),
        ("DELETE FROM huitong_logs",),
        ("DELETE FROM huitong_log_f",),
    ],
)
def test_a_log_that_was_touched_is_gone(follower: Follower, done: tuple[str, ...]) -> None:
    """Dropped, altered or re-created triggers, another table in the place of ours, an emptied log: the mark is worth nothing."""
    follower.follow(PEOPLE)
    follower.run("INSERT INTO t VALUES (1, 'a')")
    follower.changes()
    update = log_of(follower.about()).trigger_statements()[2]
    follower.run(*(update if statement == "again" else statement for statement in done))
    follower.open()
    with pytest.raises(SourceGone):
        follower.read()


def test_a_truncated_table_is_in_doubt(follower: Follower) -> None:
    """TRUNCATE, of a partition too, fires no trigger; that it happened is noticed, and what comes after it is told."""
    follower.follow(f"{PEOPLE} PARTITION BY HASH (id) PARTITIONS 3")
    follower.run("INSERT INTO t VALUES (1, 'a')")
    follower.changes()
    for statement in ("TRUNCATE t", "ALTER TABLE t TRUNCATE PARTITION p1"):
        follower.run(statement, "INSERT INTO t VALUES (2, 'b')")
        follower.open()
        page = follower.read()
        assert (page.doubt, page.rows) == (True, ())
        assert [row for _op, row in follower.changes()] == [(2, "b")]
        follower.run("DELETE FROM t")
        follower.changes()


def test_entries_that_were_captured_are_dropped(follower: Follower) -> None:
    """Old entries go, up to the first hole; the newest stays, so that its number is never given out again."""
    follower.follow(PEOPLE, keep="0s")
    follower.run("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    other = follower.application()
    follower.run("BEGIN", "INSERT INTO t VALUES (3, 'open')", on=other)
    follower.run("INSERT INTO t VALUES (4, 'c')", "INSERT INTO t VALUES (5, 'd')")
    follower.changes()
    follower.stream.commit(follower.mark)
    assert follower.run("SELECT seq FROM huitong_log_f") == ((2,), (4,), (5,))
    follower.run("COMMIT", on=other)
    follower.changes()
    follower.open(keep="0s")
    follower.stream.commit(follower.mark)
    assert follower.run("SELECT seq FROM huitong_log_f") == ((5,),)
    assert follower.changes() == []


# -- privileges and refusals -----------------------------------------------------------------------------------------


def test_the_grants_that_are_printed_suffice(follower: Follower, node: MariadbNode) -> None:
    """An account with exactly these reads, trims and sees the triggers; it may not change them."""
    follower.run(PEOPLE, f"CREATE USER {follower.name} IDENTIFIED BY 'p'", f"GRANT SELECT ON t TO {follower.name}")
    who = {"user": follower.name, "password": "p"}
    assert obstacle(follower.about(**who)) != ""
    follower.follow(keep="0s", **who)
    assert obstacle(follower.about(**who)) == ""
    follower.run("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    assert follower.changes() == [(UP, (1, "a")), (UP, (2, "b"))]
    follower.stream.commit(follower.mark)
    assert follower.run("SELECT seq FROM huitong_log_f") == ((2,),)
    with pytest.raises(pymysql.Error):
        follower.run("DROP TRIGGER huitong_log_f_u", on=follower.application(**who))
    node.sql(f"DROP USER {follower.name}")


def test_without_process_holes_are_kept(follower: Follower, node: MariadbNode) -> None:
    """An account that may not see transactions reads as well; holes stay."""
    who = {"user": follower.name, "password": "p"}
    follower.run(PEOPLE, f"CREATE USER {follower.name} IDENTIFIED BY 'p'", f"GRANT SELECT ON t TO {follower.name}")
    follower.install(**who)
    follower.run(f"REVOKE PROCESS ON *.* FROM {follower.name}")
    follower.open(**who)
    follower.mark = follower.stream.begin()
    follower.run("BEGIN", "INSERT INTO t VALUES (1, 'no')", "ROLLBACK", "INSERT INTO t VALUES (2, 'yes')")
    assert follower.changes() == [(UP, (2, "yes"))]
    follower.changes()
    assert [hole[:2] for hole in follower.mark["holes"]] == [[1, 1]]
    node.sql(f"DROP USER {follower.name}")


@pytest.mark.parametrize(
    "table, server",
    [(f"{PEOPLE} ENGINE=MyISAM", ""), (PEOPLE, "auto_increment_increment = 2"), (PEOPLE, "read_only = 1")],
)
def test_what_cannot_be_exact_is_refused(follower: Follower, table: str, server: str) -> None:
    """Tables without transactions, numbers given out by several servers, and replicas."""
    follower.run(table)
    follower.install()
    assert (obstacle(follower.about()) == "") is bool(server)
    try:
        if server:
            follower.run(f"SET GLOBAL {server}")
        assert obstacle(follower.about()) != ""
        with pytest.raises(SourceRefused):
            follower.open()
    finally:
        follower.run("SET GLOBAL auto_increment_increment = 1", "SET GLOBAL read_only = 0")


def test_foreign_keys_that_change_rows_are_refused(follower: Follower) -> None:
    """Rows that a foreign key deletes fire no trigger."""
    follower.run(
        "CREATE TABLE p (id INT PRIMARY KEY)",
        "CREATE TABLE t (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE)",
    )
    follower.install()
    assert "foreign keys" in obstacle(follower.about())
    follower.open()
    with pytest.raises(SourceRefused):
        follower.stream.begin()


def test_the_widest_log_takes_a_row(follower: Follower) -> None:
    """As many columns as are allowed hold long values all at once; one more is refused when the log is to be made."""
    names = [f"c{n}" for n in range(94)]
    follower.follow(f"CREATE TABLE t (id INT PRIMARY KEY, {', '.join(f'{name} TEXT' for name in names)})", where="id > 0")
    follower.run(f"INSERT INTO t VALUES (1{', REPEAT(0x41, 41)' * 94})", "UPDATE t SET c1 = REPEAT('x', 60000)")
    assert len(follower.changes()) == 2
    follower.run("ALTER TABLE t ADD more INT")
    with pytest.raises(SourceRefused):
        follower.about(flow="g") and log_of(follower.about(flow="g", where="id > 0"))
