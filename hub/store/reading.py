"""What people ask of the store: status, one message, one key, quarantine. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ScalarSelect, Select, func, select, text

from agent.errors import NotFound
from agent.i18n import N_
from agent.wire.signature import PublicKey
from hub.audit import Link
from hub.maintenance import Hole
from hub.sequence import Closed, read_ranges
from hub.store import schema as t
from hub.store.registry import SqlRegistry
from hub.store.sql import SqlStore


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """One flow in its latest epoch. Counts are of the whole flow."""

    department: str
    flow: str
    epoch: str
    ordinal: int
    closed: Closed
    frozen: str
    messages: int
    records: int
    duplicates: int
    repeats: int
    stored_at: datetime | None


@dataclass(frozen=True, slots=True)
class DepartmentStatus:
    """One department with its flows. `due` receipts wait to be published; refusals count since the time asked for."""

    code: str
    title: str
    contact: str
    state: str
    flows: tuple[FlowStatus, ...]
    due: int
    oldest_due: datetime | None
    last_receipt: datetime | None
    refused: int
    worker: str  # the hub process that works for it, empty for none or when there is only one


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record as it was received."""

    sender: str
    flow: str
    record_id: str
    epoch: str
    sequence: int
    position: int
    deleted: bool
    key: str
    data: str | None
    at: str | None
    corrects: str | None


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One judged message, without its body."""

    sender: str
    message_id: str
    flow: str
    epoch: str
    sequence: int | None
    kind: str
    type: str
    dataschema: str
    digest: bytes
    outcome: str
    code: str
    kid: str
    size_bytes: int | None  # None once the body was purged
    records: int
    stored: int
    duplicates: int
    received_at: datetime
    committed_at: datetime
    receipts: tuple[tuple[str, datetime | None], ...] = field(default=())  # (message id of the receipt, published at)


@dataclass(frozen=True, slots=True)
class QuarantinedMessage:
    """One refused message. `raw` is there only when one entry was asked for."""

    number: int
    department: str
    exchange: str
    user_id: str
    claimed_sender: str
    message_id: str
    outcome: str
    code: str
    text: str
    size_bytes: int
    times: int
    first_at: datetime
    last_at: datetime
    headers: str = ""
    raw: bytes | None = None


class HubReader:
    """Questions to a store, open for reading or for writing."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    # -- status ------------------------------------------------------------------------------------------------------

    def departments(self, refused_since: datetime) -> Sequence[DepartmentStatus]:
        """Return every department with its flows, in order of their codes."""
        flows: dict[str, list[FlowStatus]] = {}
        for one in self.flows():
            flows.setdefault(one.department, []).append(one)
        q, r = t.quarantine.c, t.receipt.c
        refused = select(q.department, func.sum(q.times).label("n")).where(q.last_at >= refused_since).group_by(q.department)
        due = select(r.department, func.count().label("n"), func.min(r.created_at).label("oldest"))
        due = due.where(r.published_at.is_(None)).group_by(r.department)
        with self._store.transaction() as connection:
            waits = {row.department: row for row in connection.execute(due)}
            refusals = {row.department: int(row.n) for row in connection.execute(refused)}
            workers = {row.department: row.owner for row in connection.execute(select(t.lease))}
            rows = connection.execute(select(t.department).order_by(t.department.c.code)).all()
            receipts = {row.code: connection.scalar(_last_receipt(row.code)) for row in rows}
        return [
            DepartmentStatus(
                code=row.code,
                title=row.title,
                contact=row.contact,
                state=row.state,
                flows=tuple(flows.get(row.code, ())),
                due=waits[row.code].n if row.code in waits else 0,
                oldest_due=waits[row.code].oldest if row.code in waits else None,
                last_receipt=receipts.get(row.code),
                refused=refusals.get(row.code, 0),
                worker=workers.get(row.code, ""),
            )
            for row in rows
        ]

    def keys(self, owner: str | None = None) -> Sequence[PublicKey]:
        """Return pinned keys, all or those of one owner."""
        return SqlRegistry(self._store).keys(owner)

    def flows(self) -> Sequence[FlowStatus]:
        """Return every flow in its latest epoch."""
        f, e = t.flow.c, t.epoch.c
        here = (e.flow_id == f.id) & (e.ordinal == _latest_ordinal())
        query = select(t.flow, t.epoch).select_from(t.flow).join(t.epoch, here).order_by(f.sender, f.flow)
        with self._store.transaction() as connection:
            rows = connection.execute(query).all()
        return [
            FlowStatus(
                department=row.sender,
                flow=row.flow,
                epoch=row.epoch,
                ordinal=row.ordinal,
                closed=Closed(row.high_water, read_ranges(row.ahead)),
                frozen=row.frozen,
                messages=row.messages,
                records=row.records,
                duplicates=row.duplicates,
                repeats=row.repeats,
                stored_at=row.stored_at,
            )
            for row in rows
        ]

    def holes(self) -> Sequence[Hole]:
        """Return the flows whose latest epoch has gaps."""
        return [
            Hole(one.department, one.flow, one.epoch, one.closed.high_water + 1, one.closed.missing())
            for one in self.flows()
            if one.closed.ahead
        ]

    # -- messages and records ----------------------------------------------------------------------------------------

    def message(self, message_id: str, sender: str | None = None) -> StoredMessage:
        """Return a message by its id. Raises NotFound."""
        m = t.message.c
        query = self._messages().where(m.message_id == message_id)
        query = query.where(m.sender == sender) if sender is not None else query
        with self._store.transaction() as connection:
            row = connection.execute(query.limit(1)).one_or_none()
            if row is None:
                raise NotFound(what=N_("message"), name=message_id)
            r = t.receipt.c
            about = select(r.message_id, r.published_at).where(r.department == row.sender, r.about == message_id).order_by(r.id)
            return _message(row, tuple((one.message_id, one.published_at) for one in connection.execute(about)))

    def messages(self, sender: str, flow: str, after: int, limit: int) -> Sequence[StoredMessage]:
        """Return messages of a flow's latest epoch with sequences greater than `after`, in order."""
        m, f = t.message.c, t.flow.c
        where = (f.sender == sender, f.flow == flow, m.epoch_ordinal == _latest_ordinal(), m.sequence > after)
        query = self._messages().where(*where)
        with self._store.transaction() as connection:
            return [_message(row, ()) for row in connection.execute(query.order_by(m.sequence).limit(limit))]

    @staticmethod
    def _messages() -> Select[Any]:
        m, f, e = t.message.c, t.flow.c, t.epoch.c
        size = func.length(m.body).label("size_bytes")
        here = (e.flow_id == m.flow_id) & (e.ordinal == m.epoch_ordinal)
        columns = [column for column in t.message.c if column.name != "body"]
        joined = t.message.outerjoin(t.flow, f.id == m.flow_id).outerjoin(t.epoch, here)
        return select(*columns, size, f.flow, e.epoch).select_from(joined)

    def records(self, sender: str, flow: str, *, key: str | None = None, current: bool = False) -> Iterator[StoredRecord]:
        """Yield records of a flow in their order, streaming: all of them, those of a key, or only current values.

        `key` is the JSON text of the key as it was received.
        """
        source = "current_value AS r" if current else _RECORDS
        where = "r.sender = :sender AND r.flow = :flow" + (" AND r.key = :key" if key is not None else "")
        order = "r.epoch_ordinal, r.sequence, r.position"
        statement = text(f"SELECT {_COLUMNS} FROM {source} WHERE {where} ORDER BY {order}")  # noqa: S608 - constants only
        values = {"sender": sender, "flow": flow, **({"key": key} if key is not None else {})}
        with self._store.transaction() as connection:
            for row in connection.execution_options(yield_per=2000).execute(statement, values):
                told = {"record_id": _hex(row.record_id), "corrects": _hex(row.corrects), "deleted": bool(row.deleted)}
                yield StoredRecord(**{**row._mapping, **told})  # noqa: SLF001 - SQLAlchemy's documented name

    # -- quarantine and audit ----------------------------------------------------------------------------------------

    def quarantined(self, department: str | None, limit: int) -> Sequence[QuarantinedMessage]:
        """Return refused messages, the latest first, without their octets."""
        q = t.quarantine.c
        query = select(t.quarantine).order_by(q.last_at.desc(), q.id.desc()).limit(limit)
        query = query.where(q.department == department) if department is not None else query
        with self._store.transaction() as connection:
            return [_quarantined(row, with_raw=False) for row in connection.execute(query)]

    def quarantine(self, number: int) -> QuarantinedMessage:
        """Return one refused message with its octets. Raises NotFound."""
        with self._store.transaction() as connection:
            row = connection.execute(select(t.quarantine).where(t.quarantine.c.id == number)).one_or_none()
        if row is None:
            raise NotFound(what=N_("quarantined message"), name=str(number))
        return _quarantined(row, with_raw=True)

    def audit(self, department: str) -> Iterator[Link]:
        """Yield a department's audit chain from its beginning. Raises NotFound."""
        query = select(t.audit).where(t.audit.c.department == department).order_by(t.audit.c.sequence)
        with self._store.transaction() as connection:
            if connection.scalar(select(t.department.c.code).where(t.department.c.code == department)) is None:
                raise NotFound(what=N_("department"), name=department)
            for row in connection.execution_options(yield_per=1000).execute(query):
                yield Link(row.department, row.sequence, row.previous, row.hash, row.entry, row.at)


