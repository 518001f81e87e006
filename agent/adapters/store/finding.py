"""Which messages a question means, and in which order they come."""

from __future__ import annotations

from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Select, literal, literal_column, select, tuple_

from agent.adapters.store.rows import micros
from agent.adapters.store.tables import flow, ledger, message
from agent.queries import MessageQuery

MESSAGES: Final = select(message, flow.c.name.label("flow")).join_from(message, flow)


def messages_wanted(query: MessageQuery) -> Select[Any]:
    """Return the statement for a page of messages, newest first.

    Newest is the order of the appends, which the table is in; where times are given it is the time, which the index on it
    is in. So either way a page is read, not sorted out of everything.
    """
    found = MESSAGES.where(*_conditions(query)).limit(query.limit)
    entry_id, created_at = message.c.entry_id, message.c.created_at
    if query.since is None and query.until is None:
        found = found if query.before is None else found.where(entry_id < query.before)
        return found.order_by(entry_id.desc())
    if query.before is not None:
        last = select(created_at).where(entry_id == query.before).scalar_subquery()
        found = found.where(tuple_(created_at, entry_id) < tuple_(last, literal(query.before)))
    return found.order_by(created_at.desc(), entry_id.desc())


def _conditions(query: MessageQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.flow:
        conditions.append(flow.c.name == query.flow)
    if query.message_id:
        conditions.append(message.c.message_id == query.message_id)
    if query.key:
        conditions.append(message.c.entry_id.in_(_carriers(query.key)))
    if query.state is not None:
        # Written into the statement, so that SQLite can prove that the partial index for this state applies.
        conditions.append(message.c.state == literal_column(f"'{query.state}'"))
    if query.code:
        conditions.append(message.c.code == query.code)
    if query.since is not None:
        conditions.append(message.c.created_at >= micros(query.since))
    if query.until is not None:
        conditions.append(message.c.created_at < micros(query.until))
    return conditions


def _carriers(key: str) -> Select[tuple[int]]:
    """Select the messages that carried a key last, given as canonical text or as the bare text of a key of one field."""
    texts = [key] if key.startswith("[[") else [orjson.dumps([[letter, key]]).decode() for letter in "sin"]
    every_flow = ledger.c.flow_id.in_(select(flow.c.flow_id))
    return select(ledger.c.entry_id).where(every_flow, ledger.c.key.in_(texts))
