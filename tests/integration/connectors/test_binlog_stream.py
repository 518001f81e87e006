"""The binary log of a MariaDB of their own, read as a stream of changes."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest

from agent.adapters.clock import SystemClock
from agent.errors import HuitongError, SourceGone, SourceRefused, SourceUnavailable
from agent.model import Op
from agent.testing.clock import FakeClock
from agent.testing.nodes.mariadb import MariadbNode
from connectors.database.dialects.mysql import MysqlDatabase
from connectors.database.settings import DatabaseFrom, MysqlConnection
from connectors.database.streams.about import About
from connectors.database.streams.binlog import BinlogStream, obstacle, stream_of
from connectors.database.streams.binlog_check import check_binlog
from connectors.database.streams.binlog_wire import server_id_of
from connectors.database.streams.stream import Changes, Mark
from connectors.database.tables.pages import Pages
from connectors.database.tables.reader import TableReader
from connectors.database.tables.shape import shape_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Did not recognize type:sqlalchemy.exc.SAWarning"),  # geometry and addresses
]

PEOPLE = "CREATE TABLE t (id INT PRIMARY KEY, n VARCHAR(40)) CHARACTER SET utf8mb4"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariadbNode]:
    """A MariaDB whose log these tests rotate, purge and reset."""
    node = MariadbNode(tmp_path_factory.mktemp("mariadb"))
    node.start()
    yield node
    node.remove()


class Follower:
    """A table, an application that changes it, and a host that follows it."""

    def __init__(self, node: MariadbNode) -> None:
        self.node = node
        self.name = f"b{secrets.token_hex(4)}"
        node.add_database(self.name)
        self._opened: list[Any] = []
        self.mark: Mark = None
        self.app = self.application()

    def application(self, user: str | None = None, password: str = "", charset: str = "utf8mb4") -> Any:
        connection = pymysql.connect(
            host="127.0.0.1",
            port=self.node.ports["mysql"],
            user=user or self.node.user,
            password=password or self.node.password,
            database=self.name,
            autocommit=True,
            charset=charset,
        )
        self._opened.append(connection)
        return connection

    def run(self, *statements: str, on: Any = None) -> Any:
        with (on or self.app).cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()

    def prepare(self, name: str, statement: str) -> None:
        """Do the first phase of a transaction, and leave it to others to end it."""
        connection = self.application()
        self.run(f"XA START '{name}'", statement, f"XA END '{name}'", f"XA PREPARE '{name}'", on=connection)
        self._opened.remove(connection)
        connection.close()

    def finish(self, statement: str) -> None:
        """Do the second phase as soon as the server has let go of the connection of the first."""

        def done() -> bool:
            try:
                self.run(statement)
            except pymysql.Error as error:
                if error.args[0] != 1397:
                    raise
                return False
            return True

        _await(done)

    def open(
        self,
        *,
        key: tuple[str, ...] = ("id",),
        columns: tuple[str, ...] = (),
        where: str | None = None,
        user: str = "",
        password: str = "",
        **more: bool,
    ) -> None:
        fields = {"type": "mariadb", "host": "127.0.0.1", "port": self.node.ports["mysql"], "database": self.name}
        settings = MysqlConnection.of(**fields, user=user or self.node.user, password="secret:p", tls="disable")
        self.database = MysqlDatabase(settings, password or self.node.password, "Asia/Shanghai")
        self.session = self.database.connect()
        self.wanted = DatabaseFrom.of(connection="c", table="t", key=key, every="5s", columns=columns, where=where)
        self.shape = shape_of(self.database, self.session, self.wanted, ())
        self.stream = BinlogStream(self.database, self.session, self.shape, server_id=server_id_of(self.name, b"seed"), **more)
        self._opened += [self.stream, self.session]

    def about(self) -> About:
        return About("f", self.wanted, TableReader(self.database, self.session, Pages(self.shape)), FakeClock())

    def follow(self, *statements: str, **how: Any) -> None:
        """Create the table, open a stream and begin at the end of the log."""
        self.run(*statements)
        self.open(**how)
        self.mark = self.stream.begin()

    def read(self, limit: int = 1000) -> Changes:
        changes = self.stream.read(self.mark, limit)
        self.mark = json.loads(json.dumps(changes.mark))
        return changes

    def drain(self, limit: int = 1000) -> list[Changes]:
        """Read to the end of the log."""
        pages = [self.read(limit)]
        while pages[-1].more:
            pages.append(self.read(limit))
        return pages

    def changes(self, limit: int = 1000) -> list[tuple[Op, tuple[Any, ...]]]:
        return [(op, row) for page in self.drain(limit) for op, row in zip(page.ops or (), page.rows, strict=True)]

    def snapshot(self) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.session.page(Pages(self.shape).load(resumed=False), limit=10_000)]

    def close(self) -> None:
        while self._opened:
            with contextlib.suppress(pymysql.Error):  # the server ended it
                self._opened.pop().close()


@pytest.fixture
def follower(node: MariadbNode) -> Iterator[Follower]:
    made = Follower(node)
    yield made
    made.close()


UP, DEL = Op.UPSERT, Op.DELETE


# -- what happens to rows --------------------------------------------------------------------------------------------


def test_inserts_updates_and_deletes_come_in_order(follower: Follower) -> None:
    """Each change is told once, a delete with nothing but its key, and reading on brings nothing."""
    follower.follow(PEOPLE)
    follower.run(
        "INSERT INTO t VALUES (1, '张三'), (2, NULL), (3, '')",
        "UPDATE t SET n = '李四' WHERE id = 1",
        "DELETE FROM t WHERE id = 2",
    )
    assert follower.changes() == [(UP, (1, "张三")), (UP, (2, None)), (UP, (3, "")), (UP, (1, "李四")), (DEL, (2, None))]
    assert follower.changes() == []


def test_a_changed_key_is_a_delete_and_an_upsert(follower: Follower) -> None:
    """The old key is deleted before the new one is told."""
    follower.follow(PEOPLE)
    follower.run("INSERT INTO t VALUES (1, 'a')", "UPDATE t SET id = 9, n = 'b' WHERE id = 1")
    assert follower.changes() == [(UP, (1, "a")), (DEL, (1, None)), (UP, (9, "b"))]


def test_there_and_back_are_three_changes(follower: Follower) -> None:
    """A to B to A is told three times, deleting and inserting again twice, all with tokens of their own."""
    follower.follow(PEOPLE)
    follower.run(
        "INSERT INTO t VALUES (1, 'a')",
        "UPDATE t SET n = 'b'",
        "UPDATE t SET n = 'a'",
        "DELETE FROM t",
        "INSERT INTO t VALUES (1, 'a')",
    )
    page = follower.read()
    assert list(zip(page.ops or (), page.rows, strict=True)) == [
        (UP, (1, "a")),
        (UP, (1, "b")),
        (UP, (1, "a")),
        (DEL, (1, None)),
        (UP, (1, "a")),
    ]
    assert len(set(page.tokens or ())) == 5
    assert list(page.ends) == [0, 1, 2, 3, 4]


def test_what_is_rolled_back_is_not_told(follower: Follower) -> None:
    """Neither a whole transaction nor what came after a savepoint."""
    follower.follow(PEOPLE)
    follower.run("BEGIN", "INSERT INTO t VALUES (1, 'no')", "ROLLBACK")
    follower.run(
        "BEGIN", "INSERT INTO t VALUES (2, 'yes')", "SAVEPOINT s", "INSERT INTO t VALUES (3, 'no')", "ROLLBACK TO s", "COMMIT"
    )
    assert follower.changes() == [(UP, (2, "yes"))]


def test_a_late_commit_comes_when_it_commits(follower: Follower) -> None:
    """A transaction that began first and commits last is told last, after the page before it was read."""
    follower.follow(PEOPLE)
    late = follower.application()
    follower.run("BEGIN", "INSERT INTO t VALUES (1, 'late')", on=late)
    follower.run("INSERT INTO t VALUES (2, 'early')")
    assert follower.changes() == [(UP, (2, "early"))]
    follower.run("COMMIT", on=late)
    assert follower.changes() == [(UP, (1, "late"))]


def test_two_phases_are_told_when_they_commit(follower: Follower) -> None:
    """Rows of XA come with XA COMMIT, paged and resumable; those of XA ROLLBACK never."""
    follower.follow(PEOPLE)
    follower.prepare("yes", "INSERT INTO t SELECT seq, 'yes' FROM seq_1_to_5")
    follower.prepare("no", "INSERT INTO t SELECT seq, 'no' FROM seq_11_to_15")
    follower.run("INSERT INTO t VALUES (99, 'between')")
    assert follower.changes() == [(UP, (99, "between"))]
    follower.finish("XA ROLLBACK 'no'")
    follower.finish("XA COMMIT 'yes'")
    follower.run("INSERT INTO t VALUES (100, 'after')")
    begun = follower.mark
    told = follower.drain(2)
    assert [row for page in told for row in page.rows] == [*((n, "yes") for n in range(1, 6)), (100, "after")]
    follower.mark = told[0].mark
    follower.stream.close()
    assert [token for page in follower.drain(1000) for token in page.tokens or ()] == [
        token for page in told[1:] for token in page.tokens or ()
    ]
    follower.mark = begun
    follower.run("XA START 'one'", "INSERT INTO t VALUES (101, 'one')", "XA END 'one'", "XA COMMIT 'one' ONE PHASE")
    assert follower.changes()[-2:] == [(UP, (100, "after")), (UP, (101, "one"))]


def test_two_phases_prepared_before_reading_began_are_gone(follower: Follower) -> None:
    """What was prepared before the first mark cannot be told when it commits, and that is said."""
    follower.run(PEOPLE)
    follower.prepare("x", "INSERT INTO t VALUES (1, 'x')")
    follower.open()
    follower.mark = follower.stream.begin()
    follower.finish("XA COMMIT 'x'")
    with pytest.raises(SourceGone):
        follower.read()


def test_other_tables_only_move_the_mark(follower: Follower) -> None:
    """Changes elsewhere, even in a table of the same name, bring no rows, and the mark covers them."""
    follower.follow(PEOPLE, f"CREATE DATABASE {follower.name}x", f"CREATE TABLE {follower.name}x.t (id INT)")
    follower.run(
        "CREATE TABLE u (id INT)",
        "INSERT INTO u VALUES (1)",
        f"INSERT INTO {follower.name}x.t VALUES (1)",
        f"DROP TABLE {follower.name}x.t",
        "DROP TABLE u",
    )
    head = follower.stream.head()
    assert not follower.stream.covers(follower.mark, head)
    assert follower.changes() == []
    assert follower.stream.covers(follower.mark, head)


def test_times_are_those_of_the_commit(follower: Follower) -> None:
    """Each change carries the second of its commit, in UTC."""
    follower.follow(PEOPLE)
    follower.run("SET timestamp = 1700000000", "INSERT INTO t VALUES (1, 'a')", "SET timestamp = DEFAULT")
    assert follower.read().times == ["2023-11-14T22:13:20+00:00"]


# -- values ----------------------------------------------------------------------------------------------------------

TYPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "tinyint": ("TINYINT", ("-128", "127", "0")),
    "tinyint_unsigned": ("TINYINT UNSIGNED", ("255",)),
    "boolean": ("BOOLEAN", ("TRUE", "FALSE")),
    "smallint": ("SMALLINT", ("-32768",)),
    "smallint_unsigned": ("SMALLINT UNSIGNED", ("65535",)),
    "mediumint": ("MEDIUMINT", ("-8388608", "8388607")),
    "mediumint_unsigned": ("MEDIUMINT UNSIGNED", ("16777215",)),
    "int": ("INT", ("-2147483648",)),
    "int_unsigned": ("INT UNSIGNED", ("4294967295",)),
    "int_zerofill": ("INT(8) ZEROFILL", ("42",)),
    "bigint": ("BIGINT", ("-9223372036854775808",)),
    "bigint_unsigned": ("BIGINT UNSIGNED", ("18446744073709551615",)),
    "decimal": ("DECIMAL(18,2)", ("12.30", "-0.05", "0", "-9999999999999999.99")),
    "decimal_long": ("DECIMAL(65,30)", ("1.000000000000000000000000000001", "-12345678901234567890.5")),
    "decimal_whole": ("DECIMAL(12,0)", ("-7", "123456789012")),
    "decimal_fraction": ("DECIMAL(9,9)", ("0.123456789", "-0.000000001")),
    "decimal_zerofill": ("DECIMAL(8,2) ZEROFILL", ("12.3",)),
    "float": ("FLOAT", ("1.1", "16777216", "-1e-30", "3.4e38", "0.333333333")),
    "float_scaled": ("FLOAT(9,4)", ("999.00009", "1234.5")),
    "double": ("DOUBLE", ("1.1", "1e300", "-2.5e-300", "0.1e0+0.2e0", "123456789012345680")),
    "double_scaled": ("DOUBLE(12,3)", ("1234.5678",)),
    "bit": ("BIT(1)", ("b'1'", "b'0'")),
    "bit_wide": ("BIT(33)", ("b'100000000000000000000000000000001'",)),
    "year": ("YEAR", ("1901", "2155", "0")),
    "date": ("DATE", ("'2024-02-29'", "'0000-00-00'", "'2024-00-00'", "'9999-12-31'")),
    "datetime": ("DATETIME", ("'2024-02-29 12:34:56'", "'0000-00-00 00:00:00'", "'2024-00-00 10:00:00'", "'1000-01-01'")),
    "datetime3": ("DATETIME(3)", ("'2024-02-29 12:34:56.789'", "'2024-02-29 12:34:56'")),
    "datetime5": ("DATETIME(5)", ("'2024-02-29 12:34:56.78901'",)),
    "datetime6": ("DATETIME(6)", ("'9999-12-31 23:59:59.999999'", "0")),
    "timestamp": ("TIMESTAMP NULL", ("'2024-02-29 12:34:56'", "0", "'1970-01-02'", "'2038-01-18'")),
    "timestamp1": ("TIMESTAMP(1) NULL", ("'2024-02-29 12:34:56.7'", "0")),
    "timestamp6": ("TIMESTAMP(6) NULL", ("'2024-02-29 12:34:56.000001'",)),
    "time": ("TIME", ("'-838:59:59'", "'00:00:00'", "'100:00:01'", "'-00:00:01'")),
    "time2": ("TIME(2)", ("'-00:00:00.01'", "'-12:30:00.99'", "'25:00:00.5'")),
    "time3": ("TIME(3)", ("'-00:00:01.001'", "'838:59:59.999'")),
    "time6": ("TIME(6)", ("'-838:59:59.999999'", "'-00:00:00.000001'", "'01:02:03.000004'")),
    "char": ("CHAR(10)", ("'ab  '", "''", "'中文'")),
    "char_long": ("CHAR(255)", ("REPEAT('中', 255)",)),
    "varchar": ("VARCHAR(20)", ("'ab  '", "''", "'😀'")),
    "varchar_long": ("VARCHAR(1000)", ("REPEAT('中', 1000)",)),
    "gbk": ("VARCHAR(50) CHARACTER SET gbk", ("'鄂州市华容区葛店镇①'", "'镕'")),
    "gbk_char": ("CHAR(20) CHARACTER SET gbk", ("'张三'",)),
    "gb2312": ("VARCHAR(50) CHARACTER SET gb2312", ("'武汉'",)),
    "latin1": ("VARCHAR(20) CHARACTER SET latin1", ("'é€'", "CONVERT(0x81 USING latin1)")),
    "big5": ("VARCHAR(20) CHARACTER SET big5", ("'臺北'",)),
    "utf16": ("CHAR(20) CHARACTER SET utf16", ("'中 a'",)),
    "ucs2": ("VARCHAR(20) CHARACTER SET ucs2", ("'中a'",)),
    "utf32": ("CHAR(9) CHARACTER SET utf32", ("'😀'",)),
    "tinytext": ("TINYTEXT", ("''", "'a'")),
    "text": ("TEXT CHARACTER SET gbk", ("REPEAT('登记', 3000)",)),
    "longtext": ("LONGTEXT", ("REPEAT('权', 70000)",)),
    "json": ("JSON", ("""'{"a": [1, 2.50, "中"]}'""",)),
    "binary": ("BINARY(8)", ("0x0100", "''")),
    "varbinary": ("VARBINARY(300)", ("0x00ff00", "''")),
    "blob": ("BLOB", ("0x0001ff", "''")),
    "longblob": ("LONGBLOB", ("REPEAT(0xff, 100000)",)),
    "enum": ("ENUM('一','b''c','d,e') CHARACTER SET gbk", ("'一'", "'b''c'", "3")),
    "enum_wrong": ("ENUM('a')", ("'zz'",)),
    "set": ("SET('a','乙','c')", ("'a,c'", "''", "'乙'")),
    "point": ("POINT", ("ST_GeomFromText('POINT(1 2)')",)),
    "uuid": (
        "UUID",
        (
            "'123e4567-e89b-12d3-a456-426655440000'",
            "'0188a5e0-7a2b-7c3d-8e4f-0123456789ab'",
            "'f47ac10b-58cc-4372-a567-0e02b2c3d479'",
        ),
    ),
    "inet6": ("INET6", ("'2001:db8::ff00:42:8329'", "'::ffff:10.1.2.3'", "'::'", "'::1'", "'1:0:0:2::'")),
    "inet4": ("INET4", ("'10.1.2.3'", "'0.0.0.0'")),
    "varchar_compressed": ("VARCHAR(2000) COMPRESSED", ("REPEAT('中a', 500)", "'x'", "''")),
    "blob_compressed": ("BLOB COMPRESSED", ("REPEAT(0x01ff, 500)",)),
}


def _fill_with_types(follower: Follower) -> None:
    columns = ", ".join(f"{name}_ {declared}" for name, (declared, _) in TYPES.items())
    follower.follow(f"CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, {columns}) CHARACTER SET utf8mb4")
    follower.run("SET sql_mode = ''")
    for name, (_, given) in TYPES.items():
        for value in (*given, "NULL"):
            follower.run(f"INSERT INTO t ({name}_) VALUES ({value})")


def test_every_type_is_as_the_snapshot_shows_it(follower: Follower) -> None:
    """Values of all types, their edges, NULL and the empty string are equal in page and log, types included."""
    _fill_with_types(follower)
    _compare(follower)


def test_without_names_in_the_log_types_come_from_the_catalogue(follower: Follower) -> None:
    """The values are the same when the log says nothing of the columns but their types."""
    follower.run("SET GLOBAL binlog_row_metadata = 'NO_LOG'")
    try:
        _fill_with_types(follower)
        _compare(follower)
    finally:
        follower.run("SET GLOBAL binlog_row_metadata = 'FULL'")


def test_a_compressed_log_is_read_as_any_other(follower: Follower) -> None:
    """MariaDB's compressed statements and row events hold the same values."""
    follower.run("SET GLOBAL log_bin_compress = 1, GLOBAL log_bin_compress_min_len = 10")
    try:
        _fill_with_types(follower)
        _compare(follower)
        follower.run("UPDATE t SET varchar_ = 'z'", "TRUNCATE TABLE t")
        assert any(page.emptied for page in follower.drain())
    finally:
        follower.run("SET GLOBAL log_bin_compress = 0")


