"""The agent's durable store on SQLite."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Final, Self, TypeVar

from agent.adapters.store import append, operators, reads, schema, settle
from agent.adapters.store import statements as sql
from agent.adapters.store.disk import Disk
from agent.adapters.store.lock import InstanceLock
from agent.adapters.store.rows import flow_of
from agent.adapters.store.writer import Work, Writer
from agent.errors import Denied, SettingsError
from agent.events import Events, GapOpened
from agent.i18n import N_
from agent.model import (
    Append,
    Depth,
    ExchangeMessage,
    FlowState,
    Gap,
    LedgerRow,
    OutboxEntry,
    Receipt,
    Settled,
)
from agent.model.handshake import Whereabouts
from agent.ports import Clock
from agent.queries import Closed, Operator, Rewrapped

T = TypeVar("T")

LOW_WATER_BYTES: Final = 512 << 20


class SqliteStore:
    """Implements `ports.CaptureLog`, `ports.KeyLedger`, `ports.Outbox` and the interventions of operators.

    Callable from any thread.

    What changes something returns a future that resolves after its commit, in the order of the calls, or waits for it where
    the port says so. An error of the disk other than "full" is final: every later change fails with the same StoreError and
    the process has to start again.
    """

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        agent_id: str,
        clock: Clock,
        events: Events,
        random_bytes: Callable[[int], bytes] = os.urandom,
        low_water_bytes: int = LOW_WATER_BYTES,
    ) -> Self:
        """Take the instance lock, bring the schema up to date and start the writer.

        Raises Busy when another process holds the lock, SettingsError when the store belongs to another agent, StoreError
        when the file cannot be used, Denied.
        """
        lock = InstanceLock(_prepared(path))
        lock.acquire()
        try:
            disk = Disk(path, low_water_bytes, clock, events)
            disk.prepare_to_open()
            _create(path)
            schema.bring_up(path)
            return cls(path, agent_id, lock, disk, clock, events, random_bytes)
        except BaseException:
            lock.release()
            raise

    def __init__(
        self,
        path: Path,
        agent_id: str,
        lock: InstanceLock,
        disk: Disk,
        clock: Clock,
        events: Events,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.path = path
        self.agent_id = agent_id
        self.instance = random_bytes(16).hex()
        self._lock = lock
        self._clock = clock
        self._events = events
        self._disk = disk
        self._readers = reads.Readers(path)
        self._writer = Writer(path, self._disk)
        self._writer.start()
        try:
            self._epoch = self._do(functools.partial(_identify, agent_id=agent_id, epoch=random_bytes(16).hex())).result()
        except BaseException:
            self.close()
            raise

    @property
    def epoch(self) -> str:
        """The epoch new flows start in."""
        return self._epoch

    def close(self) -> None:
        """Commit what was handed over, then let go of everything. Idempotent."""
        self._readers.close()
        self._writer.close()
        self._lock.release()

    def flush(self) -> None:
        """Wait until everything handed over so far, lazy or not, is committed. Raises StoreError."""
        self._do(lambda _: None).result()

    # -- CaptureLog --------------------------------------------------------------------------------------------------

    def open_flow(self, flow: str) -> FlowState:
        """See ports.CaptureLog."""
        return self._do(lambda db: _open_flow(db, flow)).result()

    def announce(self, flow: str, message: ExchangeMessage) -> Future[None]:
        """See ports.CaptureLog. Raises Conflict (through the future) when it is not of the flow's current epoch."""
        return self._do(lambda db: append.announce(db, flow, message), size_bytes=len(message.body))

    def append(self, step: Append) -> Future[None]:
        """See ports.CaptureLog. A new incarnation starts its first load anew: `loaded` holds for one incarnation."""
        size = sum(len(message.body) for message in step.messages) + sum(len(item.raw) for item in step.quarantined)
        grows = bool(step.messages or step.quarantined or step.placed)
        return self._do(lambda db: append.append(db, step, self._clock.now()), size_bytes=size, grows=grows)

    def known(self, flow: str, keys: Sequence[str]) -> Mapping[str, LedgerRow]:
        """See ports.CaptureLog."""
        with self._readers.lend() as db:
            return reads.known(db, flow, keys)

    def open_gap(self, flow: str, kind: str, text: str, details: Mapping[str, object]) -> Gap:
        """See ports.CaptureLog; emits GapOpened when it is a new one."""
        gap, new = self._do(lambda db: operators.open_gap(db, flow, kind, text, details, self._clock.now())).result()
        if new:
            self._events.emit(GapOpened(flow, gap.number, kind))
        return gap

    def pause(self, flow: str, reason: str) -> None:
        """See ports.CaptureLog."""
        self._do(lambda db: operators.pause(db, flow, reason)).result()

    def room(self) -> bool:
        """See ports.CaptureLog."""
        with self._readers.lend() as db:
            return self._disk.has_room(lambda: reads.free_inside(db))

    def flows(self) -> Sequence[FlowState]:
        """See ports.CaptureLog."""
        with self._readers.lend() as db:
            return reads.flows(db)

    # -- KeyLedger ---------------------------------------------------------------------------------------------------

    def alive(self, flow: str) -> int:
        """See ports.KeyLedger."""
        with self._readers.lend() as db:
            return reads.count(db, sql.ALIVE, flow=flow)

    def unplaced(self, flow: str, before: int, after: str, limit: int) -> Sequence[str]:
        """See ports.KeyLedger."""
        with self._readers.lend() as db:
            return reads.unplaced(db, flow, before, after, limit)

    def count_unplaced(self, flow: str, before: int) -> int:
        """See ports.KeyLedger."""
        with self._readers.lend() as db:
            return reads.count(db, sql.COUNT_UNPLACED, flow=flow, before=before)

    def touched(self, flow: str, since: int) -> frozenset[int]:
        """See ports.KeyLedger."""
        with self._readers.lend() as db:
            return reads.touched(db, flow, since)

    def whereabouts(self, flow: str, keys: Sequence[str]) -> Mapping[str, Whereabouts]:
        """See ports.KeyLedger."""
        with self._readers.lend() as db:
            return reads.whereabouts(db, flow, keys)

    def unplace(self, flow: str) -> Future[None]:
        """See ports.KeyLedger."""
        return self._do(lambda db: operators.unplace(db, flow))

    # -- Outbox ------------------------------------------------------------------------------------------------------

    def pending(self, flow: str, after: int, limit: int) -> Sequence[OutboxEntry]:
        """See ports.Outbox. Messages of an earlier epoch wait for `rewrap` and are not among them.

        Raises StoreError when a body is damaged.
        """
        with self._readers.lend() as db:
            return reads.entries(db, sql.PENDING, {"flow": flow, "after": after, "limit": limit})

    def confirm(self, entry_ids: Sequence[int]) -> None:
        """See ports.Outbox. Raises StoreError when the store has failed."""
        future = self._do(lambda db: settle.confirm(db, entry_ids, self._clock.now()), lazy=True)
        if future.done():
            future.result()

    def settle(self, receipts: Sequence[Receipt]) -> Future[Sequence[Settled]]:
        """See ports.Outbox."""
        return self._do(lambda db: settle.settle(db, receipts, self.agent_id, self._clock.now()))

    def reopen(self, message_ids: Sequence[str]) -> Future[int]:
        """See ports.Outbox."""
        return self._do(lambda db: settle.reopen(db, message_ids))

    def enqueue(self, messages: Sequence[ExchangeMessage]) -> Future[None]:
        """See ports.Outbox. Raises Conflict (through the future) for a message that takes a sequence."""
        return self._do(lambda db: append.enqueue(db, messages), size_bytes=sum(len(m.body) for m in messages))

    def purge(self, stored_before: datetime, known_before: datetime, limit: int) -> Future[int]:
        """See ports.Outbox. One transaction: keep `limit` to some hundreds and call again while it returns as many."""

        def work(db: sqlite3.Connection) -> int:
            return settle.purge(db, stored_before, limit, self._clock.now()) + settle.forget(db, known_before, limit)

        return self._do(work)

    def overdue(self, confirmed_before: datetime, limit: int) -> Sequence[OutboxEntry]:
        """See ports.Outbox."""
        with self._readers.lend() as db:
            return reads.overdue(db, confirmed_before, limit)

    def depth(self) -> Sequence[Depth]:
        """See ports.Outbox."""
        with self._readers.lend() as db:
            return reads.depth(db)

    # -- interventions -----------------------------------------------------------------------------------------------

    def discard(self, message_ids: Sequence[str], voids: Sequence[ExchangeMessage], by: Operator) -> Future[None]:
        """Give messages up for ever and enqueue the voids of their sequences, in one transaction.

        Raises Conflict (through the future) unless all of them are still unsettled.
        """
        return self._do(lambda db: operators.discard(db, message_ids, voids, by, self._clock.now()))

    def close_items(self, subjects: Sequence[str], how: Closed, by: Operator) -> Future[int]:
        """Mark quarantined items, refused records or dead messages as dealt with; returns how many were open."""
        return self._do(lambda db: operators.close_items(db, subjects, how, by, self._clock.now()))

    def close_gap(self, flow: str, number: int, by: Operator) -> Future[bool]:
        """Mark a gap as dealt with; False when there is no such open gap."""
        return self._do(lambda db: operators.close_gap(db, flow, number, by, self._clock.now()))

    def note(self, action: str, subject: str, by: Operator) -> Future[None]:
        """Keep what an operator did elsewhere (resend, pause …) for the auditor."""
        return self._do(lambda db: operators.note(db, action, [subject], by, self._clock.now()))

    def begin_epoch(self, epoch: str, by: Operator) -> Future[None]:
        """Start a new history, after the store was put back from a copy; in one transaction.

        Every flow goes to `epoch`, unannounced, with both counters at 1, and gets a numbered gap `store_restored` that holds
        where the old epoch had got to. Control messages about the old epoch die. Record messages without a final receipt are
        put back in line, but leave under the new epoch only: `unsettled` lists them, `rewrap` replaces them, and until that
        is done the flow takes no append, so that what was captured first stays first. Emits GapOpened for each flow.
        """

        def work(db: sqlite3.Connection) -> list[Gap]:
            return operators.begin_epoch(db, epoch, by, self._clock.now())

        def tell(gaps: list[Gap]) -> None:
            self._epoch = epoch
            for gap in gaps:
                self._events.emit(GapOpened(gap.flow, gap.number, gap.kind))

        return _then(self._do(work), tell)

    def unsettled(self, flow: str, limit: int) -> Sequence[OutboxEntry]:
        """Return messages of earlier epochs that wait for `rewrap`, in order; none means that there are none."""
        with self._readers.lend() as db:
            return reads.entries(db, sql.LEFT_BEHIND, {"flow": flow, "limit": limit})

    def rewrap(self, flow: str, pairs: Sequence[Rewrapped]) -> Future[None]:
        """Let messages of the new epoch carry the records of old ones, in one transaction.

        The old ids must be the next of `unsettled`, the new messages the next sequences of the flow, and the epoch must be
        announced; else Conflict. Called without pairs it notes that a receipt has settled what was left.
        """
        return self._do(lambda db: operators.rewrap(db, flow, pairs, self._clock.now()))

    def _do(self, work: Work[T], *, size_bytes: int = 0, grows: bool = False, lazy: bool = False) -> Future[T]:
        return self._writer.submit(work, size_bytes=size_bytes, grows=grows, lazy=lazy)


