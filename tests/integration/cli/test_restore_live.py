"""A store put back from a copy, with a real hub: fork, restore, and both sides agree record by record."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time

import pytest

from agent.adapters.store.reader import StoreReader
from agent.services.restore import BEGUN
from tests.faults.ledger import read_hub
from tests.faults.registry import TABLES
from tests.faults.world import ROOT, World
from tests.integration.cli.conftest import MakeWorld
from tests.integration.cli.people import PROMPT, agent, work

pytestmark = pytest.mark.integration


def assert_agreement(world: World) -> None:
    """Every row of every table is at the hub as it is now; no record id is there twice; no key ever went back in time."""
    stored = read_hub(world.hub_books)
    for flow, table in TABLES.items():
        newest = {record.row[0]: record.row for record in stored[flow]}
        assert newest == {row[0]: row for row in world.registry.rows(table)}
        ids = [record.record_id for record in stored[flow]]
        assert len(set(ids)) == len(ids)
        last: dict[str, int] = {}
        for record in stored[flow]:
            key, rev = record.row[:2]
            assert rev >= last.get(key, 0), f"{flow} {key}: {rev} after {last[key]}"
            last[key] = rev


def agreed(world: World) -> bool:
    stored = read_hub(world.hub_books)
    return all(
        {record.row[0]: record.row for record in stored.get(flow, [])} == {row[0]: row for row in world.registry.rows(table)}
        for flow, table in TABLES.items()
    )


def forked(world: World) -> World:
    """Put an old copy of the store back, so that the hub knows more than the agent, and leave both stopped."""
    world.start("hub")
    world.start("agent")
    world.await_more(world.plan.rows)
    work(world)
    world.until(world.settled, "everything so far has its receipt")
    assert world.stop("hub") == 0
    work(world)
    world.until(lambda: not world.settled(), "something waits in the copy")
    assert world.stop("agent") == 0
    copy = shutil.copytree(world.state_dir, world.folder / "copy")
    world.start("hub")
    world.start("agent")
    work(world)
    world.until(lambda: world.settled() and agreed(world), "the copy falls behind")
    assert world.stop("agent") == 0
    shutil.rmtree(world.state_dir)
    copy.rename(world.state_dir)
    work(world)
    return world


def test_a_fork_is_noticed_and_a_restore_ends_it(make_world: MakeWorld) -> None:
    """Frozen flows, the command, an open gap for each; what was forgotten is read again, what was sent counts once."""
    world = forked(make_world(rows=100, habits=PROMPT))
    world.start("agent")
    frozen = {"things", "notes"}
    world.until(lambda: frozen <= {event["flow"] for event in world.events("agent", "fork_detected")}, "the fork is noticed")
    todo = {one["flow"]: one["kind"] for one in agent(world, "status", code=1)["todo"] if one["flow"]}
    assert {todo[flow] for flow in frozen} == {"paused-fork"}
    assert agent(world, "restore", "--why", "x", "--yes", code=75) is None  # the agent still runs
    assert world.stop("agent") == 0

    told = agent(world, "restore", "--why", "换盘", "--yes")
    assert {one["flow"] for one in told["flows"] if one["thawed"]} >= frozen
    assert sum(one["messages"] for one in told["flows"]) > 0
    world.start("agent")
    world.until(lambda: world.settled() and agreed(world), "both sides agree")
    assert_agreement(world)
    gaps = {gap["flow"]: gap["number"] for gap in agent(world, "flow", "gaps")}
    assert set(gaps) == {"things", "notes", "slips"}
    for flow, number in gaps.items():
        agent(world, "flow", "close-gap", flow, str(number), "--why", "已比对")
    status = agent(world, "status", code=1 if agent(world, "dead", "list") else 0)
    assert [one["kind"] for one in status["todo"] if one["kind"] != "dead"] == []
    work(world)
    world.until(lambda: world.settled() and agreed(world), "it goes on")
    assert_agreement(world)


@pytest.mark.faults
def test_a_restore_that_is_killed_is_repeated(make_world: MakeWorld) -> None:
    """Killed with SIGKILL at moments spread over its run, then repeated until it ends: a gap for each epoch, and equality.

    A further epoch begins only where the kill came between the end of a restore and its answer.
    """
    world = forked(make_world(rows=100, habits=PROMPT))
    before = dict(world.agent_books.rows("SELECT name, epoch FROM flow"))
    command = [*world.command(), "--config", str(world.agent_yaml), "restore", "--why", "x", "--yes"]
    kills, wait = 0, 0.2
    while True:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            assert process.wait(wait) == 0, process.communicate()[1]
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            wait += 0.15
        finally:
            assert process.stderr is not None
            process.stderr.close()
    assert kills
    reader = StoreReader(world.state_dir / "outbox.db")
    gaps = [(gap.flow, gap.details["epoch"]) for gap in reader.gaps()]
    epochs = [action.subject for action in reader.actions(None, 500) if action.action == BEGUN][::-1]
    reader.close()
    left = [*before.values()][:1] + epochs[:-1]
    assert sorted(gaps) == sorted((flow, epoch) for flow in before for epoch in left)
    assert 1 <= len(epochs) <= kills + 1
    begun = time.monotonic()
    world.start("agent")
    world.until(lambda: world.settled() and agreed(world), f"both sides agree {begun}")
    assert_agreement(world)
