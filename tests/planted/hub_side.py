"""A hub driven step by step: its intake, ingest and publisher around a SQLite store, without their threads."""

from __future__ import annotations

from pathlib import Path

from agent.events import Events
from agent.testing.broker import MemoryBroker
from agent.testing.clock import FakeClock
from hub.ingest.handoff import Handoff
from hub.ingest.intake import Intake
from hub.ingest.storer import Storer
from hub.publisher import Publisher
from hub.store.migrate import migrate
from hub.store.opening import Sqlite, open_store
from hub.testing import StillHub

HUB = "sc-hub"


class HubSide:
    """A hub: its store stays, the process is started anew by `boot`."""

    def __init__(self, folder: Path, broker: MemoryBroker, clock: FakeClock) -> None:
        self.path = folder / "hub.db"
        fresh = not self.path.exists()
        self.store = open_store(Sqlite(self.path))
        if fresh:
            migrate(self.store)
        self.still = StillHub(self.store, clock, code=HUB)
        self._broker, self._clock = broker, clock
        self.departments: frozenset[str] = frozenset()
        self.boot()

    def boot(self) -> None:
        """Start a process."""
        events = Events(self.still.recorder)
        self.handoff = Handoff(64, 64 << 20)
        self.intake = Intake(
            feed=lambda: self._broker.feed("hub", prefetch=64),
            preparer=self.still.preparer,
            handoff=self.handoff,
            duties=self,
            probe=self.store.probe,
            events=events,
            clock=self._clock,
            random=lambda: 0.0,
        )
        self.storer = Storer(self.handoff, self.still.ingest, dict, group_messages=32, committed=lambda: None)
        self.publisher = Publisher(
            store=self.store,
            sink=self._broker.sink("hub"),
            departments=lambda: self.departments,
            events=events,
            clock=self._clock,
            random=lambda: 0.0,
        )

    def reconsider(self) -> None:
        """There is one process only: nobody to share with."""

    def ingest(self) -> None:
        """Take what has come and store it."""
        self.intake.wake()
        self.intake.run_once()
        while not self.handoff.idle:
            self.storer.run_once()
            self.intake.run_once()

    def publish(self) -> None:
        """Send what is due."""
        self.publisher.run_once()

    def die(self) -> None:
        """Lose the process: what it held goes back to the broker."""
        self._broker.drop_connections("hub")
        self.boot()
