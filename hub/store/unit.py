"""One transaction of ingest, in SQLAlchemy Core; only the bulk inserts are the dialect's own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Select, and_, func, insert, select, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from agent.model import Outcome
from hub.audit import Head
from hub.errors import LeaseLost
from hub.model import Changes, EpochState, FlowState, Quarantine, Seen
from hub.sequence import Closed, read_ranges, write_ranges
from hub.store import schema as t
from hub.store.dialect import Dialect
from hub.store.store import Fences, FlowName

QUARANTINE_SHARE_BYTES: Final = 1 << 30
"""Octets kept of one department's refused messages. Beyond it only the facts are kept: no sender can fill the disk."""


class SqlUnit:
    """IngestUnit on an open transaction."""

    def __init__(self, connection: Connection, dialect: Dialect, fences: Fences) -> None:
        self._connection = connection
        self._dialect = dialect
        self._fences = fences
        self.lazy = False

    def lock_heads(self, departments: Collection[str]) -> Mapping[str, Head]:
        """Lock audit chains; with leases, make sure first that they are still ours and stay so until the commit."""
        if any(self._fences.values()):
            self._check_fences(departments)
        query = select(t.audit_head).where(t.audit_head.c.department.in_(departments)).order_by(t.audit_head.c.department)
        return {row.department: Head(row.sequence, row.hash) for row in self._locked(query)}

    def lock_flows(self, names: Collection[FlowName]) -> dict[FlowName, FlowState]:
        """Lock flows in the order of their ids and read their epochs."""
        return {name: flow for some in _portions(names) for name, flow in self._lock_some(some).items()}

    def _lock_some(self, names: Collection[FlowName]) -> dict[FlowName, FlowState]:
        found = select(t.flow).where(_one_of(t.flow.c.sender, t.flow.c.flow, names)).order_by(t.flow.c.id)
        flows = {row.id: FlowState(row.id, row.sender, row.flow) for row in self._locked(found)}
        for row in self._connection.execute(select(t.epoch).where(t.epoch.c.flow_id.in_(list(flows)))):
            flows[row.flow_id].epochs[row.epoch] = EpochState(
                epoch=row.epoch,
                ordinal=row.ordinal,
                previous=row.previous,
                closed=Closed(row.high_water, read_ranges(row.ahead)),
                frozen=row.frozen,
            )
        return {(flow.sender, flow.flow): flow for flow in flows.values()}

    def open_flow(self, name: FlowName, at: datetime) -> FlowState:
        """Create a flow without epochs."""
        sender, flow = name
        counts = dict.fromkeys(("messages", "records", "duplicates", "repeats"), 0)
        row = insert(t.flow).values(sender=sender, flow=flow, opened_at=at, **counts).returning(t.flow.c.id)
        return FlowState(self._connection.execute(row).scalar_one(), sender, flow)

    def seen(self, messages: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Seen]:
        """Look up message ids."""
        m = t.message.c
        columns = select(m.sender, m.message_id, m.digest, m.outcome, m.code)
        return {
            (row.sender, row.message_id): Seen(row.message_id, row.digest, Outcome(row.outcome), row.code)
            for some in _portions(messages)
            for row in self._connection.execute(columns.where(_one_of(m.sender, m.message_id, some)))
        }

    def occupied(self, flow_id: int, epoch_ordinal: int, sequence: int) -> bool:
        """Look for a message with this place."""
        m = t.message.c
        here = (m.flow_id == flow_id, m.epoch_ordinal == epoch_ordinal, m.sequence == sequence)
        return self._connection.scalar(select(m.message_id).where(*here)) is not None

    def stored_ids(self, flow_id: int, ids: Sequence[str]) -> frozenset[str]:
        """Look up record ids of a flow."""
        r = t.record.c
        mine = select(r.record_id).where(r.flow_id == flow_id)
        return frozenset(
            one for some in _portions(ids) for one in self._connection.execute(mine.where(r.record_id.in_(some))).scalars()
        )

    def commit_lazily(self) -> None:
        """Let the commit return early."""
        self._dialect.commit_lazily(self._connection)
        self.lazy = True

    def write(self, flows: Iterable[FlowState], changes: Changes, at: datetime) -> None:
        """Write everything."""
        if changes.records:
            self._dialect.insert_records(self._connection, changes.records)
        if changes.messages:
            self._dialect.insert_messages(self._connection, changes.messages)
        self._insert(t.receipt, [asdict(post) for post in changes.posts])
        self._insert(t.audit, [asdict(link) for link in changes.links])
        for department, head in changes.heads.items():
            self._connection.execute(
                update(t.audit_head).where(t.audit_head.c.department == department).values(sequence=head.sequence, hash=head.hash)
            )
        for flow in flows:
            self._write_flow(flow, at)
        for department, about in changes.repost:
            self._repost(department, about)
        for refused in changes.quarantined:
            self._quarantine(refused)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _locked(self, query: Select[Any]) -> Sequence[Any]:
        return self._connection.execute(query.with_for_update()).all()

    def _check_fences(self, departments: Collection[str]) -> None:
        """Hold the leases FOR SHARE: they cannot change hands before our commit, nor can we write after they have."""
        query = select(t.lease.c.department, t.lease.c.fence).where(t.lease.c.department.in_(departments))
        query = query.order_by(t.lease.c.department).with_for_update(read=True)
        current = {row.department: row.fence for row in self._connection.execute(query)}
        lost = sorted(code for code in departments if current.get(code) != self._fences.get(code))
        if lost:
            raise LeaseLost(departments=", ".join(lost))

    def _insert(self, table: Any, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(insert(table), rows)

    def _write_flow(self, flow: FlowState, at: datetime) -> None:
        f = t.flow.c
        added = {name: getattr(flow, name) for name in ("messages", "records", "duplicates", "repeats")}
        if any(added.values()):
            values: dict[str, Any] = {name: f[name] + count for name, count in added.items() if count}
            if flow.messages:
                values["stored_at"] = at
            self._connection.execute(update(t.flow).where(f.id == flow.flow_id).values(values))
        for epoch in flow.epochs.values():
            if epoch.changed:
                self._write_epoch(flow.flow_id, epoch, at)

    def _write_epoch(self, flow_id: int, epoch: EpochState, at: datetime) -> None:
        state = {
            "high_water": epoch.closed.high_water,
            "ahead": write_ranges(epoch.closed.ahead),
            "frozen": epoch.frozen,
        }
        e = t.epoch.c
        known = update(t.epoch).where(e.flow_id == flow_id, e.ordinal == epoch.ordinal).values(state)
        if self._connection.execute(known).rowcount == 0:
            names = {"flow_id": flow_id, "ordinal": epoch.ordinal, "epoch": epoch.epoch, "previous": epoch.previous}
            self._connection.execute(insert(t.epoch).values(**names, **state, opened_at=at))

    def _repost(self, department: str, about: str) -> None:
        r = t.receipt.c
        mine = and_(r.department == department, r.about == about, r.kind == "receipt")
        self._connection.execute(update(t.receipt).where(mine).values(published_at=None))

    def _quarantine(self, refused: Quarantine) -> None:
        q = t.quarantine.c
        same = and_(
            q.department == refused.department,
            q.message_id == refused.message_id,
            q.digest == refused.digest,
            q.code == refused.code,
        )
        again = update(t.quarantine).where(same).values(times=q.times + 1, last_at=refused.at)
        if self._connection.execute(again).rowcount == 0:
            row = asdict(refused)
            at = row.pop("at")
            if self._quarantine_used(refused.department) + refused.size_bytes > QUARANTINE_SHARE_BYTES:
                row["raw"] = None
            self._connection.execute(insert(t.quarantine).values(**row, times=1, first_at=at, last_at=at))

    def _quarantine_used(self, department: str) -> int:
        q = t.quarantine.c
        used = select(func.coalesce(func.sum(q.size_bytes), 0)).where(q.department == department, q.raw.is_not(None))
        return int(self._connection.scalar(used) or 0)


_T = TypeVar("_T")

PORTION: Final = 5_000
"""Values looked up by one statement: every database takes so many, whatever a sender asks about."""


def _portions(values: Collection[_T]) -> Iterator[list[_T]]:
    listed = list(values)
    yield from (listed[start : start + PORTION] for start in range(0, len(listed), PORTION))


def _one_of(first: ColumnElement[str], second: ColumnElement[str], pairs: Collection[tuple[str, str]]) -> ColumnElement[bool]:
    return tuple_(first, second).in_(list(pairs))
