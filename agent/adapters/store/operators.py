"""What operators change, inside its transaction; and the turn to a new epoch after a restore."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson

from agent.adapters.store import statements as sql
from agent.adapters.store.append import (
    MOVED_ON,
    check_line,
    close,
    enqueue,
    flow_id_of,
    insert_messages,
)
from agent.adapters.store.rows import micros, moment
from agent.errors import Conflict
from agent.i18n import N_
from agent.model import ExchangeMessage, Gap
from agent.queries import Closed, Operator, Rewrapped

RESTORED = N_("the store was put back from a copy; compare this flow with the hub")


def note(connection: sqlite3.Connection, action: str, subjects: Sequence[str], by: Operator, now: datetime) -> None:
    """Keep what an operator did, one row for each thing it was done to."""
    connection.execute(sql.NOTE, (micros(now), by.user, action, by.why, _json(list(subjects))))


def discard(
    connection: sqlite3.Connection,
    message_ids: Sequence[str],
    voids: Sequence[ExchangeMessage],
    by: Operator,
    now: datetime,
) -> None:
    """Give messages up and enqueue the voids of their sequences. Raises Conflict unless all of them are unsettled."""
    wanted = list(dict.fromkeys(message_ids))
    moved = connection.execute(sql.DISCARD, {"ids": _json(wanted), "now": micros(now)}).rowcount
    if moved != len(wanted):
        raise Conflict(
            N_("of {wanted} messages {moved} can be discarded: the others are unknown or have come to their end"),
            wanted=len(wanted),
            moved=moved,
        )
    enqueue(connection, voids)
    note(connection, "discard", wanted, by, now)


def close_items(connection: sqlite3.Connection, subjects: Sequence[str], how: Closed, by: Operator, now: datetime) -> int:
    """Mark items, refused records or dead messages as dealt with; returns how many were open."""
    done = close(connection, dict.fromkeys(subjects, str(how)), now)
    note(connection, "close", subjects, by, now)
    return done


def open_gap(
    connection: sqlite3.Connection, flow: str, kind: str, text: str, details: Mapping[str, object], now: datetime
) -> tuple[Gap, bool]:
    """Return the gap and whether it is a new one; an open gap of the same kind and details is the same gap."""
    canonical = orjson.dumps(details, option=orjson.OPT_SORT_KEYS, default=str).decode()
    gap = {"flow_id": flow_id_of(connection, flow), "kind": kind, "details": canonical}
    found = sql.one(connection, sql.FIND_GAP, gap)
    if found is not None:
        number, opened_at = found
        return Gap(flow, number, kind, text, dict(details), moment(opened_at)), False
    (number,) = sql.one(connection, sql.ADD_GAP, {**gap, "text": text, "now": micros(now)})
    return Gap(flow, number, kind, text, dict(details), now), True


def close_gap(connection: sqlite3.Connection, flow: str, number: int, by: Operator, now: datetime) -> bool:
    """Mark a gap as dealt with; False when there is no such open gap."""
    done = connection.execute(sql.CLOSE_GAP, {"flow": flow, "number": number, "now": micros(now)}).rowcount
    if done:
        note(connection, "close-gap", [f"{flow} {number}"], by, now)
    return bool(done)


def pause(connection: sqlite3.Connection, flow: str, reason: str) -> None:
    """Store that a flow is paused and why."""
    flow_id_of(connection, flow)
    connection.execute(sql.PAUSE, (reason, flow))


def unplace(connection: sqlite3.Connection, flow: str) -> None:
    """Take every key of a flow out of its chunk."""
    connection.execute(sql.FORGET_CHUNKS, (flow,))


def begin_epoch(connection: sqlite3.Connection, epoch: str, by: Operator, now: datetime) -> list[Gap]:
    """Turn every flow to a new epoch and record its gap; see SqliteStore.begin_epoch."""
    (current,) = sql.one(connection, sql.GET_META, ("epoch",))
    if epoch == current:
        raise Conflict(N_("the store is in this epoch already"))
    flows = connection.execute(sql.FLOWS_TO_TURN).fetchall()
    connection.execute(sql.BACK_IN_LINE)
    connection.execute(sql.DROP_CONTROLS, {"now": micros(now)})
    connection.execute(sql.TURN, {"epoch": epoch})
    connection.execute(sql.PUT_META, ("epoch", epoch))
    note(connection, "begin-epoch", [epoch], by, now)
    gaps = []
    for _, flow, old, next_sequence, next_ordinal in flows:
        details = {"epoch": old, "next_sequence": next_sequence, "next_ordinal": next_ordinal}
        gaps.append(open_gap(connection, flow, "store_restored", RESTORED, details, now)[0])
    return gaps


def rewrap(connection: sqlite3.Connection, flow: str, pairs: Sequence[Rewrapped], now: datetime) -> None:
    """Let messages of the new epoch carry the records of old ones; see SqliteStore.rewrap."""
    row = sql.one(connection, sql.FLOW_ID, (flow,))
    if row is None:
        raise Conflict(MOVED_ON, flow=flow)
    flow_id, epoch, announced, _, next_sequence = row
    (waiting,) = sql.one(connection, sql.NEXT_LEFT_BEHIND, {"flow_id": flow_id, "epoch": epoch, "limit": len(pairs)})
    if orjson.loads(waiting) != [old for old, _ in pairs] or not announced:
        raise Conflict(N_("flow {flow} is not announced, or these are not its next messages to re-wrap"), flow=flow)
    messages = [message for _, message in pairs]
    end = next_sequence + len(messages)
    check_line(messages, flow, epoch, next_sequence, end)
    (last_entry,) = sql.one(connection, sql.LAST_ENTRY)
    insert_messages(connection, last_entry, [(flow_id, message) for message in messages])
    successors = [(old, message.message_id) for old, message in pairs]
    connection.execute(sql.REWRAP, {"pairs": _json(successors), "now": micros(now)})
    connection.execute(sql.REWRAPPED, {"sequence": end, "flow_id": flow_id})


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
