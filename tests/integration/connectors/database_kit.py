"""Tables of real databases as a source sees them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import pool

from agent.events import Events
from agent.model import START, Batch, Counters, FlowState, Value, WalkKind, WalkOrder
from agent.settings.base import SettingsModel
from agent.testing.clock import FakeClock
from agent.testing.nodes.mariadb import MariadbDatabase
from agent.testing.nodes.postgres import PostgresDatabase
from connectors.database.settings import DatabaseFrom, MysqlConnection, PostgresConnection, SqliteConnection
from connectors.database.source import DatabaseSource
from connectors.wiring import Wiring


class Bench:
    """One database, a source on one of its tables, and a host that reads it."""

    def __init__(self, url: str | sa.URL, connection: SettingsModel, password: str = "") -> None:
        self.engine = sa.create_engine(url, poolclass=pool.NullPool, isolation_level="AUTOCOMMIT")
        self.connection = connection
        self.password = password
        self.clock = FakeClock()
        self.position = START
        self.loaded = False
        self._open: list[DatabaseSource] = []
        self.source: DatabaseSource

    @classmethod
    def sqlite(cls, folder: Path) -> Bench:
        path = folder / "registry.db"
        return cls(sa.URL.create("sqlite", database=str(path)), SqliteConnection.of(type="sqlite", path=str(path)))

    @classmethod
    def postgres(cls, database: PostgresDatabase, **other: object) -> Bench:
        connection = PostgresConnection.of(type="postgres", **_server(database), **other)
        return cls(database.url, connection, database.password)

    @classmethod
    def mariadb(cls, database: MariadbDatabase, **other: object) -> Bench:
        connection = MysqlConnection.of(type="mariadb", **_server(database), **other)
        return cls(database.url, connection, database.password)

    def run(self, *statements: str) -> None:
        """Run statements as the application would."""
        with self.engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def build(self, columns: Sequence[str] = (), **settings: object) -> DatabaseSource:
        """Return a source, unopened."""
        self.source = DatabaseSource.build(self.wiring(columns, **settings))
        self._open.append(self.source)
        return self.source

    def wiring(self, columns: Sequence[str] = (), **settings: object) -> Wiring[DatabaseFrom]:
        """Return what a source is built from."""
        fields = {"connection": "c", "table": "t", "key": ("id",), "cursor": "updated_at", "every": "5s", "overlap": "30s"}
        if settings.get("cursor", "") is not None and "mode" not in settings:
            settings["mode"] = "polling"
        elif "mode" not in settings:
            settings["mode"] = "compare"
        return Wiring(
            flow="f",
            settings=DatabaseFrom.of(**{**fields, **settings}),
            clock=self.clock,
            events=Events(),
            time_zone="Asia/Shanghai",
            connection=self.connection,
            columns=tuple(columns),
            secret=lambda _name: self.password,
        )

    def open(self, columns: Sequence[str] = (), **settings: object) -> str:
        """Open a source on the table and return its incarnation."""
        return self.build(columns, **settings).open(self.state())

    def state(self) -> FlowState:
        return FlowState("f", "e", "", self.position, Counters(), {}, loaded=self.loaded)

    def read(self, limit: int = 1000) -> Batch:
        if self.source.wants_walk(self.position):
            self.position = self.source.begin_walk(self.position, WalkOrder(WalkKind.COMPARE))
        batch = self.source.read(self.position, limit)
        self.position = batch.position
        self.loaded = batch.loading is None
        return batch

    def drain(self, limit: int = 1000) -> list[dict[str, Value]]:
        """Return everything there is to read now, what comes again included."""
        rows: list[dict[str, Value]] = []
        while True:
            batch = self.read(limit)
            rows += [dict(zip(batch.columns, row, strict=True)) for row in batch.rows]
            if not batch.more:
                return rows

    def close(self) -> None:
        for source in self._open:
            source.close()
        self.engine.dispose()


def _server(database: Any) -> dict[str, object]:
    return {
        "host": database.host,
        "port": database.port,
        "database": database.database,
        "user": database.user,
        "password": "secret:password",
        "tls": "disable",
    }
