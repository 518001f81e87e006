"""A stranger's client, written from docs/wire-format.md with stock libraries only, reads and verifies everything.

Nothing of ours is imported here, on purpose: CloudEvents by `cloudevents`, signatures by `jwcrypto`, compression by
`zstandard`, JSON by the standard library.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from cloudevents.core.bindings.amqp import AMQPMessage, from_amqp_event
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS, InvalidJWSObject, InvalidJWSSignature

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text())
TYP = {
    "cn.huitong.records.v1": "huitong-message",
    "cn.huitong.control.v1": "huitong-control",
    "cn.huitong.receipt.v1": "huitong-receipt",
}


class Refused(Exception):
    """This client does not accept the message."""


def load(family: str) -> list[Any]:
    return [pytest.param(json.loads(path.read_text()), id=path.stem) for path in sorted((VECTORS / family).glob("*.json"))]


def pinned_keys() -> dict[str, dict[str, Any]]:
    jwks = [json.loads(path.read_text()) for path in (VECTORS / "keys").glob("*.jwk")]
    return {jwk["kid"]: jwk for jwk in jwks if "d" not in jwk and jwk["state"] in ("active", "retiring")}


def verify(vector: dict[str, Any], own_code: str) -> dict[str, Any]:
    """Check the signature over the octets of the body; return the pinned key it was made with."""
    amqp, body = vector["amqp"], base64.b64decode(vector["body"])
    compact = amqp["headers"]["jws"]
    if compact.count(".") != 2 or ".." not in compact or compact.endswith("."):
        raise Refused("not header..signature")
    try:
        header = json.loads(base64.urlsafe_b64decode(compact.split(".")[0] + "==="))
    except ValueError as error:
        raise Refused("header") from error
    if not isinstance(header, dict) or header.get("kid") not in pinned_keys():
        raise Refused("key")
    jwk = pinned_keys()[header["kid"]]
    expected = {
        "alg": jwk["alg"],
        "typ": TYP[amqp["type"]],
        "b64": False,
        "crit": ["b64"],
        "mid": amqp["message_id"],
        "aud": own_code,
        "cenc": amqp.get("content_encoding", ""),
    }
    if any(header.get(name) != value for name, value in expected.items()):
        raise Refused("header")
    public = JWK(**{name: jwk[name] for name in ("kty", "crv", "x", "y") if name in jwk})
    assert public.thumbprint() == jwk["kid"]
    token = JWS()
    try:
        token.deserialize(compact)
        token.verify(public, alg=jwk["alg"], detached_payload=body)
    except (InvalidJWSSignature, InvalidJWSObject) as error:
        raise Refused("signature") from error
    return jwk


def read_event(vector: dict[str, Any]) -> Any:
    """Return the event in a verified body."""
    body = base64.b64decode(vector["body"])
    if vector["amqp"].get("content_encoding") == "zstd":
        announced = zstandard.get_frame_parameters(body).content_size
        assert announced <= MANIFEST["limits"]["decompressed_bytes"]
        body = zstandard.ZstdDecompressor().decompress(body, max_output_size=announced, allow_extra_data=False)
    properties = {"content-type": vector["amqp"]["content_type"]}
    return from_amqp_event(AMQPMessage(properties=properties, application_properties={}, application_data=body))


def audience(vector: dict[str, Any]) -> str:
    return str(MANIFEST["department" if vector["amqp"]["exchange"] == "to" else "hub"])


def record_id(part: dict[str, Any]) -> str:
    """Compute a record id from its parts, as the document describes it."""
    data = hashlib.sha256(part["data"].encode() if part["data"] is not None else b"").hexdigest()
    array = [1, part["sender"], part["flow"], part["incarnation"], part["entity"], part["key"], part["token"], part["op"], data]
    text = json.dumps(array, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@pytest.mark.parametrize("vector", load("messages"))
def test_a_stranger_reads_messages(vector: dict[str, Any]) -> None:
    """A client of stock libraries verifies a message and reads its attributes and data."""
    jwk = verify(vector, audience(vector))
    event = read_event(vector)
    assert event.get_id() == vector["amqp"]["message_id"]
    assert event.get_type() == vector["amqp"]["type"]
    assert event.get_extension("sender") == jwk["owner"]
    assert event.get_data() == vector["event"]["data"]
    if "records" in event.get_data():
        assert event.get_extension("recordcount") == len(event.get_data()["records"])
        assert len(event.get_extension("sequence")) == 19
    assert hashlib.sha256(base64.b64decode(vector["body"])).hexdigest() == vector["sha256"]


@pytest.mark.parametrize("vector", load("receipts"))
def test_a_stranger_reads_receipts(vector: dict[str, Any]) -> None:
    """A client of stock libraries verifies a receipt, and matches it with the octets it had sent."""
    jwk = verify(vector, MANIFEST["department"])
    event = read_event(vector)
    said = event.get_data()
    assert jwk["owner"] == said["hub"] == event.get_extension("sender") == MANIFEST["hub"]
    assert said["sender"] == event.get_extension("receiver") == MANIFEST["department"]
    sent = json.loads((VECTORS / "messages" / "zstd-ed25519.json").read_text())
    assert (said["message"], said["digest"]) == (sent["amqp"]["message_id"], {"alg": "sha-256", "value": sent["sha256"]})


@pytest.mark.parametrize("vector", [param for param in load("refused") if param.values[0]["layer"] == "signature"])
def test_a_stranger_refuses_bad_signatures(vector: dict[str, Any]) -> None:
    """What our own code refuses for its signature, a client of stock libraries does not accept either."""
    # JOSE libraries do not look for members named twice, and know no cap on the header; we insist on both.
    if vector["description"] in ("A member twice in the header.", "Longer than 2048 characters."):
        verify(vector, MANIFEST["hub"])
        return
    with pytest.raises(Refused):
        verify(vector, MANIFEST["hub"])


@pytest.mark.parametrize("vector", [param for param in load("refused") if param.values[0]["layer"] in ("body", "control")])
def test_bad_bodies_are_well_signed(vector: dict[str, Any]) -> None:
    """The bad bodies test what stands in them: their signatures verify."""
    assert verify(vector, MANIFEST["hub"])["owner"] == MANIFEST["department"]


@pytest.mark.parametrize("part", json.loads((VECTORS / "record-ids.json").read_text()), ids=lambda one: one["description"])
def test_a_stranger_computes_record_ids(part: dict[str, Any]) -> None:
    """The description of record ids is enough to compute them with the standard library."""
    assert record_id(part) == part["id"]


def test_private_test_keys_fit_their_public_halves() -> None:
    """The private keys are real, marked as test keys, and belong to the published public ones."""
    private = sorted((VECTORS / "keys").glob("*TEST-ONLY-private.jwk"))
    assert len(private) >= 4
    for path in private:
        jwk = json.loads(path.read_text())
        assert "TEST ONLY" in jwk.pop("warning")
        public = json.loads(path.with_name(path.name.replace(".TEST-ONLY-private", "")).read_text())
        signer = JWK(**{name: jwk[name] for name in ("kty", "crv", "x", "y", "d") if name in jwk})
        token = JWS(b"payload")
        token.add_signature(signer, alg=public["alg"], protected=json.dumps({"alg": public["alg"]}))
        verifier = JWK(**{name: public[name] for name in ("kty", "crv", "x", "y") if name in public})
        JWS().deserialize(token.serialize(compact=True), verifier)


def test_nothing_of_ours_is_imported() -> None:
    """This file would prove nothing if it used our own code."""
    tree = ast.parse(Path(__file__).read_text())
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not [module for module in modules if module.split(".")[0] in ("agent", "hub", "connectors")]
