"""What operators ask of the store: in the agent or in another process, while the agent runs or not.

Everything here reads through connections that cannot write. Each answer is one short transaction, so that no reader holds up
the folding of the write-ahead log; lists are paged by key, never by offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    TextClause,
    create_engine,
    event,
    func,
    literal_column,
    pool,
    select,
)
from sqlalchemy.exc import DBAPIError

from agent.adapters.store import engine, reads
from agent.adapters.store import statements as sql
from agent.adapters.store.finding import MESSAGES, messages_wanted
from agent.adapters.store.reader_rows import (
    action_of,
    gap_of,
    item_of,
    message_of,
    receipt_of,
    refusal_of,
)
from agent.adapters.store.rows import entry_of, hour, moment
from agent.adapters.store.tables import (
    DEAD,
    OPEN,
    action,
    activity,
    flow,
    gap,
    memory,
    message,
    meta,
    quarantine,
    receipt,
    refused,
)
from agent.errors import NotFound
from agent.i18n import N_
from agent.model import Depth, FlowState, Gap, LedgerRow, OutboxEntry
from agent.queries import (
    Action,
    Activity,
    Cause,
    CauseKind,
    Item,
    MessageQuery,
    MessageRow,
    Refusal,
    Trace,
)

T = TypeVar("T")

_TICK: Final = timedelta(microseconds=1)

_ITEM = select(quarantine, flow.c.name.label("flow")).join_from(quarantine, flow)
_REFUSAL = (
    select(refused, flow.c.name.label("flow"), message.c.message_id)
    .join_from(refused, flow)
    .join(message, message.c.entry_id == refused.c.entry_id)
)

_Group = tuple[CauseKind, Table, TextClause, ColumnElement[str], ColumnElement[str], ColumnElement[Any]]
_GROUPS: Final[Sequence[_Group]] = (
    (CauseKind.MESSAGE, message, DEAD, message.c.code, literal_column("''"), message.c.settled_at),
    (CauseKind.RECORD, refused, OPEN, refused.c.code, refused.c.field, refused.c.refused_at),
    (CauseKind.INPUT, quarantine, OPEN, quarantine.c.reason, quarantine.c.field, quarantine.c.observed_at),
)
"""What dead letters are grouped from: table, what is open, code, field, time."""


class StoreReader:
    """Answers from the store at `path`. Callable from any thread. Raises NotFound, Denied, StoreError, Busy."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise NotFound(what=N_("store"), name=path)
        self._path = path
        self._readers = reads.Readers(path)
        self._engine = create_engine(
            "sqlite://",
            module=engine.driver(),
            creator=lambda: engine.open_reader(path),
            poolclass=pool.QueuePool,
            pool_size=2,
            hide_parameters=True,
        )
        event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))

    def close(self) -> None:
        """Let go. Idempotent."""
        self._readers.close()
        self._engine.dispose()

    # -- the whole ---------------------------------------------------------------------------------------------------

    def identity(self) -> tuple[str, str]:
        """Return (agent id, epoch)."""
        with self._ask() as db:
            known = dict(db.execute(select(meta.c.name, meta.c.value)).all())
        return known.get("agent_id", ""), known.get("epoch", "")

    def flows(self) -> Sequence[FlowState]:
        """Return every flow, by name, without its memory."""
        with self._readers.lend() as db:
            return reads.flows(db)

    def facts(self, name: str) -> Mapping[str, str]:
        """Return one fact from the memory of each flow that remembers it, by flow."""
        query = select(flow.c.name, memory.c.value).join_from(memory, flow).where(memory.c.name == name)
        with self._ask() as db:
            return {str(of): str(value) for of, value in db.execute(query)}

    def depth(self) -> Sequence[Depth]:
        """Return how much of every flow is in which state."""
        with self._readers.lend() as db:
            return reads.depth(db)

    def activity(self, since: datetime, until: datetime) -> Sequence[Activity]:
        """Return what each flow did in the whole hours that begin from `since` on and before `until`."""
        sums = [func.sum(activity.c[column]) for column in sql.ACTIVITY_COLUMNS]
        within = activity.c.hour.between(hour(since + timedelta(hours=1) - _TICK), hour(until - _TICK))
        query = select(flow.c.name, *sums).join(flow, flow.c.flow_id == activity.c.flow_id)
        with self._ask() as db:
            rows = db.execute(query.where(within).group_by(flow.c.name).order_by(flow.c.name)).all()
        return [Activity(*row) for row in rows]

    def last_receipt(self) -> datetime | None:
        """Return when a receipt last settled something."""
        newest = select(receipt.c.settled_at).order_by(literal_column("receipt.rowid").desc()).limit(1)
        with self._ask() as db:
            return moment(db.scalar(newest))

    def check(self) -> Sequence[str]:
        """Read the whole database and return what is damaged; takes as long as reading the file takes."""
        with self._readers.lend() as db:
            found = [str(text) for (text,) in db.execute("PRAGMA quick_check").fetchall()]
        return [] if found == ["ok"] else found

    # -- messages ----------------------------------------------------------------------------------------------------

    def find(self, query: MessageQuery) -> Sequence[MessageRow]:
        """Return messages, newest first."""
        return self._rows(messages_wanted(query), message_of)

    def entry(self, message_id: str) -> OutboxEntry | None:
        """Return a message with its body; None when it is unknown or purged."""
        with self._readers.lend() as db:
            row = sql.one(db, sql.ENTRY_BY_ID, (message_id,))
        return None if row is None else entry_of(row)

    def trace(self, message_id: str) -> Trace | None:
        """Return everything known of one message; None when it is unknown."""
        with self._ask() as db:
            row = db.execute(MESSAGES.where(message.c.message_id == message_id)).one_or_none()
            if row is None:
                return None
            mine = receipt.c.entry_id == row.entry_id
            receipts = db.execute(select(receipt).where(mine).order_by(receipt.c.settled_at, receipt.c.stage)).all()
            refusals = db.execute(_REFUSAL.where(refused.c.entry_id == row.entry_id).order_by(refused.c.refused_id)).all()
            # Only what died is ever superseded, which keeps this off the millions that are stored.
            dead = message.c.state == literal_column("'dead'")
            before = select(message.c.message_id).where(dead, message.c.superseded_by == message_id)
            supersedes = db.scalars(before.order_by(message.c.entry_id)).all()
        return Trace(message_of(row), [receipt_of(r) for r in receipts], [refusal_of(r) for r in refusals], supersedes)

    def carried(self, message_id: str) -> Sequence[LedgerRow]:
        """Return the keys whose last version this message carries, in the order of their ordinals.

        After a restore they are those of the messages it stands for. Reads the whole ledger of the flow.
        """
        with self._readers.lend() as db:
            rows = db.execute(sql.CARRIED, (message_id,)).fetchall()
        return [LedgerRow(key, digest, ordinal, sequence, bool(deleted)) for key, digest, ordinal, sequence, deleted in rows]

    # -- dead letters ------------------------------------------------------------------------------------------------

    def causes(self) -> Sequence[Cause]:
        """Return open dead letters grouped by what is wrong with them, most frequent first."""
        causes: list[Cause] = []
        with self._ask() as db:
            names = dict(db.execute(select(flow.c.flow_id, flow.c.name)).all())
            for kind, table, still_open, code, field, at in _GROUPS:
                grouped = (
                    select(table.c.flow_id, code, field, func.count(), func.min(at), func.max(at))
                    .where(still_open)
                    .group_by(table.c.flow_id, code, field)
                )
                for flow_id, code_, field_, count, first, last in db.execute(grouped):
                    causes.append(Cause(kind, names[flow_id], code_, field_, count, moment(first), moment(last)))
        return sorted(causes, key=lambda cause: (-cause.count, cause.flow, cause.kind, cause.code, cause.field))

    def items(
        self, flow_name: str = "", reason: str = "", *, closed: bool = False, after: int = 0, limit: int = 50
    ) -> Sequence[Item]:
        """Return quarantined input, oldest first: what is still open, or everything with `closed`."""
        query = _ITEM.where(quarantine.c.number > after)
        query = query.where(flow.c.name == flow_name) if flow_name else query
        query = query.where(quarantine.c.reason == reason) if reason else query
        query = query if closed else query.where(OPEN)
        return self._rows(query.order_by(quarantine.c.number).limit(limit), item_of)

    def item(self, item_id: str) -> Item | None:
        """Return one quarantined input; None when it is unknown."""
        found = self._rows(_ITEM.where(quarantine.c.item_id == item_id), item_of)
        return found[0] if found else None

    def refusals(
        self, flow_name: str = "", code: str = "", *, closed: bool = False, after: int = 0, limit: int = 50
    ) -> Sequence[Refusal]:
        """Return records the hub refused, oldest first: what is still open, or everything with `closed`."""
        query = _REFUSAL.where(refused.c.refused_id > after)
        query = query.where(flow.c.name == flow_name) if flow_name else query
        query = query.where(refused.c.code == code) if code else query
        query = query if closed else query.where(refused.c.closed_as == literal_column("''"))
        return self._rows(query.order_by(refused.c.refused_id).limit(limit), refusal_of)

    def refused(self, record: str) -> Sequence[Refusal]:
        """Return every refusal of one record, by its id, oldest first."""
        return self._rows(_REFUSAL.where(refused.c.record == record).order_by(refused.c.refused_id), refusal_of)

    # -- what happened -----------------------------------------------------------------------------------------------

    def gaps(self, flow_name: str = "", *, closed: bool = False) -> Sequence[Gap]:
        """Return the gaps, by flow and number: what is still open, or all with `closed`."""
        query = select(gap, flow.c.name.label("flow")).join_from(gap, flow)
        query = query.where(flow.c.name == flow_name) if flow_name else query
        query = query if closed else query.where(gap.c.closed_at.is_(None))
        return self._rows(query.order_by(flow.c.name, gap.c.number), gap_of)

    def actions(self, before: int | None = None, limit: int = 50) -> Sequence[Action]:
        """Return what operators did, newest first; `before` is the last action_id of the page before."""
        query = select(action) if before is None else select(action).where(action.c.action_id < before)
        return self._rows(query.order_by(action.c.action_id.desc()).limit(limit), action_of)

    # -- inside ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _ask(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            cause = error.orig if isinstance(error.orig, Exception) else error
            raise engine.translate(cause, self._path) from error

    def _rows(self, query: Select[Any], of: Callable[[Row[Any]], T]) -> list[T]:
        with self._ask() as db:
            return [of(row) for row in db.execute(query)]
