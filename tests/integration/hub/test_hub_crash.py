"""Hub processes killed at every crash point, on real RabbitMQ and PostgreSQL: nothing lost, nothing twice (I5, C12–C15)."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from agent.testing.nodes.postgres import PostgresNode
from agent.testing.nodes.rabbitmq import BrokerSpace
from tests.integration.hub.conftest import World

pytestmark = [pytest.mark.integration, pytest.mark.faults]

CUT = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE application_name = 'huitong-hub' AND datname = current_database()"""


@pytest.mark.parametrize("point", ["C12", "C13", "C14", "C15"])
@pytest.mark.parametrize("hits", [1, 3])
def test_a_hub_killed_at_a_crash_point_loses_nothing(world: World, point: str, hits: int) -> None:
    """Killed there under load and started again: both ledgers agree, every message has one receipt, the chain holds."""
    bdc = world.admit("bdc-01")
    bdc.open()
    bdc.send_records(24)
    dying = world.run(point, hits)
    assert dying.wait(40) == -signal.SIGKILL
    bdc.send_records(6)
    world.run()
    bdc.hear()
    world.check(bdc)


def test_a_hub_killed_again_and_again_loses_nothing(world: World, long_run: bool) -> None:
    """A series of kills at changing points while messages keep coming."""
    bdc = world.admit("bdc-01")
    bdc.open()
    points = ["C13", "C15", "C12", "C14"] * (6 if long_run else 1)
    for turn, point in enumerate(points):
        bdc.send_records(8)
        assert world.run(point, 1 + turn % 3).wait(40) == -signal.SIGKILL
    world.run()
    bdc.hear()
    world.check(bdc)


@pytest.mark.timeout(240)
def test_a_message_that_kills_the_hub_stops_only_itself(world: World) -> None:
    """Dying at the same message again and again: it is put aside unread and told so, its neighbours are stored, resent it is too."""
    bdc = world.admit("bdc-01")
    bdc.open()
    first = world.run()
    bdc.hear()
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    bdc.send_records(10)
    for _ in range(5):
        assert world.run("C12", 1).wait(40) == -signal.SIGKILL
    world.run()
    poison = bdc.sent[1]
    bdc.hear(60, refused={poison.message_id: "not_processed"})
    bdc.send(poison)
    bdc.sent.pop()
    bdc.hear(60)
    world.check(bdc)


def test_a_stopped_hub_leaves_in_order(world: World) -> None:
    """SIGTERM under load: exit 0, what was committed is acked, the next process goes on."""
    bdc = world.admit("bdc-01")
    bdc.open()
    bdc.send_records(40)
    first = world.run()
    wait_for_records(world)
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    world.run()
    bdc.hear()
    world.check(bdc)


def test_the_store_restarts_under_load(world: World) -> None:
    """Every database connection of the hub is cut again and again: no process dies, both ledgers agree."""
    bdc = world.admit("bdc-01")
    bdc.open()
    process = world.run()
    for _ in range(4):
        bdc.send_records(10)
        wait_for_records(world)
        with world.connect() as connection:
            connection.execute(CUT)
    bdc.hear()
    assert process.poll() is None
    world.check(bdc)


def test_a_read_only_store_is_waited_for(world: World) -> None:
    """While the database is read-only nothing is acked; afterwards everything is stored."""
    bdc = world.admit("bdc-01")
    bdc.open()
    name = world.database.database
    with world.connect() as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    process = world.run()
    bdc.send_records(5)
    assert_nothing_for_a_while(process)
    with world.connect() as connection:
        connection.execute("SET default_transaction_read_only = off")
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (0,)
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        connection.execute(CUT)
    bdc.hear()
    world.check(bdc)


def test_a_database_that_crashes_under_load_loses_no_receipt(
    tmp_path: Path, broker: BrokerSpace, private_postgres: PostgresNode
) -> None:
    """PostgreSQL killed and started again while it is being written to: what was receipted is there, the rest comes again."""
    world = World(tmp_path, broker, private_postgres.add_database("hub"))
    bdc = world.admit("bdc-01")
    bdc.open()
    process = world.run()
    for _ in range(3):
        bdc.send_records(30)
        wait_for_records(world)
        private_postgres.kill()
        bdc.send_records(5)
        private_postgres.start()
    bdc.hear(60)
    assert process.poll() is None
    world.check(bdc)
    world.stop()


def assert_nothing_for_a_while(process: subprocess.Popen[bytes]) -> None:
    """Give a hub that may do nothing the time to do something wrong."""
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(6)


def wait_for_records(world: World) -> None:
    """Wait until the hub has begun to store."""
    with world.connect() as connection:
        connection.execute("SET statement_timeout = '30s'")
        connection.execute(
            """DO $$ BEGIN
                 WHILE NOT EXISTS (SELECT FROM record) LOOP
                   PERFORM pg_sleep(0.02);
                 END LOOP;
               END $$"""
        )
