"""Checking single records at the hub."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from agent.model import Op
from agent.settings.message_types import load_message_types
from agent.standards import org_code, uscc
from agent.wire.reader import WireRecord
from hub.ingest.rules import RecordRules

RULES = RecordRules(load_message_types()["enterprise.registration@1"])
ORGANISATION = "MA6CA0TF" + org_code.check_character("MA6CA0TF")
USCC = f"91510100{ORGANISATION}" + uscc.check_character(f"91510100{ORGANISATION}")
GOOD = {
    "uscc": USCC,
    "name": "成都某公司",
    "capital": "100.50",
    "established_on": "2020-02-29",
    "status": "active",
    "updated_at": "2026-01-01T08:00:00+08:00",
}


def record(data: dict[str, Any] | None, op: Op = Op.UPSERT) -> WireRecord:
    return WireRecord(id="0" * 32, op=op, key=Raw(b'{"uscc":"x"}'), data=None if data is None else Raw(msgspec.json.encode(data)))


@pytest.mark.parametrize(
    "change,field,message",
    [
        ({"name": None}, "name", "a required field is missing"),
        ({"name": 7}, "name", "not of type text"),
        ({"name": "x" * 201}, "name", "longer than 200 characters"),
        ({"capital": "1e5"}, "capital", "not of type decimal"),
        ({"capital": True}, "capital", "not of type decimal"),
        ({"capital": "12."}, "capital", "not of type decimal"),
        ({"established_on": "2021-02-29"}, "established_on", "not of type date"),
        ({"established_on": "20210228"}, "established_on", "not of type date"),
        ({"updated_at": "noon"}, "updated_at", "not of type datetime"),
        ({"status": "asleep"}, "status", "not one of the codes"),
        ({"status": ["active"]}, "status", "not of type code"),
        ({"uscc": USCC[:-3] + "000"}, "uscc", "uscc_check"),
    ],
)
def test_each_rule_is_told_with_its_field(change: dict[str, Any], field: str, message: str) -> None:
    """A record that breaks one rule is refused with the field and the reason."""
    (refused,) = RULES.refused([record(GOOD | change)]).values()
    assert (refused.field, refused.message, refused.code) == (field, message, "invalid_record")


def test_good_records_pass() -> None:
    """A good record, unknown fields, nulls in optional fields and deletes are not refused."""
    records = [
        record(GOOD),
        record(GOOD | {"capital": None, "extra": {"any": 1}}),
        record(None, Op.DELETE),
        record({}, Op.DELETE),
    ]
    assert RULES.refused(records) == {}


def test_only_the_bad_ones_are_named() -> None:
    """Positions tell which records of a message are refused."""
    assert list(RULES.refused([record(GOOD), record({}), record(GOOD), record(GOOD | {"status": "?"})])) == [1, 3]
