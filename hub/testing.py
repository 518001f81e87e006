"""Departments that sign real messages, a hub without threads and a hub with all of them, for tests, benchmarks and previews."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from msgspec.json import encode as _json

from agent.adapters.clock import SystemClock
from agent.adapters.keys import KeyStore
from agent.events import Events
from agent.model import ExchangeMessage, Op, Receipt
from agent.ports import Clock, Delivered, Parcel
from agent.testing.broker import MemoryBroker, Rights
from agent.testing.recorder import EventRecorder
from agent.wire.control import Control, ControlWriter, EpochOpen, WireLimits, decode_control
from agent.wire.envelope import MessageWriter, encode_record, open_body
from agent.wire.event import RECEIPT_TYPE, department_source
from agent.wire.identity import RecordIds, data_hash
from agent.wire.keys import generate, load_signer, public_of
from agent.wire.limits import Limits
from agent.wire.parcel import CONTENT_TYPE, SIGNATURE_HEADER, parcel_of
from agent.wire.receipt import read_receipt
from agent.wire.signature import CONTROL, KeyRing
from agent.wire.topology import (
    DELIVERY_EXCHANGE,
    inbound_queue,
    ingress_exchange,
    read_permission,
    receipt_queue,
    user_name,
    write_permission,
)
from hub.app import HubProcess
from hub.health import HubHealth
from hub.ingest.clerk import Clerk
from hub.ingest.controls import HubFacts
from hub.ingest.ingest import Ingest
from hub.ingest.limiter import RefusalLimiter
from hub.ingest.prepare import Preparer, Trust
from hub.metrics import HubMetrics
from hub.model import Department, DepartmentState, Post, PostKind
from hub.settings import HubFile
from hub.store.migrate import migrate
from hub.store.opening import Sqlite, open_store
from hub.store.registry import SqlRegistry
from hub.store.sql import SqlStore
from hub.store.store import Fences
from hub.types import KnownType, MessageTypes

DATASCHEMA = "https://example.invalid/types/people.person/1"


class SampleDepartment:
    """One department with one key and one flow at a time."""

    def __init__(
        self,
        code: str,
        hub: str,
        clock: Clock,
        *,
        flow: str = "people",
        epoch: str = "epoch-1",
        alg: str = "EdDSA",
        dataschema: str = DATASCHEMA,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.code, self.hub, self.flow, self.epoch = code, hub, flow, epoch
        self.pem = generate(alg)
        self.signer = load_signer(self.pem)
        self.public = public_of(self.pem, code)
        self._clock, self._random_bytes, self._dataschema = clock, random_bytes, dataschema
        self._tags = itertools.count(1)

    # -- messages ----------------------------------------------------------------------------------------------------

    def encoded(self, number: int, value: object = 0, op: Op = Op.UPSERT, corrects: str | None = None) -> bytes:
        """Return the record of person `number` with some value."""
        data = _json({"id": str(number), "name": f"张三{number}", "value": value}) if op is Op.UPSERT else None
        key = f'[["s","{number}"]]'
        ids = RecordIds(self.code, self.flow, "sample", "person")
        record_id = ids.of(key, f"{self.epoch}:{number}:{value}", op, data_hash(data))
        return encode_record(record_id, op, _json({"id": str(number)}), data, corrects=corrects)

    def records(self, sequence: int, records: Sequence[bytes] | None = None) -> ExchangeMessage:
        """Return a signed message; without records it carries two of its own."""
        chosen = records if records is not None else [self.encoded(2 * sequence), self.encoded(2 * sequence + 1)]
        writer = MessageWriter(
            sender=self.code,
            receiver=self.hub,
            flow=self.flow,
            epoch=self.epoch,
            subject="000000000/000001",
            dataschema=self._dataschema,
            signer=self.signer,
            clock=self._clock,
            random_bytes=self._random_bytes,
            limits=Limits(body_bytes=1 << 40, decompressed_bytes=1 << 40, records=1 << 40, values=1 << 40),
        )
        return writer.records(sequence, chosen)

    def control(self, data: Control) -> ExchangeMessage:
        """Return a signed control message."""
        source = department_source(self.code, self.flow)
        writer = ControlWriter(self.code, self.hub, source, self.signer, self._clock, self._random_bytes)
        return writer.write(data, self.flow, self.epoch)

    def opening(self, previous: str = "") -> ExchangeMessage:
        """Return the epoch-open of the current epoch."""
        return self.control(EpochOpen(flow=self.flow, epoch=self.epoch, previous=previous))

    def in_epoch(self, epoch: str) -> SampleDepartment:
        """Return the same department after a restore."""
        twin = object.__new__(SampleDepartment)
        twin.__dict__.update(self.__dict__)
        twin.epoch = epoch
        return twin

    def in_flow(self, flow: str) -> SampleDepartment:
        """Return the same department with another flow."""
        twin = self.in_epoch(self.epoch)
        twin.flow = flow
        return twin

    # -- on the way --------------------------------------------------------------------------------------------------

    def parcel(self, message: ExchangeMessage) -> Parcel:
        """Return the publication of a message."""
        return parcel_of(message, self.code, next(self._tags))

    def delivered(self, message: ExchangeMessage, **changes: object) -> Delivered:
        """Return a message as the hub's feed gives it, with some of its properties changed."""
        delivered = Delivered(
            tag=next(self._tags),
            queue=inbound_queue(self.code),
            exchange=ingress_exchange(self.code),
            routing_key="",
            user_id=user_name(self.code),
            message_id=message.message_id,
            type=message.type,
            encoding=message.encoding,
            content_type=CONTENT_TYPE,
            body=message.body,
            headers={SIGNATURE_HEADER: message.jws},
            redelivered=False,
            delivery_count=0,
        )
        return replace(delivered, **changes)  # type: ignore[arg-type]  # names of its own fields


