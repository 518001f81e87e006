"""The source contract on MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent.adapters.clock import SystemClock
from agent.model import Value
from agent.testing.nodes.mariadb import MariadbDatabase, MariadbNode
from connectors.database.settings import MysqlConnection
from tests.contract.source.contract import Record, SourceContract
from tests.contract.source.databases import TABLE, TableWorld


class MariadbWorld(TableWorld):
    ddl = """CREATE TABLE {table} (id bigint PRIMARY KEY, name varchar(60) NOT NULL, amount decimal(24, 2),
                                   seen_at datetime(6), note text, updated_at timestamp(6) NOT NULL)"""
    quote = "`"

    def __init__(self, node: MariadbNode, database: MariadbDatabase, mode: str) -> None:
        self.node = node
        self.reader = f"reader_{database.database}"
        good = {
            "type": "mariadb",
            "host": database.host,
            "port": database.port,
            "database": database.database,
            "user": self.reader,
            "tls": "disable",
        }
        super().__init__(
            database.url,
            MysqlConnection.of(**good, password="secret:good"),
            MysqlConnection.of(**good, password="secret:bad"),
            mode,
        )
        self.node.sql(f"CREATE USER '{self.reader}'@'127.0.0.1' IDENTIFIED BY 'it\\'s a secret'")
        self.node.sql(f"GRANT SELECT ON `{database.database}`.`{TABLE}` TO '{self.reader}'@'127.0.0.1'")
        if mode == "watermark":
            self.node.sql(f"GRANT PROCESS ON *.* TO '{self.reader}'@'127.0.0.1'")
        if mode == "trigger":
            self.install(self.reader)

    def stamp(self) -> Any:
        """Return the clock of the database for a mode that trusts it."""
        return SystemClock().now().replace(tzinfo=None) if self.mode == "watermark" else super().stamp()

    def shown(self, record: Record) -> tuple[Value, ...]:
        """Return the record with as many digits after the second as the column has."""
        ident, name, amount, seen_at, note = super().shown(record)
        if isinstance(seen_at, str):
            seen_at = f"{seen_at:.26}" if "." in seen_at else f"{seen_at}.000000"
        return (ident, name, amount, seen_at, note)

    def cut(self) -> None:
        self.node.sql(f"ALTER USER '{self.reader}'@'127.0.0.1' ACCOUNT LOCK")
        self.node.sql(f"KILL HARD USER '{self.reader}'@'127.0.0.1'")

    def mend(self) -> None:
        self.node.sql(f"ALTER USER '{self.reader}'@'127.0.0.1' ACCOUNT UNLOCK")

    def remove(self) -> None:
        self.node.sql(f"DROP USER '{self.reader}'@'127.0.0.1'")


@pytest.mark.integration
class TestMariadb(SourceContract):
    @pytest.fixture(params=["polling", "compare", "watermark", "trigger"])
    def world(
        self, mariadb: MariadbNode, mysql_database: MariadbDatabase, request: pytest.FixtureRequest
    ) -> Iterator[MariadbWorld]:
        world = MariadbWorld(mariadb, mysql_database, request.param)
        yield world
        world.remove()
