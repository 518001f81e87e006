"""Writing and opening messages: caps, shapes, renewal, properties."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

import pytest
import zstandard

from agent.errors import BadMessage, Disposition, disposition
from agent.model import MessageKind, Op
from agent.wire.compression import decompress
from agent.wire.control import EpochOpen, Void, decode_control
from agent.wire.envelope import Limits, MessageWriter, check_properties, encode_record, open_body, read_records, renew_signature
from agent.wire.event import event_id, sequence_text, time_text
from agent.wire.keys import generate, load_signer, public_of
from agent.wire.parcel import parcel_of, parcel_to
from agent.wire.signature import CONTROL, MESSAGE, KeyRing

PEM: Final = generate()
OTHER_PEM: Final = generate("ES256")
RING: Final = KeyRing([public_of(PEM, "d-1"), public_of(OTHER_PEM, "d-1")])
NOW: Final = datetime(2026, 11, 21, 3, 4, 5, 678901, UTC)


class StillClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


def writer(**changes: Any) -> MessageWriter:
    counter = count(1)
    parts: dict[str, Any] = {
        "sender": "d-1",
        "receiver": "hub-1",
        "flow": "f",
        "epoch": "e1",
        "subject": "510100/tax",
        "dataschema": "https://example.org/tax/1",
        "signer": load_signer(PEM),
        "clock": StillClock(),
        "random_bytes": lambda size: next(counter).to_bytes(size),
        **changes,
    }
    return MessageWriter(**parts)


def records(number: int, filler: str = "") -> list[bytes]:
    data = json.dumps({"a": filler}).encode()
    return [encode_record(f"{index:032x}", Op.UPSERT, b'{"k":%d}' % index, data) for index in range(number)]


def test_a_message_carries_what_the_outbox_needs() -> None:
    """Kind, sequence, count, key and digest of the final octets stand beside the body."""
    message = writer().records(7, records(3))
    assert (message.kind, message.sequence, message.records, message.flow, message.epoch) == (
        MessageKind.RECORDS,
        7,
        3,
        "f",
        "e1",
    )
    assert (message.digest_alg, message.digest) == ("sha-256", hashlib.sha256(message.body).digest())
    assert (message.kid, message.created_at) == (load_signer(PEM).kid, NOW)


def test_a_body_that_does_not_shrink_travels_plain() -> None:
    """Compression is for what it helps; level 0 never compresses."""
    assert writer().records(1, records(100)).encoding == "zstd"
    assert writer(compression_level=0).records(1, records(100)).encoding == ""


def test_messages_differ_and_order_by_time() -> None:
    """Two messages of the same records have different ids; ids made later are greater as text."""
    write = writer()
    assert write.records(1, records(1)).message_id != write.records(1, records(1)).message_id
    later = datetime(2026, 11, 21, 3, 4, 5, 680000, UTC)
    assert event_id(NOW, lambda size: b"\xff" * size) < event_id(later, bytes)


def test_event_id_is_a_uuid_of_version_7() -> None:
    """Version and variant bits are those of RFC 9562."""
    text = event_id(NOW, lambda size: b"\xff" * size)
    assert (text[14], text[19]) == ("7", "b")
    assert int(text[:8] + text[9:13], 16) == int(NOW.timestamp() * 1000)


@pytest.mark.parametrize(
    "limits, number, filler, reason",
    [
        (Limits(records=2), 3, "", "too_many_records"),
        (Limits(records=2), 0, "", "too_many_records"),
        (Limits(body_bytes=300), 1, "", "too_large"),
        (Limits(decompressed_bytes=10_000), 1, "x" * 10_000, "too_large"),
        (Limits(values=500), 1, "," * 1000, "too_large"),
    ],
)
def test_what_the_hub_would_refuse_is_not_written(limits: Limits, number: int, filler: str, reason: str) -> None:
    """A message over the receiver's limits is refused before it is signed, and the sequence can be used again."""
    with pytest.raises(BadMessage) as caught:
        writer(limits=limits).records(1, records(number, filler))
    assert caught.value.reason == reason
    assert disposition(caught.value) is Disposition.QUARANTINE


@pytest.mark.parametrize(
    "limits, reason",
    [
        (Limits(body_bytes=600), "too_large"),
        (Limits(decompressed_bytes=2000), "too_large"),
        (Limits(records=99), "too_many_records"),
        (Limits(values=400), "too_large"),
        (Limits(depth=4), "too_deep"),
    ],
)
def test_each_limit_is_kept_when_reading(limits: Limits, reason: str) -> None:
    """A body over any one limit is refused with its reason."""
    nested = encode_record("f" * 32, Op.UPSERT, b'{"k":1}', b'{"a":{}}')
    message = writer().records(1, [*records(99), nested])
    assert len(read_records(open_body(message.body, message.encoding, Limits()))) == 100
    with pytest.raises(BadMessage) as caught:
        open_body(message.body, message.encoding, limits)
    assert caught.value.reason == reason


