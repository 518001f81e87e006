"""A flow's capture in memory: a scripted source, a store, real messages, driven round by round in the test's thread."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from agent.events import Events
from agent.mapping.spec import FieldSpec, MapSpec
from agent.model import Append, MessageKind, Op, Quarantined
from agent.ports import CaptureLog, Source
from agent.queries import Operator
from agent.services.capture import CapturePlan, CaptureService, Quarantine
from agent.testing.clock import FakeClock
from agent.testing.memory_store import MemoryStore
from agent.testing.recorder import EventRecorder
from agent.testing.scripted_source import ScriptedSource
from agent.wire.envelope import Limits, MessageWriter, open_body
from agent.wire.keys import generate, load_signer

SENDER = "510100-test-01"
FLOW = "people"
SPEC = MapSpec(fields=(FieldSpec("id", "id"), FieldSpec("name", "name", required=True)), key=("id",))
SIGNER = load_signer(generate())
OPERATOR = Operator("张工", "试")


@dataclass(frozen=True)
class Sent:
    """A record as it stands in a message."""

    sequence: int
    id: str
    op: Op
    key: Any
    data: Any
    at: str | None = None


class Bench:
    """Everything a capture test needs. `log` may stand between the service and the store."""

    def __init__(
        self,
        source: Source | None = None,
        *,
        store: MemoryStore | None = None,
        log: Callable[[MemoryStore], CaptureLog] | None = None,
        limits: Limits | None = None,
        **plan: Any,
    ) -> None:
        self.clock = FakeClock()
        self.recorder = EventRecorder()
        self.events = Events(self.recorder)
        self.store = store or MemoryStore(SENDER, clock=self.clock, events=self.events)
        self.source = source if source is not None else ScriptedSource()
        self.log: CaptureLog = log(self.store) if log else self.store
        self.limits = limits
        self.notified = 0
        self.plan = replace(CapturePlan(FLOW, SENDER, SPEC), **plan)
        self.service = self.build()

    @property
    def script(self) -> ScriptedSource:
        assert isinstance(self.source, ScriptedSource)
        return self.source

    def build(self) -> CaptureService:
        """Return a new service on the same source and store, as after a restart of the process."""
        return CaptureService(
            self.plan,
            source=self.source,
            log=self.log,
            ledger=self.store,
            writer_for=self.writer,
            events=self.events,
            clock=self.clock,
            random=lambda: 0.0,
            notify=self._notify,
            quarantine=Quarantine(self.store.tables.items.get, self.open_items),
        )

    def restart(self) -> None:
        """Let the process die without a word, and start another."""
        self.service._thread_of_source.stop(5)
        self.service = self.build()

    def writer(self, epoch: str) -> MessageWriter:
        return MessageWriter(
            sender=SENDER,
            receiver="51",
            flow=FLOW,
            epoch=epoch,
            subject="person",
            dataschema="urn:huitong:message-type:person:1",
            signer=SIGNER,
            clock=self.clock,
            random_bytes=os.urandom,
            limits=self.limits,
        )

    def _notify(self) -> None:
        self.notified += 1

    # -- driving it --------------------------------------------------------------------------------------------------

    def run(self, rounds: int = 1000) -> None:
        """Let the flow look at its source and capture everything that is there."""
        passes = self.service._passes
        self.service.tick()
        for _ in range(rounds):
            self.service.wake()  # time does not pass by itself here
            self.service.run_once()
            if self.service._passes > passes + 1:  # the first may have begun before
                return
        raise AssertionError(f"no pass was completed; {self.recorder.events[-5:]}")

    def rounds(self, count: int) -> None:
        """Let the service go round, without waiting for anything."""
        for _ in range(count):
            self.service.wake()
            self.service.run_once()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run a pass in another thread meanwhile, for tests in which the store keeps it waiting; what it raises is raised."""
        raised: list[BaseException] = []

        def target() -> None:
            try:
                self.run(rounds=1_000_000)
            except BaseException as error:  # noqa: BLE001 - raised again in the thread of the test
                raised.append(error)

        worker = threading.Thread(target=target, daemon=True)
        worker.start()
        yield
        worker.join(20)
        assert not worker.is_alive()
        if raised:
            raise raised[0]

    # -- looking at it -----------------------------------------------------------------------------------------------

    def open_items(self) -> list[Quarantined]:
        return [item.input for item in self.store.tables.items.values() if item.closed_as is None]

    def item_states(self) -> dict[str, str]:
        """Return reason → how the item was closed, or open."""
        return {item.input.reason: str(item.closed_as or "open") for item in self.store.tables.items.values()}

    def sent(self) -> list[Sent]:
        """Return every record in the outbox, in order, read the way a hub reads."""
        found = []
        for entry in self.store.pending(FLOW, 0, 100_000):
            message = entry.message
            if message.kind is MessageKind.RECORDS:
                envelope = open_body(message.body, message.encoding, Limits())
                found += [Sent(message.sequence, r.id, r.op, _json(r.key), _json(r.data), r.at) for r in envelope.records]
        return found

    def names(self) -> list[tuple[Any, Any]]:
        """Return (key, name) of every record sent, None for a delete."""
        return [(sent.key["id"], sent.data["name"] if sent.data else None) for sent in self.sent()]

    def view(self) -> dict[Any, Any]:
        """Return what a hub holds in the end: the last record of each key."""
        view: dict[Any, Any] = {}
        for sent in self.sent():
            view.pop(sent.key["id"], None)
            if sent.op is Op.UPSERT:
                view[sent.key["id"]] = sent.data
        return view

    def sequences(self) -> list[int]:
        return [e.message.sequence for e in self.store.pending(FLOW, 0, 100_000) if e.message.kind is MessageKind.RECORDS]


def _json(raw: Any) -> Any:
    return json.loads(bytes(raw)) if raw is not None else None


class SlowLog:
    """A store whose appends only happen when a test says so."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._changed = threading.Lock()
        self.waiting: list[tuple[Append, Future[None]]] = []
        self.slow = True

    def append(self, step: Append) -> Future[None]:
        future: Future[None] = Future()
        with self._changed:
            self.waiting.append((step, future))
            if not self.slow:
                self._commit(len(self.waiting))
        return future

    def commit(self, count: int = 1) -> None:
        """Let the oldest appends happen."""
        with self._changed:
            self._commit(count)

    def speed_up(self) -> None:
        """Let everything happen at once from now on."""
        with self._changed:
            self.slow = False
            self._commit(len(self.waiting))

    def _commit(self, count: int) -> None:
        for _ in range(count):
            step, future = self.waiting.pop(0)
            error = self._store.append(step).exception()
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def by_id(sent: Sequence[Sent]) -> Mapping[str, Sent]:
    """Return records by id; none may come twice."""
    found = {record.id: record for record in sent}
    assert len(found) == len(sent), "a record id was sent twice"
    return found


def until(condition: Callable[[], bool], timeout_secs: float = 10.0) -> None:
    """Wait until something is true."""
    pause = threading.Event()
    for _ in range(int(timeout_secs / 0.002)):
        if condition():
            return
        pause.wait(0.002)
    raise AssertionError("it did not happen in time")
