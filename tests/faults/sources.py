"""Where the people of a world work: a file, or a database of its own on a server, with what its DBA does for the agent."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.testing.nodes.mariadb import MariadbDatabase, MariadbNode
from agent.testing.nodes.postgres import PostgresDatabase, PostgresNode
from tests.faults.papers import Where
from tests.faults.registry import TABLES, PostgresRegistry, Registry, SqliteRegistry
from tests.faults.registry_mariadb import MariadbRegistry

PREPARED: Final = ("trigger", "slot")
"""Modes that need something in the source."""

_RIGHTS: Final = {"binlog": "REPLICATION SLAVE, BINLOG MONITOR", "watermark": "PROCESS"}
_ENDS_WITHIN_SECS: Final = 10


def database_on(node: PostgresNode, name: str, stack: ExitStack) -> PostgresDatabase:
    """Make a database that goes when the stack closes."""
    database = node.add_database(name)

    def drop() -> None:
        if node.sql("SELECT 1"):
            node.delete_database(name)

    stack.callback(drop)
    return database


class Office:
    """The source of a world: its registry, and how the agent gets in."""

    def __init__(self, folder: Path, code: str, node: PostgresNode | MariadbNode | None, stack: ExitStack) -> None:
        self._node, self._stack, self._code = node, stack, code
        self.where: Where = None
        self.registry: Registry
        match node:
            case None:
                self.registry = SqliteRegistry(folder / "registry.db")
            case PostgresNode():
                self.where = database_on(node, f"{code}-source", stack)
                self.registry = PostgresRegistry(self.where)
            case MariadbNode():
                owner = node.add_database(f"{code}-source")
                stack.callback(node.delete_database, owner.database)
                self.where = replace(owner, user=f"reader-{code}")
                self.registry = MariadbRegistry(owner)

    def open(self, mode: str) -> None:
        """Give the agent an account on a server that has none for it; the tables are there."""
        node, where = self._node, self.where
        if not isinstance(node, MariadbNode) or not isinstance(where, MariadbDatabase):
            return
        account = f"'{where.user}'@'{where.host}'"
        node.sql(f"CREATE USER {account} IDENTIFIED BY '{where.password}'")
        self._stack.callback(node.sql, f"DROP USER {account}")
        for table in TABLES.values():
            node.sql(f"GRANT SELECT ON `{where.database}`.`{table}` TO {account}")
        if mode in _RIGHTS:
            node.sql(f"GRANT {_RIGHTS[mode]} ON *.* TO {account}")

    def prepare(self, mode: str, huitong: Callable[..., subprocess.CompletedProcess[str]]) -> None:
        """Let the DBA run what `huitong source ddl` prints, and in the end what it prints to take it away again."""
        if mode not in PREPARED:
            return
        for flow in TABLES:
            for way, act in ((("--drop",), self._take_away), ((), self._run)):
                told = huitong("source", "ddl", flow, *way, "--json")
                assert told.returncode == 0, told.stderr
                act(mode, json.loads(told.stdout)["statements"])

    def _run(self, mode: str, statements: list[str]) -> None:
        self.registry.install(statements, together=mode != "slot")

    def _take_away(self, mode: str, statements: list[str]) -> None:
        """Remember what takes something away again. A slot that is left over would keep the log of the whole server."""
        if mode == "slot":
            self._stack.callback(self._run, mode, statements)
            self._stack.callback(self._end_readers)

    def _end_readers(self) -> None:
        """End sessions that read a slot although their agent is dead."""
        assert isinstance(self._node, PostgresNode)
        own = f"FROM pg_replication_slots WHERE database = '{self._code}-source' AND active"
        self._node.sql(f"SELECT pg_terminate_backend(active_pid, {_ENDS_WITHIN_SECS * 1000}) {own}")
