"""The store on SQLite keeps the contract, with either SQLite there is on the machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters.store import SqliteStore, engine
from agent.adapters.store.reader import StoreReader
from agent.events import Events
from agent.testing.clock import FakeClock
from agent.testing.recorder import EventRecorder
from tests.contract.store.capture_contract import CaptureContract
from tests.contract.store.compare_contract import CompareContract
from tests.contract.store.epochs_contract import EpochsContract
from tests.contract.store.handshake_contract import HandshakeContract
from tests.contract.store.makers import AGENT, START, World
from tests.contract.store.outbox_contract import OutboxContract
from tests.contract.store.oversight_contract import OversightContract


@pytest.fixture(params=["preferred", "standard library"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A fresh store on disk."""
    if request.param == "standard library":
        monkeypatch.setattr(engine, "driver", lambda: sqlite3)
    clock, recorder = FakeClock(START), EventRecorder()
    path = tmp_path / "state" / "store.db"
    events = Events(recorder)
    store = SqliteStore.open(path, agent_id=AGENT, clock=clock, events=events, low_water_bytes=1 << 20)
    reader = StoreReader(path)
    yield World(store, reader, clock, recorder)
    reader.close()
    store.close()


def fill(world: World) -> None:
    world.store._disk.mark_bytes = 1 << 60
    world.clock.advance(2)


def empty(world: World) -> None:
    world.store._disk.mark_bytes = 1 << 20
    world.clock.advance(2)


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
