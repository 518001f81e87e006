"""Exchange messages, read. Nothing is trusted: caps first, then strict JSON, then types, then the records.

The signature was verified over the octets before anything here runs; what is checked here is what a rightful sender could
still get wrong, or do on purpose.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw

from agent.errors import BadMessage
from agent.model import Op
from agent.wire.codes import refusal
from agent.wire.compression import decompress
from agent.wire.event import MAX_SEQUENCE, RECORDS_TYPE, department_source, hub_source
from agent.wire.limits import Limits
from agent.wire.strict import brackets, check_depth, load_strict, too_many_values
from agent.wire.topology import FLOW_ID, NODE_CODE

if TYPE_CHECKING:
    MaybeRaw = Raw | None
    MaybeTime = str | None
    MaybeId = str | None
else:  # what is absent keeps its default None; null is not absent, so the types on the wire do not have it
    MaybeRaw = Raw
    MaybeTime = Annotated[str, Meta(min_length=1, max_length=40)]
    MaybeId = Annotated[str, Meta(min_length=32, max_length=32)]

MAX_KEY_MEMBERS: Final = 16

_RECORD_IDS: Final = re.compile(r"(?:[0-9a-f]{32})*", re.ASCII)
_TIMES: Final = re.compile(r"(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?\n)*", re.ASCII)  # one per line
_CONTAINERS: Final = (dict, list)
_TIME: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z"

Node = Annotated[str, Meta(pattern=rf"^{NODE_CODE.pattern}\Z")]
Flow = Annotated[str, Meta(pattern=rf"^({FLOW_ID.pattern})?\Z")]
Epoch = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}\Z")]


class WireRecord(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One record as it stands in the body; `key` and `data` are the exact octets. `data` None: a delete without data."""

    id: Annotated[str, Meta(min_length=32, max_length=32)]
    op: Op
    key: Raw
    at: MaybeTime = None
    corrects: MaybeId = None
    data: MaybeRaw = None


