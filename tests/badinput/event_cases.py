"""Exchange messages whose octets, event, records or control data are wrong, all of them properly signed by their department."""

from __future__ import annotations

import os
from typing import Any

import zstandard

from agent.wire.event import CONTROL_TYPE
from hub.testing import DATASCHEMA
from tests.badinput.messages import (
    STORED,
    Cases,
    compact,
    control,
    deep,
    document,
    event,
    packed,
    put,
    raw,
    record,
    signed,
    swap,
    text,
)

FLOWS = {f"f{n}": {"epoch": "e", "next_sequence": "1"} for n in range(1001)}


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
