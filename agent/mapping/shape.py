"""What a value looks like, without saying what it is."""

from __future__ import annotations

import unicodedata
from typing import Final

from agent.model import Value

_LONGEST: Final = 40
_LONGEST_BITS: Final = 256
_BY_CATEGORY: Final = {"L": "文", "M": "文", "N": "文", "C": "\ufffd"}


def shape(value: Value) -> str:
    """Return the shape: 9 for each digit, A and a for letters, 文 for others; punctuation and full width stay visible."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "boolean"
        case bytes():
            return f"bytes({len(value)})"
        case int() if value.bit_length() > _LONGEST_BITS:
            return f"integer({value.bit_length()} bits)"
        case int() | float():
            return _text_shape(repr(value))
        case str():
            return _text_shape(value)


def _text_shape(text: str) -> str:
    shown = "".join(map(_stand_in, text[:_LONGEST]))
    return shown if len(text) <= _LONGEST else f"{shown}…({len(text)})"


def _stand_in(character: str) -> str:
    if "0" <= character <= "9":
        return "9"
    if "０" <= character <= "９":
        return "９"
    narrow = unicodedata.normalize("NFKC", character)
    if narrow.isascii() and narrow.isalpha():
        return ("A" if narrow.isupper() else "a") if narrow == character else "Ａ"
    return _BY_CATEGORY.get(unicodedata.category(character)[0], character)
