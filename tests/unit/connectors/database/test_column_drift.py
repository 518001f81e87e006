"""What differs between two states of the columns of a table, and which policy lets what pass."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import NullType

from connectors.database.drift import Difference, known_of
from connectors.database.settings import DatabaseFrom
from connectors.database.settings import Drift as Policy
from connectors.database.tables.table import Column, ValueKind

BEFORE = {"id": ("integer", "INTEGER"), "name": ("text", "VARCHAR(10)"), "fax": ("text", "TEXT")}


def test_columns_that_stay_are_no_difference() -> None:
    """Neither the same columns nor the same in another order are a change."""
    assert not Difference.between(BEFORE, dict(reversed(BEFORE.items())))


def test_every_kind_of_change_is_told_apart() -> None:
    """Added, removed, another kind of values, another type with values of the same kind: each is told with its types."""
    now = {"id": ("text", "VARCHAR(8)"), "name": ("text", "VARCHAR(20)"), "email": ("text", "TEXT")}
    difference = Difference.between(BEFORE, now)
    assert difference.added == {"email": "TEXT"}
    assert difference.removed == {"fax": "TEXT"}
    assert difference.changed == {"id": ("INTEGER", "VARCHAR(8)")}
    assert difference.retyped == {"name": ("VARCHAR(10)", "VARCHAR(20)")}
    assert str(difference) == "+ email TEXT, - fax TEXT, id: INTEGER → VARCHAR(8), name: VARCHAR(10) → VARCHAR(20)"


ADDED = {**BEFORE, "email": ("text", "TEXT")}
WIDENED = {**BEFORE, "name": ("text", "VARCHAR(20)")}
REMOVED = {name: column for name, column in BEFORE.items() if name != "fax"}
OTHER_KIND = {**BEFORE, "fax": ("integer", "INTEGER")}


@pytest.mark.parametrize(
    "policy, passing",
    [("accept-new", [ADDED, WIDENED]), ("freeze", []), ("quarantine", [ADDED])],
)
def test_a_policy_lets_pass_what_it_says(policy: Policy, passing: list[dict[str, tuple[str, str]]]) -> None:
    """accept-new takes new columns and wider types, quarantine new columns, freeze nothing; what is the same always passes."""
    for now in (ADDED, WIDENED, REMOVED, OTHER_KIND):
        assert Difference.between(BEFORE, now).passes(policy) == (now in passing)
    assert Difference.between(BEFORE, BEFORE).passes(policy)


def test_columns_are_remembered_by_kind_and_type() -> None:
    """The type is written as the database has it; one that nobody knows has a name all the same."""
    columns = {
        "a": Column("a", ValueKind.DECIMAL, sa.Numeric(12, 2), nullable=True, comment=""),
        "b": Column("b", ValueKind.OTHER, NullType(), nullable=True, comment=""),
        "c": Column("c", ValueKind.TEXT, NullType(), nullable=True, comment=""),
    }
    assert known_of(columns, postgresql.dialect()) == {
        "a": ("decimal", "NUMERIC(12, 2)"),
        "b": ("other", "NULL"),
        "c": ("text", "NULL"),
    }
    assert known_of({"a": columns["a"]}, sqlite.dialect())["a"] == ("decimal", "NUMERIC(12, 2)")


def test_new_columns_are_accepted_by_default() -> None:
    """Without a word in the settings a flow goes on with what only grew, and fills messages without regard to transactions."""
    settings = DatabaseFrom.of(connection="c", table="t", key=("id",), every="5s")
    assert (settings.drift, settings.transactions) == ("accept-new", "split")
