"""What receipts, confirms, resends and purging do inside their transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import orjson

from agent.adapters.store import statements as sql
from agent.adapters.store.append import count
from agent.adapters.store.rows import micros, moment, receipt_row
from agent.failpoints import failpoint
from agent.model import TRANSITIONS, Receipt, Settled, State, Verdict, names, trigger_of
from agent.queries import Activity


@dataclass(frozen=True, slots=True)
class _Receipted:
    """The message a receipt speaks of."""

    entry_id: int
    flow_id: int
    identity: tuple[str, str, int, str, str]  # flow, epoch, sequence, digest algorithm, digest in hex
    state: State
    records: int
    created_at: int


def settle(connection: sqlite3.Connection, receipts: Sequence[Receipt], sender: str, now: datetime) -> list[Settled]:
    """Apply receipts in order; one that does not fit its message in every respect moves nothing."""
    messages = _look_up(connection, [receipt.message_id for receipt in receipts])
    results: list[Settled] = []
    moved: list[tuple[_Receipted, Receipt]] = []
    for receipt in receipts:
        message = messages.get(receipt.message_id)
        if message is None:
            results.append(Settled(receipt.message_id, Verdict.UNKNOWN))
            continue
        verdict, state = judge(message.identity, message.state, receipt, sender)
        if verdict is Verdict.MOVED:
            message = messages[receipt.message_id] = replace(message, state=state)
            moved.append((message, receipt))
        about = (message.identity[0], message.records, moment(message.created_at))
        results.append(Settled(receipt.message_id, verdict, state, *about))
    if moved:
        _store(connection, moved, now)
    return results


def judge(identity: tuple[str, str, int, str, str], state: State, receipt: Receipt, sender: str) -> tuple[Verdict, State]:
    """Decide what a receipt does to a message in `state`, and the state after it."""
    flow, epoch, sequence, *digest = identity
    said = [receipt.digest_alg, receipt.digest.hex().upper()]
    if said != digest or receipt.sender != sender or not names(receipt, flow, epoch, sequence):
        return Verdict.MISMATCH, state
    trigger = trigger_of(receipt)
    if trigger is None:
        return Verdict.HELD, state
    after = TRANSITIONS.get((state, trigger))
    return (Verdict.REPEAT, state) if after is None else (Verdict.MOVED, after)


def _look_up(connection: sqlite3.Connection, message_ids: Sequence[str]) -> dict[str, _Receipted]:
    (found,) = sql.one(connection, sql.RECEIPTED, {"ids": _json(sorted(set(message_ids)))})
    return {
        message_id: _Receipted(entry_id, flow_id, (flow, epoch, sequence, alg, digest), State(state), records, created_at)
        for message_id, entry_id, flow_id, flow, epoch, sequence, alg, digest, state, records, created_at in orjson.loads(found)
    }


def _store(connection: sqlite3.Connection, moved: Sequence[tuple[_Receipted, Receipt]], now: datetime) -> None:
    at = micros(now)
    last = {message.entry_id: (message.entry_id, message.state, receipt.code) for message, receipt in moved}
    connection.execute(sql.SETTLE, {"moves": _json(list(last.values())), "now": at})
    sql.insert_many(connection, sql.KEEP_RECEIPT, [receipt_row(m.entry_id, receipt, at) for m, receipt in moved])
    refused = [
        (m.entry_id, m.flow_id, each.record, each.field, each.code, each.message)
        for m, receipt in moved
        for each in receipt.refused
    ]
    if refused:
        connection.execute(sql.REFUSE, {"refused": _json(refused), "now": at})
    for flow_id, done in _by_flow(moved).items():
        count(connection, flow_id, done, now)


def _by_flow(moved: Sequence[tuple[_Receipted, Receipt]]) -> Mapping[int, Activity]:
    sums: dict[int, Activity] = {}
    for message, receipt in moved:
        so_far = sums.get(message.flow_id, Activity(receipt.flow))
        sums[message.flow_id] = replace(
            so_far, stored=so_far.stored + receipt.stored, refused=so_far.refused + len(receipt.refused)
        )
    return sums


def confirm(connection: sqlite3.Connection, entry_ids: Sequence[int], now: datetime) -> None:
    """Note that the broker took these; what moved on meanwhile stays where it is."""
    failpoint("C09")
    connection.execute(sql.CONFIRM, {"entries": _json(list(entry_ids)), "now": micros(now)})


def reopen(connection: sqlite3.Connection, message_ids: Sequence[str]) -> int:
    """Put confirmed messages back in line; returns how many were."""
    return connection.execute(sql.REOPEN, {"ids": _json(list(message_ids))}).rowcount


def purge(connection: sqlite3.Connection, stored_before: datetime, limit: int, now: datetime) -> int:
    """Drop the oldest bodies; what is known about the messages, and their receipts, stay."""
    due = connection.execute(sql.PURGE_WHICH, {"before": micros(stored_before), "limit": limit}).fetchall()
    entries = _json([entry_id for (entry_id,) in due])
    if due:
        connection.execute(sql.PURGE_CONTENT, {"entries": entries})
        failpoint("C18")
        connection.execute(sql.PURGE_MARK, {"entries": entries, "now": micros(now)})
    return len(due)


def forget(connection: sqlite3.Connection, known_before: datetime, limit: int) -> int:
    """Drop everything about the oldest messages whose bodies have gone; returns how many."""
    due = connection.execute(sql.FORGET_WHICH, {"before": micros(known_before), "limit": limit}).fetchall()
    entries = _json([entry_id for (entry_id,) in due])
    for statement in sql.FORGET if due else ():
        connection.execute(statement, {"entries": entries})
    return len(due)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