def _compare(follower: Follower) -> None:
    names = [column.name for column in follower.shape.columns]
    told = {row[0]: row for _, row in follower.changes()}
    shown = {row[0]: row for row in follower.snapshot()}
    assert told.keys() == shown.keys()
    for key, row in shown.items():
        for name, want, got in zip(names, row, told[key], strict=True):
            assert (type(got), got) == (type(want), want), name


# -- pages and marks -------------------------------------------------------------------------------------------------


def test_a_great_transaction_is_paged_and_resumed(follower: Follower) -> None:
    """200 000 rows in one transaction come in pages of 1000; from marks inside it the same tokens come again, by a new stream."""
    follower.follow(PEOPLE)
    follower.run("INSERT INTO t SELECT seq, CONCAT('名', seq) FROM seq_1_to_200000")
    pages = follower.drain()
    assert [len(page.rows) for page in pages if page.rows] == [1000] * 200
    assert [list(page.ends) for page in pages[:200]] == [[]] * 199 + [[999]]
    tokens = [token for page in pages for token in page.tokens or ()]
    assert len(set(tokens)) == 200_000
    for number in (0, 99, 198):
        follower.stream.close()
        follower.mark = json.loads(json.dumps(pages[number].mark))
        again = follower.read(1700)
        assert list(again.tokens or ()) == tokens[(number + 1) * 1000 :][:1700]
        assert list(again.rows) == [row for page in pages[number + 1 : number + 3] for row in page.rows][:1700]


