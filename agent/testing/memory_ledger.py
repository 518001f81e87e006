"""What a comparison of a table asks the store in memory: `ports.KeyLedger`, and the placing of keys in chunks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

import msgspec

from agent.errors import HuitongError
from agent.model import LedgerRow, Placing, Receipt
from agent.model.handshake import Whereabouts
from agent.testing.memory_rows import FlowRow, MemoryTables

T = TypeVar("T")


class MemoryLedger:
    """Implements `ports.KeyLedger`, and how the store in memory makes changes; MemoryStore is the rest of it."""

    def __init__(self) -> None:
        self.tables = MemoryTables()
        self._lock = threading.RLock()
        self._failures: list[Exception] = []

    def fail_next(self, error: Exception) -> None:
        """Let the next change fail with `error`."""
        self._failures.append(error)

    def alive(self, flow: str) -> int:
        """See ports.KeyLedger."""
        with self._lock:
            row = self.tables.flows.get(flow)
            return sum(not item.deleted for item, _ in row.ledger.values()) if row else 0

    def unplaced(self, flow: str, before: int, after: str, limit: int) -> Sequence[str]:
        """See ports.KeyLedger."""
        with self._lock:
            return [key for key in self._unplaced(flow, before) if key > after][:limit]

    def count_unplaced(self, flow: str, before: int) -> int:
        """See ports.KeyLedger."""
        with self._lock:
            return len(self._unplaced(flow, before))

    def touched(self, flow: str, since: int) -> frozenset[int]:
        """See ports.KeyLedger."""
        with self._lock:
            row = self.tables.flows.get(flow)
            chunks = row.chunks.items() if row else ()
            return frozenset(chunk for key, chunk in chunks if row and not _is_older(row, key, since))

    def whereabouts(self, flow: str, keys: Sequence[str]) -> Mapping[str, Whereabouts]:
        """See ports.KeyLedger."""
        with self._lock:
            row = self.tables.flows.get(flow)
            return {key: self._whereabouts(*row.ledger[key]) for key in keys if key in row.ledger} if row else {}

    def unplace(self, flow: str) -> Future[None]:
        """See ports.KeyLedger."""

        def work() -> None:
            if flow in self.tables.flows:
                self.tables.flows[flow].chunks.clear()

        return self._do(work)

    def _whereabouts(self, row: LedgerRow, entry_id: int) -> Whereabouts:
        first = message = self.tables.messages.get(entry_id)
        while message is not None and message.superseded_by:
            heirs = self.tables.named([message.superseded_by])
            message = heirs[0] if heirs else None
        epoch = first.about.epoch if first is not None else ""
        if message is None:
            return Whereabouts(row.hash, row.ordinal, row.deleted, epoch, None)
        about = message.about
        refused = tuple(each.refused for each in self.tables.refusals if each.message_id == about.message_id)
        receipts = [msgspec.msgpack.decode(octets, type=Receipt).text for octets, _ in message.receipts.values()]
        said = receipts[-1] if receipts else ""
        return Whereabouts(row.hash, row.ordinal, row.deleted, epoch, message.state, message.code, said, refused)

    def _unplaced(self, flow: str, before: int) -> list[str]:
        row = self.tables.flows.get(flow)
        if row is None:
            return []
        found = (key for key, (item, _) in row.ledger.items() if not item.deleted and key not in row.chunks)
        return sorted(key for key in found if _is_older(row, key, before))

    def _do(self, work: Callable[[], T]) -> Future[T]:
        """Run one change. It checks everything before it touches anything, so it happens wholly or not at all."""
        future: Future[T] = Future()
        with self._lock:
            try:
                if self._failures:
                    raise self._failures.pop(0)
                future.set_result(work())
            except HuitongError as error:
                future.set_exception(error)
        return future


def place(row: FlowRow, placed: Placing) -> None:
    """Let a chunk hold those of its keys that the ledger knows, and of the keys that are not deleted no others."""
    keys = set(placed.keys)
    for key in [key for key, chunk in row.chunks.items() if chunk == placed.chunk and key not in keys]:
        if not row.ledger[key][0].deleted:
            del row.chunks[key]
    row.chunks.update((key, placed.chunk) for key in keys if key in row.ledger)


def _is_older(row: FlowRow, key: str, ordinal: int) -> bool:
    item, entry_id = row.ledger[key]
    return item.ordinal < ordinal or entry_id <= row.begun_after
