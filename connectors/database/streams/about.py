"""What a mode needs to know to make the stream of a flow."""

from __future__ import annotations

from dataclasses import dataclass

from agent.ports import Clock
from connectors.database.settings import DatabaseFrom
from connectors.database.tables.reader import TableReader


@dataclass(frozen=True, slots=True)
class About:
    """A flow, its settings, and its table, open."""

    flow: str
    settings: DatabaseFrom
    reader: TableReader
    clock: Clock

    @property
    def table(self) -> str:
        """The table, as it stands in statements."""
        return self.reader.database.quoted(self.reader.pages.shape.table)

    @property
    def logged(self) -> tuple[str, ...]:
        """The columns that a change log holds: those of the flow, and all when a condition may name any."""
        shape = self.reader.pages.shape
        return tuple(shape.table.columns) if shape.where is not None else tuple(shape.index)

    @property
    def logged_before(self) -> tuple[str, ...]:
        """The columns that it holds as they were before a change: the key, and all when there is a condition."""
        shape = self.reader.pages.shape
        return tuple(shape.table.columns) if shape.where is not None else tuple(column.name for column in shape.key)
