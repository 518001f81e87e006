"""What did the operator mean? Nearest names, and when a slip is unmistakable."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_NEAR = 0.6
_SURE = 0.75
_LEAD = 0.1


def near(word: str, names: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """Return the names most like `word`, best first; none when nothing is like it."""
    return tuple(name for score, name in _ranked(word, names)[:limit] if score >= _NEAR)


def unmistakable(word: str, names: Iterable[str]) -> str | None:
    """Return the one name that `word` can only mean, so that it may be corrected unasked."""
    ranked = _ranked(word, names)
    if not ranked or ranked[0][0] < _SURE:
        return None
    if len(ranked) > 1 and ranked[0][0] - ranked[1][0] < _LEAD:
        return None
    return ranked[0][1]


def _ranked(word: str, names: Iterable[str]) -> list[tuple[float, str]]:
    folded = word.casefold().replace("-", "_")
    scored = [(SequenceMatcher(None, folded, name.casefold().replace("-", "_")).ratio(), name) for name in set(names)]
    return sorted(scored, key=lambda pair: (-pair[0], pair[1]))
