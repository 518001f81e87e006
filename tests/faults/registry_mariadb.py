"""A department's tables in MariaDB."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, Final

import pymysql  # type: ignore[import-untyped]

from agent.adapters.clock import SystemClock
from agent.testing.nodes.mariadb import MariadbDatabase
from tests.faults.registry import COLUMNS, INSERT, TABLES, Change, Finish, Row, first_rows

_TABLE: Final = (
    "CREATE TABLE {table} (id varchar(40) COLLATE utf8mb4_bin PRIMARY KEY, rev integer, name varchar(60), amount decimal(16, 2), "
    "changed_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), KEY changed (changed_at, id)) CHARACTER SET utf8mb4"
)


class MariadbRegistry:
    """Implements Registry."""

    now = "CURRENT_TIMESTAMP(6)"

    def __init__(self, database: MariadbDatabase) -> None:
        self.database = database

    def create(self, rows: int) -> None:
        """See Registry."""
        now = SystemClock().now()
        with closing(self._open()) as db, db.cursor() as cursor:
            for table in TABLES.values():
                cursor.execute(_TABLE.format(table=table))
                some = [(*row[:-1], row[-1].replace(tzinfo=None)) for row in first_rows(rows, now)]
                cursor.executemany(_native(INSERT.format(table=table)), some)
            db.commit()

    def install(self, statements: Sequence[str], *, together: bool) -> None:  # noqa: ARG002 - each of them commits by itself
        """See Registry."""
        with closing(self._open()) as db, db.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def change(self, changes: Iterable[Change]) -> None:
        """See Registry."""
        try:
            with closing(self._open()) as db:
                _run(db, changes)
                db.commit()
        except pymysql.err.Error as error:
            raise ConnectionError(str(error)) from error

    def hold(self, change: Change) -> Finish:
        """See Registry: a transaction that stays open."""
        try:
            db = self._open()
            _run(db, [change])
        except pymysql.err.Error as error:
            raise ConnectionError(str(error)) from error

        def finish(commit: bool) -> None:
            try:
                with closing(db):
                    db.commit() if commit else db.rollback()
            except pymysql.err.Error as error:
                raise ConnectionError(str(error)) from error

        return finish

    def rows(self, table: str) -> list[Row]:
        """See Registry."""
        with closing(self._open()) as db, db.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(COLUMNS[:3])}, CAST(amount AS CHAR) FROM {table}")
            return list(cursor.fetchall())

    def _open(self) -> Any:
        where = self.database
        return pymysql.connect(
            host=where.host,
            port=where.port,
            user=where.user,
            password=where.password,
            database=where.database,
            charset="utf8mb4",
            connect_timeout=5,
            init_command="SET time_zone = '+00:00', innodb_lock_wait_timeout = 10",
        )


def _run(db: Any, changes: Iterable[Change]) -> None:
    with db.cursor() as cursor:
        for statement, values in changes:
            cursor.execute(_native(statement), tuple(values))


def _native(statement: str) -> str:
    return statement.replace("?", "%s")
