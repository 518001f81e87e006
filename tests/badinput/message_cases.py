"""Exchange messages that are wrong, and the word with which the hub refuses each; `stored` for what only looks wrong."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import zstandard

from agent.ports import Delivered
from agent.wire.event import CONTROL_TYPE
from agent.wire.keys import generate, load_signer
from agent.wire.signature import CONTROL, RECEIPT
from hub.testing import DATASCHEMA, SampleDepartment
from tests.badinput.messages import (
    Make,
    also,
    b64,
    claim,
    compact,
    control,
    deep,
    document,
    event,
    header,
    jws,
    over,
    packed,
    prop,
    put,
    raw,
    record,
    signed,
    swap,
    text,
)

Cases = dict[str, tuple[Make, str]]
STORED = "stored"
FLOWS = {f"f{n}": {"epoch": "e", "next_sequence": "1"} for n in range(1001)}


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


# -- the octets ------------------------------------------------------------------------------------------------------


def zstd(body: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(body)


def lying(body: bytes, says: int) -> bytes:
    """A frame of one raw block whose header lies about the size (RFC 8878, 3.1.1)."""
    return b"\x28\xb5\x2f\xfd\xe0" + says.to_bytes(8, "little") + (1 | len(body) << 3).to_bytes(3, "little") + body


def run_length(count: int, says: int) -> bytes:
    """A frame of run-length blocks: five octets for 128 KiB each."""
    blocks = [(2 | 131_072 << 3).to_bytes(3, "little") + b" "] * (count // 131_072 - 1)
    last = (3 | 131_072 << 3).to_bytes(3, "little") + b" "
    return b"\x28\xb5\x2f\xfd\xe0" + says.to_bytes(8, "little") + b"".join(blocks) + last


OCTETS: Cases = {
    "none": (raw(b""), "malformed"),
    "null": (raw(b"null"), "malformed"),
    "a number": (raw(b"7"), "malformed"),
    "a text": (raw(b'"x"'), "malformed"),
    "an array": (raw(b"[]"), "malformed"),
    "an empty object": (raw(b"{}"), "malformed"),
    "two objects": (text(lambda body: body + body), "malformed"),
    "XML": (raw(b"<event/>"), "malformed"),
    "MessagePack": (raw(b"\x81\xa2id\xa1x"), "malformed"),
    "UTF-16": (text(lambda body: body.decode().encode("utf-16")), "malformed"),
    "GB18030": (text(lambda body: body.decode().encode("gb18030")), "malformed"),
    "a byte order mark": (text(lambda body: b"\xef\xbb\xbf" + body), "malformed"),
    "a NUL behind it": (text(lambda body: body + b"\0"), "malformed"),
    "cut in the middle": (text(lambda body: body[: len(body) // 2]), "malformed"),
    "white space all over": (text(lambda body: body.replace(b",", b" ,\n\t ")), STORED),
    "a trailing comma": (text(lambda body: body[:-1] + b",}"), "malformed"),
    "a comment": (text(lambda body: body[:-1] + b"/**/}"), "malformed"),
    "single quotes": (swap(b'"specversion"', b"'specversion'"), "malformed"),
    "a raw control character": (swap(b'"value":0', b'"value":"a\x01b"'), "malformed"),
    "overlong UTF-8": (swap(b'"value":0', b'"value":"\xc0\xaf"'), "malformed"),
    "a surrogate in UTF-8": (swap(b'"value":0', b'"value":"\xed\xa0\x80"'), "malformed"),
    "half a surrogate pair": (swap(b'"value":0', b'"value":"\\ud83d"'), "malformed"),
    "a surrogate pair turned round": (swap(b'"value":0', b'"value":"\\ude00\\ud83d"'), "malformed"),
    "half a pair as a name": (swap(b'"value":0', b'"\\udc00":0'), "malformed"),
    "NaN": (swap(b'"value":0', b'"value":NaN'), "malformed"),
    "Infinity": (swap(b'"value":0', b'"value":-Infinity'), "malformed"),
    "a number beyond all": (swap(b'"value":0', b'"value":1e400'), "malformed"),
    "a leading zero": (swap(b'"value":0', b'"value":007'), "malformed"),
    "a plus": (swap(b'"value":0', b'"value":+1'), "malformed"),
    "hexadecimal": (swap(b'"value":0', b'"value":0x10'), "malformed"),
    "2^53": (swap(b'"value":0', b'"value":9007199254740992'), "malformed"),
    "-2^53": (swap(b'"value":0', b'"value":-9007199254740992'), "malformed"),
    "2^64": (swap(b'"value":0', b'"value":18446744073709551616'), "malformed"),
    "a number of 10 000 digits": (swap(b'"value":0', b'"value":' + b"9" * 10_000), "malformed"),
    "a fraction of 10 000 digits": (swap(b'"value":0', b'"value":0.' + b"3" * 10_000), STORED),
    "a member twice in the event": (swap(b'"flow":', b'"flow":"cars","flow":'), "duplicate_member"),
    "a member twice in the data": (swap(b'"records":', b'"records":[],"records":'), "duplicate_member"),
    "a member twice in a record": (swap(b'"op":', b'"op":"delete","op":'), "duplicate_member"),
    "a member twice in a key": (swap(b'"key":{', b'"key":{"id":"1",'), "duplicate_member"),
    "a member twice in a row": (swap(b'"value":0', b'"value":0,"value":1'), "duplicate_member"),
    "a member twice below a row": (swap(b'"value":0', b'"value":{"a":{"b":1,"b":2}}'), "duplicate_member"),
    "a member twice in a list": (swap(b'"value":0', b'"value":[[{"a":1,"a":1}]]'), "duplicate_member"),
    "a member twice, spelled otherwise": (swap(b'"value":0', b'"value":0,"val\\u0075e":1'), "duplicate_member"),
    "an empty name twice": (swap(b'"value":0', b'"":0,"":1'), "duplicate_member"),
    "nested too deep": (record(data={"x": deep(40)}), "too_deep"),
    "nested absurdly": (swap(b'"value":0', b'"value":' + b"[" * 100_000 + b"]" * 100_000), "too_deep"),
    "objects nested absurdly": (swap(b'"value":0', b'"value":' + b'{"a":' * 50_000 + b"0" + b"}" * 50_000), "too_deep"),
    "two million values": (swap(b'"value":0', b'"value":[' + b"0," * 2_000_000 + b"0]"), "too_large"),
    "a body over the limit": (raw(lambda: os.urandom(9 << 20)), "too_large"),
    "an announced gigabyte": (packed(lambda body: lying(body, 1 << 30)), "too_large"),
    "an announced exabyte": (packed(lambda body: lying(body, (1 << 60))), "too_large"),
    "fewer octets than there are": (packed(lambda body: lying(body, 10)), "bad_encoding"),
    "more octets than there are": (packed(lambda body: lying(body, len(body) + 1)), "bad_encoding"),
    "a bomb that tells its size": (raw(lambda: zstd(bytes(70 << 20)), "zstd"), "too_large"),
    "a bomb that hides its size": (raw(lambda: zstd(bytes(70 << 20), write_content_size=False), "zstd"), "bad_encoding"),
    "a bomb that lies about its size": (raw(lambda: run_length(1 << 30, 1000), "zstd"), "bad_encoding"),
    "a bomb just below the limit": (raw(lambda: zstd(b" " * (60 << 20)), "zstd"), "malformed"),
    "a frame without its size": (packed(lambda body: zstd(body, write_content_size=False)), "bad_encoding"),
    "two frames": (packed(lambda body: zstd(body) + zstd(b" ")), "bad_encoding"),
    "a frame to skip in front": (packed(lambda body: b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd" + zstd(body)), "bad_encoding"),
    "a frame with a wrong checksum": (packed(lambda body: zstd(body, write_checksum=True)[:-1] + b"\0"), "bad_encoding"),
    "a frame that is cut": (packed(lambda body: zstd(body)[:-4]), "bad_encoding"),
    "a frame in a frame": (packed(lambda body: zstd(zstd(body))), "malformed"),
    "no frame": (packed(lambda body: body), "bad_encoding"),
    "nothing, compressed": (packed(lambda _: zstd(b"")), "malformed"),
    "gzip": (raw(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00", "gzip"), "bad_encoding"),
}


# -- the event and its records ---------------------------------------------------------------------------------------

EVENTS: Cases = {
    "specversion 2.0": (put(specversion="2.0"), "unknown_version"),
    "specversion a number": (put(specversion=1.0), "malformed"),
    "no specversion": (put(specversion=...), "malformed"),
    "no id": (put(id=...), "malformed"),
    "id empty": (put(id=""), "id_mismatch"),
    "another content type of the data": (put(datacontenttype="text/csv"), "malformed"),
    "source of another flow": (put(source="/departments/510100-line-01/flows/cars"), "malformed"),
    "source with a path": (put(source="/departments/../hubs/sc-hub"), "malformed"),
    "no source": (put(source=...), "malformed"),
    "flow with a slash": (put(flow="a/b"), "malformed"),
    "flow of 65 characters": (put(flow="f" * 65), "malformed"),
    "flow with a line feed": (put(flow="people\n"), "malformed"),
    "flow empty": (put(flow=""), "malformed"),
    "epoch with a space": (put(epoch="e 1"), "malformed"),
    "epoch nobody opened": (put(epoch="epoch-77"), "unknown_epoch"),
    "sequence zero": (put(sequence="0" * 19), "malformed"),
    "sequence negative": (put(sequence="-" + "0" * 17 + "1"), "malformed"),
    "sequence of 18 digits": (put(sequence="0" * 17 + "5"), "malformed"),
    "sequence of 20 digits": (put(sequence="0" * 19 + "5"), "malformed"),
    "sequence in full-width": (put(sequence="０" * 18 + "５"), "malformed"),
    "sequence with a line feed": (put(sequence="0" * 18 + "5\n"), "malformed"),
    "sequence beyond 2^63": (put(sequence=str(2**63)), "malformed"),
    "sequence a number": (put(sequence=5), "malformed"),
    "sequence null": (put(sequence=None), "malformed"),
    "sequence missing": (put(sequence=...), "malformed"),
    "count zero": (put(recordcount=0), "malformed"),
    "count too small": (put(recordcount=1), "count_mismatch"),
    "count too large": (put(recordcount=3), "count_mismatch"),
    "count negative": (put(recordcount=-2), "malformed"),
    "count a fraction": (put(recordcount=2.5), "malformed"),
    "count a text": (put(recordcount="2"), "malformed"),
    "count over the limit": (put(recordcount=5001), "too_many_records"),
    "count missing": (put(recordcount=...), "malformed"),
    "schema nobody knows": (put(dataschema="https://elsewhere.invalid/x/1"), "unknown_type"),
    "schema of a later version": (put(dataschema=DATASCHEMA.replace("/1", "/2")), "unknown_version"),
    "schema with NUL": (put(dataschema="https://elsewhere.invalid/\0/1"), "unknown_type"),
    "schema of 600 characters": (put(dataschema="https://x/" + "y" * 600), "malformed"),
    "subject of 300 characters": (put(subject="s" * 300), "malformed"),
    "time of the day only": (put(time="08:00:00Z"), "malformed"),
    "time without a zone": (put(time="2026-11-21T08:00:00"), "malformed"),
    "the 30th of February": (put(time="2026-02-30T08:00:00Z"), "malformed"),
    "a leap second": (put(time="2016-12-31T23:59:60Z"), "malformed"),
    "a zone of 99 hours": (put(time="2026-11-21T08:00:00+99:00"), "malformed"),
    "a time in full-width": (put(time="２０２６-11-21T08:00:00Z"), "malformed"),
    "data missing": (put(data=...), "malformed"),
    "data null": (put(data=None), "malformed"),
    "data an array": (put(data=[]), "malformed"),
    "data_base64": (event(lambda said: said.update(data_base64="e30=")), STORED),
    "data without records": (put(data={}), "malformed"),
    "data with something more": (event(lambda said: said["data"].update(more=1)), "malformed"),
    "records null": (put(data={"records": None}), "malformed"),
    "records an object": (put(data={"records": {}}), "malformed"),
    "records of null": (put(data={"records": [None, None]}), "malformed"),
    "no records": (put(data={"records": []}), "count_mismatch"),
    "an extension of somebody": (put(comexampleother="x"), STORED),
    "of a catalogue": (put(type="cn.huitong.catalogue.v1"), "id_mismatch"),
}

RECORDS: Cases = {
    "id missing": (record(id=...), "malformed"),
    "id of 31 digits": (record(id="a" * 31), "malformed"),
    "id in capitals": (record(id="A" * 32), "malformed"),
    "id not hexadecimal": (record(id="g" * 32), "malformed"),
    "id twice": (event(lambda said: said["data"]["records"][1].update(id=said["data"]["records"][0]["id"])), "duplicate_record"),
    "op in capitals": (record(op="UPSERT"), "malformed"),
    "op unknown": (record(op="truncate"), "malformed"),
    "op null": (record(op=None), "malformed"),
    "key missing": (record(key=...), "malformed"),
    "key null": (record(key=None), "malformed"),
    "key empty": (record(key={}), "malformed"),
    "key an array": (record(key=["1"]), "malformed"),
    "key with a null": (record(key={"id": None}), "malformed"),
    "key with a list": (record(key={"id": ["1"]}), "malformed"),
    "key of 17 members": (record(key={f"k{n}": n for n in range(17)}), "malformed"),
    "data null": (record(data=None), "malformed"),
    "data a text": (record(data="x"), "malformed"),
    "data an array": (record(data=[1]), "malformed"),
    "data missing": (record(data=...), "malformed"),
    "delete with null": (record(op="delete", data=None), "malformed"),
    "corrects no id": (record(corrects="x"), "malformed"),
    "corrects null": (record(corrects=None), "malformed"),
    "at no time": (record(at="soon"), "malformed"),
    "at null": (record(at=None), "malformed"),
    "at the 31st of November": (record(at="2026-11-31T00:00:00"), "malformed"),
    "a member nobody knows": (record(sql="DROP TABLE record"), "malformed"),
    "corrects a record nobody knows": (record(corrects="0" * 32), STORED),
    "an empty name": (record(data={"": ""}), STORED),
    "SQL in the data": (record(data={"x'; DROP TABLE record; --": "'); --"}), STORED),
}


# -- control messages ------------------------------------------------------------------------------------------------

HELLO = {"control": "hello", "instance": "i-1", "version": "1"}
VOID = {"control": "void", "flow": "people", "epoch": "epoch-1", "from": "7", "to": "9", "reason": "x"}
OPEN = {"control": "epoch-open", "flow": "people", "epoch": "epoch-2", "previous": "epoch-1"}

CONTROLS: Cases = {
    "no kind": (control({}), "malformed"),
    "kind null": (control({"control": None}), "malformed"),
    "kind nobody knows": (control({"control": "shutdown"}), "unknown_version"),
    "an array": (control([HELLO]), "malformed"),
    "a text": (control("hello"), "malformed"),
    "what only a hub says": (control({"control": "query-answer", "missing": [], "known": 1}), "malformed"),
    "the hello of a hub": (
        control({"control": "hub-hello", "limits": {"body_bytes": 1024, "decompressed_bytes": 1024, "records": 1}}),
        "malformed",
    ),
    "with a sequence": (control(HELLO, sequence="0" * 18 + "6"), STORED),
    "as records": (lambda d: signed(d, compact(document(d) | {"data": HELLO}), mid="m-1"), "malformed"),
    "records as control": (
        lambda d: signed(d, compact(said := document(d)), mid=said["id"], type_=CONTROL_TYPE),
        "id_mismatch",
    ),
    "hello without an instance": (control({"control": "hello", "version": "1"}), "malformed"),
    "hello with an empty instance": (control(HELLO | {"instance": ""}), "malformed"),
    "hello with a long instance": (control(HELLO | {"instance": "i" * 600}), "malformed"),
    "hello with NUL": (control(HELLO | {"instance": "\0"}), STORED),
    "hello of too many flows": (control(HELLO | {"flows": FLOWS}), "malformed"),
    "hello of too many types": (control(HELLO | {"types_pending": ["x"] * 1001}), "malformed"),
    "hello with flows as a list": (control(HELLO | {"flows": ["people"]}), "malformed"),
    "hello with a flow of odd name": (control(HELLO | {"flows": {"../x": {"epoch": "e", "next_sequence": "1"}}}), "malformed"),
    "hello with a sequence below zero": (
        control(HELLO | {"flows": {"people": {"epoch": "e", "next_sequence": "-1"}}}),
        "malformed",
    ),
    "hello with a sequence of 20 digits": (
        control(HELLO | {"flows": {"people": {"epoch": "e", "next_sequence": "9" * 20}}}),
        "malformed",
    ),
    "hello with a number": (control(HELLO | {"flows": {"people": {"epoch": "e", "next_sequence": 1}}}), "malformed"),
    "hello about a flow nobody knows": (control(HELLO | {"flows": {"cars": {"epoch": "e", "next_sequence": "1"}}}), STORED),
    "epoch without a name": (control(OPEN | {"epoch": ""}), "malformed"),
    "epoch with a slash": (control(OPEN | {"epoch": "a/b"}), "malformed"),
    "epoch of 65 characters": (control(OPEN | {"epoch": "e" * 65}), "malformed"),
    "epoch of a flow of odd name": (control(OPEN | {"flow": "a b"}), "malformed"),
    "epoch that is open already": (control(OPEN | {"epoch": "epoch-1", "previous": ""}), STORED),
    "void from zero": (control(VOID | {"from": "0"}), "malformed"),
    "void the wrong way round": (control(VOID | {"from": "9", "to": "7"}), "malformed"),
    "void below zero": (control(VOID | {"from": "-1"}), "malformed"),
    "void beyond 2^63": (control(VOID | {"to": str(2**63)}), "malformed"),
    "void of an epoch nobody opened": (control(VOID | {"epoch": "epoch-9"}), "unknown_epoch"),
    "void of a flow nobody knows": (control(VOID | {"flow": "cars"}), "unknown_epoch"),
    "void without a reason": (control(VOID | {"reason": ""}), "malformed"),
    "query of nothing": (control({"control": "query", "ids": []}), "malformed"),
    "query of too many": (control({"control": "query", "ids": [f"m{n}" for n in range(1001)]}), "malformed"),
    "query of something odd": (control({"control": "query", "ids": ["a b"]}), "malformed"),
    "query of a number": (control({"control": "query", "ids": [7]}), "malformed"),
    "query of the same thousand times": (control({"control": "query", "ids": ["m"] * 1000}), STORED),
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
