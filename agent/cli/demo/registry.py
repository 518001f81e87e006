"""The sample department's own database, on SQLite or PostgreSQL, and the people who work in it while the demo runs."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from agent.adapters.clock import SystemClock
from agent.cli.demo.sample import COMPANY_COLUMNS, PERSON_COLUMNS, STREETS, Sampler, stamp

ZONE: Final = ZoneInfo("Asia/Shanghai")
_COMMENTS: Final[Mapping[str, str]] = {
    "sfzh": "公民身份号码", "xm": "姓名", "xb": "性别", "mz": "民族", "csrq": "出生日期", "hyzk": "婚姻状况", "xl": "学历",
    "lxdh": "联系电话", "dz": "地址", "xzqh": "行政区划", "nsr": "年收入", "bz": "备注", "djrq": "登记日期", "gxsj": "更新时间",
    "tyshxydm": "统一社会信用代码", "mc": "名称", "fddbr": "法定代表人", "zczb": "注册资本（万元）", "clrq": "成立日期",
    "zt": "状态", "jyfw": "经营范围",
}  # fmt: skip
_NUMBERS: Final = {"nsr": "numeric(12,2)", "zczb": "numeric(16,4)"}
TABLES: Final[Mapping[str, Sequence[str]]] = {"person": PERSON_COLUMNS, "company": COMPANY_COLUMNS}


def local_now() -> datetime:
    """Return the time on the department's wall, as its registry writes it."""
    return SystemClock().now().astimezone(ZONE).replace(tzinfo=None)


class Registry(Protocol):
    """A database with the tables `person` and `company`."""

    def create(self) -> None:
        """Create the tables."""
        ...

    def change(self, statements: Iterable[tuple[str, Sequence[Any]]]) -> None:
        """Run statements (with ? for values) in one transaction."""
        ...

    def load(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows in one transaction."""
        ...

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return a whole table."""
        ...


def _columns(table: str, text: str, time: str, *, exact: bool) -> Iterator[str]:
    for index, column in enumerate(TABLES[table]):
        number = _NUMBERS.get(column, text) if exact else text
        kind = time if column == "gxsj" else number
        yield f"{column} {kind}{' PRIMARY KEY' if index == 0 else ''}"


def insert(table: str) -> str:
    """Return the statement that inserts a row."""
    return f"INSERT INTO {table} VALUES ({', '.join('?' * len(TABLES[table]))})"  # noqa: S608 - names of our own


def _select(table: str, columns: Sequence[str]) -> str:
    return f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 - names of our own


class SqliteRegistry:
    """The registry in a file, written with a write-ahead log so that readers never block the department's work."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        try:
            yield db
        finally:
            db.close()

    def create(self) -> None:
        """See Registry. Money is text here, because SQLite would keep it as a binary fraction."""
        with self._open() as db:
            db.execute("PRAGMA journal_mode=WAL")
            for table in TABLES:
                columns = _columns(table, "TEXT", "TEXT", exact=False)
                db.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
                db.execute(f"CREATE INDEX {table}_gxsj ON {table} (gxsj)")

    def change(self, statements: Iterable[tuple[str, Sequence[Any]]]) -> None:
        """See Registry."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            for statement, values in statements:
                db.execute(statement, values)
            db.execute("COMMIT")

    def load(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """See Registry."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(insert(table), rows)
            db.execute("COMMIT")

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """See Registry."""
        with self._open() as db:
            return db.execute(_select(table, TABLES[table])).fetchall()


class PostgresRegistry:
    """The registry in PostgreSQL."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo

    def _open(self) -> Any:
        import psycopg  # noqa: PLC0415 - only the demo on PostgreSQL needs it

        return psycopg.connect(self.conninfo, options="-c timezone=Asia/Shanghai")

    def create(self) -> None:
        """See Registry; columns carry their Chinese names as comments."""
        with self._open() as db:
            for table, columns in TABLES.items():
                db.execute(f"CREATE TABLE {table} ({', '.join(_columns(table, 'text', 'timestamptz', exact=True))})")
                db.execute(f"CREATE INDEX ON {table} (gxsj)")
                for column in columns:
                    db.execute(f"COMMENT ON COLUMN {table}.{column} IS '{_COMMENTS[column]}'")

    def change(self, statements: Iterable[tuple[str, Sequence[Any]]]) -> None:
        """See Registry."""
        with self._open() as db:
            for statement, values in statements:
                db.execute(statement.replace("?", "%s") if values else statement, values or None)

    def load(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """See Registry."""
        with self._open() as db, db.cursor() as cursor:
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            cursor.execute(f"ANALYZE {table}")

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """See Registry; every value as text."""
        with self._open() as db:
            found: list[tuple[Any, ...]] = db.execute(_select(table, [f"{name}::text" for name in TABLES[table]])).fetchall()
            return found


class Clerks(threading.Thread):
    """People at work: new entries, changes and deletions, some dozen transactions a second, until `stop`."""

    def __init__(self, registry: Registry, sampler: Sampler, keys: Mapping[str, Sequence[str]]) -> None:
        super().__init__(name="clerks", daemon=True)
        self._registry, self._sampler = registry, sampler
        self._keys = {table: list(known) for table, known in keys.items()}
        self._random = random.Random(7)
        self._ended = threading.Event()
        self.inserted = self.updated = self.deleted = 0

    def run(self) -> None:
        """Work."""
        while not self._ended.wait(self._random.uniform(0.01, 0.04)):
            now = local_now()
            self._registry.change([self._act(now) for _ in range(3)])

    def stop(self) -> None:
        """Finish the transaction and go home."""
        self._ended.set()
        self.join()

    def _act(self, now: datetime) -> tuple[str, Sequence[Any]]:
        drawn = self._random.random()
        return self._insert(now) if drawn < 0.4 else self._delete() if drawn < 0.45 else self._update(now)

    def _delete(self) -> tuple[str, Sequence[Any]]:
        self.deleted += 1
        table, key = self._random.choice((("person", "sfzh"), ("company", "tyshxydm")))
        keys = self._keys[table]
        values = (keys.pop(self._random.randrange(len(keys))),)
        return f"DELETE FROM {table} WHERE {key} = ?", values  # noqa: S608 - names of our own

    def _insert(self, now: datetime) -> tuple[str, Sequence[Any]]:
        self.inserted += 1
        table = self._random.choice(("person", "person", "company"))
        row = self._sampler.person(now) if table == "person" else self._sampler.company(now)
        self._keys[table].append(str(row[0]))
        return insert(table), row

    def _update(self, now: datetime) -> tuple[str, Sequence[Any]]:
        self.updated += 1
        table, key = ("person", "sfzh") if self._random.random() < 0.6 else ("company", "tyshxydm")
        address = f"成都市{self._random.choice(STREETS)}{self._random.randrange(1, 999)}号{self._random.randrange(1, 40)}栋"
        values = (address, stamp(now), self._random.choice(self._keys[table]))
        return f"UPDATE {table} SET dz = ?, gxsj = ? WHERE {key} = ?", values  # noqa: S608 - names of our own
