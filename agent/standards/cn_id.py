"""Citizen id, 公民身份号码, GB 11643-1999: 6 digits region, 8 birth date, 3 sequence (odd male, even female), check character.

The check character is ISO 7064 MOD 11-2 [R]. The 15 digits of before 1999 lack the century and the check character. Prefixes
81, 82 and 83 are residence permits of people from Hong Kong, Macao and Taiwan, 9 the foreigners' permanent residence card of
2023, all with the same check [G]. The region is that of the first registration and may have ceased to exist long ago, so it
is not compared with a current table.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import compress
from operator import mul
from typing import Final

from agent.standards import lanes
from agent.standards.excel import judge as judge_excel
from agent.standards.judgement import OK, Judgement, Severity, error, warn

LENGTH: Final = 18
OLD_LENGTH: Final = 15
_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS: Final = "10X98765432"
_CENTURIES: Final = ("18", "19", "20")


def check_character(digits: str) -> str:
    """Return the check character of the first 17 digits."""
    return _CHECKS[sum(map(mul, _WEIGHTS, map(int, digits))) % 11]


def upgrade(old: str) -> str:
    """Return the 18 characters of an id of 15 digits, which all are of the twentieth century."""
    digits = f"{old[:6]}19{old[6:]}"
    return digits + check_character(digits)


def born(value: str) -> date:
    """Return the birth date in a valid id."""
    digits = value if len(value) == LENGTH else upgrade(value)
    return date(int(digits[6:10]), int(digits[10:12]), int(digits[12:14]))


def sex(value: str) -> str:
    """Return the sex in a valid id as a code of GB/T 2261.1: 1 male, 2 female."""
    return "1" if int(value[16 if len(value) == LENGTH else 14]) % 2 else "2"


def region(value: str) -> str:
    """Return the code of the region of the first registration."""
    return value[:6]


def mask(value: str) -> str:
    """Return an id that can be shown: the first six and the last four characters of at least fifteen."""
    return value[:6] + "*" * (len(value) - 10) + value[-4:] if len(value) >= OLD_LENGTH else "*" * len(value)


def judge(value: str, today: date | None = None) -> Judgement:
    """Judge one id; a lower-case x is as good as X. Without `today` a birth in the future goes unnoticed."""
    if len(value) == OLD_LENGTH and _all_digits(value):
        return _judge_date(f"19{value[6:12]}", today) or warn("cn_id_15_digits")
    if len(value) != LENGTH or not _all_digits(value[:-1]) or value[-1] not in "0123456789Xx":
        return _spreadsheet(value) or error("cn_id_shape")
    wrong_date = _judge_date(value[6:14], today)
    if wrong_date:
        return wrong_date
    if check_character(value[:-1]) != value[-1].upper():
        return _spreadsheet(value) or error("cn_id_check_digit")
    return OK


def _all_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _judge_date(digits: str, today: date | None) -> Judgement | None:
    if digits[:2] not in _CENTURIES:
        return error("cn_id_birth_date")
    try:
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return error("cn_id_birth_date")
    return error("cn_id_future") if today is not None and day > today else None


def _spreadsheet(value: str) -> Judgement | None:
    """Return the likelier story of a wrong id: 18 digits are more than a spreadsheet can hold."""
    excel = judge_excel(value)
    return None if excel.severity is Severity.OK else error(excel.reason)


# -- whole columns ---------------------------------------------------------------------------------------------------

_VALUES: Final = {**lanes.DIGITS, "X": 10, "x": 10}
_WEIGHTED_SUM: Final = lanes.WeightedSum(_VALUES, (*_WEIGHTS, 1), 11)
_CENTURY_DOUBT: Final = lanes.table(lambda century: f"{century}" not in _CENTURIES)
_SUM_DOUBT: Final = lanes.table(lambda remainder: remainder != 1)  # ISO 7064: the whole id is 1 modulo 11
_NO_DIGIT: Final = lanes.table(lambda octet: chr(octet) not in lanes.DIGITS)
_NO_CHECK: Final = lanes.table(lambda octet: chr(octet) not in _VALUES)


def flag(values: Sequence[str]) -> list[tuple[int, Judgement]]:
    """Judge a column; return position and judgement of every value that is not plainly right.

    Byte lanes find the few that are in doubt, `judge` decides about those: the same as calling it for each value.
    """
    if {LENGTH}.issuperset(map(len, values)):
        doubtful = _doubtful(values)
    else:
        regular = [len(value) == LENGTH for value in values]
        positions = list(compress(range(len(values)), regular))
        irregular = [position for position, fits in enumerate(regular) if not fits]
        doubtful = sorted([*irregular, *(positions[index] for index in _doubtful(list(compress(values, regular))))])
    return [(position, judgement) for position in doubtful if (judgement := judge(values[position])) is not OK]


def _doubtful(values: Sequence[str]) -> list[int]:
    """Return the positions of values of 18 characters that might be wrong."""
    octets = lanes.blob(values)
    digit = [octets[lane::LENGTH] for lane in range(6, 14)]
    doubts = [
        _WEIGHTED_SUM(octets).translate(_SUM_DOUBT),
        lanes.two_digits(*digit[:2]).translate(_CENTURY_DOUBT),
        lanes.date_doubts(lanes.two_digits(*digit[4:6]), lanes.two_digits(*digit[6:8])),
    ]
    last = octets[LENGTH - 1 :: LENGTH]
    strangers = len(octets.translate(None, b"0123456789"))
    if strangers != last.count(b"X") + last.count(b"x"):
        doubts += [octets[lane::LENGTH].translate(_NO_DIGIT) for lane in range(LENGTH - 1)]
        doubts.append(last.translate(_NO_CHECK))
    doubt = lanes.add(*doubts)
    return list(compress(range(len(doubt)), doubt)) if doubt.strip(b"\0") else []
