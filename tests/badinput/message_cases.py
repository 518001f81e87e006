"""Exchange messages that are wrong, and the word with which the hub refuses each; `stored` for what only looks wrong."""

from __future__ import annotations

import base64
import json

from agent.ports import Delivered
from agent.wire.keys import generate, load_signer
from agent.wire.signature import CONTROL, RECEIPT
from hub.testing import SampleDepartment
from tests.badinput.event_cases import CONTROLS, EVENTS, OCTETS, RECORDS
from tests.badinput.messages import (
    STORED,
    Cases,
    Make,
    also,
    b64,
    claim,
    compact,
    document,
    event,
    header,
    jws,
    over,
    prop,
    put,
    signed,
)

# -- what the broker vouches for -------------------------------------------------------------------------------------

SENDERS: Cases = {
    "no user": (prop(user_id=None), "user_missing"),
    "empty user": (prop(user_id=""), "user_missing"),
    "user of another department": (prop(user_id="agent.tax-02"), "user_mismatch"),
    "user of the hub": (prop(user_id="hub.ingest"), "user_mismatch"),
    "guest": (prop(user_id="guest"), "user_mismatch"),
    "user in capitals": (prop(user_id="AGENT.BDC-01"), "user_mismatch"),
    "user with a line feed": (prop(user_id="agent.510100-line-01\n"), "user_mismatch"),
    "user with NUL": (prop(user_id="agent.510100-line-01\0"), "user_mismatch"),
    "user without a department": (prop(user_id="agent."), "user_mismatch"),
    "exchange of nobody": (prop(exchange="amq.direct"), "wrong_exchange"),
    "default exchange": (prop(exchange=""), "wrong_exchange"),
    "exchange for receipts": (prop(exchange="to"), "wrong_exchange"),
    "exchange with a pattern": (prop(exchange="ing.*"), "wrong_exchange"),
    "exchange with NUL": (prop(exchange="ing.\0"), "wrong_exchange"),
    "sender of another department": (put(sender="tax-02", source="/departments/tax-02/flows/people"), "wrong_sender"),
    "sender is the hub": (put(sender="sc-hub", source="/hubs/sc-hub"), "wrong_sender"),
    "sender in full-width": (put(sender="５１０１００"), "malformed"),
    "receiver is another hub": (put(receiver="bj-hub"), "wrong_audience"),
    "receiver is itself": (event(lambda said: said.update(receiver=said["sender"])), "wrong_audience"),
    "no receiver": (put(receiver=...), "malformed"),
    "no sender": (put(sender=...), "malformed"),
}

PROPERTIES: Cases = {
    "no message id": (prop(message_id=None), "id_mismatch"),
    "message id with a space": (prop(message_id="a b"), "id_mismatch"),
    "message id with NUL": (prop(message_id="a\0b"), "id_mismatch"),
    "message id of 255 octets": (prop(message_id="x" * 255), "id_mismatch"),
    "message id of another message": (prop(message_id="0190aaaa-0000-7000-8000-000000000000"), "mid_mismatch"),
    "no type": (prop(type=None), "id_mismatch"),
    "type with NUL": (prop(type="cn.huitong.records.v1\0"), "id_mismatch"),
    "type of a receipt": (prop(type="cn.huitong.receipt.v1"), "typ_mismatch"),
    "type of a later version": (prop(type="cn.huitong.records.v2"), "id_mismatch"),
    "encoding gzip": (prop(encoding="gzip"), "cenc_mismatch"),
    "encoding in capitals": (prop(encoding="ZSTD"), "cenc_mismatch"),
    "encoding with NUL": (prop(encoding="zstd\0"), "cenc_mismatch"),
    "content type text": (prop(content_type="text/html"), STORED),
    "no content type": (prop(content_type=None), STORED),
    "routing key": (prop(routing_key="#"), STORED),
    "a delivery count of its own": (also(x_delivery_count=99), STORED),
    "a death of its own": (also(x_death=[{"queue": "in.tax-02", "reason": "rejected", "count": 99}]), STORED),
    "carbon copies": (also(CC=["in.tax-02", "rcpt.tax-02"], BCC=["to"]), STORED),
    "an expiration among the headers": (also(expiration="0"), STORED),
    "a user among the headers": (also(user_id="agent.tax-02", x_received_from=[{"exchange": "ing.tax-02"}]), STORED),
    "a header of a megabyte": (also(x="y" * (1 << 20)), STORED),
    "a thousand headers": (also(**{f"h{n}": n for n in range(1000)}), STORED),
    "a header without a name": (also(**{"": "x"}), STORED),
    "a header with NUL": (also(**{"\0": "\0"}), STORED),
    "a header of octets": (also(x=b"\xff\xfe"), STORED),
    "a header of nothing": (also(x=None), STORED),
    "headers in headers": (also(x={"a": [{"b": [1, 2, {"c": None}]}]}), STORED),
}


