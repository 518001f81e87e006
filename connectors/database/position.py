"""Where a table source has got to.

A first load walks the table by key (`Load`). Afterwards a table with a cursor is polled by (cursor, key) (`Poll`); one without
is walked again from end to end on every run (`Walk`). Positions are JSON; they name what they belong to, so that a change of
table, key, cursor or condition is noticed instead of silently reading from a place that means something else now.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.errors import SourceGone, SourceRefused
from agent.i18n import N_
from agent.model import START, Position, Value

Place = tuple[Value, ...]
"""Values of the key, or of the cursor and the key, of the last row read."""


@dataclass(frozen=True, slots=True)
class Load:
    """In the first load: `after` this key, None at its beginning. Polling will start above `low`, None for everything."""

    after: Place | None
    low: Value
    done: int


@dataclass(frozen=True, slots=True)
class Poll:
    """Polling: everything up to `low` is settled; in the middle of a round `at` is (cursor, *key) of the last row."""

    low: Value
    at: Place | None = None


@dataclass(frozen=True, slots=True)
class Walk:
    """Walking through a table without a cursor: `after` this key, None between two rounds."""

    after: Place | None = None


Reached = Load | Poll | Walk

_KINDS: Final = {"load": Load, "poll": Poll, "walk": Walk}


@dataclass(frozen=True, slots=True)
class Belonging:
    """What a position of this flow belongs to."""

    table: str
    key: Sequence[str]
    cursor: str | None
    where: str | None

    def encode(self, reached: Reached) -> Position:
        """Return the position as stored. Raises SourceRefused for values that cannot be stored."""
        kind = type(reached).__name__.lower()
        members = {name: _encode(getattr(reached, name)) for name in type(reached).__slots__}
        text = json.dumps({"of": self._names(), kind: members}, ensure_ascii=False, separators=(",", ":"))
        try:
            text.encode()
        except UnicodeEncodeError:
            raise SourceRefused(
                N_("a key or cursor of {table} is not valid text, so reading cannot go on behind it"),
                hint=N_("correct the row at the source, or leave it out with a condition (where)"),
                table=self.table,
            ) from None
        return Position(text)

    def decode(self, position: Position) -> Reached | None:
        """Return what a stored position says, None for START. Raises SourceGone when it belongs to something else."""
        if position == START:
            return None
        try:
            stored = json.loads(position)
            names = stored.pop("of")
            ((kind, members),) = stored.items()
            reached: Reached = _KINDS[kind](**{name: _decode(value) for name, value in members.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _gone(position, N_("it is not a position of a table")) from error
        if names != self._names():
            raise _gone(position, N_("table, key, cursor or condition of the flow were changed"))
        return reached

    def _names(self) -> list[Any]:
        # The condition may contain values from the database: only its digest is kept.
        where = hashlib.sha256(self.where.encode()).hexdigest()[:8] if self.where else ""
        return [self.table, list(self.key), self.cursor or "", where]


def _gone(position: Position, why: str) -> SourceGone:
    # A position holds key values: only the beginning of its digest is shown.
    return SourceGone(position=hashlib.sha256(position.encode(errors="replace")).hexdigest()[:8], why=why)


def _encode(value: Value | Place) -> Any:
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    return {"b": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    return base64.b64decode(value["b"], validate=True) if isinstance(value, dict) else value
