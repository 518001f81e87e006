"""What operators ask, answered from a MemoryStore: the same questions and answers as `StoreReader`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec
import orjson

from agent.model import Depth, FlowState, Gap, LedgerRow, OutboxEntry, Receipt, State
from agent.queries import (
    Action,
    Activity,
    Cause,
    CauseKind,
    Item,
    MessageQuery,
    MessageRow,
    ReceiptRow,
    Refusal,
    Trace,
)
from agent.testing.memory_rows import MemoryTables, MessageRecord
from agent.testing.memory_store import MemoryStore

T = TypeVar("T")


class MemoryReader:
    """Answers from a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    @property
    def _tables(self) -> MemoryTables:
        return self._store.tables

    def close(self) -> None:
        """Let go: nothing to do here."""

    def identity(self) -> tuple[str, str]:
        """Return (agent id, epoch)."""
        return self._store.agent_id, self._store.epoch

    def flows(self) -> Sequence[FlowState]:
        """Return every flow, by name, without its memory."""
        return self._store.flows()

    def facts(self, name: str) -> Mapping[str, str]:
        """Return one fact from the memory of each flow that remembers it, by flow."""
        flows = self._store.tables.flows.values()
        return {row.flow: row.memory[name] for row in flows if name in row.memory}

    def depth(self) -> Sequence[Depth]:
        """Return how much of every flow is in which state."""
        return self._store.depth()

    def activity(self, since: datetime, until: datetime) -> Sequence[Activity]:
        """Return what each flow did in the whole hours that begin from `since` on and before `until`."""
        sums: dict[str, Counter[str]] = {}
        for (flow, hour), counts in self._tables.activity.items():
            if since <= hour < until:
                sums.setdefault(flow, Counter()).update(counts)
        return [Activity(flow, **counts) for flow, counts in sorted(sums.items())]

    def last_receipt(self) -> datetime | None:
        """Return when a receipt last settled something."""
        return max((at for m in self._tables.messages.values() for _, at in m.receipts.values()), default=None)

    def check(self) -> Sequence[str]:
        """Return what is damaged: memory is not."""
        return []

    def find(self, query: MessageQuery) -> Sequence[MessageRow]:
        """Return messages, newest first."""
        by_time = query.since is not None or query.until is not None

        def place(message: MessageRecord) -> tuple[bool | datetime, int]:
            return (by_time and message.about.created_at, message.entry_id)

        found = sorted((m for m in self._tables.messages.values() if self._wanted(m, query)), key=place, reverse=True)
        if query.before is not None:
            last = place(self._tables.messages[query.before])
            found = [m for m in found if place(m) < last]
        return [_row(m) for m in found[: query.limit]]

    def entry(self, message_id: str) -> OutboxEntry | None:
        """Return a message with its body; None when it is unknown or purged."""
        found = self._tables.named([message_id])
        return found[0].entry() if found and found[0].octets else None

    def trace(self, message_id: str) -> Trace | None:
        """Return everything known of one message; None when it is unknown."""
        found = self._tables.named([message_id])
        if not found:
            return None
        refusals = [r for r in self._tables.refusals if r.message_id == message_id]
        before = [m.about.message_id for m in self._tables.messages.values() if m.superseded_by == message_id]
        receipts = sorted((_receipt(*kept) for kept in found[0].receipts.values()), key=lambda r: (r.settled_at, r.stage))
        return Trace(_row(found[0]), receipts, refusals, before)

    def carried(self, message_id: str) -> Sequence[LedgerRow]:
        """Return the keys whose last version this message carries, in the order of their ordinals."""
        found = self._tables.named([message_id])
        if not found:
            return []
        standing, ids = {found[0].entry_id}, {message_id}
        for message in reversed(self._tables.messages.values()):
            if message.superseded_by in ids:
                standing.add(message.entry_id)
                ids.add(message.about.message_id)
        ledger = self._tables.flows[found[0].about.flow].ledger.values()
        return sorted((row for row, entry in ledger if entry in standing), key=lambda row: row.ordinal)

    def causes(self) -> Sequence[Cause]:
        """Return open dead letters grouped by what is wrong with them, most frequent first."""
        groups: dict[tuple[CauseKind, str, str, str], list[datetime]] = {}
        for kind, flow, code, field, at in self._open():
            groups.setdefault((kind, flow, code, field), []).append(at)
        causes = [Cause(*group, len(times), min(times), max(times)) for group, times in groups.items()]
        return sorted(causes, key=lambda cause: (-cause.count, cause.flow, cause.kind, cause.code, cause.field))

    def items(
        self, flow_name: str = "", reason: str = "", *, closed: bool = False, after: int = 0, limit: int = 50
    ) -> Sequence[Item]:
        """Return quarantined input, oldest first: what is still open, or everything with `closed`."""

        def wanted(item: Item) -> bool:
            named = flow_name in ("", item.input.flow) and reason in ("", item.input.reason)
            return named and item.number > after and (closed or item.closed_as is None)

        return _some(self._tables.items.values(), wanted, limit)

    def item(self, item_id: str) -> Item | None:
        """Return one quarantined input; None when it is unknown."""
        return self._tables.items.get(item_id)

    def refusals(
        self, flow_name: str = "", code: str = "", *, closed: bool = False, after: int = 0, limit: int = 50
    ) -> Sequence[Refusal]:
        """Return records the hub refused, oldest first: what is still open, or everything with `closed`."""

        def wanted(refusal: Refusal) -> bool:
            named = flow_name in ("", refusal.flow) and code in ("", refusal.refused.code)
            return named and refusal.number > after and (closed or refusal.closed_as is None)

        return _some(self._tables.refusals, wanted, limit)

    def refused(self, record: str) -> Sequence[Refusal]:
        """Return every refusal of one record, by its id, oldest first."""
        return [refusal for refusal in self._tables.refusals if refusal.refused.record == record]

    def gaps(self, flow_name: str = "", *, closed: bool = False) -> Sequence[Gap]:
        """Return the gaps, by flow and number: what is still open, or all with `closed`."""
        every = [gap for _, row in sorted(self._tables.flows.items()) for gap in row.gaps]
        return [g for g in every if flow_name in ("", g.flow) and (closed or g.closed_at is None)]

    def actions(self, before: int | None = None, limit: int = 50) -> Sequence[Action]:
        """Return what operators did, newest first; `before` is the last action_id of the page before."""
        return _some(reversed(self._tables.actions), lambda a: before is None or a.action_id < before, limit)

    def _wanted(self, message: MessageRecord, query: MessageQuery) -> bool:
        about = message.about
        return (
            query.flow in ("", about.flow)
            and query.message_id in ("", about.message_id)
            and query.code in ("", message.code)
            and query.state in (None, message.state)
            and (not query.key or message.entry_id in self._carriers(query.key))
            and (query.since is None or about.created_at >= query.since)
            and (query.until is None or about.created_at < query.until)
        )

    def _carriers(self, key: str) -> set[int]:
        texts = {key, *(orjson.dumps([[letter, key]]).decode() for letter in "sin")}
        return {row.ledger[text][1] for row in self._tables.flows.values() for text in texts if text in row.ledger}

    def _open(self) -> Iterator[tuple[CauseKind, str, str, str, datetime]]:
        for m in self._tables.messages.values():
            if m.state is State.DEAD and m.closed_as is None and m.settled_at is not None:
                yield CauseKind.MESSAGE, m.about.flow, m.code, "", m.settled_at
        for r in self._tables.refusals:
            if r.closed_as is None:
                yield CauseKind.RECORD, r.flow, r.refused.code, r.refused.field, r.refused_at
        for i in self._tables.items.values():
            if i.closed_as is None:
                yield CauseKind.INPUT, i.input.flow, i.input.reason, i.input.field, i.input.observed_at


