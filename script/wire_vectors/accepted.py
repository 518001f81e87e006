"""What a receiver accepts: record ids, messages of records, control messages, receipts."""

from __future__ import annotations

import json
from datetime import timedelta

from agent.model import Op, Outcome, RefusedRecord
from agent.wire.control import (
    Control,
    ControlWriter,
    EpochOpen,
    Hello,
    HighWater,
    HubHello,
    NextSequence,
    Query,
    QueryAnswer,
    Void,
    WireLimits,
)
from agent.wire.envelope import MessageWriter, encode_record
from agent.wire.event import RECEIPT_TYPE, department_source, hub_source
from agent.wire.identity import RecordIds, data_hash
from agent.wire.limits import Limits
from agent.wire.receipt import Statement, write_receipt
from wire_vectors.parties import (
    DEPARTMENT,
    ENTITY,
    EPOCH,
    FLOW,
    HUB,
    INCARNATION,
    KEYS,
    MOMENT,
    SCHEMA,
    SUBJECT,
    FixedClock,
    Json,
    Stream,
    message_vector,
    vector,
)


def record_ids() -> list[Json]:
    """Return worked examples of record ids."""
    data = '{"unit_no":"510100000001","owner_name":"张伟","area":"89.20"}'
    examples: list[tuple[str, str, str, Op, str | None]] = [
        ("text key, log position", '[["s","510100000001"]]', "748213:2", Op.UPSERT, data),
        ("the same row again: another event", '[["s","510100000001"]]', "748955:1", Op.UPSERT, data),
        ("integer key, epoch and ordinal", '[["i","7"]]', f"{EPOCH}:41", Op.UPSERT, '{"a":1}'),
        ("compound key: text, decimal, boolean", '[["s","\\"甲\\""],["n","12.50"],["o","true"]]', f"{EPOCH}:42", Op.UPSERT, "{}"),
        ("binary key, delete without data", '[["b","3q2-7w"]]', "0/16B3748:3", Op.DELETE, None),
        ("rare character, float key", '[["s","䶮\U00020bb7"],["f","1.5"]]', "row 3\n", Op.DELETE, data),
    ]
    ids = RecordIds(DEPARTMENT, FLOW, INCARNATION, ENTITY)
    return [
        {
            "description": description,
            "sender": DEPARTMENT,
            "flow": FLOW,
            "incarnation": INCARNATION,
            "entity": ENTITY,
            "key": json.loads(key),
            "token": token,
            "op": op.value,
            "data": text,
            "id": ids.of(key, token, op, data_hash(text.encode() if text is not None else None)),
        }
        for description, key, token, op, text in examples
    ]


