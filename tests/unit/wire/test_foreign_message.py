"""What a stranger writes with stock libraries, our own code accepts, in whatever spelling their libraries have."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import zstandard
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from agent.errors import BadMessage
from agent.wire.envelope import Limits, open_body, read_records
from agent.wire.keys import public_from_jwk
from agent.wire.signature import KeyRing

MID = "01a1fc0f-a32e-7042-9f2e-7634c4c80a75"
RECORD: dict[str, Any] = {
    "id": "0f83eabfa1a32e2bdcfa213ea25a2fbc",
    "op": "upsert",
    "key": {"编号": "5101", "n": 7},
    "data": {"姓名": "䶮\U00020bb7", "area": 1.5e300, "tags": [{"a": []}], "none": None, "big": "9223372036854775807"},
}


def event(records: list[dict[str, Any]]) -> bytes:
    attributes = {
        "id": MID,
        "source": "/departments/d-1/flows/f",
        "type": "cn.huitong.records.v1",
        "subject": "resource",
        "time": datetime(2026, 11, 21, tzinfo=UTC),
        "datacontenttype": "application/json",
        "dataschema": "https://example.org/schema/1",
        "sender": "d-1",
        "receiver": "hub-1",
        "flow": "f",
        "epoch": "e1",
        "sequence": "0000000000000000001",
        "recordcount": len(records),
        "somebodyelses": "extension",
    }
    return JSONFormat().write(CloudEvent(attributes, {"records": records}))


@pytest.mark.parametrize("kind, alg", [({"kty": "OKP", "crv": "Ed25519"}, "EdDSA"), ({"kty": "EC", "crv": "P-256"}, "ES256")])
@pytest.mark.parametrize("encoding", ["", "zstd"])
def test_a_strangers_message_is_read(kind: dict[str, str], alg: str, encoding: str) -> None:
    """A message made with `cloudevents` and `jwcrypto` verifies and opens, escapes, spaces and all."""
    key = JWK.generate(**kind)
    plain = event([RECORD, {"id": "ab" * 16, "op": "delete", "key": {"编号": "5102"}}])
    body = zstandard.compress(plain) if encoding else plain
    header = {"alg": alg, "kid": key.thumbprint(), "typ": "huitong-message", "b64": False, "crit": ["b64"]}
    token = JWS(body)
    token.add_signature(key, alg=alg, protected=json.dumps({**header, "mid": MID, "aud": "hub-1", "cenc": encoding}))
    token.detach_payload()
    ring = KeyRing([public_from_jwk(json.loads(key.export_public()), "d-1")])

    verified = ring.verify(token.serialize(compact=True), body, typ="huitong-message", mid=MID, cenc=encoding, audience="hub-1")
    first, second = read_records(open_body(body, encoding, Limits()))

    assert verified.owner == "d-1"
    assert json.loads(bytes(first.key)) == RECORD["key"]
    assert first.data is not None
    assert json.loads(bytes(first.data)) == RECORD["data"]
    assert second.data is None


def test_spelling_does_not_hide_a_repeat() -> None:
    """In a text spelled with spaces and escapes, a member named twice is found all the same."""
    plain = event([RECORD])
    assert b'"none": null' in plain
    with pytest.raises(BadMessage) as caught:
        open_body(plain.replace(b'"none": null', b'"none": null, "n\\u006fne": 1'), "", Limits())
    assert caught.value.reason == "duplicate_member"


def test_spelling_does_not_hide_a_large_integer() -> None:
    """In a text spelled with spaces, an integer of 64 bits as a number is found all the same."""
    plain = event([RECORD]).replace(b'"none": null', b'"none": 9007199254740993')
    with pytest.raises(BadMessage) as caught:
        open_body(plain, "", Limits())
    assert caught.value.reason == "malformed"
