"""The published vectors, read with our own code: every good one opens, every bad one gives its reason."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agent.errors import BadMessage
from agent.wire.codes import CODES
from agent.wire.control import decode_control
from agent.wire.envelope import Limits, check_properties, open_body, read_records
from agent.wire.event import CONTROL_TYPE, signature_typ
from agent.wire.identity import RecordIds, data_hash
from agent.wire.keys import public_from_jwk
from agent.wire.receipt import read_receipt
from agent.wire.signature import KeyRing, KeyState, PublicKey

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "tests" / "vectors"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text())


def load(family: str) -> list[Any]:
    return [pytest.param(json.loads(path.read_text()), id=path.stem) for path in sorted((VECTORS / family).glob("*.json"))]


@cache
def ring() -> KeyRing:
    found: list[PublicKey] = []
    for path in (VECTORS / "keys").glob("*.jwk"):
        jwk = json.loads(path.read_text())
        if "d" not in jwk and jwk["state"] != "unknown":
            found.append(public_from_jwk(jwk, jwk["owner"], KeyState(jwk["state"])))
    return KeyRing(found)


def receive(vector: dict[str, Any]) -> Any:
    """Do with a vector what a node does with a message from the broker."""
    amqp, body = vector["amqp"], base64.b64decode(vector["body"])
    jws, encoding = amqp["headers"]["jws"], amqp.get("content_encoding", "")
    if amqp["type"] == "cn.huitong.receipt.v1":
        return read_receipt(body, encoding, jws, ring(), amqp["message_id"], MANIFEST["department"])
    typ = signature_typ(amqp["type"])
    audience = MANIFEST["department" if amqp["exchange"] == "to" else "hub"]
    ring().verify(jws, body, typ=typ, mid=amqp["message_id"], cenc=encoding, audience=audience)
    envelope = open_body(body, encoding, Limits())
    check_properties(envelope, amqp["message_id"], amqp["type"])
    return decode_control(envelope) if envelope.type == CONTROL_TYPE else read_records(envelope)


@pytest.mark.parametrize("vector", load("messages"))
def test_good_messages_open(vector: dict[str, Any]) -> None:
    """Every published message verifies, opens and says what stands beside it."""
    said = receive(vector)
    data = vector["event"]["data"]
    if "records" in data:
        assert [record.id for record in said] == [record["id"] for record in data["records"]]
        assert [None if r.data is None else json.loads(bytes(r.data)) for r in said] == [r.get("data") for r in data["records"]]
    else:
        assert type(said).__struct_config__.tag == data["control"]


@pytest.mark.parametrize("vector", load("receipts"))
def test_good_receipts_are_read(vector: dict[str, Any]) -> None:
    """Every published receipt verifies and says what stands beside it."""
    receipt = receive(vector)
    data = vector["event"]["data"]
    assert (receipt.message_id, receipt.outcome, receipt.stage) == (data["message"], data["outcome"], data["stage"])
    assert (receipt.digest.hex(), receipt.sequence) == (data["digest"]["value"], int(data["sequence"]))
    assert (receipt.stored, len(receipt.refused)) == (data["counts"]["stored"], data["counts"]["refused"])
    assert (receipt.audit_sequence, receipt.audit_hash) == (int(data["audit"]["sequence"]), data["audit"]["hash"])


@pytest.mark.parametrize("vector", load("refused"))
def test_bad_vectors_give_their_reason(vector: dict[str, Any]) -> None:
    """Every published bad message is refused with exactly the reason that stands beside it."""
    with pytest.raises(BadMessage) as caught:
        receive(vector)
    assert caught.value.reason == vector["reason"]
    assert caught.value.reason in CODES
    assert str(caught.value)


@pytest.mark.parametrize("example", json.loads((VECTORS / "record-ids.json").read_text()), ids=lambda one: one["description"])
def test_record_ids(example: dict[str, Any]) -> None:
    """Every published record id comes out of its parts."""
    ids = RecordIds(example["sender"], example["flow"], example["incarnation"], example["entity"])
    key = json.dumps(example["key"], ensure_ascii=False, separators=(",", ":"))
    data = None if example["data"] is None else example["data"].encode()
    assert ids.of(key, example["token"], example["op"], data_hash(data)) == example["id"]


def test_there_are_enough_vectors() -> None:
    """The parametrised tests above ran over something: at least forty bad vectors, of every layer and most reasons."""
    vectors = [param.values[0] for param in load("refused")]
    assert len(vectors) >= 40
    assert {vector["layer"] for vector in vectors} == {"signature", "body", "control", "receipt"}
    assert len({vector["reason"] for vector in vectors}) >= 20
    assert len(load("messages")) >= 10
    assert len(load("receipts")) >= 6


def test_vectors_are_what_the_program_writes() -> None:
    """script/make_vectors.py makes exactly the files on disk."""
    done = subprocess.run(
        [sys.executable, "script/make_vectors.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