def example_records(count: int) -> list[bytes]:
    """Return upserts of property ownership and, last, one delete without data."""
    ids = RecordIds(DEPARTMENT, FLOW, INCARNATION, ENTITY)
    names = ("张伟", "王秀英", "䶮三", "欧阳修")
    encoded = []
    for index in range(1, count):
        unit = f"5101{index:08d}"
        data = json.dumps(
            {"unit_no": unit, "owner_name": names[index % 4], "area": f"{80 + index}.20", "floor": index, "mortgagee": None},
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()
        record_id = ids.of(f'[["s","{unit}"]]', f"748213:{index}", Op.UPSERT, data_hash(data))
        encoded.append(encode_record(record_id, Op.UPSERT, f'{{"unit_no":"{unit}"}}'.encode(), data, "2026-11-21T11:04:05+08:00"))
    gone = ids.of('[["s","510199999999"]]', "748214:1", Op.DELETE, data_hash(None))
    return [*encoded, encode_record(gone, Op.DELETE, b'{"unit_no":"510199999999"}', None)]


def writer(key: str, label: str, level: int = 0) -> MessageWriter:
    """Return the writer of the example flow; level 0 does not compress."""
    return MessageWriter(
        sender=DEPARTMENT,
        receiver=HUB,
        flow=FLOW,
        epoch=EPOCH,
        subject=SUBJECT,
        dataschema=SCHEMA,
        signer=KEYS[key].signer(),
        clock=FixedClock(),
        random_bytes=Stream(label),
        compression_level=level,
    )


def messages() -> dict[str, Json]:
    """Return messages of records and control messages that verify and open."""
    one = example_records(3)[:1]
    found = {
        "plain-ed25519": message_vector(
            "One record, not compressed, Ed25519.", writer("department-ed25519", "a").records(1, one)
        ),
        "plain-p256": message_vector("One record, retiring ES256 key.", writer("department-p256", "b").records(2, one)),
        "zstd-ed25519": message_vector("Forty records.", writer("department-ed25519", "c", 1).records(3, example_records(40))),
        "zstd-p256": message_vector("Forty records.", writer("department-p256", "d", 3).records(4, example_records(40))),
        "delete": message_vector("A delete.", writer("department-ed25519", "e").records(2**63 - 1, example_records(1))),
    }
    corrected = encode_record("ab" * 16, Op.UPSERT, b'{"unit_no":"1"}', b'{"unit_no":"1"}', corrects="0" * 32)
    found["correction"] = message_vector("Corrects a record.", writer("department-ed25519", "f").records(5, [corrected]))
    for name, (description, up, control) in CONTROLS.items():
        found[f"control-{name}"] = message_vector(description, control_writer(up, name).write(control, *flow_of(control)))
    return found


CONTROLS: dict[str, tuple[str, bool, Control]] = {
    "hello": ("The agent connects.", True, Hello("host-1/4711", "1.0.0", {FLOW: NextSequence(EPOCH, "42")}, [SCHEMA])),
    "hub-hello": (
        "The hub answers.",
        False,
        HubHello(WireLimits.of(Limits()), {FLOW: HighWater(EPOCH, "41", [("17", "18"), ("30", "30")])}),
    ),
    "epoch-open": ("A new epoch after a restore.", True, EpochOpen(FLOW, EPOCH, "0c55d9e1f2a34b76")),
    "void": ("Two discarded messages.", True, Void(FLOW, EPOCH, "17", "18", "discarded by an operator: wrong year")),
    "query": (
        "Receipts are overdue.",
        True,
        Query(["019aa4b8-1c0e-7000-8000-000000000001", "019aa4b8-1c0e-7000-8000-000000000002"]),
    ),
    "query-answer": ("One was never seen.", False, QueryAnswer(["019aa4b8-1c0e-7000-8000-000000000002"], 1)),
}


def control_writer(up: bool, label: str) -> ControlWriter:
    """Return the writer of control messages, up from the department or down from the hub."""
    if up:
        signer = KEYS["department-ed25519"].signer()
        return ControlWriter(DEPARTMENT, HUB, department_source(DEPARTMENT), signer, FixedClock(), Stream(label))
    return ControlWriter(HUB, DEPARTMENT, hub_source(HUB), KEYS["hub-ed25519"].signer(), FixedClock(), Stream(label))


def flow_of(control: Control) -> tuple[str, str]:
    """Return flow and epoch of a control message that is about one."""
    return (control.flow, control.epoch) if isinstance(control, EpochOpen | Void) else ("", "")


def receipts() -> dict[str, Json]:
    """Return receipts of every outcome."""
    digest = bytes.fromhex(messages()["zstd-ed25519"]["sha256"])
    message_id = str(messages()["zstd-ed25519"]["amqp"]["message_id"])

    def receipt(description: str, key: str, outcome: Outcome, **more: object) -> Json:
        statement = Statement(
            **{  # type: ignore[arg-type]
                "message_id": message_id,
                "sender": DEPARTMENT,
                "flow": FLOW,
                "epoch": EPOCH,
                "sequence": 3,
                "outcome": outcome,
                "stage": "R3",
                "digest": digest,
                "hub": HUB,
                "received_at": MOMENT,
                "committed_at": MOMENT + timedelta(milliseconds=12),
                "audit_sequence": 90071992547409931,
                "audit_hash": "5e" * 32,
                **more,
            }
        )
        label = f"{description}{outcome}"
        mid, body, jws = write_receipt(
            statement, audience=DEPARTMENT, signer=KEYS[key].signer(), clock=FixedClock(), random_bytes=Stream(label)
        )
        said = {"message_id": mid, "type_": RECEIPT_TYPE, "encoding": "", "jws": jws}
        return vector(description, body, **said, event=json.loads(body))

    refused = [RefusedRecord("ab" * 16, "owner_id", "invalid_record", "校验码不符")]
    unread = {"stage": "R2", "flow": "", "epoch": "", "sequence": 0}
    return {
        "stored-ed25519": receipt("Stored.", "hub-ed25519", Outcome.STORED, stored=40),
        "stored-p256": receipt("Stored; ES256.", "hub-p256", Outcome.STORED, stored=40),
        "partly-stored": receipt("One record refused.", "hub-ed25519", Outcome.PARTLY_STORED, stored=39, refused=refused),
        "duplicate": receipt("Was stored before.", "hub-ed25519", Outcome.DUPLICATE, stored=40),
        "refused-final": receipt("Not read.", "hub-ed25519", Outcome.REFUSED_FINAL, code="bad_signature", **unread),
        "refused-retry": receipt("Not yet.", "hub-ed25519", Outcome.REFUSED_RETRY, code="unknown_type", stage="R2"),
        "fork": receipt("Two histories.", "hub-ed25519", Outcome.FORK, code="fork", stage="R2"),
        "used": receipt("Used by the recipient.", "hub-ed25519", Outcome.STORED, stored=40, stage="R4"),
    }
