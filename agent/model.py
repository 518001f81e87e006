"""The nouns of the product, frozen, without behaviour that touches the world.

Time is always aware UTC. Sizes are bytes. Text that crosses the wire is `str`, octets are `bytes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import count
from types import MappingProxyType
from typing import Any, Final, NewType

Position = NewType("Position", str)
"""Where a source has got to. Only its source understands it; everybody else stores it and compares for equality."""

START: Final = Position("")
"""The position before anything was read."""

Value = None | bool | int | float | str | bytes
"""What a source delivers for a column. Decimals, dates, times and zoned timestamps are canonical text: a decimal never was a
float, a date is `YYYY-MM-DD`, a timestamp `YYYY-MM-DDThh:mm:ss[.ffffff][±hh:mm]`. None is NULL and never the empty string."""


class Op(StrEnum):
    """What happened to a record. A first load is upserts."""

    UPSERT = "upsert"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Input that never became a record: a broken CSV line, a value the driver cannot decode."""

    token: str
    raw: bytes
    reason: str  # stable word, see docs/errors.md
    text: str  # English catalogue key of the explanation
    details: Mapping[str, object] = field(default_factory=dict)
    columns: str = ""  # what the raw bytes are, for the operator: the header line of the file


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a first load has got. `total` is an estimate, None when unknown."""

    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Ordered changes of one entity and the position that covers all of them.

    Rows are columnar in spirit: `columns` names the members of every row, and `ops`, `tokens`, `times` (where given) run
    parallel to `rows`. `tokens` None means that the source has no log position and identity comes from the key ledger.
    `memory` are facts the source wants to remember (file digests, for example); they are stored in the same transaction
    as the position and given back at the next open.
    """

    entity: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Value, ...]]
    position: Position
    ops: Sequence[Op] | None = None
    tokens: Sequence[str] | None = None
    times: Sequence[str | None] | None = None
    unreadable: Sequence[Unreadable] = ()
    memory: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    more: bool = False  # reading on at once will bring more
    loading: Progress | None = None  # set while this is the first load, in which no key comes twice


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check: what was looked at, whether it is well, and what to do if not."""

    subject: str
    ok: bool
    text: str
    hint: str = ""
    details: Mapping[str, object] = field(default_factory=dict)
    warning: bool = False  # not well, but not in the way either


# -- the outbox ------------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Gap:
    """Something outside the promise: numbered, alarmed, never silent."""

    flow: str
    number: int
    kind: str  # position_lost | store_restored | source_replaced
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


# -- receipts --------------------------------------------------------------------------------------------------------


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
