"""Values as they may be shown on a screen: enough to recognise a mapping, too little to read a person."""

from __future__ import annotations


def mask(text: str) -> str:
    """Return text with its middle hidden: about a third at the beginning and a sixth at the end stay; one character stays."""
    front = max(1, min(6, len(text) // 3))
    back = min(4, len(text) // 6)
    return text[:front] + "*" * (len(text) - front - back) + text[len(text) - back :]
