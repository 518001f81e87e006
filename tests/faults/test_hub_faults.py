"""The hub dies, sleeps, or loses its database: nothing it promised is lost, nothing is stored twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from agent.testing.nodes.postgres import PostgresNode
from tests.faults.conftest import MakeWorld
from tests.faults.world import Stack, World

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
        world.until(lambda: world.captured() > captured + 10, "capture goes on")
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
