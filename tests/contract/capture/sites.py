"""Databases as the capture suite needs them: a table, people who write to it, and a DBA who gives and takes."""

# ruff: noqa: ARG002 - what one database has no use for, another has

from __future__ import annotations

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pymysql

from agent.events import Events
from agent.ports import Clock
from agent.settings.base import SettingsModel
from agent.testing.nodes.mariadb import MariadbDatabase, MariadbNode
from agent.testing.nodes.postgres import PostgresDatabase, PostgresNode
from connectors.database.ddl import ddl_of
from connectors.database.settings import DatabaseFrom, MysqlConnection, PostgresConnection, SqliteConnection
from connectors.wiring import Wiring
from tests.contract.capture import kinds

PASSWORD = "it's a secret"
NEEDING_DDL = ("trigger", "slot")


class Hand:
    """Somebody with a connection; transactions are begun and ended by statements."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def do(self, *statements: str) -> None:
        with contextlib.closing(self.connection.cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(self.connection.cursor()) as cursor:
            cursor.execute(statement)
            return [tuple(row) for row in cursor.fetchall()]


class Site(ABC):
    """A database with the table `t`. `now` is its clock, `types` are columns with a literal for each."""

    now: ClassVar[str]
    columns: ClassVar[str]
    begin: ClassVar[str] = "BEGIN"
    many: ClassVar[str]  # inserts `{count}` rows from `{first}` on
    widen: ClassVar[Sequence[str]]
    types: ClassVar[Mapping[str, Sequence[str]]]  # definition → literals, each of which is a row
    hostile: ClassVar[Sequence[str]] = ()  # what an application may have set for its session

    def __init__(self, connection: SettingsModel) -> None:
        self.settings = connection
        self.do(f"CREATE TABLE t ({self.columns})")

    # -- writing -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def connect(self) -> Any: ...

    @contextlib.contextmanager
    def hand(self) -> Iterator[Hand]:
        """Return somebody who writes."""
        with contextlib.closing(self.connect()) as connection:
            yield Hand(connection)

    def do(self, *statements: str) -> None:
        """Run statements, each a transaction of its own unless they say otherwise."""
        with self.hand() as hand:
            hand.do(*statements)

    def tx(self, *statements: str) -> None:
        """Run statements in one transaction."""
        self.do(self.begin, *statements, "COMMIT")

    def put(self, ident: int, name: str | None = "A", **more: str) -> str:
        """Return the statement that inserts a row; `more` are further columns and literals."""
        columns = {"id": str(ident), "name": text(name), **more, "updated_at": self.now}
        return f"INSERT INTO t ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"

    def set(self, ident: int, name: str | None = None, **more: str) -> str:
        """Return the statement that changes a row."""
        columns = {**({} if name is None else {"name": text(name)}), **more, "updated_at": self.now}
        return f"UPDATE t SET {', '.join(f'{c} = {v}' for c, v in columns.items())} WHERE id = {ident}"

    @staticmethod
    def delete(ident: int) -> str:
        """Return the statement that deletes a row."""
        return f"DELETE FROM t WHERE id = {ident}"

    def fill(self, count: int, first: int = 1) -> None:
        """Insert so many rows, named `n` and their id, in one transaction."""
        self.tx(self.many.format(first=first, count=count, last=first + count - 1, now=self.now))

    def names(self) -> dict[int, Any]:
        """Return the truth."""
        with self.hand() as hand:
            return dict(hand.rows("SELECT id, name FROM t"))

    # -- the DBA -----------------------------------------------------------------------------------------------------

    def wiring(self, flow: str, mode: str, columns: Sequence[str], clock: Clock, **other: object) -> Wiring[DatabaseFrom]:
        fields: dict[str, object] = {
            "connection": "c",
            "table": "t",
            "key": ("id",),
            "every": "5s",
            "overlap": "1h",
            "mode": mode,
        }
        if mode in ("polling", "watermark"):
            fields["cursor"] = "updated_at"
        return Wiring(
            flow=flow,
            settings=DatabaseFrom.of(**{**fields, **other}),
            clock=clock,
            events=Events(),
            time_zone="Asia/Shanghai",
            connection=self.settings,
            columns=tuple(columns),
            secret=lambda _name: PASSWORD,
        )

    def install(self, wiring: Wiring[DatabaseFrom]) -> None:
        """Create what a flow needs, as its DBA would."""
        if wiring.settings.mode in NEEDING_DDL:
            self.do(*ddl_of(wiring).create)

    def uninstall(self, wiring: Wiring[DatabaseFrom]) -> None:
        """Take it away."""
        if wiring.settings.mode in NEEDING_DDL:
            self.do(*ddl_of(wiring).drop)

    @abstractmethod
    def allow(self, mode: str, table: str) -> None:
        """Give the reading account what a mode needs at least."""

    @abstractmethod
    def forbid(self, mode: str) -> str:
        """Take something away that a mode needs; returns a word of the right that is missing then."""

    @abstractmethod
    def lose(self, wiring: Wiring[DatabaseFrom]) -> None:
        """Make what an exact mode reads from go away and come back empty; the table is not touched."""

    @abstractmethod
    def switch(self, wiring: Wiring[DatabaseFrom], *, on: bool) -> None:
        """Switch what fills a change log off, or on again."""

    @abstractmethod
    def behind(self, wiring: Wiring[DatabaseFrom], *statements: str) -> None:
        """Change rows so that the mode cannot see it: nothing is logged, the cursor stays."""

    def cut(self) -> None:
        """Make the server go away."""
        raise NotImplementedError

    def mend(self) -> None:
        """Let it come back."""
        raise NotImplementedError

    def remove(self) -> None:
        """Leave nothing behind."""


def text(value: str | None) -> str:
    """Return a literal."""
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def server_of(database: Any, user: str) -> dict[str, object]:
    return {
        "host": database.host,
        "port": database.port,
        "database": database.database,
        "user": user,
        "password": "secret:reader",
        "tls": "disable",
    }


class PostgresSite(Site):
    now = "clock_timestamp()"
    columns = (
        "id bigint PRIMARY KEY, name text, amount numeric(24, 4), note text, big text, octets bytea, at timestamptz, spare int, "
        "updated_at timestamptz NOT NULL DEFAULT clock_timestamp()"
    )
    many = "INSERT INTO t (id, name, updated_at) SELECT n, 'n' || n, {now} FROM generate_series({first}, {last}) AS n"
    widen = ("ALTER TABLE t ALTER name TYPE varchar(200), ALTER amount TYPE numeric(38, 6)",)
    hostile = (
        "SET extra_float_digits = 0",
        "SET DateStyle = 'SQL, DMY'",
        "SET IntervalStyle = 'sql_standard'",
        "SET bytea_output = 'escape'",
        "SET TimeZone = 'America/New_York'",
        "SET search_path = pg_catalog, public",
    )
    types = kinds.POSTGRES

    def __init__(self, node: PostgresNode, database: PostgresDatabase) -> None:
        self.node, self.database = node, database
        self.reader = f"reader_{database.database}"
        super().__init__(PostgresConnection.of(type="postgres", **server_of(database, self.reader)))
        node.sql(f"CREATE ROLE {self.reader} LOGIN PASSWORD 'it''s a secret'")
        self.do(
            "CREATE TYPE mood AS ENUM ('好', '坏')",
            "CREATE TYPE pair AS (a int, b text, c date)",
            "CREATE DOMAIN short AS varchar(3)",
        )

    def connect(self) -> Any:
        return psycopg.connect(self.database, autocommit=True)

    def allow(self, mode: str, table: str) -> None:
        self.do(f'GRANT SELECT ON "{table}" TO {self.reader}')
        if mode == "slot":
            self.node.sql(f"ALTER ROLE {self.reader} REPLICATION")
        if mode == "watermark":
            self.node.sql(f"GRANT pg_read_all_stats TO {self.reader}")

    def forbid(self, mode: str) -> str:
        if mode == "trigger":
            self.do(f'REVOKE SELECT ON huitong."log_people" FROM {self.reader}')
            return "GRANT SELECT"
        if mode == "slot":
            self.node.sql(f"ALTER ROLE {self.reader} NOREPLICATION")
            return "REPLICATION"
        if mode == "watermark":
            self.node.sql(f"REVOKE pg_read_all_stats FROM {self.reader}")
            return "pg_read_all_stats"
        self.do(f"REVOKE SELECT ON t FROM {self.reader}")
        return "GRANT SELECT"

    def lose(self, wiring: Wiring[DatabaseFrom]) -> None:
        self.uninstall(wiring)
        self.install(wiring)

    def switch(self, wiring: Wiring[DatabaseFrom], *, on: bool) -> None:
        self.do(f"ALTER TABLE t {'ENABLE' if on else 'DISABLE'} TRIGGER USER")

    def behind(self, wiring: Wiring[DatabaseFrom], *statements: str) -> None:
        if wiring.settings.mode != "slot":
            self.do("SET session_replication_role = replica", *statements)
            return
        with self.hand() as hand:  # nothing is told that is written while the publication leaves it out
            (name,) = hand.rows("SELECT pubname FROM pg_publication")[0]
            hand.do(f"ALTER PUBLICATION \"{name}\" SET (publish = '')", *statements)
            hand.do(f"ALTER PUBLICATION \"{name}\" SET (publish = 'insert, update, delete, truncate')")

    def cut(self) -> None:
        self.node.kill()

    def mend(self) -> None:
        self.node.start()

    def remove(self) -> None:
        self.do(
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE active AND database = current_database()",
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()",
            f"DROP OWNED BY {self.reader}",
        )
        self.node.sql(f"DROP ROLE {self.reader}")


class MariadbSite(Site):
    now = "now(6)"
    columns = (
        "id bigint PRIMARY KEY, name varchar(100), amount decimal(24, 4), note text, big longtext, octets longblob, "
        "at timestamp(6) NULL, spare int, updated_at timestamp(6) NOT NULL DEFAULT now(6)"
    )
    many = "INSERT INTO t (id, name, updated_at) SELECT seq, concat('n', seq), {now} FROM seq_{first}_to_{last}"
    widen = ("ALTER TABLE t MODIFY name varchar(200), MODIFY amount decimal(38, 6)",)
    hostile = ("SET time_zone = '-05:00'", "SET sql_mode = 'ANSI'", "SET NAMES latin1")
    types = kinds.MARIADB

    def __init__(self, node: MariadbNode, database: MariadbDatabase) -> None:
        self.node, self.database = node, database
        self.reader = f"reader_{database.database}"
        self.account = f"'{self.reader}'@'127.0.0.1'"
        super().__init__(MysqlConnection.of(type="mariadb", **server_of(database, self.reader)))
        node.sql(f"CREATE USER {self.account} IDENTIFIED BY 'it\\'s a secret'")

    def connect(self) -> Any:
        where = self.database
        connection = pymysql.connect(
            host=where.host, port=where.port, user=where.user, password=where.password, database=where.database, autocommit=True
        )
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute("SET SESSION sql_mode = ''")
        return connection

    def allow(self, mode: str, table: str) -> None:
        self.do(f"GRANT SELECT ON `{table}` TO {self.account}")
        if mode == "binlog":
            self.do(f"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {self.account}")
        if mode in ("watermark", "trigger"):
            self.do(f"GRANT PROCESS ON *.* TO {self.account}")

    def forbid(self, mode: str) -> str:
        if mode == "binlog":
            self.do(f"REVOKE REPLICATION SLAVE ON *.* FROM {self.account}")
            return "REPLICATION SLAVE"
        if mode == "watermark":
            self.do(f"REVOKE PROCESS ON *.* FROM {self.account}")
            return "PROCESS"
        self.do(f"REVOKE SELECT ON t FROM {self.account}")
        return "GRANT SELECT"

    def lose(self, wiring: Wiring[DatabaseFrom]) -> None:
        if wiring.settings.mode == "binlog":
            self.do("RESET MASTER")
        else:
            self.uninstall(wiring)
            self.install(wiring)

    def switch(self, wiring: Wiring[DatabaseFrom], *, on: bool) -> None:
        ddl = ddl_of(wiring)
        chosen = [s for s in (ddl.create if on else ddl.drop) if s.startswith("SET ") or "TRIGGER" in s.partition("\n")[0]]
        with self.hand() as hand:  # one session: what it is set to is stored with the triggers
            hand.do(*(s for s in chosen if not s.startswith("GRANT")))

    def behind(self, wiring: Wiring[DatabaseFrom], *statements: str) -> None:
        with self.hand() as hand:
            log = "`huitong_log_people`" if wiring.settings.mode == "trigger" else ""
            last = hand.rows(f"SELECT coalesce(max(seq), 0) FROM {log}")[0][0] if log else 0
            forget = (f"DELETE FROM {log} WHERE seq > {last}",) if log else ()
            hand.do("SET sql_log_bin = 0", self.begin, *statements, *forget, "COMMIT")

    def cut(self) -> None:
        self.node.kill()

    def mend(self) -> None:
        self.node.start()

    def remove(self) -> None:
        self.node.sql(f"DROP USER {self.account}")


class SqliteSite(Site):
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now', '+8 hours')"
    columns = (
        "id INTEGER PRIMARY KEY, name TEXT, amount DECIMAL(24, 4), note TEXT, big TEXT, octets BLOB, at TIMESTAMP, spare INT, "
        "updated_at TIMESTAMP NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now', '+8 hours'))"
    )
    begin = "BEGIN IMMEDIATE"
    many = (
        "INSERT INTO t (id, name, updated_at) WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) "
        "SELECT n, 'n' || n, {now} FROM s"
    )
    widen = ()  # a column holds what it is given
    types = kinds.SQLITE

    def __init__(self, folder: Path) -> None:
        self.path = folder / "registry.db"
        sqlite3.connect(self.path).close()
        super().__init__(SqliteConnection.of(type="sqlite", path=str(self.path)))

    def connect(self) -> Any:
        return sqlite3.connect(self.path, isolation_level=None, timeout=10)

    def allow(self, mode: str, table: str) -> None:
        """A file knows no rights."""

    def forbid(self, mode: str) -> str:
        if mode == "trigger":
            self.do('DROP TRIGGER "huitong_log_people_u"')
            return "huitong source ddl"
        self.do("ALTER TABLE t RENAME TO away")
        return ""

    def lose(self, wiring: Wiring[DatabaseFrom]) -> None:
        self.uninstall(wiring)
        self.install(wiring)

    def switch(self, wiring: Wiring[DatabaseFrom], *, on: bool) -> None:
        ddl = ddl_of(wiring)
        self.do(*(s for s in (ddl.create if on else ddl.drop) if s.startswith(("CREATE TRIGGER", "DROP TRIGGER"))))

    def behind(self, wiring: Wiring[DatabaseFrom], *statements: str) -> None:
        with self.hand() as hand:
            hand.do(self.begin)
            log = "huitong_log_people" if wiring.settings.mode == "trigger" else ""
            last = hand.rows(f"SELECT coalesce(max(seq), 0) FROM {log}")[0][0] if log else 0
            forget = (f"DELETE FROM {log} WHERE seq > {last}", f"UPDATE sqlite_sequence SET seq = {last} WHERE name = '{log}'")
            hand.do(*statements, *(forget if log else ()), "COMMIT")

    def cut(self) -> None:
        self.path.rename(self.path.with_suffix(".away"))

    def mend(self) -> None:
        self.path.with_suffix(".away").rename(self.path)
