"""The event around every message: CloudEvents 1.0 attributes, event ids, times."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from msgspec.json import encode as _json

from agent.wire.signature import CONTROL, MESSAGE, RECEIPT

RECORDS_TYPE: Final = "cn.huitong.records.v1"
CONTROL_TYPE: Final = "cn.huitong.control.v1"
RECEIPT_TYPE: Final = "cn.huitong.receipt.v1"
CATALOGUE_TYPE: Final = "cn.huitong.catalogue.v1"
RECONCILIATION_TYPE: Final = "cn.huitong.reconciliation.v1"

SEQUENCE_DIGITS: Final = 19
MAX_SEQUENCE: Final = 2**63 - 1

RandomBytes = Callable[[int], bytes]


def signature_typ(type_: str) -> str:
    """Return the `typ` a signature over a message of this type carries."""
    return {CONTROL_TYPE: CONTROL, RECEIPT_TYPE: RECEIPT}.get(type_, MESSAGE)


def department_source(code: str, flow: str = "") -> str:
    """Return the `source` of what a department sends, about one flow or about itself."""
    return f"/departments/{code}/flows/{flow}" if flow else f"/departments/{code}"


def hub_source(code: str) -> str:
    """Return the `source` of what a hub sends."""
    return f"/hubs/{code}"


def event_id(moment: datetime, random_bytes: RandomBytes) -> str:
    """Return a UUID version 7 (RFC 9562): unique, and ordered as text by the millisecond it was made in."""
    millis = int(moment.timestamp() * 1000) & (1 << 48) - 1
    random = int.from_bytes(random_bytes(10))
    rand_a, rand_b = random >> 68, random & (1 << 62) - 1
    return str(uuid.UUID(int=millis << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b))


def traceparent(random_bytes: RandomBytes) -> str:
    """Return a W3C trace context for one message: a new trace, not sampled."""
    octets = random_bytes(24)
    return f"00-{octets[:16].hex()}-{octets[16:].hex()}-00"


def time_text(moment: datetime) -> str:
    """Return RFC 3339 text in UTC with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def sequence_text(sequence: int) -> str:
    """Return a sequence as 19 digits, so that it orders as text. Raises ValueError outside 0 … 2^63-1."""
    if not 0 <= sequence <= MAX_SEQUENCE:
        raise ValueError(f"not a sequence: {sequence}")
    return f"{sequence:0{SEQUENCE_DIGITS}d}"


def write_event(data: bytes, **attributes: str | int) -> bytes:
    """Return the event as compact JSON: the attributes in the given order, empty ones left out, then `data` (JSON) as it is."""
    said = {"specversion": "1.0", **{name: value for name, value in attributes.items() if value != ""}}
    return b'%b,"data":%b}' % (_json(said)[:-1], data)
