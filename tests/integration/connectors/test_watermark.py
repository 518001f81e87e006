"""Late commits are read however late they come, and open transactions of MariaDB are seen or known not to be seen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pymysql  # type: ignore[import-untyped]
import pytest

from agent.adapters.clock import SystemClock
from agent.errors import SourceRefused
from agent.testing.nodes.mariadb import MariadbDatabase, MariadbNode
from agent.testing.nodes.postgres import PostgresDatabase, PostgresNode
from connectors.database.connect import database_of
from connectors.database.settings import DatabaseFrom
from connectors.database.streams.activity_mysql import Activity, Looked
from tests.integration.connectors.database_kit import Bench

pytestmark = pytest.mark.integration

CLOCK = SystemClock()
LATE_SECS = 1.7  # more than a watermark is set back


class Late:
    """A source in this mode on a table whose times the database sets, and what it has read."""

    def __init__(self, bench: Bench, ddl: str, connect: Callable[[], Any]) -> None:
        self.bench, self.connect = bench, connect
        bench.clock = CLOCK  # type: ignore[assignment]
        bench.run(*ddl.split(";"))
        bench.open(mode="watermark", every="50ms")
        self.seen: list[Any] = []

    def poll(self) -> set[Any]:
        """Read everything there is now; return the ids of all that was read so far."""
        self.seen += [row["id"] for row in self.bench.drain()]
        return set(self.seen)

    def poll_for(self, secs: float) -> None:
        """Go on polling for a while."""
        until = CLOCK.monotonic() + secs
        while CLOCK.monotonic() < until:
            self.poll()
            threading.Event().wait(0.05)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Yield a cursor in a transaction of its own, which is left to the test to commit."""
        with closing(self.connect()) as session, closing(session.cursor()) as cursor:
            cursor.execute("BEGIN")
            yield cursor


@pytest.fixture
def late_pg(pg: Bench, pg_database: PostgresDatabase) -> Late:
    """PostgreSQL."""
    ddl = "CREATE TABLE t (id int PRIMARY KEY, updated_at timestamptz NOT NULL DEFAULT now()); CREATE INDEX ON t (updated_at, id)"
    return Late(pg, ddl, lambda: psycopg.connect(pg_database, autocommit=True))


@pytest.fixture
def late_maria(maria: Bench, mysql_database: MariadbDatabase) -> Late:
    """MariaDB."""
    time = "timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)"
    ddl = f"CREATE TABLE t (id int PRIMARY KEY, updated_at {time}); CREATE INDEX u ON t (updated_at, id)"
    return Late(maria, ddl, lambda: connect(mysql_database))


@pytest.fixture(params=["late_pg", "late_maria"])
def late(request: pytest.FixtureRequest) -> Late:
    """Each database in turn."""
    made: Late = request.getfixturevalue(request.param)
    return made


def connect(database: MariadbDatabase, **other: Any) -> Any:
    fields = {"host": database.host, "port": database.port, "user": database.user, "password": database.password}
    return pymysql.connect(**{**fields, "database": database.database, "autocommit": True, **other})


# -- late commits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_transactions_that_commit_late_in_any_order_are_read(late: Late, order: tuple[int, int]) -> None:
    """Two rows written early commit after many newer ones were read, in either order: both are read."""
    late.poll()
    with late.transaction() as first, late.transaction() as second:
        writers = (first, second)
        for number, writer in enumerate(writers):
            writer.execute(f"INSERT INTO t (id) VALUES ({number})")
        late.bench.run("INSERT INTO t (id) VALUES (10)")
        late.poll_for(LATE_SECS)
        late.bench.run("INSERT INTO t (id) VALUES (11)")
        assert late.poll() == {10, 11}
        for count, number in enumerate(order, 1):
            writers[number].execute("COMMIT")
            assert late.poll() == {10, 11, *order[:count]}
            late.poll_for(LATE_SECS / 2)
    assert sorted(late.seen) == [0, 1, 10, 11]


def test_a_commit_after_a_restart_is_read(late: Late) -> None:
    """A transaction outlives two openings of the source: what it wrote is read by the third."""
    with late.transaction() as writer:
        writer.execute("INSERT INTO t (id) VALUES (1)")
        for number in (2, 3):
            late.bench.run(f"INSERT INTO t (id) VALUES ({number})")
            late.poll_for(LATE_SECS)
            late.bench.source.close()
            late.bench.open(mode="watermark", every="50ms")
        assert late.poll() == {2, 3}
        writer.execute("COMMIT")
    assert late.poll() == {1, 2, 3}


def test_an_idle_table_gives_nothing_and_its_watermark_moves(late: Late) -> None:
    """What was read is not given again while nothing happens, and soon not even read again."""
    late.bench.run("INSERT INTO t (id) VALUES (1), (2)")
    late.poll()
    before = len(late.seen)
    late.poll_for(LATE_SECS)
    assert len(late.seen) == before


