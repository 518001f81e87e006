"""Worlds to break, one for each test, on services that all share, or on services of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from agent.testing.nodes.postgres import PostgresNode
from agent.testing.nodes.rabbitmq import RabbitmqNode
from tests.faults.world import Plan, Stack, Tally, World


class MakeWorld:
    """Builds the worlds of one test in its folder; keyword arguments are those of Plan."""

    def __init__(self, folder: Path, broker: RabbitmqNode, tally: Tally, stack: ExitStack) -> None:
        self._folder, self.broker, self._tally, self._stack = folder, broker, tally, stack

    def __call__(self, **plan: object) -> World:
        """Build a world."""
        made = World(self._folder, self.broker, self._tally, replace(Plan(), **plan))  # type: ignore[arg-type]
        return self._stack.enter_context(made)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """What this test did; the summary at the end of the run adds it up."""
    counted = Tally()
    yield counted
    request.node.user_properties.append(("faults", asdict(counted)))


@pytest.fixture
def make_world(tmp_path: Path, rabbitmq: RabbitmqNode, tally: Tally) -> Iterator[MakeWorld]:
    """Build a world on the run's broker."""
    with ExitStack() as stack:
        yield MakeWorld(tmp_path, rabbitmq, tally, stack)


@pytest.fixture
def on_postgres(postgres: PostgresNode) -> Stack:
    """PostgreSQL as source and as store of the hub."""
    return Stack(postgres, postgres)


@pytest.fixture(scope="session")
def breakable_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitmqNode]:
    """A broker that tests may break, one after the other; each leaves it running."""
    node = RabbitmqNode(tmp_path_factory.mktemp("breakable") / "rabbitmq")
    node.start()
    yield node
    node.remove()


@pytest.fixture
def make_breakable(make_world: MakeWorld, breakable_rabbitmq: RabbitmqNode) -> MakeWorld:
    """Build a world on the breakable broker."""
    make_world.broker = breakable_rabbitmq
    return make_world
