"""The algebra of the wire: what is written is read back, what is altered never verifies, garbage is only ever refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from agent.errors import BadMessage, BadReceipt, BadSignature
from agent.model import Op, Outcome, RefusedRecord
from agent.wire import reader
from agent.wire.codes import CODES
from agent.wire.control import decode_control
from agent.wire.envelope import Limits, MessageWriter, encode_record, open_body, read_records
from agent.wire.keys import generate, load_signer, public_of
from agent.wire.receipt import Statement, read_receipt, write_receipt
from agent.wire.signature import MESSAGE, RECEIPT, KeyRing, detached_jws
from agent.wire.strict import MAX_SAFE_INTEGER, load_strict

patient = settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
PEMS: Final = [generate("EdDSA"), generate("ES256")]
SIGNERS: Final = [load_signer(pem) for pem in PEMS]
RING: Final = KeyRing(public_of(pem, "hub-1") for pem in PEMS)
LIMITS: Final = Limits(body_bytes=1 << 20, decompressed_bytes=1 << 22, records=50, depth=8, values=20_000)


class StillClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 21, 3, 4, 5, 678901, UTC)

    def monotonic(self) -> float:
        return 0.0


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUE = st.recursive(
    SCALAR | TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
KEY = st.dictionaries(TEXT, TEXT | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER), min_size=1, max_size=16)
DATA = st.dictionaries(TEXT, VALUE, max_size=5)
TIME = st.datetimes().map(lambda moment: moment.isoformat()) | st.datetimes(timezones=st.just(UTC)).map(
    lambda moment: moment.isoformat()
)
RECORD = st.tuples(
    st.sampled_from(Op), KEY, DATA, st.none() | TIME, st.none() | st.binary(min_size=16, max_size=16).map(bytes.hex)
)


@patient
@given(
    st.lists(RECORD, min_size=1, max_size=4),
    st.integers(1, 2**63 - 1),
    st.sampled_from([0, 1, 3]),
    st.sampled_from(SIGNERS),
    TEXT,
)
def test_what_is_written_is_read(records: list[Any], sequence: int, level: int, signer: Any, subject: str) -> None:
    """Records survive writing, signing, compressing, verifying and opening, octet for octet."""
    assume(0 < len(subject.encode()) <= 256)
    parts = [
        (
            f"{index:032x}",
            op,
            msgspec.json.encode(key),
            None if op is Op.DELETE and not data else msgspec.json.encode(data),
            at,
            corrects,
        )
        for index, (op, key, data, at, corrects) in enumerate(records)
    ]
    writer = MessageWriter(
        sender="d-1",
        receiver="hub-1",
        flow="f",
        epoch="e1",
        subject=subject,
        dataschema="urn:x:1",
        signer=signer,
        clock=StillClock(),
        random_bytes=lambda size: b"\7" * size,
        compression_level=level,
    )
    message = writer.records(sequence, [encode_record(*part) for part in parts])
    RING.verify(message.jws, message.body, typ=MESSAGE, mid=message.message_id, cenc=message.encoding, audience="hub-1")
    envelope = open_body(message.body, message.encoding, Limits())
    found = [
        (one.id, one.op, bytes(one.key), None if one.data is None else bytes(one.data), one.at, one.corrects)
        for one in read_records(envelope)
    ]
    assert found == parts
    assert (envelope.sequence, envelope.subject, envelope.record_count) == (sequence, subject, len(parts))


BODY: Final = b'{"specversion":"1.0","data":{"records":[]}}'
MID: Final = "01a1fc0f-a32e-7042-9f2e-7634c4c80a75"
JWS: Final = [detached_jws(signer, typ=MESSAGE, mid=MID, aud="hub-1", cenc="", body=BODY) for signer in SIGNERS]


def reason_of(act: Callable[[], object], kind: type[BadMessage]) -> str:
    """Return why something was refused, empty when it was not. Any other error is the test's failure."""
    try:
        act()
    except kind as error:
        return f"{error.reason}: {error}"
    return ""


def verifies(jws: str, body: bytes) -> bool:
    reason = reason_of(lambda: RING.verify(jws, body, typ=MESSAGE, mid=MID, cenc="", audience="hub-1"), BadSignature)
    assert reason.partition(":")[0] in {*CODES, ""}
    return not reason


@patient
@given(st.sampled_from(JWS), st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_an_altered_body_never_verifies(jws: str, place: int, flip: int) -> None:
    """Whichever octet of the body changes, and however, the signature does not fit."""
    assert verifies(jws, BODY)
    assert not verifies(jws, BODY[:place] + bytes([BODY[place] ^ flip]) + BODY[place + 1 :])


@patient
@given(st.sampled_from(JWS), st.data())
def test_an_altered_signature_never_verifies(jws: str, data: st.DataObject) -> None:
    """Whichever character of the JWS changes, and however, it does not verify, and only BadSignature is raised."""
    place = data.draw(st.integers(0, len(jws) - 1))
    other = data.draw(st.characters().filter(lambda one: one != jws[place]))
    assert not verifies(jws[:place] + other + jws[place + 1 :], BODY)
    assert not verifies(jws[:place] + jws[place + 1 :], BODY)
    assert not verifies(jws[:place] + other + jws[place:], BODY)


@patient
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda octets: base64.urlsafe_b64encode(octets).decode() + "..AAAA"))
def test_a_nonsense_signature_is_refused(jws: str) -> None:
    """No text whatever makes verification raise anything but BadSignature."""
    assert not verifies(jws, BODY)


