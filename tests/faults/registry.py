"""A department's database and drop folder, and the people at work in them.

Every row and every line carries a version number that grows by one with each change of its key, so that anybody can tell from
the hub's records alone whether something is missing, there twice, or in the wrong order.
"""

from __future__ import annotations

import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg

from agent.adapters.clock import SystemClock

TABLES: Final = {"things": "thing", "notes": "note"}
"""Flow → table."""

SLIPS: Final = "slips"
"""The flow of the drop folder."""

COLUMNS: Final = ("id", "rev", "name", "amount")
HEADER: Final = "编号,版本,名称,金额(元)\r\n"
BAD_KEY: Final = re.compile(r"bad-[0-9]+-[0-9]+")
NAMES: Final = ("成都市武侯区", "䶮家沟", "𠮷野", 'O\'Neil "甲"', "多行\n文字", " 首尾空格 ", "")

Row = tuple[str, int, str | None, str | None]
"""id, rev, name, amount as text."""

Change = tuple[str, Sequence[Any]]
"""A statement with ? for its values."""

Finish = Callable[[bool], None]
"""Commits what was held (True) or takes it back."""

LATE_SECS: Final = 2.0
"""Held longer than this it is taken back: the overlap of the flows is 4 s, and beyond it polling promises nothing."""

INSERT: Final = "INSERT INTO {table} VALUES (?, ?, ?, ?, ?)"
UPDATE: Final = "UPDATE {table} SET rev = ?, name = ?, amount = ?, changed_at = ? WHERE id = ?"


class Registry(Protocol):
    """A database with the tables of TABLES."""

    now: str
    """The clock of the database, in its SQL."""

    def create(self, rows: int) -> None:
        """Create the tables, with so many rows in each."""
        ...

    def install(self, statements: Sequence[str], *, together: bool) -> None:
        """Run what a DBA is told to run, in one transaction or one by one."""
        ...

    def change(self, changes: Iterable[Change]) -> None:
        """Run statements in one transaction. Raises ConnectionError when nobody knows whether it was committed."""
        ...

    def hold(self, change: Change) -> Finish:
        """Run a statement now; others see it, or never will, when the returned function is called."""
        ...

    def rows(self, table: str) -> list[Row]:
        """Return a whole table."""
        ...


def first_rows(count: int, now: datetime) -> Iterable[tuple[Any, ...]]:
    """Return the rows that are there before anybody works."""
    for number in range(count):
        stamp = now - timedelta(seconds=count - number)
        yield (f"k{number:06}", 1, NAMES[number % len(NAMES)], f"{number}.{number % 100:02}", stamp)


class SqliteRegistry:
    """The tables in a file. Amounts are text: SQLite would keep them as binary fractions."""

    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')"

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, rows: int) -> None:
        """See Registry."""
        now = SystemClock().now()
        with closing(self._open()) as db:
            db.execute("PRAGMA journal_mode=WAL")
            for table in TABLES.values():
                db.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY, rev INTEGER, name TEXT, amount TEXT, changed_at TEXT)")
                db.execute(f"CREATE INDEX {table}_changed ON {table} (changed_at)")
                db.execute("BEGIN")
                db.executemany(INSERT.format(table=table), ([*row[:-1], stamped(row[-1])] for row in first_rows(rows, now)))
                db.execute("COMMIT")

    def install(self, statements: Sequence[str], *, together: bool) -> None:
        """See Registry."""
        with closing(self._open()) as db:
            for statement in ("BEGIN", *statements, "COMMIT") if together else statements:
                db.execute(statement)

    def change(self, changes: Iterable[Change]) -> None:
        """See Registry."""
        with closing(self._open()) as db:
            db.execute("PRAGMA synchronous=OFF")  # it is not this database that is put to the test
            db.execute("BEGIN IMMEDIATE")
            for statement, values in changes:
                db.execute(statement, [stamped(value) if isinstance(value, datetime) else value for value in values])
            db.execute("COMMIT")

    def hold(self, change: Change) -> Finish:
        """See Registry. One writer at a time: what is held is written late, with the stamp of now, which looks the same."""
        return lambda commit: self.change([change] if commit else [])

    def rows(self, table: str) -> list[Row]:
        """See Registry."""
        with closing(self._open()) as db:
            return db.execute(f"SELECT {', '.join(COLUMNS)} FROM {table}").fetchall()

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30, isolation_level=None)


