"""The source contract on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from agent.adapters.clock import SystemClock
from agent.testing.nodes.postgres import PostgresDatabase, PostgresNode
from connectors.database.settings import PostgresConnection
from tests.contract.source.contract import SourceContract
from tests.contract.source.databases import EXACT, TABLE, TableWorld


class PostgresWorld(TableWorld):
    ddl = """CREATE TABLE {table} (id bigint PRIMARY KEY, name text NOT NULL, amount numeric(24, 2),
                                   seen_at timestamp, note text, updated_at timestamptz NOT NULL)"""

    def __init__(self, node: PostgresNode, database: PostgresDatabase, mode: str) -> None:
        self.node = node
        self.reader = f"reader_{database.database}"
        good = {
            "type": "postgres",
            "host": database.host,
            "port": database.port,
            "database": database.database,
            "user": self.reader,
            "tls": "disable",
        }
        super().__init__(
            database.url,
            PostgresConnection.of(**good, password="secret:good"),
            PostgresConnection.of(**good, password="secret:bad"),
            mode,
        )
        self.node.sql(f"CREATE ROLE {self.reader} LOGIN PASSWORD 'it''s a secret'")
        self.run(f'GRANT SELECT ON "{TABLE}" TO {self.reader}')
        if mode in EXACT:
            self.install(self.reader)
        if mode == "watermark":
            self.node.sql(f"GRANT pg_read_all_stats TO {self.reader}")

    def stamp(self) -> Any:
        """Return the clock of the database for a mode that trusts it."""
        return SystemClock().now().isoformat() if self.mode == "watermark" else super().stamp()

    def insert(self, _table: sa.TableClause) -> Any:
        return sa.text(
            f'INSERT INTO "{TABLE}" (id, name, amount, seen_at, note, updated_at) VALUES (:id, :name, CAST(:amount AS numeric), '
            "CAST(:seen_at AS timestamp), :note, CAST(:updated_at AS timestamptz))"
        )

    def cut(self) -> None:
        self.node.sql(f"ALTER ROLE {self.reader} NOLOGIN")
        self.node.sql(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{self.reader}'")

    def mend(self) -> None:
        self.node.sql(f"ALTER ROLE {self.reader} LOGIN")

    def remove(self) -> None:
        self.run("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()")
        self.run(f"DROP OWNED BY {self.reader}")
        self.node.sql(f"DROP ROLE {self.reader}")


@pytest.mark.integration
class TestPostgres(SourceContract):
    @pytest.fixture(params=["polling", "trigger", "slot", "compare", "watermark"])
    def world(
        self, postgres: PostgresNode, pg_database: PostgresDatabase, request: pytest.FixtureRequest
    ) -> Iterator[PostgresWorld]:
        world = PostgresWorld(postgres, pg_database, request.param)
        yield world
        world.remove()
