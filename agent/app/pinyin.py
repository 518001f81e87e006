"""The initials of Chinese words as departments name their columns: 出生日期 → csrq.

The first level of GB 2312 (3755 common characters) is ordered by pronunciation, so that the place of a character tells its
initial. A character with several readings has the one it is ordered under.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from typing import Final

_FIRSTS: Final = (
    (0xB0A1, "a"), (0xB0C5, "b"), (0xB2C1, "c"), (0xB4EE, "d"), (0xB6EA, "e"), (0xB7A2, "f"), (0xB8C1, "g"), (0xB9FE, "h"),
    (0xBBF7, "j"), (0xBFA6, "k"), (0xC0AC, "l"), (0xC2E8, "m"), (0xC4C3, "n"), (0xC5B6, "o"), (0xC5BE, "p"), (0xC6DA, "q"),
    (0xC8BB, "r"), (0xC8F6, "s"), (0xCBFA, "t"), (0xCDDA, "w"), (0xCEF4, "x"), (0xD1B9, "y"), (0xD4D1, "z"),
)  # fmt: skip
"""The first code of each initial in GB 2312."""

_LAST: Final = 0xD7F9
_CODES: Final = [code for code, _ in _FIRSTS]


def initials(text: str) -> str:
    """Return the initials of the characters of a word, Latin letters and digits as they are; other characters are left out."""
    return "".join(map(_initial, unicodedata.normalize("NFKC", text))).lower()


def _initial(character: str) -> str:
    if character.isascii():
        return character if character.isalnum() else ""
    try:
        code = int.from_bytes(character.encode("gb2312"))
    except UnicodeEncodeError:
        return ""
    return _FIRSTS[bisect_right(_CODES, code) - 1][1] if _CODES[0] <= code <= _LAST else ""
