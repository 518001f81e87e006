"""Checking single records against their message type, where the hub is told to.

Agents check before they send; this is for types whose senders are not trusted to. A record that fails is refused alone, so the
message is partly stored. Nothing is converted: what passes is stored exactly as it came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec.json import decode

from agent.model import Op, RefusedRecord
from agent.settings.message_types import MessageField, MessageTypeFile
from agent.standards.checks import CHECKS
from agent.standards.judgement import Severity
from agent.wire.reader import WireRecord

INVALID: Final = "invalid_record"

Complaint = Callable[[Any], str]
"""complaint(value): what is wrong with a value that is not null, empty when nothing is."""


class RecordRules:
    """The rules of one message type in one version."""

    def __init__(self, definition: MessageTypeFile) -> None:
        self._required = definition.required
        self._complaints: Mapping[str, Complaint] = {name: _complaint(field) for name, field in definition.fields.items()}

    def refused(self, records: Sequence[WireRecord]) -> dict[int, RefusedRecord]:
        """Return position → refusal of every record that breaks a rule."""
        found = {}
        for position, record in enumerate(records):
            fault = self._fault(record)
            if fault is not None:
                field, message = fault
                found[position] = RefusedRecord(record.id, field, INVALID, message)
        return found

    def _fault(self, record: WireRecord) -> tuple[str, str] | None:
        if record.op is Op.DELETE or record.data is None:
            return None
        data = decode(record.data)
        for name in self._required:
            if data.get(name) is None:
                return name, "a required field is missing"
        for name, value in data.items():
            complaint = self._complaints.get(name)
            message = complaint(value) if complaint is not None and value is not None else ""
            if message:
                return name, message
        return None


def _complaint(field: MessageField) -> Complaint:
    of_type = _TYPES[field.type]
    codes, check = field.code_table(), CHECKS[field.check] if field.check else None

    def complaint(value: Any) -> str:
        if not of_type(value):
            return f"not of type {field.type}"
        if field.max_length is not None and len(str(value)) > field.max_length:
            return f"longer than {field.max_length} characters"
        if codes is not None and value not in codes:
            return "not one of the codes"
        if check is not None:
            judgement = check.judge(str(value))
            return judgement.reason if judgement.severity is Severity.ERROR else ""
        return ""

    return complaint


_INTEGER: Final = re.compile(r"-?[0-9]+", re.ASCII)
_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return not isinstance(value, bool) and _INTEGER.fullmatch(str(value)) is not None


def _is_decimal(value: Any) -> bool:
    return not isinstance(value, bool) and _DECIMAL.fullmatch(str(value)) is not None


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and _DATE.fullmatch(value) is not None and _is_datetime(value)


def _is_datetime(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return False
    return True


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "text": _is_text,
    "code": _is_text,
    "integer": _is_integer,
    "decimal": _is_decimal,
    "date": _is_date,
    "datetime": _is_datetime,
    "boolean": _is_boolean,
}
