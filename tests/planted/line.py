"""A department and its hub, whole, on one machine and driven by one thread: source, outbox, broker, hub, receipts.

Real are the capture, the stores of both sides (SQLite), the delivery, the hub's intake, ingest and publisher, and every message
and signature between them. The broker is the one in memory; time moves when a test moves it. `kill_agent` and `kill_hub` leave
behind exactly what was committed, as a dead process does.
"""

from __future__ import annotations

import random
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from agent import failpoints
from agent.adapters.store.reader import StoreReader
from agent.adapters.store.sqlite import SqliteStore
from agent.events import Events
from agent.mapping.spec import FieldSpec, MapSpec
from agent.model import ExchangeMessage, Quarantined
from agent.ports import Parcel, Published, Sink, Source
from agent.services.capture import CapturePlan, CaptureService, Quarantine
from agent.services.delivery import DeliveryLimits, DeliveryService
from agent.services.greeting import Greeting, Identity
from agent.services.maintenance import MaintenanceService, Upkeep
from agent.services.receipts import Letterbox, ReceiptsService
from agent.testing.broker import MemoryBroker, Rights
from agent.testing.clock import FakeClock
from agent.testing.recorder import EventRecorder
from agent.testing.scripted_source import ScriptedSource
from agent.wire.control import Control, ControlWriter, Query
from agent.wire.envelope import MessageWriter
from agent.wire.event import department_source
from agent.wire.parcel import parcel_of
from agent.wire.signature import KeyRing
from agent.wire.topology import (
    DELIVERY_EXCHANGE,
    inbound_queue,
    ingress_exchange,
    read_permission,
    receipt_queue,
    user_name,
    write_permission,
)
from hub.testing import DATASCHEMA, SampleDepartment
from tests.planted.hub_side import HUB, HubSide

CODE = "510100-line-01"
FLOW = "people"
SPEC = MapSpec(fields=(FieldSpec("id", "id"), FieldSpec("name", "name")), key=("id",))


class Crash(Exception):
    """The process is gone at this point. Not an error of ours, so that nothing handles it."""


@contextmanager
def crash_at(point: str) -> Iterator[None]:
    """Die at a crash point, the first time it is passed."""
    passed: list[str] = []

    def hook(name: str) -> None:
        if name == point and not passed:
            passed.append(name)
            raise Crash(name)

    failpoints.arm(hook)
    try:
        yield
    finally:
        failpoints.arm(None)
    assert passed, f"{point} was never passed"


class Watched:
    """A publishing connection that notes what was sent and what came of it: (`send`|`ok`|`failed`|`lost`, entry)."""

    def __init__(self, sink: Sink, notes: list[tuple[str, int]]) -> None:
        self._sink, self._notes = sink, notes

    def send(self, parcels: Sequence[Parcel]) -> None:
        """See ports.Sink."""
        self._notes.extend(("send", parcel.tag) for parcel in parcels)
        self._sink.send(parcels)

    def poll(self, timeout_secs: float) -> Sequence[Published]:
        """See ports.Sink."""
        outcomes = self._sink.poll(timeout_secs)
        self._notes.extend(("ok" if outcome.error is None else "failed", outcome.tag) for outcome in outcomes)
        return outcomes

    def close(self) -> None:
        """See ports.Sink."""
        self._notes.append(("lost", 0))
        self._sink.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)


