"""What the store holds: messages and their states, the key ledger, flows, quarantine, gaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import count
from types import MappingProxyType
from typing import Any, Final

from agent.model.changes import Position


class MessageKind(StrEnum):
    """What an exchange message is for."""

    RECORDS = "records"
    CONTROL = "control"


class State(StrEnum):
    """Stored state of a message in the outbox. Claims live in memory, waiting and overdue are predicates on time."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    STORED = "stored"
    PARTLY_STORED = "partly_stored"
    DEAD = "dead"


class Trigger(StrEnum):
    """What may move a message from one state to another."""

    CONFIRM = "confirm"  # the broker took responsibility
    RECEIPT_STORED = "receipt_stored"
    RECEIPT_PARTLY = "receipt_partly"
    RECEIPT_FINAL = "receipt_final"  # the hub refuses it for ever
    RECEIPT_RETRY = "receipt_retry"  # the hub refuses it for now
    MISSING = "missing"  # the hub says it never got it
    RESEND = "resend"  # an operator asks for the same message again
    DISCARD = "discard"  # an operator gives up; its sequence is voided
    REWRAP = "rewrap"  # after a restore: a message of the new epoch carries these records now


TRANSITIONS: Final[Mapping[tuple[State, Trigger], State]] = MappingProxyType(
    {
        (State.PENDING, Trigger.CONFIRM): State.CONFIRMED,
        (State.PENDING, Trigger.RECEIPT_STORED): State.STORED,
        (State.PENDING, Trigger.RECEIPT_PARTLY): State.PARTLY_STORED,
        (State.PENDING, Trigger.RECEIPT_FINAL): State.DEAD,
        (State.PENDING, Trigger.RECEIPT_RETRY): State.PENDING,
        (State.PENDING, Trigger.DISCARD): State.DEAD,
        (State.PENDING, Trigger.REWRAP): State.DEAD,
        (State.CONFIRMED, Trigger.RECEIPT_STORED): State.STORED,
        (State.CONFIRMED, Trigger.RECEIPT_PARTLY): State.PARTLY_STORED,
        (State.CONFIRMED, Trigger.RECEIPT_FINAL): State.DEAD,
        (State.CONFIRMED, Trigger.RECEIPT_RETRY): State.PENDING,
        (State.CONFIRMED, Trigger.MISSING): State.PENDING,
        (State.CONFIRMED, Trigger.RESEND): State.PENDING,
        (State.CONFIRMED, Trigger.DISCARD): State.DEAD,
    }
)
"""The whole state machine; what is not here does not happen. docs/state-machine.md draws it and a test compares them."""


@dataclass(frozen=True, slots=True)
class ExchangeMessage:
    """One message exactly as it travels: the body is final, the digest covers its octets and nothing else."""

    message_id: str
    kind: MessageKind
    type: str  # CloudEvents type, cn.huitong.records.v1 …
    flow: str
    epoch: str
    sequence: int  # 0 for control messages, which take none
    body: bytes
    encoding: str  # "zstd" or ""
    digest_alg: str  # "sha-256" or "sm3"
    digest: bytes
    jws: str
    kid: str
    records: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A stored message and what became of it. `entry_id` grows in the order of the appends."""

    entry_id: int
    message: ExchangeMessage
    state: State
    attempts: int
    confirmed_at: datetime | None


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What the key ledger knows of one key: the hash of its mapped data, and where it last went."""

    key: str  # canonical text: JSON array of [type, text]
    hash: bytes  # first 16 octets of SHA-256 over the mapped data
    ordinal: int
    sequence: int  # of the message that carried it
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class LedgerColumns(Sequence[LedgerRow]):
    """Ledger rows with consecutive ordinals, as parallel columns: a first load makes millions and nobody looks at one."""

    keys: Sequence[str]
    hashes: Sequence[bytes]
    first_ordinal: int
    sequences: Sequence[int]
    deleted: Sequence[bool]

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[LedgerRow]:
        return map(LedgerRow, self.keys, self.hashes, count(self.first_ordinal), self.sequences, self.deleted)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


@dataclass(frozen=True, slots=True)
class Placing:
    """All keys that one chunk of a table holds now, in canonical text. Other keys the ledger had in it go to no chunk."""

    chunk: int  # from 0, below 2**32
    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Input that could not be read or translated, kept with its bytes and a reason a person can act on."""

    item_id: str  # derived, so that reading the same input again adds nothing
    flow: str
    entity: str
    token: str
    key: str | None
    raw: bytes
    reason: str
    code: str
    field: str
    text: str  # English catalogue key
    details: Mapping[str, object]
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Counters:
    """A flow's two counters; both start at 1 and never go back within an epoch."""

    next_sequence: int = 1
    next_ordinal: int = 1


@dataclass(frozen=True, slots=True)
class FlowState:
    """What the store knows of a flow when it is opened."""

    flow: str
    epoch: str
    incarnation: str
    position: Position
    counters: Counters
    memory: Mapping[str, str]
    paused: str = ""  # reason, empty when it runs
    loaded: bool = False  # the first load is complete
    previous_epoch: str = ""  # what this epoch continues, empty for the first
    announced: bool = False  # the outbox holds (or held) the epoch-open of this flow and epoch


@dataclass(frozen=True, slots=True)
class Append:
    """Everything that one step of capture makes durable, in one transaction.

    `before` must equal the counters in the store: the messages carry sequences and ordinals already, and a second writer
    must never be able to slip between.
    """

    flow: str
    epoch: str
    incarnation: str
    before: Counters
    after: Counters
    position: Position
    messages: Sequence[ExchangeMessage] = ()
    ledger: Sequence[LedgerRow] = ()
    quarantined: Sequence[Quarantined] = ()
    memory: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    captured: int = 0  # rows read from the source
    unchanged: int = 0  # rows equal to the ledger
    loaded: bool = False
    closes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # quarantine item → retried | superseded
    placed: Placing | None = None  # a chunk of the table that was read whole, for a comparison


@dataclass(frozen=True, slots=True)
class Gap:
    """Something outside the promise: numbered, alarmed, never silent."""

    flow: str
    number: int
    kind: str  # position_lost | store_restored | source_replaced | schema_changed
    text: str
    details: Mapping[str, object]
    opened_at: datetime
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Depth:
    """How much of a flow is in which state."""

    flow: str
    messages: Mapping[State, int]
    records: Mapping[State, int]
    quarantined: int
    oldest_pending: datetime | None
    oldest_confirmed: datetime | None
