"""A private MariaDB server."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.testing.nodes.node import Node
from agent.testing.nodes.ports import LOOPBACK, ask

_GREETING_VERSION: Final = 10  # the fifth octet of the first packet is the version of the protocol


@dataclass(frozen=True, slots=True)
class MariadbDatabase:
    """One database and a user with every right."""

    host: str
    port: int
    user: str
    password: str
    database: str

    @property
    def url(self) -> str:
        """The URL for SQLAlchemy, with PyMySQL as driver."""
        return f"mysql+pymysql://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}?charset=utf8mb4"


class MariadbNode(Node):
    """MariaDB as the distribution ships it: ready in about a second, 100 MB, with a row-based binary log."""

    kind = "mariadb"
    port_names = ("mysql",)

    # -- life --

    def prepare(self) -> None:
        """Create the system tables the first time, and an administrator who may come in over TCP."""
        data = self.directory / "data"
        if not (data / "mysql").exists():
            install = [
                self.program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={data}",
                f"--user={getpass.getuser()}",
                "--auth-root-authentication-method=socket",
                "--skip-test-db",
            ]
            self.run(install)
        account = f"'{self.user}'@'{LOOPBACK}'"
        script = self.directory / "account.sql"
        script.touch(mode=0o600)
        script.write_text(
            f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION;\n"
        )

    def command(self) -> Sequence[str]:
        """Return the server in the foreground. Relative names are relative to the data: socket paths must be short."""
        return [
            self.program("mariadbd"),
            "--no-defaults",
            f"--user={getpass.getuser()}",
            f"--datadir={self.directory / 'data'}",
            f"--init-file={self.directory / 'account.sql'}",
            f"--bind-address={LOOPBACK}",
            f"--port={self.ports['mysql']}",
            "--socket=server.sock",
            "--pid-file=server.pid",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=32M",
            "--server-id=1",
            "--log-bin=binlog",
            "--binlog-format=ROW",
            "--binlog-row-metadata=FULL",
        ]

    def answers(self) -> bool:
        """Connect and look for the server's greeting."""
        return ask(self.ports["mysql"])[4:5] == bytes([_GREETING_VERSION])

    # -- administration --

    def database(self, name: str) -> MariadbDatabase:
        """Describe a database, with the administrator as user."""
        return MariadbDatabase(LOOPBACK, self.ports["mysql"], self.user, self.password, name)

    def add_database(self, name: str) -> MariadbDatabase:
        """Create an empty database."""
        self.sql(f"CREATE DATABASE `{name}`")
        return self.database(name)

    def delete_database(self, name: str) -> None:
        """Delete a database."""
        self.sql(f"DROP DATABASE IF EXISTS `{name}`")

    def sql(self, statement: str, database: str = "mysql") -> str:
        """Run statements as administrator and return their rows, columns separated by tabs. Raises NodeFailed."""
        options = [
            "--protocol=tcp",
            f"--host={LOOPBACK}",
            f"--port={self.ports['mysql']}",
            f"--user={self.user}",
            "--default-character-set=utf8mb4",
            "--skip-column-names",
        ]
        secret = self.directory / f"client-{os.getpid()}.cnf"  # of its own: another process would find one half written
        secret.touch(mode=0o600)
        secret.write_text(f"[client]\npassword={self.password}\n")
        return self.run([self.program("mariadb"), f"--defaults-file={secret}", *options, database], stdin=statement)
