"""The nouns of the exchange node, without behaviour that touches the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from agent.model import MessageKind, Outcome
from hub.audit import Head, Link
from hub.sequence import Closed


class DepartmentState(StrEnum):
    """Whether a department may send."""

    ADMITTED = "admitted"
    SUSPENDED = "suspended"


class PostKind(StrEnum):
    """What goes to a department: `receipt` is kept as the memory of a stored message, the others only until sent."""

    RECEIPT = "receipt"
    REFUSAL = "refusal"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Department:
    """An admitted department."""

    code: str
    title: str
    contact: str
    state: DepartmentState
    admitted_at: datetime


# -- a flow, as one transaction sees it ------------------------------------------------------------------------------


@dataclass(slots=True)
class EpochState:
    """One epoch of a flow. `frozen` says why nothing more is taken from it."""

    epoch: str
    ordinal: int
    previous: str
    closed: Closed = field(default_factory=Closed)
    frozen: str = ""
    changed: bool = False
    stored: bool = False  # there is a row of it


@dataclass(slots=True)
class FlowState:
    """One flow with its epochs by name, locked while the transaction lasts. The counts are what this transaction adds."""

    flow_id: int
    sender: str
    flow: str
    epochs: dict[str, EpochState] = field(default_factory=dict)
    messages: int = 0
    records: int = 0
    duplicates: int = 0
    repeats: int = 0

    @property
    def latest(self) -> EpochState | None:
        """Return the epoch with the greatest ordinal."""
        return max(self.epochs.values(), key=lambda e: e.ordinal, default=None)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the store remembers of a message id; the digest tells a repeat from a conflict."""

    message_id: str
    digest: bytes
    outcome: Outcome
    code: str


# -- what a transaction writes ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A judged message. `sequence` is None for control messages; `flow_id` too when they speak of no flow."""

    sender: str
    message_id: str
    flow_id: int | None
    epoch_ordinal: int | None
    sequence: int | None
    kind: MessageKind
    type: str
    subject: str
    dataschema: str
    digest_alg: str
    digest: bytes
    outcome: Outcome
    code: str
    encoding: str
    body: bytes | None
    jws: str
    kid: str
    records: int
    stored: int
    duplicates: int
    received_at: datetime
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class PackedRecords:
    """Records of one message in the form their store inserts fastest; `rows` runs parallel to `ids` (32 hex digits each)."""

    ids: Sequence[str]
    rows: Sequence[object]
    size_bytes: int = 0

    def only(self, keep: Sequence[int]) -> PackedRecords:
        """Return the records at these indexes."""
        return PackedRecords([self.ids[i] for i in keep], [self.rows[i] for i in keep])


NO_RECORDS: Final = PackedRecords((), ())


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Packed records and the place in the order that they share."""

    flow_id: int
    epoch_ordinal: int
    sequence: int
    records: PackedRecords


@dataclass(frozen=True, slots=True)
class Post:
    """One message to a department's receipt queue, final and signed. `about` is the message it speaks of."""

    department: str
    about: str
    kind: PostKind
    message_id: str
    type: str
    encoding: str
    body: bytes
    jws: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DuePost:
    """A post that waits to be published."""

    post_id: int
    post: Post


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A refused message with its octets. The same octets refused for the same reason again only count."""

    department: str
    exchange: str
    user_id: str
    claimed_sender: str
    message_id: str
    outcome: Outcome
    code: str
    text: str
    digest: bytes
    encoding: str
    headers: str
    raw: bytes | None
    size_bytes: int
    at: datetime


@dataclass(slots=True)
class Changes:
    """Everything one transaction adds, beside the flows it was given."""

    messages: list[MessageRow] = field(default_factory=list)
    records: list[RecordBatch] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    heads: dict[str, Head] = field(default_factory=dict)
    quarantined: list[Quarantine] = field(default_factory=list)
    repost: list[tuple[str, str]] = field(default_factory=list)  # (department, message id) whose receipt goes out again
