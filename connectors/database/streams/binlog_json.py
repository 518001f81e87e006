"""The binary JSON of MySQL, written as the server itself writes it. MariaDB keeps JSON as text and needs none of this."""

from __future__ import annotations

import json
import struct
from struct import Struct
from typing import Final

from agent.model import Value
from connectors.database.streams import binlog_values as values
from connectors.database.streams.binlog_values import Malformed

_LITERALS: Final = {0: "null", 1: "true", 2: "false"}
_NUMBERS: Final = {5: Struct("<h"), 6: Struct("<H"), 7: Struct("<i"), 8: Struct("<I"), 9: Struct("<q"), 10: Struct("<Q")}
_DOUBLE: Final = Struct("<d")
_DEEPEST: Final = 128


def json_text(raw: bytes) -> Value:
    """Return the text of a document. Raises Malformed."""
    if not raw:
        return "null"  # what a column that was filled before it was JSON holds
    try:
        return _value(raw[0], raw, 1, 0)
    except (IndexError, struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise Malformed from error


def _value(kind: int, data: bytes, at: int, depth: int) -> str:
    if depth > _DEEPEST:
        raise Malformed
    if kind <= 3:
        return _container(data, at, depth, large=bool(kind & 1), keyed=kind < 2)
    if kind == 4:
        return _LITERALS[data[at]]
    if kind in _NUMBERS:
        return str(_NUMBERS[kind].unpack_from(data, at)[0])
    if kind == 11:
        return _double(_DOUBLE.unpack_from(data, at)[0])
    if kind == 12:
        size, at = _length(data, at)
        return _quoted(_cut(data, at, size).decode())
    if kind == 15:
        size, begin = _length(data, at + 1)
        return _opaque(data[at], _cut(data, begin, size))
    raise Malformed


def _container(data: bytes, base: int, depth: int, *, large: bool, keyed: bool) -> str:
    width = 4 if large else 2

    def number(at: int) -> int:
        return int.from_bytes(_cut(data, at, width), "little")

    count, at = number(base), base + 2 * width
    keys = []
    if keyed:
        for _ in range(count):
            size = int.from_bytes(_cut(data, at + width, 2), "little")
            keys.append(_quoted(_cut(data, base + number(at), size).decode()))
            at += width + 2
    inline = {4, 5, 6, 7, 8} if large else {4, 5, 6}
    items = []
    for _ in range(count):
        kind = data[at]
        items.append(_value(kind, data, at + 1 if kind in inline else base + number(at + 1), depth + 1))
        at += 1 + width
    if keyed:
        return "{" + ", ".join(f"{key}: {item}" for key, item in zip(keys, items, strict=True)) + "}"
    return "[" + ", ".join(items) + "]"


def _cut(data: bytes, at: int, size: int) -> bytes:
    raw = data[at : at + size]
    if len(raw) < size:
        raise Malformed
    return raw


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Return a length that is kept in groups of seven bits, the lowest first."""
    size = 0
    for place in range(5):
        size |= (data[at + place] & 0x7F) << 7 * place
        if data[at + place] < 0x80:
            return size, at + place + 1
    raise Malformed


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _double(number: float) -> str:
    text = repr(number)
    return text.replace("e+", "e").replace("e-0", "e-")


def _opaque(kind: int, raw: bytes) -> str:
    """Write what JSON has no type for: decimals as numbers, times as text."""
    if kind == 246:
        show = values.decimal(raw[0], raw[1]).show
        assert isinstance(show, values.Remembered)
        return str(show[raw[2:]])
    if kind in (7, 10, 11, 12):
        return _quoted(_packed_time(kind, int.from_bytes(raw[:8], "little", signed=True)))
    import base64  # noqa: PLC0415 - for what hardly ever comes

    return _quoted(f"base64:type{kind}:{base64.b64encode(raw).decode()}")


def _packed_time(kind: int, number: int) -> str:
    sign, size_of = ("-" if number < 0 else ""), abs(number)
    whole, micros = size_of >> 24, size_of & 0xFFFFFF
    if kind == 11:
        return f"{sign}{whole >> 12 & 0x3FF:02}:{whole >> 6 & 63:02}:{whole & 63:02}.{micros:06}"
    year, month = divmod(whole >> 22, 13)
    shown = f"{year:04}-{month:02}-{whole >> 17 & 31:02}"
    return shown if kind == 10 else f"{shown} {whole >> 12 & 31:02}:{whole >> 6 & 63:02}:{whole & 63:02}.{micros:06}"
