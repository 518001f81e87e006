"""An agent's delivery side in memory: store, broker, clock and events, driven round by round without threads."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from agent.events import Events
from agent.model import Append, ExchangeMessage, MessageKind, Outcome, Position, Receipt, State
from agent.ports import Delivered, Parcel
from agent.services.delivery import DeliveryLimits, DeliveryService
from agent.testing.broker import MemoryBroker
from agent.testing.clock import FakeClock
from agent.testing.memory_store import MemoryStore
from agent.testing.recorder import EventRecorder
from agent.wire.parcel import parcel_of

NODE = "d1"
USER = f"agent.{NODE}"


def message(flow: str, epoch: str, sequence: int, clock: FakeClock, *, size: int = 20) -> ExchangeMessage:
    """Return a message whose body says where it belongs."""
    body = f"{flow} {sequence} ".encode().ljust(size, b".")
    return ExchangeMessage(
        message_id=f"{flow}-{sequence}",
        kind=MessageKind.RECORDS,
        type="cn.huitong.records.v1",
        flow=flow,
        epoch=epoch,
        sequence=sequence,
        body=body,
        encoding="zstd",
        digest_alg="sha-256",
        digest=hashlib.sha256(body).digest(),
        jws="e30..e30",
        kid="k1",
        records=3,
        created_at=clock.now(),
    )


def control(name: str, clock: FakeClock) -> ExchangeMessage:
    """Return a control message."""
    return replace(message(name, "e0", 0, clock), message_id=name, kind=MessageKind.CONTROL, flow="", epoch="", records=0)


def receipt_for(sent: ExchangeMessage, outcome: Outcome = Outcome.STORED, *, stage: str = "R3", code: str = "") -> Receipt:
    """Return the hub's verified statement about a message."""
    return Receipt(
        message_id=sent.message_id,
        sender=NODE,
        flow=sent.flow,
        epoch=sent.epoch,
        sequence=sent.sequence,
        outcome=outcome,
        stage=stage,
        code=code,
        text="",
        digest_alg=sent.digest_alg,
        digest=sent.digest,
        stored=sent.records,
        refused=(),
        hub="h1",
        received_at=sent.created_at,
        committed_at=sent.created_at,
        audit_sequence=1,
        audit_hash="",
        kid="hk1",
        body=b"{}",
        jws="e30..e30",
    )


class Bench:
    """Everything a delivery test needs."""

    def __init__(self, *flows: str, limits: DeliveryLimits | None = None, seed: int = 0) -> None:
        self.clock = FakeClock()
        self.recorder = EventRecorder()
        self.events = Events(self.recorder)
        self.store = MemoryStore(NODE, clock=self.clock, events=self.events)
        self.broker = MemoryBroker(blocking=False)
        self.broker.declare_exchange(f"ing.{NODE}", "fanout")
        self.broker.declare_queue("in", max_length=None)
        self.broker.bind("in", f"ing.{NODE}")
        self.sent: dict[str, ExchangeMessage] = {}
        self.hello: list[ExchangeMessage] = []
        self.published: list[Parcel] = []
        self.delivery = DeliveryService(
            sink=_Recording(self.broker.sink(USER), self.published),
            store=self.store,
            parcel=parcel_of_node,
            greet=lambda: self.hello,
            events=self.events,
            clock=self.clock,
            random=random.Random(seed).random,
            limits=limits or DeliveryLimits(),
        )
        for flow in flows:
            self.store.open_flow(flow)
        self.delivery.prepare()

    def capture(self, flow: str, count: int = 1, *, size: int = 20) -> list[str]:
        """Append messages to the outbox, as capture does, and give the hint."""
        state = self.store.open_flow(flow)
        first = state.counters.next_sequence
        messages = [message(flow, state.epoch, first + n, self.clock, size=size) for n in range(count)]
        after = replace(state.counters, next_sequence=first + count)
        step = Append(flow, state.epoch, "i", state.counters, after, Position(str(first)), messages=messages)
        self.store.append(step).result()
        self.sent.update((each.message_id, each) for each in messages)
        self.delivery.wake(flow)
        return [each.message_id for each in messages]

    def rounds(self, count: int = 3, *, secs: float = 0.0) -> None:
        """Let the service go round; time passes between the rounds."""
        for _ in range(count):
            self.delivery._opener.ring()  # so that waiting for a backoff takes no real time
            self.delivery.run_once()
            self.clock.advance(secs)

    def until(self, done: Callable[[], bool], *, secs: float = 0.5, limit: int = 5000) -> None:
        """Let the service go round until something holds."""
        for _ in range(limit):
            if done():
                return
            self.rounds(1, secs=secs)
        raise AssertionError("it does not come to pass")

    def arrived(self) -> list[str]:
        """Return the message ids in the queue, in order."""
        return ids(self.broker.waiting("in"))

    def states(self, flow: str) -> list[State]:
        """Return the states of a flow's messages, in order."""
        records = [record for record in self.store.tables.messages.values() if record.about.flow == flow]
        return [record.state for record in records]

    def settle(self, message_id: str, outcome: Outcome = Outcome.STORED) -> None:
        """Settle a message, and tell the service, as the receipts service does."""
        (settled,) = self.store.settle([receipt_for(self.sent[message_id], outcome)]).result()
        if settled.state is State.PENDING:
            self.delivery.refused(settled.flow, message_id, "unknown_type")
        else:
            self.delivery.settled([message_id])


def parcel_of_node(sent: ExchangeMessage, tag: int) -> Parcel:
    return parcel_of(sent, NODE, tag)


def ids(messages: Sequence[Delivered]) -> list[str]:
    return [each.message_id or "" for each in messages]


class _Recording:
    """A sink that keeps a list of what was handed to it."""

    def __init__(self, sink: object, published: list[Parcel]) -> None:
        self._sink = sink
        self._published = published

    def send(self, parcels: Sequence[Parcel]) -> None:
        self._published.extend(parcels)
        self._sink.send(parcels)

    def __getattr__(self, name: str) -> object:
        return getattr(self._sink, name)
