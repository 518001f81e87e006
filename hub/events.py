"""What happens at an exchange node. Ids, sizes and counts; never contents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agent.events import Event, Level


@dataclass(frozen=True, slots=True)
class GroupStored(Event):
    """One transaction of ingest committed."""

    level: ClassVar[Level] = "debug"
    messages: int
    records: int
    body_bytes: int
    took_secs: float


@dataclass(frozen=True, slots=True)
class MessageStored(Event):
    """A message and its records are in the store."""

    level: ClassVar[Level] = "debug"
    department: str
    flow: str
    message_id: str
    records: int
    refused: int
    duplicates: int
    latency_secs: float  # from its arrival to the commit


@dataclass(frozen=True, slots=True)
class MessageRepeated(Event):
    """A message came again; its receipt goes out again."""

    level: ClassVar[Level] = "debug"
    department: str
    flow: str
    message_id: str


@dataclass(frozen=True, slots=True)
class MessageRefused(Event):
    """A message was not stored; it lies in quarantine with this reason."""

    level: ClassVar[Level] = "warning"
    department: str
    flow: str
    message_id: str
    outcome: str
    code: str
    receipted: bool  # False where the limit on refusals to this department is reached


@dataclass(frozen=True, slots=True)
class ConflictSeen(Event):
    """A message id came with other octets than before. A security event."""

    level: ClassVar[Level] = "error"
    department: str
    flow: str
    message_id: str


@dataclass(frozen=True, slots=True)
class ForkSeen(Event):
    """A flow has two histories; the epoch is frozen."""

    level: ClassVar[Level] = "error"
    department: str
    flow: str
    epoch: str
    why: str


@dataclass(frozen=True, slots=True)
class EpochOpened(Event):
    """A flow began an epoch; `follows` is False when it does not continue the latest one the hub knew."""

    department: str
    flow: str
    epoch: str
    ordinal: int
    follows: bool


@dataclass(frozen=True, slots=True)
class SequencesVoided(Event):
    """A department declared sequences void: their messages will never come."""

    level: ClassVar[Level] = "warning"
    department: str
    flow: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class GapSeen(Event):
    """A flow has had holes among its sequences for too long."""

    level: ClassVar[Level] = "warning"
    department: str
    flow: str
    epoch: str
    missing: int
    first: int


@dataclass(frozen=True, slots=True)
class AgentGreeted(Event):
    """A department's agent connected and said hello."""

    department: str
    instance: str
    version: str


@dataclass(frozen=True, slots=True)
class ReceiptsPublished(Event):
    """The broker took receipts and answers."""

    level: ClassVar[Level] = "debug"
    posts: int


@dataclass(frozen=True, slots=True)
class ReceiptRefused(Event):
    """The broker did not take a receipt; those of this department wait."""

    level: ClassVar[Level] = "warning"
    department: str
    error: Exception
    delay_secs: float


@dataclass(frozen=True, slots=True)
class StoreLost(Event):
    """The store cannot be used; nothing is consumed until it can."""

    level: ClassVar[Level] = "error"
    error: Exception
    delay_secs: float


@dataclass(frozen=True, slots=True)
class StoreFound(Event):
    """The store can be used again."""


@dataclass(frozen=True, slots=True)
class DeliveryLimitSuspected(Event):
    """The broker may drop messages that were delivered often: from RabbitMQ 4.0 on it does so unless a policy says otherwise."""

    level: ClassVar[Level] = "error"
    version: str


@dataclass(frozen=True, slots=True)
class LeasesChanged(Event):
    """This process works for other departments than before."""

    taken: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeaseRefused(Event):
    """A transaction was rolled back because a department had gone to another process."""

    level: ClassVar[Level] = "warning"
    departments: str


@dataclass(frozen=True, slots=True)
class DepartmentAdmitted(Event):
    """A department was registered, or its registration renewed."""

    department: str
    new: bool


@dataclass(frozen=True, slots=True)
class BodiesDropped(Event):
    """Bodies, answers and quarantined octets were dropped by age."""

    rows: int
