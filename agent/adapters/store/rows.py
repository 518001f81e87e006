"""Between the nouns of the model and the columns of the tables."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, overload

from agent.errors import StoreError
from agent.i18n import N_
from agent.model import (
    Counters,
    ExchangeMessage,
    FlowState,
    MessageKind,
    OutboxEntry,
    Position,
    Quarantined,
    Receipt,
    State,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_HOUR: Final = timedelta(hours=1)
_HASHES: Final = {"sha-256": "sha256", "sm3": "sm3"}


def micros(when: datetime) -> int:
    """Return whole microseconds since 1970."""
    return (when - _EPOCH) // _MICROSECOND


@overload
def moment(us: int) -> datetime: ...
@overload
def moment(us: int | None) -> datetime | None: ...
def moment(us: int | None) -> datetime | None:
    """Return the time of `micros`."""
    return None if us is None else _EPOCH + us * _MICROSECOND


def hour(when: datetime) -> int:
    """Return whole hours since 1970."""
    return (when - _EPOCH) // _HOUR


MESSAGE_COLUMNS: Final = (
    "entry_id, flow_id, epoch, sequence, message_id, kind, type, encoding, digest_alg, digest, kid, records, size_bytes, "
    "state, created_at"
)


def message_row(entry_id: int, flow_id: int, m: ExchangeMessage) -> tuple[Any, ...]:
    """Return the values of MESSAGE_COLUMNS for a new message."""
    about = (m.epoch, m.sequence, m.message_id, str(m.kind), m.type, m.encoding, m.digest_alg, m.digest, m.kid)
    return (entry_id, flow_id, *about, m.records, len(m.body), str(State.PENDING), micros(m.created_at))


ENTRY_COLUMNS: Final = (
    "m.entry_id, f.name, m.epoch, m.sequence, m.message_id, m.kind, m.type, m.encoding, m.digest_alg, m.digest, m.kid, "
    "m.records, m.state, m.attempts, m.created_at, m.confirmed_at, c.body, c.jws"
)


def entry_of(row: Sequence[Any]) -> OutboxEntry:
    """Return the entry of a row of ENTRY_COLUMNS. Raises StoreError when the body is not what was stored."""
    entry_id, flow, epoch, sequence, message_id, kind, type_, encoding, digest_alg, digest, kid, *rest = row
    records, state, attempts, created_at, confirmed_at, body, jws = rest
    if digest_alg in _HASHES and hashlib.new(_HASHES[digest_alg], body).digest() != digest:
        raise StoreError(N_("the body of message {message_id} is damaged on the disk"), message_id=message_id)
    message = ExchangeMessage(
        message_id=message_id,
        kind=MessageKind(kind),
        type=type_,
        flow=flow,
        epoch=epoch,
        sequence=sequence,
        body=body,
        encoding=encoding,
        digest_alg=digest_alg,
        digest=digest,
        jws=jws,
        kid=kid,
        records=records,
        created_at=moment(created_at),
    )
    return OutboxEntry(entry_id, message, State(state), attempts, moment(confirmed_at))


FLOW_COLUMNS: Final = "name, epoch, previous_epoch, announced, incarnation, position, next_sequence, next_ordinal, paused, loaded"


def flow_of(row: Sequence[Any], memory: dict[str, str]) -> FlowState:
    """Return the flow of a row of FLOW_COLUMNS."""
    name, epoch, previous_epoch, announced, incarnation, position, next_sequence, next_ordinal, paused, loaded = row
    return FlowState(
        flow=name,
        epoch=epoch,
        incarnation=incarnation,
        position=Position(position),
        counters=Counters(next_sequence, next_ordinal),
        memory=memory,
        paused=paused,
        loaded=bool(loaded),
        previous_epoch=previous_epoch,
        announced=bool(announced),
    )


RECEIPT_COLUMNS: Final = (
    "entry_id, stage, outcome, code, text, hub, kid, received_at, committed_at, settled_at, audit_sequence, audit_hash, body, jws"
)


def receipt_row(entry_id: int, r: Receipt, settled_at: int) -> tuple[Any, ...]:
    """Return the values of RECEIPT_COLUMNS."""
    said = (r.stage, str(r.outcome), r.code, r.text, r.hub, r.kid, micros(r.received_at), micros(r.committed_at))
    return (entry_id, *said, settled_at, r.audit_sequence, r.audit_hash, r.body, r.jws)


ITEM_COLUMNS: Final = "flow_id, item_id, entity, token, key, raw, reason, code, field, text, details, observed_at"


def item_row(flow_id: int, q: Quarantined, details: str) -> tuple[Any, ...]:
    """Return the values of ITEM_COLUMNS."""
    what = (q.item_id, q.entity, q.token, q.key, q.raw, q.reason, q.code, q.field, q.text)
    return (flow_id, *what, details, micros(q.observed_at))
