"""The statements that read pages of a table, built once per flow from names of its catalogue; values are always bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import ColumnElement

from agent.model import Value
from connectors.database.tables.table import Column, Table, column_expression, from_expression

Expression = ColumnElement[Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement in the SQL of its database, ready for the driver."""

    sql: str
    names: tuple[str, ...] | None  # order of the parameters; None when the driver takes them by name
    constants: Mapping[str, Any]  # parameters that the dialect added

    def parameters(self, values: Mapping[str, Value]) -> Any:
        """Return the values as the driver wants them."""
        given = {**self.constants, **values}
        return given if self.names is None else tuple(given[name] for name in self.names)


def prepare(statement: sa.Select[Any], dialect: Dialect) -> Statement:
    """Compile a statement for a driver."""
    compiled = statement.compile(dialect=dialect)
    positions = compiled.positiontup if compiled.positional else None
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    return Statement(str(compiled), None if positions is None else tuple(positions), constants)


@dataclass(frozen=True)
class Shape:
    """What a flow reads of a table, and in which terms of the database.

    `show` gives the canonical form of a column, `bind` the placeholder a value of it is compared through. With `row_values`
    the database uses an index for `(a, b) > (x, y)`; otherwise the comparison is spelt out.
    """

    table: Table
    columns: tuple[Column, ...]
    key: tuple[Column, ...]
    cursor: Column | None
    where: str | None
    dialect: Dialect
    row_values: bool
    show: Callable[[Column], Expression]
    bind: Callable[[Column, str], Expression]
    index: Mapping[str, int]  # where a column stands in a row


P = ParamSpec("P")


def _prepared(build: Callable[Concatenate[Pages, P], sa.Select[Any]]) -> Callable[Concatenate[Pages, P], Statement]:
    """Turn a method that builds a statement into one that returns it ready for the driver: built once for the same arguments."""

    @wraps(build)
    def statement(pages: Pages, /, *args: P.args, **kwargs: P.kwargs) -> Statement:
        name = (build.__name__, args, *kwargs.items())
        if name not in pages.ready:
            pages.ready[name] = prepare(build(pages, *args, **kwargs), pages.shape.dialect)
        return pages.ready[name]

    return statement


