"""Values as they stand in rows of the binary log, and how each becomes what a page of the snapshot shows for it."""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID

from agent.model import Value

ToText = Callable[[bytes], Value]
"""Makes what the snapshot shows of the octets of a character or binary column."""

_REMEMBERED: Final = 16_384
"""Texts kept for values that come again, per column."""

_EPOCH: Final = date(1970, 1, 1)
_ZERO: Final = "0000-00-00"
_SECONDS: Final = tuple(f"{second:02}" for second in range(64))
_FRACTIONS: Final = tuple(f".%0{digits}d" for digits in range(7))
_GROUP_OCTETS: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
"""Octets that so many decimal digits take."""


class Malformed(Exception):
    """Octets that are not what the format says."""


class Remembered(dict[Any, Value]):
    """What is shown for raw values, computed once for values that come again."""

    def __init__(self, show: Callable[[Any], Value]) -> None:
        super().__init__()
        self._show = show

    def __missing__(self, raw: Any) -> Value:
        if len(self) >= _REMEMBERED:
            self.clear()
        value = self[raw] = self._show(raw)
        return value


Show = Callable[[Any], Value] | Remembered | tuple[Value, ...] | None


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value of `size` octets. `code` is how `struct` reads it (little-endian), `show` what becomes of that; None: it is it."""

    size: int
    code: str
    show: Show = None


@dataclass(frozen=True, slots=True)
class Prefixed:
    """A value behind its length of `prefix` octets. `fast` may be used in the place of `to_text` until it raises."""

    prefix: int
    to_text: ToText = bytes
    fast: ToText | None = None


Part = Fixed | Prefixed


def octets(size: int, show: Show = None) -> Fixed:
    """Return a value that is shown from its octets as they stand."""
    return Fixed(size, f"{size}s", show)


# -- numbers ---------------------------------------------------------------------------------------------------------


def integer(size: int, *, unsigned: bool) -> Fixed:
    """Return an integer of 1, 2, 3, 4 or 8 octets."""
    if size == 3:
        return octets(3, lambda raw: int.from_bytes(raw, "little", signed=not unsigned))
    code = {1: "b", 2: "h", 4: "i", 8: "q"}[size]
    return Fixed(size, code.upper() if unsigned else code)


def real(size: int, scale: int | None) -> Fixed:
    """Return a FLOAT (4 octets) or DOUBLE (8). `scale`: digits behind the point where the column says so.

    The server writes six digits of a FLOAT, and as many as needed of a DOUBLE.
    """
    code = "f" if size == 4 else "d"
    if scale is None and size == 8:
        return Fixed(8, code)
    form = ".6g" if scale is None else f".{scale}f"
    return Fixed(size, code, lambda number: float(format(number, form)))


def decimal_size(precision: int, scale: int) -> int:
    """Return how many octets a DECIMAL takes."""
    return sum(size for size, _ in (*_groups(precision - scale), *_groups(scale)))


def decimal(precision: int, scale: int, *, zerofill: bool = False) -> Fixed:
    """Return a DECIMAL: text with all digits behind the point."""
    size = decimal_size(precision, scale)
    sign = 1 << 8 * size - 1
    ones = (sign << 1) - 1
    whole, behind = _places(precision - scale, 8 * decimal_size(scale, scale), first=True), _places(scale, 0, first=False)
    width = precision - scale if zerofill else 1

    def show(raw: bytes) -> str:
        number = int.from_bytes(raw, "big") ^ sign
        minus = ""
        if number & sign:
            number ^= ones
            minus = "-"
        before = after = 0
        for shift, mask, power in whole:
            before = before * power + (number >> shift & mask)
        if not scale:
            return f"{minus}{before:0{width}d}"
        for shift, mask, power in behind:
            after = after * power + (number >> shift & mask)
        return f"{minus}{before:0{width}d}.{after:0{scale}d}"

    return octets(size, Remembered(show))


def _groups(digits: int) -> list[tuple[int, int]]:
    """Return (octets, digits) of the groups that so many digits behind the point are kept in."""
    return [(4, 9)] * (digits // 9) + ([(_GROUP_OCTETS[digits % 9], digits % 9)] if digits % 9 else [])


def _places(digits: int, shift: int, *, first: bool) -> list[tuple[int, int, int]]:
    """Return (shift, mask, power of ten) of the groups of digits; the incomplete one stands `first`, or last."""
    groups = _groups(digits)[::-1] if first else _groups(digits)
    places = []
    for size, count in reversed(groups):
        places.append((shift, (1 << 8 * size) - 1, 10**count))
        shift += 8 * size
    return places[::-1]


def bits(size: int) -> Fixed:
    """Return a BIT column: an integer."""
    return octets(size, lambda raw: int.from_bytes(raw, "big"))


def year() -> Fixed:
    """Return a YEAR."""
    return Fixed(1, "B", Remembered(lambda number: 1900 + number if number else 0))


# -- times -----------------------------------------------------------------------------------------------------------


def day() -> Fixed:
    """Return a DATE."""

    def show(raw: bytes) -> str:
        number = int.from_bytes(raw, "little")
        return f"{number >> 9:04}-{number >> 5 & 15:02}-{number & 31:02}"

    return octets(3, Remembered(show))


def fraction_size(digits: int) -> int:
    """Return how many octets the fraction of a second takes."""
    return (digits + 1) // 2


def _fraction(number: int, digits: int) -> str:
    if not digits:
        return ""
    return _FRACTIONS[digits] % (number // 10 if digits & 1 else number)


def moment(digits: int) -> Fixed:
    """Return a DATETIME: a time without a zone."""
    days, minutes = Remembered(_day_of), Remembered(lambda n: f"T{n >> 6:02}:{n & 63:02}:")
    behind = 8 * fraction_size(digits)
    rest = (1 << behind) - 1

    def show(raw: bytes) -> str:
        number = int.from_bytes(raw, "big")
        whole = number >> behind
        shown = days[whole >> 17 & 0x3FFFFF]
        if shown == _ZERO:
            return _ZERO
        return f"{shown!s}{minutes[whole >> 6 & 0x7FF]!s}{_SECONDS[whole & 63]}{_fraction(number & rest, digits)}"

    return octets(5 + fraction_size(digits), show)


def instant(digits: int, *, old: bool = False) -> Fixed:
    """Return a TIMESTAMP: a moment, shown in UTC. `old`: of a table made before MySQL 5.6."""
    days = Remembered(lambda number: (_EPOCH + timedelta(days=number)).isoformat())
    minutes = Remembered(lambda minute: f"T{minute // 60:02}:{minute % 60:02}:")
    behind = 8 * fraction_size(digits)
    rest = (1 << behind) - 1

    def show(raw: bytes) -> str:
        number = int.from_bytes(raw, "little" if old else "big")
        if not number:
            return _ZERO
        past, second = divmod(number >> behind, 86_400)
        minute, second = divmod(second, 60)
        return f"{days[past]!s}{minutes[minute]!s}{_SECONDS[second]}{_fraction(number & rest, digits)}+00:00"

    return octets(4 + fraction_size(digits), show)


def span(digits: int) -> Fixed:
    """Return a TIME, which may be negative and longer than a day."""
    behind = 8 * fraction_size(digits)

    def show(raw: bytes) -> str:
        number = int.from_bytes(raw, "big") - (0x800000 << behind)
        size_of = abs(number)
        whole = size_of >> behind
        clock = _clock(whole >> 12 & 0x3FF, whole >> 6 & 63, whole & 63)
        return ("-" if number < 0 else "") + clock + _fraction(size_of & (1 << behind) - 1, digits)

    return octets(3 + fraction_size(digits), Remembered(show))


def old_moment() -> Fixed:
    """Return a DATETIME of a table made before MySQL 5.6: a number of 14 decimal digits."""

    def show(raw: bytes) -> str:
        text = f"{int.from_bytes(raw, 'little'):014d}"
        shown = f"{text[:4]}-{text[4:6]}-{text[6:8]}"
        return shown if shown == _ZERO else f"{shown}T{text[8:10]}:{text[10:12]}:{text[12:]}"

    return octets(8, show)


def old_span() -> Fixed:
    """Return a TIME of a table made before MySQL 5.6: a number of decimal digits."""

    def show(raw: bytes) -> str:
        number = int.from_bytes(raw, "little", signed=True)
        size_of = abs(number)
        return ("-" if number < 0 else "") + _clock(size_of // 10_000, size_of // 100 % 100, size_of % 100)

    return octets(3, show)


def _day_of(number: int) -> str:
    year_, month = divmod(number >> 5, 13)
    return f"{year_:04}-{month:02}-{number & 31:02}"


def _clock(hour: int, minute: int, second: int) -> str:
    return f"{hour:02}:{minute:02}:{second:02}"


# -- text and octets -------------------------------------------------------------------------------------------------


def chosen(size: int, names: Sequence[Value]) -> Fixed:
    """Return an ENUM; the number 0 stands for a value that was not valid."""
    return Fixed(size, "B" if size == 1 else "H", (b"" if names and isinstance(names[0], bytes) else "", *names))


def several(size: int, names: Sequence[str]) -> Fixed:
    """Return a SET: the names of its members, with commas."""

    def show(raw: bytes) -> str:
        members = int.from_bytes(raw, "little")
        if members >> len(names):
            raise Malformed
        return ",".join(name for number, name in enumerate(names) if members >> number & 1)

    return octets(size, Remembered(show))


def padded(size: int) -> ToText:
    """Return what fills a BINARY up: its zeros at the end are not kept."""
    return lambda raw: raw.ljust(size, b"\0")


def inflated(to_text: ToText) -> ToText:
    """Return what reads a column that MariaDB keeps compressed."""

    def read(raw: bytes) -> Value:
        if not raw or raw[0] == 0:
            return to_text(raw[1:])
        if raw[0] >> 4 != 8:
            raise Malformed
        try:
            return to_text(zlib.decompress(raw[1 + (raw[0] & 7) :], -15 if raw[0] & 8 else 15))
        except zlib.error:
            raise Malformed from None

    return read


def uuid_text(raw: bytes) -> Value:
    """Show a UUID of MariaDB: the log has its octets in the order they are written in."""
    return str(UUID(bytes=raw.ljust(16, b"\0")))


def address_text(size: int) -> ToText:
    """Return what shows an INET4 or INET6 of MariaDB."""

    def show(raw: bytes) -> Value:
        raw = raw.ljust(size, b"\0")
        if size == 16 and (raw[:12] == bytes(10) + b"\xff\xff" or (raw[:12] == bytes(12) and raw[12:14] != b"\0\0")):
            return f"::{'ffff:' if raw[10] else ''}{ipaddress.IPv4Address(raw[12:])}"
        return str(ipaddress.ip_address(raw))

    return show
