"""The source contract on SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from connectors.database.settings import SqliteConnection
from tests.contract.source.contract import BadRecordContract, SourceContract, World
from tests.contract.source.databases import EXACT, TABLE, TableWorld


class SqliteWorld(TableWorld):
    ddl = """CREATE TABLE {table} (id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL, amount TEXT,
                                   seen_at TIMESTAMP, note TEXT, updated_at TIMESTAMP NOT NULL)"""

    def __init__(self, folder: Path, mode: str) -> None:
        self.path = folder / "登记 100%?#.db"
        super().__init__(
            sa.URL.create("sqlite", database=str(self.path)),
            SqliteConnection.of(type="sqlite", path=str(self.path)),
            SqliteConnection.of(type="sqlite", path=str(folder / "nowhere.db")),
            mode,
        )
        if mode in EXACT:
            self.install("")

    def cut(self) -> None:
        self.path.rename(self.path.with_suffix(".away"))

    def mend(self) -> None:
        self.path.with_suffix(".away").rename(self.path)


class TestSqlite(BadRecordContract, SourceContract):
    @pytest.fixture(params=["polling", "trigger", "compare"])
    def world(self, tmp_path: Path, request: pytest.FixtureRequest) -> SqliteWorld:
        return SqliteWorld(tmp_path, request.param)

    def put_unreadable(self, world: World) -> None:
        assert isinstance(world, SqliteWorld)
        world.run(f"INSERT INTO \"{TABLE}\" VALUES (4, 'x', '1', NULL, CAST(x'ff61' AS TEXT), '{world.stamp()}')")