def test_reading_again_from_a_mark_gives_the_same(follower: Follower) -> None:
    """Any mark can be read from again, with other limits too, by the open stream."""
    follower.follow(PEOPLE)
    first = follower.mark
    for n in range(20):
        follower.run(f"INSERT INTO t SELECT seq, '{n}' FROM seq_{n * 10 + 1}_to_{n * 10 + 10}")
    tokens = [token for page in follower.drain(7) for token in page.tokens or ()]
    for limit in (1, 3, 10, 50, 1000):
        follower.mark = first
        assert [token for page in follower.drain(limit) for token in page.tokens or ()] == tokens


def test_a_stream_that_does_not_keep_its_connection_reads_the_same(follower: Follower) -> None:
    """With the connection closed between reads nothing is missed."""
    follower.follow(PEOPLE, keep_open=False)
    for n in range(4):
        follower.run(f"INSERT INTO t VALUES ({n}, 'a')")
        assert follower.changes() == [(UP, (n, "a"))]
        assert follower.changes() == []


# -- definitions -----------------------------------------------------------------------------------------------------


def test_truncate_empties_before_what_comes_after(follower: Follower) -> None:
    """Rows before it end a page, it stands alone on the next, also when that is read again, and rows after it follow."""
    follower.follow(PEOPLE)
    follower.run("INSERT INTO t VALUES (1, 'a')", "truncate /* all */ `t`", "INSERT INTO t VALUES (2, 'b')", "TRUNCATE TABLE t")
    first = follower.read()
    assert (list(first.rows), first.emptied, first.more) == ([(1, "a")], False, True)
    for _ in range(2):
        second = follower.stream.read(first.mark, 1000)
        assert (list(second.rows), second.emptied, second.more) == ([], True, True)
    follower.mark = second.mark
    assert [(list(page.rows), page.emptied) for page in follower.drain()] == [([(2, "b")], False), ([], True), ([], False)]


