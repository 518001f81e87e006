"""How many columns of a terminal a text takes: East-Asian wide characters take two, combining marks none."""

from __future__ import annotations

import unicodedata


def display_width(text: str) -> int:
    """Return the columns that `text` takes, a tab counting as one."""
    return sum(_columns(character) for character in text)


def blank_of(text: str) -> str:
    """Return white space exactly as wide as `text`. Tabs stay tabs, so that it fits under any tab width."""
    return "".join("\t" if character == "\t" else " " * _columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.east_asian_width(character) in "WF":
        return 2
    return 0 if unicodedata.category(character) in ("Mn", "Me", "Cf") else 1
