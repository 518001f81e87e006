"""Arithmetic on many equally long values at once.

The values stand one behind the other in one `bytes`; lane *i* is the slice of every *i*-th character. `bytes.translate` looks
up all characters of a lane in one call, and lanes are added as if each were one large integer with a byte per value: as long
as no sum exceeds 255, there are no carries. That costs a few nanoseconds per value where a loop costs microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

Table = bytes
"""256 octets: what `bytes.translate` puts in the place of each."""


def table(value_of: Callable[[int], int]) -> Table:
    """Return the table of a function from octet to octet."""
    return bytes(value_of(octet) for octet in range(256))


def char_table(values: Mapping[str, int]) -> Table:
    """Return the table that gives characters their values, and 0 to those that have none."""
    return table(lambda octet: values.get(chr(octet), 0))


def blob(values: Sequence[str]) -> bytes:
    """Return the values one behind the other; what is not ASCII becomes `?`, one for each character."""
    return "".join(values).encode("ascii", "replace")


def add(*lanes: bytes) -> bytes:
    """Return the sums, value by value. No sum may exceed 255."""
    total = sum(int.from_bytes(lane, "little") for lane in lanes)
    return total.to_bytes(len(lanes[0]), "little")


class WeightedSum:
    """The sum of the characters' values times the weights of their places, modulo `modulus`, for each value of a column.

    Characters that have no value count as 0.
    """

    def __init__(self, values: Mapping[str, int], weights: Sequence[int], modulus: int) -> None:
        self._tables = [
            char_table({character: value * weight % modulus for character, value in values.items()}) for weight in weights
        ]
        self._remainder = table(lambda octet: octet % modulus)
        self._at_once = 255 // (modulus - 1) - 1  # lanes that can be added to a remainder without exceeding a byte

    def __call__(self, octets: bytes) -> bytes:
        """Return one octet for each value."""
        width = len(self._tables)
        sums = bytes(len(octets) // width)
        for first in range(0, width, self._at_once):
            group = range(first, min(first + self._at_once, width))
            sums = add(sums, *(octets[lane::width].translate(self._tables[lane]) for lane in group)).translate(self._remainder)
        return sums


# -- dates -----------------------------------------------------------------------------------------------------------

DIGITS = MappingProxyType({str(value): value for value in range(10)})
"""Digit → value."""

_TENS = char_table({digit: value * 10 for digit, value in DIGITS.items()})
_ONES = char_table(DIGITS)

# A month becomes the number of its kind times 32, a day itself, so that their sum says whether the day exists.
_UNKNOWN_MONTH = 96
_MONTHS = {**dict.fromkeys((1, 3, 5, 7, 8, 10, 12), 0), **dict.fromkeys((4, 6, 9, 11), 32), 2: 64}
_MONTH_KIND = table(lambda month: _MONTHS.get(month, _UNKNOWN_MONTH))
_DAY = table(lambda day: day if day <= 31 else 0)
_EXISTING = frozenset({*range(1, 32), *range(33, 63), *range(65, 93)})
_DATE_DOUBT = table(lambda kind_and_day: kind_and_day not in _EXISTING)


def two_digits(tens: bytes, ones: bytes) -> bytes:
    """Return the numbers of two digits that two lanes hold."""
    return add(tens.translate(_TENS), ones.translate(_ONES))


def date_doubts(month: bytes, day: bytes) -> bytes:
    """Return 1 for each month and day that do not exist in every year, 0 for the others. February 29 is left to the year."""
    return add(month.translate(_MONTH_KIND), day.translate(_DAY)).translate(_DATE_DOUBT)
