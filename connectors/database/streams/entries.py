"""Entries of a change log → changes of a flow.

Every log gives entries in the same form: number, transaction, time, operation (I, U, D, T; R: a row may have been replaced),
the row after the change as the
statements of the flow select it, whether it fulfils the condition of the flow, the key before the change and whether the row
fulfilled the condition then. An update that gives a row another key is a delete and an upsert; a row that stops to fulfil the
condition is a delete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from agent.model import Op, Value
from connectors.database.dialects.base import Row
from connectors.database.streams.stream import Changes
from connectors.database.tables.pages import Shape

HEAD: Final = 4
"""Columns of an entry before those of the row: number, transaction, time, operation."""

Show = Callable[[Any], sa.ColumnElement[Any]]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a log holds which column of the table: after a change, and before it."""

    new: Mapping[str, str]
    old: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Made:
    """Changes, without a mark, and how many of the entries they are made of."""

    changes: Changes
    read: int


@dataclass(slots=True)
class _Making:
    rows: list[Row] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    times: list[str | None] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, op: Op, row: Row, token: str, time: str | None) -> None:
        self.rows.append(row)
        self.ops.append(op)
        self.tokens.append(token)
        self.times.append(time)

    def end(self) -> None:
        """Note that the row added last is the last of its transaction, or of its part here."""
        if self.rows and self.ends[-1:] != [len(self.rows) - 1]:
            self.ends.append(len(self.rows) - 1)

    def made(self, read: int) -> Made:
        return Made(Changes(self.rows, None, ops=self.ops, tokens=self.tokens, times=self.times, ends=self.ends), read)


class Entries:
    """Turns the entries of one flow into its changes."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._width = len(shape.columns)
        self._key = [shape.index[column.name] for column in shape.key]

    def select(self, which: str, from_: str, show: Show | None = None, *further: str) -> str:
        """Return the subselect of the row after (`new`) or the key before (`old`) a change, from what stands for that row."""
        show = show or self._shape.show
        columns = self._shape.columns if which == "new" else self._shape.key
        shown = [f"{self._compile(show(column))} AS {which[0]}{index}" for index, column in enumerate(columns)]
        condition = f"({self._where})" if self._shape.where is not None else "true"
        alias = self._compile(sa.sql.quoted_name(self._shape.table.name, quote=True))
        inside = f"CASE WHEN {condition} THEN 1 ELSE 0 END AS {which[0]}_in"
        return f"SELECT {', '.join([*shown, inside, *further])} FROM {from_} AS {alias}"  # noqa: S608 - names of the catalogue

    def changes(self, entries: Sequence[Row], limit: int) -> Made:
        """Return changes of as many entries as make about `limit` rows, all of them as a rule.

        A truncation ends what is read before it, and stands at the beginning of what is read then.

        Wherever the transaction changes from one entry to the next, one ends. That is its end only if the log is read transaction
        by transaction; in the order of the numbers transactions that ran side by side lie among each other, and what is kept
        together is an unbroken run of entries of one. Whether the last entry is an end cannot be seen here. A log that does not
        tell transactions has no ends.
        """
        making = _Making()
        if entries and entries[0][3] == "T":
            return Made(Changes((), None, emptied=True), 1)
        doubts = next((number for number, entry in enumerate(entries) if entry[3] != "R"), len(entries))
        if doubts:
            return Made(Changes((), None, doubt=True), doubts)
        for number, entry in enumerate(entries):
            if number and entry[1] != entries[number - 1][1]:
                making.end()
            if entry[3] in ("T", "R") or (len(making.rows) >= limit and number):
                return making.made(number)
            self._add(making, entry)
        return making.made(len(entries))

    def of_columns(self, log: str, names: Columns, chosen: str, time: str, show: Show | None = None) -> str:
        """Return the statement that reads entries from a log with a column for each column of the table.

        `log` is its name and `chosen` what follows it, both as they stand in statements; `time` is the time of an entry.
        """
        quote = self._shape.dialect.identifier_preparer.quote_identifier
        seq = quote("huitong:seq")

        def part(which: str, held: Mapping[str, str]) -> str:
            renamed = ", ".join(f"{quote(column)} AS {quote(name)}" for name, column in held.items())
            inside = f"(SELECT seq AS {seq}, {renamed} FROM {log} {chosen})"  # noqa: S608 - names of the catalogue
            return self.select(which, inside, show, f"{seq} AS {which[0]}_seq")

        new, old = part("new", names.new), part("old", names.old)
        shown_new = ", ".join([f"n.n{index}" for index in range(self._width)] + ["n.n_in"])
        shown_old = ", ".join([f"o.o{index}" for index in range(len(self._key))] + ["o.o_in"])
        return (
            f"SELECT e.seq, NULL, {time}, e.op, {shown_new}, {shown_old} FROM (SELECT * FROM {log} {chosen}) AS e "  # noqa: S608
            f"JOIN ({new}) AS n ON n.n_seq = e.seq JOIN ({old}) AS o ON o.o_seq = e.seq ORDER BY e.seq"
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _add(self, making: _Making, entry: Row) -> None:
        number, transaction, time, op = entry[:HEAD]
        new = entry[HEAD : HEAD + self._width]
        fits = op != "D" and bool(int(entry[HEAD + self._width] or 0))
        old = entry[HEAD + self._width + 1 : -1]
        fitted = op != "I" and bool(int(entry[-1] or 0))
        token = f"{transaction!s}:{number!s}" if transaction is not None else str(number)
        at = time if isinstance(time, str) else None
        if fitted and (not fits or old != tuple(new[index] for index in self._key)):
            making.add(Op.DELETE, self._of_key(old), token, at)
        if fits:
            making.add(Op.UPSERT, new, token, at)

    def _of_key(self, key: Row) -> Row:
        row: list[Value] = [None] * self._width
        for index, value in zip(self._key, key, strict=True):
            row[index] = value
        return tuple(row)

    @property
    def _where(self) -> str:
        # As part of a statement with parameters: a percent sign would begin one.
        where = self._shape.where or ""
        return where.replace("%", "%%") if self._shape.dialect.paramstyle in ("format", "pyformat") else where

    def _compile(self, expression: Any) -> str:
        if isinstance(expression, str):
            return self._shape.dialect.identifier_preparer.quote(expression)
        return str(expression.compile(dialect=self._shape.dialect, compile_kwargs={"literal_binds": True}))
