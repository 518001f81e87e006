"""From rows of the tables to the nouns of `agent.queries`."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import Row

from agent.adapters.store.rows import moment
from agent.model import Gap, MessageKind, Quarantined, RefusedRecord, State
from agent.queries import Action, Closed, Item, MessageRow, ReceiptRow, Refusal


def message_of(row: Row[Any]) -> MessageRow:
    """Return a message without its body."""
    return MessageRow(
        entry_id=row.entry_id,
        message_id=row.message_id,
        kind=MessageKind(row.kind),
        type=row.type,
        flow=row.flow,
        epoch=row.epoch,
        sequence=row.sequence,
        records=row.records,
        size_bytes=row.size_bytes,
        digest_alg=row.digest_alg,
        digest=row.digest,
        kid=row.kid,
        state=State(row.state),
        code=row.code,
        closed_as=_closed(row.closed_as),
        attempts=row.attempts,
        created_at=moment(row.created_at),
        confirmed_at=moment(row.confirmed_at),
        settled_at=moment(row.settled_at),
        purged_at=moment(row.purged_at),
        superseded_by=row.superseded_by,
    )


def receipt_of(row: Row[Any]) -> ReceiptRow:
    """Return a receipt as it was kept."""
    return ReceiptRow(
        outcome=row.outcome,
        stage=row.stage,
        code=row.code,
        text=row.text,
        hub=row.hub,
        kid=row.kid,
        received_at=moment(row.received_at),
        committed_at=moment(row.committed_at),
        settled_at=moment(row.settled_at),
        audit_sequence=row.audit_sequence,
        audit_hash=row.audit_hash,
        body=row.body,
        jws=row.jws,
    )


def refusal_of(row: Row[Any]) -> Refusal:
    """Return a record the hub refused."""
    return Refusal(
        number=row.refused_id,
        flow=row.flow,
        message_id=row.message_id,
        refused=RefusedRecord(row.record, row.field, row.code, row.message),
        refused_at=moment(row.refused_at),
        closed_as=_closed(row.closed_as),
    )


def item_of(row: Row[Any]) -> Item:
    """Return quarantined input."""
    found = Quarantined(
        item_id=row.item_id,
        flow=row.flow,
        entity=row.entity,
        token=row.token,
        key=row.key,
        raw=row.raw,
        reason=row.reason,
        code=row.code,
        field=row.field,
        text=row.text,
        details=orjson.loads(row.details),
        observed_at=moment(row.observed_at),
    )
    return Item(row.number, found, _closed(row.closed_as), moment(row.closed_at))


def gap_of(row: Row[Any]) -> Gap:
    """Return a gap."""
    details = orjson.loads(row.details)
    return Gap(row.flow, row.number, row.kind, row.text, details, moment(row.opened_at), moment(row.closed_at))


def action_of(row: Row[Any]) -> Action:
    """Return something an operator did."""
    return Action(row.action_id, moment(row.at), row.user, row.action, row.subject, row.why)


def _closed(text: str) -> Closed | None:
    return Closed(text) if text else None