def test_a_prepared_transaction_holds_the_watermark(late_pg: Late, pg_database: PostgresDatabase) -> None:
    """A transaction in two phases that no session has any more is waited for."""
    with late_pg.transaction() as writer:
        writer.execute("INSERT INTO t (id) VALUES (1)")
        writer.execute(f"PREPARE TRANSACTION '{pg_database.database}'")
    late_pg.bench.run("INSERT INTO t (id) VALUES (2)")
    late_pg.poll_for(LATE_SECS)
    late_pg.bench.run(f"COMMIT PREPARED '{pg_database.database}'")
    assert late_pg.poll() == {1, 2}


def test_a_statement_that_waited_before_it_wrote_is_read(late_maria: Late, mysql_database: MariadbDatabase) -> None:
    """NOW() is from when a statement began; InnoDB learns of its transaction only after the wait for the table."""
    inserted, commit = threading.Event(), threading.Event()

    def write() -> None:
        with late_maria.transaction() as writer:
            writer.execute("INSERT INTO t (id) VALUES (1)")
            inserted.set()
            commit.wait(30)
            writer.execute("COMMIT")

    thread = threading.Thread(target=write)
    with closing(connect(mysql_database)) as holder, closing(holder.cursor()) as held:
        late_maria.poll()
        held.execute("LOCK TABLES t READ")
        thread.start()
        late_maria.poll_for(LATE_SECS + 1)  # more than rounding to whole seconds could hide
        held.execute("UNLOCK TABLES")
    assert inserted.wait(30)
    late_maria.bench.run("INSERT INTO t (id) VALUES (2)")
    late_maria.poll_for(LATE_SECS)
    assert set(late_maria.seen) == {2}
    commit.set()
    thread.join()
    assert late_maria.poll() == {1, 2}


# -- what is in the way ------------------------------------------------------------------------------------------------


def test_an_account_that_sees_only_itself_is_refused(pg: Bench, pg_database: PostgresDatabase, postgres: PostgresNode) -> None:
    """Without pg_read_all_stats the transactions of others look like none: that is refused, with the grant."""
    pg.run("CREATE TABLE t (id int PRIMARY KEY, updated_at timestamptz NOT NULL)")
    reader = f"reader_{pg_database.database}"
    pg.run(f"CREATE ROLE {reader} LOGIN PASSWORD 'x'", f"GRANT SELECT ON t TO {reader}")
    pg.connection, pg.password = pg.connection.model_copy(update={"user": reader}), "x"
    with pytest.raises(SourceRefused, match="GRANT pg_read_all_stats"):
        pg.open(mode="watermark")
    pg.run(f"GRANT pg_read_all_stats TO {reader}")
    pg.open(mode="watermark")
    pg.source.close()
    pg.run(f"DROP OWNED BY {reader}")
    postgres.sql(f"DROP ROLE {reader}")


@pytest.mark.parametrize(
    "column, mode",
    [
        ("timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)", "watermark"),
        ("timestamp(6) NOT NULL DEFAULT '2020-01-01'", "polling"),
        ("datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)", "polling"),
        ("date NOT NULL", "polling"),
        ("bigint NOT NULL", "polling"),
    ],
)
def test_auto_wants_signs_that_the_database_sets_the_column(maria: Bench, column: str, mode: str) -> None:
    """Only a time with a zone that the server itself sets at every change is trusted without being told."""
    maria.run(f"CREATE TABLE t (id int PRIMARY KEY, updated_at {column}) ENGINE=InnoDB")
    assert chosen(maria) == mode


@pytest.mark.parametrize("trigger", [True, False])
def test_auto_wants_a_trigger_on_postgres(pg: Bench, *, trigger: bool) -> None:
    """A default alone says nothing about updates."""
    pg.run("CREATE TABLE t (id int PRIMARY KEY, updated_at timestamptz NOT NULL DEFAULT now())")
    if trigger:
        pg.run(
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.updated_at = now(); RETURN NEW; END'",
            "CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch()",
        )
    assert chosen(pg) == ("watermark" if trigger else "polling")


def chosen(bench: Bench) -> str:
    """Return the mode that auto would take if some better ones were not to be had."""
    from connectors.database.streams.about import About
    from connectors.database.streams.watermark import obstacle
    from connectors.database.tables.pages import Pages
    from connectors.database.tables.reader import TableReader
    from connectors.database.tables.shape import shape_of

    wiring = bench.wiring()
    settings: DatabaseFrom = wiring.settings
    database = database_of(wiring)
    session = database.connect()
    try:
        reader = TableReader(database, session, Pages(shape_of(database, session, settings, ())))
        return "polling" if obstacle(About("f", settings, reader, CLOCK)) else "watermark"
    finally:
        session.close()


# -- open transactions of MariaDB --------------------------------------------------------------------------------------


