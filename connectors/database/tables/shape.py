"""What a flow reads of a table, checked against the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.errors import SourceRefused
from agent.i18n import N_
from connectors.database.dialects.base import Database, Session
from connectors.database.settings import DatabaseFrom
from connectors.database.tables.pages import Shape
from connectors.database.tables.result import inspect_query
from connectors.database.tables.table import Column, Table, inspect_columns, inspect_table


def shape_of(database: Database, session: Session, settings: DatabaseFrom, wanted: Sequence[str]) -> Shape:
    """Return what is read: the wanted columns (or all), those of the settings, the key and the cursor, each once.

    Raises SourceRefused when the table or a column is not there, or the database does not take the query.
    """
    with database.translated():
        table = _table_of(database, session, settings)
    cursor = [settings.cursor] if settings.cursor is not None else []
    names = dict.fromkeys([*(settings.columns or wanted or table.columns), *wanted, *settings.key, *cursor])
    missing = [name for name in names if name not in table.columns]
    if missing:
        of_query = table.query is not None
        raise SourceRefused(
            N_("the result of the query has no column {column}") if of_query else N_("table {table} has no column {column}"),
            hint=N_("names are taken as they stand in the source, case included"),
            table=table.name if of_query else settings.table,
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


def columns_of(database: Database, session: Session, settings: DatabaseFrom) -> Mapping[str, Column]:
    """Return all columns there are now, whatever the session has been told before. Raises as `shape_of` does."""
    with database.translated():
        session.inspector.clear_cache()
        if settings.query is None and settings.table is not None:
            return inspect_columns(session.inspector, settings.table, database.kind_of)
        return _table_of(database, session, settings).columns
    raise AssertionError("unreachable")  # mypy: the context never swallows


def _table_of(database: Database, session: Session, settings: DatabaseFrom) -> Table:
    if settings.query is not None:
        return inspect_query(database, session, settings.entity or "query", settings.query)
    assert settings.table is not None, "settings allow nothing else"
    return inspect_table(session.inspector, settings.table, database.kind_of)