class StillHub:
    """A hub without threads and without a broker: what is handed in is judged and committed before the call returns."""

    def __init__(self, store: SqlStore, clock: Clock, *, code: str = "sc-hub", limits: Limits | None = None) -> None:
        self.code, self.store, self.clock = code, store, clock
        self.recorder = EventRecorder()
        self.registry = SqlRegistry(store)
        pem = generate()
        self.public = public_of(pem, code)
        self.limits = limits or Limits()
        self.limiter = RefusalLimiter(clock, burst=1000, per_minute=60)
        self.fences: Fences = {}
        self.preparer = Preparer(
            code=code,
            limits=self.limits,
            types=MessageTypes([KnownType("people.person@1", DATASCHEMA, "人员", 3)]),
            trust=self.trust,
            pack=store.pack,
            clock=clock,
        )
        self.ingest = Ingest(
            store=store,
            clerk=Clerk(code, load_signer(pem), clock, secrets.token_bytes),
            facts=HubFacts(WireLimits.of(self.limits), ()),
            limiter=self.limiter,
            events=Events(self.recorder),
            clock=clock,
        )

    def trust(self) -> Trust:
        """Return whom the registry names now."""
        admitted = (one.code for one in self.registry.departments() if one.state is DepartmentState.ADMITTED)
        return Trust(KeyRing(self.registry.keys()), frozenset(admitted))

    def admit(self, department: SampleDepartment) -> None:
        """Register a department and its key."""
        entry = Department(department.code, department.code, "", DepartmentState.ADMITTED, self.clock.now())
        self.registry.admit(entry, department.public, "test")

    def take(self, *deliveries: Delivered) -> None:
        """Prepare and store these deliveries as one group."""
        self.ingest.store([self.preparer.prepare(one) for one in deliveries], self.fences)

    def send(self, department: SampleDepartment, *messages: ExchangeMessage) -> list[Receipt]:
        """Take messages as one group and return the receipts that became due, verified as an agent does."""
        self.take(*(department.delivered(message) for message in messages))
        return self.receipts(department)

    def posts(self, department: str) -> list[Post]:
        """Return what is due for a department and note it as published."""
        due = self.store.due({department}, 10_000)
        self.store.published([one.post_id for one in due], self.clock.now())
        return [one.post for one in due]

    def receipts(self, department: SampleDepartment) -> list[Receipt]:
        """Return the receipts that are due, verified; answers are left out."""
        ring = KeyRing([self.public])
        return [
            read_receipt(post.body, post.encoding, post.jws, ring, post.message_id, department.code)
            for post in self.posts(department.code)
            if post.kind is not PostKind.ANSWER
        ]

    def answers(self, department: SampleDepartment) -> list[Control]:
        """Return the answers that are due, verified; receipts are left out."""
        ring = KeyRing([self.public])
        answers = []
        for post in self.posts(department.code):
            if post.kind is PostKind.ANSWER:
                ring.verify(post.jws, post.body, typ=CONTROL, mid=post.message_id, cenc=post.encoding, audience=department.code)
                answers.append(decode_control(open_body(post.body, post.encoding, Limits())))
        return answers