# -- the signature ---------------------------------------------------------------------------------------------------


def by_stranger(department: SampleDepartment) -> Delivered:
    """Signed with a key that nobody registered."""
    said = document(department)
    return signed(department, compact(said), mid=said["id"], signer=load_signer(generate()))


def by_stranger_in_its_name(department: SampleDepartment) -> Delivered:
    """Signed with a key that nobody registered, under the name of the department's own."""
    stranger, message = load_signer(generate()), department.records(5)
    protected = message.jws.partition("..")[0]
    signature = b64(stranger.sign(protected.encode() + b"." + message.body))
    return department.delivered(message, headers={"jws": f"{protected}..{signature}"})


def by_stranger_on_a_curve(department: SampleDepartment) -> Delivered:
    """Signed with ES256 under the name of the department's Ed25519 key."""
    stranger, message = load_signer(generate("ES256")), department.records(5)
    said = json.loads(base64.urlsafe_b64decode(message.jws.partition("..")[0] + "=="))
    protected = b64(compact(said | {"alg": "ES256"}))
    signature = b64(stranger.sign(protected.encode() + b"." + message.body))
    return department.delivered(message, headers={"jws": f"{protected}..{signature}"})


def of_another_message(department: SampleDepartment) -> Delivered:
    """The signature of another message of the same department."""
    return department.delivered(department.records(5), headers={"jws": department.records(6).jws})


def flipped(at: float) -> Make:
    """One bit of the body turned on the way."""

    def make(department: SampleDepartment) -> Delivered:
        message = department.records(5)
        body = bytearray(message.body)
        body[int(at * (len(body) - 1))] ^= 1
        return department.delivered(message, body=bytes(body))

    return make


def twice(name: str, value: str) -> Make:
    """A protected header that names a member twice."""
    return header(spell=lambda said: compact(said).replace(b"{", f'{{"{name}":{value},'.encode(), 1))


