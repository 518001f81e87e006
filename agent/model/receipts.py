"""What the hub says of a message, and what the store makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from agent.model.outbox import State, Trigger


class Outcome(StrEnum):
    """What the hub says became of a message."""

    STORED = "stored"
    PARTLY_STORED = "partly_stored"
    REFUSED_FINAL = "refused_final"
    REFUSED_RETRY = "refused_retry"
    DUPLICATE = "duplicate"
    FORK = "fork"


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """One record the hub did not store, and why."""

    record: str
    field: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The hub's signed statement. An object of this class exists only after its signature was verified."""

    message_id: str
    sender: str
    flow: str
    epoch: str
    sequence: int
    outcome: Outcome
    stage: str  # R2 checked, R3 stored, R4 used
    code: str  # stable word; empty when stored
    text: str
    digest_alg: str
    digest: bytes
    stored: int
    refused: Sequence[RefusedRecord]
    hub: str
    received_at: datetime
    committed_at: datetime
    audit_sequence: int
    audit_hash: str
    kid: str
    body: bytes
    jws: str


def trigger_of(receipt: Receipt) -> Trigger | None:
    """Return what a receipt does to its message; None for a fork, which moves nothing. A duplicate is stored already."""
    match receipt.outcome:
        case Outcome.STORED | Outcome.DUPLICATE:
            return Trigger.RECEIPT_PARTLY if receipt.refused else Trigger.RECEIPT_STORED
        case Outcome.PARTLY_STORED:
            return Trigger.RECEIPT_PARTLY
        case Outcome.REFUSED_FINAL:
            return Trigger.RECEIPT_FINAL
        case Outcome.REFUSED_RETRY:
            return Trigger.RECEIPT_RETRY
        case Outcome.FORK:
            return None


def names(receipt: Receipt, flow: str, epoch: str, sequence: int) -> bool:
    """Whether a receipt is about this place. A refusal of a message the hub could not even read names no place at all."""
    unread = receipt.outcome in (Outcome.REFUSED_RETRY, Outcome.REFUSED_FINAL) and not receipt.flow
    return unread or (receipt.flow, receipt.epoch, receipt.sequence) == (flow, epoch, sequence)


class Verdict(StrEnum):
    """What the store made of a receipt."""

    MOVED = "moved"  # its message changed state (or, refused for now, was put back in line)
    REPEAT = "repeat"  # the message had come to its end before
    UNKNOWN = "unknown"  # there is no such message
    MISMATCH = "mismatch"  # digest, sender, flow, epoch or sequence are not those of the message: alarm
    HELD = "held"  # a fork: the message stays as it is and the flow is to be frozen


@dataclass(frozen=True, slots=True)
class Settled:
    """One receipt and what it did. `state` is the state after it; the rest describes the message, empty when unknown."""

    message_id: str
    verdict: Verdict
    state: State | None = None
    flow: str = ""
    records: int = 0
    created_at: datetime | None = None