class LiveHub:
    """A hub with all its threads, on a SQLite store and the memory broker, and the departments' end of that broker."""

    def __init__(self, folder: Path) -> None:
        self.broker = MemoryBroker()
        self.broker.add_user("hub")
        self.broker.declare_exchange(DELIVERY_EXCHANGE, "direct")
        self.recorder = EventRecorder()
        self.settings = HubFile.of(
            version=1,
            hub={"code": "sc-hub", "keys_dir": str(folder / "keys"), "listen": None},
            store={"type": "sqlite", "path": str(folder / "hub.db")},
            broker={"url": "amqp://127.0.0.1/", "password": "secret:x"},
            ingest={"lease": "3s", "group": 4},
        )
        self.keys = KeyStore(folder / "keys")
        self.keys.new()
        self.store: SqlStore = open_store(Sqlite(folder / "hub.db"))
        migrate(self.store)
        self.registry = SqlRegistry(self.store)
        self.health = HubHealth(lambda: ())
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], None] = lambda: None
        self.failure: BaseException | None = None

    def process(self) -> HubProcess:
        """Return a process of this hub, not yet running."""
        return HubProcess(
            settings=self.settings,
            store=self.store,
            keys=self.keys,
            types=MessageTypes([KnownType("people.person@1", DATASCHEMA, "", 1)]),
            feed=lambda: self.broker.feed("hub", prefetch=16),
            sink=self.broker.sink("hub"),
            health=self.health,
            metrics=HubMetrics(),
            events=Events(self.recorder, self.health),
            random=lambda: 0.99,  # nobody waits for a backoff
        )

    def start(self) -> None:
        """Run it in a thread of its own."""
        runner = self.process().runner()
        self._stop = runner.request_stop

        def run() -> None:
            try:
                runner.run()
            except BaseException as error:  # noqa: BLE001 - handed to the test
                self.failure = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end and wait for it. Idempotent."""
        self._stop()
        if self._thread is not None:
            self._thread.join(30)
            if self._thread.is_alive():
                raise TimeoutError("the hub did not stop")
            self._thread = None

    def admit(self, code: str, *, receipts: int | None = None) -> SampleDepartment:
        """Declare and register a department; `receipts` bounds its receipt queue."""
        department = SampleDepartment(code, "sc-hub", SystemClock())
        self.broker.declare_exchange(ingress_exchange(code), "fanout")
        self.broker.declare_queue(inbound_queue(code), single_active=True)
        self.broker.bind(inbound_queue(code), ingress_exchange(code))
        self.broker.declare_queue(receipt_queue(code), max_length=receipts)
        self.broker.bind(receipt_queue(code), DELIVERY_EXCHANGE, receipt_queue(code))
        self.broker.add_user(user_name(code), Rights(write_permission(code), read_permission(code)))
        self.register(department)
        return department

    def register(self, department: SampleDepartment) -> None:
        """Enter a department and its key into the registry."""
        entry = Department(department.code, "", "", DepartmentState.ADMITTED, SystemClock().now())
        self.registry.admit(entry, department.public, "test")

    def send(self, department: SampleDepartment, *messages: ExchangeMessage) -> None:
        """Publish as the department's agent does."""
        sink = self.broker.sink(user_name(department.code))
        sink.open()
        sink.send([department.parcel(message) for message in messages])
        left = len(messages)
        while left:
            for outcome in sink.poll(5.0):
                if outcome.error is not None:
                    raise outcome.error
                left -= 1
        sink.close()

    def hear(self, department: SampleDepartment, count: int, timeout_secs: float = 60.0) -> list[Receipt | Control]:
        """Take `count` receipts or answers from the department's queue, verified."""
        ring = KeyRing([self.keys.public("sc-hub")])
        feed = self.broker.feed(user_name(department.code), [receipt_queue(department.code)])
        feed.open()
        heard: list[Receipt | Control] = []
        deadline = SystemClock().monotonic() + timeout_secs
        while len(heard) < count and SystemClock().monotonic() < deadline:
            for one in feed.poll(0.2, count - len(heard)):
                feed.ack([one.tag])
                if one.type == RECEIPT_TYPE:
                    jws = str(one.headers["jws"])
                    heard.append(read_receipt(one.body, one.encoding, jws, ring, one.message_id or "", department.code))
                else:
                    heard.append(decode_control(open_body(one.body, one.encoding, Limits())))
        feed.close()
        if len(heard) < count:
            raise TimeoutError(f"{len(heard)} of {count} receipts came")
        return heard

    def receipts(self, department: SampleDepartment, count: int) -> list[Receipt]:
        """Take `count` receipts."""
        return [one for one in self.hear(department, count) if isinstance(one, Receipt)]
