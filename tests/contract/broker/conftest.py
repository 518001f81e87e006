"""Each contract test runs in both worlds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.broker.worlds import MemoryWorld, RabbitWorld, World


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.integration)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A broker with the exchanges `ing.d1` (fanout) and `to` (direct), and one that is forbidden."""
    world: World = MemoryWorld()
    if request.param == "rabbitmq":
        world = RabbitWorld(request.getfixturevalue("rabbitmq"), request.getfixturevalue("broker"))
    world.declare_exchange("ing.d1", "fanout")
    world.declare_exchange("to", "direct")
    world.declare_exchange("forbidden", "fanout")
    yield world
    world.close()
