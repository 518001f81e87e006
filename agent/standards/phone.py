"""Telephone numbers of mainland China, by their look [G]: mobile, fixed line with area code, or 400/800.

A number that looks otherwise may still ring, so it is only a warning.
"""

from __future__ import annotations

import re
from typing import Final

from agent.standards.judgement import OK, Judgement, warn

_SHAPE: Final = re.compile(
    r"(?:\+?86[- ]?)?1[3-9][0-9]{9}"  # mobile
    r"|(?:\(0[0-9]{2,3}\)|0[0-9]{2,3}[- ]?)[2-9][0-9]{6,7}(?:[-转][0-9]{1,6})?"  # fixed line, perhaps with extension
    r"|[48]00[- ]?[0-9]{3}[- ]?[0-9]{4}"
)


def judge(value: str) -> Judgement:
    """Judge one number."""
    return OK if _SHAPE.fullmatch(value) else warn("phone_shape")
