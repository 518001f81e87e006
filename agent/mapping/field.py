"""One field of a record: trimmed, filled, checked, converted, measured.

`one` says what becomes of a single value; it is the definition. `column` does the same for all rows at once: it tries the
whole column, and where something is suspicious it halves the column until only the suspicious values are looked at one by
one. So a few bad values cost little, and their neighbours come out as if they were not there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from agent.mapping.plain import Column, Conversion, Json, Plain, Suspicious, as_text, plain
from agent.mapping.spec import OnFail
from agent.mapping.unfit import Irregular, Unfit
from agent.model import Value
from agent.standards.checks import Check, Flags
from agent.standards.judgement import Severity

_FEW: Final = 8


@dataclass(slots=True)
class Findings:
    """What was found in one column: the rows that are put aside, and those to be listed."""

    failed: dict[int, Unfit] = field(default_factory=dict)
    listed: list[tuple[int, Unfit]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Field:
    """A field that is read from the column at `index`. `key` fields are never missing."""

    target: str
    source: str
    index: int
    conversion: Conversion
    check: Check | None = None
    trim: bool = False
    required: bool = False
    default: Json = None
    max_length: int | None = None
    on_fail: OnFail = OnFail.QUARANTINE
    key: bool = False

    # -- one value ---------------------------------------------------------------------------------------------------

    def one(self, value: Value, listed: list[Unfit]) -> Json:
        """Return the value of the field, and append to `listed` what is to be listed. Raises Unfit: the record is put aside."""
        if self.trim and isinstance(value, str):
            value = value.strip()
        if self.check is not None and value is not None and value != "":
            judgement = self.check.judge(as_text(value))
            if judgement.severity is Severity.WARN:
                listed.append(Unfit(judgement.reason))
            elif judgement.severity is Severity.ERROR and self._soften(Unfit(judgement.reason), listed) is OnFail.EMPTY:
                value = None
        return self._settle(value, listed)

    def _settle(self, value: Value, listed: list[Unfit]) -> Json:
        if self._is_missing(value):
            return self._fill()
        try:
            converted = self.conversion.one(value)
            if converted is not None:
                self._measure(converted)
        except Unfit as unfit:
            return plain(value) if self._soften(unfit, listed) is OnFail.WARN else self._fill()
        return self._fill() if converted is None else converted

    def _soften(self, unfit: Unfit, listed: list[Unfit]) -> OnFail:
        if self.on_fail is OnFail.QUARANTINE:
            raise unfit
        listed.append(unfit)
        return self.on_fail

    def _is_missing(self, value: Value) -> bool:
        return value is None or (value == "" and self._blank_is_missing())

    def _blank_is_missing(self) -> bool:
        known = self.conversion.blank_is_missing
        return self.required or self.default is not None if known is None else known

    def _fill(self) -> Json:
        if self.key:
            raise Unfit("key_missing")
        if self.required:
            raise Unfit("required")
        return self.default

    def _measure(self, converted: Json) -> None:
        if self.max_length is not None and len(as_text(converted)) > self.max_length:
            raise Unfit("too_long", length=len(as_text(converted)), limit=self.max_length)

    # -- a whole column ----------------------------------------------------------------------------------------------

    def column(self, values: Column, found: Findings) -> Column:
        """Return the values of the field for a column, one for each row; in rows that failed they mean nothing."""
        if self.trim:
            values = _trimmed(values)
        if self.check is not None:
            values = self._checked(values, self.check, found)
        return self._convert(values, 0, found)

    def _checked(self, values: Column, check: Check, found: Findings) -> Column:
        emptied = []
        for row, judgement in _flags(values, check):
            wrong = judgement.severity is Severity.ERROR
            if wrong and self.on_fail is OnFail.QUARANTINE:
                found.failed[row] = Unfit(judgement.reason)
                continue
            found.listed.append((row, Unfit(judgement.reason)))
            if wrong and self.on_fail is OnFail.EMPTY:
                emptied.append(row)
        if emptied:
            values = list(values)
            for row in emptied:
                values[row] = None
        return values

    def _convert(self, values: Column, first: int, found: Findings) -> Column:
        try:
            return self._at_once(values)
        except Suspicious:
            if len(values) > _FEW:
                half = len(values) // 2
                return [*self._convert(values[:half], first, found), *self._convert(values[half:], first + half, found)]
        return [self._try(value, row, found) for row, value in enumerate(values, first)]

    def _try(self, value: Value, row: int, found: Findings) -> Json:
        listed: list[Unfit] = []
        try:
            return self._settle(value, listed)
        except Unfit as unfit:
            found.failed.setdefault(row, unfit)
            return None
        finally:
            found.listed += [(row, unfit) for unfit in listed]

    def _at_once(self, values: Column) -> Column:
        """Return the converted column. Raises one of `Suspicious` unless all values are plainly right."""
        blank = self._blank_is_missing()
        converted: Column
        if all(values) or (not blank and not self.key and isinstance(self.conversion, Plain)):
            converted = self.conversion.many(values)
        else:
            converted = self._with_gaps(values, blank=blank)
        if self.max_length is not None and _longest(converted) > self.max_length:
            raise Irregular
        return converted

    def _with_gaps(self, values: Column, *, blank: bool) -> Column:
        gaps = [value is None or value == "" for value in values] if blank else [value is None for value in values]
        if (self.required or self.key) and True in gaps:
            raise Irregular
        present = [value for value, gap in zip(values, gaps, strict=True) if not gap]
        converted = iter(self.conversion.many(present) if present else ())
        return [self.default if gap else next(converted) for gap in gaps]


def _trimmed(values: Column) -> Column:
    try:
        return list(map(str.strip, values))
    except TypeError:
        return [value.strip() if isinstance(value, str) else value for value in values]


def _longest(values: Column) -> int:
    """Return the length of the longest text. Raises TypeError for numbers."""
    return max((len(value) for value in values if value is not None), default=0)


def _flags(values: Column, check: Check) -> Flags:
    if all(values) and {str}.issuperset(map(type, values)):
        return check.flag(values)
    rows = [row for row, value in enumerate(values) if value is not None and value != ""]
    return [(rows[position], judgement) for position, judgement in check.flag([as_text(values[row]) for row in rows])]
