"""Where hostile writers work: one table and its marks in PostgreSQL, MariaDB or SQLite, and what differs between them.

Sessions are plain DB-API connections in autocommit mode; transactions are begun and ended by statements.
"""

from __future__ import annotations

import importlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from agent.testing.nodes.mariadb import MariadbDatabase
from agent.testing.nodes.postgres import PostgresDatabase


@dataclass(frozen=True, slots=True)
class TwoPhase:
    """The statements of one transaction in two phases."""

    name: str
    begin: str
    prepare: Sequence[str]
    commit: str
    rollback: str


class Site(ABC):
    """One table `(id, k, version, note, updated_at)`: `k` is the key, `id` counts rows, `updated_at` is the database's clock.

    The table of marks beside it gets one row from every transaction, so that an outcome nobody was told can be found out.
    """

    now: ClassVar[str]
    begin: ClassVar[str] = "BEGIN"
    lock: ClassVar[str] = " FOR UPDATE"
    patience: ClassVar[str]  # makes a session wait two seconds for a lock, at most
    columns: ClassVar[str]
    value: ClassVar[str] = "%s"
    nothing: ClassVar[tuple[()] | None] = None  # the values of a statement that has none
    errors: type[Exception]
    duplicate: type[Exception]

    def __init__(self, table: str = "watched") -> None:
        self.table = table
        self.marks = f"{table}_marks"

    @abstractmethod
    def connect(self) -> Any:
        """Return a new session."""

    def run(self, session: Any, statement: str, values: Sequence[object] = ()) -> Sequence[tuple[Any, ...]]:
        """Run one statement and return its rows. Raises `errors`.

        Values are marked %s; {table}, {marks}, {now} and {lock} are put in here.
        """
        for name in ("table", "marks", "now", "lock"):
            statement = statement.replace(f"{{{name}}}", getattr(self, name))
        with closing(session.cursor()) as cursor:
            cursor.execute(statement.replace("%s", self.value), tuple(values) or self.nothing)
            return list(cursor.fetchall()) if cursor.description else []

    def rows(self, statement: str) -> Sequence[tuple[Any, ...]]:
        """Run one statement in a session of its own."""
        with closing(self.connect()) as session:
            return self.run(session, statement)

    def create(self) -> None:
        """Create the table and its marks, empty."""
        with closing(self.connect()) as session:
            self.run(session, f"CREATE TABLE {{table}} ({self.columns})")
            self.run(session, "CREATE INDEX {table}_updated ON {table} (updated_at, id)")
            self.run(session, "CREATE TABLE {marks} (mark varchar(60) NOT NULL PRIMARY KEY)")

    def final(self) -> Mapping[str, str]:
        """Return key → version as the table has them now."""
        return dict(self.rows("SELECT k, version FROM {table}"))

    def two_phase(self, _name: str) -> TwoPhase | None:
        """Return how to commit in two phases, None where that is not possible. Names are unique on the whole server."""
        return None

    def prepared(self, _session: Any) -> Sequence[str]:
        """Return the names of transactions that wait for their second phase."""
        return ()


class PostgresSite(Site):
    """A database of a PostgreSQL server."""

    now = "now()"
    patience = "SET lock_timeout = '2s'"
    columns = (
        "id bigserial NOT NULL UNIQUE, k varchar(40) NOT NULL PRIMARY KEY, version varchar(20) NOT NULL, note varchar(20), "
        "updated_at timestamptz NOT NULL"
    )
    errors = psycopg.Error
    duplicate = psycopg.IntegrityError

    def __init__(self, database: PostgresDatabase, table: str = "watched") -> None:
        super().__init__(table)
        self.database = database

    def connect(self) -> Any:
        """See Site."""
        return psycopg.connect(self.database, autocommit=True, connect_timeout=5)

    def two_phase(self, name: str) -> TwoPhase:
        """See Site; the server needs max_prepared_transactions."""
        unique = f"{self.database.database}-{name}"
        return TwoPhase(
            unique,
            "BEGIN",
            (f"PREPARE TRANSACTION '{unique}'",),
            f"COMMIT PREPARED '{unique}'",
            f"ROLLBACK PREPARED '{unique}'",
        )

    def prepared(self, session: Any) -> Sequence[str]:
        """See Site."""
        return [name for (name,) in self.run(session, "SELECT gid FROM pg_prepared_xacts")]


class MariadbSite(Site):
    """A database of a MariaDB server."""

    now = "CURRENT_TIMESTAMP(6)"
    patience = "SET innodb_lock_wait_timeout = 2"
    columns = (
        "id bigint NOT NULL AUTO_INCREMENT UNIQUE, k varchar(40) COLLATE utf8mb4_bin NOT NULL PRIMARY KEY, "
        "version varchar(20) NOT NULL, note varchar(20), updated_at datetime(6) NOT NULL"
    )

    def __init__(self, database: MariadbDatabase, table: str = "watched") -> None:
        super().__init__(table)
        self.database = database
        self._driver: Any = importlib.import_module("pymysql")  # an extra: not everybody has it
        self.errors = self._driver.err.Error
        self.duplicate = self._driver.err.IntegrityError

    def connect(self) -> Any:
        """See Site."""
        where = self.database
        return self._driver.connect(
            host=where.host,
            port=where.port,
            user=where.user,
            password=where.password,
            database=where.database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=5,
        )

    def two_phase(self, name: str) -> TwoPhase:
        """See Site."""
        unique = f"{self.database.database}-{name}"
        return TwoPhase(
            unique,
            f"XA START '{unique}'",
            (f"XA END '{unique}'", f"XA PREPARE '{unique}'"),
            f"XA COMMIT '{unique}'",
            f"XA ROLLBACK '{unique}'",
        )

    def prepared(self, session: Any) -> Sequence[str]:
        """See Site."""
        names = [name for *_, name in self.run(session, "XA RECOVER")]
        return [name.decode() if isinstance(name, bytes) else str(name) for name in names]  # octets after a recovery


class SqliteSite(Site):
    """A file with a write-ahead log; there is one writer at a time and the others wait."""

    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    begin = "BEGIN IMMEDIATE"
    lock = ""
    value = "?"
    nothing = ()
    patience = "PRAGMA busy_timeout = 2000"
    columns = (
        "id integer NOT NULL PRIMARY KEY AUTOINCREMENT, k varchar(40) NOT NULL UNIQUE, version varchar(20) NOT NULL, "
        "note varchar(20), updated_at datetime NOT NULL"
    )
    errors = sqlite3.Error
    duplicate = sqlite3.IntegrityError

    def __init__(self, path: Path, table: str = "watched") -> None:
        super().__init__(table)
        self.path = path

    def connect(self) -> Any:
        """See Site."""
        session = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        session.execute("PRAGMA journal_mode = WAL")
        return session
