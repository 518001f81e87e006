"""Values that travel as they are, in the types JSON has.

Integers of 2^53 and beyond become text, because not every parser reads them exactly. Bytes become base64url without padding. NaN,
infinities, U+0000 and lone surrogates cannot travel.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from math import isfinite
from typing import Any, Final, Protocol

from agent.mapping.unfit import Irregular, Unfit
from agent.model import Value

Json = None | bool | int | float | str
"""What a field of a record may be."""

Column = Sequence[Any]
"""Values of one source column. Not `Value`: what is done to a column at once is tried, and raises if it is made for others."""

SAFE: Final = (1 << 53) - 1
"""The greatest integer that every JSON parser reads exactly, and the greatest one that a hub takes as a number."""

_LONGEST_INTEGER_BITS: Final = 1 << 13  # 2 466 digits; Python refuses to write integers of more than 4 300


class Conversion(Protocol):
    """How the values of one column become values of a field."""

    @property
    def blank_is_missing(self) -> bool | None:
        """Whether the empty text is as good as NULL; None leaves it to `required` and `default`."""
        ...

    def one(self, value: Value) -> Json:
        """Return the converted value, None if there is nothing in it. Raises Unfit."""
        ...

    def many(self, values: Column) -> Sequence[Json]:
        """Return what `one` returns for each value, none of which is missing.

        Raises an exception of `Suspicious` when something in the column needs a closer look.
        """
        ...


Suspicious: Final = (ValueError, TypeError, LookupError)
"""What `many` may raise: Irregular, or what the operations in it raise for values they are not made for."""


class Plain:
    """No conversion. `many` takes missing values, too."""

    blank_is_missing = None

    def one(self, value: Value) -> Json:
        """Return the value as JSON has it."""
        return plain(value)

    def many(self, values: Column) -> Sequence[Json]:
        """Return the column itself, if all of it can travel as it is."""
        try:
            joined = "".join(values)
        except TypeError:
            return _typed(values)
        _sound(joined)
        return values


def plain(value: Value) -> Json:
    """Return a value as JSON has it. Raises Unfit."""
    match value:
        case str():
            return _text(value)
        case None | bool():
            return value
        case int():
            return _integer(value)
        case bytes():
            return octets(value)
        case float():
            if not isfinite(value):
                raise Unfit("not_a_number")
            return value
        case _:
            raise Unfit("type_unsupported", type=type(value).__name__)


def octets(value: bytes) -> str:
    """Return bytes as base64url without padding (RFC 4648, section 5)."""
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def as_text(value: Value) -> str:
    """Return what a person would write for a value: what code tables and checks look at."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case bytes():
            return octets(value)
        case float() if value.is_integer() and abs(value) <= SAFE:
            return str(int(value))
        case int() if value.bit_length() > _LONGEST_INTEGER_BITS:
            return hex(value)
        case _:
            return "" if value is None else str(value)


def _text(value: str) -> str:
    if "\0" in value:
        raise Unfit("nul_character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unfit("lone_surrogate") from None
    return value


def _integer(value: int) -> int | str:
    if -SAFE <= value <= SAFE:
        return value
    if value.bit_length() > _LONGEST_INTEGER_BITS:
        raise Unfit("type_unsupported", type="int")
    return str(value)


# -- whole columns ---------------------------------------------------------------------------------------------------


def _sound(joined: str) -> None:
    if "\0" in joined:
        raise Irregular
    if not joined.isascii():
        joined.encode()  # a lone surrogate raises UnicodeEncodeError, which is a ValueError


def _typed(values: Column) -> Sequence[Json]:
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {str}:
        _sound("".join(filter(None, values)))
        return values
    if kinds <= {bool}:
        return values
    if kinds == {int}:
        present = [value for value in values if value is not None]
        if min(present) >= -SAFE and max(present) <= SAFE:
            return values
    if kinds == {float} and all(map(isfinite, filter(None, values))):
        return values
    if kinds == {bytes}:
        return [None if value is None else octets(value) for value in values]
    raise Irregular
