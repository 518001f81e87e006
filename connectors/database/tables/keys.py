"""Canonical key text, read back: `[["s","5101"],["i","7"]]`."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Final

from agent.model import Value

_READ: Final[dict[str, Callable[[str], Value]]] = {
    "s": str,
    "n": str,
    "i": int,
    "f": float,
    "o": lambda text: text == "true",
    "b": lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)),
}


def read_key(text: str, width: int) -> tuple[Value, ...]:
    """Return the values of a key of `width` columns. Raises ValueError for anything else."""
    parts: Any = json.loads(text)
    if len(parts) != width:
        raise ValueError(f"a key of {len(parts)} columns instead of {width}")
    return tuple(_READ[kind](value) for kind, value in parts)
