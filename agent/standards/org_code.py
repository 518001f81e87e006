"""Organisation code, 组织机构代码, GB 11714: 8 digits or letters and a check character [R]."""

from __future__ import annotations

import re
from operator import mul
from typing import Final

from agent.standards.judgement import OK, Judgement, error

_WEIGHTS: Final = (3, 7, 9, 10, 5, 8, 4, 2)
_SHAPE: Final = re.compile(r"[0-9A-Z]{8}-?[0-9X]")


def check_character(body: str) -> str:
    """Return the check character of the first 8 characters: 11 minus the weighted sum modulo 11, X for 10, 0 for 11."""
    remainder = sum(map(mul, _WEIGHTS, (int(character, 36) for character in body))) % 11
    return "0X987654321"[remainder]


def plain(value: str) -> str:
    """Return the nine characters of a code that may be written with a hyphen before the last."""
    return value.replace("-", "")


def judge(value: str) -> Judgement:
    """Judge one code, with or without hyphen."""
    if not _SHAPE.fullmatch(value):
        return error("org_code_shape")
    code = plain(value)
    return OK if check_character(code[:8]) == code[8] else error("org_code_check")
