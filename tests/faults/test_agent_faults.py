"""What happens to the agent itself: a full disk, a clock that steps, an order to stop, a second one beside it, a clone."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import StoreFull
from tests.faults.child import set_clock
from tests.faults.conftest import MakeWorld
from tests.faults.ledger import Books
from tests.faults.papers import AgentPapers
from tests.faults.registry import Habits
from tests.faults.world import Stack, World

pytestmark = [pytest.mark.faults, pytest.mark.integration]

DISK_BYTES = 96 << 20
BUSY = 75
STOP_WITHIN_SECS = 30


def begin(world: World) -> World:
    world.start("hub")
    world.clerks.start()
    world.start("agent")
    world.await_more(world.plan.rows)
    return world


# -- the disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of the test's own."""
    where = tmp_path / "disk"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "huitong-fault", where], check=True)
    yield where
    subprocess.run(["umount", "--lazy", where], check=True)


@pytest.mark.parametrize("left_bytes", [0, 24 << 20], ids=["full", "low"])
def test_the_disk_of_the_outbox_fills_up(left_bytes: int, make_world: MakeWorld, small_disk: Path) -> None:
    """Full, or below the low-water mark: capture pauses with an alarm, sending goes on, and capture resumes by itself."""
    world = begin(make_world(state_dir=small_disk / "state", papers=AgentPapers(low_water="32MiB")))
    other = fill(small_disk, left_bytes)
    world.tally.faults += 1
    world.until(lambda: bool(world.events("agent", "disk_low")), "the alarm")
    world.until(world.settled, "what was captured is sent and receipted")
    captured = world.captured()
    turns = world.clerks.turns
    world.until(lambda: world.clerks.turns > turns + 20, "people go on working")
    assert world.captured() == captured
    assert any(event["by"] == "disk" for event in world.events("agent", "flow_paused"))
    assert world.alarms(StoreFull.code)
    other.unlink()
    world.until(lambda: world.captured() > captured, "capture resumes")
    assert world.events("agent", "disk_recovered")
    world.prove()


def fill(disk: Path, left_bytes: int) -> Path:
    """Take the disk but for so many octets."""
    other = disk / "other.log"
    size = 1 << 20
    with other.open("ab", buffering=0) as file:
        while size and free(disk) > left_bytes:
            try:
                file.write(b"x" * min(size, free(disk) - left_bytes))
            except OSError:
                size //= 2
    return other


def free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def test_killed_on_a_full_disk(make_world: MakeWorld, small_disk: Path) -> None:
    """Killed while the disk is full and started again there, the agent goes on as before: sending, not capturing."""
    world = begin(make_world(state_dir=small_disk / "state", papers=AgentPapers(low_water="32MiB")))
    other = fill(small_disk, 0)
    world.tally.faults += 1
    for _ in range(2):
        world.kill("agent")
        world.start("agent")
        greeted = len(world.events("agent", "hub_greeted"))
        world.until(lambda before=greeted: len(world.events("agent", "hub_greeted")) > before, "it starts on a full disk")
    world.until(world.settled, "what was captured is sent and receipted")
    other.unlink()
    world.await_more()
    world.prove()


# -- the clock -------------------------------------------------------------------------------------------------------


def test_the_clock_steps(make_world: MakeWorld, tmp_path: Path) -> None:
    """A wall clock that steps forth and back by hours and years changes nothing about order, identity or timers."""
    clock = tmp_path / "clock"
    set_clock(clock, 0)
    world = begin(make_world(environment={"WORLD_CLOCK": str(clock)}))
    for hours in (1, -1, 24 * 366, -24 * 366, 0):
        set_clock(clock, hours * 3600)
        world.tally.faults += 1
        world.await_more(20)
    world.prove()


# -- stopping, and two at once ---------------------------------------------------------------------------------------


def test_told_to_stop_under_load(make_world: MakeWorld, long_run: bool) -> None:
    """SIGTERM under load: agent and hub end within the deadline with exit code 0, and the next start goes on."""
    world = begin(make_world())
    for name in ("agent", "hub", "agent") * (3 if long_run else 1):
        told_at = time.monotonic()
        assert world.stop(name) == 0, world.words(name)
        assert time.monotonic() - told_at < STOP_WITHIN_SECS
        assert not world.events(name, "service_failed")
        world.tally.faults += 1
        world.start(name)
        world.await_more(20)
    world.prove()