class _Records(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    records: list[WireRecord]


class _RawRecords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    records: list[Raw]


class _Event(msgspec.Struct, frozen=True):
    """CloudEvents attributes. Attributes not named here are extensions of somebody else and are ignored."""

    specversion: str
    id: Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,64}\Z")]
    source: Annotated[str, Meta(min_length=1, max_length=256)]
    type: Annotated[str, Meta(min_length=1, max_length=128)]
    time: Annotated[str, Meta(pattern=_TIME)]
    datacontenttype: Literal["application/json"]
    sender: Node
    receiver: Node
    data: Raw
    subject: Annotated[str, Meta(max_length=256)] = ""
    dataschema: Annotated[str, Meta(max_length=512)] = ""
    flow: Flow = ""
    epoch: Epoch = ""
    sequence: Annotated[str, Meta(pattern=r"^[0-9]{19}\Z")] = "0" * 19
    recordcount: Annotated[int, Meta(ge=0)] = 0
    traceparent: Annotated[str, Meta(max_length=64)] = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An opened message. `data` is the exact octets; `records` is empty for everything but a message of records."""

    id: str
    source: str
    type: str
    subject: str
    time: str
    dataschema: str
    sender: str
    receiver: str
    flow: str
    epoch: str
    sequence: int
    record_count: int
    traceparent: str
    data: Raw
    records: Sequence[WireRecord] = ()


def open_body(body: bytes, encoding: str, limits: Limits) -> Envelope:
    """Return what the octets of a verified body say. Raises BadMessage; its reason is a refusal code.

    Time and memory are bounded by the limits, whatever the octets are.
    """
    if len(body) > limits.body_bytes:
        raise refusal("too_large", size_bytes=len(body), limit_bytes=limits.body_bytes)
    text = decompress(body, encoding, limits.decompressed_bytes)
    return _open_compact(text, limits) or _open_any(text, limits)


def _open_any(text: bytes, limits: Limits) -> Envelope:
    document = load_strict(text, values=limits.values)
    event = _decode(text, _EVENT)
    _check_event(event, limits)
    records: Sequence[WireRecord] = ()
    flat = 0
    if event.type == RECORDS_TYPE:
        records = _decode(event.data, _RECORDS).records
        _check_records(records, event.recordcount)
        flat = 3 + _check_values(document["data"]["records"])
    if brackets(text) > flat:  # something nests inside a value, or a bracket stands in a string
        check_depth(document, limits.depth)
    return _envelope(event, records)


def _open_compact(text: bytes, limits: Limits) -> Envelope | None:
    """Open a message of records in the spelling of our writer, a few records at a time: what they become stays in the cache.

    None for a message of another kind or spelling, or with something wrong in it: `_open_any` finds out what.
    """
    if too_many_values(text, limits.values):
        return None
    try:
        event = _EVENT.decode(text)
        _check_event(event, limits)
        if event.type != RECORDS_TYPE:
            return None
        data = bytes(event.data)
        at = text.find(_MEMBER) + len(_MEMBER)
        if not text.startswith(data, at):
            return None
        check_depth(load_strict(text[:at] + b"{}" + text[at + len(data) :], values=limits.values), limits.depth)
        raw = _RAW_RECORDS.decode(data).records
        if len(data) != len(_FRAME) + sum(map(len, raw)) + len(raw) - 1:
            return None  # more than records and commas between them
        parts = [_read_part(raw[start : start + _PART], limits) for start in range(0, len(raw), _PART)]
        records = [record for part in parts for record in part]
        _check_records(records, event.recordcount)
    except (BadMessage, ValueError, RecursionError):
        return None
    return _envelope(event, records)


def _read_part(raw: Sequence[Raw], limits: Limits) -> list[WireRecord]:
    text = b"[%b]" % b",".join(raw)
    records = _PART_OF_RECORDS.decode(text)
    document = load_strict(text, values=limits.values)
    if brackets(text) > 1 + _check_values(document):
        check_depth(document, limits.depth - 2)  # the list stands two levels down
    return records


def read_records(envelope: Envelope) -> list[WireRecord]:
    """Return the records of a message of records. Raises BadMessage (unknown_type) for any other message."""
    if envelope.type != RECORDS_TYPE:
        raise refusal("unknown_type", why=envelope.type)
    return list(envelope.records)


def check_properties(envelope: Envelope, message_id: str | None, type_: str | None) -> None:
    """Raise BadMessage (id_mismatch) when the AMQP properties name another message or type than the event itself."""
    if (message_id, type_) != (envelope.id, envelope.type):
        raise refusal("id_mismatch", message_id=str(message_id)[:64], type=str(type_)[:64])


_EVENT: Final = msgspec.json.Decoder(_Event)
_RECORDS: Final = msgspec.json.Decoder(_Records)
_RAW_RECORDS: Final = msgspec.json.Decoder(_RawRecords)
_PART_OF_RECORDS: Final = msgspec.json.Decoder(list[WireRecord])
_PART: Final = 16
_MEMBER: Final = b'"data":'
_FRAME: Final = b'{"records":[]}'
_T = TypeVar("_T")


def _decode(text: bytes | Raw, decoder: msgspec.json.Decoder[_T]) -> _T:
    try:
        return decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise refusal("malformed", why=str(error)) from error
    except RecursionError:
        raise refusal("too_deep", why="too deep to decode") from None


def _check_event(event: _Event, limits: Limits) -> None:
    if event.specversion != "1.0":
        raise refusal("unknown_version", why=f"specversion {event.specversion[:16]!r}")
    sources = (department_source(event.sender), department_source(event.sender, event.flow), hub_source(event.sender))
    if event.source not in sources:
        raise refusal("malformed", why="source does not belong to sender and flow")
    if int(event.sequence) > MAX_SEQUENCE:
        raise refusal("malformed", why="sequence beyond 2^63")
    _check_times([event.time])
    if event.type == RECORDS_TYPE:
        _check_batch(event, limits)


def _check_batch(event: _Event, limits: Limits) -> None:
    for name in ("subject", "dataschema", "flow", "epoch"):
        if not getattr(event, name):
            raise refusal("malformed", why=f"{name} is missing")
    if int(event.sequence) == 0 or event.recordcount == 0:
        raise refusal("malformed", why="sequence and recordcount start at 1")
    if event.recordcount > limits.records:
        raise refusal("too_many_records", records=event.recordcount, limit=limits.records)


def _check_records(records: Sequence[WireRecord], announced: int) -> None:
    if len(records) != announced:
        raise refusal("count_mismatch", announced=announced, found=len(records))
    _check_ids(records)
    _check_times([record.at for record in records if record.at is not None])


def _check_values(raw: Sequence[Mapping[str, Any]]) -> int:
    """Check what types cannot say; return how many brackets records open whose values do not nest."""
    opened = 0
    for record in raw:
        _check_key(record["key"])
        if record.get("data").__class__ is dict:
            opened += 3
        elif record["op"] == "delete" and "data" not in record:
            opened += 2
        else:
            raise refusal("malformed", why="data is not an object")
    return opened


def _check_ids(records: Sequence[WireRecord]) -> None:
    ids = [record.id for record in records]
    if len(set(ids)) != len(ids):
        raise refusal("duplicate_record", records=len(ids), distinct=len(set(ids)))
    corrected = [record.corrects for record in records if record.corrects is not None]
    if not _RECORD_IDS.fullmatch("".join(ids + corrected)):
        raise refusal("malformed", why="a record id is not 32 lower hex digits")


def _check_times(times: Sequence[str]) -> None:
    try:
        shaped = _TIMES.fullmatch("\n".join((*times, "")))
        deque(map(datetime.fromisoformat, times), maxlen=0)
    except ValueError:
        shaped = None
    if not shaped:
        raise refusal("malformed", why="not a time")


def _check_key(key: object) -> None:
    if key.__class__ is not dict or not 1 <= len(key) <= MAX_KEY_MEMBERS:
        raise refusal("malformed", why=f"key is not an object of 1 to {MAX_KEY_MEMBERS} members")
    for value in key.values():
        if value.__class__ in _CONTAINERS or value is None:
            raise refusal("malformed", why="a key member is not text, number or boolean")


def _envelope(event: _Event, records: Sequence[WireRecord]) -> Envelope:
    return Envelope(
        id=event.id,
        source=event.source,
        type=event.type,
        subject=event.subject,
        time=event.time,
        dataschema=event.dataschema,
        sender=event.sender,
        receiver=event.receiver,
        flow=event.flow,
        epoch=event.epoch,
        sequence=int(event.sequence),
        record_count=event.recordcount,
        traceparent=event.traceparent,
        data=event.data,
        records=records,
    )
