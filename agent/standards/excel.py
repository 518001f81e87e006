"""Traces that a spreadsheet leaves in long numbers.

A spreadsheet holds 15 significant digits. A longer number is shown as 1.10105E+17, and saved either like that or with zeros
in the place of the digits that are lost [S].
"""

from __future__ import annotations

import re
from typing import Final

from agent.standards.judgement import OK, Judgement, error, warn

_SCIENTIFIC: Final = re.compile(r"[0-9](\.[0-9]+)?[Ee]\+[0-9]{1,3}")
_ROUNDED: Final = re.compile(r"[0-9]{15,}000")


def judge(value: str) -> Judgement:
    """Judge one number that should have all its digits.

    Scientific notation is an error. Eighteen digits or more that end in 000 are a warning only: one in a thousand true
    numbers does.
    """
    if _SCIENTIFIC.fullmatch(value):
        return error("excel_scientific")
    return warn("excel_truncated") if _ROUNDED.fullmatch(value) else OK
