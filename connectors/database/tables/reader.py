"""Reads pages of one table through one session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.errors import SourceRefused
from agent.i18n import N_
from agent.mapping import keys as canonical
from agent.model import Value
from connectors.database.dialects.base import Database, Row, Session
from connectors.database.tables.pages import Pages, Statement
from connectors.database.tables.values import Place

_KEYS_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class Page:
    """Rows as their statement selects them. `suspicious`: some hold text that is not valid."""

    rows: Sequence[Row]
    suspicious: bool = False


class TableReader:
    """Belongs to the thread that opened the session."""

    def __init__(self, database: Database, session: Session, pages: Pages) -> None:
        self.database = database
        self.session = session
        self.pages = pages
        self._checksum = database.digest(pages.shape.columns)

    def page(self, statement: Statement, limit: int, **values: Value) -> Page:
        """Return the rows of a statement. Raises SourceRefused when two of them share a key."""
        rows = self.session.page(statement, limit=limit, **values)
        shape = self.pages.shape
        if not shape.table.is_unique(self._key) and len({self.key_of(row) for row in rows}) < len(rows):
            raise SourceRefused(
                N_("the key ({key}) is not unique: two rows of {table} share it"),
                hint=N_("name the columns that tell any two rows apart as the key of the flow"),
                key=", ".join(self._key),
                table=self._table,
            )
        return Page(rows, self.session.suspicious)

    def by_key(self, after: Place | None, limit: int, upto: Place | None = None) -> Page:
        """Return rows after a key, from the beginning when None; to the end, or up to a key."""
        statement = self.pages.load(resumed=after is not None, bounded=upto is not None)
        bounds = {**self.bound(after or ()), **self.bound(upto or (), "u")}
        if self.pages.shape.table.is_unique(self._key):
            return self.page(statement, limit, **bounds)
        # Of two rows with one key, the second would begin the next page, which only reads beyond that key.
        page = self.page(statement, limit + 1, **bounds)
        return Page(page.rows[:limit], page.suspicious)

    def keyless(self, limit: int) -> Page:
        """Return the rows with NULL in their key: no order reaches them, and the host quarantines them so that they are seen."""
        rows = self.session.page(self.pages.keyless(), limit=limit)
        if len(rows) == limit:
            raise SourceRefused(
                N_("{count} or more rows of {table} have no value in the key ({key})"),
                hint=N_("name columns that are always filled as the key, or leave these rows out with a condition (where)"),
                count=limit,
                table=self._table,
                key=", ".join(self._key),
            )
        return Page(rows, self.session.suspicious)

    def with_keys(self, keys: Sequence[str]) -> Page:
        """Return the rows with these keys (canonical key text) as they are now."""
        columns = self.pages.shape.key
        rows: list[Row] = []
        suspicious = False
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            values = {
                f"k{n}_{i}": self.database.comparable(column, value)
                for n, key in enumerate(some)
                for i, (column, value) in enumerate(zip(columns, canonical.values(key, len(columns)), strict=True))
            }
            page = self.page(self.pages.matching(len(some)), len(some) + 1, **values)
            rows += page.rows
            suspicious = suspicious or page.suspicious
        return Page(rows, suspicious)

    def digest(self, after: Place | None, upto: Place | None) -> str | None:
        """Return what tells two states of a part apart: row count and checksum; None where the database has none."""
        if self._checksum is None:
            return None
        statement = self.pages.digest(self._checksum, resumed=after is not None, bounded=upto is not None)
        found: Any = self.session.page(statement, **self.bound(after or ()), **self.bound(upto or (), "u"))[0]
        return f"{found[0]}:{found[1]}"

    def count(self) -> int:
        """Return how many rows there are. Reads all of them."""
        counted: Any = self.session.page(self.pages.count())[0][0]
        return int(counted)

    def key_of(self, row: Row) -> Place:
        """Return the key of a row."""
        index = self.pages.shape.index
        return tuple([row[index[name]] for name in self._key])

    @staticmethod
    def bound(place: Place, letter: str = "k") -> dict[str, Value]:
        """Return the parameters of a place."""
        return {f"{letter}{index}": value for index, value in enumerate(place)}

    @property
    def _key(self) -> Sequence[str]:
        return [column.name for column in self.pages.shape.key]

    @property
    def _table(self) -> str:
        table = self.pages.shape.table
        return f"{table.schema}.{table.name}" if table.schema else table.name
