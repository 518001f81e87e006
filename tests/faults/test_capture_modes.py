"""Killed with SIGKILL while it captures, in every mode on every database; then every change, or every state, is at the hub."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

import pytest

from agent.testing.nodes.mariadb import MariadbNode
from agent.testing.nodes.postgres import PostgresNode
from connectors.database.streams.choose import EXACT
from tests.faults import papers
from tests.faults.conftest import MakeWorld
from tests.faults.ledger import Audit
from tests.faults.ledger_changes import check_states
from tests.faults.movers import Movers
from tests.faults.papers import AgentPapers
from tests.faults.registry import Habits
from tests.faults.world import Stack, World

pytestmark = [pytest.mark.faults, pytest.mark.integration]

MODES: Final = (
    ("sqlite", "trigger"),
    ("sqlite", "compare"),
    ("postgres", "trigger"),
    ("postgres", "slot"),
    ("postgres", "watermark"),
    ("postgres", "compare"),
    ("mariadb", "trigger"),
    ("mariadb", "binlog"),
    ("mariadb", "watermark"),
    ("mariadb", "compare"),
    ("mariadb", "polling"),
)
"""Polling on the other two has its own tests, at all points: test_crash_points."""

LONG: Final = {(kind, "compare") for kind, _ in MODES} | {("mariadb", "watermark"), ("mariadb", "polling")}
QUICK: Final = frozenset(MODES) - LONG
HITS: Final = {"C01": (1, 8), "C02": (1, 8), "C03": (1, 15), "C04": (1, 1), "C05": (4, 10)}
"""The hit at which the agent dies at the soonest and at the latest.

C05 is where a commit comes late, with a lower number or an older time than what was read: not among the first hits, in which
comes what was committed while the agent was dead.
"""

ROWS: Final = 200
LIVES: Final = 4
SEEDS: Final = range(1, 3)


def quick_and_long(quick: frozenset[tuple[str, str]]) -> Iterator[object]:
    """Yield (database, mode); what is not quick is long."""
    for kind, mode in MODES:
        yield pytest.param(kind, mode, id=f"{kind}-{mode}", marks=() if (kind, mode) in quick else pytest.mark.long)


@pytest.fixture
def stack(kind: str, request: pytest.FixtureRequest) -> Stack:
    """What the world stands on: the hub's store is a file, or in PostgreSQL when the source is there."""
    node: PostgresNode | MariadbNode | None = None if kind == "sqlite" else request.getfixturevalue(kind)
    return Stack(node, node if isinstance(node, PostgresNode) else None)


def open_world(make_world: MakeWorld, stack: Stack, mode: str, seed: int) -> World:
    """Let the people work at tables that have rows already; the agent has still to come."""
    every = "500ms" if mode == "compare" else "100ms"
    world = make_world(
        stack=stack,
        seed=seed,
        rows=ROWS,
        habits=Habits(files_every=0, late_every=4),
        papers=AgentPapers(mode=mode, every=every, files=False),
    )
    world.start("hub")
    world.clerks.start()
    return world


def die(world: World, point: str, hit: int) -> None:
    """Let the agent die at a point. Only polling has C05 itself: elsewhere it dies with a late commit in its hands."""
    clerks = world.clerks
    clerks.only_late = point == "C05"
    place = "C02" if point == "C05" and world.plan.papers.mode != "polling" else point
    world.start("agent", die_at=f"{place}:{hit}")
    world.await_death("agent", place)
    clerks.only_late = False


def behind(world: World) -> list[str]:
    """Return the rows whose newest version is not at the hub, however much is still there that is gone."""
    assert isinstance(world.clerks, Movers)
    found = Audit()
    check_states(found, world.registry, world.clerks.journal, world.hub_books, deletes=False)
    return found.lost


def finish(world: World) -> None:
    """Live on, and prove that all is there; deletes that a mode does not see are found by a comparison."""
    world.start("agent")
    world.await_loaded()
    world.await_more()
    world.clerks.go_home()
    if world.plan.papers.mode == "watermark":
        with world.explained():
            world.until(lambda: not behind(world), "every row is there before anything is compared")
        world.compare()
    found = world.prove()
    assert found.records > ROWS
    assert world.clerks.diary.late > 0


def test_the_modes_are_those_of_the_product() -> None:
    """What this suite takes for exact is what the product calls exact."""
    assert {mode for _, mode in MODES} & set(EXACT) == set(papers.EXACT)


@pytest.mark.parametrize("kind,mode", list(quick_and_long(QUICK)))
def test_death_at_every_point_in_one_history(kind: str, mode: str, stack: Stack, make_world: MakeWorld) -> None:
    """Killed in the first load, at each point of capture and with late commits in its hands, the agent goes on exactly."""
    world, draw = open_world(make_world, stack, mode, 1), random.Random(f"{kind} {mode}")
    die(world, "C04", 1)
    world.start("agent")
    world.await_loaded()
    world.kill("agent")
    for point in ("C01", "C02", "C03", "C05"):
        die(world, point, draw.randint(*HITS[point]))
    finish(world)


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", HITS)
@pytest.mark.parametrize("kind,mode", list(quick_and_long(frozenset())))
def test_death_at_one_point_again_and_again(
    kind: str, mode: str, point: str, seed: int, stack: Stack, make_world: MakeWorld
) -> None:
    """Killed at this point life after life, the agent goes on exactly."""
    world, draw = open_world(make_world, stack, mode, seed), random.Random(f"{kind} {mode} {point} {seed}")
    if point != "C04":
        world.start("agent")
        world.await_loaded()
        world.kill("agent")
    for _ in range(LIVES):
        die(world, point, draw.randint(*HITS[point]))
    finish(world)
