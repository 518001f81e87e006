"""Receipts: the hub's signed statement of what became of a message. Nothing else ever settles one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from msgspec.json import encode as _json

from agent.errors import BadMessage
from agent.model import Outcome, Receipt, RefusedRecord
from agent.ports import Clock
from agent.wire.codes import bad_receipt
from agent.wire.event import (
    RECEIPT_TYPE,
    RandomBytes,
    event_id,
    hub_source,
    sequence_text,
    time_text,
    traceparent,
    write_event,
)
from agent.wire.limits import Limits
from agent.wire.reader import Envelope, check_properties, open_body
from agent.wire.signature import RECEIPT, KeyRing, Signer, detached_jws

RECEIVED, CHECKED, STORED, USED = "R1", "R2", "R3", "R4"
"""Stages a receipt may speak of: taken over, checked, stored (applied), used or disputed by the recipient."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a hub states about one message; everything of a `Receipt` but the signature around it."""

    message_id: str
    sender: str  # the department that owns the exchange the message came through
    flow: str
    epoch: str
    sequence: int
    outcome: Outcome
    stage: str
    digest: bytes  # of the octets received
    hub: str
    received_at: datetime
    committed_at: datetime
    audit_sequence: int  # head of that department's audit chain
    audit_hash: str
    stored: int = 0
    refused: Sequence[RefusedRecord] = ()
    code: str = ""
    text: str = ""
    digest_alg: str = "sha-256"


Number = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,18})\Z")]
Time = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)\Z")]


class _Digest(msgspec.Struct, frozen=True):
    alg: Literal["sha-256", "sm3"]
    value: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class _Counts(msgspec.Struct, frozen=True):
    stored: Annotated[int, Meta(ge=0)]
    refused: Annotated[int, Meta(ge=0)]


class _Refused(msgspec.Struct, frozen=True):
    record: str
    field: str
    code: str
    message: str


class _Audit(msgspec.Struct, frozen=True):
    sequence: Number
    hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{0,64}\Z")]


class _Statement(msgspec.Struct, frozen=True):
    """A receipt's data on the wire."""

    message: Annotated[str, Meta(min_length=1, max_length=64)]
    digest: _Digest
    sender: str
    flow: str
    epoch: str
    sequence: Annotated[str, Meta(pattern=r"^[0-9]{19}\Z")]
    outcome: Outcome
    stage: Annotated[str, Meta(pattern=r"^R[0-4]\Z")]
    code: str
    text: str
    counts: _Counts
    refused: list[_Refused]
    hub: str
    received: Time
    committed: Time
    audit: _Audit


_STATEMENT: Final = msgspec.json.Decoder(_Statement)


def write_receipt(
    statement: Statement, *, audience: str, signer: Signer, clock: Clock, random_bytes: RandomBytes
) -> tuple[str, bytes, str]:
    """Return (message id, body, detached JWS) of a receipt for `audience`, the department it goes to. Never compressed."""
    moment = clock.now()
    message_id = event_id(moment, random_bytes)
    body = write_event(
        _json(_on_wire(statement)),
        id=message_id,
        source=hub_source(statement.hub),
        type=RECEIPT_TYPE,
        subject=statement.message_id,
        time=time_text(moment),
        datacontenttype="application/json",
        sender=statement.hub,
        receiver=audience,
        traceparent=traceparent(random_bytes),
    )
    return message_id, body, detached_jws(signer, typ=RECEIPT, mid=message_id, aud=audience, cenc="", body=body)


def read_receipt(body: bytes, encoding: str, jws: str, keyring: KeyRing, mid: str, own_code: str) -> Receipt:
    """Return the verified receipt; `mid` is the AMQP message id, `own_code` the code of this node.

    Raises BadReceipt; its reason is a refusal code. `unknown_key` may be cured by a key that is still to come: keep the octets.
    Whether the digest is that of the message is for the caller to compare: only the store knows the message.
    """
    try:
        key = keyring.verify(jws, body, typ=RECEIPT, mid=mid, cenc=encoding, audience=own_code)
        envelope = open_body(body, encoding, Limits())
        check_properties(envelope, mid, RECEIPT_TYPE)
        said = _STATEMENT.decode(envelope.data)
    except BadMessage as error:
        raise bad_receipt(error.reason, why=error.details.get("why", "")) from error
    except msgspec.MsgspecError as error:
        raise bad_receipt("malformed", why=str(error)) from error
    _check_parties(envelope, said, key.owner, own_code)
    return _receipt(said, key.kid, body, jws)


def _check_parties(envelope: Envelope, said: _Statement, owner: str, own_code: str) -> None:
    if not owner == said.hub == envelope.sender:
        raise bad_receipt("wrong_owner", owner=owner, hub=said.hub[:64])
    if not own_code == said.sender == envelope.receiver:
        raise bad_receipt("wrong_audience", sender=said.sender[:64], own=own_code)
    if said.counts.refused != len(said.refused):
        raise bad_receipt("count_mismatch", announced=said.counts.refused, found=len(said.refused))


def _on_wire(statement: Statement) -> _Statement:
    return _Statement(
        message=statement.message_id,
        digest=_Digest(alg="sha-256" if statement.digest_alg == "sha-256" else "sm3", value=statement.digest.hex()),
        sender=statement.sender,
        flow=statement.flow,
        epoch=statement.epoch,
        sequence=sequence_text(statement.sequence),
        outcome=statement.outcome,
        stage=statement.stage,
        code=statement.code,
        text=statement.text,
        counts=_Counts(stored=statement.stored, refused=len(statement.refused)),
        refused=[_Refused(one.record, one.field, one.code, one.message) for one in statement.refused],
        hub=statement.hub,
        received=time_text(statement.received_at),
        committed=time_text(statement.committed_at),
        audit=_Audit(sequence=str(statement.audit_sequence), hash=statement.audit_hash),
    )


def _receipt(said: _Statement, kid: str, body: bytes, jws: str) -> Receipt:
    try:
        received_at, committed_at = datetime.fromisoformat(said.received), datetime.fromisoformat(said.committed)
    except ValueError as error:
        raise bad_receipt("malformed", why=str(error)) from error
    return Receipt(
        message_id=said.message,
        sender=said.sender,
        flow=said.flow,
        epoch=said.epoch,
        sequence=int(said.sequence),
        outcome=said.outcome,
        stage=said.stage,
        code=said.code,
        text=said.text,
        digest_alg=said.digest.alg,
        digest=bytes.fromhex(said.digest.value),
        stored=said.counts.stored,
        refused=[RefusedRecord(one.record, one.field, one.code, one.message) for one in said.refused],
        hub=said.hub,
        received_at=received_at,
        committed_at=committed_at,
        audit_sequence=int(said.audit.sequence),
        audit_hash=said.audit.hash,
        kid=kid,
        body=body,
        jws=jws,
    )
