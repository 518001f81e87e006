"""One row, field by field, for `huitong preview`: what each became, where it came from, and what there is to say about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.errors import BadRecord
from agent.mapping.codes import Codes
from agent.mapping.field import Field
from agent.mapping.mapper import Mapper, Row
from agent.mapping.masking import mask
from agent.mapping.numbers import Booleans
from agent.mapping.plain import Json, as_text
from agent.mapping.unfit import Unfit, bad_record
from agent.model import Value
from agent.standards import cn_id
from agent.standards.judgement import Severity


@dataclass(frozen=True, slots=True)
class Explained:
    """One field of one row. Values are masked unless they are constants or codes, NULL is None; `column` is empty for a constant.

    `error` says why the record is put aside (`severity` ERROR) or listed (WARN).
    """

    target: str
    value: str | None
    column: str
    source: str | None
    severity: Severity = Severity.OK
    error: BadRecord | None = None


def explain_row(mapper: Mapper, row: Row) -> list[Explained]:
    """Return the fields of one row in the order of the map."""
    fields = {entry.target: entry for entry in mapper.fields}
    return [
        _explain(fields[target], row) if target in fields else Explained(target, _shown(mapper.constants[target], str), "", None)
        for target in mapper.order
    ]


def _explain(entry: Field, row: Row) -> Explained:
    source = row[entry.index]
    show = _way_to_show(entry)
    listed: list[Unfit] = []
    try:
        value = entry.one(source, listed)
    except Unfit as unfit:
        return Explained(entry.target, None, entry.source, _shown(source, mask), Severity.ERROR, _error(entry, unfit, source))
    if listed:
        error = _error(entry, listed[0], source)
        return Explained(entry.target, _shown(value, mask), entry.source, _shown(source, mask), Severity.WARN, error)
    return Explained(entry.target, _shown(value, show), entry.source, _shown(source, show))


def _way_to_show(entry: Field) -> Callable[[str], str]:
    if isinstance(entry.conversion, (Codes, Booleans)):
        return str
    return cn_id.mask if entry.check is not None and entry.check.name == "cn-id" else mask


def _shown(value: Value | Json, show: Callable[[str], str]) -> str | None:
    return None if value is None else show(as_text(value))


def _error(entry: Field, unfit: Unfit, source: Value) -> BadRecord:
    return bad_record(unfit, entry.target, entry.source, source)