def test_a_flow_chooses_the_log_when_it_can(follower: Follower) -> None:
    """Nothing is in the way of an account with the grants; one without, or a condition on the rows, is an obstacle in words."""
    follower.follow(PEOPLE)
    assert obstacle(follower.about()) == ""
    follower.run(
        f"CREATE USER {follower.name}@'127.0.0.1' IDENTIFIED BY 'p'",
        f"GRANT SELECT ON {follower.name}.* TO {follower.name}@'127.0.0.1'",
    )
    follower.open(user=follower.name, password="p")
    assert "denied" in obstacle(follower.about())
    follower.open(where="id > 3")
    assert "where" in obstacle(follower.about())
    follower.open()
    stream = stream_of(follower.about())
    mark = stream.begin()
    follower.run("INSERT INTO t VALUES (1, 'a')")
    assert list(stream.read(mark, 10).rows) == [(1, "a")]
    stream.close()


def test_columns_are_added_widened_and_dropped_in_mid_stream(follower: Follower) -> None:
    """Rows from before and after each change are read by the names they had, whatever the table looks like now."""
    follower.follow(
        "CREATE TABLE t (id INT PRIMARY KEY, gone INT, n VARCHAR(10), d DECIMAL(6,2), e ENUM('a','b'))",
        columns=("id", "n", "d", "e"),
    )
    follower.run(
        "INSERT INTO t VALUES (1, 7, 'a', 1.5, 'a')",
        "ALTER TABLE t ADD COLUMN more INT FIRST",
        "INSERT INTO t VALUES (1, 2, 7, 'b', 2.5, 'b')",
        "ALTER TABLE t MODIFY n VARCHAR(500), MODIFY d DECIMAL(12,2), MODIFY id BIGINT, MODIFY e ENUM('c','a','b')",
        "INSERT INTO t VALUES (1, 3, 7, REPEAT('中', 200), 1234567890.25, 'c')",
        "ALTER TABLE t DROP COLUMN gone",
        "INSERT INTO t VALUES (1, 4, 'd', 4, 'b')",
    )
    assert [row for _, row in follower.changes()] == [
        (1, "a", "1.50", "a"),
        (2, "b", "2.50", "b"),
        (3, "中" * 200, "1234567890.25", "c"),
        (4, "d", "4.00", "b"),
    ]


