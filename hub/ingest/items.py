"""What travels from the thread that prepares to the thread that stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from agent.model import Outcome, RefusedRecord
from agent.wire.control import Control
from hub.model import NO_RECORDS, PackedRecords


@dataclass(frozen=True, slots=True)
class Arrival:
    """A delivery as it came: what the broker vouches for and what the sender says."""

    tag: int
    department: str  # owner of the exchange it came through
    exchange: str
    user_id: str
    message_id: str  # empty when it carried none
    type: str
    encoding: str
    body: bytes
    digest: bytes  # SHA-256 of the body
    jws: str
    headers: str  # JSON
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message says it stands. `sequence` is 0 for control messages, `flow` empty where they speak of none."""

    flow: str = ""
    epoch: str = ""
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message whose signature, sender, form and type are in order; what is left is its history."""

    arrival: Arrival
    place: Place
    kid: str
    subject: str
    dataschema: str
    records: int
    packed: PackedRecords = NO_RECORDS
    refused: tuple[RefusedRecord, ...] = ()
    control: Control | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that will not be stored. `place` is set only where the envelope was authentic."""

    arrival: Arrival
    outcome: Outcome
    code: str
    text: str
    claimed_sender: str = ""
    place: Place = field(default_factory=Place)


Item = Prepared | Refusal
