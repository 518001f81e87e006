"""Connections of the hub that PostgreSQL has ended."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from agent.testing.nodes.postgres import PostgresDatabase
from hub.errors import StoreUnavailable
from hub.store import postgres
from hub.store.migrate import migrate
from hub.store.opening import open_store
from hub.store.postgres import Postgres
from hub.store.sql import SqlStore
from tests.integration.hub.test_hub_crash import CUT

pytestmark = pytest.mark.integration


@pytest.fixture
def store(pg_database: PostgresDatabase) -> Iterator[SqlStore]:
    """A store whose connections are in the pool."""
    db = pg_database
    opened = open_store(Postgres(db.host, db.port, db.database, db.user, db.password))
    migrate(opened)
    opened.probe()
    yield opened
    opened.close()


def cut(pg_database: PostgresDatabase) -> None:
    """End every connection of the hub."""
    db = pg_database
    with psycopg.connect(host=db.host, port=db.port, dbname=db.database, user=db.user, password=db.password) as connection:
        assert connection.execute(CUT).fetchall()


def test_one_that_died_in_its_sleep_is_replaced_unnoticed(
    store: SqlStore, pg_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever needs a connection after a pause gets a living one."""
    monkeypatch.setattr(postgres, "IDLE_SECS", 0.0)
    cut(pg_database)
    store.probe()


def test_one_that_died_in_use_is_told_once(
    store: SqlStore, pg_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In steady use nobody asks first: the failure is one of the store, and the next attempt finds it again."""
    monkeypatch.setattr(postgres, "IDLE_SECS", 3600.0)
    cut(pg_database)
    with pytest.raises(StoreUnavailable):
        store.probe()
    store.probe()
