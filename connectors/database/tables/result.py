"""What a query gives, as a table: its columns are asked of the database, and no row of it is read for that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import types

from agent.errors import SourceRefused
from agent.i18n import N_
from connectors.database.query import begins_with_with, stands_in
from connectors.database.tables.pages import Statement, prepare
from connectors.database.tables.table import Column, Table, from_expression

if TYPE_CHECKING:
    from connectors.database.dialects.base import Database, Session

ResultType = tuple[str, types.TypeEngine[Any]]
"""Name and type of a column of a result."""

_NO_WITH_INSIDE: Final = ("mssql",)
"""Databases that take WITH only at the very beginning of a statement."""

_UNNAMED: Final = ("", "?column?")


def inspect_query(database: Database, session: Session, name: str, query: str) -> Table:
    """Return what a query gives as a table with a name for people. Raises SourceRefused when it cannot be read from."""
    if database.name in _NO_WITH_INSIDE and begins_with_with(query):
        raise SourceRefused(
            N_("{database} cannot read from a query that begins with WITH"),
            hint=N_("write its parts where they are used, in brackets, or let the DBA make a view of it"),
            database=database.name,
        )
    table = Table(None, name, {}, (), (), (), "", query)
    try:
        found = database.result_types(session, table)
    except SourceRefused as error:
        raise SourceRefused(
            N_("the database does not take the query: {why}"),
            hint=N_("run it in a client of the database; every column of its result needs a name of its own (AS)"),
            why=str(error.details.get("why", error)),
        ) from error
    _require_names(query, [column for column, _ in found])
    columns = {column: Column(column, database.kind_of(type_), type_, True, "") for column, type_ in found}
    return Table(None, name, columns, (), (), (), "", query)


def no_rows(table: Table, dialect: sa.engine.Dialect) -> Statement:
    """Return the statement that gives all columns of a query and never a row."""
    everything: sa.Select[Any] = sa.select(sa.text("*")).select_from(from_expression(table))
    return prepare(everything.where(sa.literal_column("1 = 0")), dialect)


def _require_names(query: str, names: Sequence[str]) -> None:
    # SQLite gives a second column of the same name a number: `id:1`.
    twice = [name for i, name in enumerate(names) if re.sub(r":\d+$", "", name) in names[:i]]
    if twice:
        raise SourceRefused(
            N_("the result of the query has several columns named {column}"),
            hint=N_("give each a name of its own (AS)"),
            column=", ".join(dict.fromkeys(re.sub(r":\d+$", "", name) for name in twice)),
        )
    unnamed = [name for name in names if name in _UNNAMED or stands_in(query, name)]
    if unnamed:
        raise SourceRefused(
            N_("a computed column of the query has no name: {column}"),
            hint=N_("give each a name of its own (AS)"),
            column=", ".join(unnamed),
        )
