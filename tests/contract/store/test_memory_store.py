"""The store in memory keeps the contract."""

from __future__ import annotations

import pytest

from agent.events import Events
from agent.testing.clock import FakeClock
from agent.testing.memory_reader import MemoryReader
from agent.testing.memory_store import MemoryStore
from agent.testing.recorder import EventRecorder
from tests.contract.store.capture_contract import CaptureContract
from tests.contract.store.compare_contract import CompareContract
from tests.contract.store.epochs_contract import EpochsContract
from tests.contract.store.handshake_contract import HandshakeContract
from tests.contract.store.makers import AGENT, START, World
from tests.contract.store.outbox_contract import OutboxContract
from tests.contract.store.oversight_contract import OversightContract


@pytest.fixture
def world() -> World:
    """A fresh store in memory."""
    clock, recorder = FakeClock(START), EventRecorder()
    store = MemoryStore(AGENT, clock=clock, events=Events(recorder))
    return World(store, MemoryReader(store), clock, recorder)


def fill(world: World) -> None:
    world.store.fill_disk()


def empty(world: World) -> None:
    world.store.fill_disk(full=False)


class TestCapture(CaptureContract):
    fill = staticmethod(fill)
    empty = staticmethod(empty)


class TestOutbox(OutboxContract):
    pass


class TestOversight(OversightContract):
    pass


class TestEpochs(EpochsContract):
    pass


class TestCompare(CompareContract):
    fill = staticmethod(fill)
    empty = staticmethod(empty)


class TestHandshake(HandshakeContract):
    pass
