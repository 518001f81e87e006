"""The reads of the running agent: short transactions on connections that cannot write, from any thread."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from agent.adapters.store import engine
from agent.adapters.store import statements as sql
from agent.adapters.store.rows import entry_of, flow_of, micros, moment
from agent.errors import StoreError
from agent.i18n import N_
from agent.model import Depth, FlowState, LedgerRow, OutboxEntry, RefusedRecord, State
from agent.model.handshake import Whereabouts

KEPT: Final = 4
BODIES_BYTES: Final = 8 << 20
"""About how many octets of bodies one answer carries."""


class Readers:
    """A handful of read-only connections, lent to one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection; statements on it are transactions of their own. Raises StoreError, Denied."""
        with self._lock:
            if self._closed:
                raise StoreError(N_("the store is closed"))
            connection = self._idle.pop() if self._idle else None
        connection = connection or engine.open_reader(self._path)
        try:
            yield connection
        except engine.driver().Error as error:
            connection.close()
            raise engine.translate(error, self._path) from error
        except BaseException:
            connection.close()
            raise
        self._take_back(connection)

    def _take_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle; what is lent closes when it comes back. Idempotent."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def known(connection: sqlite3.Connection, flow: str, keys: Sequence[str]) -> Mapping[str, LedgerRow]:
    """Return the ledger rows of these keys."""
    (found,) = sql.one(connection, sql.KNOWN, {"flow": flow, "keys": orjson.dumps(list(keys)).decode()})
    return {
        key: LedgerRow(key, bytes.fromhex(digest), ordinal, sequence, bool(deleted))
        for key, digest, ordinal, sequence, deleted in orjson.loads(found)
    }


def whereabouts(connection: sqlite3.Connection, flow: str, keys: Sequence[str]) -> Mapping[str, Whereabouts]:
    """Return where the last version of each key has got to; see ports.KeyLedger."""
    connection.execute("BEGIN")
    try:
        (text,) = sql.one(connection, sql.WHEREABOUTS, {"flow": flow, "keys": orjson.dumps(list(keys)).decode()})
        last = {found[0]: found for found in orjson.loads(text)}  # those that stand for others come after them
        entries = orjson.dumps(list({found[5] for found in last.values()})).decode()
        refused: dict[int, list[RefusedRecord]] = {}
        for entry_id, *record in connection.execute(sql.REFUSED_IN, (entries,)).fetchall():
            refused.setdefault(entry_id, []).append(RefusedRecord(*record))
        said = dict(connection.execute(sql.SAID_OF, (entries,)).fetchall())
    finally:
        connection.execute("COMMIT")
    return {
        key: Whereabouts(
            hash=bytes.fromhex(digest),
            ordinal=ordinal,
            deleted=bool(deleted),
            epoch=epoch,
            # A message is forgotten only after it was stored, and so is one that stood for another.
            state=None if state is None or heir else State(state),
            code=code or "",
            text=said.get(entry_id, ""),
            refused=tuple(refused.get(entry_id, ())),
        )
        for key, digest, ordinal, deleted, epoch, entry_id, state, code, heir in last.values()
    }


def unplaced(connection: sqlite3.Connection, flow: str, before: int, after: str, limit: int) -> list[str]:
    """Return keys in no chunk; see ports.KeyLedger."""
    parameters = {"flow": flow, "before": before, "after": after, "limit": limit}
    found: list[str] = orjson.loads(sql.one(connection, sql.UNPLACED, parameters)[0])
    return found


def touched(connection: sqlite3.Connection, flow: str, since: int) -> frozenset[int]:
    """Return the chunks of keys captured since an ordinal."""
    return frozenset(orjson.loads(sql.one(connection, sql.TOUCHED, {"flow": flow, "since": since})[0]))


def count(connection: sqlite3.Connection, statement: str, **parameters: Any) -> int:
    """Return the number a statement counts."""
    return int(sql.one(connection, statement, parameters)[0])


def entries(connection: sqlite3.Connection, statement: str, parameters: Mapping[str, Any]) -> list[OutboxEntry]:
    """Return the entries of a statement, stopping when their bodies are BODIES_BYTES; at least one if there is one."""
    found: list[OutboxEntry] = []
    size = 0
    cursor = connection.execute(statement, dict(parameters))
    try:
        for row in cursor:
            entry = entry_of(row)
            found.append(entry)
            size += len(entry.message.body)
            if size >= BODIES_BYTES:
                break
    finally:
        cursor.close()
    return found


def overdue(connection: sqlite3.Connection, confirmed_before: datetime, limit: int) -> list[OutboxEntry]:
    """Return confirmed entries of all flows, oldest first."""
    found: list[OutboxEntry] = []
    for flow_id, *_ in connection.execute(sql.FLOWS_TO_TURN).fetchall():
        parameters = {"flow_id": flow_id, "before": micros(confirmed_before), "limit": limit}
        found += entries(connection, sql.OVERDUE, parameters)
    found.sort(key=lambda entry: (entry.confirmed_at or confirmed_before, entry.entry_id))
    return found[:limit]


def flows(connection: sqlite3.Connection) -> list[FlowState]:
    """Return every flow without its memory."""
    return [flow_of(row, {}) for row in connection.execute(sql.FLOWS).fetchall()]


def depth(connection: sqlite3.Connection) -> list[Depth]:
    """Return how much of every flow is in which state; the counts are kept, not counted."""
    tally: dict[int, dict[State, tuple[int, int]]] = {}
    connection.execute("BEGIN")
    try:
        for flow_id, state, messages, records in connection.execute(sql.TALLY).fetchall():
            tally.setdefault(flow_id, {})[State(state)] = (messages, records)
        rows = connection.execute(sql.DEPTH_OF_FLOW).fetchall()
    finally:
        connection.execute("COMMIT")
    return [
        Depth(
            flow=name,
            messages={state: tally.get(flow_id, {}).get(state, (0, 0))[0] for state in State},
            records={state: tally.get(flow_id, {}).get(state, (0, 0))[1] for state in State},
            quarantined=open_items,
            oldest_pending=moment(oldest_pending),
            oldest_confirmed=moment(oldest_confirmed),
        )
        for flow_id, name, open_items, oldest_pending, oldest_confirmed in rows
    ]


def free_inside(connection: sqlite3.Connection) -> int:
    """Return the free bytes inside the database file."""
    (free_bytes,) = sql.one(connection, sql.FREE_INSIDE)
    return int(free_bytes)
