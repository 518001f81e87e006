"""Every event the product can emit.

Events are the one instrumentation interface: logs, metrics, health and tests subscribe. They carry ids, sizes and counts,
never record contents. Names are noun and past participle; `level` says how loud the log line is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    level: ClassVar[Level] = "info"


@dataclass(frozen=True, slots=True)
class FlowEvent(Event):
    """Base of what happens to one flow."""

    flow: str


@dataclass(frozen=True, slots=True)
class ServiceStarted(Event):
    """A service's thread runs."""

    service: str


@dataclass(frozen=True, slots=True)
class ServiceStopped(Event):
    """A service's thread ended as asked."""

    service: str


@dataclass(frozen=True, slots=True)
class ServiceFailed(Event):
    """A service died; the supervisor stops the process."""

    level: ClassVar[Level] = "error"
    service: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class ProgressMade(Event):
    """A service went round its loop; feeds the watchdog."""

    level: ClassVar[Level] = "debug"
    service: str


@dataclass(frozen=True, slots=True)
class FlowCaptured(FlowEvent):
    """One step of capture is durable."""

    level: ClassVar[Level] = "debug"
    rows: int
    records: int
    unchanged: int
    messages: int
    quarantined: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class FirstLoadAdvanced(FlowEvent):
    """The first load of a flow has got so far."""

    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class FirstLoadCompleted(FlowEvent):
    """The first load of a flow is durable; polling starts."""

    done: int


@dataclass(frozen=True, slots=True)
class WalkCompleted(FlowEvent):
    """A comparison or backfill is through: rows covered, found late (nothing but the walk saw them), deleted, held back."""

    kind: str
    covered: int
    late: int
    deleted: int
    held: int


@dataclass(frozen=True, slots=True)
class FlowPaused(FlowEvent):
    """A flow stopped and says why; `by` is operator, disk, hub or source, `error` what it met, where it met something."""

    level: ClassVar[Level] = "warning"
    by: str
    reason: str
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class FlowResumed(FlowEvent):
    """A paused flow goes on."""

    by: str


@dataclass(frozen=True, slots=True)
class RecordQuarantined(FlowEvent):
    """Input was put aside with a reason; its neighbours flow on."""

    level: ClassVar[Level] = "warning"
    item_id: str
    reason: str
    field: str


@dataclass(frozen=True, slots=True)
class SourceLost(FlowEvent):
    """The source cannot be reached; capture tries again."""

    level: ClassVar[Level] = "warning"
    error: Exception
    delay_secs: float


@dataclass(frozen=True, slots=True)
class SourceOpened(FlowEvent):
    """The source answers."""


@dataclass(frozen=True, slots=True)
class SchemaChanged(FlowEvent):
    """The columns of a table are not what they were: names and types, never values; `outcome` is accepted or quarantined."""

    level: ClassVar[Level] = "warning"
    table: str
    difference: str
    outcome: Literal["accepted", "quarantined"]


@dataclass(frozen=True, slots=True)
class FileArchived(FlowEvent):
    """A file was read to its end and archived after the commit."""

    name: str
    size_bytes: int
    rows: int
    rejected: int


@dataclass(frozen=True, slots=True)
class FileRepeated(FlowEvent):
    """A file came again with the content it had last time; it was archived and nothing was captured."""

    name: str


@dataclass(frozen=True, slots=True)
class FileChanged(FlowEvent):
    """A file changed while it was read; its new content is read from the beginning, as a drop of its own."""

    level: ClassVar[Level] = "warning"
    name: str
    rows: int  # captured of the earlier content


@dataclass(frozen=True, slots=True)
class FileRefused(FlowEvent):
    """A file was put aside whole, or left where it is because it must not be opened; other files flow on."""

    level: ClassVar[Level] = "warning"
    name: str  # escaped
    reason: str


@dataclass(frozen=True, slots=True)
class ValuesDoubted(FlowEvent):
    """Records were sent although a check has doubts about a value."""

    level: ClassVar[Level] = "warning"
    field: str
    reason: str
    records: int


@dataclass(frozen=True, slots=True)
class GapOpened(FlowEvent):
    """Something outside the promise happened."""

    level: ClassVar[Level] = "error"
    number: int
    kind: str


