"""One store of each kind, empty and migrated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.store.migrate import migrate
from hub.store.opening import Location, Sqlite, open_store
from hub.store.postgres import Postgres
from hub.store.sql import SqlStore


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """Where the store under test is."""
    if request.param == "sqlite":
        return Sqlite(tmp_path / "hub.db")
    db = request.getfixturevalue("pg_database")
    return Postgres(db.host, db.port, db.database, db.user, db.password)


@pytest.fixture
def store(location: Location) -> Iterator[SqlStore]:
    """An open store."""
    opened = open_store(location)
    migrate(opened)
    yield opened
    opened.close()
