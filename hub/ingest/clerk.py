"""Writes what leaves the hub, receipts and answers, and the audit entry of every judgement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec.json import encode as _json

from agent.model import Outcome, RefusedRecord
from agent.ports import Clock
from agent.wire.control import ControlWriter, HubHello, QueryAnswer
from agent.wire.event import CONTROL_TYPE, RECEIPT_TYPE, hub_source
from agent.wire.receipt import CHECKED, STORED, Statement, write_receipt
from agent.wire.signature import Signer
from hub.audit import Head, Link, append
from hub.ingest.items import Arrival, Place
from hub.model import Post, PostKind


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of one message, as its receipt and its audit entry tell it."""

    arrival: Arrival
    place: Place
    outcome: Outcome
    code: str = ""
    text: str = ""
    records: int = 0
    stored: int = 0  # those that were stored before under another message included
    refused: Sequence[RefusedRecord] = ()


class Clerk:
    """Signs in the name of one hub. Callable from one thread at a time."""

    def __init__(self, code: str, signer: Signer, clock: Clock, random_bytes: Callable[[int], bytes]) -> None:
        self.code = code
        self._signer = signer
        self._clock = clock
        self._random_bytes = random_bytes

    def entry(self, head: Head, judgement: Judgement, at: datetime) -> Link:
        """Return the audit link of a judgement."""
        arrival, place = judgement.arrival, judgement.place
        text = _json(
            {
                "action": "judged",
                "message": arrival.message_id,
                "digest": arrival.digest.hex(),
                "flow": place.flow,
                "epoch": place.epoch,
                "sequence": str(place.sequence),
                "outcome": judgement.outcome.value,
                "code": judgement.code,
                "records": judgement.records,
                "stored": judgement.stored,
            }
        ).decode()
        return append(head, arrival.department, text, at)

    def receipt(self, judgement: Judgement, link: Link, at: datetime, kind: PostKind) -> Post:
        """Return the signed receipt of a judgement, for the department that owns the exchange."""
        arrival, place = judgement.arrival, judgement.place
        statement = Statement(
            message_id=arrival.message_id,
            sender=arrival.department,
            flow=place.flow,
            epoch=place.epoch,
            sequence=place.sequence,
            outcome=judgement.outcome,
            stage=STORED if judgement.outcome in (Outcome.STORED, Outcome.PARTLY_STORED) else CHECKED,
            digest=arrival.digest,
            hub=self.code,
            received_at=arrival.received_at,
            committed_at=at,
            audit_sequence=link.sequence,
            audit_hash=link.hash.hex(),
            stored=judgement.stored,
            refused=judgement.refused,
            code=judgement.code,
            text=judgement.text,
        )
        message_id, body, jws = write_receipt(
            statement,
            audience=arrival.department,
            signer=self._signer,
            clock=self._clock,
            random_bytes=self._random_bytes,
        )
        return Post(arrival.department, arrival.message_id, kind, message_id, RECEIPT_TYPE, "", body, jws, at)

    def answer(self, arrival: Arrival, said: HubHello | QueryAnswer, at: datetime) -> Post:
        """Return a signed answer to a control message."""
        writer = ControlWriter(
            sender=self.code,
            receiver=arrival.department,
            source=hub_source(self.code),
            signer=self._signer,
            clock=self._clock,
            random_bytes=self._random_bytes,
        )
        message = writer.write(said)
        return Post(
            department=arrival.department,
            about=arrival.message_id,
            kind=PostKind.ANSWER,
            message_id=message.message_id,
            type=CONTROL_TYPE,
            encoding=message.encoding,
            body=message.body,
            jws=message.jws,
            created_at=at,
        )
