"""Receipts and control messages that must not move anything, whoever wrote them: the message stays, the alarm is told, others settle."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import zstandard

from agent.events import ForkDetected, ReceiptIgnored, ReceiptRejected
from agent.ports import Delivered
from agent.wire.codes import CODES
from agent.wire.control import ControlWriter, Hello, HighWater, HubHello, Query, QueryAnswer, WireLimits
from agent.wire.event import CONTROL_TYPE, RECEIPT_TYPE, hub_source
from agent.wire.keys import generate, load_signer, public_of
from agent.wire.signature import CONTROL, MESSAGE, RECEIPT, KeyState, Signer, detached_jws
from agent.wire.topology import receipt_queue
from tests.badinput.kit import in_both_languages
from tests.badinput.messages import b64, compact
from tests.planted.hub_side import HUB
from tests.planted.ledgers import require
from tests.planted.line import CODE, FLOW, Line

pytestmark = pytest.mark.timeout(60)

Make = Callable[[Line, Delivered], Delivered]
"""make(line, receipt): a bad delivery made from the genuine receipt of the first message."""

STRANGER, SECOND = load_signer(generate()), generate("ES256")
IGNORED = "ignored"
SETTLES = "settles"


def signer_of(own: Line) -> Signer:
    return own.hub.still.ingest._clerk._signer


def sealed(
    own: Line, body: bytes, *, signer: Signer | None = None, mid: str = "r-1", typ: str = RECEIPT, aud: str = CODE, cenc: str = ""
) -> Delivered:
    """Return octets, signed, as a delivery from the receipt queue."""
    jws = detached_jws(signer or signer_of(own), typ=typ, mid=mid, aud=aud, cenc=cenc, body=body)
    return Delivered(
        tag=0,
        queue=receipt_queue(CODE),
        exchange="to",
        routing_key=receipt_queue(CODE),
        user_id="hub",
        message_id=mid,
        type=RECEIPT_TYPE,
        encoding=cenc,
        content_type=None,
        body=body,
        headers={"jws": jws},
        redelivered=False,
        delivery_count=0,
    )


# -- by somebody else, or altered on the way -------------------------------------------------------------------------


def prop(**changes: object) -> Make:
    return lambda _own, receipt: replace(receipt, **changes)  # type: ignore[arg-type]


def body(change: Callable[[bytes], bytes]) -> Make:
    return lambda _own, receipt: replace(receipt, body=change(receipt.body))


def jws(change: Callable[[str], object]) -> Make:
    return lambda _own, receipt: replace(receipt, headers={"jws": change(str(receipt.headers["jws"]))})


def by(signer: Callable[[Line], Signer], **options: str) -> Make:
    """The genuine octets, signed by somebody or for something else."""
    return lambda own, receipt: sealed(own, receipt.body, signer=signer(own), mid=receipt.message_id or "", **options)


def claim(**members: object) -> Make:
    """Another protected header, signed by the hub all the same."""

    def make(own: Line, receipt: Delivered) -> Delivered:
        said = {"alg": "EdDSA", "kid": signer_of(own).kid, "typ": RECEIPT, "b64": False, "crit": ["b64"], "aud": CODE, "cenc": ""}
        said |= {"mid": receipt.message_id} | members
        protected = b64(compact(said))
        signature = b64(signer_of(own).sign(protected.encode() + b"." + receipt.body))
        return replace(receipt, headers={"jws": f"{protected}..{signature}"})

    return make


# -- by the hub, and odd all the same --------------------------------------------------------------------------------


def said(change: Callable[[dict[str, Any]], object]) -> Make:
    """What the hub states, changed, and signed by the hub."""

    def make(own: Line, receipt: Delivered) -> Delivered:
        event = json.loads(receipt.body)
        change(event)
        return sealed(own, compact(event), mid=receipt.message_id or "")

    return make


def data(**members: object) -> Make:
    def change(event: dict[str, Any]) -> None:
        event["data"].update(members)
        for name in [name for name, value in members.items() if value is ...]:
            del event["data"][name]

    return said(change)


def event(**members: object) -> Make:
    def change(document: dict[str, Any]) -> None:
        document.update(members)
        for name in [name for name, value in members.items() if value is ...]:
            del document[name]

    return said(change)


def octets(change: Callable[[bytes], bytes]) -> Make:
    return lambda own, receipt: sealed(own, change(receipt.body), mid=receipt.message_id or "")


def packed(pack: Callable[[bytes], bytes]) -> Make:
    return lambda own, receipt: sealed(own, pack(receipt.body), mid=receipt.message_id or "", cenc="zstd")


def word(control: Any, signer: Callable[[Line], Signer] = signer_of, sender: str = HUB, **changes: object) -> Make:
    """A control message instead of a receipt."""

    def make(own: Line, _receipt: Delivered) -> Delivered:
        message = ControlWriter(sender, CODE, hub_source(sender), signer(own), own.clock, bytes).write(
            control(own) if callable(control) else control
        )
        delivered = sealed(own, message.body, mid=message.message_id)
        named = {"type": CONTROL_TYPE, "headers": {"jws": message.jws}, **changes}
        return replace(delivered, **named)  # type: ignore[arg-type]

    return make


def ahead(own: Line) -> HubHello:
    """A hello that says the hub has more than we ever sent: a fork, if it were true."""
    return HubHello(WireLimits(1024, 1024, 1), {FLOW: HighWater(own.store.epoch, "999", [])})


def missing(own: Line) -> QueryAnswer:
    """An answer that names our messages missing."""
    return QueryAnswer([row[0] for row in own.outbox()], 0)


FORGED: dict[str, tuple[Make, str]] = {
    "first bit turned": (body(lambda octets: bytes([octets[0] ^ 1]) + octets[1:]), "bad_signature"),
    "outcome rewritten": (body(lambda octets: octets.replace(b'"stored"', b'"storex"', 1)), "bad_signature"),
    "digest rewritten": (body(lambda octets: octets.replace(b'"value":"', b'"value":"0', 1)), "bad_signature"),
    "cut": (body(lambda octets: octets[:-1]), "bad_signature"),
    "empty": (body(lambda _: b""), "bad_signature"),
    "with a space behind it": (body(lambda octets: octets + b" "), "bad_signature"),
    "no signature": (prop(headers={}), "bad_header"),
    "signature a number": (prop(headers={"jws": 7}), "bad_header"),
    "signature of octets": (prop(headers={"jws": b"\xff"}), "bad_header"),
    "signature cut": (jws(lambda text: text[:-2]), "bad_signature"),
    "signature of zeros": (jws(lambda text: text.partition("..")[0] + ".." + b64(bytes(64))), "bad_signature"),
    "signature attached": (jws(lambda text: text.replace("..", ".e30.")), "bad_header"),
    "algorithm none": (claim(alg="none"), "alg_not_allowed"),
    "algorithm HS256": (claim(alg="HS256"), "alg_not_allowed"),
    "algorithm ES256": (claim(alg="ES256"), "alg_not_allowed"),
    "critical extension": (claim(crit=["b64", "x"]), "unknown_crit"),
    "not detached": (claim(b64=True), "bad_header"),
    "made for a message": (claim(typ=MESSAGE), "typ_mismatch"),
    "made for a control message": (claim(typ=CONTROL), "typ_mismatch"),
    "made for another message id": (claim(mid="r-2"), "mid_mismatch"),
    "made for another department": (claim(aud="tax-02"), "wrong_audience"),
    "made for the hub": (claim(aud=HUB), "wrong_audience"),
    "made for another encoding": (claim(cenc="zstd"), "cenc_mismatch"),
    "by a stranger": (by(lambda _: STRANGER), "unknown_key"),
    "by the department itself": (by(lambda own: own.department.signer), "unknown_key"),
    "by another hub that is trusted": (by(lambda _: load_signer(SECOND)), "wrong_owner"),
    "by a key that was revoked": (by(signer_of), "revoked_key"),
    "message id of another": (prop(message_id="r-2"), "mid_mismatch"),
    "no message id": (prop(message_id=None), "mid_mismatch"),
    "encoding added": (prop(encoding="zstd"), "cenc_mismatch"),
    "type of a message": (prop(type="cn.huitong.records.v1"), "unknown_type"),
    "type of a control message": (prop(type=CONTROL_TYPE), "typ_mismatch"),
    "no type": (prop(type=None), "unknown_type"),
    "type of a later version": (prop(type="cn.huitong.receipt.v2"), "unknown_type"),
}

STATED: dict[str, tuple[Make, str]] = {
    "of other octets": (data(digest={"alg": "sha-256", "value": "0" * 64}), "digest_mismatch"),
    "of another algorithm": (said(lambda e: e["data"]["digest"].update(alg="sm3")), "digest_mismatch"),
    "of an algorithm nobody knows": (said(lambda e: e["data"]["digest"].update(alg="md5")), "malformed"),
    "with a digest in capitals": (said(lambda e: e["data"]["digest"].update(value="A" * 64)), "malformed"),
    "with a short digest": (said(lambda e: e["data"]["digest"].update(value="00")), "malformed"),
    "without a digest": (data(digest=...), "malformed"),
    "of another flow": (data(flow="cars"), "digest_mismatch"),
    "of another epoch": (data(epoch="e-other"), "digest_mismatch"),
    "of another sequence": (data(sequence="0" * 18 + "9"), "digest_mismatch"),
    "of a sequence beyond 2^63": (data(sequence="9" * 19), "digest_mismatch"),
    "of a sequence below zero": (data(sequence="-" + "0" * 17 + "1"), "malformed"),
    "of another department": (data(sender="tax-02"), "wrong_audience"),
    "to another department": (event(receiver="tax-02"), "wrong_audience"),
    "of another hub": (data(hub="bj-hub"), "wrong_owner"),
    "sent by another hub": (event(sender="bj-hub", source="/hubs/bj-hub"), "wrong_owner"),
    "of a message nobody sent": (data(message="0190aaaa-0000-7000-8000-000000000000"), IGNORED),
    "of no message": (data(message=""), "malformed"),
    "of a very long message id": (data(message="x" * 100), "malformed"),
    "with an outcome nobody knows": (data(outcome="lost"), "malformed"),
    "without an outcome": (data(outcome=...), "malformed"),
    "with a stage nobody knows": (data(stage="R9"), "malformed"),
    "with counts that do not fit": (data(counts={"stored": 1, "refused": 1}), "count_mismatch"),
    "with counts below zero": (data(counts={"stored": -1, "refused": 0}), "malformed"),
    "with refused records that are none": (data(refused=["x"]), "malformed"),
    "with a time that is none": (data(committed="soon"), "malformed"),
    "with the 30th of February": (data(received="2026-02-30T00:00:00Z"), "malformed"),
    "with an audit head that is none": (data(audit={"sequence": "x", "hash": ""}), "malformed"),
    "with an audit hash in capitals": (data(audit={"sequence": "1", "hash": "AB"}), "malformed"),
    "of another version of events": (event(specversion="0.3"), "unknown_version"),
    "without an id": (event(id=...), "malformed"),
    "with another id": (event(id="r-77"), "id_mismatch"),
    "of another type inside": (event(type="cn.huitong.records.v1"), "malformed"),
    "with a member twice": (
        octets(lambda o: o.replace(b'"outcome":', b'"outcome":"refused_final","outcome":')),
        "duplicate_member",
    ),
    "with NaN": (octets(lambda o: o.replace(b'"stored":1', b'"stored":NaN')), "malformed"),
    "no JSON": (octets(lambda _: b"stored"), "malformed"),
    "in GBK": (octets(lambda o: o.replace(b'"text":""', '"text":"张"'.encode("gbk"))), "malformed"),
    "nested too deep": (data(more=[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]), "too_deep"),
    "of nine megabytes": (data(text="x" * (9 << 20)), "too_large"),
    "a bomb": (packed(lambda _: zstandard.ZstdCompressor().compress(bytes(70 << 20))), "too_large"),
    "compressed without being so": (packed(lambda o: o), "bad_encoding"),
    "an array": (octets(lambda o: b"[" + o + b"]"), "malformed"),
    # odd, but true
    "compressed": (packed(lambda o: zstandard.ZstdCompressor().compress(o)), SETTLES),
    "with an attribute more": (event(comexamplenote="x"), SETTLES),
    "with a member more": (data(note="x"), SETTLES),
    "with NUL in its text": (data(text="\0"), SETTLES),
    "with white space": (octets(lambda o: o.replace(b",", b" ,\n")), SETTLES),
}

WORDS: dict[str, tuple[Make, str]] = {
    "missing, says a stranger": (word(missing, lambda _: STRANGER), "unknown_key"),
    "missing, says another hub": (word(missing, lambda _: load_signer(SECOND)), "wrong_sender"),
    "missing, as a receipt": (word(missing, type=RECEIPT_TYPE), "typ_mismatch"),
    "a fork, says a stranger": (word(ahead, lambda _: STRANGER), "unknown_key"),
    "a fork, says another hub": (word(ahead, lambda _: load_signer(SECOND)), "wrong_sender"),
    "a fork, altered on the way": (word(ahead, body=b"{}"), "bad_signature"),
    "a hello like ours": (word(Hello("i", "1")), IGNORED),
    "a query like ours": (word(Query(["x"])), IGNORED),
    "an answer about strangers": (word(QueryAnswer(["somebody-elses-message"], 0)), ""),
}

CASES = {
    f"{group}: {name}": case
    for group, cases in {"forged": FORGED, "stated": STATED, "control": WORDS}.items()
    for name, case in cases.items()
}


@pytest.fixture
def waiting(own: Line) -> tuple[Line, Delivered, Delivered]:
    """A department whose three messages are confirmed, and the genuine receipts of the first and the last, not yet delivered."""
    own.trusted.append(public_of(SECOND, "bj-hub"))
    for number in (1, 2, 3):
        own.script.put((number, "甲"))
        own.capture()
    own.send()
    own.hub.ingest()
    own.hub.publish()
    ready = own.broker._queues[receipt_queue(CODE)].ready
    about = {json.loads(one.body)["subject"]: one for one in ready if one.type == RECEIPT_TYPE}
    ready.clear()
    first, _, last = (row[0] for row in own.outbox())
    return own, about[first], about[last]


def deliver(own: Line, *deliveries: Delivered) -> None:
    own.broker._queues[receipt_queue(CODE)].ready.extend(replace(one, tag=0) for one in deliveries)
    own.hear()


def states(own: Line) -> list[str]:
    return [row[1] for row in own.outbox()]


@pytest.mark.parametrize("name", CASES)
def test_a_bad_receipt_moves_nothing(name: str, waiting: tuple[Line, Delivered, Delivered]) -> None:
    """Its message stays confirmed, no flow is frozen, the alarm has its word; the receipt behind it settles; nothing is left over."""
    own, first, last = waiting
    make, reason = CASES[name]
    bad = make(own, first)
    if reason == "revoked_key":  # the hub has another key by now
        own.trusted = [replace(own.trusted[0], state=KeyState.REVOKED), public_of(SECOND, HUB)]
        first, last = (sealed(own, one.body, signer=load_signer(SECOND), mid=one.message_id or "") for one in (first, last))
    deliver(own, bad, last)
    assert states(own) == ["stored" if reason == SETTLES else "confirmed", "confirmed", "stored"]
    assert own.recorder.of(ForkDetected) == []
    assert own.store.open_flow(FLOW).paused == ""
    rejected = [event.reason for event in own.recorder.of(ReceiptRejected)]
    assert rejected == ([reason] if reason not in ("", IGNORED, SETTLES) else [])
    if rejected:
        in_both_languages(CODES[reason].text, {})
        in_both_languages(CODES[reason].hint, {})
    assert bool(own.recorder.of(ReceiptIgnored)) == (reason == IGNORED)
    kept = len(own.receipts._kept)
    assert kept == (1 if reason == "unknown_key" else 0)
    assert own.broker.waiting(receipt_queue(CODE)) == ()
    # the genuine receipts still count
    deliver(own, first)
    assert states(own)[0] == "stored"


@pytest.mark.parametrize("times", [2, 50])
def test_a_receipt_that_comes_again_is_no_news(times: int, waiting: tuple[Line, Delivered, Delivered]) -> None:
    """A replayed receipt is counted and acked; in the end the ledgers agree."""
    own, first, last = waiting
    deliver(own, *[first] * times, last)
    assert states(own) == ["stored", "confirmed", "stored"]
    assert len(own.recorder.of(ReceiptIgnored)) == times - 1
    own.ask()
    own.settle()
    require(own, {number: [{"id": number, "name": "甲"}] for number in (1, 2, 3)})