@pytest.mark.parametrize("piece", [b"[],", b"{},", b"0,"])
def test_a_document_of_many_small_values_costs_little_memory(piece: bytes) -> None:
    """Tens of megabytes of tiny values, packed to a few kilobytes, are refused before they become objects."""
    text = b"[" + piece * 8_000_000 + b"0]"
    body = zstandard.compress(text)
    del text
    assert len(body) < 10_000
    tracemalloc.start()
    with pytest.raises(BadMessage) as caught:
        open_body(body, "zstd", Limits())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason == "too_large"
    assert peak < 64 * 1024 * 1024


def test_an_announced_size_is_checked_before_it_is_allocated() -> None:
    """A frame that announces a terabyte costs nothing."""
    frame = b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + b"\x01\x00\x00"
    tracemalloc.start()
    with pytest.raises(BadMessage) as caught:
        decompress(frame, "zstd", 1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason == "too_large"
    assert peak < 1 << 20


def test_brackets_in_text_are_not_nesting() -> None:
    """A value full of brackets is text, not depth."""
    message = writer().records(1, records(1, "[{" * 500))
    assert len(read_records(open_body(message.body, message.encoding, Limits(depth=5)))) == 1


def test_a_renewed_signature_covers_the_same_octets() -> None:
    """Only the JWS and its key change; the message stays what it was, octet for octet."""
    newer = load_signer(OTHER_PEM)
    for message, typ in ((writer().records(1, records(2)), MESSAGE), (writer().control(EpochOpen("f", "e1")), CONTROL)):
        renewed = renew_signature(message, newer, "hub-1")
        assert replace(renewed, jws=message.jws, kid=message.kid) == message
        key = RING.verify(renewed.jws, message.body, typ=typ, mid=message.message_id, cenc=message.encoding, audience="hub-1")
        assert (key.kid, renewed.kid) == (newer.kid, newer.kid)


def test_control_messages_take_no_sequence() -> None:
    """A control message of a flow says which flow and epoch, has sequence 0 and its own signature type."""
    message = writer().control(Void("f", "e1", "3", "4", "discarded"))
    assert (message.kind, message.sequence, message.records, message.encoding) == (MessageKind.CONTROL, 0, 0, "")
    envelope = open_body(message.body, "", Limits())
    assert (envelope.flow, envelope.epoch, envelope.sequence, envelope.subject) == ("f", "e1", 0, "void")
    assert decode_control(envelope) == Void("f", "e1", "3", "4", "discarded")
    with pytest.raises(BadMessage):
        read_records(envelope)


def test_properties_must_be_those_of_the_event() -> None:
    """AMQP message id and type that differ from the event are refused."""
    message = writer().records(1, records(1))
    envelope = open_body(message.body, message.encoding, Limits())
    check_properties(envelope, message.message_id, message.type)
    for wrong in ((None, message.type), (message.message_id, None), ("x", message.type), (message.message_id, "y")):
        with pytest.raises(BadMessage) as caught:
            check_properties(envelope, *wrong)
        assert caught.value.reason == "id_mismatch"


def test_parcels_carry_the_properties_of_the_protocol() -> None:
    """Up through the department's fanout exchange, down through `to` by queue name."""
    message = writer().records(1, records(1))
    up = parcel_of(message, "d-1", 9)
    assert (up.tag, up.exchange, up.routing_key, up.message_id) == (9, "ing.d-1", "", message.message_id)
    assert (up.type, up.encoding, up.body, up.headers) == (message.type, message.encoding, message.body, {"jws": message.jws})
    assert up.timestamp == int(NOW.timestamp())
    assert (parcel_to(message, "out.d-2", 1).exchange, parcel_to(message, "out.d-2", 1).routing_key) == ("to", "out.d-2")


def test_encoded_records_escape_what_they_are_given_as_text() -> None:
    """The one text that is not JSON already, the time, cannot break out of its quotes."""
    encoded = encode_record("a" * 32, Op.DELETE, b"{}", None, at='"},{"')
    assert json.loads(encoded) == {"id": "a" * 32, "op": "delete", "key": {}, "at": '"},{"'}


def test_sequences_are_nineteen_digits() -> None:
    """Sequences order as text, and what does not fit in 63 bits is not written."""
    assert [len(sequence_text(value)) for value in (0, 2**63 - 1)] == [19, 19]
    for wrong in (-1, 2**63):
        with pytest.raises(ValueError, match="sequence"):
            sequence_text(wrong)


def test_times_are_utc_with_microseconds() -> None:
    """A time is written in UTC whatever its zone, and the whole second has its six zeros."""
    assert time_text(datetime.fromisoformat("2026-11-21T11:04:05+08:00")) == "2026-11-21T03:04:05.000000Z"
