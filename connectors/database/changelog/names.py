"""How the objects of a change log are called. They belong to one flow, so two flows on one table never share any."""

from __future__ import annotations

import hashlib
from typing import Final

REGISTRY: Final = "logs"
_LONGEST: Final = 40


def stem_of(flow: str) -> str:
    """Return the part of the names that is the flow's: short enough for every database, and different for every flow."""
    if len(flow) <= _LONGEST:
        return flow
    return f"{flow[: _LONGEST - 9]}-{hashlib.sha256(flow.encode()).hexdigest()[:8]}"


def quote_text(text: str) -> str:
    """Return text as an SQL literal of standard form."""
    return "'" + text.replace("'", "''") + "'"
