"""A hub on the other end of the receipt queue, and the receipts service under test."""

from __future__ import annotations

import random
from collections.abc import Sequence

from agent.events import ReceiptRejected
from agent.model import ExchangeMessage, Outcome
from agent.ports import Parcel
from agent.services.greeting import Greeting, Identity
from agent.services.receipts import Letterbox, ReceiptsService
from agent.testing.broker import MemoryBroker
from agent.wire.control import Control, ControlWriter, HubHello
from agent.wire.event import RECEIPT_TYPE, hub_source
from agent.wire.keys import generate, load_signer, public_of
from agent.wire.parcel import parcel_to
from agent.wire.receipt import Statement, write_receipt
from agent.wire.signature import KeyRing
from tests.unit.services.kit import NODE, Bench

HUB_KEY, NEW_KEY, STRANGER = generate(), generate(), generate()
QUEUE = f"rcpt.{NODE}"


class Heard:
    """Stands for the delivery service: keeps what it was told."""

    def __init__(self) -> None:
        self.over: list[str] = []
        self.retry: list[tuple[str, str, str]] = []
        self.again: list[str] = []
        self.said: list[ExchangeMessage] = []
        self.looked = 0

    def settled(self, message_ids: Sequence[str]) -> None:
        self.over.extend(message_ids)

    def refused(self, flow: str, message_id: str, why: str) -> None:
        self.retry.append((flow, message_id, why))

    def reopened(self, message_ids: Sequence[str]) -> None:
        self.again.extend(message_ids)

    def look_again(self) -> None:
        self.looked += 1


class Post:
    """A hub on the other end of the receipt queue, and the service under test."""

    def __init__(self, prefetch: int = 256) -> None:
        self.bench = Bench("f")
        self.broker: MemoryBroker = self.bench.broker
        self.broker.declare_exchange("to", "direct")
        self.broker.declare_queue(QUEUE)
        self.broker.bind(QUEUE, "to", QUEUE)
        self.keys = [public_of(HUB_KEY, "h1")]
        self.hub = self.broker.sink("hub")
        self.hub.open()
        self.heard = Heard()
        self.hellos: list[HubHello] = []
        self.greeting = Greeting(
            Identity("run-1", "1.0"),
            log=self.bench.store,
            write=ControlWriter(
                NODE, "h1", f"/departments/{NODE}", load_signer(STRANGER), self.bench.clock, random.randbytes
            ).write,
            say=self.heard.said.append,
            look_again=self.heard.look_again,
            heard=self.hellos.append,
            events=self.bench.events,
        )
        self.feed = self.broker.feed(f"agent.{NODE}", [QUEUE], prefetch=prefetch)
        self.service = ReceiptsService(
            feed=self.feed,
            outbox=self.bench.store,
            letterbox=Letterbox(lambda: KeyRing(self.keys), NODE),
            delivery=self.heard,
            listener=self.greeting,
            events=self.bench.events,
            clock=self.bench.clock,
            random=random.Random(0).random,
        )

    def state(
        self, outcome: Outcome, name: str, *, pem: bytes = HUB_KEY, stage: str = "R3", code: str = "", digest: bytes = b""
    ) -> None:
        """Let the hub send a receipt."""
        sent = self.bench.sent[name]
        now = self.bench.clock.now()
        said = Statement(
            message_id=name,
            sender=NODE,
            flow=sent.flow,
            epoch=sent.epoch,
            sequence=sent.sequence,
            outcome=outcome,
            stage=stage,
            digest=digest or sent.digest,
            hub="h1",
            received_at=now,
            committed_at=now,
            audit_sequence=1,
            audit_hash="",
            stored=sent.records,
            code=code,
        )
        mid, body, jws = write_receipt(
            said, audience=NODE, signer=load_signer(pem), clock=self.bench.clock, random_bytes=random.randbytes
        )
        self.put(Parcel(1, "to", QUEUE, mid, RECEIPT_TYPE, "", body, {"jws": jws}, 0))

    def tell(self, control: Control, *, pem: bytes = HUB_KEY, sender: str = "h1", receiver: str = NODE) -> None:
        """Let the hub send a control message."""
        writer = ControlWriter(sender, receiver, hub_source(sender), load_signer(pem), self.bench.clock, random.randbytes)
        self.put(parcel_to(writer.write(control), QUEUE, 1))

    def put(self, parcel: Parcel) -> None:
        self.hub.send([parcel])
        assert [published.error for published in self.hub.poll(0)] == [None]

    def rounds(self, count: int = 2, secs: float = 0.0) -> None:
        for _ in range(count):
            self.service._opener.ring()
            self.service.run_once()
            self.bench.clock.advance(secs)

    def left(self) -> int:
        """Return how many messages are not acked, waiting or held."""
        self.feed.close()
        return len(self.broker.waiting(QUEUE))

    def rejected(self) -> list[tuple[str, str]]:
        return [(event.reason, event.message_id) for event in self.bench.recorder.of(ReceiptRejected)]


def busy_post() -> Post:
    """Return a post whose five messages wait for their receipts."""
    post = Post()
    post.bench.capture("f", 5)
    post.bench.rounds(3)
    post.bench.clock.advance(2.0)
    return post
