"""What `append`, `announce` and `enqueue` do inside their transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from agent.adapters.store import statements as sql
from agent.adapters.store.rows import hour, item_row, message_row, micros
from agent.errors import Conflict
from agent.failpoints import failpoint
from agent.i18n import N_
from agent.model import Append, ExchangeMessage, LedgerColumns, LedgerRow, MessageKind, Placing, Quarantined
from agent.queries import Activity

HASH_BYTES = 16
MOVED_ON = N_("flow {flow} has moved on in the store: another process may be at work on it")
NOT_IN_LINE = N_("message {message_id} does not fit: it is not sequence {sequence} of flow {flow} in its current epoch")
NOT_CONTROL = N_("message {message_id} is no control message")


def append(connection: sqlite3.Connection, step: Append, now: datetime) -> None:
    """Make one step of capture durable. Raises Conflict unless everything fits what is stored."""
    check_line(step.messages, step.flow, step.epoch, step.before.next_sequence, step.after.next_sequence)
    advanced = sql.one(
        connection,
        sql.ADVANCE,
        {
            "flow": step.flow,
            "epoch": step.epoch,
            "incarnation": step.incarnation,
            "position": step.position,
            "sequence_before": step.before.next_sequence,
            "ordinal_before": step.before.next_ordinal,
            "sequence": step.after.next_sequence,
            "ordinal": step.after.next_ordinal,
            "loaded": int(step.loaded),
        },
    )
    if advanced is None or step.after.next_ordinal < step.before.next_ordinal:
        raise Conflict(MOVED_ON, flow=step.flow)
    flow_id, chunk_base, last_entry = advanced
    insert_messages(connection, last_entry, [(flow_id, message) for message in step.messages])
    failpoint("C02")
    if step.ledger:
        _upsert_ledger(connection, flow_id, last_entry + 1, step)
    if step.placed is not None:
        _place(connection, flow_id, chunk_base, step.placed)
    if step.memory:
        connection.execute(sql.REMEMBER, (flow_id, _json(list(step.memory.items()))))
    fresh = _quarantine(connection, flow_id, step.quarantined)
    if step.closes:
        close(connection, step.closes, now)
    records = sum(message.records for message in step.messages)
    done = Activity(step.flow, step.captured, step.unchanged, len(step.messages), records, quarantined=fresh)
    count(connection, flow_id, done, now)


def announce(connection: sqlite3.Connection, flow: str, message: ExchangeMessage) -> None:
    """Put an epoch-open into the outbox unless it is there. Raises Conflict when it is not of the current epoch."""
    row = sql.one(connection, sql.FLOW_ID, (flow,))
    if row is None:
        raise Conflict(MOVED_ON, flow=flow)
    flow_id, epoch, announced, _, _ = row
    if message.kind is not MessageKind.CONTROL or (message.flow, message.epoch) != (flow, epoch):
        raise Conflict(NOT_IN_LINE, message_id=message.message_id, sequence=0, flow=flow)
    if not announced:
        enqueue(connection, [message])
        connection.execute(sql.ANNOUNCED, (flow_id,))


def enqueue(connection: sqlite3.Connection, messages: Sequence[ExchangeMessage]) -> None:
    """Append control messages. Raises Conflict for any other."""
    for message in messages:
        if message.kind is not MessageKind.CONTROL or message.sequence:
            raise Conflict(NOT_CONTROL, message_id=message.message_id)
    flow_ids = {flow: flow_id_of(connection, flow) for flow in {message.flow for message in messages}}
    (last_entry,) = sql.one(connection, sql.LAST_ENTRY)
    insert_messages(connection, last_entry, [(flow_ids[message.flow], message) for message in messages])


def flow_id_of(connection: sqlite3.Connection, flow: str) -> int:
    """Return the number of a flow, which becomes known by this."""
    connection.execute(sql.ADD_FLOW, (flow,))
    return int(sql.one(connection, sql.FLOW_ID, (flow,))[0])


def insert_messages(connection: sqlite3.Connection, last_entry: int, messages: Sequence[tuple[int, ExchangeMessage]]) -> None:
    """Insert messages, each with the number of its flow, under the entry ids that follow `last_entry`."""
    numbered = list(enumerate(messages, last_entry + 1))
    sql.insert_many(connection, sql.INSERT_MESSAGE, [message_row(entry, flow_id, m) for entry, (flow_id, m) in numbered])
    sql.insert_many(connection, sql.INSERT_CONTENT, [(entry, m.body, m.jws) for entry, (_, m) in numbered])


def check_line(messages: Sequence[ExchangeMessage], flow: str, epoch: str, start: int, end: int) -> None:
    """Raise Conflict unless the messages are records of this flow and epoch in sequence, from `start` to before `end`."""
    for sequence, m in enumerate(messages, start):
        if (m.kind, m.flow, m.epoch, m.sequence) != (MessageKind.RECORDS, flow, epoch, sequence):
            raise Conflict(NOT_IN_LINE, message_id=m.message_id, sequence=sequence, flow=flow)
    if start + len(messages) != end:
        raise Conflict(MOVED_ON, flow=flow)


def close(connection: sqlite3.Connection, subjects: Mapping[str, str], now: datetime) -> int:
    """Close open items, refused records and dead messages, each as said; returns how many there were."""
    parameters = {"subjects": _json(list(subjects.items())), "now": micros(now)}
    return sum(connection.execute(statement, parameters).rowcount for statement in sql.CLOSE)


def count(connection: sqlite3.Connection, flow_id: int, done: Activity, now: datetime) -> None:
    """Add to what a flow did in this hour."""
    values = [getattr(done, column) for column in sql.ACTIVITY_COLUMNS]
    if any(values):
        connection.execute(sql.COUNT, (flow_id, hour(now), *values))


def _upsert_ledger(connection: sqlite3.Connection, flow_id: int, first_entry: int, step: Append) -> None:
    first, last = step.before.next_sequence, step.after.next_sequence
    places = {sequence: b"%05d" % (sequence - first) for sequence in range(first, last)}
    for run in _runs(step.ledger):
        hashes = b"".join(run.hashes)
        if len(hashes) != HASH_BYTES * len(run):
            raise ValueError("a hash in the ledger has 16 octets")
        try:
            carried = b"".join([places[sequence] for sequence in run.sequences])
        except KeyError as error:
            raise Conflict(NOT_IN_LINE, message_id="", sequence=error.args[0], flow=step.flow) from None
        connection.execute(
            sql.UPSERT_LEDGER,
            {
                "flow_id": flow_id,
                "keys": _json(list(run.keys)),
                "hashes": hashes,
                "ordinal": run.first_ordinal,
                "sequence": first,
                "entry_id": first_entry,
                "places": carried,
                "deleted": bytes([48 + deleted for deleted in run.deleted]),
            },
        )


def _place(connection: sqlite3.Connection, flow_id: int, chunk_base: int, placed: Placing) -> None:
    """Let a chunk hold those of its keys that the ledger knows, and of the keys that are not deleted no others."""
    if not 0 <= placed.chunk < sql.CHUNKS:
        raise ValueError("a chunk has a number from 0, below 2**32")
    parameters = {"flow_id": flow_id, "chunk": chunk_base + placed.chunk, "keys": _json(list(placed.keys))}
    connection.execute(sql.LEAVE_CHUNK, parameters)
    connection.execute(sql.ENTER_CHUNK, parameters)


def _runs(rows: Sequence[LedgerRow]) -> Iterator[LedgerColumns]:
    """Yield rows as columns, cut where their ordinals are not consecutive; in practice they always are."""
    if isinstance(rows, LedgerColumns):
        yield rows
        return
    start = 0
    for index in range(1, len(rows) + 1):
        if index == len(rows) or rows[index].ordinal != rows[start].ordinal + index - start:
            run = rows[start:index]
            yield LedgerColumns(
                keys=[row.key for row in run],
                hashes=[row.hash for row in run],
                first_ordinal=run[0].ordinal,
                sequences=[row.sequence for row in run],
                deleted=[row.deleted for row in run],
            )
            start = index


def _quarantine(connection: sqlite3.Connection, flow_id: int, items: Sequence[Quarantined]) -> int:
    rows = [item_row(flow_id, item, _json(dict(item.details))) for item in items]
    return sql.insert_many(connection, sql.QUARANTINE, rows)


def _json(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()
