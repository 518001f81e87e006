"""Killed with SIGKILL at every crash point, under load, again and again; then everything is exact."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from agent.failpoints import POINTS
from agent.testing.proxy import Direction, FaultProxy
from tests.faults.child import set_clock
from tests.faults.conftest import MakeWorld
from tests.faults.papers import AgentPapers
from tests.faults.registry import Habits
from tests.faults.world import Stack, World

pytestmark = [pytest.mark.faults, pytest.mark.integration]


@dataclass(frozen=True, slots=True)
class Case:
    """Who dies, and at which hit at the latest; the hit is drawn for each life."""

    process: str
    latest: int
    habits: Habits = Habits()
    papers: AgentPapers = AgentPapers()


UNDER_LOAD: Final = {
    "C01": Case("agent", 15),
    "C02": Case("agent", 15),
    "C03": Case("agent", 30),
    "C05": Case("agent", 4, Habits(only_late=True, pause_secs=0.03)),
    "C06": Case("agent", 2, Habits(files_every=4)),
    "C07": Case("agent", 2, Habits(files_every=4)),
    "C08": Case("agent", 20),
    "C09": Case("agent", 20),
    "C12": Case("hub", 8),
    "C13": Case("hub", 8),
    "C14": Case("hub", 8),
    "C15": Case("hub", 8),
    "C16": Case("agent", 10),
    "C17": Case("agent", 10),
}
"""Points that a load comes to by itself. Each of the others has a test that brings it about."""

ELSEWHERE: Final = {"C04", "C10", "C11", "C18"}

LIVES: Final = 2
LONG_LIVES: Final = 4


def forms() -> Iterator[object]:
    """Yield (stack, seed): one seed on SQLite, and for the long form four more, and five on PostgreSQL."""
    yield pytest.param("sqlite", 1, id="sqlite-1")
    for stack, seeds in (("sqlite", range(2, 6)), ("postgres", range(1, 6))):
        yield from (pytest.param(stack, seed, id=f"{stack}-{seed}", marks=pytest.mark.long) for seed in seeds)


every_form = pytest.mark.parametrize("kind,seed", list(forms()))


@pytest.fixture
def stack(kind: str, request: pytest.FixtureRequest) -> Stack:
    """What the world stands on."""
    return Stack() if kind == "sqlite" else request.getfixturevalue("on_postgres")


@pytest.fixture
def lives(long_run: bool) -> int:
    """How often a process dies."""
    return LONG_LIVES if long_run else LIVES


def test_every_point_has_its_test() -> None:
    """No crash point is left out."""
    assert UNDER_LOAD.keys() | ELSEWHERE == POINTS
    assert not UNDER_LOAD.keys() & ELSEWHERE


def die(world: World, process: str, point: str, hits: list[int]) -> None:
    """Let a process die at a point in one life after the other, then live."""
    for hit in hits:
        world.start(process, die_at=f"{point}:{hit}")
        world.await_death(process, point)
    world.start(process)


@every_form
@pytest.mark.parametrize("point", UNDER_LOAD)
def test_death_at_a_point_under_load(point: str, seed: int, stack: Stack, lives: int, make_world: MakeWorld) -> None:
    """Killed at this point life after life, while people work, the process goes on and nothing is lost or there twice."""
    case = UNDER_LOAD[point]
    world = make_world(stack=stack, seed=seed, habits=case.habits, papers=case.papers)
    draw = random.Random(f"{point} {seed}")
    other = "hub" if case.process == "agent" else "agent"
    world.start(other)
    world.clerks.start()
    die(world, case.process, point, [draw.randint(1, case.latest) for _ in range(lives)])
    world.await_more()
    assert world.prove().records > world.plan.rows
    assert world.clerks.diary.late > 0


@every_form
def test_c04_death_between_first_load_and_polling(seed: int, stack: Stack, lives: int, make_world: MakeWorld) -> None:
    """Killed when the first load of a table is complete and polling has not begun, what changed during the load arrives."""
    draw = random.Random(seed)
    papers = AgentPapers(files=False)
    world = make_world(stack=stack, seed=seed, rows=500, papers=papers, habits=Habits(files_every=0))
    world.start("hub")
    world.clerks.start()
    die(world, "agent", "C04", [1] * (lives - 1) + [draw.randint(1, 2)])
    world.await_more()
    world.prove()


@every_form
def test_c10_death_when_a_message_comes_back(seed: int, stack: Stack, lives: int, make_world: MakeWorld) -> None:
    """Killed after the broker returned a message and before its confirm, the message counts as pending and is sent again."""
    draw = random.Random(seed)
    world = make_world(stack=stack, seed=seed)
    world.unbind()
    world.start("hub")
    world.clerks.start()
    for _ in range(lives):
        world.start("agent", die_at=f"C10:{draw.randint(1, 3)}")
        world.await_death("agent", "C10")
    assert world.agent_books.rows("SELECT count(*) FROM message WHERE state <> 'pending'") == [(0,)]
    world.bind()
    world.start("agent")
    world.await_more()
    world.prove()


def in_doubt(world: World) -> int:
    """Return how many messages the hub has stored whose confirm has not come to the agent."""
    waiting = {message_id for (message_id,) in world.agent_books.rows("SELECT message_id FROM message WHERE state = 'pending'")}
    return len(waiting & {message_id for (message_id,) in world.hub_books.rows("SELECT message_id FROM message")})


@every_form
def test_c11_death_with_a_window_in_doubt(seed: int, stack: Stack, lives: int, make_world: MakeWorld) -> None:
    """Killed when the connection broke with a window of unconfirmed messages, each of them is stored once all the same."""
    with FaultProxy(make_world.broker.ports["amqp"]) as proxy:
        world = make_world(stack=stack, seed=seed, agent_port=proxy.port, papers=AgentPapers(unsettled=1000))
        world.start("hub")
        world.clerks.start()
        for _ in range(lives):
            greetings = len(world.events("agent", "hub_greeted"))
            world.start("agent", die_at="C11")
            world.until(lambda before=greetings: len(world.events("agent", "hub_greeted")) > before, "both connections are open")
            world.await_more(20)
            proxy.black_hole(Direction.DOWN)  # the broker takes messages, its confirms do not come through
            before = world.captured()
            # A confirm is written down with the next transaction: after these only what is in doubt is still pending.
            world.until(lambda before=before: world.captured() >= before + 5, "confirms are written down")
            world.until(lambda: in_doubt(world) >= 5, "a window in doubt")
            proxy.cut()
            world.tally.faults += 1
            world.await_death("agent", "C11")
            proxy.heal()
        world.start("agent")
        world.await_more()
        world.prove()


@every_form
def test_c18_death_in_the_middle_of_a_purge(seed: int, stack: Stack, lives: int, make_world: MakeWorld) -> None:
    """Killed while it drops old bodies, it drops the rest later; nothing without a receipt is ever dropped."""
    world = make_world(stack=stack, seed=seed, papers=AgentPapers(retention="1h", batch_records=2))
    clock = world.folder / "clock"
    set_clock(clock, 0)
    world.environment["WORLD_CLOCK"] = str(clock)
    world.start("hub")
    world.clerks.start()
    world.start("agent")
    world.await_more(world.plan.rows)
    assert world.stop("agent") == 0
    set_clock(clock, 7200)
    for _ in range(lives):
        world.start("agent", die_at="C18")
        world.await_death("agent", "C18")
    assert world.agent_books.rows("SELECT count(*) FROM message WHERE purged_at IS NOT NULL") == [(0,)]
    world.start("agent")
    world.until(lambda: world.agent_books.rows("SELECT count(purged_at) > 100 FROM message") == [(1,)], "bodies are purged")
    world.await_more()
    world.prove()
    purged_early = "SELECT count(*) FROM message WHERE entry_id NOT IN (SELECT entry_id FROM content) AND purged_at IS NULL"
    assert world.agent_books.rows(purged_early) == [(0,)]