def opens(body: bytes, encoding: str) -> bool:
    reason = reason_of(lambda: open_body(body, encoding, LIMITS), BadMessage)
    assert reason.partition(":")[0] in {*CODES, ""}
    if reason:
        return False
    reason = reason_of(lambda: decode_control(open_body(body, encoding, LIMITS)), BadMessage)
    assert reason.partition(":")[0] in {*CODES, ""}
    return True


GOOD: Final = (
    b'{"specversion":"1.0","id":"x","source":"/departments/d-1/flows/f","type":"cn.huitong.records.v1","subject":"s",'
    b'"time":"2026-11-21T03:04:05Z","datacontenttype":"application/json","dataschema":"u","sender":"d-1","receiver":"h-1",'
    b'"flow":"f","epoch":"e","sequence":"0000000000000000001","recordcount":2,"data":{"records":['
    b'{"id":"00000000000000000000000000000001","op":"upsert","key":{"a":"1"},"at":"2026-01-01T00:00:00","data":{"a":"1","b":[{}]}},'
    b'{"id":"00000000000000000000000000000002","op":"delete","key":{"a":2}}]}}'
)
PIECES: Final = st.binary(max_size=6) | st.sampled_from(
    [
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"null",
        b"1e400",
        b'"a":',
        b"\\u0000",
        b"\\ud800",
        b"\xef\xbb\xbf",
        b"0",
        b"-",
        b" ",
    ]
)
EDITS: Final = st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), PIECES), max_size=4)


def edited(octets: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, cut, piece in edits:
        octets = octets[:place] + piece + octets[place + cut :]
    return octets


def test_the_example_that_is_edited_is_good() -> None:
    """The body that the next tests damage is a good one."""
    assert opens(GOOD, "")
    assert opens(zstandard.compress(GOOD), "zstd")


@patient
@given(st.binary(max_size=400), st.sampled_from(["", "zstd", "gzip"]))
def test_garbage_is_refused(body: bytes, encoding: str) -> None:
    """Random octets are refused with a BadMessage, whatever they are said to be."""
    assert not opens(body, encoding)


@patient
@given(EDITS)
def test_a_damaged_body_is_opened_or_refused(edits: list[tuple[int, int, bytes]]) -> None:
    """A good body with pieces cut and pasted either opens or is refused with a BadMessage; nothing else is raised."""
    opens(edited(GOOD, edits), "")
    opens(zstandard.compress(edited(GOOD, edits)), "zstd")


MEMBERS: Final = st.sampled_from(
    [
        b'"a":"2",',
        b'"id":"x",',
        b'"data":{},',
        b'"op":"upsert",',
        b'"records":[],',
        b'"sequence":"1",',
        b"{},",
        b"[[[[[[[[[]]]]]]]]],",
    ]
)


@patient
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.just(0), MEMBERS | PIECES), max_size=2))
def test_what_is_read_in_parts_would_be_read_whole(edits: list[tuple[int, int, bytes]]) -> None:
    """The quick way to open a message takes nothing that the careful one refuses, and says the same of what it takes."""
    text = edited(GOOD, edits)
    quick = reader._open_compact(text, LIMITS)
    assert quick is None or quick == reader._open_any(text, LIMITS)
    assert edits or quick is not None


@patient
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 12), PIECES), min_size=1, max_size=4))
def test_a_damaged_frame_is_opened_or_refused(edits: list[tuple[int, int, bytes]]) -> None:
    """A zstd frame with pieces cut and pasted either opens or is refused with a BadMessage; nothing else is raised."""
    opens(edited(zstandard.compress(GOOD), edits), "zstd")


# -- strict JSON against an oracle -----------------------------------------------------------------------------------

# A value as ("object", [(name, value), …]), ("array", […]) or ("text", JSON); objects may name a member twice.
TREE = st.recursive(
    st.sampled_from(
        ["1", "-0", "1.50", "1e5", "true", "null", '"x"', '"\\u0061"', "9007199254740993", "123456789012345678901234"]
    ).map(lambda text: ("text", text)),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: ("array", items))
        | st.lists(st.tuples(st.sampled_from(["a", "b", "c", "é"]), inner), max_size=4).map(lambda pairs: ("object", pairs))
    ),
    max_leaves=8,
)


