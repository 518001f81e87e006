"""SQL Server: what changed by a rowversion column. The rule is Microsoft's and was not run against a server.

A rowversion grows with every change, but is given out before the commit: MIN_ACTIVE_ROWVERSION() is the least that an open
transaction of the database may still hold, and below it everything is committed. A long transaction anywhere in the database
therefore delays the stream, and loses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mssql

from agent.errors import SourceRefused
from agent.i18n import N_
from connectors.database.dialects.base import Row, Session
from connectors.database.streams.about import About
from connectors.database.streams.stream import Changes, Mark, Stream
from connectors.database.tables.pages import Shape, Statement, prepare
from connectors.database.tables.table import Column, column_expression, table_expression

_ACTIVE: Final = "SELECT CONVERT(bigint, MIN_ACTIVE_ROWVERSION())"


class RowVersion:
    """Implements Stream by a rowversion column, the cursor of the flow. A mark is the greatest value that was read.

    No change is missed, but deletes are, and of several changes of a row only the last is seen.
    """

    exact = False

    def __init__(self, session: Session, shape: Shape) -> None:
        assert shape.cursor is not None, "a rowversion is the cursor of its flow"
        self._session = session
        self._index = shape.index[shape.cursor.name]
        self._statement = self._prepare(shape, shape.cursor)

    def begin(self) -> Mark:
        """See Stream."""
        return int(self._session.value(_ACTIVE)) - 1

    def head(self) -> Mark:
        """See Stream."""
        return None

    def read(self, after: Mark, limit: int) -> Changes:
        """See Stream. Nothing is read twice: a change gives its row a new rowversion."""
        until = int(self._session.value(_ACTIVE))
        rows = self._session.page(self._statement, limit=limit, after=int(after), until=until)
        versions: list[Any] = [row[self._index] for row in rows]
        more = len(rows) == limit
        mark = int(versions[-1]) if more else max(until - 1, int(after))
        return Changes(rows, mark, more=more, tokens=[str(version) for version in versions])

    def covers(self, mark: Mark, head: Mark) -> bool:  # noqa: ARG002 - what was read is the state, whenever it was read
        """See Stream."""
        return True

    def commit(self, mark: Mark) -> None:
        """See Stream: reading leaves no trace in a table."""

    def close(self) -> None:
        """See Stream."""

    def settled(self, mark: Mark, rows: Sequence[Row]) -> Sequence[bool]:
        """Tell of which rows this version will not be read any more: what a walk finds of them was missed."""
        versions: list[Any] = [row[self._index] for row in rows]
        return [version is not None and version <= mark for version in versions]

    # -- inside ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _prepare(shape: Shape, cursor: Column) -> Statement:
        expression = column_expression(cursor)
        where: list[sa.ColumnElement[Any]] = [] if shape.where is None else [sa.literal_column(f"({shape.where})")]
        chosen = (
            sa.select(*(shape.show(column) for column in shape.columns))
            .select_from(table_expression(shape.table))
            .where(expression > shape.bind(cursor, "after"), expression < shape.bind(cursor, "until"), *where)
            .order_by(expression)
            .limit(sa.bindparam("limit", type_=sa.Integer()))
        )
        return prepare(chosen, shape.dialect)


def obstacle(about: About) -> str:
    """See choose.Way."""
    cursor = about.reader.pages.shape.cursor
    if cursor is None:
        return N_("no cursor is set")
    return "" if isinstance(cursor.type, mssql.TIMESTAMP) else N_("the cursor is not a rowversion column")


def stream_of(about: About) -> Stream:
    """See choose.Way."""
    missing = obstacle(about)
    if missing:
        raise SourceRefused(missing, hint=N_("name a rowversion column as the cursor, or choose another mode"))
    return RowVersion(about.reader.session, about.reader.pages.shape)
