"""The way out of a fork: going on in a new epoch after the store was put back from a copy, or cloned.

The hub holds a history that this store does not know. It is not guessed at: every flow begins a new epoch with a numbered gap,
and what has no stored receipt is written again: new message ids, new sequences, the same record ids, so that what the hub
already has counts once. What the store forgot is read from the source again, because its positions are those of the copy.

Every step is one transaction and says in the store what is left. So a restore that was killed is finished by whoever comes
next, an agent that starts included:

    begin_epoch   the decision: from here on a flow that is not announced, or has messages of an earlier epoch, is unfinished
    pause ""      a flow that a fork froze may go on
    announce      the epoch-open stands in the outbox, ahead of every record
    rewrap        some messages at a time, in their order; a flow takes no new record before the last of them
    note          the end: only now a further restore would begin another epoch
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

from agent.events import EpochBegun, Events, FlowResumed
from agent.model import ExchangeMessage, FlowState, OutboxEntry
from agent.ports import CaptureLog
from agent.queries import Action, Operator, Rewrapped
from agent.services.greeting import FORK
from agent.wire.control import Control, EpochOpen
from agent.wire.envelope import encode_record
from agent.wire.limits import Limits
from agent.wire.reader import WireRecord, open_body

BATCH: Final = 64
EPOCH_OCTETS: Final = 16
PAGE: Final = 500

BEGUN: Final = "begin-epoch"
ENDED: Final = "restore"
"""What the store's diary says of a restore; the subject is its epoch."""


class RestoreStore(CaptureLog, Protocol):
    """The store as a restore uses it."""

    def begin_epoch(self, epoch: str, by: Operator) -> Future[None]:
        """Start a new history for every flow."""
        ...

    def unsettled(self, flow: str, limit: int) -> Sequence[OutboxEntry]:
        """Return messages of earlier epochs that wait to be re-wrapped, in order."""
        ...

    def rewrap(self, flow: str, pairs: Sequence[Rewrapped]) -> Future[None]:
        """Let messages of the new epoch take over the records of old ones, in one transaction."""
        ...

    def note(self, action: str, subject: str, by: Operator) -> Future[None]:
        """Keep what an operator did, for the auditor."""
        ...


class Diary(Protocol):
    """Where it is looked up what operators did; `StoreReader` is one."""

    def actions(self, before: int | None = None, limit: int = 50) -> Sequence[Action]:
        """Return what operators did, newest first."""
        ...


class RecordWriter(Protocol):
    """What writes messages of records; `agent.wire.envelope.MessageWriter` is one."""

    def records(self, sequence: int, records: Sequence[bytes]) -> ExchangeMessage:
        """Return the signed message of records, in their order."""
        ...


WriterFor = Callable[[str, str, str, str], RecordWriter]
"""writer_for(flow, epoch, subject, dataschema)"""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done to one flow: `messages` with so many `records` are in line again, `thawed` when a fork had frozen it."""

    flow: str
    epoch: str
    previous: str
    messages: int
    records: int
    thawed: bool


class Restore:
    """Begins or finishes a restore. The caller holds the instance lock and runs nothing else on the store."""

    def __init__(
        self,
        *,
        store: RestoreStore,
        diary: Diary,
        write: Callable[[Control, str, str], ExchangeMessage],
        writer_for: WriterFor,
        random_bytes: Callable[[int], bytes],
        events: Events,
    ) -> None:
        self._store, self._diary, self._write, self._writer_for = store, diary, write, writer_for
        self._random_bytes, self._events = random_bytes, events

    def unfinished(self) -> Operator | None:
        """Return who began a restore that has not come to its end, None when there is no such restore."""
        epochs = {state.epoch for state in self._store.flows() if state.previous_epoch}
        before: int | None = None
        while epochs and (page := self._diary.actions(before, PAGE)):
            for action in page:
                if action.action in (BEGUN, ENDED) and action.subject in epochs:
                    return Operator(action.user, action.why) if action.action == BEGUN else None
            before = page[-1].action_id
        return None

    def run(self, by: Operator) -> Sequence[Restored]:
        """Finish the restore that was begun, else begin one. Raises StoreError, BadMessage when a stored body is damaged."""
        if self.unfinished() is None:
            self._store.begin_epoch(self._random_bytes(EPOCH_OCTETS).hex(), by).result()
        return self.finish()

    def finish(self) -> Sequence[Restored]:
        """Do what is left of a restore, in every flow; nothing when there is nothing."""
        by = self.unfinished()
        if by is None:
            return []
        done = [self._finish(state) for state in self._store.flows() if self._is_unfinished(state)]
        for epoch in {state.epoch for state in self._store.flows()}:
            self._store.note(ENDED, epoch, by).result()
        return done

    # -- inside ------------------------------------------------------------------------------------------------------

    def _is_unfinished(self, state: FlowState) -> bool:
        return bool(state.previous_epoch) and (not state.announced or bool(self._store.unsettled(state.flow, 1)))

    def _finish(self, state: FlowState) -> Restored:
        frozen = state.paused.startswith(FORK)
        if frozen:
            self._store.pause(state.flow, "")
            self._events.emit(FlowResumed(state.flow, FORK))
        opening = EpochOpen(state.flow, state.epoch, state.previous_epoch)
        self._store.announce(state.flow, self._write(opening, state.flow, state.epoch)).result()
        messages = records = 0
        while waiting := self._store.unsettled(state.flow, BATCH):
            pairs = self._rewrapped(state.flow, waiting)
            self._store.rewrap(state.flow, pairs).result()
            messages += len(pairs)
            records += sum(message.records for _, message in pairs)
        self._store.rewrap(state.flow, []).result()  # nothing is left, also where receipts took it
        self._events.emit(EpochBegun(state.flow, state.epoch, state.previous_epoch, messages))
        return Restored(state.flow, state.epoch, state.previous_epoch, messages, records, frozen)

    def _rewrapped(self, flow: str, waiting: Sequence[OutboxEntry]) -> list[Rewrapped]:
        now = self._store.open_flow(flow)
        first = now.counters.next_sequence
        return [
            (entry.message.message_id, self._again(entry.message, now.epoch, sequence))
            for sequence, entry in enumerate(waiting, first)
        ]

    def _again(self, old: ExchangeMessage, epoch: str, sequence: int) -> ExchangeMessage:
        """Return a message of the new epoch with the records of an old one, octet for octet."""
        envelope = open_body(old.body, old.encoding, Limits())
        writer = self._writer_for(old.flow, epoch, envelope.subject, envelope.dataschema)
        return writer.records(sequence, [encoded(record) for record in envelope.records])


def encoded(record: WireRecord) -> bytes:
    """Return a record that was read as the octets it was written with."""
    data = bytes(record.data) if record.data is not None else None
    return encode_record(record.id, record.op, bytes(record.key), data, record.at, record.corrects)
