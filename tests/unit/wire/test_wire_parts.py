"""Small parts of the wire: record ids, names at the broker, control messages, the table of refusals."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import BadMessage, BadReceipt, BadSignature, Side
from agent.model import Op, Outcome
from agent.wire import topology
from agent.wire.codes import CODES, bad_receipt, bad_signature, refusal
from agent.wire.control import (
    Control,
    Hello,
    HighWater,
    HubHello,
    NextSequence,
    Query,
    QueryAnswer,
    Void,
    WireLimits,
    decode_control,
    number,
)
from agent.wire.event import CONTROL_TYPE
from agent.wire.identity import NO_DATA_HASH, RecordIds, data_hash
from agent.wire.limits import Limits
from agent.wire.reader import Envelope

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


# -- record ids ------------------------------------------------------------------------------------------------------


KEYS = st.lists(st.tuples(st.sampled_from("sinbof"), TEXT))


@given(st.tuples(TEXT, TEXT, TEXT, TEXT, KEYS, TEXT, st.sampled_from(Op)))
def test_a_record_id_is_the_hash_of_the_described_array(parts: tuple[Any, ...]) -> None:
    """For any names, keys and tokens the id is the hash of the JSON array that the document describes."""
    sender, flow, incarnation, entity, key, token, op = parts
    key_text = json.dumps(key, ensure_ascii=False, separators=(",", ":"))
    array = [1, sender, flow, incarnation, entity, json.loads(key_text), token, op, data_hash(b"{}")]
    expected = hashlib.sha256(json.dumps(array, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()[:32]
    ids = RecordIds(sender, flow, incarnation, entity)
    assert ids.of(key_text, token, op, data_hash(b"{}")) == expected
    assert ids.of(key_text, token, op, data_hash(b"{}")) == expected


def test_every_part_of_an_identity_counts() -> None:
    """Changing any part gives another id."""
    base = ("d-1", "f", "inc", "t"), ('[["s","1"]]', "e:1", Op.UPSERT, data_hash(b"{}"))
    others = [(tuple("x" if i == j else p for j, p in enumerate(base[0])), base[1]) for i in range(4)]
    others += [
        (base[0], ('[["i","1"]]', *base[1][1:])),
        (base[0], (base[1][0], "e:2", *base[1][2:])),
        (base[0], (*base[1][:2], Op.DELETE, base[1][3])),
        (base[0], (*base[1][:3], NO_DATA_HASH)),
    ]
    found = {RecordIds(*names).of(*rest) for names, rest in [base, *others]}
    assert len(found) == 9
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in found)


# -- names at the broker ---------------------------------------------------------------------------------------------


def test_names_at_the_broker() -> None:
    """Every name is derived from the node code, and back."""
    assert topology.ingress_exchange("d-1") == "ing.d-1"
    assert topology.inbound_queue("d-1") == "in.d-1"
    assert (topology.receipt_queue("d-1"), topology.out_queue("d-1")) == ("rcpt.d-1", "out.d-1")
    assert topology.user_name("d-1") == "agent.d-1"
    assert topology.node_of_exchange("ing.d-1") == "d-1"
    assert topology.node_of_user("agent.d-1") == "d-1"
    assert [topology.node_of_exchange(name) for name in ("to", "ing.", "ing.D", "out.d-1", "ing.d-1.x")] == [None] * 5
    assert [topology.node_of_user(name) for name in ("hub", "agent.*", "")] == [None] * 3


def test_permissions_match_exactly_the_own_names() -> None:
    """The patterns the broker gets match a department's own names and nobody else's."""
    write, read = re.compile(topology.write_permission("a-1")), re.compile(topology.read_permission("a-1"))
    assert write.search("ing.a-1")
    assert [name for name in ("ing.a-11", "xing.a-1", "ingXa-1", "to", "", "amq.default") if write.search(name)] == []
    assert [name for name in ("rcpt.a-1", "out.a-1", "in.a-1", "out.b-1", "out.a-1x") if read.search(name)] == [
        "rcpt.a-1",
        "out.a-1",
    ]


@pytest.mark.parametrize("code", ["", "a", "A1", "a.b", "a_1", "a*", "x" * 33, "a1\n", "部门"])
def test_what_is_no_node_code_names_nothing(code: str) -> None:
    """A code that could mean something in a pattern is not one."""
    for name in (topology.ingress_exchange, topology.user_name, topology.read_permission):
        with pytest.raises(ValueError, match="node code"):
            name(code)


# -- control messages ------------------------------------------------------------------------------------------------


def envelope(data: bytes, type_: str = CONTROL_TYPE) -> Envelope:
    return Envelope("i", "s", type_, "", "t", "", "d-1", "h-1", "", "", 0, 0, "", msgspec.Raw(data))


@pytest.mark.parametrize(
    "control",
    [
        Hello("host/1", "1.0", {"f": NextSequence("e", "1")}, ["urn:x:1"]),
        HubHello(WireLimits.of(Limits()), {"f": HighWater("e", "9", [("3", "4")], "fork")}),
        Void("f", "e", "1", "9223372036854775807", "无效"),
        Query(["a", "b"]),
        QueryAnswer([], 2),
    ],
)
def test_control_messages_are_read_as_written(control: Control) -> None:
    """Every kind of control message survives the wire."""
    assert decode_control(envelope(msgspec.json.encode(control))) == control


def test_unknown_members_of_control_messages_are_ignored() -> None:
    """A newer peer may say more than we know."""
    assert decode_control(envelope(b'{"control":"query","ids":["a"],"urgency":3}')) == Query(["a"])


def test_limits_travel_in_the_hello() -> None:
    """What the hub announces is what the agent then keeps to."""
    assert WireLimits(1 << 20, 1 << 24, 100).limits() == Limits(1 << 20, 1 << 24, 100)


@pytest.mark.parametrize("value", [-1, 2**63])
def test_numbers_are_64_bits(value: int) -> None:
    """A number that does not fit is not written."""
    assert number(0) == "0"
    with pytest.raises(ValueError, match="64-bit"):
        number(value)


@pytest.mark.parametrize("text", ["01", "-1", "1.0", "", " 1", "1\n", "99999999999999999999", "１"])
def test_numbers_have_one_spelling(text: str) -> None:
    """Only plain decimal digits are a number."""
    with pytest.raises(BadMessage) as caught:
        decode_control(
            envelope(msgspec.json.encode({"control": "void", "flow": "f", "epoch": "e", "from": text, "to": "9", "reason": "r"}))
        )
    assert caught.value.reason == "malformed"


def test_another_type_is_no_control_message() -> None:
    """Only control messages are read as such."""
    with pytest.raises(BadMessage) as caught:
        decode_control(envelope(b"{}", "cn.huitong.records.v1"))
    assert caught.value.reason == "unknown_type"


# -- refusals --------------------------------------------------------------------------------------------------------


def test_every_refusal_says_what_and_who() -> None:
    """Each code is a stable word with a text, a hint, a side and an outcome that refuses."""
    assert len(CODES) >= 35
    for code, entry in CODES.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
        assert entry.code == code
        assert entry.text
        assert entry.hint
        assert isinstance(entry.side, Side)
        assert entry.outcome in (Outcome.REFUSED_FINAL, Outcome.REFUSED_RETRY, Outcome.FORK, Outcome.PARTLY_STORED)


def test_the_codes_of_the_protocol_are_all_there() -> None:
    """What PROTOCOL names as grounds for a refusal has its code, on the side of the line where it belongs."""
    final = {"bad_signature", "malformed", "conflict", "void"}
    retry = {"unknown_type", "unknown_version", "unknown_key", "revoked_key", "not_authorised", "quota", "digest_mismatch"}
    assert {CODES[code].outcome for code in final} == {Outcome.REFUSED_FINAL}
    assert {CODES[code].outcome for code in retry} == {Outcome.REFUSED_RETRY}


def test_refusals_name_code_and_place() -> None:
    """The error of a refusal carries its code, the hint of the table and where it happened."""
    for make, kind in ((refusal, BadMessage), (bad_signature, BadSignature), (bad_receipt, BadReceipt)):
        error = make("malformed", why="at $.id")
        assert type(error) is kind
        assert (error.reason, error.hint) == ("malformed", CODES["malformed"].hint)
        assert "malformed (at $.id)" in str(error)
    assert "too_large (size_bytes 5, limit_bytes 4)" in str(refusal("too_large", size_bytes=5, limit_bytes=4))
