"""Rows as their statements select them → batches as the host takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, compress

from agent.model import Batch, Position, Progress, Unreadable
from connectors.database.dialects.base import Database, Row
from connectors.database.streams.stream import Changes
from connectors.database.tables.pages import Shape
from connectors.database.tables.reader import Page
from connectors.database.tables.rows import instants, readable, unreadable_of
from connectors.database.tables.table import ValueKind


class BatchMaker:
    """Makes the batches of one table."""

    def __init__(self, database: Database, shape: Shape, entity: str) -> None:
        self._database = database
        self._shape = shape
        self._entity = entity
        self._names = tuple(column.name for column in shape.columns)
        cursor = shape.cursor
        self._clock_at = None if cursor is None or cursor.kind is not ValueKind.INSTANT else self._names.index(cursor.name)

    def nothing(self, position: Position) -> Batch:
        """Return the batch that says that there is nothing new."""
        return Batch(entity=self._entity, columns=self._names, rows=(), position=position)

    def of_page(self, page: Page, position: Position, *, more: bool = False, loading: Progress | None = None) -> Batch:
        """Return rows as they are now."""
        rows, unreadable = self._readable(page.rows) if page.suspicious else (page.rows, ())
        shown = self._database.canonical(rows, self._shape.columns)
        return Batch(
            entity=self._entity,
            columns=self._names,
            rows=shown,
            position=position,
            times=self._times(shown),
            unreadable=unreadable,
            more=more,
            loading=loading,
        )

    def of_changes(self, changes: Changes, position: Position, *, more: bool, loading: Progress | None) -> Batch:
        """Return changes in their order."""
        unreadable: Sequence[Unreadable] = ()
        if changes.suspicious:
            changes, unreadable = self._without_unreadable(changes)
        shown = self._database.canonical(changes.rows, self._shape.columns)
        return Batch(
            entity=self._entity,
            columns=self._names,
            rows=shown,
            position=position,
            ops=changes.ops,
            tokens=changes.tokens,
            repeats=False,
            times=changes.times if changes.times is not None else self._times(shown),
            ends=changes.ends,
            unreadable=unreadable,
            more=more,
            loading=loading,
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _readable(self, rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Unreadable]]:
        good = readable(rows)
        return list(compress(rows, good)), [
            unreadable_of(row, self._names) for row, fine in zip(rows, good, strict=True) if not fine
        ]

    def _without_unreadable(self, changes: Changes) -> tuple[Changes, Sequence[Unreadable]]:
        good = readable(changes.rows)
        tokens = changes.tokens or [""] * len(good)
        broken = [
            replace(unreadable_of(row, self._names), token=token)
            for row, token, fine in zip(changes.rows, tokens, good, strict=True)
            if not fine
        ]
        kept = replace(
            changes,
            rows=list(compress(changes.rows, good)),
            ops=None if changes.ops is None else list(compress(changes.ops, good)),
            tokens=None if changes.tokens is None else list(compress(changes.tokens, good)),
            times=None if changes.times is None else list(compress(changes.times, good)),
            ends=self.ends_among(changes.ends, good),
        )
        return kept, broken

    def _times(self, shown: Sequence[Row]) -> list[str | None] | None:
        return None if self._clock_at is None else instants(shown, self._clock_at)

    @staticmethod
    def ends_among(ends: Sequence[int], good: Sequence[bool]) -> list[int]:
        """Return ends in numbers of the rows that are left; a transaction that loses its last row ends with the one before."""
        left = list(accumulate(good))
        return list(dict.fromkeys(left[end] - 1 for end in ends if left[end]))
