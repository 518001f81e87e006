"""Small repairs to pages of rows, for what only few of them need."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from agent.i18n import N_
from agent.model import Unreadable, Value
from connectors.database.dialects.base import Row

_INSTANTS: Final = re.compile(r"(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?\+\d\d:\d\d\n)+", re.ASCII)


def instants(rows: Sequence[Row], index: int) -> list[str | None]:
    """Return the column as times of the changes; what is not an ordinary time (NULL, infinity) is unknown."""
    values = [row[index] for row in rows]
    if _are_instants(values):  # all of them at once, as nearly always
        return values  # type: ignore[return-value]
    return [value if isinstance(value, str) and _are_instants([value]) else None for value in values]


def _are_instants(values: Sequence[Value]) -> bool:
    try:
        return _INSTANTS.fullmatch("\n".join(values) + "\n") is not None  # type: ignore[arg-type]
    except TypeError:
        return False


def readable(rows: Sequence[Row]) -> list[bool]:
    """Tell of each row whether all its text is valid; what is not carries surrogate escapes."""
    return [not _is_broken(row) for row in rows]


def _is_broken(row: Row) -> bool:
    return any(isinstance(value, str) and not _is_text(value) for value in row)


def _is_text(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def unreadable_of(row: Row, names: Sequence[str]) -> Unreadable:
    """Return a row with text that is not valid, as the host keeps it."""
    shown = {name: _shown(value) for name, value in zip(names, row, strict=True)}
    first = next(name for name, value in zip(names, row, strict=True) if isinstance(value, str) and not _is_text(value))
    return Unreadable(
        token="",
        raw=json.dumps(shown, ensure_ascii=False).encode(),
        reason="undecodable",
        text=N_("column {column} holds bytes that are not text"),
        details={"column": first},
    )


def _shown(value: Value) -> Value:
    if isinstance(value, bytes):
        return value.hex()
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