@dataclass
class Pages:
    """Statements of one flow. Parameters: `limit`; `low`; `k0`, `k1` … for the key; `c` for the cursor."""

    shape: Shape
    ready: dict[object, Statement] = field(default_factory=dict)

    @_prepared
    def load(self, *, resumed: bool, bounded: bool = False) -> sa.Select[Any]:
        """Select rows by key, from the beginning or after a key, to the end or up to a key (`u0`, `u1` …)."""
        return self._page(self._span(resumed=resumed, bounded=bounded), self.shape.key)

    @_prepared
    def digest(self, expression: Expression, *, resumed: bool, bounded: bool) -> sa.Select[Any]:
        """Select the number of the rows that `load` would give without a limit, and what an aggregate makes of them."""
        columns: list[Expression] = [sa.func.count(), expression]
        chosen = sa.select(*columns).select_from(self.from_table)
        return chosen.where(*self._span(resumed=resumed, bounded=bounded), *self._filter())

    @_prepared
    def count(self) -> sa.Select[Any]:
        """Select the number of all rows."""
        counted: sa.ColumnElement[Any] = sa.func.count()
        chosen: sa.Select[Any] = sa.select(counted).select_from(self.from_table)
        return chosen.where(*self._filter())

    @_prepared
    def keyless(self) -> sa.Select[Any]:
        """Select rows with NULL in their key: no order reaches them."""
        return self._page([sa.or_(*(column_expression(c).is_(None) for c in self.shape.key))], ())

    @_prepared
    def poll(self, *, low: bool, resumed: bool, inclusive: bool) -> sa.Select[Any]:
        """Select rows by (cursor, key), above (inclusive: from) `low`, or after a row; never those without a cursor value."""
        cursor = self.cursor
        order = (cursor, *self.shape.key)
        expression = column_expression(cursor)
        if resumed:
            condition: Expression = self._beyond(order, ("c", *self._key_names()))
        elif low:
            bound = self.shape.bind(cursor, "low")
            condition = expression >= bound if inclusive else expression > bound
        else:
            condition = expression.is_not(None)
        return self._page([condition, *self._keys_filled()], order)

    @_prepared
    def matching(self, count: int) -> sa.Select[Any]:
        """Select the rows with one of `count` keys: parameters `k0_0`, `k0_1` … for the first, and so on."""
        keys = [
            sa.and_(*(column_expression(c) == self.shape.bind(c, f"k{n}_{i}") for i, c in enumerate(self.shape.key)))
            for n in range(count)
        ]
        return self._page([sa.or_(*keys)], self.shape.key)

    @_prepared
    def greatest_cursor(self, rank: int, *, until: bool = False) -> sa.Select[Any]:
        """Select the cursor value of the row of this rank, counted from the greatest, which is 0; or that up to `until`."""
        cursor = column_expression(self.cursor)
        condition = cursor <= self.shape.bind(self.cursor, "until") if until else cursor.is_not(None)
        chosen = sa.select(self.shape.show(self.cursor)).select_from(self.from_table).where(condition, *self._filter())
        return chosen.order_by(cursor.desc()).limit(_number(1)).offset(_number(rank))

    @_prepared
    def any_null(self, columns: tuple[Column, ...]) -> sa.Select[Any]:
        """Select one row if some row has NULL in one of the columns."""
        condition = sa.or_(*(column_expression(c).is_(None) for c in columns))
        chosen: sa.Select[Any] = sa.select(_number(1)).select_from(self.from_table).where(condition, *self._filter())
        return chosen.limit(_number(1))

    @property
    def cursor(self) -> Column:
        """The cursor column; only for flows that have one."""
        assert self.shape.cursor is not None
        return self.shape.cursor

    @property
    def from_table(self) -> sa.FromClause:
        """The table, or the query in its place, as part of a statement."""
        return from_expression(self.shape.table)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _key_names(self, letter: str = "k") -> tuple[str, ...]:
        return tuple(f"{letter}{index}" for index in range(len(self.shape.key)))

    def _span(self, *, resumed: bool, bounded: bool) -> list[Expression]:
        conditions = [self._beyond(self.shape.key, self._key_names())] if resumed else []
        if bounded:
            conditions.append(self._within(self.shape.key, self._key_names("u")))
        return [*conditions, *self._keys_filled()]  # `keyless` selects the others

    def _keys_filled(self) -> list[Expression]:
        return [column_expression(column).is_not(None) for column in self.shape.key if column.nullable]

    def _filter(self) -> list[Expression]:
        if self.shape.where is None:
            return []
        return [sa.literal_column(f"({self.shape.where})")]  # what the operator wrote; its percent signs are escaped

    def _beyond(self, columns: Sequence[Column], names: Sequence[str]) -> Expression:
        """Return the condition that a row comes after the one with these values, in the order of these columns."""
        expressions = [column_expression(c) for c in columns]
        bound = [self.shape.bind(c, name) for c, name in zip(columns, names, strict=True)]
        if len(columns) == 1:
            return expressions[0] > bound[0]
        if self.shape.row_values:
            return sa.tuple_(*expressions) > sa.tuple_(*bound)
        beyond: Expression = expressions[-1] > bound[-1]
        for expression, value in zip(expressions[-2::-1], bound[-2::-1], strict=True):
            beyond = sa.or_(expression > value, sa.and_(expression == value, beyond))
        return sa.and_(expressions[0] >= bound[0], beyond)  # the first part is what an index on one column can use

    def _within(self, columns: Sequence[Column], names: Sequence[str]) -> Expression:
        """Return the condition that a row comes before the one with these values, or is that row."""
        expressions = [column_expression(c) for c in columns]
        bound = [self.shape.bind(c, name) for c, name in zip(columns, names, strict=True)]
        if len(columns) == 1:
            return expressions[0] <= bound[0]
        if self.shape.row_values:
            return sa.tuple_(*expressions) <= sa.tuple_(*bound)
        within: Expression = expressions[-1] <= bound[-1]
        for expression, value in zip(expressions[-2::-1], bound[-2::-1], strict=True):
            within = sa.or_(expression < value, sa.and_(expression == value, within))
        return sa.and_(expressions[0] <= bound[0], within)

    def _page(self, conditions: Sequence[Expression], order: Sequence[Column]) -> sa.Select[Any]:
        shown = [self.shape.show(column) for column in self.shape.columns]
        chosen = sa.select(*shown).select_from(self.from_table).where(*conditions, *self._filter())
        chosen = chosen.order_by(*(column_expression(c) for c in order))
        return chosen.limit(sa.bindparam("limit", type_=sa.Integer()))


def _number(value: int) -> sa.ColumnClause[Any]:
    return sa.literal_column(str(value))