def spelled(tree: Any, spaces: bool, escapes: bool) -> str:
    kind, content = tree
    comma, colon = (" ,\n", " : ") if spaces else (",", ":")
    if kind == "array":
        return f"[{comma.join(spelled(item, spaces, escapes) for item in content)}]"
    if kind == "object":
        names = (f'"\\u{ord(name):04x}"' if escapes and index % 2 else f'"{name}"' for index, (name, _) in enumerate(content))
        pairs = zip(names, content, strict=True)
        return f"{{{comma.join(f'{name}{colon}{spelled(value, spaces, escapes)}' for name, (_, value) in pairs)}}}"
    return str(content)


def flawed(tree: Any) -> bool:
    kind, content = tree
    if kind == "array":
        return any(flawed(item) for item in content)
    if kind == "object":
        names = [name for name, _ in content]
        return len(set(names)) < len(names) or any(flawed(value) for _, value in content)
    return content.isdigit() and int(content) > MAX_SAFE_INTEGER


@patient
@given(TREE, st.booleans(), st.booleans())
def test_repeats_and_large_integers_are_found_at_any_level(tree: Any, spaces: bool, escapes: bool) -> None:
    """A document is refused exactly when an object in it names a member twice or an integer is beyond 2^53."""
    text = spelled(tree, spaces, escapes)
    if not flawed(tree):
        assert load_strict(text.encode(), values=1000) == json.loads(text)
        return
    reason = reason_of(lambda: load_strict(text.encode(), values=1000), BadMessage)
    assert reason.partition(":")[0] in ("duplicate_member", "malformed")


# -- receipts --------------------------------------------------------------------------------------------------------

MOMENTS = st.datetimes(timezones=st.just(UTC))
STATEMENTS = st.builds(
    Statement,
    message_id=st.uuids().map(str),
    sender=st.just("d-1"),
    flow=st.sampled_from(["", "f"]),
    epoch=st.sampled_from(["", "e1"]),
    sequence=st.integers(0, 2**63 - 1),
    outcome=st.sampled_from(Outcome),
    stage=st.sampled_from(["R1", "R2", "R3", "R4"]),
    digest=st.binary(min_size=32, max_size=32),
    hub=st.just("hub-1"),
    received_at=MOMENTS,
    committed_at=MOMENTS,
    audit_sequence=st.integers(0, 2**63 - 1),
    audit_hash=st.binary(min_size=32, max_size=32).map(bytes.hex),
    stored=st.integers(0, 5000),
    refused=st.lists(st.builds(RefusedRecord, TEXT, TEXT, st.sampled_from(sorted(CODES)), TEXT), max_size=3),
    code=st.sampled_from(["", *CODES]),
    text=TEXT,
)


@patient
@given(STATEMENTS, st.sampled_from(SIGNERS))
def test_a_receipt_says_what_was_stated(statement: Statement, signer: Any) -> None:
    """Everything the hub states arrives in the verified receipt."""
    mid, body, jws = write_receipt(
        statement, audience="d-1", signer=signer, clock=StillClock(), random_bytes=lambda size: b"\1" * size
    )
    receipt = read_receipt(body, "", jws, RING, mid, "d-1")
    names = ("message_id", "sender", "flow", "epoch", "sequence", "outcome", "stage", "digest", "hub", "stored", "code", "text")
    names += ("received_at", "committed_at", "audit_sequence", "audit_hash", "digest_alg")
    assert [getattr(receipt, name) for name in names] == [getattr(statement, name) for name in names]
    assert list(receipt.refused) == list(statement.refused)
    assert (receipt.kid, receipt.body, receipt.jws) == (signer.kid, body, jws)


STATED: Final = Statement(
    message_id=MID,
    sender="d-1",
    flow="f",
    epoch="e1",
    sequence=1,
    outcome=Outcome.STORED,
    stage="R3",
    digest=bytes(32),
    hub="hub-1",
    received_at=StillClock().now(),
    committed_at=StillClock().now() + timedelta(seconds=1),
    audit_sequence=1,
    audit_hash="",
)


@patient
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 12), PIECES), max_size=3), st.sampled_from(["", "zstd"]))
def test_a_damaged_receipt_is_read_or_refused(edits: list[tuple[int, int, bytes]], encoding: str) -> None:
    """A receipt that even its own hub signs wrongly is read or raises BadReceipt; nothing else is raised."""
    mid, body, _ = write_receipt(STATED, audience="d-1", signer=SIGNERS[0], clock=StillClock(), random_bytes=bytes)
    body = edited(body, edits)
    jws = detached_jws(SIGNERS[0], typ=RECEIPT, mid=mid, aud="d-1", cenc=encoding, body=body)
    reason = reason_of(lambda: read_receipt(body, encoding, jws, RING, mid, "d-1"), BadReceipt)
    assert reason.partition(":")[0] in {*CODES, ""}
    if not reason:
        assert read_receipt(body, encoding, jws, RING, mid, "d-1").hub == "hub-1"
