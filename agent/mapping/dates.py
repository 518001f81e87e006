"""Dates and times, from the way the source writes them to ISO 8601.

A pattern consists of YYYY, MM or M, DD or D, HH or H, mm or m, ss or s, S for each digit of a fraction, Z for an offset (Z,
+08:00 or +0800), and separators; or it is epoch-s or epoch-ms. Patterns without a time give `YYYY-MM-DD` (or what there is of
it), patterns with one `YYYY-MM-DDThh:mm:ss+08:00`, in the zone of the map unless the value has its own. Dates of zeros, as
MySQL writes for "none", are missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import partial
from itertools import compress
from operator import itemgetter
from typing import Final

from agent.mapping.plain import Column, Json, as_text
from agent.mapping.unfit import Irregular, Unfit
from agent.model import Value
from agent.standards import lanes

EPOCHS: Final = {"epoch-s": 1, "epoch-ms": 1000}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PARTS: Final = re.compile(r"YYYY|MM?|DD?|HH?|mm?|ss?|S+|Z|.", re.DOTALL)
_LETTERS: Final = re.compile(r"[A-Za-z0-9]")
_UNIT: Final = {"Y": "year", "M": "month", "D": "day", "H": "hour", "m": "minute", "s": "second", "S": "fraction", "Z": "offset"}
_ORDER: Final = ("year", "month", "day", "hour", "minute", "second", "fraction")
_OFFSET: Final = r"(?P<offset>Z|[+-][0-9]{2}:?[0-9]{2})"


class NoPatternError(ValueError):
    """The text is no date pattern."""


def conversion(pattern: str, zone: tzinfo) -> Dates | Epochs:
    """Return the conversion of a pattern. Raises NoPatternError."""
    return Epochs(EPOCHS[pattern], zone, pattern) if pattern in EPOCHS else Dates(pattern, zone)


class Dates:
    """Dates and times written as text, or as an integer of all digits."""

    blank_is_missing = True

    def __init__(self, pattern: str, zone: tzinfo) -> None:
        self._pattern = pattern
        self._zone = zone
        self._shape, self._units = _compile(pattern)
        self._bulk = {"YYYYMMDD": _compact_dates, "YYYY-MM-DD": _iso_dates}.get(pattern, partial(_each, self.one))

    def one(self, value: Value) -> Json:
        """Return the date or time."""
        if isinstance(value, (bool, float, bytes)):
            raise Unfit("date_format", pattern=self._pattern)
        text = as_text(value).strip()
        found = self._shape.fullmatch(text)
        if not text or _only_zeros(text):
            return None
        if found is None:
            raise Unfit("date_format", pattern=self._pattern)
        try:
            return self._written(found.groupdict())
        except (ValueError, OverflowError):
            raise Unfit("date_invalid") from None

    def many(self, values: Column) -> Sequence[Json]:
        """Return the dates of a column of text."""
        return self._bulk(values)

    def _written(self, parts: dict[str, str]) -> str:
        number = {unit: int(parts[unit]) for unit in self._units if unit not in ("fraction", "offset")}
        if "hour" not in number:
            date(number["year"], number.get("month", 1), number.get("day", 1))
            return "-".join(
                f"{number[unit]:0{4 if unit == 'year' else 2}}" for unit in ("year", "month", "day") if unit in number
            )
        moment = datetime(*(number.get(unit, 0) for unit in _ORDER[:6]), tzinfo=self._zone)  # type: ignore[misc,arg-type]
        if "offset" in parts:
            moment = moment.replace(tzinfo=_fixed(parts["offset"]))
        return _iso(moment, parts.get("fraction", ""))


class Epochs:
    """Seconds or milliseconds since 1970, written in the zone of the map."""

    blank_is_missing = True

    def __init__(self, per_second: int, zone: tzinfo, pattern: str) -> None:
        self._per_second = per_second
        self._zone = zone
        self._pattern = pattern

    def one(self, value: Value) -> Json:
        """Return the time."""
        if isinstance(value, (bool, bytes)):
            raise Unfit("date_format", pattern=self._pattern)
        text = as_text(value).strip()
        if not text:
            return None
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise Unfit("date_format", pattern=self._pattern)
        seconds, rest = divmod(int(text), self._per_second)
        try:
            moment = (_EPOCH + timedelta(seconds=seconds)).astimezone(self._zone)
            return _iso(moment, f"{rest:03}" if self._per_second > 1 else "")
        except (ValueError, OverflowError):
            raise Unfit("date_invalid") from None

    def many(self, values: Column) -> Sequence[Json]:
        """Return the times of a column."""
        return _each(self.one, values)


def _compile(pattern: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    expression, units = [], []
    for part in _PARTS.findall(pattern):
        unit = _UNIT.get(part[0])
        if unit is None or (unit == "year" and part != "YYYY"):
            if _LETTERS.match(part) and part != "T":
                raise NoPatternError(pattern)
            expression.append(re.escape(part))
            continue
        units.append(unit)
        width = f"{{{len(part)}}}" if len(part) > 1 or unit == "fraction" else "{1,2}"
        expression.append(_OFFSET if unit == "offset" else f"(?P<{unit}>[0-9]{width})")
    given = [unit for unit in _ORDER if unit in units]
    complete = given == list(_ORDER[: len(given)]) and "year" in given and given != list(_ORDER[:4])
    if not complete or len(set(units)) != len(units) or ("offset" in units and "hour" not in units):
        raise NoPatternError(pattern)
    return re.compile("".join(expression)), tuple(units)


def _only_zeros(text: str) -> bool:
    digits = [character for character in text if character.isdigit()]
    return bool(digits) and set(digits) == {"0"}


def _fixed(offset: str) -> tzinfo:
    if offset == "Z":
        return UTC
    minutes = int(offset[1:3]) * 60 + int(offset[-2:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _iso(moment: datetime, fraction: str) -> str:
    local = moment.replace(tzinfo=None).isoformat(timespec="seconds")
    offset = moment.utcoffset() or timedelta()
    # Local mean time, in force until 1901 in China, has seconds. ISO 8601 does not write them; the wall clock counts.
    hours, minutes = divmod(abs(int(offset.total_seconds())) // 60, 60)
    sign = "-" if offset < timedelta() else "+"
    return f"{local}{'.' if fraction else ''}{fraction}{sign}{hours:02}:{minutes:02}"


# -- whole columns of dates ------------------------------------------------------------------------------------------


def _each(convert: Callable[[Value], Json], values: Column) -> Sequence[Json]:
    """Return the values one by one, each different one converted only once."""
    if len(set(map(type, values))) > 1:
        raise Irregular  # 1, 1.0 and True would be one member of the set
    try:
        known = {value: convert(value) for value in set(values)}
    except Unfit:
        raise Irregular from None
    if None in known.values():
        raise Irregular
    return list(map(known.__getitem__, values))


def _compact_dates(values: Column) -> Sequence[Json]:
    """Return `YYYY-MM-DD` for a column of `YYYYMMDD`, assembled for all of them at once."""
    octets = lanes.blob(values)
    if not {8}.issuperset(map(len, values)) or octets.translate(None, b"0123456789"):
        raise Irregular
    digit = [octets[lane::8] for lane in range(8)]
    _require_dates(digit, values)
    out = bytearray(b"....-..-..\n" * len(values))
    for place, lane in zip((0, 1, 2, 3, 5, 6, 8, 9), digit, strict=True):
        out[place::11] = lane
    return out.decode().splitlines()


def _iso_dates(values: Column) -> Sequence[Json]:
    """Return the column itself, if all of it is `YYYY-MM-DD`."""
    octets = lanes.blob(values)
    if not {10}.issuperset(map(len, values)) or octets.translate(None, b"0123456789") != b"--" * len(values):
        raise Irregular
    if (octets[4::10] + octets[7::10]).strip(b"-"):
        raise Irregular
    _require_dates([octets[lane::10] for lane in (0, 1, 2, 3, 5, 6, 8, 9)], values)
    return values


def _require_dates(digit: Sequence[bytes], values: Column) -> None:
    """Raise ValueError unless all of these eight lanes of digits are dates. The few that not every year has are asked for."""
    doubts = lanes.date_doubts(lanes.two_digits(*digit[4:6]), lanes.two_digits(*digit[6:8]))
    if doubts.strip(b"\0"):
        for value in compress(values, doubts):
            date.fromisoformat(value)
    if b"0" in digit[0] and "0000" in map(itemgetter(slice(0, 4)), values):
        raise Irregular