@dataclass(frozen=True, slots=True)
class BrokerConnected(Event):
    """A connection to the broker is open; `role` is publish or consume."""

    role: str


@dataclass(frozen=True, slots=True)
class BrokerLost(Event):
    """A connection to the broker is gone; it is opened again after the delay."""

    level: ClassVar[Level] = "warning"
    role: str
    error: Exception
    delay_secs: float


@dataclass(frozen=True, slots=True)
class MessagesSent(FlowEvent):
    """Messages were written to the socket."""

    level: ClassVar[Level] = "debug"
    messages: int
    records: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class MessagesConfirmed(FlowEvent):
    """The broker took responsibility for messages."""

    level: ClassVar[Level] = "debug"
    messages: int
    records: int


@dataclass(frozen=True, slots=True)
class MessageRefused(FlowEvent):
    """The broker returned or refused a message; its flow resumes at its lowest unconfirmed sequence."""

    level: ClassVar[Level] = "warning"
    message_id: str
    error: Exception
    delay_secs: float


@dataclass(frozen=True, slots=True)
class ReceiptSettled(FlowEvent):
    """A verified receipt moved a message."""

    level: ClassVar[Level] = "debug"
    message_id: str
    outcome: str
    records: int
    latency_secs: float


@dataclass(frozen=True, slots=True)
class ReceiptIgnored(Event):
    """A receipt moved nothing: repeat or unknown."""

    level: ClassVar[Level] = "debug"
    message_id: str
    why: str


@dataclass(frozen=True, slots=True)
class ReceiptRejected(Event):
    """A receipt that must never settle anything arrived. A security event."""

    level: ClassVar[Level] = "error"
    reason: str
    message_id: str


@dataclass(frozen=True, slots=True)
class ReceiptsOverdue(FlowEvent):
    """Confirmed messages have had no receipt for too long; the hub is asked about them."""

    level: ClassVar[Level] = "warning"
    messages: int


@dataclass(frozen=True, slots=True)
class HubGreeted(Event):
    """The hub answered our hello."""

    hub: str


@dataclass(frozen=True, slots=True)
class KeyAnnounced(Event):
    """The hub announced a key of its own under one we trust; it is trusted from now on."""

    hub: str
    kid: str


@dataclass(frozen=True, slots=True)
class TrustUnreadable(Event):
    """The folder of trusted keys changed and cannot be read; the keys known before go on counting."""

    level: ClassVar[Level] = "error"
    error: Exception


@dataclass(frozen=True, slots=True)
class ForkDetected(FlowEvent):
    """The hub holds another history of a flow."""

    level: ClassVar[Level] = "error"
    epoch: str


@dataclass(frozen=True, slots=True)
class DiskLow(Event):
    """Free space fell below the low-water mark: capture pauses."""

    level: ClassVar[Level] = "error"
    path: str
    free_bytes: int
    mark_bytes: int


@dataclass(frozen=True, slots=True)
class DiskRecovered(Event):
    """There is room again: capture goes on."""

    path: str
    free_bytes: int


@dataclass(frozen=True, slots=True)
class BodiesPurged(Event):
    """Of stored messages, bodies or everything that was known were dropped by age."""

    messages: int


@dataclass(frozen=True, slots=True)
class EpochBegun(FlowEvent):
    """A restore went on in a new epoch: messages without a receipt are in line again, with their record ids."""

    level: ClassVar[Level] = "warning"
    epoch: str
    previous: str
    messages: int


@dataclass(frozen=True, slots=True)
class CallFailed(Event):
    """A call of the command line met a defect of ours; the caller was told that it failed."""

    level: ClassVar[Level] = "error"
    call: str
    error: Exception


@dataclass(frozen=True, slots=True)
class OperatorActed(Event):
    """A person changed something through the command line."""

    user: str
    action: str
    subject: str
    why: str


Listener = Callable[[Event], None]


class Events:
    """Hands each event to every listener, in the emitting thread. Listeners must be quick and must not raise."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def emit(self, event: Event) -> None:
        """Tell every listener."""
        for listener in self._listeners:
            listener(event)

    def and_also(self, *listeners: Listener) -> Events:
        """Return a bus that also tells these."""
        return Events(*self._listeners, *listeners)