def test_a_wanted_column_that_was_dropped_is_refused(follower: Follower) -> None:
    """What came before is told first; then the stream says which column is missing."""
    follower.follow(PEOPLE)
    follower.run("INSERT INTO t VALUES (1, 'a')", "ALTER TABLE t DROP COLUMN n", "INSERT INTO t VALUES (2)")
    with pytest.raises(SourceRefused) as refused:
        follower.drain()
    assert refused.value.details["lacking"] == ["n"]


def test_without_names_an_altered_table_cannot_be_told(follower: Follower) -> None:
    """When the log does not name columns, rows from before a change of the table are not guessed at."""
    follower.run("SET GLOBAL binlog_row_metadata = 'NO_LOG'")
    try:
        follower.follow(PEOPLE)
        follower.run("INSERT INTO t VALUES (1, 'a')", "ALTER TABLE t ADD COLUMN more INT FIRST")
        with pytest.raises(SourceGone):
            follower.drain()
    finally:
        follower.run("SET GLOBAL binlog_row_metadata = 'FULL'")


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE t",
        "RENAME TABLE t TO u",
        "ALTER TABLE t RENAME TO u",
        "CREATE OR REPLACE TABLE t (id INT PRIMARY KEY, n VARCHAR(40))",
        "SET STATEMENT binlog_format = 'STATEMENT' FOR INSERT INTO t VALUES (5, 'x')",
    ],
)
def test_what_ends_the_history_is_said_after_what_came_before(follower: Follower, statement: str) -> None:
    """A table that was dropped, renamed or replaced, or written by statements, is SourceGone, behind the rows before it."""
    follower.follow(PEOPLE)
    follower.run("INSERT INTO t VALUES (1, 'a')", statement)
    assert list(follower.read().rows) == [(1, "a")]
    for _ in range(2):
        with pytest.raises(SourceGone):
            follower.read()