class Line:
    """Everything from the source to the hub and back."""

    def __init__(
        self,
        folder: Path,
        source: Source | Callable[[Line], Source] | None = None,
        *,
        spec: MapSpec = SPEC,
        unconfirmed: int = 200,
        sink: Sink | None = None,
        like: Path | None = None,
    ) -> None:
        """`like` is the folder of an unused line, whose stores are copied: that is ten times faster than migrating new ones."""
        self.folder = folder
        if like is not None:
            for name in ("hub.db", "outbox0.db"):
                shutil.copy(like / name, folder / name)
        self.clock = FakeClock()
        self.recorder = EventRecorder()
        self.events = Events(self.recorder)
        self.broker = MemoryBroker(blocking=False)
        self.department = SampleDepartment(CODE, HUB, self.clock)
        self.hub = HubSide(folder, self.broker, self.clock)
        self.trusted = [self.hub.still.public]  # keys of hubs
        self.notes: list[tuple[str, int]] = []
        self._spec, self._unconfirmed, self._own_sink = spec, unconfirmed, sink
        self._admit()
        self.generation = 0
        self.open_store()
        self.source: Source = source(self) if callable(source) else source if source is not None else ScriptedSource()
        self.boot()

    @property
    def script(self) -> ScriptedSource:
        """The source, where a test writes it."""
        assert isinstance(self.source, ScriptedSource)
        return self.source

    @property
    def store_path(self) -> Path:
        """The outbox."""
        return self.folder / f"outbox{self.generation}.db"

    def _admit(self) -> None:
        self.broker.add_user("hub")
        self.broker.add_user(user_name(CODE), Rights(write_permission(CODE), read_permission(CODE)))
        self.broker.declare_exchange(DELIVERY_EXCHANGE, "direct")
        self.broker.declare_exchange(ingress_exchange(CODE), "fanout")
        self.broker.declare_queue(receipt_queue(CODE))
        self.broker.bind(receipt_queue(CODE), DELIVERY_EXCHANGE, receipt_queue(CODE))
        self.declare_inbound()
        self.hub.still.admit(self.department)
        self.hub.departments = frozenset({CODE})

    def declare_inbound(self) -> None:
        """Declare the department's queue at the hub; also after it was lost with everything in it."""
        self.broker.declare_queue(inbound_queue(CODE), single_active=True)
        self.broker.bind(inbound_queue(CODE), ingress_exchange(CODE))

    def lose_queue(self) -> None:
        """Lose what the broker had confirmed, as a broker does that loses its disk."""
        self.broker.delete_queue(inbound_queue(CODE))
        self.declare_inbound()

    # -- the agent's process -----------------------------------------------------------------------------------------

    def open_store(self) -> None:
        """Open the outbox."""
        self.store = SqliteStore.open(self.store_path, agent_id=CODE, clock=self.clock, events=self.events, low_water_bytes=0)
        self.reader = StoreReader(self.store_path)

    def boot(self) -> None:
        """Start a process on the open outbox."""
        seed = random.Random(1)
        self.capture_service = CaptureService(
            CapturePlan(FLOW, CODE, self._spec),
            source=self.source,
            log=self.store,
            ledger=self.store,
            writer_for=self._writer,
            events=self.events,
            clock=self.clock,
            random=lambda: 0.0,
            quarantine=Quarantine(self.reader.item, self._open_items),
        )
        self.delivery = DeliveryService(
            sink=Watched(self._own_sink or self.broker.sink(user_name(CODE)), self.notes),
            store=self.store,
            parcel=lambda message, tag: parcel_of(message, CODE, tag),
            greet=self._greet,
            events=self.events,
            clock=self.clock,
            random=seed.random,
            limits=DeliveryLimits(unconfirmed=self._unconfirmed),
        )
        self.greeting = Greeting(
            Identity(self.store.instance, "1.0"),
            log=self.store,
            write=self._write,
            say=self.delivery.say,
            look_again=self.delivery.look_again,
            heard=lambda _hello: None,
            events=self.events,
        )
        self.receipts = ReceiptsService(
            feed=self.broker.feed(user_name(CODE), [receipt_queue(CODE)]),
            outbox=self.store,
            letterbox=Letterbox(lambda: KeyRing(self.trusted), CODE),
            delivery=self.delivery,
            listener=self.greeting,
            events=self.events,
            clock=self.clock,
            random=seed.random,
        )
        self.maintenance = MaintenanceService(
            outbox=self.store,
            ask=lambda ids: self.delivery.say(self._write(Query(list(ids)), "", "")),
            chores=(),
            events=self.events,
            clock=self.clock,
            upkeep=Upkeep(keep_days=30.0, overdue_secs=600.0),
        )
        self.delivery.prepare()

    def _greet(self) -> Sequence[ExchangeMessage]:
        return self.greeting.hello()

    def _writer(self, epoch: str) -> MessageWriter:
        return MessageWriter(
            sender=CODE,
            receiver=HUB,
            flow=FLOW,
            epoch=epoch,
            subject="000000000/000001",
            dataschema=DATASCHEMA,
            signer=self.department.signer,
            clock=self.clock,
            random_bytes=secrets.token_bytes,
        )

    def _write(self, control: Control, flow: str, epoch: str) -> Any:
        source = department_source(CODE, flow)
        return ControlWriter(CODE, HUB, source, self.department.signer, self.clock, secrets.token_bytes).write(
            control, flow, epoch
        )

    def _open_items(self) -> Iterable[Quarantined]:
        return [item.input for item in self.reader.items(FLOW, limit=500)]

    def kill_agent(self, *, with_disk: bool = False) -> None:
        """Lose the process, and with it the outbox if the disk is lost too; then start another."""
        self.close_agent()
        self.generation += with_disk
        self.open_store()
        self.boot()

    def close_agent(self) -> None:
        """End the agent's process without a word to anybody."""
        self.broker.drop_connections(user_name(CODE))
        self.delivery.finish()
        self.receipts.finish()
        self.capture_service._thread_of_source.stop(5)
        self.reader.close()
        self.store.close()

    # -- driving it --------------------------------------------------------------------------------------------------

    def capture(self) -> None:
        """Let the flow look at its source and capture what is there."""
        passes = self.capture_service._passes
        self.capture_service.tick()
        for _ in range(1000):
            self.capture_service.run_once()
            if self.capture_service._passes > passes:
                return
        raise AssertionError(f"no pass was completed: {self.recorder.events[-5:]}")

    def send(self, rounds: int = 3, secs: float = 0.0) -> None:
        """Let the delivery go round; what was confirmed is in the outbox afterwards."""
        self.delivery.wake()
        for _ in range(rounds):
            self.delivery._opener.ring()
            self.delivery.run_once()
            self.clock.advance(secs)
        self.store.flush()

    def hear(self) -> None:
        """Let the agent take its receipts."""
        self.receipts._opener.ring()
        self.receipts.run_once()

    def go_round(self, secs: float = 1.0) -> None:
        """Let everybody go round once."""
        self.send(2)
        self.hub.ingest()
        self.hub.publish()
        self.hear()
        self.clock.advance(secs)

    def settle(self, limit: int = 60) -> None:
        """Let everybody go round until every message has come to its end, or nothing helps."""
        for _ in range(limit):
            self.go_round()
            if not self.unsettled():
                return

    def ask(self) -> None:
        """Let time pass until receipts are overdue, and ask the hub about them."""
        self.clock.advance(601.0)
        self.maintenance.ask_about_overdue()

    def unsettled(self) -> int:
        """Return how many messages have not come to their end."""
        return sum(row[1] in ("pending", "confirmed") for row in self.outbox())

    def outbox(self) -> list[tuple[str, str, bytes, int, int]]:
        """Return (message id, state, digest, octets of the body, sequence) of every message of records, read beside the product."""
        query = (
            "SELECT m.message_id, m.state, m.digest, coalesce(length(c.body), 0), m.sequence FROM message AS m"
            " LEFT JOIN content AS c USING (entry_id) WHERE m.kind = 'records' ORDER BY m.entry_id"
        )
        with closing(sqlite3.connect(f"file:{self.store_path}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()

    def close(self) -> None:
        """End everything."""
        self.close_agent()
        self.hub.store.close()


@contextmanager
def line(folder: Path, source: Source | Callable[[Line], Source] | None = None, **options: Any) -> Iterator[Line]:
    """Give a line and close it."""
    made = Line(folder, source, **options)
    try:
        yield made
    finally:
        made.close()
