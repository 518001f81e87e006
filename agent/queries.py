"""What operators ask of a store and what they change in it: the nouns of status, search, trace and dead letters.

`agent.adapters.store` answers from the database, `agent.testing` from memory; the same contract suite runs against both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from agent.model import ExchangeMessage, MessageKind, Quarantined, RefusedRecord, State


@dataclass(frozen=True, slots=True)
class Operator:
    """Who changes something, and why; both are kept for the auditor."""

    user: str
    why: str


@dataclass(frozen=True, slots=True)
class Action:
    """One thing an operator did."""

    action_id: int
    at: datetime
    user: str
    action: str  # stable word: discard, close, resend …
    subject: str
    why: str


class Closed(StrEnum):
    """How a thing that waited for a person was dealt with."""

    RETRIED = "retried"
    SUPERSEDED = "superseded"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class MessageQuery:
    """What to look for; what is empty does not restrict.

    Newest first: in the order of the appends, or by `created_at` when times are given. `before` is the last entry_id of the
    page before.
    """

    flow: str = ""
    message_id: str = ""
    key: str = ""  # canonical key text, or the bare text of a key of one field: finds the last message of that key
    state: State | None = None
    code: str = ""
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message without its body."""

    entry_id: int
    message_id: str
    kind: MessageKind
    type: str
    flow: str
    epoch: str
    sequence: int
    records: int
    size_bytes: int
    digest_alg: str
    digest: bytes
    kid: str
    state: State
    code: str  # of the last refusal
    closed_as: Closed | None
    attempts: int
    created_at: datetime
    confirmed_at: datetime | None
    settled_at: datetime | None
    purged_at: datetime | None
    superseded_by: str  # message id, empty when there is none


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A receipt as it was kept: the evidence."""

    outcome: str
    stage: str
    code: str
    text: str
    hub: str
    kid: str
    received_at: datetime
    committed_at: datetime
    settled_at: datetime
    audit_sequence: int
    audit_hash: str
    body: bytes
    jws: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record the hub refused, and what became of it. `number` grows in the order of arrival."""

    number: int
    flow: str
    message_id: str
    refused: RefusedRecord
    refused_at: datetime
    closed_as: Closed | None


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything the store knows of one message."""

    message: MessageRow
    receipts: Sequence[ReceiptRow]
    refused: Sequence[Refusal]
    supersedes: Sequence[str]  # ids of the messages whose records it carries after a restore


class CauseKind(StrEnum):
    """What a group of dead letters consists of."""

    MESSAGE = "message"  # refused whole and for ever by the hub
    RECORD = "record"  # refused one by one, their neighbours are stored
    INPUT = "input"  # could not be read or translated here


@dataclass(frozen=True, slots=True)
class Cause:
    """Open dead letters with the same cause."""

    kind: CauseKind
    flow: str
    code: str
    field: str
    count: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Item:
    """Quarantined input and what became of it. `number` grows in the order of arrival."""

    number: int
    input: Quarantined
    closed_as: Closed | None
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Activity:
    """What a flow did in a span of time."""

    flow: str
    captured: int = 0  # rows read
    unchanged: int = 0
    messages: int = 0
    records: int = 0  # put into messages
    stored: int = 0  # records receipted
    refused: int = 0
    quarantined: int = 0


Rewrapped = tuple[str, ExchangeMessage]
"""The id of a message of an earlier epoch and the message of the new epoch that carries its records."""


AUDIT: Final = "host:audit"
"""The fact in the memory of a flow that tells what the last comparison with its source found."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What the last comparison found: of `covered` rows `late` were missed before, `deleted` had gone, `held` wait.

    `before` and `epoch` say which rows of the ledger are older than it.
    """

    ended_at: str
    covered: int
    late: int
    deleted: int
    before: int
    epoch: str
    held: int = 0
