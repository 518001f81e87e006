"""Bad messages against ingest: each ends stored, or in quarantine with a reason and a receipt. Nothing raises, nothing is lost."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import zstandard
from sqlalchemy import text

from agent.model import ExchangeMessage, Outcome
from agent.ports import Delivered
from agent.testing.clock import FakeClock
from agent.wire.event import CONTROL_TYPE
from agent.wire.limits import Limits
from agent.wire.signature import CONTROL, MESSAGE, RECEIPT, detached_jws
from hub.store.sql import SqlStore
from hub.testing import DATASCHEMA, SampleDepartment, StillHub

LIMITS = Limits(body_bytes=20_000, decompressed_bytes=100_000, records=50, depth=12, values=5_000)
Make = Callable[[SampleDepartment], Delivered]


# -- ways to be bad --------------------------------------------------------------------------------------------------


def plain(department: SampleDepartment, sequence: int = 1) -> dict[str, Any]:
    """The event of a good message, as a document."""
    message = department.records(sequence)
    body = zstandard.ZstdDecompressor().decompress(message.body) if message.encoding else message.body
    document: dict[str, Any] = json.loads(body)
    return document


def sign(
    department: SampleDepartment,
    body: bytes,
    *,
    mid: str = "m-1",
    type_: str = "cn.huitong.records.v1",
    cenc: str = "",
    typ: str = MESSAGE,
    aud: str = "sc-hub",
) -> Delivered:
    """Any octets, properly signed."""
    jws = detached_jws(department.signer, typ=typ, mid=mid, aud=aud, cenc=cenc, body=body)
    message = replace(
        department.records(1), message_id=mid, body=body, encoding=cenc, jws=jws, digest=hashlib.sha256(body).digest()
    )
    return department.delivered(message, type=type_)


def event(change: Callable[[dict[str, Any]], object]) -> Make:
    """A good event with something changed, signed again."""

    def make(department: SampleDepartment) -> Delivered:
        document = plain(department)
        change(document)
        octets = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        return sign(department, octets, mid=str(document.get("id", "m-1")))

    return make


def put(**members: object) -> Make:
    return event(lambda document: document.update(members))


def drop(name: str) -> Make:
    return event(lambda document: document.pop(name))


def record(**members: object) -> Make:
    return event(lambda document: document["data"]["records"][0].update(members))


def drop_record(name: str) -> Make:
    return event(lambda document: document["data"]["records"][0].pop(name))


def octets(change: Callable[[bytes], bytes]) -> Make:
    """The octets of a good event changed as text, signed again."""

    def make(department: SampleDepartment) -> Delivered:
        document = plain(department)
        return sign(department, change(json.dumps(document, separators=(",", ":")).encode()), mid=document["id"])

    return make


def raw(body: bytes, cenc: str = "") -> Make:
    return lambda department: sign(department, body, cenc=cenc)


def prop(**changes: object) -> Make:
    """A good message with other properties; its signature is left as it was."""
    return lambda department: department.delivered(department.records(1), **changes)


def jws(change: Callable[[str], object]) -> Make:
    def make(department: SampleDepartment) -> Delivered:
        message = department.records(1)
        return department.delivered(message, headers={"jws": change(message.jws)})

    return make


def header(**members: object) -> Make:
    """A good message whose protected header says something else; signed with the right key all the same."""

    def make(department: SampleDepartment) -> Delivered:
        message = department.records(1)
        said = {"alg": "EdDSA", "kid": department.signer.kid, "typ": MESSAGE, "b64": False, "crit": ["b64"], "aud": "sc-hub"}
        said |= {"cenc": message.encoding, "mid": message.message_id} | members
        protected = b64(json.dumps({name: value for name, value in said.items() if value is not ...}).encode())
        signature = b64(department.signer.sign(protected + b"." + message.body))
        return department.delivered(message, headers={"jws": f"{protected.decode()}..{signature.decode()}"})

    return make


def b64(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def control(data: object, **attributes: object) -> Make:
    def make(department: SampleDepartment) -> Delivered:
        document = plain(department)
        for name in ("sequence", "recordcount", "dataschema"):
            document.pop(name)
        document |= {"type": CONTROL_TYPE, "subject": "x", "data": data} | attributes
        body = json.dumps(document, separators=(",", ":")).encode()
        return sign(department, body, mid=document["id"], type_=CONTROL_TYPE, typ=CONTROL)

    return make


def flip(message: ExchangeMessage, at: float) -> bytes:
    body = bytearray(message.body)
    body[int(at * (len(body) - 1))] ^= 0x20
    return bytes(body)


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


FINAL, RETRY = Outcome.REFUSED_FINAL, Outcome.REFUSED_RETRY
VOID = {"control": "void", "flow": "people", "epoch": "epoch-1", "from": "1", "to": "2", "reason": "x"}

CASES: dict[str, tuple[Make, Outcome | None, str]] = {
    # what the broker vouches for; None = no receipt can name the message
    "user id unset": (prop(user_id=None), RETRY, "user_missing"),
    "user id of another": (prop(user_id="agent.tax-02"), RETRY, "user_mismatch"),
    "user id of the hub": (prop(user_id="hub"), RETRY, "user_mismatch"),
    "user id with a trick": (prop(user_id="agent.bdc-01 "), RETRY, "user_mismatch"),
    "default exchange": (prop(exchange=""), RETRY, "wrong_exchange"),
    "exchange of nobody": (prop(exchange="amq.fanout"), RETRY, "wrong_exchange"),
    "message id unset": (prop(message_id=None), None, "id_mismatch"),
    "message id empty": (prop(message_id=""), None, "id_mismatch"),
    "message id too long": (prop(message_id="x" * 255), None, "id_mismatch"),
    "message id with a line break": (prop(message_id="a\nb"), None, "id_mismatch"),
    "message id in Chinese": (prop(message_id="报文"), None, "id_mismatch"),
    "another message id": (prop(message_id="m-2"), FINAL, "mid_mismatch"),
    "type unset": (prop(type=None), FINAL, "id_mismatch"),
    "type of a control message": (prop(type=CONTROL_TYPE), FINAL, "typ_mismatch"),
    "type nobody knows": (prop(type="x" * 200), FINAL, "id_mismatch"),
    "encoding gone": (
        lambda d: d.delivered(d.records(1, [d.encoded(n) for n in range(20)]), encoding=""),
        FINAL,
        "cenc_mismatch",
    ),
    "encoding gzip": (prop(encoding="gzip"), FINAL, "cenc_mismatch"),
    "content type": (prop(content_type="text/plain"), None, "stored"),
    # the signature
    "no signature": (prop(headers={}), FINAL, "bad_header"),
    "signature not text": (prop(headers={"jws": 7}), FINAL, "bad_header"),
    "signature as bytes": (prop(headers={"jws": b"a..b"}), FINAL, "bad_header"),
    "signature empty": (jws(lambda _: ""), FINAL, "bad_header"),
    "signature endless": (jws(lambda s: s * 100), FINAL, "bad_header"),
    "signature cut": (jws(lambda s: s[: s.index("..") + 42]), FINAL, "bad_signature"),
    "signature of zeros": (jws(lambda s: s.split("..")[0] + ".." + b64(bytes(64)).decode()), FINAL, "bad_signature"),
    "signature attached": (jws(lambda s: s.replace("..", ".e30.")), FINAL, "bad_header"),
    "header not base64": (jws(lambda s: "§" + s[1:]), FINAL, "bad_header"),
    "header not JSON": (jws(lambda s: b64(b"{").decode() + ".." + s.split("..")[1]), FINAL, "bad_header"),
    "body flipped at the start": (lambda d: d.delivered(m := d.records(1), body=flip(m, 0.0)), FINAL, "bad_signature"),
    "body flipped in the middle": (lambda d: d.delivered(m := d.records(1), body=flip(m, 0.5)), FINAL, "bad_signature"),
    "body flipped at the end": (lambda d: d.delivered(m := d.records(1), body=flip(m, 1.0)), FINAL, "bad_signature"),
    "body cut": (lambda d: d.delivered(m := d.records(1), body=m.body[:-1]), FINAL, "bad_signature"),
    "body empty": (prop(body=b""), FINAL, "bad_signature"),
    "alg none": (header(alg="none"), RETRY, "alg_not_allowed"),
    "alg HS256": (header(alg="HS256"), RETRY, "alg_not_allowed"),
    "alg of the other kind": (header(alg="ES256"), RETRY, "alg_not_allowed"),
    "key nobody knows": (header(kid="x"), RETRY, "unknown_key"),
    "crit unknown": (header(crit=["b64", "exp"]), FINAL, "unknown_crit"),
    "crit missing": (header(crit=...), FINAL, "bad_header"),
    "b64 true": (header(b64=True), FINAL, "bad_header"),
    "typ of a receipt": (header(typ=RECEIPT), FINAL, "typ_mismatch"),
    "for another hub": (header(aud="bj-hub"), RETRY, "wrong_audience"),
    "audience missing": (header(aud=...), FINAL, "bad_header"),
    "alg a number": (header(alg=1), FINAL, "bad_header"),
    # the octets
    "no octets, signed": (raw(b""), FINAL, "malformed"),
    "not JSON": (raw(b"hello"), FINAL, "malformed"),
    "not UTF-8": (raw(b'{"id":"\xff"}'), FINAL, "malformed"),
    "GBK": (raw('{"id":"张三"}'.encode("gbk")), FINAL, "malformed"),
    "byte order mark": (octets(lambda body: b"\xef\xbb\xbf" + body), FINAL, "malformed"),
    "UTF-16": (octets(lambda body: body.decode().encode("utf-16")), FINAL, "malformed"),
    "random octets": (raw(os.urandom(500)), FINAL, "malformed"),
    "an array": (raw(b"[]"), FINAL, "malformed"),
    "null": (raw(b"null"), FINAL, "malformed"),
    "something behind": (octets(lambda body: body + b"{}"), FINAL, "malformed"),
    "NaN": (octets(lambda body: body.replace(b'"value":0', b'"value":NaN')), FINAL, "malformed"),
    "integer beyond 2^53": (octets(lambda body: body.replace(b'"value":0', b'"value":90071992547409999')), FINAL, "malformed"),
    "a member twice": (octets(lambda body: body.replace(b'"value":0', b'"value":0,"value":1')), FINAL, "duplicate_member"),
    "sender twice": (octets(lambda body: body.replace(b'"sender":', b'"sender":"tax-02","sender":')), FINAL, "duplicate_member"),
    "nested too deep": (record(data={"x": deep(40)}), FINAL, "too_deep"),
    "nested absurdly": (
        octets(lambda body: body.replace(b'"value":0', b'"value":' + b"[" * 3000 + b"]" * 3000)),
        FINAL,
        "too_large",
    ),
    "too many values": (record(data={"x": [0] * 6000}), FINAL, "too_large"),
    "body too large": (record(data={"x": "y" * 30_000}), FINAL, "too_large"),
    "zstd of nothing": (raw(zstandard.ZstdCompressor().compress(b""), "zstd"), FINAL, "malformed"),
    "zstd that is none": (raw(b"(not zstd)", "zstd"), FINAL, "bad_encoding"),
    "zstd cut": (raw(zstandard.ZstdCompressor().compress(b"{}" * 100)[:-3], "zstd"), FINAL, "bad_encoding"),
    "zstd bomb": (raw(zstandard.ZstdCompressor(level=19).compress(bytes(200 << 20)), "zstd"), FINAL, "too_large"),
    "zstd with something behind": (raw(zstandard.ZstdCompressor().compress(b"{}") * 2, "zstd"), FINAL, "bad_encoding"),
    "encoding nobody knows": (raw(b"{}", "br"), FINAL, "bad_encoding"),
    # the event
    "specversion": (put(specversion="0.3"), RETRY, "unknown_version"),
    "event id of another message": (event(lambda d: d.update(id="m-other")), None, "stored"),
    "event id a number": (put(id=7), FINAL, "malformed"),
    "source of another": (put(source="/departments/tax-02/flows/people"), FINAL, "malformed"),
    "sender of another": (put(sender="tax-02", source="/departments/tax-02/flows/people"), FINAL, "wrong_sender"),
    "sender in capitals": (put(sender="BDC-01"), FINAL, "malformed"),
    "receiver of another": (put(receiver="bj-hub"), RETRY, "wrong_audience"),
    "type of a catalogue": (put(type="cn.huitong.catalogue.v1"), FINAL, "id_mismatch"),
    "schema nobody knows": (put(dataschema="https://elsewhere.invalid/x/1"), RETRY, "unknown_type"),
    "schema of a later version": (put(dataschema=DATASCHEMA.replace("/1", "/9")), RETRY, "unknown_version"),
    "schema missing": (drop("dataschema"), FINAL, "malformed"),
    "data missing": (drop("data"), FINAL, "malformed"),
    "flow missing": (drop("flow"), FINAL, "malformed"),
    "flow with a path": (put(flow="../x"), FINAL, "malformed"),
    "epoch missing": (drop("epoch"), FINAL, "malformed"),
    "epoch unknown": (put(epoch="epoch-77"), RETRY, "unknown_epoch"),
    "flow unknown": (put(flow="cars", source="/departments/bdc-01/flows/cars"), RETRY, "unknown_epoch"),
    "sequence zero": (put(sequence="0" * 19), FINAL, "malformed"),
    "sequence a number": (put(sequence=1), FINAL, "malformed"),
    "sequence beyond 64 bits": (put(sequence="9" * 19), FINAL, "malformed"),
    "sequence greatest": (put(sequence=f"{2**63 - 1:019d}"), None, "stored"),
    "no records": (event(lambda d: d["data"].update(records=[]) or d.update(recordcount=0)), FINAL, "malformed"),
    "count too small": (put(recordcount=1), FINAL, "count_mismatch"),
    "count enormous": (put(recordcount=2**40), FINAL, "too_many_records"),
    "count negative": (put(recordcount=-1), FINAL, "malformed"),
    "time is none": (put(time="yesterday"), FINAL, "malformed"),
    "NUL in the subject": (put(subject="a\x00b"), None, "either"),
    "lone surrogate in the subject": (
        octets(lambda body: body.replace(b'"subject":"', b'"subject":"\\ud800')),
        FINAL,
        "malformed",
    ),
    # the records
    "record id short": (record(id="ab"), FINAL, "malformed"),
    "record id in capitals": (record(id="A" * 32), FINAL, "malformed"),
    "record id twice": (
        event(lambda d: d["data"]["records"][1].update(id=d["data"]["records"][0]["id"])),
        FINAL,
        "duplicate_record",
    ),
    "op unknown": (record(op="merge"), FINAL, "malformed"),
    "op missing": (drop_record("op"), FINAL, "malformed"),
    "key missing": (drop_record("key"), FINAL, "malformed"),
    "key a string": (record(key="1"), FINAL, "malformed"),
    "key empty": (record(key={}), FINAL, "malformed"),
    "key nested": (record(key={"a": {"b": 1}}), FINAL, "malformed"),
    "data an array": (record(data=[1]), FINAL, "malformed"),
    "data null": (record(data=None), FINAL, "malformed"),
    "data missing for an upsert": (drop_record("data"), FINAL, "malformed"),
    "data empty": (record(data={}), None, "stored"),
    "data with NUL": (record(data={"x": "a\x00b"}), None, "stored"),
    "data with rare characters": (record(data={"姓名": "䶮𠮷\U0001f600\u202e"}), None, "stored"),
    "at is none": (record(at="2026-13-45"), FINAL, "malformed"),
    "corrects is none": (record(corrects="zz"), FINAL, "malformed"),
    "member nobody knows": (record(extra=1), FINAL, "malformed"),
    # control messages
    "control of a kind nobody knows": (control({"control": "reboot"}), RETRY, "unknown_version"),
    "control without kind": (control({}), FINAL, "malformed"),
    "control an array": (control([]), FINAL, "malformed"),
    "control of the hub": (control({"control": "query-answer", "missing": [], "known": 0}), FINAL, "malformed"),
    "void backwards": (control(VOID | {"from": "9"}), FINAL, "malformed"),
    "void from zero": (control(VOID | {"from": "0"}), FINAL, "malformed"),
    "void for ever": (control(VOID | {"to": "9" * 19}), FINAL, "malformed"),
    "void of an epoch nobody knows": (control(VOID | {"epoch": "e9"}), RETRY, "unknown_epoch"),
    "void without reason": (control({k: v for k, v in VOID.items() if k != "reason"}), FINAL, "malformed"),
    "query of nothing": (control({"control": "query", "ids": []}), FINAL, "malformed"),
    "query of too much": (control({"control": "query", "ids": ["m"] * 1001}), FINAL, "malformed"),
    "epoch-open without epoch": (control({"control": "epoch-open", "flow": "people"}), FINAL, "malformed"),
    "hello with a negative sequence": (
        control(
            {"control": "hello", "instance": "i", "version": "1", "flows": {"people": {"epoch": "e", "next_sequence": "-1"}}}
        ),
        FINAL,
        "malformed",
    ),
    "hello with flows as a list": (
        control({"control": "hello", "instance": "i", "version": "1", "flows": []}),
        FINAL,
        "malformed",
    ),
}


@pytest.fixture
def hub(store: SqlStore) -> StillHub:
    """A hub with small limits; another department stands by to be impersonated."""
    hub = StillHub(store, FakeClock(), limits=LIMITS)
    hub.admit(SampleDepartment("tax-02", hub.code, hub.clock))
    return hub


def admitted(hub: StillHub) -> SampleDepartment:
    """The department bdc-01 with an open epoch in a flow of its own."""
    department = SampleDepartment("bdc-01", hub.code, hub.clock)
    hub.admit(department)
    hub.send(department, department.opening())
    return department


def judge(hub: StillHub, department: SampleDepartment, name: str) -> None:
    """Take one bad message and see where it ends."""
    make, outcome, code = CASES[name]
    delivered = make(department)
    with hub.store.transaction() as connection:
        connection.execute(text("DELETE FROM quarantine"))
    hub.take(delivered)
    receipts = hub.receipts(department)
    with hub.store.transaction() as connection:
        quarantined = connection.execute(text("SELECT code, raw, department FROM quarantine")).all()
    if code in ("stored", "either") and not quarantined:
        assert [receipt.outcome for receipt in receipts] == [Outcome.STORED]
    else:
        assert code in ("either", quarantined[0].code)
        assert [(row.raw, row.department) for row in quarantined] == [(delivered.body, "bdc-01")]
        digest = hashlib.sha256(delivered.body).digest()
        expected = [] if outcome is None and code != "either" else [(delivered.message_id, digest, quarantined[0].code)]
        assert [(receipt.message_id, receipt.digest, receipt.code) for receipt in receipts] == expected
        assert outcome is None or receipts[0].outcome is outcome
    assert hub.posts("tax-02") == []


def test_the_corpus_is_large() -> None:
    """At least sixty different ways to be bad."""
    assert len([name for name, case in CASES.items() if case[2] != "stored"]) >= 60


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", CASES)
def test_bad_messages_end_in_quarantine_with_a_receipt(hub: StillHub, name: str) -> None:
    """The expected reason, the raw octets in quarantine, a receipt to the owner of the exchange; the next good message is stored."""
    department = admitted(hub)
    judge(hub, department, name)
    (after,) = hub.send(department, department.records(5))
    assert after.outcome is Outcome.STORED


@pytest.mark.parametrize("location", ["postgres"], indirect=True)
def test_bad_messages_end_the_same_way_on_postgres(hub: StillHub) -> None:
    """The whole corpus, one after the other, each time as if the department had sent nothing before."""
    for name in CASES:
        with hub.store.transaction() as connection:
            for table in ("record", "message", "epoch", "flow", "receipt", "public_key"):
                connection.execute(text(f"DELETE FROM {table}"))
        judge(hub, admitted(hub), name)


def test_all_of_them_in_one_group_leave_the_good_ones_stored(hub: StillHub) -> None:
    """Bad neighbours in the same transaction stop nobody."""
    department = admitted(hub)
    bad = [make(department) for make, _outcome, code in CASES.values() if code not in ("stored", "either")]
    good = [department.delivered(department.records(n)) for n in range(10, 20)]
    hub.take(*(one for pair in zip(bad, good * len(bad), strict=False) for one in pair))
    with hub.store.transaction() as connection:
        assert connection.scalar(text("SELECT count(*) FROM message WHERE kind = 'records' AND outcome = 'stored'")) == 10
        assert connection.scalar(text("SELECT sum(times) FROM quarantine")) == len(bad)
