"""Ways to make a bad exchange message out of a good one: its properties, its signature, its octets, its event, its records.

A maker takes a department and returns a delivery as the hub's feed gives it. What is changed in the event is signed again with
the department's own key, so that only the thing itself is wrong.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import zstandard

from agent.ports import Delivered
from agent.wire.event import CONTROL_TYPE, RECORDS_TYPE
from agent.wire.signature import CONTROL, MESSAGE, Signer, detached_jws
from hub.testing import SampleDepartment

Make = Callable[[SampleDepartment], Delivered]
Cases = dict[str, tuple[Make, str]]
"""Name → how to make the message, and the word with which it is refused."""

STORED = "stored"
"""In place of a word: it only looks wrong."""

SEQUENCE = 5
"""The sequence bad messages are given; good ones stand before and after it."""


def document(department: SampleDepartment) -> dict[str, Any]:
    """Return the event of a good message with two records."""
    message = department.records(SEQUENCE)
    body = zstandard.ZstdDecompressor().decompress(message.body) if message.encoding else message.body
    said: dict[str, Any] = json.loads(body)
    return said


def compact(value: object) -> bytes:
    """Return JSON as the product writes it; half characters stay half."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def b64(octets: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def signed(
    department: SampleDepartment,
    body: bytes,
    *,
    mid: str,
    type_: str = RECORDS_TYPE,
    cenc: str = "",
    signer: Signer | None = None,
) -> Delivered:
    """Return any octets, properly signed."""
    typ = CONTROL if type_ == CONTROL_TYPE else MESSAGE
    jws = detached_jws(signer or department.signer, typ=typ, mid=mid, aud=department.hub, cenc=cenc, body=body)
    message = replace(department.records(SEQUENCE), message_id=mid, body=body, encoding=cenc, jws=jws)
    return department.delivered(message, type=type_)


# -- properties ------------------------------------------------------------------------------------------------------


def prop(**changes: object) -> Make:
    """A good message with other properties; its signature is left as it was."""
    return lambda department: department.delivered(department.records(SEQUENCE), **changes)


def also(**headers: object) -> Make:
    """A good message with more headers beside its signature."""

    def make(department: SampleDepartment) -> Delivered:
        message = department.records(SEQUENCE)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return department.delivered(message, headers={"jws": message.jws, **named})

    return make


# -- the signature ---------------------------------------------------------------------------------------------------


def jws(change: Callable[[str], object]) -> Make:
    """A good message whose signature header is changed as text."""

    def make(department: SampleDepartment) -> Delivered:
        message = department.records(SEQUENCE)
        return department.delivered(message, headers={"jws": change(message.jws)})

    return make


def header(
    change: Callable[[dict[str, Any]], object] = lambda _: None, *, spell: Callable[[dict[str, Any]], bytes] = compact
) -> Make:
    """A good message whose protected header says something else, or is spelled otherwise; signed with the right key."""

    def make(department: SampleDepartment) -> Delivered:
        message = department.records(SEQUENCE)
        said = {"alg": "EdDSA", "kid": department.signer.kid, "typ": MESSAGE, "b64": False, "crit": ["b64"]}
        said |= {"aud": department.hub, "cenc": message.encoding, "mid": message.message_id}
        change(said)
        protected = b64(spell(said))
        signature = b64(department.signer.sign(protected.encode() + b"." + message.body))
        return department.delivered(message, headers={"jws": f"{protected}..{signature}"})

    return make


def claim(**members: object) -> Make:
    """A protected header with other members; `...` leaves one out."""

    def change(said: dict[str, Any]) -> None:
        said.update(members)
        for name in [name for name, value in members.items() if value is ...]:
            del said[name]

    return header(change)


def over(octets: Callable[[bytes], bytes]) -> Make:
    """A good message signed over other octets than those that travel."""

    def make(department: SampleDepartment) -> Delivered:
        message = department.records(SEQUENCE)
        sealed = signed(department, octets(message.body), mid=message.message_id, cenc=message.encoding)
        return replace(sealed, body=message.body)

    return make


# -- the octets ------------------------------------------------------------------------------------------------------


def raw(body: bytes | Callable[[], bytes], cenc: str = "") -> Make:
    """Octets that are no event, properly signed."""
    return lambda department: signed(department, body() if callable(body) else body, mid="m-1", cenc=cenc)


def text(change: Callable[[bytes], bytes]) -> Make:
    """The octets of a good event changed as text, signed again."""

    def make(department: SampleDepartment) -> Delivered:
        said = document(department)
        before = compact(said)
        after = change(before)
        assert after != before
        return signed(department, after, mid=said["id"])

    return make


def swap(before: bytes, after: bytes) -> Make:
    """The octets of a good event with one piece replaced, signed again."""
    return text(lambda body: body.replace(before, after, 1))


def packed(pack: Callable[[bytes], bytes]) -> Make:
    """A good event compressed in another way, signed again."""

    def make(department: SampleDepartment) -> Delivered:
        said = document(department)
        return signed(department, pack(compact(said)), mid=said["id"], cenc="zstd")

    return make


# -- the event -------------------------------------------------------------------------------------------------------


def event(change: Callable[[dict[str, Any]], object]) -> Make:
    """A good event with something changed, signed again under its id."""

    def make(department: SampleDepartment) -> Delivered:
        said = document(department)
        change(said)
        mid = said.get("id")
        return signed(department, compact(said), mid=mid if isinstance(mid, str) else "m-1")

    return make


def put(**members: object) -> Make:
    """An event with other attributes; `...` leaves one out."""

    def change(said: dict[str, Any]) -> None:
        said.update(members)
        for name in [name for name, value in members.items() if value is ...]:
            del said[name]

    return event(change)


def record(**members: object) -> Make:
    """An event whose first record has other members; `...` leaves one out."""

    def change(said: dict[str, Any]) -> None:
        first = said["data"]["records"][0]
        first.update(members)
        for name in [name for name, value in members.items() if value is ...]:
            del first[name]

    return event(change)


def control(data: Mapping[str, object] | object, **attributes: object) -> Make:
    """A control message with any data."""

    def make(department: SampleDepartment) -> Delivered:
        said = document(department)
        for name in ("sequence", "recordcount", "dataschema"):
            del said[name]
        said |= {"type": CONTROL_TYPE, "subject": "x", "data": data} | attributes
        return signed(department, compact(said), mid=said["id"], type_=CONTROL_TYPE)

    return make


def deep(levels: int) -> object:
    """Return lists in lists."""
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value
