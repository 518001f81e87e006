"""The store in memory: what unit tests use instead of a database.

It keeps the contract of `CaptureLog`, `KeyLedger` and `Outbox` and of the operators' interventions, proved by the suite that
SqliteStore passes too. Every message and receipt is really turned into octets and back, so that what would not survive a disk
does not survive here. Futures are done when they are returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime

from agent.errors import Conflict, StoreFull
from agent.events import DiskLow, DiskRecovered, Events, GapOpened
from agent.model import (
    Append,
    Depth,
    ExchangeMessage,
    FlowState,
    Gap,
    LedgerRow,
    MessageKind,
    OutboxEntry,
    Receipt,
    Settled,
    State,
    Trigger,
    Verdict,
    names,
    trigger_of,
)
from agent.ports import Clock
from agent.queries import Activity, Closed, Operator, Rewrapped
from agent.testing.clock import FakeClock
from agent.testing.memory_ledger import MemoryLedger, place
from agent.testing.memory_rows import FlowRow, MessageRecord

UNSETTLED = (State.PENDING, State.CONFIRMED)
PURGEABLE = (State.STORED, State.PARTLY_STORED)


class MemoryStore(MemoryLedger):
    """Implements `ports.CaptureLog`, `ports.KeyLedger`, `ports.Outbox` and the interventions of operators."""

    def __init__(
        self,
        agent_id: str = "510100-test-01",
        *,
        epoch: str = "e0",
        instance: str = "i0",
        clock: Clock | None = None,
        events: Events | None = None,
    ) -> None:
        super().__init__()
        self.agent_id = agent_id
        self.epoch = epoch
        self.instance = instance
        self._clock = clock or FakeClock()
        self._events = events or Events()
        self._full = False

    # -- what tests do to it -----------------------------------------------------------------------------------------

    def fill_disk(self, *, full: bool = True) -> None:
        """Refuse appends that grow the store from now on, or take them again."""
        if full == self._full:
            return
        self._full = full
        self._events.emit(DiskLow("memory", 0, 1) if full else DiskRecovered("memory", 1))

    def flush(self) -> None:
        """Wait until everything handed over so far is committed: nothing to do here."""

    def close(self) -> None:
        """Let go: nothing to do here."""

    # -- CaptureLog --------------------------------------------------------------------------------------------------

    def open_flow(self, flow: str) -> FlowState:
        """See ports.CaptureLog."""
        with self._lock:
            return self._flow(flow).state(with_memory=True)

    def announce(self, flow: str, message: ExchangeMessage) -> Future[None]:
        """See ports.CaptureLog."""

        def work() -> None:
            row = self._existing(flow)
            if message.kind is not MessageKind.CONTROL or message.epoch != row.epoch or message.flow != flow:
                raise Conflict(why=f"the message does not announce the current epoch of flow {flow}")
            if not row.announced:
                self.tables.check_new([message])
                self._insert([message])
                row.announced = True

        return self._do(work)

    def append(self, step: Append) -> Future[None]:
        """See ports.CaptureLog. A new incarnation starts its first load anew."""

        def work() -> None:
            if self._full and (step.messages or step.quarantined or step.placed):
                raise StoreFull(path="memory", free_bytes=0, mark_bytes=1)
            row = self._existing(step.flow)
            self._check(row, step)
            self.tables.check_new(step.messages)
            carriers = self._insert(step.messages)
            row.loaded = step.loaded or (row.loaded and row.incarnation == step.incarnation)
            row.incarnation, row.position, row.counters = step.incarnation, step.position, step.after
            row.memory.update(step.memory)
            for item in step.ledger:
                row.ledger[item.key] = (replace(item), carriers[item.sequence])
            if step.placed is not None:
                place(row, step.placed)
            fresh = [q for q in step.quarantined if self.tables.quarantine(q)]
            for subject, how in step.closes.items():
                self.tables.close_subject(subject, Closed(how), self._clock.now())
            done = Activity(
                step.flow,
                captured=step.captured,
                unchanged=step.unchanged,
                messages=len(step.messages),
                records=sum(m.records for m in step.messages),
                quarantined=len(fresh),
            )
            self.tables.count(done, self._clock.now())

        return self._do(work)

    def known(self, flow: str, keys: Sequence[str]) -> Mapping[str, LedgerRow]:
        """See ports.CaptureLog."""
        with self._lock:
            row = self.tables.flows.get(flow)
            return {key: row.ledger[key][0] for key in keys if key in row.ledger} if row else {}

    def open_gap(self, flow: str, kind: str, text: str, details: Mapping[str, object]) -> Gap:
        """See ports.CaptureLog; emits GapOpened when it is a new one."""
        with self._lock:
            row = self._flow(flow)
            for gap in row.gaps:
                if gap.kind == kind and gap.details == details and gap.closed_at is None:
                    return gap
            gap = Gap(flow, len(row.gaps) + 1, kind, text, dict(details), self._clock.now())
            row.gaps.append(gap)
        self._events.emit(GapOpened(flow, gap.number, kind))
        return gap

    def pause(self, flow: str, reason: str) -> None:
        """See ports.CaptureLog."""
        with self._lock:
            self._flow(flow).paused = reason

    def room(self) -> bool:
        """See ports.CaptureLog."""
        return not self._full

    def flows(self) -> Sequence[FlowState]:
        """See ports.CaptureLog."""
        with self._lock:
            return [row.state(with_memory=False) for _, row in sorted(self.tables.flows.items())]

    # -- Outbox ------------------------------------------------------------------------------------------------------

    def pending(self, flow: str, after: int, limit: int) -> Sequence[OutboxEntry]:
        """See ports.Outbox. Messages of an earlier epoch wait for `rewrap` and are not among them."""
        with self._lock:
            row = self.tables.flows.get(flow)
            if row is None:
                return []
            waiting = self.tables.of(flow, State.PENDING)
            return [m.entry() for m in waiting if m.entry_id > after and m.about.epoch == row.epoch][:limit]

    def confirm(self, entry_ids: Sequence[int]) -> None:
        """See ports.Outbox."""
        with self._lock:
            for entry_id in entry_ids:
                message = self.tables.messages.get(entry_id)
                if message is not None and message.may(Trigger.CONFIRM):
                    message.move(Trigger.CONFIRM)
                    message.attempts += 1
                    message.confirmed_at = self._clock.now()

    def settle(self, receipts: Sequence[Receipt]) -> Future[Sequence[Settled]]:
        """See ports.Outbox."""
        return self._do(lambda: [self._settle(receipt) for receipt in receipts])

    def reopen(self, message_ids: Sequence[str]) -> Future[int]:
        """See ports.Outbox."""

        def work() -> int:
            moved = [m for m in self.tables.named(message_ids) if m.may(Trigger.MISSING)]
            for message in moved:
                message.move(Trigger.MISSING)
                message.confirmed_at = None
            return len(moved)

        return self._do(work)

    def enqueue(self, messages: Sequence[ExchangeMessage]) -> Future[None]:
        """See ports.Outbox."""

        def work() -> None:
            self.tables.check_controls(messages)
            self._insert(messages)

        return self._do(work)

    def purge(self, stored_before: datetime, known_before: datetime, limit: int) -> Future[int]:
        """See ports.Outbox."""

        def work() -> int:
            due = [
                m
                for m in self.tables.messages.values()
                if m.state in PURGEABLE and m.octets and m.settled_at is not None and m.settled_at < stored_before
            ]
            due.sort(key=lambda m: (m.settled_at or stored_before, m.entry_id))
            for message in due[:limit]:
                message.octets, message.purged_at = b"", self._clock.now()
            return len(due[:limit]) + self.tables.forget(known_before, limit)

        return self._do(work)

    def overdue(self, confirmed_before: datetime, limit: int) -> Sequence[OutboxEntry]:
        """See ports.Outbox."""
        with self._lock:
            late = [
                (m.confirmed_at, m.entry_id, m)
                for m in self.tables.messages.values()
                if m.state is State.CONFIRMED and m.confirmed_at is not None and m.confirmed_at < confirmed_before
            ]
            return [m.entry() for _, _, m in sorted(late, key=lambda each: each[:2])[:limit]]

    def depth(self) -> Sequence[Depth]:
        """See ports.Outbox."""
        with self._lock:
            return [self.tables.depth(flow) for flow in sorted(self.tables.flows)]

    # -- interventions -----------------------------------------------------------------------------------------------

    def discard(self, message_ids: Sequence[str], voids: Sequence[ExchangeMessage], by: Operator) -> Future[None]:
        """Give messages up for ever and enqueue the voids of their sequences. Conflict unless all are still unsettled."""

        def work() -> None:
            self.tables.check_controls(voids)
            named = self.tables.named(message_ids)
            if len(named) != len(set(message_ids)) or any(m.state not in UNSETTLED for m in named):
                raise Conflict(why="a message is unknown or has come to its end")
            self._insert(voids)
            for message in named:
                message.move(Trigger.DISCARD)
                message.closed_as, message.settled_at = Closed.DISCARDED, self._clock.now()
            self._note("discard", dict.fromkeys(message_ids), by)

        return self._do(work)

    def close_items(self, subjects: Sequence[str], how: Closed, by: Operator) -> Future[int]:
        """Mark quarantined items, refused records or dead messages as dealt with; returns how many were open."""

        def work() -> int:
            done = sum(self.tables.close_subject(subject, how, self._clock.now()) for subject in subjects)
            self._note("close", subjects, by)
            return done

        return self._do(work)

    def close_gap(self, flow: str, number: int, by: Operator) -> Future[bool]:
        """Mark a gap as dealt with; False when there is no such open gap."""

        def work() -> bool:
            gaps = self._flow(flow).gaps
            for index, gap in enumerate(gaps):
                if gap.number == number and gap.closed_at is None:
                    gaps[index] = replace(gap, closed_at=self._clock.now())
                    self._note("close-gap", [f"{flow} {number}"], by)
                    return True
            return False

        return self._do(work)

    def note(self, action: str, subject: str, by: Operator) -> Future[None]:
        """Keep what an operator did elsewhere (resend, pause …) for the auditor."""
        return self._do(lambda: self._note(action, [subject], by))

    def begin_epoch(self, epoch: str, by: Operator) -> Future[None]:
        """Start a new history after a restore: see SqliteStore.begin_epoch."""

        def work() -> None:
            if epoch == self.epoch:
                raise Conflict(why="the store is in this epoch already")
            self.epoch = epoch
            self._note("begin-epoch", [epoch], by)
            for _, row in sorted(self.tables.flows.items()):
                gap = self.tables.turn(row, epoch, self._clock.now())
                self._events.emit(GapOpened(gap.flow, gap.number, gap.kind))

        return self._do(work)

    def unsettled(self, flow: str, limit: int) -> Sequence[OutboxEntry]:
        """Return messages of earlier epochs that wait for `rewrap`, in order."""
        with self._lock:
            return [m.entry() for m in self.tables.left_behind(flow)[:limit]] if flow in self.tables.flows else []

    def rewrap(self, flow: str, pairs: Sequence[Rewrapped]) -> Future[None]:
        """Let messages of the new epoch take over the records of old ones: see SqliteStore.rewrap."""

        def work() -> None:
            row = self._existing(flow)
            waiting = self.tables.left_behind(flow)[: len(pairs)]
            if [m.about.message_id for m in waiting] != [old for old, _ in pairs] or not row.announced:
                raise Conflict(why="the epoch is not announced, or these are not the next messages to re-wrap")
            fresh = [message for _, message in pairs]
            end = self.tables.check_line(row, fresh, row.counters.next_sequence)
            self.tables.check_new(fresh)
            self._insert(fresh)
            row.counters = replace(row.counters, next_sequence=end)
            for old, message in zip(waiting, fresh, strict=True):
                old.move(Trigger.REWRAP)
                old.closed_as, old.settled_at = Closed.SUPERSEDED, self._clock.now()
                old.superseded_by = message.message_id
            row.rewrap = bool(self.tables.left_behind(flow))

        return self._do(work)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _flow(self, flow: str) -> FlowRow:
        return self.tables.flows.setdefault(flow, FlowRow(flow, self.epoch))

    def _existing(self, flow: str) -> FlowRow:
        if flow not in self.tables.flows:
            raise Conflict(why=f"flow {flow} was never opened")
        return self.tables.flows[flow]

    def _check(self, row: FlowRow, step: Append) -> None:
        if step.before != row.counters or step.epoch != row.epoch:
            raise Conflict(why=f"flow {row.flow} has moved on in the store")
        if row.rewrap:
            raise Conflict(why=f"flow {row.flow} has messages to re-wrap")
        end = self.tables.check_line(row, step.messages, step.before.next_sequence)
        if end != step.after.next_sequence or step.after.next_ordinal < step.before.next_ordinal:
            raise Conflict(why=f"the counters of flow {row.flow} do not fit the messages")
        if not {item.sequence for item in step.ledger} <= {m.sequence for m in step.messages}:
            raise Conflict(why=f"a ledger row of flow {row.flow} names a message that is not there")

    def _insert(self, messages: Sequence[ExchangeMessage]) -> dict[int, int]:
        for message in messages:
            self._flow(message.flow)
        return {m.sequence: self.tables.insert(m) for m in messages}

    def _note(self, action: str, subjects: Iterable[str], by: Operator) -> None:
        self.tables.note(self._clock.now(), action, subjects, by)

    def _settle(self, receipt: Receipt) -> Settled:
        found = self.tables.named([receipt.message_id])
        if not found:
            return Settled(receipt.message_id, Verdict.UNKNOWN)
        message, about = found[0], found[0].about
        verdict = self._judge(message, receipt)
        if verdict is Verdict.MOVED:
            now = self._clock.now()
            message.keep(receipt, now)
            self.tables.refuse(about.flow, about.message_id, receipt.refused, now)
            self.tables.count(Activity(about.flow, stored=receipt.stored, refused=len(receipt.refused)), now)
        return Settled(receipt.message_id, verdict, message.state, about.flow, about.records, about.created_at)

    def _judge(self, message: MessageRecord, receipt: Receipt) -> Verdict:
        about = message.about
        said = (receipt.sender, receipt.digest_alg, receipt.digest)
        same = said == (self.agent_id, about.digest_alg, about.digest)
        if not same or not names(receipt, about.flow, about.epoch, about.sequence):
            return Verdict.MISMATCH
        trigger = trigger_of(receipt)
        if trigger is None:
            return Verdict.HELD
        if not message.may(trigger):
            return Verdict.REPEAT
        message.move(trigger)
        return Verdict.MOVED
