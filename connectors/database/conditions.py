"""What the order of a walk asks of rows, in the SQL of a database."""

from __future__ import annotations

from agent.errors import SourceRefused
from agent.i18n import N_
from agent.model import WalkOrder
from connectors.database.changelog.names import quote_text
from connectors.database.tables.pages import Shape


def condition_of(order: WalkOrder, shape: Shape, entity: str) -> str:
    """Return the condition, empty for all rows. Raises SourceRefused."""
    asked = [(">=", order.since, shape.cursor), ("<=", order.until, shape.cursor)]
    asked += [(">=", order.first, shape.key[0]), ("<=", order.last, shape.key[0])]
    conditions = [f"({order.condition})"] if order.condition else []
    for comparison, value, column in asked:
        if value and column is None:
            raise SourceRefused(
                N_("table {table} has no cursor, by which a time could be chosen"),
                hint=N_("choose rows by key or by a condition"),
                table=entity,
            )
        if value and column is not None:
            name = shape.dialect.identifier_preparer.quote_identifier(column.name)
            conditions.append(f"{name} {comparison} {quote_text(value)}")
    return " AND ".join(conditions)
