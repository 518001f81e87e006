"""SQLite: one hub process, one connection that ever writes, readers beside it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, insert

from agent.model import Op
from agent.wire.envelope import WireRecord
from hub.model import MessageRow, PackedRecords, RecordBatch
from hub.store import schema as t
from hub.store.dialect import driver_connection
from hub.store.lookups import Question, Spelling

_INSERT_RECORD = (
    "INSERT INTO record (flow_id, epoch_ordinal, sequence, position, deleted, record_id, at, corrects, key, data)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def open_writer(path: Path) -> Engine:
    """Return an engine with exactly one connection: whoever writes waits for whoever is writing."""
    engine = _engine(f"file:{quote(str(path))}?mode=rwc")

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver must not open transactions behind our back
        # FULL is what makes a commit survive a power cut in WAL mode.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(f"PRAGMA journal_size_limit={64 * 1024 * 1024}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def open_reader(path: Path) -> Engine:
    """Return an engine that can only read; nothing it does can checkpoint or block the writer."""
    engine = _engine(f"file:{quote(str(path))}?mode=ro", pool_size=2)

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout=5000")
        connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _engine(uri: str, pool_size: int = 1) -> Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, check_same_thread=False)

    return create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=60,
        hide_parameters=True,
    )


def _listed(values: Collection[Any]) -> dict[str, Any]:
    return {"listed": json.dumps(list(values))}


class SqliteDialect:
    """Dialect of SQLite."""

    name = "sqlite"
    spelling = Spelling(
        one_of="IN (SELECT value FROM json_each(:listed))",
        pair_of="IN (SELECT value ->> 0, value ->> 1 FROM json_each(:listed))",
        lock="",  # who writes is alone
        share="",
        values=_listed,
        pairs=_listed,
    )

    single: Mapping[str, Any] = {}

    def ask(self, connection: Connection, questions: Sequence[Question]) -> list[list[Any]]:
        """Ask one after the other: nothing is between us and the file."""
        driver = driver_connection(connection)
        return [driver.execute(statement, parameters).fetchall() for statement, parameters in questions]

    def together(self, connection: Connection) -> AbstractContextManager[None]:  # noqa: ARG002 - see Dialect
        """Do nothing, as above."""
        return nullcontext()

    def pack(self, records: Sequence[WireRecord], positions: Sequence[int]) -> PackedRecords:
        """Build the parts of parameter rows."""
        rows = [_row(record, position) for record, position in zip(records, positions, strict=True)]
        return PackedRecords([record.id for record in records], rows, sum(len(row[-1] or "") + len(row[-2]) for row in rows))

    def commit_lazily(self, connection: Connection) -> None:
        """Do nothing: every commit waits."""

    def flush(self, connection: Connection) -> None:
        """Do nothing: every commit has waited."""

    def insert_records(self, connection: Connection, batches: Sequence[RecordBatch]) -> None:
        """Insert row by row; one prepared statement."""
        cursor = driver_connection(connection).cursor()
        for batch in batches:
            head = (batch.flow_id, batch.epoch_ordinal, batch.sequence)
            rows: Sequence[tuple[Any, ...]] = batch.records.rows  # type: ignore[assignment]  # what `pack` made
            cursor.executemany(_INSERT_RECORD, [head + row for row in rows])

    def insert_messages(self, connection: Connection, rows: Sequence[MessageRow]) -> None:
        """Insert messages."""
        connection.execute(insert(t.message), [asdict(row) for row in rows])


def _row(record: WireRecord, position: int) -> tuple[Any, ...]:
    return (
        position,
        record.op is Op.DELETE,
        bytes.fromhex(record.id),
        record.at,
        bytes.fromhex(record.corrects) if record.corrects else None,
        bytes(record.key).decode(),
        bytes(record.data).decode() if record.data else None,
    )