def _prepared(path: Path) -> Path:
    """Make the folder of the store, readable by its owner only, and return it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except PermissionError as error:
        raise Denied(path=path.parent) from error
    return path.parent


def _create(path: Path) -> None:
    """Create the file of a new store readable by its owner only; SQLite gives its log the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
    except PermissionError as error:
        raise Denied(path=path) from error


def _identify(db: sqlite3.Connection, *, agent_id: str, epoch: str) -> str:
    """Give a new store its owner and epoch; return the epoch of the store. Raises SettingsError for another's store."""
    owner = sql.one(db, sql.GET_META, ("agent_id",))
    if owner is None:
        db.execute(sql.PUT_META, ("agent_id", agent_id))
        db.execute(sql.PUT_META, ("epoch", epoch))
        return epoch
    if owner != (agent_id,):
        raise SettingsError(
            N_("this store belongs to agent {owner}, not to {agent}"),
            hint=N_("set agent.id back, or give this agent a state folder of its own"),
            owner=owner[0],
            agent=agent_id,
        )
    return str(sql.one(db, sql.GET_META, ("epoch",))[0])


def _open_flow(db: sqlite3.Connection, flow: str) -> FlowState:
    db.execute(sql.ADD_FLOW, (flow,))
    row = sql.one(db, sql.FLOW, (flow,))
    return flow_of(row, dict(db.execute(sql.MEMORY, (flow,)).fetchall()))


def _then(future: Future[T], tell: Callable[[T], None]) -> Future[None]:
    """Return a future that is done when `future` is and `tell` has heard its result."""
    done: Future[None] = Future()

    def finish(finished: Future[T]) -> None:
        error = finished.exception()
        if error is not None:
            done.set_exception(error)
            return
        tell(finished.result())
        done.set_result(None)

    future.add_done_callback(finish)
    return done
