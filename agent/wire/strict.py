"""JSON that every parser reads alike: what two parsers could understand differently is refused.

Refused: anything but UTF-8, a byte order mark, numbers that are not finite, integers beyond 2^53, lone surrogates, a member
named twice in one object at any level, more nesting or more values than the limits allow.

How a duplicate is found at full speed: a decoder forgets the first of two members, so writing the decoded document again
gives other octets. Where the text is in the compact spelling of our encoder, equality with what is written again proves that
nothing was forgotten; only a text spelled otherwise (white space, escapes, exponents) pays for a second, slower pass that
looks at every pair.
"""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

from agent.wire.codes import refusal

MAX_SAFE_INTEGER: Final = 2**53 - 1


def brackets(text: bytes) -> int:
    """Return the number of octets that open an array or an object, those inside strings included."""
    return text.count(b"[") + text.count(b"{")


def too_many_values(text: bytes, limit: int) -> bool:
    """Tell whether brackets and commas, an upper bound of the number of values, are more than the limit."""
    return len(text) > limit and brackets(text) + text.count(b",") > limit


def load_strict(text: bytes, *, values: int) -> Any:
    """Return the document. Raises BadMessage: malformed, duplicate_member, too_deep, too_large (too many values)."""
    if too_many_values(text, values):
        raise refusal("too_large", why=f"more than {values} values")
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise refusal("too_deep" if "depth limit" in error.msg else "malformed", why=error.msg) from error
    if not _reads_back(document, text):
        _second_pass(text)
    return document


def check_depth(document: object, depth: int) -> None:
    """Raise BadMessage (too_deep) when arrays and objects nest deeper than that; the document itself is level 1."""
    level = [document]
    for _ in range(depth):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise refusal("too_deep", why=f"more than {depth} levels")


def _children(parent: object) -> list[object]:
    members = parent.values() if isinstance(parent, dict) else parent if isinstance(parent, list) else ()
    return [child for child in members if isinstance(child, dict | list)]


def _reads_back(document: object, text: bytes) -> bool:
    try:
        return orjson.dumps(document, option=orjson.OPT_STRICT_INTEGER) == text
    except orjson.JSONEncodeError:  # an integer beyond 2^53, or more levels than the encoder goes down
        return False


def _second_pass(text: bytes) -> None:
    """Look at every pair and every integer. The grammar is settled already, so only these two can be wrong."""
    try:
        json.loads(text.decode(), object_pairs_hook=_unique, parse_int=_safe)
    except RecursionError:
        raise refusal("too_deep", why="too deep to look for members named twice") from None


def _unique(pairs: list[tuple[str, object]]) -> None:
    names = {name for name, _ in pairs}
    if len(names) != len(pairs):
        raise refusal("duplicate_member", why=f"{len(pairs) - len(names)} too many among {', '.join(sorted(names))[:64]}")


def _safe(digits: str) -> int:
    # Longer than any allowed integer: do not even convert it.
    if len(digits) > 17 or abs(int(digits)) > MAX_SAFE_INTEGER:
        raise refusal("malformed", why="an integer beyond 2^53, which must travel as text")
    return 0
