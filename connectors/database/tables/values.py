"""Values and places of rows as JSON, for positions and marks that are stored."""

from __future__ import annotations

import base64
from typing import Any

from agent.model import Value

Place = tuple[Value, ...]
"""Values of the key, or of the cursor and the key, of a row."""


def to_json(value: Value | Place) -> Any:
    """Return a value or place as JSON has it; octets become {"b": base64}."""
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return {"b": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def from_json(value: Any) -> Any:
    """Return what `to_json` was given. Raises ValueError, KeyError, TypeError for anything else."""
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    return base64.b64decode(value["b"], validate=True) if isinstance(value, dict) else value