# -- the log and the server ------------------------------------------------------------------------------------------


def test_rotation_goes_unnoticed(follower: Follower) -> None:
    """Reading goes on in the next file, in one read and in the next."""
    follower.follow(PEOPLE)
    follower.run("INSERT INTO t VALUES (1, 'a')", "FLUSH BINARY LOGS", "INSERT INTO t VALUES (2, 'b')", "FLUSH BINARY LOGS")
    assert follower.changes() == [(UP, (1, "a")), (UP, (2, "b"))]
    # The server still writes a line of its own into the new file.
    _await(lambda: not follower.changes() and follower.stream.covers(follower.mark, follower.stream.head()))
    follower.run("INSERT INTO t VALUES (3, 'c')")
    assert follower.changes() == [(UP, (3, "c"))]


def test_a_purged_log_is_gone(follower: Follower) -> None:
    """A mark in a file that the server has deleted is SourceGone."""
    follower.follow(PEOPLE)
    follower.run("INSERT INTO t VALUES (1, 'a')")
    mark = follower.mark
    follower.stream.close()
    follower.run("FLUSH BINARY LOGS")
    last = follower.run("SHOW MASTER STATUS")[0][0]
    _await(lambda: follower.run(f"PURGE BINARY LOGS TO '{last}'") is not None and len(follower.run("SHOW BINARY LOGS")) == 1)
    findings = list(check_binlog(follower.database, follower.session, follower.stream, (follower.name, "t"), mark))
    assert any(not finding.ok and not finding.warning for finding in findings)
    with pytest.raises(SourceGone):
        follower.read()


