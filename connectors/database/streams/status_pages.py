"""The statements of a status column: rows with a status, rows of certain keys locked, and the change of a status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import sqlalchemy as sa

from connectors.database.tables.pages import Expression, Pages, Shape, Statement, prepare
from connectors.database.tables.table import column_expression


class StatusPages(Pages):
    """Statements of one flow. Parameters as in Pages; `s` is a status, `k0_0`, `k0_1` … the first of several keys."""

    def __init__(self, shape: Shape, status: str) -> None:
        super().__init__(shape)
        self.status = shape.table.columns[status]

    def with_status(self, *, resumed: bool) -> Statement:
        """Select the rows with a status by key, from the beginning or after a key."""
        return self._once(
            ("status", resumed), lambda: self._page([self._is(), *self._span(resumed=resumed, bounded=False)], self.shape.key)
        )

    def keyless_with_status(self) -> Statement:
        """Select rows with a status and NULL in their key."""
        nothing = sa.or_(*(column_expression(c).is_(None) for c in self.shape.key))
        return self._once("keyless status", lambda: self._page([self._is(), nothing], ()))

    def locked(self, count: int, *, skips: bool) -> Statement:
        """Select and lock the rows with one of `count` keys that have a status; with `skips` only those nobody else holds.

        With 0 keys it selects nothing, but wants the same rights.
        """
        return self._once(
            ("locked", count, skips),
            lambda: self._page([self._is(), self._any_of(count)], ()).with_for_update(skip_locked=skips),
        )

    def change(self, count: int, names: Sequence[str]) -> Statement:
        """Set columns (parameters `c0`, `c1` …) in the rows with one of `count` keys that have a status; 0 as in `locked`."""
        columns = [self.shape.table.columns[name] for name in names]

        def build() -> Any:
            # Lightweight columns, so that no type of theirs adds a cast.
            given: list[sa.ColumnClause[Any]] = [sa.column(sa.sql.quoted_name(column.name, quote=True)) for column in columns]
            table = self.shape.table
            schema = sa.sql.quoted_name(table.schema, quote=True) if table.schema else None
            target = sa.table(sa.sql.quoted_name(table.name, quote=True), *given, schema=schema)
            values = {each: self.shape.bind(column, f"c{i}") for i, (each, column) in enumerate(zip(given, columns, strict=True))}
            return sa.update(target).where(self._any_of(count), self._is()).values(cast("Any", values))

        return self._once(("change", count, *names), build)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _once(self, name: object, build: Callable[[], Any]) -> Statement:
        if name not in self.ready:
            self.ready[name] = prepare(build(), self.shape.dialect)
        return self.ready[name]

    def _is(self) -> Expression:
        return column_expression(self.status) == self.shape.bind(self.status, "s")

    def _any_of(self, count: int) -> Expression:
        if not count:
            return sa.literal_column("1") == sa.literal_column("0")
        first, *others = self.shape.key
        # A list of values is what every planner finds in an index; it seldom does so for alternatives.
        listed = column_expression(first).in_([self.shape.bind(first, f"k{n}_0") for n in range(count)])
        if not others:
            return listed
        return sa.and_(listed, sa.or_(*(self._is_key(n) for n in range(count))))

    def _is_key(self, number: int) -> Expression:
        return sa.and_(*(column_expression(c) == self.shape.bind(c, f"k{number}_{i}") for i, c in enumerate(self.shape.key)))