def stamped(moment: datetime) -> str:
    """Return a time as the applications of this department write it."""
    return moment.isoformat(sep=" ", timespec="microseconds")


class PostgresRegistry:
    """The tables in PostgreSQL."""

    now = "now()"

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo

    def create(self, rows: int) -> None:
        """See Registry."""
        now = SystemClock().now()
        with self._open() as db, db.cursor() as cursor:
            for table in TABLES.values():
                cursor.execute(
                    f"CREATE TABLE {table} (id text PRIMARY KEY, rev integer, name text, amount numeric(16, 2),"
                    " changed_at timestamptz)"
                )
                cursor.execute(f"CREATE INDEX ON {table} (changed_at)")
                cursor.executemany(_native(INSERT.format(table=table)), list(first_rows(rows, now)))

    def install(self, statements: Sequence[str], *, together: bool) -> None:
        """See Registry."""
        with closing(self._open()) as db:
            db.autocommit = not together
            for statement in statements:
                db.execute(statement.encode())
            db.commit()

    def change(self, changes: Iterable[Change]) -> None:
        """See Registry."""
        try:
            with self._open() as db:
                for statement, values in changes:
                    db.execute(_native(statement), values)
        except psycopg.Error as error:
            raise ConnectionError(str(error)) from error

    def hold(self, change: Change) -> Finish:
        """See Registry: a transaction that stays open."""
        try:
            db = self._open()
            db.execute(_native(change[0]), change[1])
        except psycopg.Error as error:
            raise ConnectionError(str(error)) from error

        def finish(commit: bool) -> None:
            try:
                with closing(db):
                    db.commit() if commit else db.rollback()
            except psycopg.Error as error:
                raise ConnectionError(str(error)) from error

        return finish

    def rows(self, table: str) -> list[Row]:
        """See Registry."""
        with self._open() as db:
            return db.execute(f"SELECT id, rev, name, amount::text FROM {table}").fetchall()

    def _open(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.conninfo, connect_timeout=5)


def _native(statement: str) -> str:
    return statement.replace("?", "%s")


# -- people at work --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Diary:
    """What was written, or tried to be: what a hub may hold and, of files, what it must hold."""

    tried: dict[str, set[tuple[str, int]]] = field(default_factory=dict)  # flow → (id, rev)
    slips: dict[tuple[str, int], Row] = field(default_factory=dict)  # good lines of files
    bad: list[str] = field(default_factory=list)  # ids of lines that must be refused, each once
    files: int = 0
    late: int = 0  # transactions that became visible after younger ones

    def note(self, flow: str, key: str, rev: int) -> None:
        """Note a version."""
        self.tried.setdefault(flow, set()).add((key, rev))


@dataclass(frozen=True, slots=True)
class Habits:
    """How the people work."""

    pause_secs: float = 0.03  # between two transactions
    files_every: int = 10  # transactions; 0 for none
    late_every: int = 10
    only_late: bool = False  # nothing but transactions that become visible late
    flows: tuple[str, ...] = tuple(TABLES)