def test_a_log_begun_anew_is_gone(follower: Follower) -> None:
    """After RESET MASTER the files have the same names; neither a smaller nor a greater position is taken for the old one."""
    follower.run("RESET MASTER")
    follower.follow(PEOPLE)
    follower.run("INSERT INTO t VALUES (1, 'a')")
    assert len(follower.changes()) == 1
    follower.stream.close()
    born = follower.mark["born"]
    _await(lambda: int(follower.run("SELECT UNIX_TIMESTAMP()")[0][0]) > born)
    follower.run("RESET MASTER")
    with pytest.raises(SourceGone):
        follower.read()
    follower.run("INSERT INTO t SELECT seq + 10, REPEAT('x', 40) FROM seq_1_to_1000")
    with pytest.raises(SourceGone):
        follower.read()


def test_a_restarted_server_is_followed_on(node: MariadbNode) -> None:
    """The lost connection is SourceUnavailable; a new session reads on from the mark, without loss or repetition."""
    follower = Follower(node)
    follower.follow(PEOPLE)
    follower.run("INSERT INTO t VALUES (1, 'a')")
    assert len(follower.changes()) == 1
    follower.run("INSERT INTO t VALUES (2, 'b')")
    mark = follower.mark
    node.restart()
    with pytest.raises(SourceUnavailable):
        follower.read()
    follower.close()
    follower.app = follower.application()
    follower.open()
    follower.mark = mark
    follower.run("INSERT INTO t VALUES (3, 'c')")
    assert follower.changes() == [(UP, (2, "b")), (UP, (3, "c"))]
    follower.close()


