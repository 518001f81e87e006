"""Functions that read one image of a row, made for the columns it has and for those of them that are NULL.

A loop over columns costs a call and a test for each; 15 of them make 20 microseconds a row. So for each set of NULL columns that
occurs a function is written and compiled which does nothing but take the values, neighbours of fixed size at once. Its text is
built from numbers alone, never from names or values. Tables with more such sets than are worth it are read by the loop.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import groupby
from struct import Struct
from typing import Any, Final

from agent.model import Value
from connectors.database.dialects.base import Row
from connectors.database.streams.binlog_values import Fixed, Malformed, Part, Prefixed, Remembered

Image = Callable[[bytes, int], tuple[Row, int]]

_COMPILED: Final = 128
"""Sets of NULL columns that get a function of their own."""


class Images:
    """Reads images that hold these columns. `order` tells which of them become the row, in its order."""

    def __init__(self, parts: Sequence[Part], order: Sequence[int]) -> None:
        self._parts, self._order, self._kept = tuple(parts), tuple(order), frozenset(order)
        self._octets = (len(parts) + 7) // 8
        self._compiled: dict[bytes, Image] = {}
        self._singles = [Struct("<" + part.code) if isinstance(part, Fixed) else None for part in parts]

    def one(self, data: bytes, at: int) -> tuple[Row, int]:
        """Return the row that begins at a place, and where the next one begins."""
        begin = at + self._octets
        nulls = data[at:begin]
        image = self._compiled.get(nulls)
        if image is None:
            if len(self._compiled) >= _COMPILED:
                return self.slowly(data, at)
            image = self._compiled[nulls] = self._compile(int.from_bytes(nulls, "little"))
        return image(data, begin)

    def all(self, data: bytes) -> list[Row]:
        """Return the rows that fill some octets. Raises Malformed."""
        return read_whole(data, self.one, self.slowly)

    def slowly(self, data: bytes, at: int) -> tuple[Row, int]:
        """Return what `one` returns, column by column, without what only works most times."""
        nulls = int.from_bytes(data[at : at + self._octets], "little")
        at += self._octets
        found: list[Value] = []
        for number, (part, single) in enumerate(zip(self._parts, self._singles, strict=True)):
            if nulls >> number & 1:
                found.append(None)
                continue
            value: Value = None
            if isinstance(part, Prefixed):
                begin = at + part.prefix
                end = begin + int.from_bytes(data[at:begin], "little")
                if number in self._kept:
                    value = part.to_text(data[begin:end])
            else:
                end = at + part.size
                if number in self._kept and single is not None:
                    value = _shown(part, single.unpack_from(data, at)[0])
            found.append(value)
            at = end
        return tuple(found[number] for number in self._order), at

    def _compile(self, nulls: int) -> Image:
        there = [number for number in range(len(self._parts)) if not nulls >> number & 1]
        lines = ["def image(d, a):"]
        names: dict[str, Any] = {"f": int.from_bytes}
        for fixed, run in groupby(there, key=lambda number: isinstance(self._parts[number], Fixed)):
            if fixed:
                self._take_fixed(list(run), lines, names)
            else:
                for number in run:
                    self._take_prefixed(number, lines, names)
        shown = [self._expression(number, nulls, names) for number in self._order]
        lines.append(f" return ({', '.join(shown)},), a")
        exec("\n".join(lines), names)  # noqa: S102 - the text holds numbers only, see above
        image: Image = names["image"]
        return image

    def _take_fixed(self, run: Sequence[int], lines: list[str], names: dict[str, Any]) -> None:
        parts = [(number, part) for number in run if isinstance(part := self._parts[number], Fixed)]
        kept = [number for number, _ in parts if number in self._kept]
        if kept:
            codes = "".join(part.code if number in self._kept else f"{part.size}x" for number, part in parts)
            names[f"u{run[0]}"] = Struct("<" + codes).unpack_from
            lines.append(f" {''.join(f'v{number},' for number in kept)} = u{run[0]}(d, a)")
        lines.append(f" a += {sum(part.size for _, part in parts)}")

    def _take_prefixed(self, number: int, lines: list[str], names: dict[str, Any]) -> None:
        part = self._parts[number]
        assert isinstance(part, Prefixed)
        length = "d[a]" if part.prefix == 1 else f"f(d[a:a + {part.prefix}], 'little')"
        if number not in self._kept:
            lines.append(f" a += {part.prefix} + {length}")
            return
        names[f"t{number}"] = part.fast or part.to_text
        lines.append(f" b = a + {part.prefix}; a = b + {length}; v{number} = t{number}(d[b:a])")

    def _expression(self, number: int, nulls: int, names: dict[str, Any]) -> str:
        part = self._parts[number]
        if nulls >> number & 1:
            return "None"
        if isinstance(part, Prefixed) or part.show is None:
            return f"v{number}"
        names[f"s{number}"] = part.show
        return f"s{number}[v{number}]" if isinstance(part.show, Remembered | tuple) else f"s{number}(v{number})"


def _shown(part: Fixed, raw: Any) -> Value:
    show = part.show
    if show is None:
        value: Value = raw
        return value
    return show[raw] if isinstance(show, Remembered | tuple) else show(raw)


def read_whole(
    data: bytes, one: Callable[[bytes, int], tuple[Any, int]], slowly: Callable[[bytes, int], tuple[Any, int]]
) -> list[Any]:
    """Return what fills some octets, read with `one`, or if some text makes that impossible with `slowly`. Raises Malformed."""
    try:
        try:
            return _read(data, one)
        except UnicodeDecodeError:
            return _read(data, slowly)
    except (IndexError, struct.error, OverflowError, ValueError) as error:
        raise Malformed from error


def _read(data: bytes, one: Callable[[bytes, int], tuple[Any, int]]) -> list[Any]:
    rows, at, end = [], 0, len(data)
    while at < end:
        row, at = one(data, at)
        rows.append(row)
    if at != end:
        raise Malformed
    return rows
