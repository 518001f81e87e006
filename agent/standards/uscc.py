"""Unified social credit code, 统一社会信用代码, GB 32100-2015 [S].

One character for the registering authority, one for the kind of organisation, 6 digits region of the registration, 9
characters organisation code (GB 11714, with its own check character), one check character modulo 31 [R].

Real codes are known whose outer check character is wrong while the organisation code inside is right [S]; so that case is a
warning, for a person to verify, and only both being wrong is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from operator import mul
from typing import Final

from agent.standards import lanes, org_code
from agent.standards.judgement import OK, Judgement, error, warn

LENGTH: Final = 18
ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_VALUE: Final = {character: value for value, character in enumerate(ALPHABET)}
_WEIGHTS: Final = tuple(pow(3, index, 31) for index in range(17))
_BODY: Final = slice(8, 17)

AUTHORITIES: Final = {
    "1": "机构编制",
    "2": "外交",
    "3": "司法行政",
    "4": "文化",
    "5": "民政",
    "6": "旅游",
    "7": "宗教",
    "8": "工会",
    "9": "工商",
    "A": "中央军委改革和编制办公室",
    "N": "农业",
    "Y": "其他",
}
"""First character → registering authority [S]."""


def check_character(body: str) -> str:
    """Return the check character of the first 17 characters: 31 minus the weighted sum modulo 31, 0 for 31."""
    return ALPHABET[-sum(map(mul, _WEIGHTS, (_VALUE[character] for character in body))) % 31]


def organisation_code(value: str) -> str:
    """Return the organisation code inside."""
    return value[_BODY]


def judge(value: str) -> Judgement:
    """Judge one code."""
    if len(value) != LENGTH or not all(character in _VALUE for character in value):
        return error("uscc_shape")
    if check_character(value[:-1]) == value[-1]:
        return OK
    return warn("uscc_check_outer") if org_code.judge(organisation_code(value)) is OK else error("uscc_check")


# -- whole columns ---------------------------------------------------------------------------------------------------


_WEIGHTED_SUM: Final = lanes.WeightedSum(_VALUE, (*_WEIGHTS, 1), 31)


def flag(values: Sequence[str]) -> list[tuple[int, Judgement]]:
    """Judge a column; return position and judgement of every value that is not plainly right."""
    doubtful: list[int] | range = range(len(values))
    if {LENGTH}.issuperset(map(len, values)):
        octets = lanes.blob(values)
        if not octets.translate(None, ALPHABET.encode()):
            doubtful = list(compress(range(len(values)), _WEIGHTED_SUM(octets)))
    return [(position, judgement) for position in doubtful if (judgement := judge(values[position])) is not OK]
