"""A private PostgreSQL cluster."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import stat
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from agent.testing.nodes.node import Node
from agent.testing.nodes.ports import LOOPBACK, ask

_PROTOCOL_3: Final = (3 << 16).to_bytes(4, "big")
_SETTINGS: Final = {
    "listen_addresses": f"'{LOOPBACK}'",
    "unix_socket_directories": "''",
    "fsync": "on",
    "shared_buffers": "'32MB'",
    "max_connections": "100",
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "20",
    "max_prepared_transactions": "10",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "lc_messages": "'C'",
}


class PostgresDatabase(str):
    """One database, as the connection string libpq understands; its parts are attributes."""

    __slots__ = ("database", "host", "password", "port", "user")

    host: str
    port: int
    user: str
    password: str
    database: str

    def __new__(cls, *, host: str, port: int, user: str, password: str, database: str) -> Self:
        """Compose the string."""
        made = super().__new__(cls, f"host={host} port={port} user={user} password={password} dbname={database}")
        made.host, made.port, made.user, made.password, made.database = host, port, user, password, database
        return made

    @property
    def url(self) -> str:
        """The same for SQLAlchemy, with psycopg as driver."""
        return f"postgresql+psycopg://{self.user}:{quote(self.password)}@{self.host}:{self.port}/{self.database}"


class PostgresNode(Node):
    """PostgreSQL as the distribution ships it: ready in about a second, durable (fsync on), able to decode its log.

    The server refuses to run as root. Started by root it runs as `postgres` or `nobody`; when that user cannot reach
    `directory` (a checkout below /root), the data lives in a temporary directory, to which `data` is then a link.
    """

    kind = "postgres"
    port_names = ("postgres",)
    stop_signal = signal.SIGINT  # "fast": rolls back what is open and ends; SIGTERM would wait for the clients

    def __init__(self, directory: Path, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(directory)
        self._settings = dict(settings or {})

    # -- life --

    def prepare(self) -> None:
        """Create the cluster the first time; write its settings."""
        data = self.directory / "data"
        if not (data / "PG_VERSION").exists():
            self._create(data)
        lines = {**_SETTINGS, "port": str(self.ports["postgres"]), **self._settings}
        (data / "postgresql.auto.conf").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))

    def command(self) -> Sequence[str]:
        """Return the server in the foreground."""
        return [self._program("postgres"), "-D", str((self.directory / "data").resolve())]

    def answers(self) -> bool:
        """Ask for a connection; a cluster still in recovery answers with an error, one that is up asks for a password."""
        fields = f"user\0{self.user}\0database\0postgres\0\0".encode()
        length = (len(_PROTOCOL_3) + len(fields) + 4).to_bytes(4, "big")
        return ask(self.ports["postgres"], length + _PROTOCOL_3 + fields)[:1] == b"R"

    def server_user(self) -> str | None:
        """Return `postgres` or `nobody` when we are root."""
        return self._server_user

    def remove(self) -> None:
        """Kill the server, and delete the directory and the data wherever they are."""
        self.kill()
        shutil.rmtree((self.directory / "data").resolve(), ignore_errors=True)
        super().remove()

    # -- administration --

    def database(self, name: str) -> PostgresDatabase:
        """Describe a database, with the superuser as user."""
        return PostgresDatabase(host=LOOPBACK, port=self.ports["postgres"], user=self.user, password=self.password, database=name)

    def add_database(self, name: str) -> PostgresDatabase:
        """Create an empty database."""
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self.database(name)

    def delete_database(self, name: str) -> None:
        """Delete a database and whoever is connected to it."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement as superuser through psql and return its rows, columns separated by bars. Raises NodeFailed."""
        options = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]
        where = {
            "PGHOST": LOOPBACK,
            "PGPORT": str(self.ports["postgres"]),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": database,
        }
        return self.run([self._program("psql"), *options, "--command", statement], extra=where)

    # -- own affairs --

    @cached_property
    def _server_user(self) -> str | None:
        if os.geteuid() != 0:
            return None
        known = {entry.pw_name for entry in pwd.getpwall()}
        return "postgres" if "postgres" in known else "nobody"

    @cached_property
    def _programs(self) -> str:
        """Return the directory of the newest version installed."""
        found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if re.fullmatch(r"\d+", path.parent.name)]
        return str(max(found, key=lambda path: int(path.parent.name), default=""))

    def _program(self, name: str) -> str:
        return self.program(name, self._programs)

    def _create(self, data: Path) -> None:
        where = self._place(data)
        with tempfile.NamedTemporaryFile("w", prefix="huitong-", encoding="ascii") as secret:
            secret.write(self.password)
            secret.flush()
            if self._server_user is not None:
                shutil.chown(secret.name, self._server_user)
            self.run(
                [
                    self._program("initdb"),
                    f"--pgdata={where}",
                    f"--username={self.user}",
                    f"--pwfile={secret.name}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                ],
                as_user=self._server_user,
            )

    def _place(self, data: Path) -> Path:
        """Make the directory of the data where the user of the server can reach it."""
        if self._server_user is None:
            return data
        where = data
        if not _reachable(data.parent, pwd.getpwnam(self._server_user).pw_uid):
            where = Path(tempfile.mkdtemp(prefix="huitong-postgres-"))
            data.symlink_to(where)
        where.mkdir(mode=0o700, exist_ok=True)
        shutil.chown(where, self._server_user)
        return where


def _reachable(directory: Path, uid: int) -> bool:
    """Whether a user may walk down to `directory`, looking at owners and others only."""
    for path in (directory, *directory.parents):
        status = path.stat()
        needed = stat.S_IXUSR if status.st_uid == uid else stat.S_IXOTH
        if not status.st_mode & needed:
            return False
    return True
