"""What an unquoted YAML scalar means: the core schema of YAML 1.2, stricter about numbers.

`off`, `yes` and `no` are text, `1:30` is text, `2026-11-01` is text. A number that begins with a zero (`010`, `0x1F`) has no
meaning here: it is nearly always a code that lost its quotes.
"""

from __future__ import annotations

import re
from typing import Final

Scalar = None | bool | int | float | str

_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,40}", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_LEADING_ZERO: Final = re.compile(r"[-+]?0([0-9_]+(\.[0-9]*)?|[xob][0-9A-Fa-f_]+)", re.ASCII)


def resolve(text: str) -> Scalar:
    """Return the value of a plain scalar."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def lost_zero(text: str) -> bool:
    """Return whether a plain scalar is a number that begins with a zero."""
    return _LEADING_ZERO.fullmatch(text) is not None