@pytest.fixture
def activity(maria: Bench) -> Iterator[Activity]:
    """What looks at the transactions of the server, which has a table `t`."""
    maria.run("CREATE TABLE t (id int PRIMARY KEY) ENGINE=InnoDB")
    made = Activity(database_of(maria.wiring()), CLOCK)
    yield made
    made.close()


def looked(activity: Activity, wanted: Callable[[Looked], bool], secs: float = 20) -> Looked:
    """Look until something is seen."""
    until = CLOCK.monotonic() + secs
    while not wanted(found := activity.look()):
        assert CLOCK.monotonic() < until, found
        threading.Event().wait(0.05)
    return found


def test_a_long_transaction_from_before_is_seen(maria: Bench, mysql_database: MariadbDatabase) -> None:
    """What was open before the first look is the oldest, and is told as not witnessed until it ends."""
    maria.run("CREATE TABLE t (id int PRIMARY KEY) ENGINE=InnoDB")
    with closing(connect(mysql_database)) as writer, closing(writer.cursor()) as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO t VALUES (1)")
        activity = Activity(database_of(maria.wiring()), CLOCK)
        first = looked(activity, lambda found: found.fresh)
        assert first.oldest == first.unwitnessed
        assert first.oldest is not None
        assert timedelta(0) <= first.at - first.oldest < timedelta(seconds=30)
        cursor.execute("COMMIT")
    looked(activity, lambda found: found.fresh and found.unwitnessed is None)
    activity.close()


@pytest.mark.parametrize("owned", [True, False])
def test_a_prepared_xa_transaction_counts_as_open(activity: Activity, mysql_database: MariadbDatabase, *, owned: bool) -> None:
    """Between its two phases a transaction is open, whether or not a connection still owns it."""
    xid = f"'{mysql_database.database}'"
    with closing(connect(mysql_database)) as helper, closing(helper.cursor()) as ender:
        writer = connect(mysql_database)
        cursor = writer.cursor()
        for statement in (f"XA START {xid}", "INSERT INTO t VALUES (1)", f"XA END {xid}", f"XA PREPARE {xid}"):
            cursor.execute(statement)
        if not owned:
            writer.close()
        found = looked(activity, lambda found: found.fresh and found.oldest is not None)
        assert found.oldest is not None
        threading.Event().wait(0.3)
        assert looked(activity, lambda found: found.fresh).oldest == found.oldest
        (cursor if owned else ender).execute(f"XA COMMIT {xid}")
        looked(activity, lambda found: found.fresh and found.oldest is None)
        if owned:
            writer.close()


def test_while_others_keep_the_cache_from_refreshing_nothing_is_proven(
    activity: Activity, mysql_database: MariadbDatabase
) -> None:
    """Somebody reads the table every 30 ms: every look that calls itself fresh shows the transaction that is open."""
    ready, begin, stop = threading.Event(), threading.Event(), threading.Event()

    def read_on() -> None:
        with closing(connect(mysql_database)) as reader, closing(reader.cursor()) as cursor:
            ready.set()
            begin.wait(60)
            while not stop.wait(0.03):
                cursor.execute("SELECT COUNT(*) FROM information_schema.INNODB_TRX")

    thread = threading.Thread(target=read_on)
    thread.start()
    try:
        with closing(connect(mysql_database)) as writer, closing(writer.cursor()) as cursor:
            assert ready.wait(60)
            looked(activity, lambda found: found.fresh)
            begin.set()  # so soon that what the look left in the cache stays there
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO t VALUES (1)")
            looks = []
            until = CLOCK.monotonic() + 2
            while CLOCK.monotonic() < until:
                threading.Event().wait(0.16)
                looks.append(activity.look())
            assert all(found.oldest is not None for found in looks if found.fresh)
            stop.set()
            thread.join()
            looked(activity, lambda found: found.fresh and found.oldest is not None)
            cursor.execute("ROLLBACK")
    finally:
        begin.set()
        stop.set()
        thread.join()


def test_looks_are_never_closer_than_the_cache_can_bear(activity: Activity) -> None:
    """Asked again at once, it gives the look from before."""
    assert activity.look() is activity.look()


def test_without_process_it_is_not_possible(maria: Bench, mariadb: MariadbNode, mysql_database: MariadbDatabase) -> None:
    """An account without PROCESS sees nothing of others."""
    account = f"'ro_{mysql_database.database}'@'127.0.0.1'"
    mariadb.sql(f"CREATE USER {account} IDENTIFIED BY 'x'; GRANT SELECT ON `{mysql_database.database}`.* TO {account}")
    maria.connection = maria.connection.model_copy(update={"user": f"ro_{mysql_database.database}"})
    maria.password = "x"
    session = database_of(maria.wiring()).connect()
    assert not Activity.possible(session)
    session.close()
    mariadb.sql(f"GRANT PROCESS ON *.* TO {account}")
    session = database_of(maria.wiring()).connect()
    assert Activity.possible(session)
    session.close()
    mariadb.sql(f"DROP USER {account}")
