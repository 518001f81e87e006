"""Databases to read from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.testing.nodes.mariadb import MariadbDatabase
from agent.testing.nodes.postgres import PostgresDatabase
from tests.integration.connectors.database_kit import Bench
from tests.integration.connectors.folder_kit import Bench as FolderBench


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Bench]:
    """An SQLite file."""
    bench = Bench.sqlite(tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def pg(pg_database: PostgresDatabase) -> Iterator[Bench]:
    """A PostgreSQL database."""
    bench = Bench.postgres(pg_database)
    yield bench
    bench.close()


@pytest.fixture
def maria(mysql_database: MariadbDatabase) -> Iterator[Bench]:
    """A MariaDB database."""
    bench = Bench.mariadb(mysql_database)
    yield bench
    bench.close()


@pytest.fixture(params=["lite", "pg", "maria"])
def any_database(request: pytest.FixtureRequest) -> Bench:
    """Each database in turn."""
    bench: Bench = request.getfixturevalue(request.param)
    return bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[FolderBench]:
    """A drop folder whose files are complete when they have their name."""
    made = FolderBench(tmp_path)
    made.open()
    yield made
    made.source.close()
