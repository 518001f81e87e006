"""Which column did the operator mean? Full-width brackets, case and stray spaces look alike on the screen."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from agent.i18n import N_

WIDTH: Final = N_("did you mean {suggestion}? it differs only in full-width and half-width characters")
CASE: Final = N_("did you mean {suggestion}? it differs only in upper and lower case")
SPACES: Final = N_("did you mean {suggestion}? it differs only in spaces")
NEAR: Final = N_("did you mean {suggestion}? the columns are: {columns}")
NONE: Final = N_("the columns are: {columns}")


def suggest(name: str, columns: Sequence[str]) -> tuple[str, str]:
    """Return the likeliest column, empty if there is none, and the hint (a catalogue key) that goes with it."""
    for column in columns:
        if _folded(column) == _folded(name):
            return column, _difference(name, column)
    near = get_close_matches(name, columns, n=1)
    return (near[0], NEAR) if near else ("", NONE)


def _difference(name: str, column: str) -> str:
    if _narrow(name) == _narrow(column):
        return WIDTH
    return CASE if name.casefold() == column.casefold() else SPACES if _close(name) == _close(column) else NEAR


def _narrow(text: str) -> str:
    # NFKC makes fullwidth and compatibility forms ordinary; 【】〔〕 are brackets of their own to it, but not to an operator.
    return unicodedata.normalize("NFKC", text).translate(_BRACKETS)


def _close(text: str) -> str:
    return "".join(character for character in text if not character.isspace() and character not in _INVISIBLE)


def _folded(text: str) -> str:
    return _close(_narrow(text)).casefold()


_BRACKETS: Final = str.maketrans("【】〔〕［］", "[][][]")
_INVISIBLE: Final = frozenset("\ufeff\u200b\u200c\u200d")
