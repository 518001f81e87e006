"""Input that could not be read or translated, as it is kept: with its bytes, a reason, and an id that is always the same.

The id is derived from the place of the input, or from its content where it has no place of its own, so that reading it again
adds nothing. Contents are in `raw` only, and `raw` goes nowhere but into the store.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from agent.errors import BadRecord, UnreadableRecord
from agent.mapping.mapper import Rejected
from agent.mapping.plain import as_text
from agent.model import Batch, Quarantined, Unreadable, Value


class Isolation:
    """Makes quarantined items of one flow and incarnation."""

    def __init__(self, flow: str, incarnation: str) -> None:
        self._flow = flow
        self._incarnation = incarnation

    def unreadable(self, batch: Batch, item: Unreadable, now: datetime) -> Quarantined:
        """Return the item for input that never became a record."""
        return Quarantined(
            item_id=self._id(batch.entity, item.token, item.raw),
            flow=self._flow,
            entity=batch.entity,
            token=item.token,
            key=None,
            raw=item.raw,
            reason=item.reason,
            code=UnreadableRecord.code,
            field="",
            text=item.text,
            details=item.details,
            observed_at=now,
        )

    def rejected(self, batch: Batch, row: int, key: str | None, error: BadRecord, now: datetime) -> Quarantined:
        """Return the item for a row that cannot be translated; `raw` is the row as JSON."""
        token = batch.tokens[row] if batch.tokens is not None else ""
        raw = row_json(batch.columns, batch.rows[row])
        return Quarantined(
            item_id=self._id(batch.entity, token, raw),
            flow=self._flow,
            entity=batch.entity,
            token=token,
            key=key,
            raw=raw,
            reason=error.reason,
            code=error.code,
            field=error.field,
            text=error.text,
            details=error.details,
            observed_at=now,
        )

    def _id(self, entity: str, token: str, raw: bytes) -> str:
        place = token or hashlib.sha256(raw).hexdigest()
        return hashlib.sha256(orjson.dumps([self._flow, self._incarnation, entity, place])).hexdigest()[:32]


def row_json(columns: Sequence[str], row: tuple[Value, ...]) -> bytes:
    """Return a row of a source as JSON, octets as {"base64": …}; text that is not valid keeps its place as escapes.

    What is in the way of sending a row must not be in the way of keeping it: whatever a driver gave is shown somehow.
    """
    shown: Mapping[str, Any] = {name: _shown(value) for name, value in zip(columns, row, strict=True)}
    return orjson.dumps(shown, default=repr)


def _shown(value: Value) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return as_text(value)
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def group_doubts(warnings: Sequence[Rejected]) -> Mapping[tuple[str, str], int]:
    """Return how many records there are doubts about, by field and reason."""
    counts: dict[tuple[str, str], int] = {}
    for warning in warnings:
        cause = (warning.error.field, warning.error.reason)
        counts[cause] = counts.get(cause, 0) + 1
    return counts
