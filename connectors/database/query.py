"""What the text of a query shows before any database has seen it: whether it is one SELECT, complete, that changes nothing.

Databases read quotes and backslashes in different ways, and which one will read the text is not known here. So a text is refused
only when every way to read it shows the same kind of trouble; what passes wrongly is refused by the read-only session.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from agent.i18n import N_

_DOLLARS: Final = r"\$(?P<tag>\w*)\$.*?\$(?P=tag)\$"
_COMMENTS: Final = r"--[^\n]*|/\*.*?\*/"
_PLAIN: Final = r"""'[^']*'|"[^"]*"|`[^`]*`"""
_ESCAPED: Final = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`"""
_REST: Final = r"(?P<word>[^\W\d][\w$#]*)|(?P<open>'|\"|`|/\*)|(?P<sign>[();.])"

_READINGS: Final = tuple(
    re.compile(f"(?:{comments})|(?P<quoted>{quotes}|{_DOLLARS})|{_REST}", re.DOTALL)
    for comments, quotes in ((_COMMENTS, _PLAIN), (_COMMENTS, _ESCAPED), (_COMMENTS + r"|#[^\n]*", _ESCAPED))
)
"""A backslash in quotes means itself, as the standard says, or hides what follows; and in MySQL # begins a comment."""

_CHANGES: Final = ("INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE")
_LOCKS: Final = (("FOR", "UPDATE"), ("FOR", "SHARE"))


def fault_of(query: str) -> str:
    """Return why a text cannot be a query to read from (an English text), empty when nothing shows."""
    faults = [_fault(_parts(query, reading)) for reading in _READINGS]
    return faults[0] if all(faults) else ""


def begins_with_with(query: str) -> bool:
    """Tell whether a query names parts of itself first (WITH …): not every database reads such a one inside another."""
    return _parts(query, _READINGS[0])[:1] == ["WITH"]


def stands_in(query: str, name: str) -> bool:
    """Tell whether a name of a result column is rather the text of an expression that was given no name."""
    if re.fullmatch(r"[^\W\d][\w$#]*", name):
        return False
    squeezed, wanted = ("".join(text.split()).upper() for text in (query, name))
    return re.search(r"(?<![\"'`\[])" + re.escape(wanted), squeezed) is not None


def _parts(query: str, reading: re.Pattern[str]) -> list[str]:
    """Return words in capitals, signs, and `'` for what is quoted; comments left out."""
    parts: list[str] = []
    for found in reading.finditer(query):
        if found["quoted"]:
            parts.append("'")
        elif found["word"]:
            parts.append(found["word"].upper())
        elif found["open"]:
            parts.append("unclosed")  # no word can be so, all are in capitals
        elif found["sign"]:
            parts.append(found["sign"])
    return parts


def _fault(parts: Sequence[str]) -> str:
    if "unclosed" in parts:
        return N_("a quote or comment in the query is not closed")
    if ";" in parts:
        return N_("the query contains a semicolon: it must be one SELECT, without a semicolon at its end")
    first = next((part for part in parts if part != "("), "")
    if first not in ("SELECT", "WITH"):
        return N_("the query does not begin with SELECT or WITH")
    if not _is_balanced(parts):
        return N_("the brackets of the query do not match")
    if _changes_something(parts):
        return N_("the query does not only read: it inserts, updates, deletes, locks or creates something")
    return ""


def _is_balanced(parts: Sequence[str]) -> bool:
    depth = 0
    for part in parts:
        depth += (part == "(") - (part == ")")
        if depth < 0:
            return False
    return depth == 0


def _changes_something(parts: Sequence[str]) -> bool:
    """Tell whether some statement inside begins with a verb of change, or SELECT puts its rows somewhere (INTO)."""
    around = zip(["", *parts], parts, [*parts[1:], ""], strict=False)
    for before, word, after in around:
        begins = before in ("(", ")") and after not in ("(", ")", ".")  # insert(…) is a function of MySQL
        if (word in _CHANGES and begins) or (word == "INTO" and before != ".") or (before, word) in _LOCKS:
            return True
    return False
