"""The one thread that writes: takes what is queued, commits it together, then tells everybody.

One transaction carries whatever has gathered while the one before was being synced (group commit), bounded by count and
bytes. Each piece of work runs in a savepoint of its own, so that one that fails does not harm its neighbours. Work that is
lazy waits a moment for company.

What a full disk does: the reserve is given up, the log is folded into the database so that its blocks can be used again,
and the pieces are tried one at a time, without those that grow the store. Any other failure of the disk ends the writer: no
transaction is retried after a failed sync, because the kernel may have dropped the pages and would report success.

Every statement releases the interpreter's lock and has to win it back, which costs up to a switch interval (5 ms by default)
while another thread computes. So work is written to take few statements, however many rows they move.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from agent.adapters.store import engine
from agent.adapters.store.disk import Disk
from agent.adapters.store.files import FileWatch
from agent.adapters.store.reads import free_inside
from agent.errors import Conflict, HuitongError, StoreError, StoreFull
from agent.failpoints import failpoint
from agent.i18n import N_

T = TypeVar("T")

Work = Callable[[sqlite3.Connection], T]
"""Statements against the writing connection. May run more than once, in a new transaction each time, until one commits."""

MAX_OPERATIONS: Final = 256
MAX_BYTES: Final = 4 << 20
QUEUE_BYTES: Final = 8 << 20
LINGER_SECS: Final = 0.5
IDLE_SECS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Operation:
    """A piece of work that waits for its transaction."""

    work: Work[Any]
    size_bytes: int
    grows: bool
    lazy: bool
    future: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Result:
    value: Any = None
    error: BaseException | None = None


class Writer:
    """Owns the writing connection from `start` to `close`."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._watch = FileWatch(path)
        self._connection = engine.open_writer(path)
        self._changed = threading.Condition()
        self._queue: deque[Operation] = deque()
        self._queued_bytes = 0
        self._eager = 0
        self._closing = False
        self._rested = True
        self._broken: StoreError | None = None
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._watch.check()
        self._thread.start()

    def submit(self, work: Work[T], *, size_bytes: int = 0, grows: bool = False, lazy: bool = False) -> Future[T]:
        """Queue a piece of work and return the future of its commit; futures resolve in the order of the calls.

        Waits while too much is queued. `grows` marks work that is refused with StoreFull below the low-water mark.
        """
        operation = Operation(work, size_bytes, grows, lazy)
        operation.future.set_running_or_notify_cancel()
        with self._changed:
            if threading.current_thread() is not self._thread:
                self._changed.wait_for(self._has_space)
            error = StoreError(N_("the store is closed")) if self._closing else self._broken
            if error is None:
                self._push(operation)
                return operation.future
        operation.future.set_exception(error)
        return operation.future

    def close(self) -> None:
        """Commit what is queued, fold the log into the database, close. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._connection.close()

    def _has_space(self) -> bool:
        return self._closing or (self._queued_bytes < QUEUE_BYTES and len(self._queue) < 2 * MAX_OPERATIONS)

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            if batch:
                self._rested = False
                self._commit(batch)
            else:
                self._rest()
        self._rest()

    def _take(self) -> list[Operation] | None:
        """Return what goes into the next transaction; empty when there was nothing for a while, None at the end."""
        with self._changed:
            if not self._queue and not self._closing:
                self._changed.wait_for(lambda: bool(self._queue) or self._closing, None if self._rested else IDLE_SECS)
            if self._queue and not self._eager:
                self._changed.wait_for(self._is_due, LINGER_SECS)
            if not self._queue:
                return None if self._closing else []
            batch = [self._pop()]
            size = batch[0].size_bytes
            while self._queue and len(batch) < MAX_OPERATIONS and size + self._queue[0].size_bytes <= MAX_BYTES:
                batch.append(self._pop())
                size += batch[-1].size_bytes
            self._changed.notify_all()
            return batch

    def _is_due(self) -> bool:
        return self._eager > 0 or self._closing or len(self._queue) >= MAX_OPERATIONS

    def _push(self, operation: Operation) -> None:
        self._queue.append(operation)
        self._queued_bytes += operation.size_bytes
        self._eager += not operation.lazy
        self._changed.notify_all()

    def _pop(self) -> Operation:
        operation = self._queue.popleft()
        self._queued_bytes -= operation.size_bytes
        self._eager -= not operation.lazy
        return operation

    # -- transactions ------------------------------------------------------------------------------------------------

    def _commit(self, batch: Sequence[Operation]) -> None:
        if self._broken is None:
            try:
                self._transact(batch)
            except StoreFull:
                self._commit_when_full(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever or be told a commit
                self._break(error)
            else:
                return
        for operation in batch:
            if not operation.future.done():
                operation.future.set_exception(self._broken or StoreError())

    def _commit_when_full(self, batch: Sequence[Operation]) -> None:
        try:
            self._disk.give_up_reserve()
            self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        except engine.driver().Error as error:
            if not engine.is_full(error):
                self._break(engine.translate(error, self._path))
        for operation in batch:
            if self._broken is None:
                self._commit_singly(operation)

    def _commit_singly(self, operation: Operation) -> None:
        if operation.grows:
            error = StoreFull(path=self._path, free_bytes=self._disk.free_bytes(), mark_bytes=self._disk.mark_bytes)
            operation.future.set_exception(error)
            return
        try:
            self._transact([operation])
        except StoreFull as error:
            operation.future.set_exception(error)
        except HuitongError as error:
            self._break(error)

    def _transact(self, batch: Sequence[Operation]) -> None:
        """Run a batch in one transaction and resolve its futures. Raises StoreFull or StoreError: then nothing happened."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [self._attempt(operation, alone=len(batch) == 1) for operation in batch]
            self._watch.check()
            connection.execute("COMMIT")
        except (HuitongError, engine.driver().Error) as error:
            self._roll_back()
            raise error if isinstance(error, HuitongError) else engine.translate(error, self._path) from error
        failpoint("C03")
        for operation, result in zip(batch, results, strict=True):
            if result.error is None:
                operation.future.set_result(result.value)
            else:
                operation.future.set_exception(result.error)

    def _attempt(self, operation: Operation, *, alone: bool) -> _Result:
        """Run one piece of work and undo it if it failed; its neighbours in the transaction never notice."""
        connection = self._connection
        if not alone:
            connection.execute("SAVEPOINT piece")
        result = self._run_piece(operation)
        if result.error is not None:
            connection.execute("ROLLBACK" if alone else "ROLLBACK TO piece")
            if alone:
                connection.execute("BEGIN IMMEDIATE")
        if not alone:
            connection.execute("RELEASE piece")
        return result

    def _run_piece(self, operation: Operation) -> _Result:
        """Run work; what is wrong with it alone is its result, what is wrong with the disk is raised."""
        try:
            if operation.grows:
                self._disk.require_room(lambda: free_inside(self._connection))
            return _Result(operation.work(self._connection))
        except engine.driver().Error as error:
            if engine.code_of(error) not in engine.FAULTS_OF_ONE:
                raise
            return _Result(error=_conflict(error))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one piece is told to who asked for it
            return _Result(error=error)

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except engine.driver().Error as error:
            self._break(engine.translate(error, self._path))

    def _break(self, error: Exception) -> None:
        broken = error if isinstance(error, StoreError) else StoreError(why=str(error))
        with self._changed:
            self._broken = self._broken or broken

    def _rest(self) -> None:
        """Nothing to do for a while: fold the log into the database and give its space back, unless a reader is in the way."""
        self._rested = True
        if self._broken is not None:
            return
        try:
            _, logged, folded = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if logged == folded:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except engine.driver().Error as error:
            if not engine.is_full(error):
                self._break(engine.translate(error, self._path))


def _conflict(error: Exception) -> Conflict:
    conflict = Conflict(N_("the store holds this already, or something it belongs to is missing: {why}"), why=str(error))
    conflict.__cause__ = error
    return conflict