SIGNATURES: Cases = {
    "none": (prop(headers={}), "bad_header"),
    "null": (prop(headers={"jws": None}), "bad_header"),
    "a number": (prop(headers={"jws": 7}), "bad_header"),
    "octets": (prop(headers={"jws": b"\xff..\xff"}), "bad_header"),
    "a table": (prop(headers={"jws": {"protected": "x"}}), "bad_header"),
    "under another name": (lambda d: d.delivered(m := d.records(5), headers={"JWS": m.jws}), "bad_header"),
    "empty": (jws(lambda _: ""), "bad_header"),
    "two dots": (jws(lambda _: ".."), "bad_header"),
    "of JSON": (jws(lambda _: '{"payload":"","signatures":[]}'), "bad_header"),
    "with its payload": (jws(lambda s: s.replace("..", f".{b64(b'{}')}.")), "bad_header"),
    "with a fourth part": (jws(lambda s: s + ".x"), "bad_header"),
    "with padding": (jws(lambda s: s + "=="), "bad_header"),
    "in the other alphabet": (jws(lambda s: s.partition("..")[0] + ".." + "+/" * 43), "bad_header"),
    "with a space": (jws(lambda s: s + " "), "bad_header"),
    "with a line feed": (jws(lambda s: s + "\n"), "bad_header"),
    "in full-width": (jws(lambda s: s[:-1] + "Ａ"), "bad_header"),
    "of 100 000 characters": (jws(lambda s: s + "A" * 100_000), "bad_header"),
    "cut": (jws(lambda s: s[:-2]), "bad_signature"),
    "too long": (jws(lambda s: s + "AAAA"), "bad_signature"),
    "of zeros": (jws(lambda s: s.partition("..")[0] + ".." + b64(bytes(64))), "bad_signature"),
    "of ones": (jws(lambda s: s.partition("..")[0] + ".." + b64(b"\xff" * 64)), "bad_signature"),
    "in another spelling of the same octets": (jws(lambda s: s[:-1] + chr(ord(s[-1]) + 1)), "bad_header"),
    "of another message": (of_another_message, "mid_mismatch"),
    "by a stranger": (by_stranger, "unknown_key"),
    "by a stranger in its name": (by_stranger_in_its_name, "bad_signature"),
    "by a stranger on another curve": (by_stranger_on_a_curve, "alg_not_allowed"),
    "over more octets": (over(lambda body: body + b" "), "bad_signature"),
    "over no octets": (over(lambda _: b""), "bad_signature"),
    "first bit turned": (flipped(0.0), "bad_signature"),
    "a bit turned in the middle": (flipped(0.5), "bad_signature"),
    "last bit turned": (flipped(1.0), "bad_signature"),
    "body gone": (prop(body=b""), "bad_signature"),
    "algorithm none": (claim(alg="none"), "alg_not_allowed"),
    "algorithm None": (claim(alg="None"), "alg_not_allowed"),
    "algorithm HS256": (claim(alg="HS256"), "alg_not_allowed"),
    "algorithm ES256": (claim(alg="ES256"), "alg_not_allowed"),
    "algorithm SM2": (claim(alg="SM2-SM3"), "alg_not_allowed"),
    "algorithm a list": (claim(alg=["EdDSA"]), "bad_header"),
    "algorithm missing": (claim(alg=...), "bad_header"),
    "algorithm twice": (twice("alg", '"none"'), "bad_header"),
    "key twice": (twice("kid", '"x"'), "bad_header"),
    "key a path": (claim(kid="../../../etc/passwd"), "unknown_key"),
    "key an SQL text": (claim(kid="' OR 1=1 --"), "unknown_key"),
    "key with NUL": (claim(kid="\0"), "unknown_key"),
    "key brought along": (
        header(lambda said: said.update(kid="x", jwk={"kty": "OKP", "crv": "Ed25519", "x": "AA"})),
        "unknown_key",
    ),
    "key at an address": (header(lambda said: said.update(kid="x", jku="https://evil.invalid/keys")), "unknown_key"),
    "made for a control message": (claim(typ=CONTROL), "typ_mismatch"),
    "made for a receipt": (claim(typ=RECEIPT), "typ_mismatch"),
    "made for something with NUL": (claim(typ="\0"), "typ_mismatch"),
    "for another hub": (claim(aud="bj-hub"), "wrong_audience"),
    "for the department itself": (header(lambda said: said.update(aud="510100-line-01")), "wrong_audience"),
    "for nobody": (claim(aud=""), "wrong_audience"),
    "for a list of hubs": (claim(aud=["sc-hub"]), "bad_header"),
    "audience missing": (claim(aud=...), "bad_header"),
    "of another encoding": (claim(cenc="br"), "cenc_mismatch"),
    "message id missing": (claim(mid=...), "bad_header"),
    "critical extension": (claim(crit=["b64", "exp"], exp=1), "unknown_crit"),
    "critical twice": (claim(crit=["b64", "b64"]), "unknown_crit"),
    "nothing critical": (claim(crit=[]), "unknown_crit"),
    "critical a text": (claim(crit="b64"), "bad_header"),
    "critical with NUL": (claim(crit=["\0"]), "unknown_crit"),
    "b64 true": (claim(b64=True), "bad_header"),
    "b64 a text": (claim(b64="false"), "bad_header"),
    "b64 missing": (claim(b64=...), "bad_header"),
    "header an array": (header(spell=lambda said: compact([said])), "bad_header"),
    "header deep": (header(spell=lambda _: b'{"alg":' + b"[" * 40 + b"]" * 40 + b"}"), "bad_header"),
    "header with a byte order mark": (header(spell=lambda said: b"\xef\xbb\xbf" + compact(said)), "bad_header"),
    "header in GBK": (
        header(lambda said: said.update(x="张"), spell=lambda said: json.dumps(said, ensure_ascii=False).encode("gbk")),
        "bad_header",
    ),
    "an extension not critical": (claim(exp=1), STORED),
}


CASES: Cases = {
    f"{group}: {name}": case
    for group, cases in {
        "sender": SENDERS,
        "property": PROPERTIES,
        "signature": SIGNATURES,
        "octets": OCTETS,
        "event": EVENTS,
        "record": RECORDS,
        "control": CONTROLS,
    }.items()
    for name, case in cases.items()
}
