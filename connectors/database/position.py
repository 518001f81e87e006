"""Where a table source has got to: the mark of its stream and, while the table is walked through by key, the place of the walk.

Positions are JSON; they name what they belong to, so that a change of table, key, cursor or condition is noticed instead of
silently reading from a place that means something else now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.errors import SourceGone, SourceRefused
from agent.i18n import N_
from agent.model import START, Position, WalkKind
from connectors.database.streams.stream import Mark
from connectors.database.tables.values import Place, from_json, to_json


@dataclass(frozen=True, slots=True)
class Walk:
    """In a walk through the table by key: `after` this key, None at its beginning; `chunk` is the number of the next part.

    `condition` leaves rows out of a backfill, in the SQL of the source. `certain` tells that the source itself said that rows
    went (a truncated table), so that nobody has to be asked whether that can be.
    """

    kind: WalkKind
    after: Place | None = None
    done: int = 0
    chunk: int = 1
    condition: str = ""
    again: bool = False  # a backfill that sends also what is known
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a source has got to: in this mode, up to this mark, and in this walk, if any."""

    mode: str
    mark: Mark
    walk: Walk | None = None


@dataclass(frozen=True, slots=True)
class Belonging:
    """What a position of this flow belongs to."""

    table: str
    key: Sequence[str]
    cursor: str | None
    where: str | None
    query: str | None = None

    def encode(self, reached: Reached) -> Position:
        """Return the position as stored. Raises SourceRefused for values that cannot be stored."""
        stored: dict[str, Any] = {"of": self._names(), "mode": reached.mode, "mark": reached.mark}
        if reached.walk is not None:
            stored["walk"] = asdict(reached.walk) | {"after": to_json(reached.walk.after)}
        text = json.dumps(stored, ensure_ascii=False, separators=(",", ":"))
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
            walk = stored.pop("walk", None)
            reached = Reached(**stored, walk=None if walk is None else _walk(walk))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise gone(position, N_("it is not a position of a table")) from error
        if names != self._names():
            raise gone(position, N_("table, query, key, cursor or condition of the flow were changed"))
        return reached

    def _names(self) -> list[Any]:
        # Conditions and queries may contain values from the database: only their digests are kept.
        where = _digest(self.where) if self.where else ""
        query = [_digest(self.query)] if self.query else []
        return [self.table, list(self.key), self.cursor or "", where, *query]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _walk(stored: dict[str, Any]) -> Walk:
    return Walk(**(stored | {"kind": WalkKind(stored["kind"]), "after": from_json(stored["after"])}))


def gone(position: str, why: str) -> SourceGone:
    """Return the error for a position that is lost. It holds key values, so only the beginning of its digest is shown."""
    return SourceGone(position=hashlib.sha256(position.encode(errors="replace")).hexdigest()[:8], why=why)