def _some(rows: Iterable[T], wanted: Callable[[T], bool], limit: int) -> list[T]:
    return [row for row in rows if wanted(row)][:limit]


def _row(message: MessageRecord) -> MessageRow:
    about = message.about
    return MessageRow(
        entry_id=message.entry_id,
        message_id=about.message_id,
        kind=about.kind,
        type=about.type,
        flow=about.flow,
        epoch=about.epoch,
        sequence=about.sequence,
        records=about.records,
        size_bytes=message.size_bytes,
        digest_alg=about.digest_alg,
        digest=about.digest,
        kid=about.kid,
        state=message.state,
        code=message.code,
        closed_as=message.closed_as,
        attempts=message.attempts,
        created_at=about.created_at,
        confirmed_at=message.confirmed_at,
        settled_at=message.settled_at,
        purged_at=message.purged_at,
        superseded_by=message.superseded_by,
    )


def _receipt(octets: bytes, settled_at: datetime) -> ReceiptRow:
    r = msgspec.msgpack.decode(octets, type=Receipt)
    return ReceiptRow(
        outcome=str(r.outcome),
        stage=r.stage,
        code=r.code,
        text=r.text,
        hub=r.hub,
        kid=r.kid,
        received_at=r.received_at,
        committed_at=r.committed_at,
        settled_at=settled_at,
        audit_sequence=r.audit_sequence,
        audit_hash=r.audit_hash,
        body=r.body,
        jws=r.jws,
    )
