"""Control messages: what the two ends of a hop say to each other about flows, not about records.

They take no sequence. Numbers of 64 bits travel as decimal text (`Number`), so that no JSON parser rounds them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from msgspec.json import encode as _json

from agent.model import ExchangeMessage, MessageKind
from agent.ports import Clock
from agent.wire.codes import refusal
from agent.wire.event import CONTROL_TYPE, RandomBytes, event_id, time_text, traceparent, write_event
from agent.wire.limits import Limits
from agent.wire.reader import Envelope
from agent.wire.signature import CONTROL, Signer, detached_jws
from agent.wire.topology import FLOW_ID

Number = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,18})\Z")]
"""A number of up to 64 bits as decimal text: `number(12)` writes it, `int` reads it."""

Text = Annotated[str, Meta(min_length=1, max_length=512)]
MessageId = Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,64}\Z")]
FlowId = Annotated[str, Meta(pattern=rf"^({FLOW_ID.pattern})\Z")]
EpochId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]

MAX_IDS: Final = 1000
"""Most message ids in one query."""

MAX_FLOWS: Final = 1000
"""Most flows in one hello, and most types it may name."""


def number(value: int) -> Number:
    """Return a 64-bit number as it travels. Raises ValueError outside 0 … 2^63-1."""
    if not 0 <= value < 1 << 63:
        raise ValueError(f"not a 64-bit number: {value}")
    return str(value)


class _Control(msgspec.Struct, frozen=True, tag_field="control", omit_defaults=True):
    """Base: the member `control` tells them apart. Unknown members are ignored, unknown kinds are not."""


class NextSequence(msgspec.Struct, frozen=True):
    """Where an agent stands in a flow: the sequence it will give next."""

    epoch: EpochId
    next_sequence: Number


class Hello(_Control, frozen=True, tag="hello"):
    """The agent's first words on each connection."""

    instance: Text  # one run of one process
    version: Text
    flows: Annotated[dict[FlowId, NextSequence], Meta(max_length=MAX_FLOWS)] = {}
    types_pending: Annotated[list[Text], Meta(max_length=MAX_FLOWS)] = []  # dataschema of what waits to be sent


class WireLimits(msgspec.Struct, frozen=True):
    """What the hub reads, sizes in bytes."""

    body_bytes: Annotated[int, Meta(ge=1024)]
    decompressed_bytes: Annotated[int, Meta(ge=1024)]
    records: Annotated[int, Meta(ge=1)]

    @classmethod
    def of(cls, limits: Limits) -> WireLimits:
        """Return the part of the limits that is announced."""
        return cls(limits.body_bytes, limits.decompressed_bytes, limits.records)

    def limits(self) -> Limits:
        """Return limits with these and the defaults of the rest."""
        return Limits(self.body_bytes, self.decompressed_bytes, self.records)


class HighWater(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the hub stands in a flow: every sequence up to `high_water` is closed, except those in `gaps` (first, last)."""

    epoch: EpochId
    high_water: Number
    gaps: list[tuple[Number, Number]] = []
    frozen: str = ""  # why, when the flow is frozen


class JwkPublic(msgspec.Struct, frozen=True, omit_defaults=True):
    """A public key the hub announces under a key the department already trusts (RFC 7517)."""

    kty: str
    crv: str
    x: str
    kid: str
    alg: str
    y: str = ""
    state: str = "active"


class HubHello(_Control, frozen=True, tag="hub-hello"):
    """The hub's answer to a hello."""

    limits: WireLimits
    flows: Annotated[dict[FlowId, HighWater], Meta(max_length=MAX_FLOWS)] = {}
    keys: list[JwkPublic] = []


class EpochOpen(_Control, frozen=True, tag="epoch-open"):
    """Introduces an epoch of a flow, before its first record; `previous` is empty for the first one."""

    flow: FlowId
    epoch: EpochId
    previous: str = ""


class Void(_Control, frozen=True, tag="void", rename={"first": "from", "last": "to"}):
    """Closes the sequences `from` … `to` without a message: an operator discarded them."""

    flow: FlowId
    epoch: EpochId
    first: Number
    last: Number
    reason: Text


class Query(_Control, frozen=True, tag="query"):
    """Asks the hub what became of messages whose receipt is overdue."""

    ids: Annotated[list[MessageId], Meta(min_length=1, max_length=MAX_IDS)]


class QueryAnswer(_Control, frozen=True, tag="query-answer"):
    """Names the messages the hub never got; for the `known` others it sends their receipts again."""

    missing: Annotated[list[MessageId], Meta(max_length=MAX_IDS)]
    known: Annotated[int, Meta(ge=0)]


Control = Hello | HubHello | EpochOpen | Void | Query | QueryAnswer

_CONTROL: Final = msgspec.json.Decoder(Control)


def decode_control(envelope: Envelope) -> Control:
    """Return what a control message says. Raises BadMessage: unknown_type, unknown_version (a kind not known here), malformed."""
    if envelope.type != CONTROL_TYPE:
        raise refusal("unknown_type", why=envelope.type)
    try:
        control: Control = _CONTROL.decode(envelope.data)
    except msgspec.MsgspecError as error:
        code = "unknown_version" if "Invalid value" in str(error) and "$.control" in str(error) else "malformed"
        raise refusal(code, why=str(error)) from error
    if isinstance(control, Void) and int(control.first) > int(control.last):
        raise refusal("malformed", why="from is greater than to")
    return control


@dataclass(frozen=True, slots=True)
class ControlWriter:
    """Writes control messages from one node to the next; `source` is `department_source(…)` or `hub_source(…)`."""

    sender: str
    receiver: str
    source: str
    signer: Signer
    clock: Clock
    random_bytes: RandomBytes

    def write(self, data: Control, flow: str = "", epoch: str = "") -> ExchangeMessage:
        """Return a signed control message; `flow` and `epoch` where it is about one."""
        moment = self.clock.now()
        message_id = event_id(moment, self.random_bytes)
        body = write_event(
            _json(data),
            id=message_id,
            source=self.source,
            type=CONTROL_TYPE,
            subject=str(type(data).__struct_config__.tag),
            time=time_text(moment),
            datacontenttype="application/json",
            sender=self.sender,
            receiver=self.receiver,
            flow=flow,
            epoch=epoch,
            traceparent=traceparent(self.random_bytes),
        )
        return ExchangeMessage(
            message_id=message_id,
            kind=MessageKind.CONTROL,
            type=CONTROL_TYPE,
            flow=flow,
            epoch=epoch,
            sequence=0,
            body=body,
            encoding="",
            digest_alg="sha-256",
            digest=hashlib.sha256(body).digest(),
            jws=detached_jws(self.signer, typ=CONTROL, mid=message_id, aud=self.receiver, cenc="", body=body),
            kid=self.signer.kid,
            records=0,
            created_at=moment,
        )