def test_a_second_agent_on_the_same_store(make_world: MakeWorld) -> None:
    """A second agent on the store is refused with exit code 75 and told who holds it; the first one works on."""
    world = begin(make_world())
    second = world.huitong("run")
    world.tally.faults += 1
    assert second.returncode == BUSY, second.stderr
    assert str(world.pid("agent")) in second.stderr
    world.await_more(20)
    world.prove()


# -- a second history ------------------------------------------------------------------------------------------------


def test_an_old_copy_of_the_store_is_put_back(make_world: MakeWorld) -> None:
    """The hub's answer shows a second history: the flows freeze with an alarm, the hub stores nothing of it; restore goes on."""
    world = begin(make_world())
    assert world.stop("agent") == 0
    copy = shutil.copytree(world.state_dir, world.folder / "copy")
    world.start("agent")
    world.await_more(100)
    assert world.stop("agent") == 0
    shutil.rmtree(world.state_dir)
    copy.rename(world.state_dir)
    world.tally.faults += 1
    ahead = flows_ahead(world)
    assert ahead
    world.start("agent")
    world.until(lambda: ahead <= frozen(world.agent_books) == told(world), "the fork is noticed, and told")
    status = world.huitong("status")
    assert (status.returncode, status.stdout.count("huitong restore")) == (1, len(frozen(world.agent_books)))
    assert world.huitong("flow", "resume", ahead.pop(), "--why", "x").returncode == 1
    assert world.stop("agent") == 0
    assert world.huitong("restore", "--yes", "--why", "copy put back").returncode == 0
    goes_on(world)


def test_a_clone_runs_beside_its_original(make_world: MakeWorld) -> None:
    """Two agents with one history: the hub takes each sequence once, a flow that differs freezes, and restore goes on."""
    world = begin(make_world(papers=AgentPapers(files=False), habits=Habits(files_every=0)))
    assert world.stop("agent") == 0
    twin = world.clone()
    world.tally.faults += 1
    for name in ("agent", "twin"):
        world.start(name)
    both = (world.agent_books, twin)
    world.until(lambda: set.union(*map(frozen, both)) == {"things", "notes"}, "each flow freezes on one side at least")
    for name in ("agent", "twin"):
        assert world.stop(name) == 0, world.words(name)
    assert world.huitong("restore", "--yes", "--why", "a clone ran").returncode == 0
    goes_on(world)


def goes_on(world: World) -> None:
    """Start the agent after a restore; everything arrives, in order. What the hub had already may come again, as new."""
    assert frozen(world.agent_books) == set()
    before = world.stored()
    world.start("agent")
    world.until(lambda: world.stored() > before, "it goes on")
    world.clerks.go_home()
    with world.explained():
        world.until(lambda: world.settled() and not world.audit().lost, "everything arrives")
    found = world.audit()
    world.tally.records += found.records
    assert [found.lost, found.disorder, found.foreign] == [[], [], []], str(found)


def flows_ahead(world: World) -> set[str]:
    """Return the flows of which the hub has sequences that the agent has yet to give."""
    query = "SELECT f.flow, e.high_water FROM epoch e JOIN flow f ON f.id = e.flow_id"
    marks = dict(world.hub_books.rows(query))
    return {flow for flow, after in world.agent_books.rows("SELECT name, next_sequence FROM flow") if marks[flow] >= after}


def told(world: World) -> set[str]:
    """Return the flows of which an alarm told that they forked."""
    return {event["flow"] for event in world.events("agent", "fork_detected")}


def frozen(agent: Books) -> set[str]:
    """Return the flows that wait for a restore."""
    return {flow for (flow,) in agent.rows("SELECT name FROM flow WHERE paused LIKE 'fork%'")}


# -- at any moment ---------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_killed_at_random_moments(kind: str, seed: int, make_breakable: MakeWorld, request: pytest.FixtureRequest) -> None:
    """Agent, hub and now and then the broker are killed in turn, thirty times, at moments drawn at random."""
    draw = random.Random(seed)
    stack = Stack() if kind == "sqlite" else request.getfixturevalue("on_postgres")
    world = begin(make_breakable(seed=seed, stack=stack))
    world.broker.sync_declarations()
    for _ in range(30):
        reached = world.clerks.turns + draw.randint(1, 60)
        world.until(lambda reached=reached: world.clerks.turns > reached, "a moment")
        kill_and_start(world, draw.choice(["agent"] * 10 + ["hub"] * 8 + ["broker"] * 2))
    world.prove()


def kill_and_start(world: World, name: str) -> None:
    if name == "broker":
        world.broker.kill()
        world.tally.kills += 1
        world.broker.start()
    else:
        world.kill(name)
        world.start(name)