_COLUMNS = "r.sender, r.flow, r.record_id, r.epoch, r.sequence, r.position, r.deleted, r.key, r.data, r.at, r.corrects"
_RECORDS = (
    "(SELECT record.*, flow.sender, flow.flow, epoch.epoch FROM record JOIN flow ON flow.id = record.flow_id"
    " JOIN epoch ON epoch.flow_id = record.flow_id AND epoch.ordinal = record.epoch_ordinal) AS r"
)


def _latest_ordinal() -> ScalarSelect[Any]:
    """Return the ordinal of the latest epoch of the flow in the query around this."""
    other = t.epoch.alias()
    return select(func.max(other.c.ordinal)).where(other.c.flow_id == t.flow.c.id).correlate(t.flow).scalar_subquery()


def _last_receipt(department: str) -> Select[Any]:
    r = t.receipt.c
    mine = (r.department == department) & r.published_at.is_not(None)
    return select(r.published_at).where(mine).order_by(r.id.desc()).limit(1)


def _hex(record_id: bytes | str | None) -> str | None:
    """Return a record id as 32 hex digits, from either database."""
    return record_id.hex() if isinstance(record_id, bytes) else record_id and record_id.replace("-", "")


def _message(row: Any, receipts: tuple[tuple[str, datetime | None], ...]) -> StoredMessage:
    return StoredMessage(
        sender=row.sender,
        message_id=row.message_id,
        flow=row.flow or "",
        epoch=row.epoch or "",
        sequence=row.sequence,
        kind=row.kind,
        type=row.type,
        dataschema=row.dataschema,
        digest=row.digest,
        outcome=row.outcome,
        code=row.code,
        kid=row.kid,
        size_bytes=row.size_bytes,
        records=row.records,
        stored=row.stored,
        duplicates=row.duplicates,
        received_at=row.received_at,
        committed_at=row.committed_at,
        receipts=receipts,
    )


def _quarantined(row: Any, *, with_raw: bool) -> QuarantinedMessage:
    return QuarantinedMessage(
        number=row.id,
        department=row.department,
        exchange=row.exchange,
        user_id=row.user_id,
        claimed_sender=row.claimed_sender,
        message_id=row.message_id,
        outcome=row.outcome,
        code=row.code,
        text=row.text,
        size_bytes=row.size_bytes,
        times=row.times,
        first_at=row.first_at,
        last_at=row.last_at,
        headers=row.headers if with_raw else "",
        raw=row.raw if with_raw else None,
    )