class Clerks(threading.Thread):
    """Inserts, updates, late commits and file drops, seeded, until `go_home`. What they wrote stands in `diary`."""

    def __init__(self, registry: Registry, drop: Path, first_rows: int, seed: int, habits: Habits = Habits()) -> None:
        super().__init__(name="clerks", daemon=True)
        self._registry = registry
        self._drop = drop
        self._random = random.Random(seed)
        self._habits = habits
        self._revs = {flow: {f"k{number:06}": 1 for number in range(first_rows)} for flow in TABLES}
        self._slips: dict[str, int] = {}
        self._held: list[tuple[int, float, Finish]] = []  # until which turn, since when
        self._files: list[bytes] = []
        self.turns = 0
        self.only_late = habits.only_late
        self._ended = threading.Event()
        self.diary = Diary({flow: {(key, 1) for key in revs} for flow, revs in self._revs.items()})

    def run(self) -> None:
        """Work."""
        while not self._ended.wait(self._habits.pause_secs):
            self.work()
        self._let_go(everything=True)

    def go_home(self) -> None:
        """Finish what was begun, and end."""
        self._ended.set()
        self.join()

    def work(self) -> None:
        """Take one turn."""
        self.turns += 1
        self._let_go()
        habits = self._habits
        if self.only_late or (habits.late_every and self.turns % habits.late_every == 0):
            self._begin_late()
        if not self.only_late:
            self._try(self._transact)
        if habits.files_every and self.turns % habits.files_every == 0:
            self._drop_file()

    # -- tables ------------------------------------------------------------------------------------------------------

    def _transact(self) -> None:
        self._registry.change([self._one_change() for _ in range(self._random.randint(1, 4))])

    def _one_change(self) -> Change:
        flow = self._random.choice(self._habits.flows)
        if self._random.random() < 0.5:
            return self._insert(flow)
        key = self._random.choice(list(self._revs[flow]))
        rev = self._revs[flow][key] = self._revs[flow][key] + 1
        self.diary.note(flow, key, rev)
        return UPDATE.format(table=TABLES[flow]), (rev, self._any_name(), self._any_amount(), SystemClock().now(), key)

    def _insert(self, flow: str) -> Change:
        key = f"n{self.turns:06}-{self._random.randrange(1 << 32):08x}"
        self._revs[flow][key] = 1
        self.diary.note(flow, key, 1)
        return INSERT.format(table=TABLES[flow]), (key, 1, self._any_name(), self._any_amount(), SystemClock().now())

    def _begin_late(self) -> None:
        """Write a row now that others see some turns later, after younger ones."""
        flow = self._random.choice(self._habits.flows)
        change = self._insert(flow)
        self._revs[flow].pop(str(change[1][0]))  # nobody else sees it, nobody updates it
        until, begun = self.turns + self._random.randint(2, 30), time.monotonic()
        self._try(lambda: self._held.append((until, begun, self._registry.hold(change))))

    def _let_go(self, *, everything: bool = False) -> None:
        due = [held for held in self._held if everything or held[0] <= self.turns]
        self._held = [held for held in self._held if held not in due]
        for _, begun, finish in due:
            in_time = time.monotonic() - begun < LATE_SECS
            self.diary.late += in_time
            self._try(partial(finish, in_time))

    def _try(self, act: Callable[[], object]) -> None:
        """Do something at the database; when that is away, go on with something else later."""
        try:
            act()
        except ConnectionError:
            self._ended.wait(0.1)

    # -- files -------------------------------------------------------------------------------------------------------

    def _drop_file(self) -> None:
        """Drop a file in GB18030 with some bad lines; now and then one that was dropped before."""
        self.diary.files += 1
        name = f"slip-{len(self._files):04}.csv"
        if self._files and self._random.random() < 0.15 and not (self._drop / name).exists():
            content = self._files[-1]  # the very same again
        else:
            content = "".join([HEADER, *self._lines()]).encode("gb18030")
            self._files.append(content)
            name = f"slip-{len(self._files):04}.csv"
        partial = self._drop / f".{name}.part"
        partial.write_bytes(content)
        partial.rename(self._drop / name)
        (self._drop / f"{name}.ok").touch()

    def _lines(self) -> Iterable[str]:
        file = len(self._files) + 1
        for number in range(self._random.randint(5, 30)):
            old = self._random.random() < 0.3 and self._slips
            key = self._random.choice(list(self._slips)) if old else f"s{file:04}-{number:03}"
            rev = self._slips[key] = self._slips.get(key, 0) + 1
            amount = f"{self._random.randrange(10_000)}.{self._random.randrange(100):02}"
            self.diary.slips[key, rev] = (key, rev, "张三䶮", amount)
            self.diary.note(SLIPS, key, rev)
            yield f"{key},{rev},张三䶮,{amount}\r\n"
        for number, rest in enumerate((",1,李四,十二元\r\n", ",1\r\n")):  # no number; too few fields
            key = f"bad-{file:04}-{number}"
            self.diary.bad.append(key)
            yield f"{key}{rest}"

    def _any_name(self) -> str | None:
        return self._random.choice([*NAMES, None])

    def _any_amount(self) -> str | None:
        return f"{self._random.randrange(1_000_000)}.{self._random.randrange(100):02}"
