"""The rows behind MemoryStore: plain mutable records, keyed as a database keys them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime

import msgspec

from agent.errors import Conflict
from agent.i18n import N_
from agent.model import (
    START,
    TRANSITIONS,
    Counters,
    Depth,
    ExchangeMessage,
    FlowState,
    Gap,
    LedgerRow,
    MessageKind,
    OutboxEntry,
    Position,
    Quarantined,
    Receipt,
    RefusedRecord,
    State,
    Trigger,
)
from agent.queries import Action, Activity, Closed, Item, Operator, Refusal

RESTORED = N_("the store was put back from a copy; compare this flow with the hub")


@dataclass
class FlowRow:
    """A flow, its ledger and its gaps. Ledger values are (row, entry_id of the message that carried it), `chunks` are by key."""

    flow: str
    epoch: str
    previous_epoch: str = ""
    announced: bool = False
    incarnation: str = ""
    position: Position = START
    counters: Counters = field(default_factory=Counters)
    memory: dict[str, str] = field(default_factory=dict)
    paused: str = ""
    loaded: bool = False
    rewrap: bool = False  # messages of an earlier epoch have to be re-wrapped before anything is appended
    ledger: dict[str, tuple[LedgerRow, int]] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    begun_after: int = 0  # the last entry of earlier epochs: ledger rows up to it are older than every ordinal of this one
    chunks: dict[str, int] = field(default_factory=dict)

    def state(self, *, with_memory: bool) -> FlowState:
        """Return the flow as the port tells it."""
        return FlowState(
            flow=self.flow,
            epoch=self.epoch,
            incarnation=self.incarnation,
            position=self.position,
            counters=self.counters,
            memory=dict(self.memory) if with_memory else {},
            paused=self.paused,
            loaded=self.loaded,
            previous_epoch=self.previous_epoch,
            announced=self.announced,
        )


@dataclass
class MessageRecord:
    """A message: its octets (empty once purged) and beside them what stays."""

    entry_id: int
    octets: bytes
    about: ExchangeMessage  # without body and signature
    size_bytes: int
    state: State = State.PENDING
    attempts: int = 0
    code: str = ""
    closed_as: Closed | None = None
    superseded_by: str = ""
    confirmed_at: datetime | None = None
    settled_at: datetime | None = None
    purged_at: datetime | None = None
    receipts: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)  # by stage: octets, when it was applied

    def may(self, trigger: Trigger) -> bool:
        """Whether the table has such a transition from here."""
        return (self.state, trigger) in TRANSITIONS

    def move(self, trigger: Trigger) -> None:
        """Take a transition of the table."""
        self.state = TRANSITIONS[self.state, trigger]

    def entry(self) -> OutboxEntry:
        """Return what the port returns, decoded from the octets."""
        message = msgspec.msgpack.decode(self.octets, type=ExchangeMessage)
        return OutboxEntry(self.entry_id, message, self.state, self.attempts, self.confirmed_at)

    def keep(self, receipt: Receipt, now: datetime) -> None:
        """Keep a receipt as evidence; the last one of a stage counts."""
        self.receipts[receipt.stage] = (msgspec.msgpack.encode(receipt), now)
        self.code = receipt.code
        if self.state is State.PENDING:
            self.confirmed_at = None
        else:
            self.settled_at = now


class MemoryTables:
    """All rows, and the few questions both the store and its reader ask of them."""

    def __init__(self) -> None:
        self.flows: dict[str, FlowRow] = {}
        self.messages: dict[int, MessageRecord] = {}
        self.ids: dict[str, int] = {}
        self.items: dict[str, Item] = {}
        self.refusals: list[Refusal] = []
        self.actions: list[Action] = []
        self.activity: dict[tuple[str, datetime], Counter[str]] = {}

    def check_new(self, messages: Iterable[ExchangeMessage]) -> None:
        """Raise Conflict if a message id is taken."""
        named = [m.message_id for m in messages]
        if len(set(named)) != len(named) or any(name in self.ids for name in named):
            raise Conflict(why="a message with this id is in the outbox already")

    def check_line(self, row: FlowRow, messages: Iterable[ExchangeMessage], sequence: int) -> int:
        """Raise Conflict unless these are records of the flow and its epoch in line; returns the sequence after them."""
        for message in messages:
            place = (message.kind, message.flow, message.epoch, message.sequence)
            if place != (MessageKind.RECORDS, row.flow, row.epoch, sequence):
                raise Conflict(why=f"message {message.message_id} is not sequence {sequence} of flow {row.flow}")
            sequence += 1
        return sequence

    def check_controls(self, messages: Sequence[ExchangeMessage]) -> None:
        """Raise Conflict unless these are control messages with new ids."""
        if any(m.kind is not MessageKind.CONTROL or m.sequence for m in messages):
            raise Conflict(why="only control messages, which take no sequence, are enqueued")
        self.check_new(messages)

    def insert(self, message: ExchangeMessage) -> int:
        """Add a message and return its entry_id."""
        entry_id = max(self.messages, default=0) + 1
        about = replace(message, body=b"", jws="")
        record = MessageRecord(entry_id, msgspec.msgpack.encode(message), about, len(message.body))
        self.messages[entry_id] = record
        self.ids[message.message_id] = entry_id
        return entry_id

    def named(self, message_ids: Iterable[str]) -> list[MessageRecord]:
        """Return the messages with these ids, each once; unknown ids are left out."""
        return [self.messages[self.ids[name]] for name in dict.fromkeys(message_ids) if name in self.ids]

    def of(self, flow: str, *states: State) -> list[MessageRecord]:
        """Return the messages of a flow in these states, in order."""
        return [m for m in self.messages.values() if m.about.flow == flow and m.state in states]

    def left_behind(self, flow: str) -> list[MessageRecord]:
        """Return the messages of earlier epochs whose records a message of the current epoch has to carry."""
        return [m for m in self.of(flow, State.PENDING) if m.about.epoch != self.flows[flow].epoch]

    def turn(self, row: FlowRow, epoch: str, now: datetime) -> Gap:
        """Move a flow to a new epoch; what it had to say about the old one falls away. Returns the gap."""
        for message in self.of(row.flow, State.CONFIRMED):
            message.move(Trigger.RESEND)
            message.confirmed_at = None
        for message in self.of(row.flow, State.PENDING):
            if message.about.kind is MessageKind.CONTROL:
                message.move(Trigger.REWRAP)
                message.closed_as, message.settled_at = Closed.SUPERSEDED, now
        row.rewrap = bool(self.of(row.flow, State.PENDING))
        details = {
            "epoch": row.epoch,
            "next_sequence": row.counters.next_sequence,
            "next_ordinal": row.counters.next_ordinal,
        }
        gap = Gap(row.flow, len(row.gaps) + 1, "store_restored", RESTORED, details, now)
        row.gaps.append(gap)
        row.epoch, row.previous_epoch, row.announced, row.counters = epoch, row.epoch, False, Counters()
        row.begun_after = max(self.messages, default=0)
        return gap

    def quarantine(self, item: Quarantined) -> bool:
        """Add an item; False when it is known."""
        if item.item_id in self.items:
            return False
        octets = msgspec.msgpack.encode(item)
        kept = msgspec.msgpack.decode(octets, type=Quarantined)
        self.items[item.item_id] = Item(len(self.items) + 1, kept, None, None)
        return True

    def refuse(self, flow: str, message_id: str, refused: Iterable[RefusedRecord], now: datetime) -> None:
        """Add records the hub refused."""
        for each in refused:
            self.refusals.append(Refusal(self._next_refusal(), flow, message_id, each, now, None))

    def _next_refusal(self) -> int:
        return max((refusal.number for refusal in self.refusals), default=0) + 1

    def forget(self, known_before: datetime, limit: int) -> int:
        """Drop everything about the oldest messages whose bodies have gone; returns how many."""
        open_ones = {refusal.message_id for refusal in self.refusals if refusal.closed_as is None}
        due = [
            message
            for message in self.messages.values()
            if message.purged_at is not None
            and message.entry_id < max(self.messages)
            and max(message.about.created_at, message.settled_at or known_before) < known_before
            and message.about.message_id not in open_ones
        ]
        due.sort(key=lambda message: (message.about.created_at, message.entry_id))
        for message in due[:limit]:
            name = message.about.message_id
            del self.messages[message.entry_id], self.ids[name]
            self.refusals = [refusal for refusal in self.refusals if refusal.message_id != name]
        return len(due[:limit])

    def close_subject(self, subject: str, how: Closed, now: datetime) -> int:
        """Close an open item, dead message or refused record; returns how many were open."""
        done = 0
        item = self.items.get(subject)
        if item is not None and item.closed_as is None:
            self.items[subject] = replace(item, closed_as=how, closed_at=now)
            done += 1
        for message in self.named([subject]):
            if message.state is State.DEAD and message.closed_as is None:
                message.closed_as = how
                done += 1
        for index, refusal in enumerate(self.refusals):
            if refusal.refused.record == subject and refusal.closed_as is None:
                self.refusals[index] = replace(refusal, closed_as=how)
                done += 1
        return done

    def note(self, now: datetime, action: str, subjects: Iterable[str], by: Operator) -> None:
        """Keep what an operator did."""
        for subject in subjects:
            self.actions.append(Action(len(self.actions) + 1, now, by.user, action, subject, by.why))

    def count(self, done: Activity, now: datetime) -> None:
        """Add to what the flow did in this hour."""
        values = {f.name: getattr(done, f.name) for f in fields(done) if f.name != "flow"}
        if any(values.values()):
            hour = now.replace(minute=0, second=0, microsecond=0)
            self.activity.setdefault((done.flow, hour), Counter()).update(values)

    def depth(self, flow: str) -> Depth:
        """Return how much of a flow is in which state."""
        mine = self.of(flow, *State)
        waiting = [m.about.created_at for m in mine if m.state is State.PENDING]
        confirmed = [m.confirmed_at for m in mine if m.state is State.CONFIRMED and m.confirmed_at is not None]
        return Depth(
            flow=flow,
            messages={state: sum(m.state is state for m in mine) for state in State},
            records={state: sum(m.about.records for m in mine if m.state is state) for state in State},
            quarantined=sum(i.input.flow == flow and i.closed_as is None for i in self.items.values()),
            oldest_pending=waiting[0] if waiting else None,
            oldest_confirmed=min(confirmed, default=None),
        )
