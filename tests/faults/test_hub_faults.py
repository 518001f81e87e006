"""The hub dies, sleeps, or loses its database: nothing it promised is lost, nothing is stored twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from agent.adapters.clock import SystemClock
from agent.testing.nodes.postgres import PostgresDatabase, PostgresNode
from hub.model import Department, DepartmentState
from hub.store.leases import PostgresLeases
from hub.store.migrate import migrate
from hub.store.opening import open_store
from hub.store.postgres import APPLICATION, Postgres
from hub.store.registry import SqlRegistry
from tests.faults.conftest import MakeWorld
from tests.faults.world import Stack, World, pause

pytestmark = [pytest.mark.faults, pytest.mark.integration]

HUBS = ("hub", "hub-2")


@pytest.fixture
def breakable_postgres(private_postgres: PostgresNode) -> Iterator[PostgresNode]:
    """A database server of the test's own. Ask for it before the world, which is then taken down first."""
    yield private_postgres
    if not private_postgres.running:
        private_postgres.start()


def begin(world: World, hubs: tuple[str, ...] = ("hub",)) -> World:
    for hub in hubs:
        world.start(hub)
    world.clerks.start()
    world.start("agent")
    world.await_more(world.plan.rows)
    return world


def test_the_hub_is_killed_again_and_again(make_world: MakeWorld, long_run: bool) -> None:
    """Killed under load at any moment and started again, the hub goes on where its last commit left it."""
    world = begin(make_world())
    for _ in range(10 if long_run else 3):
        world.kill("hub")
        world.start("hub")
        world.await_more(20)
    world.prove()


def test_of_two_hubs_one_is_killed(make_world: MakeWorld, on_postgres: Stack) -> None:
    """The department of a killed hub process goes to the other one when its lease has run out."""
    world = begin(make_world(stack=on_postgres), HUBS)
    for _ in range(2):
        worker = at_work(world)
        world.kill(worker)
        world.await_more(20)
        world.start(worker)
    world.prove()


@pytest.mark.long
def test_of_two_hubs_one_falls_asleep(make_world: MakeWorld, on_postgres: Stack) -> None:
    """A hub process that is stopped longer than its lease and wakes up again writes nothing under the lease it has lost."""
    world = begin(make_world(stack=on_postgres), HUBS)
    sleeper = at_work(world)
    os.kill(world.pid(sleeper), signal.SIGSTOP)
    world.tally.faults += 1
    try:
        world.until(lambda: at_work(world) not in ("", sleeper), "the other one takes over")
        world.await_more(20)
    finally:
        os.kill(world.pid(sleeper), signal.SIGCONT)
    world.await_more(20)
    world.prove()


def test_a_writer_frozen_in_a_copy_holds_nobody_up(pg_database: PostgresDatabase) -> None:
    """No timeout of the server ends a session in the middle of a COPY: others go on without its leases, then cut it off."""
    db = pg_database
    store = open_store(Postgres(db.host, db.port, db.database, db.user, db.password))
    migrate(store)
    for code in ("dept-1", "dept-2"):
        SqlRegistry(store).admit(Department(code, "", "", DepartmentState.ADMITTED, SystemClock().now()), None, "test")
    leases = PostgresLeases(store, silent_secs=1.0)
    leases.hold("frozen", 0.01)
    with closing(psycopg.connect(db, application_name=APPLICATION)) as frozen, frozen.cursor() as cursor:
        cursor.execute("SELECT fence FROM lease WHERE department = 'dept-1' FOR SHARE")
        with pytest.raises(psycopg.OperationalError), cursor.copy("COPY member FROM STDIN"):  # noqa: PT012 - leaving it fails
            assert set(leases.hold("b", 60)) == {"dept-2"}
            pause(1.1)
            held: set[str] = set()
            while held != {"dept-1", "dept-2"}:  # the server takes a moment to end a session
                held = set(leases.hold("b", 60))
    store.close()


def at_work(world: World) -> str:
    """Return which process holds the lease of the department."""
    rows = world.hub_books.rows("SELECT owner FROM lease WHERE until > clock_timestamp()")
    pids = {str(world.pid(name)): name for name in HUBS}
    return next((pids.get(owner.split(":")[1], "") for (owner,) in rows if owner), "")


def test_the_database_of_the_hub_dies(breakable_postgres: PostgresNode, make_world: MakeWorld, long_run: bool) -> None:
    """While its database is gone the hub acks nothing; when it is back everything is stored, once."""
    world = begin(make_world(stack=Stack(store=breakable_postgres)))
    for _ in range(5 if long_run else 2):
        breakable_postgres.kill()
        world.tally.kills += 1
        captured = world.captured()
        world.until(lambda before=captured: world.captured() > before + 10, "capture goes on")
        breakable_postgres.start()
        world.await_more()
    world.prove()
    assert world.events("hub", "store_lost")


def test_the_database_of_the_source_dies(breakable_postgres: PostgresNode, make_world: MakeWorld, long_run: bool) -> None:
    """Killed or restarted in the middle of the load, the source is read on from the last position."""
    world = begin(make_world(stack=Stack(source=breakable_postgres)))
    for number in range(6 if long_run else 2):
        if number % 2:
            breakable_postgres.restart()
            world.tally.faults += 1
        else:
            breakable_postgres.kill()
            world.tally.kills += 1
            breakable_postgres.start()
        world.await_more()
    world.prove()
    assert world.events("agent", "source_lost")
