"""docs/wire-format.md says what the code does: its programs run, its examples are the vectors, its table is the table."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.wire.codes import CODES
from agent.wire.envelope import Limits, open_body, read_records
from agent.wire.keys import public_from_jwk
from agent.wire.limits import Limits as Defaults
from agent.wire.signature import MAX_JWS_CHARS, KeyRing

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "tests" / "vectors"
ENGLISH = (ROOT / "docs" / "wire-format.md").read_text()
CHINESE = (ROOT / "docs" / "wire-format.zh-CN.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", ENGLISH, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_programs_run(number: int) -> None:
    """Every Python program in the document runs where the vectors are, without anything of ours."""
    programs = blocks("python")
    assert len(programs) == 3
    assert "agent" not in programs[number]
    done = subprocess.run([sys.executable, "-c", programs[number]], cwd=VECTORS, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_document_writes_is_read() -> None:
    """The message that the document's program writes verifies and opens with our own code."""
    show = "\nprint(json.dumps([jws, mid, json.loads(key.export_public()), octets.decode()]))"
    done = subprocess.run([sys.executable, "-c", blocks("python")[2] + show], capture_output=True, text=True, check=True)
    jws, mid, jwk, text = json.loads(done.stdout)
    ring = KeyRing([public_from_jwk(jwk, "510100-bdc-01")])
    key = ring.verify(jws, text.encode(), typ="huitong-message", mid=mid, cenc="", audience="510000-hub")
    assert key.owner == "510100-bdc-01"
    assert [record.id for record in read_records(open_body(text.encode(), "", Limits()))] == ["0f83eabfa1a32e2bdcfa213ea25a2fbc"]


def test_the_examples_are_the_vectors() -> None:
    """Header, body, receipt and enrolment in the document are those of the vectors."""
    header, event, receipt, enrolment = map(json.loads, blocks("json"))
    plain = json.loads((VECTORS / "messages" / "plain-ed25519.json").read_text())
    partly = json.loads((VECTORS / "receipts" / "partly-stored.json").read_text())
    jwk = json.loads((VECTORS / "keys" / "department-ed25519.jwk").read_text())
    assert event == plain["event"]
    assert receipt == partly["event"]["data"]
    assert (header["kid"], header["mid"]) == (jwk["kid"], plain["amqp"]["message_id"])
    assert enrolment == {"node": jwk["owner"], "keys": [{name: jwk[name] for name in ("kty", "crv", "x", "kid", "alg", "use")}]}


def test_the_table_of_refusals_is_the_table() -> None:
    """Every code stands in both documents, with its outcome; the English one says exactly what the code says."""
    rows = [f"| `{one.code}` | `{one.outcome.value}` | {one.side.value} | {one.text} |" for one in CODES.values()]
    table = ENGLISH.split("<!-- codes -->")[1].split("<!-- /codes -->")[0]
    assert table.strip().splitlines()[2:] == rows
    chinese = CHINESE.split("<!-- codes -->")[1].split("<!-- /codes -->")[0]
    found = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", chinese, re.MULTILINE)
    assert found == [(one.code, one.outcome.value) for one in CODES.values()]


def test_the_numbers_are_the_numbers() -> None:
    """Limits in both documents are the defaults of the code."""
    assert Defaults() == Limits(8 * 2**20, 64 * 2**20, 5000, 32, 2_000_000)
    for text in (ENGLISH, CHINESE):
        for number in ("8 MiB", "64 MiB", "5 000", "2 000 000", "32 "):
            assert number in text
        assert f"{MAX_JWS_CHARS:_}".replace("_", " ") in text


def test_both_documents_have_the_same_sections() -> None:
    """What is said in one language is said in the other."""
    assert [len(re.findall(r"^## \d+\. ", text, re.MULTILINE)) for text in (ENGLISH, CHINESE)] == [12, 12]
    for text in (ENGLISH, CHINESE):
        for word in (
            "epoch-open",
            "hub-hello",
            "query-answer",
            "refused_retry",
            "RFC 7797",
            "RFC 7638",
            "high_water",
            "types_pending",
        ):
            assert word in text
