"""What a table is made of, read from the catalogue of its database.

Only names found there ever become part of a statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc, types
from sqlalchemy.engine.reflection import Inspector

from agent.errors import SourceRefused
from agent.i18n import N_


class ValueKind(StrEnum):
    """How the values of a column become canonical. What is not named here comes as the text the database gives it."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    BOOLEAN = "boolean"
    BINARY = "binary"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"  # without a zone
    INSTANT = "instant"  # with one
    CHAR = "char"  # padded by the database
    TEXT = "text"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table or view."""

    name: str
    kind: ValueKind
    type: types.TypeEngine[Any]
    nullable: bool
    comment: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view. `unique` are the sets of columns that the database keeps unique, `indexed` the leading ones of indexes.

    With `query` it is the result of that query: there is no such table, and `name` only tells people what is meant.
    """

    schema: str | None
    name: str
    columns: Mapping[str, Column]
    primary_key: tuple[str, ...]
    unique: tuple[frozenset[str], ...]
    indexed: tuple[tuple[str, ...], ...]
    comment: str
    query: str | None = None

    def is_unique(self, key: Sequence[str]) -> bool:
        """Tell whether the database itself guarantees that no two rows share these columns."""
        return any(columns <= set(key) for columns in self.unique)

    def is_indexed(self, column: str) -> bool:
        """Tell whether an index, or the primary key, begins with this column."""
        return any(columns[0] == column for columns in self.indexed)


KindOf = Callable[[types.TypeEngine[Any]], ValueKind]
"""Says what kind of values a type of one database has."""


def split_name(name: str) -> tuple[str | None, str]:
    """Return (schema, table) of a configured name; `schema` None means the default one."""
    schema, _, table = name.rpartition(".")
    return schema or None, table


def inspect_columns(inspector: Inspector, name: str, kind_of: KindOf) -> Mapping[str, Column]:
    """Read the columns of a table or view, and nothing else of it. Raises as `inspect_table` does."""
    return {str(found["name"]): _column(found, (), kind_of) for found in _found_columns(inspector, name)}


def _found_columns(inspector: Inspector, name: str) -> Sequence[Mapping[str, Any]]:
    schema, table = split_name(name)
    try:
        return inspector.get_columns(table, schema=schema)
    except exc.NoSuchTableError as error:
        raise SourceRefused(
            N_("there is no table {table}, or the account may not see it"),
            hint=N_("check its name (schema.table, case included) and the grants: huitong doctor"),
            table=name,
        ) from error


def inspect_table(inspector: Inspector, name: str, kind_of: KindOf) -> Table:
    """Read one table or view from the catalogue. Raises SourceRefused when it is not there or not visible to the account."""
    schema, table = split_name(name)
    columns = _found_columns(inspector, name)
    primary = tuple(inspector.get_pk_constraint(table, schema=schema).get("constrained_columns") or ())
    indexes = inspector.get_indexes(table, schema=schema)
    return Table(
        schema=schema,
        name=table,
        columns={str(c["name"]): _column(c, primary, kind_of) for c in columns},
        primary_key=primary,
        unique=_unique(inspector, table, schema, primary, indexes),
        indexed=_indexed(primary, indexes),
        comment=_comment(inspector, table, schema),
    )


def _column(found: Mapping[str, Any], primary: tuple[str, ...], kind_of: KindOf) -> Column:
    name = str(found["name"])
    return Column(
        name=name,
        kind=kind_of(found["type"]),
        type=found["type"],
        # SQLite lets NULL into a primary key that is not an INTEGER; the others say NOT NULL themselves.
        nullable=bool(found.get("nullable", True)) and not (primary == (name,) and isinstance(found["type"], types.Integer)),
        comment=found.get("comment") or "",
    )


_KINDS: tuple[tuple[type[types.TypeEngine[Any]], ValueKind], ...] = (
    (types.Boolean, ValueKind.BOOLEAN),
    (types.Enum, ValueKind.TEXT),
    (types.Float, ValueKind.FLOAT),
    (types.Numeric, ValueKind.DECIMAL),
    (types.Integer, ValueKind.INTEGER),
    (types.DateTime, ValueKind.TIMESTAMP),
    (types.Date, ValueKind.DATE),
    (types.Time, ValueKind.TIME),
    (types.LargeBinary, ValueKind.BINARY),
    (types.BINARY, ValueKind.BINARY),
    (types.VARBINARY, ValueKind.BINARY),
    (types.CHAR, ValueKind.CHAR),
    (types.String, ValueKind.TEXT),
)


def standard_kind(type_: types.TypeEngine[Any]) -> ValueKind:
    """Return the kind of values of an SQL type, where the database has no opinion of its own."""
    kind = next((kind for base, kind in _KINDS if isinstance(type_, base)), ValueKind.OTHER)
    if kind is ValueKind.TIMESTAMP and getattr(type_, "timezone", False):
        return ValueKind.INSTANT
    return kind


def _unique(
    inspector: Inspector, table: str, schema: str | None, primary: tuple[str, ...], indexes: Sequence[Mapping[str, Any]]
) -> tuple[frozenset[str], ...]:
    constraints = _optional(inspector.get_unique_constraints, table, schema)
    sets = [primary, *(c["column_names"] for c in constraints)]
    # A partial index keeps only some rows unique, and an index on an expression names no column (None).
    sets += [i["column_names"] for i in indexes if i.get("unique") and not _is_partial(i)]
    return tuple(frozenset(columns) for columns in sets if columns and None not in columns)


def _is_partial(index: Mapping[str, Any]) -> bool:
    return any(name.endswith("_where") for name, value in index.get("dialect_options", {}).items() if value)


def _indexed(primary: tuple[str, ...], indexes: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    lists = [primary, *(tuple(i["column_names"]) for i in indexes if not _is_partial(i))]
    return tuple(columns for columns in lists if columns and columns[0] is not None)


def _comment(inspector: Inspector, table: str, schema: str | None) -> str:
    found = _optional(inspector.get_table_comment, table, schema)
    return (found.get("text") or "") if isinstance(found, Mapping) else ""


def _optional(ask: Any, table: str, schema: str | None) -> Any:
    """Ask for what not every database, and no view, has."""
    try:
        return ask(table, schema=schema)
    except (NotImplementedError, exc.NoSuchTableError):
        return ()


def column_expression(column: Column) -> sa.ColumnClause[Any]:
    """Return the column as part of a statement: always quoted, without a type that would add casts."""
    return sa.column(sa.sql.quoted_name(column.name, quote=True))


def table_expression(table: Table) -> sa.TableClause:
    """Return the table as part of a statement, always quoted."""
    schema = sa.sql.quoted_name(table.schema, quote=True) if table.schema else None
    return sa.table(sa.sql.quoted_name(table.name, quote=True), schema=schema)


def from_expression(table: Table) -> sa.FromClause:
    """Return what rows are selected from: the table, or the query as a table of its own, letter by letter as it was written."""
    if table.query is None:
        return table_expression(table)
    # Escaped, no colon begins a parameter; lines of its own, so that a comment at its end ends there.
    text = sa.text("\n" + table.query.replace(":", "\\:") + "\n")
    return text.columns().subquery(sa.sql.quoted_name("q", quote=True))
