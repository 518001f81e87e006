"""HubStore on SQLAlchemy Core."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from threading import Lock
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, delete, select, update

from agent.wire.envelope import WireRecord
from hub.model import DuePost, PackedRecords, Post, PostKind
from hub.store import schema as t
from hub.store.dialect import Dialect, translated
from hub.store.lookups import Lookups
from hub.store.store import Fences, IngestUnit
from hub.store.unit import SqlUnit

_DUE: Final = select(t.receipt).where(t.receipt.c.published_at.is_(None)).order_by(t.receipt.c.id).limit(bindparam("many"))
_DUE_OF: Final = _DUE.where(t.receipt.c.department.in_(bindparam("departments", expanding=True)))
_PUBLISHED: Final = (
    update(t.receipt).where(t.receipt.c.id.in_(bindparam("posts", expanding=True))).values(published_at=bindparam("at"))
)


class SqlStore:
    """The store of a hub process; `engine` may write, and on SQLite is the only one that does."""

    def __init__(self, engine: Engine, dialect: Dialect, let_go: Callable[[], None] = lambda: None) -> None:
        self.engine = engine
        self._dialect = dialect
        self._lookups = Lookups(dialect.spelling)
        self._let_go = let_go
        self._lock = Lock()
        self._lazy_commits = 0
        self._flushed_commits = 0

    def begin(self, fences: Fences) -> AbstractContextManager[IngestUnit]:
        """Open a transaction of ingest."""
        return self._unit(fences)

    @contextmanager
    def _unit(self, fences: Fences) -> Iterator[IngestUnit]:
        with self.transaction() as connection:
            unit = SqlUnit(connection, self._dialect, self._lookups, fences)
            yield unit
        if unit.lazy:
            with self._lock:
                self._lazy_commits += 1

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a transaction whose errors are ours."""
        with translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def _single(self) -> Iterator[Connection]:
        """Open a connection for one statement, which is a transaction of its own where the database allows it."""
        with translated(), self.engine.connect().execution_options(**self._dialect.single) as connection, connection.begin():
            yield connection

    def pack(self, records: Sequence[WireRecord], positions: Sequence[int]) -> PackedRecords:
        """Bring records into the form that inserts fastest."""
        return self._dialect.pack(records, positions)

    def flush(self) -> None:
        """Wait for the disk, if any commit has not."""
        with self._lock:
            upto = self._lazy_commits
            if upto == self._flushed_commits:
                return
        with self.transaction() as connection:
            self._dialect.flush(connection)
        with self._lock:
            self._flushed_commits = max(self._flushed_commits, upto)

    def probe(self) -> None:
        """Write nothing, but in a way that a read-only or full database refuses."""
        with self.transaction() as connection:
            connection.execute(update(t.member).where(t.member.c.owner == "").values(owner=""))

    def due(self, departments: Collection[str] | None, limit: int) -> Sequence[DuePost]:
        """Return posts not published yet, oldest first."""
        mine = {} if departments is None else {"departments": list(departments)}
        query = _DUE if departments is None else _DUE_OF
        with self._single() as connection:
            return [_due(row) for row in connection.execute(query, {"many": limit, **mine})]

    def published(self, post_ids: Sequence[int], at: datetime) -> None:
        """Note that the broker took these posts."""
        with self._single() as connection:
            connection.execute(_PUBLISHED, {"posts": list(post_ids), "at": at})

    def purge(self, *, bodies_before: datetime, posts_before: datetime, quarantine_before: datetime, limit: int) -> int:
        """Drop by age what is no longer needed; ids, digests, receipts, records and audit stay."""
        m, r, q = t.message.c, t.receipt.c, t.quarantine.c
        sent = (r.kind != PostKind.RECEIPT) & (r.published_at < posts_before)
        with self.transaction() as connection:
            old = select(m.sender, m.message_id).where(m.committed_at < bodies_before, m.body.is_not(None)).limit(limit)
            keys = [{"s": row.sender, "m": row.message_id} for row in connection.execute(old)]
            if keys:
                one = (m.sender == bindparam("s")) & (m.message_id == bindparam("m"))
                connection.execute(update(t.message).where(one).values(body=None), keys)
            posts = connection.execute(delete(t.receipt).where(r.id.in_(select(r.id).where(sent).limit(limit)))).rowcount
            stale = select(q.id).where((q.last_at < quarantine_before) & q.raw.is_not(None)).limit(limit)
            raw = connection.execute(update(t.quarantine).where(q.id.in_(stale)).values(raw=None)).rowcount
        return len(keys) + posts + raw

    def close(self) -> None:
        """Close every connection and give the lock back."""
        self.engine.dispose()
        self._let_go()


def _due(row: Any) -> DuePost:
    post = Post(
        department=row.department,
        about=row.about,
        kind=PostKind(row.kind),
        message_id=row.message_id,
        type=row.type,
        encoding=row.encoding,
        body=row.body,
        jws=row.jws,
        created_at=row.created_at,
    )
    return DuePost(row.id, post)
