"""PostgreSQL: binary COPY for what is bulky, row locks, several hub processes."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError

from agent.wire.envelope import WireRecord
from hub.model import MessageRow, PackedRecords, RecordBatch
from hub.store import copying
from hub.store.dialect import driver_connection
from hub.store.lookups import Pairs, Question, Spelling

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy.pool import ConnectionPoolEntry

APPLICATION: Final = "huitong-hub"
"""What our sessions are called at the server."""

_OPTIONS: Final = {
    # A receipt is a promise: whatever the server's default, a commit waits for the disk.
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": "15s",
    "lock_timeout": "10s",
    "statement_timeout": "120s",
    "TimeZone": "UTC",
    # The server, too, notices within half a minute that our machine is gone, and gives our locks away.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

_MESSAGE_COLUMNS: Final = tuple(field.name for field in fields(MessageRow))
_MESSAGE_TYPES: Final = {
    "flow_id": "int4",
    "epoch_ordinal": "int4",
    "sequence": "int8",
    "digest": "bytea",
    "body": "bytea",
    "records": "int4",
    "stored": "int4",
    "duplicates": "int4",
    "received_at": "timestamptz",
    "committed_at": "timestamptz",
}
_COPY_MESSAGES: Final = f"COPY message ({', '.join(_MESSAGE_COLUMNS)}) FROM STDIN (FORMAT BINARY)"


@dataclass(frozen=True, slots=True)
class Postgres:
    """Where the database is. A host that begins with / is a socket directory."""

    host: str
    port: int
    database: str
    user: str
    password: str | None = None
    sslmode: str = "prefer"
    sslrootcert: str | None = None

    def engine(self, pool_size: int = 5) -> Engine:
        """Return an engine that connects lazily, notices dead connections and never shows parameters in errors."""
        engine = create_engine(
            URL.create("postgresql+psycopg", self.user, self.password, self.host, self.port, self.database),
            connect_args=self._connect_args(),
            pool_size=pool_size,
            max_overflow=5,
            pool_timeout=30,
            hide_parameters=True,
        )
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "checkin", _put_back)
        event.listen(engine, "checkout", _look_before_use)
        return engine

    def _connect_args(self) -> Mapping[str, Any]:
        security = {"sslmode": self.sslmode, **({"sslrootcert": self.sslrootcert} if self.sslrootcert else {})}
        return {
            "options": " ".join(f"-c {name}={value}" for name, value in _OPTIONS.items()),
            "application_name": APPLICATION,
            "connect_timeout": 10,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            **security,
        }


def _prepare(connection: psycopg.Connection[Any], _record: object) -> None:
    from psycopg.types.string import TextLoader  # noqa: PLC0415 - only a hub on PostgreSQL pays for psycopg

    # Records are shown exactly as they were received, so JSON and UUID stay text.
    connection.adapters.register_loader("json", TextLoader)
    connection.adapters.register_loader("uuid", TextLoader)


IDLE_SECS: Final = 5.0
"""A connection that was not used for so long is asked whether it is still alive. One in steady use is not: that would be one
more round trip for each small transaction, and it tells at once when it dies."""


def _put_back(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["put_back_at"] = time.monotonic()


def _look_before_use(connection: psycopg.Connection[Any], record: ConnectionPoolEntry, _proxy: object) -> None:
    """Make the pool take another connection when this one has died in its sleep."""
    if time.monotonic() - record.info.get("put_back_at", math.inf) < IDLE_SECS:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except Exception as error:
        raise DisconnectionError from error


def _listed(values: Collection[str]) -> dict[str, Any]:
    return {"listed": list(values)}


def _paired(pairs: Pairs) -> dict[str, Any]:
    return {"firsts": [first for first, _second in pairs], "seconds": [second for _first, second in pairs]}


class PostgresDialect:
    """Dialect of PostgreSQL 13 and later."""

    name = "postgresql"
    spelling = Spelling(
        one_of="= ANY(%(listed)s::text[])",
        pair_of="IN (SELECT * FROM unnest(%(firsts)s::text[], %(seconds)s::text[]))",
        lock="FOR UPDATE",
        share="FOR SHARE",
        values=_listed,
        pairs=_paired,
    )

    single: Mapping[str, Any] = {"isolation_level": "AUTOCOMMIT"}

    def ask(self, connection: Connection, questions: Sequence[Question]) -> list[list[Any]]:
        """Send all questions, then wait for the answers."""
        driver = driver_connection(connection)
        with driver.pipeline():
            asked = [driver.execute(statement, parameters) for statement, parameters in questions]
            return [cursor.fetchall() for cursor in asked]

    @contextmanager
    def together(self, connection: Connection) -> Iterator[None]:
        """Send statement after statement, and wait once, at the end."""
        with driver_connection(connection).pipeline():
            yield

    def pack(self, records: Sequence[WireRecord], positions: Sequence[int]) -> PackedRecords:
        """Build the parts of COPY rows."""
        return copying.pack(records, positions)

    def commit_lazily(self, connection: Connection) -> None:
        """Commit without waiting for the disk; the log keeps its order, so a later waiting commit covers this one."""
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")

    def flush(self, connection: Connection) -> None:
        """Write a few octets to the log: a commit that has written nothing would not wait for anything."""
        connection.exec_driver_sql("SELECT pg_logical_emit_message(true, 'huitong', '')")

    def insert_records(self, connection: Connection, batches: Sequence[RecordBatch]) -> None:
        """COPY all batches in one go."""
        with driver_connection(connection).cursor() as cursor, cursor.copy(copying.STATEMENT) as copy:
            copy.write(copying.START)
            for batch in batches:
                copy.write(copying.rows(batch))
            copy.write(copying.END)

    def insert_messages(self, connection: Connection, rows: Sequence[MessageRow]) -> None:
        """COPY messages: a body as a statement parameter would travel, and be parsed, as text."""
        with driver_connection(connection).cursor() as cursor, cursor.copy(_COPY_MESSAGES) as copy:
            copy.set_types([_MESSAGE_TYPES.get(name, "text") for name in _MESSAGE_COLUMNS])
            for row in rows:
                copy.write_row([getattr(row, name) for name in _MESSAGE_COLUMNS])
