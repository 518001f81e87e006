"""Several hub processes on one PostgreSQL store: who works for whom, and what a process that lost a lease can still do."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from hub.errors import LeaseLost, StoreUnavailable
from hub.model import Changes, Department, DepartmentState
from hub.store.leases import PostgresLeases
from hub.store.migrate import migrate
from hub.store.opening import open_store
from hub.store.postgres import Postgres
from hub.store.registry import SqlRegistry
from hub.store.sql import SqlStore

if TYPE_CHECKING:
    from agent.testing.nodes.postgres import PostgresDatabase
    from tests.integration.hub.conftest import World

pytestmark = pytest.mark.integration

AT = datetime(2026, 11, 21, tzinfo=UTC)
CODES = [f"dept-{n}" for n in range(7)]


@pytest.fixture
def store(pg_database: PostgresDatabase) -> Iterator[SqlStore]:
    """A store with seven departments."""
    db = pg_database
    opened = open_store(Postgres(db.host, db.port, db.database, db.user, db.password))
    migrate(opened)
    for code in CODES:
        SqlRegistry(opened).admit(Department(code, "", "", DepartmentState.ADMITTED, AT), None, "test")
    yield opened
    opened.close()


def expire(store: SqlStore, owner: str) -> None:
    """Let an owner's membership and leases run out."""
    with store.transaction() as connection:
        for table in ("member", "lease"):
            connection.execute(text(f"UPDATE {table} SET until = now() - interval '1 second' WHERE owner = :o"), {"o": owner})


def test_leases_are_spread_evenly(store: SqlStore) -> None:
    """One process holds all; each that joins takes its share, nobody holds what another holds, everything is held."""
    leases = PostgresLeases(store)
    assert set(leases.hold("a", 60)) == set(CODES)
    for _ in range(3):
        held = [set(leases.hold(owner, 60)) for owner in ("a", "b", "c")]
    assert sorted(map(len, held)) == [1, 3, 3]
    assert set.union(*held) == set(CODES)
    assert sum(map(len, held)) == len(CODES)


def test_an_expired_lease_is_taken_over_with_a_new_fence(store: SqlStore) -> None:
    """After expiry the departments go to who is left; the fence grows, so the former holder cannot write."""
    leases = PostgresLeases(store)
    before = leases.hold("a", 60)
    expire(store, "a")
    after = leases.hold("b", 60)
    assert set(after) == set(CODES)
    assert all(after[code] > before[code] for code in CODES)
    with pytest.raises(LeaseLost), store.begin(before) as unit:
        unit.lock({"dept-0"})
    with store.begin(after) as unit:
        unit.lock({"dept-0"})
        unit.write([], Changes(), AT)


def test_renewing_keeps_the_fence(store: SqlStore) -> None:
    """Holding on changes nothing; coming back after the lease ran out is a new lease."""
    leases = PostgresLeases(store)
    first = leases.hold("a", 60)
    assert leases.hold("a", 60) == first
    expire(store, "a")
    assert all(fence == first[code] + 1 for code, fence in leases.hold("a", 60).items())


def test_releasing_gives_everything_back_at_once(store: SqlStore) -> None:
    """After a release nobody has to wait."""
    leases = PostgresLeases(store)
    leases.hold("a", 60)
    leases.release("a")
    assert set(leases.hold("b", 60)) == set(CODES)


def test_a_lease_cannot_change_hands_inside_a_transaction(store: SqlStore) -> None:
    """While a transaction holds the lease row, a takeover waits: the commit is never after the change of hands."""
    leases = PostgresLeases(store)
    held = leases.hold("a", 60)
    with store.begin(held) as unit:
        unit.lock({"dept-0"})
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            take_over(store)
        unit.write([], Changes(), AT)


def take_over(store: SqlStore) -> None:
    """Try to change the hands of a lease."""
    with store.transaction() as other:
        other.execute(text("SET LOCAL lock_timeout = '100ms'"))
        other.execute(text("UPDATE lease SET owner = 'b', fence = fence + 1 WHERE department = 'dept-0'"))


def test_suspended_departments_are_nobody_s(store: SqlStore) -> None:
    """Suspension takes the lease away at the next renewal."""
    leases = PostgresLeases(store)
    leases.hold("a", 60)
    SqlRegistry(store).set_state("dept-3", DepartmentState.SUSPENDED, AT, "test")
    assert set(leases.hold("a", 60)) == set(CODES) - {"dept-3"}


def holders(world: World) -> dict[str, str]:
    """Return department → process of the leases that are alive."""
    with world.connect() as connection:
        return dict(connection.execute("SELECT department, owner FROM lease WHERE owner <> '' AND until > now()").fetchall())


def until_shared(world: World, processes: int, departments: int) -> None:
    """Wait until that many processes hold all departments."""
    with world.connect() as connection:
        connection.execute("SET statement_timeout = '80s'")
        connection.execute(
            f"""DO $$ BEGIN
                  WHILE (SELECT count(DISTINCT owner) <> {processes} OR count(*) <> {departments}
                         FROM lease WHERE owner <> '' AND until > clock_timestamp()) LOOP
                    PERFORM pg_sleep(0.05);
                  END LOOP;
                END $$"""
        )


@pytest.mark.faults
@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_two_processes_share_and_take_over(world: World, how: str) -> None:
    """Both work; one is killed, or frozen until its leases are gone and woken again: the other takes over, ledgers agree."""
    departments = [world.admit(f"d{n}") for n in range(4)]
    first = world.run()
    world.run()
    for one in departments:
        one.open()
        one.send_records(6)
    until_shared(world, processes=2, departments=4)
    assert sorted(list(holders(world).values()).count(owner) for owner in set(holders(world).values())) == [2, 2]
    for one in departments:
        one.send_records(6)
    first.send_signal(signal.SIGKILL if how == "kill" else signal.SIGSTOP)
    for one in departments:
        one.send_records(6)
    until_shared(world, processes=1, departments=4)
    if how == "freeze":
        first.send_signal(signal.SIGCONT)
    for one in departments:
        one.send_records(6)
        one.hear(60)
        world.check(one)
