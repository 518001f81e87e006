"""What a receiver refuses, each with the reason it must give.

Two families: signatures that must not be accepted over a good body, and bodies that must not be accepted under a good
signature. Bodies are made from the text of good ones by replacing one piece.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping

import zstandard
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from agent.wire.event import CONTROL_TYPE, RECEIPT_TYPE, RECORDS_TYPE
from agent.wire.signature import CONTROL, MESSAGE, RECEIPT, Signer, detached_jws
from wire_vectors.accepted import CONTROLS, control_writer, messages, receipts, writer
from wire_vectors.parties import DEPARTMENT, EPOCH, HUB, KEYS, Json, base64url, vector

GOOD = messages()["plain-ed25519"]
GOOD_ID = str(GOOD["amqp"]["message_id"])
BODY = base64.b64decode(GOOD["body"])
SIGNER = KEYS["department-ed25519"].signer()


def refused() -> dict[str, Json]:
    """Return every refused vector by name."""
    return {**signatures(), **bodies(), **encodings(), **controls(), **bad_receipts()}


# -- signatures ------------------------------------------------------------------------------------------------------


def header(**changes: object) -> bytes:
    """Return a protected header; a member changed to None is left out."""
    members = {
        "alg": "EdDSA",
        "kid": SIGNER.kid,
        "typ": MESSAGE,
        "b64": False,
        "crit": ["b64"],
        "mid": GOOD_ID,
        "aud": HUB,
        "cenc": "",
        **changes,
    }
    return json.dumps({name: value for name, value in members.items() if value is not None}).encode()


def sealed(protected: str, octets: bytes = BODY, signer: Signer = SIGNER) -> str:
    """Return header..signature, signed over exactly that header text."""
    return f"{protected}..{base64url(signer.sign(protected.encode() + b'.' + octets))}"


def with_header(signer: Signer = SIGNER, **changes: object) -> str:
    """Return a JWS that verifies, but whose header says something else."""
    return sealed(base64url(header(**changes)), signer=signer)


def signatures() -> dict[str, Json]:
    """Return good bodies under signatures that must not be accepted."""
    good_header, good_signature = str(GOOD["amqp"]["headers"]["jws"]).split("..")
    octets = base64.urlsafe_b64decode(good_signature + "==")
    flipped = bytes([octets[0] ^ 1, *octets[1:]])
    es256 = KEYS["department-p256"].signer()
    p256_header = base64url(header(alg="ES256", kid=es256.kid))
    raw = es256.sign(p256_header.encode() + b"." + BODY)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    encoded_payload = SIGNER.sign(f"{good_header}.{base64url(BODY)}".encode())
    hmac_key = base64.b64decode(hashlib.sha256(b"public").hexdigest())
    cases: dict[str, tuple[str, str, str]] = {
        "signature-flipped": ("bad_signature", "One bit of the signature changed.", f"{good_header}..{base64url(flipped)}"),
        "signature-short": ("bad_signature", "63 octets.", f"{good_header}..{base64url(octets[:63])}"),
        "signature-zero": ("bad_signature", "All zero, ES256.", f"{p256_header}..{base64url(bytes(64))}"),
        "signature-der": ("bad_signature", "ES256 as DER, not r and s.", f"{p256_header}..{base64url(der)}"),
        "signature-empty": ("bad_signature", "No signature.", f"{good_header}.."),
        "signature-encoded-payload": (
            "bad_signature",
            "Signed as if b64 were true.",
            f"{good_header}..{base64url(encoded_payload)}",
        ),
        "alg-none": ("alg_not_allowed", "alg none.", f"{base64url(header(alg='none'))}..{base64url(bytes(64))}"),
        "alg-hs256": (
            "alg_not_allowed",
            "HMAC with something public as its key.",
            f"{base64url(header(alg='HS256'))}..{base64url(hmac_key[:32] * 2)}",
        ),
        "alg-of-another-key": ("alg_not_allowed", "alg EdDSA, key P-256.", with_header(es256, kid=es256.kid)),
        "key-unknown": ("unknown_key", "A key nobody pinned.", _signed_by("stranger")),
        "key-revoked": ("revoked_key", "A revoked key.", _signed_by("department-revoked")),
        "aud-other": ("wrong_audience", "Addressed to another hub.", with_header(aud="320000-hub")),
        "typ-receipt": ("typ_mismatch", "Made for a receipt.", with_header(typ=RECEIPT)),
        "typ-control": ("typ_mismatch", "Made for a control message.", with_header(typ=CONTROL)),
        "mid-other": ("mid_mismatch", "Made for another message id.", with_header(mid="019aa4b8-0000-7000-8000-000000000000")),
        "cenc-zstd": ("cenc_mismatch", "Says zstd, the message is plain.", with_header(cenc="zstd")),
        "crit-unknown": ("unknown_crit", "Demands an expiry we do not know.", with_header(crit=["b64", "exp"], exp=0)),
        "crit-empty": ("unknown_crit", "b64 is not critical.", with_header(crit=[])),
        "crit-missing": ("bad_header", "No crit.", with_header(crit=None)),
        "b64-true": ("bad_header", "b64 true.", with_header(b64=True)),
        "kid-missing": ("bad_header", "No kid.", with_header(kid=None)),
        "aud-list": ("bad_header", "aud is a list.", with_header(aud=[HUB])),
        "header-twice": (
            "bad_header",
            "A member twice in the header.",
            sealed(base64url(header()[:-1] + b',"aud":"' + HUB.encode() + b'"}')),
        ),
        "header-not-json": ("bad_header", "Not JSON.", sealed(base64url(b"alg=EdDSA"))),
        "header-padded": ("bad_header", "base64url with padding.", sealed(base64url(header() + b" ") + "=")),
        "header-loose-bits": ("bad_header", "Unused bits of base64url are set.", sealed(_loose(header(cenc="", x="..")))),
        "header-long": ("bad_header", "Longer than 2048 characters.", with_header(note="x" * 2048)),
        "jws-empty": ("bad_header", "No JWS.", ""),
        "jws-attached": ("bad_header", "The payload inside.", f"{good_header}.{base64url(BODY)}.{good_signature}"),
        "jws-four-parts": ("bad_header", "Four parts.", f"{good_header}..{good_signature}."),
    }
    return {name: _refuse(reason, description, BODY, jws=jws) for name, (reason, description, jws) in cases.items()} | {
        "body-flipped": _refuse("bad_signature", "One bit of the body changed.", BODY[:-9] + bytes([BODY[-9] ^ 1]) + BODY[-8:]),
        "body-respelled": _refuse("bad_signature", "The same JSON with white space.", json.dumps(json.loads(BODY)).encode()),
    }


def _signed_by(name: str) -> str:
    signer = KEYS[name].signer()
    return with_header(signer, kid=signer.kid, alg=signer.alg)


def _loose(protected: bytes) -> str:
    text = base64url(protected)
    while len(text) % 4 != 2:  # two characters for the last octet leave four unused bits
        protected = protected[:-1] + b" }"
        text = base64url(protected)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) | 1]


def _refuse(
    reason: str, description: str, body: bytes, *, jws: str | None = None, message_id: str = GOOD_ID, encoding: str = ""
) -> Json:
    signature = str(GOOD["amqp"]["headers"]["jws"]) if jws is None else jws
    return vector(
        description,
        body,
        message_id=message_id,
        type_=RECORDS_TYPE,
        encoding=encoding,
        jws=signature,
        reason=reason,
        layer="signature",
    )


# -- bodies ----------------------------------------------------------------------------------------------------------


def signed(reason: str, description: str, body: bytes, encoding: str = "", message_id: str = GOOD_ID) -> Json:
    """Return a body under a good signature."""
    jws = detached_jws(SIGNER, typ=MESSAGE, mid=message_id, aud=HUB, cenc=encoding, body=body)
    return {**_refuse(reason, description, body, jws=jws, message_id=message_id, encoding=encoding), "layer": "body"}


def replaced(text: bytes, old: str, new: str | bytes) -> bytes:
    """Return text with the one occurrence of `old` replaced."""
    if text.count(old.encode()) != 1:
        raise ValueError(f"{old!r} stands {text.count(old.encode())} times")
    return text.replace(old.encode(), new.encode() if isinstance(new, str) else new)


_NAME = '"owner_name":"王秀英"'
_COUNT = '"recordcount":1'
_KEY = '"key":{"unit_no":"510100000001"}'
_SEQUENCE = '"sequence":"0000000000000000001"'
_ID = str(GOOD["event"]["data"]["records"][0]["id"])

REPLACED: Mapping[str, tuple[str, str, str, str | bytes]] = {
    "utf8-invalid": ("malformed", "Not UTF-8.", _NAME, b'"owner_name":"\xc8\xfd"'),
    "utf8-surrogate": ("malformed", "A surrogate as UTF-8 octets.", _NAME, b'"owner_name":"\xed\xa0\x80"'),
    "escape-surrogate": ("malformed", "A lone surrogate.", _NAME, '"owner_name":"\\ud842"'),
    "number-nan": ("malformed", "NaN.", '"floor":1', '"floor":NaN'),
    "number-infinite": ("malformed", "Too large to be finite.", '"floor":1', '"floor":1e999'),
    "number-2-53": ("malformed", "An integer of 2^53.", '"floor":1', '"floor":9007199254740992'),
    "number-64-bits": ("malformed", "An integer of 64 bits.", '"floor":1', '"floor":-9223372036854775808'),
    "number-huge": ("malformed", "An integer of 5 000 digits.", '"floor":1', '"floor":' + "9" * 5000),
    "number-leading-zero": ("malformed", "A leading zero.", '"floor":1', '"floor":01'),
    "twice-in-event": (
        "duplicate_member",
        "An attribute twice.",
        '"specversion":"1.0"',
        '"specversion":"1.0","specversion":"1.0"',
    ),
    "twice-data": ("duplicate_member", "data twice.", '"data":{"records"', '"data":{"records":[]},"data":{"records"'),
    "twice-in-record": ("duplicate_member", "op twice.", '"op":"upsert"', '"op":"upsert","op":"delete"'),
    "twice-in-key": ("duplicate_member", "A key member twice.", _KEY, '"key":{"unit_no":"1","unit_no":"510100000001"}'),
    "twice-in-record-data": ("duplicate_member", "A field twice.", _NAME, f'"owner_name":"李四",{_NAME}'),
    "twice-nested": ("duplicate_member", "Twice, further down.", _NAME, '"owner_name":{"a":[{"b":1,"b":1}]}'),
    "twice-escaped": ("duplicate_member", "Twice, once escaped.", _NAME, f'"owner\\u005fname":"李四",{_NAME}'),
    "nested-deep": ("too_deep", "40 levels.", '"floor":1', '"floor":' + "[" * 40 + "]" * 40),
    "nested-very-deep": ("too_deep", "5 000 levels.", '"floor":1', '"floor":' + "[" * 5000 + "]" * 5000),
    "specversion-0.3": ("unknown_version", "CloudEvents 0.3.", '"specversion":"1.0"', '"specversion":"0.3"'),
    "id-missing": ("malformed", "No id.", f'"id":"{GOOD_ID}",', ""),
    "id-number": ("malformed", "id is a number.", f'"id":"{GOOD_ID}"', '"id":1'),
    "id-other": (
        "id_mismatch",
        "id is not the AMQP message_id.",
        f'"id":"{GOOD_ID}"',
        '"id":"019aa4b8-0000-7000-8000-000000000000"',
    ),
    "time-nonsense": ("malformed", "The 30th of February.", '"time":"2026-11-21', '"time":"2026-02-30'),
    "sender-not-a-code": ("malformed", "sender is no node code.", f'"sender":"{DEPARTMENT}"', '"sender":"510100.*"'),
    "source-of-another": ("malformed", "source and sender differ.", f"/departments/{DEPARTMENT}/", "/departments/510100-ga-01/"),
    "schema-missing": ("malformed", "No dataschema.", '"dataschema":', '"dataschemb":'),
    "content-type": ("malformed", "Not JSON data.", '"datacontenttype":"application/json"', '"datacontenttype":"text/xml"'),
    "epoch-missing": ("malformed", "No epoch.", f'"epoch":"{EPOCH}",', ""),
    "sequence-number": ("malformed", "sequence is a number.", _SEQUENCE, '"sequence":1'),
    "sequence-short": ("malformed", "sequence of 18 digits.", _SEQUENCE, '"sequence":"000000000000000001"'),
    "sequence-zero": ("malformed", "sequence 0.", _SEQUENCE, '"sequence":"0000000000000000000"'),
    "sequence-too-large": ("malformed", "sequence of 2^63.", _SEQUENCE, '"sequence":"9223372036854775808"'),
    "count-text": ("malformed", "recordcount is text.", _COUNT, '"recordcount":"1"'),
    "count-larger": ("count_mismatch", "recordcount 2, one record.", _COUNT, '"recordcount":2'),
    "count-zero": ("malformed", "recordcount 0.", _COUNT, '"recordcount":0'),
    "records-object": ("malformed", "records is an object.", '"records":[', '"records":{"a":['),
    "record-id-upper": ("malformed", "A record id in upper case.", f'"id":"{_ID}"', f'"id":"{"AB" * 16}"'),
    "record-id-short": ("malformed", "A record id of 31 digits.", f'"id":"{_ID}"', f'"id":"{_ID[:-1]}"'),
    "op-unknown": ("malformed", "op merge.", '"op":"upsert"', '"op":"merge"'),
    "key-empty": ("malformed", "An empty key.", _KEY, '"key":{}'),
    "key-array": ("malformed", "key is an array.", _KEY, '"key":["510100000001"]'),
    "key-nested": ("malformed", "An object in the key.", _KEY, '"key":{"unit_no":{"a":1}}'),
    "key-null": ("malformed", "null in the key.", _KEY, '"key":{"unit_no":null}'),
    "key-wide": ("malformed", "17 key members.", _KEY, '"key":' + json.dumps({f"k{n}": n for n in range(17)})),
    "at-nonsense": ("malformed", "at is no time.", '"at":"2026-11-21T11:04:05+08:00"', '"at":"yesterday"'),
    "at-null": ("malformed", "at is null.", '"at":"2026-11-21T11:04:05+08:00"', '"at":null'),
    "record-member-unknown": ("malformed", "An unknown member in a record.", '"op":"upsert"', '"op":"upsert","prior":1'),
}


def bodies() -> dict[str, Json]:
    """Return bodies that must not be accepted under a good signature."""
    found = {name: signed(reason, text, replaced(BODY, old, new)) for name, (reason, text, old, new) in REPLACED.items()}
    data = BODY[BODY.index(b',"data":{"unit_no"') : -3]
    for name, text, new in (("data-missing", "An upsert without data.", b""), ("data-null", "data is null.", b',"data":null')):
        found[name] = signed("malformed", text, BODY.replace(data, new))
    found["data-array"] = signed("malformed", "data is an array.", BODY.replace(data, b',"data":[1]'))
    record = BODY[BODY.index(b'{"id":"', 10) : -3]
    twice = BODY.replace(b'"recordcount":1', b'"recordcount":2').replace(record, record + b"," + record)
    found["record-twice"] = signed("duplicate_record", "One record id twice.", twice)
    found["bom"] = signed("malformed", "A byte order mark.", b"\xef\xbb\xbf" + BODY)
    found["utf16"] = signed("malformed", "UTF-16.", BODY.decode().encode("utf-16"))
    found["trailing"] = signed("malformed", "Something behind the event.", BODY + b"x")
    found["two-events"] = signed("malformed", "Two events.", BODY + BODY)
    found["truncated"] = signed("malformed", "The last octet is missing.", BODY[:-1])
    found["empty"] = signed("malformed", "No octets.", b"")
    found["array"] = signed("malformed", "A batch of events.", b"[" + BODY + b"]")
    many = BODY.replace(b'"recordcount":1', b'"recordcount":5001').replace(record, b",".join([record] * 5001))
    packed = zstandard.ZstdCompressor(level=1).compress(many)
    found["records-5001"] = signed("too_many_records", "5 001 records.", packed, "zstd")
    return found


# -- compression -----------------------------------------------------------------------------------------------------


def encodings() -> dict[str, Json]:
    """Return frames that must not be opened, or not further than the limits."""
    compressor = zstandard.ZstdCompressor(level=1)
    text = BODY[:-3] + b" " * 1000 + BODY[-3:]
    frame = compressor.compress(text)
    bomb = compressor.compress(bytes(64 * 1024 * 1024 + 1))
    cases: Mapping[str, tuple[str, str, bytes, str]] = {
        "zstd-bomb": ("too_large", "64 MiB and one octet of zeros.", bomb, "zstd"),
        "zstd-lies-small": ("bad_encoding", "Announces 1 000 octets, holds 64 MiB.", _announce(bomb, 1000), "zstd"),
        "zstd-lies-large": ("bad_encoding", "Announces 60 000 octets, holds less.", _announce(frame, 60000), "zstd"),
        "zstd-no-size": (
            "bad_encoding",
            "Does not tell its size.",
            zstandard.ZstdCompressor(level=1, write_content_size=False).compress(text),
            "zstd",
        ),
        "zstd-two-frames": (
            "bad_encoding",
            "Two frames.",
            compressor.compress(text[:100]) + compressor.compress(text[100:]),
            "zstd",
        ),
        "zstd-trailing": ("bad_encoding", "An octet behind the frame.", frame + b"\0", "zstd"),
        "zstd-truncated": ("bad_encoding", "The last octet is missing.", frame[:-1], "zstd"),
        "zstd-skippable": ("bad_encoding", "A skippable frame in front.", b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + frame, "zstd"),
        "zstd-not": ("bad_encoding", "Not compressed at all.", BODY, "zstd"),
        "encoding-gzip": ("bad_encoding", "gzip.", BODY, "gzip"),
    }
    return {name: signed(reason, description, body, encoding) for name, (reason, description, body, encoding) in cases.items()}


def _announce(frame: bytes, size: int) -> bytes:
    """Return the frame with another content size in its header (RFC 8878, 3.1.1.1)."""
    flag, single = frame[4] >> 6, frame[4] >> 5 & 1
    start, width = 5 + (1 - single), {0: 1, 1: 2, 2: 4, 3: 8}[flag]
    return frame[:start] + (size - (256 if flag == 1 else 0)).to_bytes(width, "little") + frame[start + width :]


# -- control messages and receipts -----------------------------------------------------------------------------------


def controls() -> dict[str, Json]:
    """Return control messages that must not be acted upon."""
    cases: Mapping[str, tuple[str, str, str, str, str]] = {
        "control-unknown": ("unknown_version", "A kind nobody knows.", "void", '"control":"void"', '"control":"purge"'),
        "control-kind-missing": ("malformed", "No kind.", "void", '"control":"void",', ""),
        "control-void-backwards": ("malformed", "from is greater than to.", "void", '"from":"17"', '"from":"19"'),
        "control-void-number": ("malformed", "A 64-bit number as a number.", "void", '"from":"17"', '"from":17'),
        "control-void-no-reason": ("malformed", "No reason.", "void", ',"reason":"discarded by an operator: wrong year"', ""),
        "control-query-empty": ("malformed", "Asks about nothing.", "query", '"ids":[', '"idz":['),
    }
    return {name: _control(*case) for name, case in cases.items()}


def _control(reason: str, description: str, name: str, old: str, new: str) -> Json:
    message = control_writer(True, name).write(CONTROLS[name][2])
    body = replaced(message.body, old, new)
    jws = detached_jws(SIGNER, typ=CONTROL, mid=message.message_id, aud=HUB, cenc="", body=body)
    said = {"message_id": message.message_id, "type_": CONTROL_TYPE, "encoding": "", "jws": jws}
    return vector(description, body, **said, reason=reason, layer="control")


def bad_receipts() -> dict[str, Json]:
    """Return receipts that must never settle anything."""
    good = receipts()["stored-ed25519"]
    text = base64.b64decode(good["body"])
    digest = str(good["event"]["data"]["digest"]["value"])
    hub = KEYS["hub-ed25519"].signer()

    def case(reason: str, description: str, change: Callable[[bytes], bytes] = bytes, signer: Signer = hub, **says: str) -> Json:
        body, mid = change(text), str(good["amqp"]["message_id"])
        jws = detached_jws(signer, typ=says.get("typ", RECEIPT), mid=mid, aud=says.get("aud", DEPARTMENT), cenc="", body=body)
        said = {"message_id": mid, "type_": RECEIPT_TYPE, "encoding": "", "jws": jws}
        return vector(description, body, **said, reason=reason, layer="receipt")

    def swap(old: str, new: str) -> Callable[[bytes], bytes]:
        return lambda body: body.replace(old.encode(), new.encode())

    return {
        "receipt-by-department": case("wrong_owner", "Signed by the department itself.", signer=SIGNER),
        "receipt-key-unknown": case("unknown_key", "A hub key nobody pinned.", signer=KEYS["stranger"].signer()),
        "receipt-aud-other": case("wrong_audience", "Addressed to another department.", aud="510100-ga-01"),
        "receipt-for-another": case("wrong_audience", "About a message of another department.", swap(DEPARTMENT, "510100-ga-01")),
        "receipt-other-hub": case("wrong_owner", "Names another hub than its key.", swap(HUB, "320000-hub")),
        "receipt-typ-message": case("typ_mismatch", "Made for a message.", typ=MESSAGE),
        "receipt-digest-short": case("malformed", "63 digits of digest.", swap(digest, digest[:-1])),
        "receipt-digest-md5": case("malformed", "md5.", swap('"alg":"sha-256"', '"alg":"md5"')),
        "receipt-outcome": case("malformed", "An outcome nobody knows.", swap('"outcome":"stored"', '"outcome":"maybe"')),
        "receipt-stage": case("malformed", "A stage nobody knows.", swap('"stage":"R3"', '"stage":"R9"')),
        "receipt-counts": case("count_mismatch", "One refused, none listed.", swap('"refused":0', '"refused":1')),
        "receipt-audit": case("malformed", "No audit head.", swap('"audit":', '"audiT":')),
        "receipt-twice": case("duplicate_member", "outcome twice.", swap('"outcome"', '"outcome":"fork","outcome"')),
    }


__all__ = ["refused", "writer"]
