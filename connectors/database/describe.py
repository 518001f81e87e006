"""Reads what `huitong init --from-table` needs to propose a flow: tables, columns with their comments, a key, a cursor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connectors.database.dialects.base import Database
from connectors.database.tables.table import Column, Table, ValueKind, inspect_table

_CURSOR_NAMES: Final = re.compile(
    r"upd|modif|chang|last|gxsj|xgsj|bgsj|更新|修改|变更", re.IGNORECASE
)  # gengxin, xiugai, biangeng shijian
_CURSOR_KINDS: Final = (ValueKind.INSTANT, ValueKind.TIMESTAMP)


@dataclass(frozen=True, slots=True)
class ColumnDescription:
    """A column as its database describes it; `type` in the database's own words."""

    name: str
    type: str
    nullable: bool
    comment: str


@dataclass(frozen=True, slots=True)
class TableDescription:
    """A table and what a flow on it could use. `key` is empty and `cursor` None where nothing suggests itself."""

    name: str
    comment: str
    columns: tuple[ColumnDescription, ...]
    key: tuple[str, ...]
    cursor: str | None


def describe_table(database: Database, name: str) -> TableDescription:
    """Return the description of a table or view. Raises SourceUnavailable, SourceRefused."""
    session = database.connect()
    try:
        with database.translated():
            table = inspect_table(session.inspector, name, database.kind_of)
    finally:
        session.close()
    return TableDescription(
        name=name,
        comment=table.comment,
        columns=tuple(_describe(column, database) for column in table.columns.values()),
        key=_suggested_key(table),
        cursor=_suggested_cursor(table),
    )


def list_tables(database: Database) -> Sequence[str]:
    """Return the tables and views of the default schema, by name. Raises SourceUnavailable."""
    session = database.connect()
    try:
        with database.translated():
            return sorted([*session.inspector.get_table_names(), *session.inspector.get_view_names()])
    finally:
        session.close()
    raise AssertionError("unreachable")


def _describe(column: Column, database: Database) -> ColumnDescription:
    type_ = column.type.compile(dialect=database.dialect) if column.kind is not ValueKind.OTHER else str(column.type)
    return ColumnDescription(column.name, type_.lower(), column.nullable, column.comment)


def _suggested_key(table: Table) -> tuple[str, ...]:
    if table.primary_key:
        return table.primary_key
    filled = [c for c in table.unique if not any(table.columns[name].nullable for name in c if name in table.columns)]
    best = min(filled, key=len, default=frozenset[str]())
    return tuple(name for name in table.columns if name in best)


def _suggested_cursor(table: Table) -> str | None:
    """Return the column that looks most like a time of change: the right kind first, then the name, then an index."""
    times = [column for column in table.columns.values() if column.kind in _CURSOR_KINDS]
    named = [column for column in times if _CURSOR_NAMES.search(column.name) or _CURSOR_NAMES.search(column.comment)]
    best = sorted(named, key=lambda column: (not table.is_indexed(column.name), column.nullable))
    return best[0].name if best else None
