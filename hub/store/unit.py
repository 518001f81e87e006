"""One transaction of ingest: looked up by `lookups`, written in SQLAlchemy Core; only the bulk inserts are the dialect's own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Executable, and_, bindparam, func, insert, select, update

from agent.model import Outcome
from hub.audit import Head
from hub.errors import LeaseLost
from hub.model import Changes, EpochState, FlowState, Quarantine, Seen
from hub.sequence import Closed, read_ranges, write_ranges
from hub.store import schema as t
from hub.store.dialect import Dialect
from hub.store.lookups import Lookups
from hub.store.store import Fences, FlowName, Locked

QUARANTINE_SHARE_BYTES: Final = 1 << 30
"""Octets kept of one department's refused messages. Beyond it only the facts are kept: no sender can fill the disk."""


class SqlUnit:
    """IngestUnit on an open transaction."""

    def __init__(self, connection: Connection, dialect: Dialect, lookups: Lookups, fences: Fences) -> None:
        self._connection = connection
        self._dialect = dialect
        self._lookups = lookups
        self._fences = fences
        self.lazy = False

    def lock(
        self,
        departments: Collection[str] = (),
        flows: Collection[FlowName] = (),
        messages: Collection[tuple[str, str]] = (),
    ) -> Locked:
        """Lock and read; with leases, make sure that they are still ours and stay so until the commit."""
        ask = self._lookups
        questions = [ask.heads(departments), ask.flows(flows), ask.epochs(flows), ask.seen(messages)]
        fenced = any(self._fences.values())
        if fenced:
            questions.insert(0, ask.leases(departments))
        answers = self._dialect.ask(self._connection, questions)
        if fenced:
            self._check_fences(departments, dict(answers.pop(0)))
        heads, found, epochs, seen = answers
        return Locked(
            {department: Head(sequence, digest) for department, sequence, digest in heads},
            _flows(found, epochs),
            {(row[0], row[1]): Seen(row[1], row[2], Outcome(row[3]), row[4]) for row in seen},
        )

    def open_flow(self, name: FlowName, at: datetime) -> FlowState:
        """Create a flow without epochs."""
        sender, flow = name
        counts = dict.fromkeys(("messages", "records", "duplicates", "repeats"), 0)
        row = insert(t.flow).values(sender=sender, flow=flow, opened_at=at, **counts).returning(t.flow.c.id)
        return FlowState(self._connection.execute(row).scalar_one(), sender, flow)

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
        with self._dialect.together(self._connection):
            self._write_state(list(flows), changes, at)
        for department, about in changes.repost:
            self._repost(department, about)
        for refused in changes.quarantined:
            self._quarantine(refused)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _check_fences(self, departments: Collection[str], current: Mapping[str, int]) -> None:
        lost = sorted(code for code in departments if current.get(code) != self._fences.get(code))
        if lost:
            raise LeaseLost(departments=", ".join(lost))

    def _write_state(self, flows: Sequence[FlowState], changes: Changes, at: datetime) -> None:
        """Write what needs no answer."""
        changed = [(flow.flow_id, epoch) for flow in flows for epoch in flow.epochs.values() if epoch.changed]
        known = [{"of": of, "number": epoch.ordinal, **_reached(epoch)} for of, epoch in changed if epoch.stored]
        new = [
            {"flow_id": of, "ordinal": epoch.ordinal, "epoch": epoch.epoch, "previous": epoch.previous, **_reached(epoch)}
            for of, epoch in changed
            if not epoch.stored
        ]
        heads = [{"of": code, "reached": head.sequence, "digest": head.hash} for code, head in changes.heads.items()]
        self._many(_POST, [asdict(post) for post in changes.posts])
        self._many(_LINK, [asdict(link) for link in changes.links])
        self._many(_MOVE_HEAD, heads)
        self._many(_COUNT, [_counts(flow, at) for flow in flows if flow.messages or flow.duplicates or flow.repeats])
        self._many(_MOVE_EPOCH, known)
        self._many(_OPEN_EPOCH, [{**row, "opened_at": at} for row in new])

    def _many(self, statement: Executable, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(statement, rows)

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


# -- statements and rows -----------------------------------------------------------------------------------------------

_POST: Final = insert(t.receipt).inline()  # nobody asks for the number it gets
_LINK: Final = insert(t.audit).inline()
_MOVE_HEAD: Final = (
    update(t.audit_head)
    .where(t.audit_head.c.department == bindparam("of"))
    .values(sequence=bindparam("reached"), hash=bindparam("digest"))
)
_COUNTED: Final = ("messages", "records", "duplicates", "repeats")
_COUNT: Final = (
    update(t.flow)
    .where(t.flow.c.id == bindparam("of"))
    .values(
        **{name: t.flow.c[name] + bindparam(f"more_{name}") for name in _COUNTED},
        stored_at=func.coalesce(bindparam("at", type_=t.flow.c.stored_at.type), t.flow.c.stored_at),
    )
)
_MOVE_EPOCH: Final = (
    update(t.epoch)
    .where(t.epoch.c.flow_id == bindparam("of"), t.epoch.c.ordinal == bindparam("number"))
    .values(high_water=bindparam("high_water"), ahead=bindparam("ahead"), frozen=bindparam("frozen"))
)
_OPEN_EPOCH: Final = insert(t.epoch).inline()


def _flows(flows: Iterable[Sequence[Any]], epochs: Iterable[Sequence[Any]]) -> dict[FlowName, FlowState]:
    found = {flow_id: FlowState(flow_id, sender, flow) for flow_id, sender, flow in flows}
    for flow_id, epoch, ordinal, previous, high_water, ahead, frozen in epochs:
        if flow_id in found:  # and not created since, which its lock would have told
            closed = Closed(high_water, read_ranges(ahead))
            found[flow_id].epochs[epoch] = EpochState(epoch, ordinal, previous, closed, frozen, stored=True)
    return {(flow.sender, flow.flow): flow for flow in found.values()}


def _counts(flow: FlowState, at: datetime) -> dict[str, Any]:
    more = {f"more_{name}": getattr(flow, name) for name in _COUNTED}
    return {"of": flow.flow_id, "at": at if flow.messages else None, **more}


def _reached(epoch: EpochState) -> dict[str, Any]:
    return {"high_water": epoch.closed.high_water, "ahead": write_ranges(epoch.closed.ahead), "frozen": epoch.frozen}


PORTION: Final = 5_000
"""Values looked up by one statement: every database takes so many, whatever a sender asks about."""


def _portions(values: Sequence[str]) -> Iterator[Sequence[str]]:
    yield from (values[start : start + PORTION] for start in range(0, len(values), PORTION))
