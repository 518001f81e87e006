"""What a flow reads of a table, checked against the catalogue."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import SourceRefused
from agent.i18n import N_
from connectors.database.dialects.base import Database, Session
from connectors.database.settings import DatabaseFrom
from connectors.database.tables.pages import Shape
from connectors.database.tables.table import inspect_table


def shape_of(database: Database, session: Session, settings: DatabaseFrom, wanted: Sequence[str]) -> Shape:
    """Return what is read: the wanted columns (or all), those of the settings, the key and the cursor, each once.

    Raises SourceRefused when the table or a column is not there.
    """
    with database.translated():
        table = inspect_table(session.inspector, settings.table, database.kind_of)
    cursor = [settings.cursor] if settings.cursor is not None else []
    names = dict.fromkeys([*(settings.columns or wanted or table.columns), *wanted, *settings.key, *cursor])
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise SourceRefused(
            N_("table {table} has no column {column}"),
            hint=N_("names are taken as they stand in the source, case included"),
            table=settings.table,
            column=", ".join(missing),
            lacking=missing,
            columns=list(table.columns),
        )
    columns = {name: table.columns[name] for name in names}
    return Shape(
        table=table,
        columns=tuple(columns.values()),
        key=tuple(columns[name] for name in settings.key),
        cursor=columns[settings.cursor] if settings.cursor is not None else None,
        where=settings.where,
        dialect=database.dialect,
        row_values=database.row_values,
        show=database.show,
        bind=database.bind,
        index={name: index for index, name in enumerate(columns)},
    )
