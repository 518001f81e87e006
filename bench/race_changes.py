"""What both sides of the race read: the table `wide` of `stage`, and changes to it that are the same for both.

Change number n (from 0 on) inserts a row when n is even and updates another one when it is odd, each time a row of its own, so
that a side which looks at rows by their time of change has as many to find as one which reads the log.
"""

from __future__ import annotations

import threading
import time

import psycopg

from agent.testing.nodes.postgres import PostgresDatabase
from bench.stage import COLUMNS, fill

_COPIED = ", ".join(COLUMNS[:-2])
_INSERT = f"INSERT INTO wide SELECT {_COPIED}, {{rows}} + 1 + {{n}}, clock_timestamp() FROM wide WHERE seq = 1 + {{n}} % {{rows}}"
_UPDATE = "UPDATE wide SET income = income + 1, updated_at = clock_timestamp() WHERE seq = 1 + {n} / 2 % {rows}"
_MANY = """
DO $$
BEGIN
  FOR n IN {first}..{last} LOOP
    IF n % 2 = 0 THEN {insert}; ELSE {update}; END IF;
    IF (n - {first} + 1) % {size} = 0 THEN COMMIT; END IF;
  END LOOP;
END $$
"""


class Changes:
    """A filled table, and a writer that counts what it has changed since."""

    def __init__(self, database: PostgresDatabase, rows: int) -> None:
        self.rows = rows
        self.total = rows
        """Events that a side must have seen by now: every row once, and every change."""
        self._database = database

    def fill(self) -> None:
        """Create and fill the table, and read it once, so that every page is in memory for whoever comes first."""
        fill(self._database, self.rows)
        with psycopg.connect(self._database) as db, db.cursor().copy("COPY wide TO STDOUT") as blocks:
            for _ in blocks:
                pass

    def fill_again(self) -> None:
        """Begin anew, with a table as it was."""
        with psycopg.connect(self._database, autocommit=True) as db:
            db.execute("DROP TABLE wide")
        self.total = self.rows
        self.fill()

    def write(self, changes: int, size: int) -> None:
        """Commit so many changes in transactions of that size; all are in the flushed log when this returns."""
        first = self.total - self.rows
        insert, update = _INSERT.format(n="n", rows=self.rows), _UPDATE.format(n="n", rows=self.rows)
        block = _MANY.format(first=first, last=first + changes - 1, size=size, insert=insert, update=update)
        with psycopg.connect(self._database, autocommit=True) as db:
            db.execute("SET synchronous_commit = off")  # the writer's speed is not what is measured
            db.execute(block)
            db.execute("SET synchronous_commit = on")
            db.execute("CHECKPOINT")
        self.total += changes

    def write_slowly(self, changes: int, rate: float) -> list[float]:
        """Commit changes one by one at the rate, durably; return the monotonic second at which each was committed."""
        committed: list[float] = []
        pause, start = threading.Event(), time.monotonic()
        with psycopg.connect(self._database, autocommit=True) as db:
            for number in range(changes):
                pause.wait(max(0.0, start + number / rate - time.monotonic()))
                n = self.total - self.rows
                statement = _UPDATE if n % 2 else _INSERT
                db.execute(statement.format(n=n, rows=self.rows).encode())
                committed.append(time.monotonic())
                self.total += 1
        return committed