def test_a_killed_connection_is_resumed(follower: Follower) -> None:
    """When the DBA kills the dump, reading says that the source is unavailable, and the same stream reads on."""
    follower.follow(PEOPLE)
    ((number,),) = follower.run("SELECT id FROM information_schema.processlist WHERE command = 'Binlog Dump'")
    follower.run(f"KILL {number}")
    _await(lambda: not follower.run("SELECT id FROM information_schema.processlist WHERE command = 'Binlog Dump'"))
    follower.run("INSERT INTO t VALUES (1, 'a')")
    with pytest.raises(SourceUnavailable):
        follower.read()
    assert follower.changes() == [(UP, (1, "a"))]


def test_settings_that_hide_changes_are_refused(follower: Follower) -> None:
    """Without ROW and FULL the stream does not begin, and names the statement that helps."""
    follower.run(PEOPLE)
    for name, bad, good in (("binlog_format", "MIXED", "ROW"), ("binlog_row_image", "MINIMAL", "FULL")):
        follower.run(f"SET GLOBAL {name} = '{bad}'")
        try:
            follower.open()
            with pytest.raises(SourceRefused) as refused:
                follower.stream.begin()
            assert f"SET GLOBAL {name} = '{good}'" in str(refused.value.localised()[1])
        finally:
            follower.run(f"SET GLOBAL {name} = '{good}'")


def test_doctor_names_the_grants(follower: Follower) -> None:
    """An account with SELECT alone is told exactly what to ask for; with it, the log is read and cascades are warned of."""
    follower.run(
        PEOPLE, "CREATE TABLE p (id INT PRIMARY KEY)", "ALTER TABLE t ADD FOREIGN KEY (id) REFERENCES p (id) ON DELETE CASCADE"
    )
    user = follower.name
    follower.run(f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'p'", f"GRANT SELECT ON {follower.name}.* TO {user}@'127.0.0.1'")
    follower.open(user=user, password="p")
    findings = list(check_binlog(follower.database, follower.session, follower.stream, (follower.name, "t")))
    assert [finding.ok for finding in findings] == [False]
    assert findings[0].details["grants"] == "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO"
    follower.run(f"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {user}@'127.0.0.1'")
    follower.open(user=user, password="p")
    findings = list(check_binlog(follower.database, follower.session, follower.stream, (follower.name, "t"), follower.mark))
    assert [(finding.ok, finding.warning) for finding in findings] == [(True, False), (False, True)]


def test_a_mark_of_something_else_is_gone(follower: Follower) -> None:
    """Marks that are none are refused with the error of a lost position, never with another."""
    follower.follow(PEOPLE)
    for mark in ({}, [], "x", 5, {"file": "f", "pos": 4, "born": 1}, {"file": "binlog.000001", "pos": "y", "born": 1}):
        with pytest.raises(HuitongError) as error:
            follower.stream.read(mark, 10)
        assert isinstance(error.value, SourceGone)


def _await(condition: Callable[[], bool]) -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + 20
    while not condition():
        assert clock.monotonic() < deadline
