"""Decimals, integers and booleans. Arithmetic is done on the digits, never in binary floating point."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from agent.mapping.plain import SAFE, Column, Json, as_text
from agent.mapping.unfit import Irregular, Unfit
from agent.model import Value

_DECIMAL: Final = re.compile(r"([+-]?)(?:([0-9]+)(?:\.([0-9]+))?|\.([0-9]+))")
_GROUPED: Final = re.compile(r"[+-]?[0-9]{1,3}(?:[,，' ][0-9]{3})+(?:\.[0-9]+)?|.*[0-9][,，][0-9].*")
_SCIENTIFIC: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?[Ee][+-]?[0-9]+")
_FULLWIDTH: Final = re.compile(r"[０-９]")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,1000}")


class Decimals:
    """Exact decimals as canonical text with `scale` digits behind the point, without needless sign or zeros in front.

    More digits than that are an error unless they are zeros: nothing is rounded. A binary float counts as the shortest
    decimal that means it.
    """

    blank_is_missing = True

    def __init__(self, scale: int) -> None:
        self._scale = scale
        fraction = rf"\.[0-9]{{{scale}}}" if scale else ""
        self._canonical = re.compile(rf"(?:-?+(?:[1-9][0-9]*+|0){fraction}\n)*+")

    def one(self, value: Value) -> Json:
        """Return the canonical text of a number."""
        if isinstance(value, (bool, bytes)):
            raise Unfit("decimal_format")
        text = (repr(value) if isinstance(value, float) else as_text(value)).strip()
        if not text:
            return None
        parts = _DECIMAL.fullmatch(text)
        if parts is None:
            raise Unfit(_why_no_decimal(text))
        sign, whole, fraction = parts[1], (parts[2] or "0").lstrip("0") or "0", parts[3] or parts[4] or ""
        if fraction[self._scale :].strip("0"):
            raise Unfit("decimal_scale", scale=self._scale)
        digits = whole if not self._scale else f"{whole}.{fraction[: self._scale].ljust(self._scale, '0')}"
        return f"-{digits}" if sign == "-" and digits.strip("0.") else digits

    def many(self, values: Column) -> Sequence[Json]:
        """Return the column itself, if all of it is canonical text."""
        lines = "\n".join(values) + "\n"
        if lines.count("\n") != len(values) or "-0" in lines or not self._canonical.fullmatch(lines):
            raise Irregular
        return values


def _why_no_decimal(text: str) -> str:
    if _FULLWIDTH.search(text):
        return "decimal_fullwidth"
    if _SCIENTIFIC.fullmatch(text):
        return "decimal_exponent"
    return "decimal_grouping" if _GROUPED.fullmatch(text) else "decimal_format"


class Integers:
    """Whole numbers; from 2^53 on as text. Leading zeros are lost: what has them is a code, not a number."""

    blank_is_missing = True

    def one(self, value: Value) -> Json:
        """Return the number."""
        if isinstance(value, (bool, bytes)):
            raise Unfit("integer_format")
        text = as_text(value).strip()
        if not text:
            return None
        if not _INTEGER.fullmatch(text):
            raise Unfit("integer_format")
        number = int(text)
        return number if -SAFE <= number <= SAFE else str(number)

    def many(self, values: Column) -> Sequence[Json]:
        """Return the numbers of a column of plain digits or of integers."""
        if set(map(type, values)) <= {int}:
            numbers = list(values)
        else:
            digits = "".join(values)
            if not (digits.isascii() and digits.isdigit() and all(values)):
                raise Irregular
            numbers = list(map(int, values))
        if numbers and not (min(numbers) >= -SAFE and max(numbers) <= SAFE):
            raise Irregular
        return numbers


_YES: Final = ("true", "t", "yes", "y", "1", "是", "真")
_NO: Final = ("false", "f", "no", "n", "0", "否", "假")


class Booleans:
    """Yes and no, as sources write them."""

    blank_is_missing = True

    def __init__(self) -> None:
        spelt = {**dict.fromkeys(_YES, True), **dict.fromkeys(_NO, False)}
        self._table = {form: meaning for word, meaning in spelt.items() for form in (word, word.upper(), word.title())}

    def one(self, value: Value) -> Json:
        """Return the meaning of a word or number."""
        text = as_text(value).strip()
        if not text:
            return None
        try:
            return self._table[text]
        except KeyError:
            raise Unfit("boolean_format") from None

    def many(self, values: Column) -> Sequence[Json]:
        """Return the meanings of a column of words."""
        return list(map(self._table.__getitem__, values))
