"""One flow on a real table: the source in one of its modes, the real capture service, a store in memory, driven by the test."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from agent import failpoints
from agent.events import Events, FlowPaused, WalkCompleted
from agent.failpoints import failpoint
from agent.mapping.spec import FieldSpec, MapSpec
from agent.model import Append, Batch, MessageKind, Op, Position, WalkKind, WalkOrder
from agent.services.capture import CapturePlan, CaptureService, Quarantine
from agent.testing.clock import FakeClock
from agent.testing.memory_store import MemoryStore
from agent.testing.recorder import EventRecorder
from agent.wire.envelope import Limits, MessageWriter, open_body
from agent.wire.keys import generate, load_signer
from connectors.database.source import DatabaseSource
from connectors.database.streams.choose import EXACT
from tests.contract.capture.sites import Site

SENDER: Final = "510100-test-01"
SIGNER: Final = load_signer(generate())
LIMITS: Final = Limits()
NAME_LENGTH: Final = 40
SPEC: Final = MapSpec(
    fields=(
        FieldSpec("id", "id"),
        FieldSpec("name", "name", max_length=NAME_LENGTH),
        FieldSpec("amount", "amount"),
        FieldSpec("note", "note"),
    ),
    key=("id",),
)
ALL_COLUMNS: Final = MapSpec(fields=(), key=("id",), same_names=True)
PATIENCE_SECS: Final = 60.0


class Died(BaseException):
    """The process is gone at this point."""


@dataclass(frozen=True)
class Told:
    """A record as it stands in a message; `raw` are the octets of its data."""

    sequence: int
    id: str
    op: Op
    key: Any
    data: Any
    raw: bytes | None


class Log:
    """The store as the service sees it. Passes the crash points of a real one, and knows what was ever handed over."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.attempted: list[str] = []
        self.held: list[tuple[Append, Future[None]]] | None = None

    def append(self, step: Append) -> Future[None]:
        self.attempted += [record.id for message in step.messages for record in records_of(message)]
        if self.held is not None:
            self.held.append((step, Future()))
            return self.held[-1][1]
        failpoint("C02")
        done = self._store.append(step)
        failpoint("C03")
        return done

    def release(self) -> None:
        """Let everything that was held back happen, and all that follows."""
        held, self.held = self.held or [], None
        for step, future in held:
            self._store.append(step).result()
            future.set_result(None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Rig:
    """A flow. What its mode needs in the database is created with it."""

    def __init__(
        self,
        site: Site,
        mode: str,
        *,
        flow: str = "people",
        spec: MapSpec = SPEC,
        page_rows: int = 5,
        most_deletes: int = 20,
        install: bool = True,
        real_wake: bool = False,
        **settings: object,
    ) -> None:
        self.real_wake = real_wake
        self.site, self.mode, self.flow, self.spec = site, mode, flow, spec
        self.exact = mode in EXACT
        self.sees_deletes = self.exact or mode == "compare"
        self.clock = FakeClock()
        self.recorder = EventRecorder()
        self.events = Events(self.recorder)
        self.store = MemoryStore(SENDER, clock=self.clock, events=self.events)
        self.log = Log(self.store)
        self.plan = replace(CapturePlan(flow, SENDER, spec), page_rows=page_rows, most_deletes=most_deletes)
        self.wiring = site.wiring(flow, mode, spec.columns(), self.clock, **settings)
        self.batches: list[Batch] = []
        self.commits: list[Position] = []
        self.after_read: Callable[[], None] = lambda: None
        site.allow(mode, self.wiring.settings.table)
        if install:
            site.install(self.wiring)
        self.source = self._source()
        self.service = self._service()

    # -- life --------------------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """Let the process die without a word, and start another on the same store."""
        self.close()
        self.source = self._source()
        self.service = self._service()

    def close(self) -> None:
        assert self.service._thread_of_source.stop(20)

    def step(self, rounds: int = 1) -> None:
        """Let the service go round."""
        for _ in range(rounds):
            self.service.tick()
            self.service.run_once()

    def settle(self, secs: float = 10.0) -> None:
        """Capture everything there is, walks that this begins included."""
        deadline = time.monotonic() + PATIENCE_SECS
        if self.mode == "compare":
            self._walk_twice(secs, deadline)
            return
        while True:
            self.clock.advance(secs)
            self._pass(deadline)
            if not self.service._walks.under_way:
                return

    def _walk_twice(self, secs: float, deadline: float) -> None:
        """Come to the end of two walks: the first may have begun before."""
        ends, rounds, passes = 0, 0, self.service._passes
        while ends < 2 or self.service._passes <= passes + 1:
            before = self.service._walks.under_way
            if rounds % 20 == 0 or not before:
                self.clock.advance(secs)
            self.service.tick()
            self.service.run_once()
            ends += before and not self.service._walks.under_way
            rounds += 1
            self._in_time(deadline)

    def _in_time(self, deadline: float) -> None:
        assert time.monotonic() < deadline, f"no rest: {self.recorder.of(FlowPaused)[-1:]} {self.recorder.events[-3:]}"

    def _pass(self, deadline: float) -> None:
        passes = self.service._passes
        self.service.tick()
        rounds = 0
        while self.service._passes <= passes + 1:  # the first may have begun before
            self.service.wake()  # time does not pass by itself here
            self.service.run_once()
            rounds += 1
            if rounds % 50 == 0:
                self.clock.advance(10)  # what waits before it tries again
            self._in_time(deadline)

    def until(self, condition: Callable[[], bool]) -> None:
        """Go round until something is so."""
        deadline = time.monotonic() + PATIENCE_SECS
        while not condition():
            self.clock.advance(1)
            self.step()
            self._in_time(deadline)

    def die_at(self, point: str, hit: int = 1) -> bool:
        """Capture, and let the process die at a crash point; a new one is started. False when it never came there."""
        left = hit

        def hook(name: str) -> None:
            nonlocal left
            left -= name == point
            if left == 0 and name == point:
                raise Died

        with armed(hook):
            try:
                self.settle()
            except Died:
                self.restart()
                return True
        return False

    def compare(self, *, accept: bool = False) -> WalkCompleted:
        """Let the table be compared with what was captured, whatever is gone accepted or not; returns what was found."""
        known = len(self.recorder.of(WalkCompleted))
        ordered = self.service.walk(WalkOrder(WalkKind.COMPARE, certain=accept))
        self.settle()
        ordered.result(0)
        return self.recorder.of(WalkCompleted)[known]

    # -- looking at it -----------------------------------------------------------------------------------------------

    def sent(self) -> list[Told]:
        """Return every record in the outbox, in order; no id comes twice."""
        entries = self.store.pending(self.flow, 0, 1_000_000)
        found = [
            Told(e.message.sequence, r.id, r.op, _json(r.key), _json(r.data), None if r.data is None else bytes(r.data))
            for e in entries
            if e.message.kind is MessageKind.RECORDS
            for r in records_of(e.message)
        ]
        assert len({record.id for record in found}) == len(found), "a record id was sent twice"
        return found

    def told(self, since: int = 0) -> dict[int, list[Any]]:
        """Return by key the names that were sent in order, None for a delete, after so many records."""
        told: dict[int, list[Any]] = {}
        for record in self.sent()[since:]:
            told.setdefault(record.key["id"], []).append(None if record.op is Op.DELETE else record.data["name"])
        return told

    def view(self) -> dict[int, Any]:
        """Return what a hub holds in the end: the last record of each key."""
        view = {record.key["id"]: record.data for record in self.sent()}
        return {key: data for key, data in view.items() if data is not None}

    def names(self) -> dict[int, Any]:
        """Return the same, names only."""
        return {key: data["name"] for key, data in self.view().items()}

    def agrees(self) -> None:
        """Check that what was captured is what the table holds; deletes that the mode cannot see are left to a comparison."""
        truth, names = self.site.names(), self.names()
        if not self.sees_deletes:
            assert {key: name for key, name in names.items() if key in truth} == truth
            if names.keys() - truth.keys():
                self.compare(accept=True)
                names = self.names()
        assert names == truth

    def expect(self, since: int, events: dict[int, list[Any]]) -> None:
        """Check the events of each key; of modes that see states, that the last of them is known."""
        self.settle()
        if self.exact:
            assert self.told(since) == events
        self.agrees()

    def gaps(self) -> list[str]:
        """Return the kinds of the gaps, in the order of their numbers."""
        gaps = self.store.tables.flows[self.flow].gaps
        assert [gap.number for gap in gaps] == list(range(1, len(gaps) + 1))
        return [gap.kind for gap in gaps]

    # -- inside ------------------------------------------------------------------------------------------------------

    def _source(self) -> DatabaseSource:
        source = DatabaseSource.build(self.wiring)
        read, commit = source.read, source.commit

        def watched_read(after: Position, limit: int) -> Batch:
            batch = read(after, limit)
            self.batches.append(batch)
            self.after_read()
            return batch

        def watched_commit(position: Position) -> None:
            self.commits.append(position)
            commit(position)

        if not self.real_wake:  # whoever drives the rig is never in a wait meanwhile: setting the flag is enough
            setattr(source, "wake", source._alarm._woken.set)  # noqa: B010
        setattr(source, "read", watched_read)  # noqa: B010 - the methods of this one object
        setattr(source, "commit", watched_commit)  # noqa: B010
        return source

    def _service(self) -> CaptureService:
        return CaptureService(
            self.plan,
            source=self.source,
            log=self.log,
            ledger=self.store,
            writer_for=self._writer,
            events=self.events,
            clock=self.clock,
            random=lambda: 0.0,
            quarantine=Quarantine(
                self.store.tables.items.get,
                lambda: [item.input for item in self.store.tables.items.values() if item.closed_as is None],
            ),
        )

    def _writer(self, epoch: str) -> MessageWriter:
        return MessageWriter(
            sender=SENDER,
            receiver="51",
            flow=self.flow,
            epoch=epoch,
            subject="person",
            dataschema="urn:huitong:message-type:person:1",
            signer=SIGNER,
            clock=self.clock,
            random_bytes=os.urandom,
        )


def records_of(message: Any) -> Sequence[Any]:
    """Return the records in a message, read the way a hub reads."""
    return open_body(message.body, message.encoding, LIMITS).records


@contextmanager
def armed(hook: Callable[[str], None]) -> Iterator[None]:
    """Arm the crash points."""
    failpoints.arm(hook)
    try:
        yield
    finally:
        failpoints.arm(None)


def _json(raw: Any) -> Any:
    return json.loads(bytes(raw)) if raw is not None else None
