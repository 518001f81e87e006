"""Canonical key text: a JSON array of [type, text], without white space, from the values as the source has them.

Types: s text, i integer, n decimal (canonical text), b binary (base64url), o boolean, f float. The type is part of the key, so
that the text 7 and the number 7 stay different records.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Final

from msgspec.json import Encoder

from agent.mapping.plain import Column, octets
from agent.mapping.unfit import Unfit
from agent.model import Value

Part = tuple[str, str]

DECIMAL: Final = "n"
_encode: Final = Encoder().encode


def part(value: Value) -> Part:
    """Return type and text of one key value. Raises Unfit for NULL and for what is no number."""
    match value:
        case str():
            return ("s", value)
        case bool():
            return ("o", "true" if value else "false")
        case int():
            return ("i", str(value))
        case bytes():
            return ("b", octets(value))
        case float() if isfinite(value):
            return ("f", repr(value))
        case _:
            raise Unfit("key_missing")


def text(key: Sequence[Part]) -> str:
    """Return the canonical text of one key."""
    return _encode(key).decode()


_READ: Final[dict[str, Callable[[str], Value]]] = {
    "s": str,
    "n": str,
    "i": int,
    "f": float,
    "o": lambda value: value == "true",
    "b": lambda value: base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)),
}


def values(key: str, width: int) -> tuple[Value, ...]:
    """Return the values of canonical key text of `width` parts. Raises ValueError, KeyError for anything else."""
    parts: Any = json.loads(key)
    if len(parts) != width:
        raise ValueError(f"a key of {len(parts)} columns instead of {width}")
    return tuple(_READ[kind](value) for kind, value in parts)


def texts(columns: Sequence[Sequence[str]]) -> list[str]:
    """Return the canonical texts of many keys, given the texts of their parts column by column."""
    if len(columns) == 1:
        return [f"[{part_text}]" for part_text in columns[0]]
    return [f"[{','.join(part_texts)}]" for part_texts in zip(*columns, strict=True)]


def part_texts(values: Column) -> list[str]:
    """Return the JSON text of `part` of each value of a column."""
    kinds = set(map(type, values))
    if kinds == {str} and _needs_no_escape("".join(values)):
        return [f'["s","{value}"]' for value in values]
    if kinds == {int}:
        return [f'["i","{value}"]' for value in values]
    return [_encode(part(value)).decode() for value in values]


def decimal_texts(values: Column) -> list[str]:
    """Return the JSON text of the parts of a column that was converted to decimals."""
    return [_encode((DECIMAL, str(value))).decode() for value in values]


def _needs_no_escape(joined: str) -> bool:
    return len(_encode(joined)) == len(joined.encode()) + 2  # the quotation marks
