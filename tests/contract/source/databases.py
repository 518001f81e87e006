"""Worlds of the source contract that are tables, one per database."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import pool

from agent.events import Events
from agent.model import Value
from agent.ports import Source
from agent.settings.base import SettingsModel
from agent.testing.clock import FakeClock
from connectors.database.ddl import ddl_of
from connectors.database.settings import DatabaseFrom
from connectors.database.source import DatabaseSource
from connectors.wiring import Wiring
from tests.contract.source.contract import COLUMNS, Record, as_mapping

TABLE = "登记 registry"
EXACT = ("trigger", "slot", "binlog")


class TableWorld(ABC):
    """A table with a cursor that the database would set; here a clock of the test's own sets it."""

    ddl: ClassVar[str]
    quote: ClassVar[str] = '"'

    def __init__(self, url: str | sa.URL, connection: SettingsModel, wrong: SettingsModel, mode: str = "auto") -> None:
        self.engine = sa.create_engine(url, poolclass=pool.NullPool, isolation_level="AUTOCOMMIT")
        self.connection = connection
        self.wrong = wrong
        self.clock = FakeClock()
        self.mode = mode
        self.rereads = mode not in EXACT
        self.ticks = 0
        self.built: list[Source] = []
        self.run(self.ddl.format(table=f"{self.quote}{TABLE}{self.quote}"))

    def run(self, sql: str, *parameters: Any) -> None:
        with self.engine.connect() as connection, contextlib.closing(connection.connection.cursor()) as cursor:
            cursor.execute(sql, *parameters)

    def stamp(self) -> Any:
        """Return the next cursor value."""
        self.ticks += 1
        return f"2026-11-20 10:00:{self.ticks // 1000:02}.{self.ticks % 1000:03}000"

    def put(self, some: Sequence[Record]) -> None:
        columns = (*COLUMNS, "updated_at")
        table = sa.table(TABLE, *(sa.column(name) for name in columns))
        rows = [{**as_mapping(record), "updated_at": self.stamp()} for record in some]
        with self.engine.connect() as connection:
            connection.execute(self.insert(table), rows)

    def insert(self, table: sa.TableClause) -> Any:
        return table.insert()

    def flow(self, **other: object) -> DatabaseFrom:
        fields = {"connection": "c", "table": TABLE, "key": ("id",), "cursor": "updated_at", "every": "5s", "overlap": "30s"}
        fields["mode"] = self.mode
        return DatabaseFrom.of(**{**fields, **other})

    def wiring(self, connection: SettingsModel, **other: object) -> Wiring[DatabaseFrom]:
        return Wiring(
            flow="f",
            settings=self.flow(**other),
            clock=self.clock,
            events=Events(),
            time_zone="Asia/Shanghai",
            connection=connection,
            columns=COLUMNS,
            secret=lambda name: {"good": "it's a secret", "bad": "no"}[name],
        )

    def source(self, **other: object) -> DatabaseSource:
        source = DatabaseSource.build(self.wiring(self.connection, **other))
        self.built.append(source)
        return source

    def misconfigured(self) -> DatabaseSource:
        return DatabaseSource.build(self.wiring(self.wrong))

    def install(self, account: str) -> None:
        """Create what the mode needs in the database, as its DBA would."""
        ddl = ddl_of(self.wiring(self.connection), account)
        for statement in ddl.create:
            self.run(statement)

    def shown(self, record: Record) -> tuple[Value, ...]:
        return tuple(as_mapping(record).values())

    @abstractmethod
    def cut(self) -> None: ...

    @abstractmethod
    def mend(self) -> None: ...
