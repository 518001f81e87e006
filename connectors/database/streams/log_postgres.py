"""The change log of PostgreSQL, read as the difference of two snapshots.

Numbers are given out before transactions commit, and transactions commit in any order; so reading on behind the greatest number
loses whatever commits late. Here a reading goes from one snapshot to the next: it takes the entries of exactly those
transactions that were not over in the first and are in the second, in the order in which they were written. Two transactions
that change one row do so one after the other, because the first holds its lock until it commits: that order is right per key.

What lies between two snapshots may be much. Its rest is then read through a cursor, in a transaction of its own, from the
number reached; the second snapshot stays part of the mark, so that another reading gives the same.

Where transactions are to stay whole, they are read one after the other, by the number of their last entry. That order is right
per key too: whoever changes a row after another transaction does so after that one is over, hence after its last entry, and all
transactions between two snapshots are over. A page then ends at the end of a transaction, unless one alone is longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg

from agent.errors import SourceRefused
from agent.i18n import N_
from agent.ports import Clock
from connectors.database.changelog.names import REGISTRY
from connectors.database.changelog.postgres import SCHEMA, PostgresLog, quoted
from connectors.database.dialects.base import Row, Session
from connectors.database.position import gone
from connectors.database.streams.about import About
from connectors.database.streams.entries import Entries
from connectors.database.streams.snapshots import Snapshot
from connectors.database.streams.stream import Changes, Mark, Stream
from connectors.database.tables.reader import TableReader

_LOOK_SECS: Final = 5.0
"""How often the triggers are looked at while reading."""

_TRIM_SECS: Final = 60.0
_TRIM_ROWS: Final = 20_000

_IDENTITY: Final = f"""
SELECT l.id || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || '/' || t.made
FROM {SCHEMA}.{REGISTRY} AS l, (
    SELECT string_agg(concat_ws(',', t.oid, t.xmin, p.oid, p.xmin), ';' ORDER BY t.tgname) AS made, count(*) AS found
    FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
    WHERE t.tgrelid = CAST(:table AS regclass) AND t.tgenabled IN ('O', 'A') AND t.tgqual IS NULL
        AND p.prosrc = :body AND t.tgtype = CASE WHEN t.tgname = CAST(:trigger AS name) THEN 29 ELSE 32 END
        AND t.tgname IN (CAST(:trigger AS name), CAST(:truncation AS name))) AS t
WHERE l.name = :name AND t.found = 2
"""  # noqa: S608 - constants
"""What names this log, this course of the server's history and these very triggers; no row unless all are there as they were
made: 29 is a trigger after each insert, update or delete of a row, 32 one after a truncation."""

_BETWEEN: Final = """
((l.txid >= %(floor)s AND l.txid < %(ceiling)s) OR l.txid = ANY(CAST(%(open)s AS bigint[])))
AND txid_visible_in_snapshot(l.txid, CAST(%(until)s AS txid_snapshot))
"""


@dataclass(frozen=True, slots=True)
class _At:
    """A mark: everything up to snapshot `since`, and of what lies between it and `until` everything up to entry `seq`."""

    log: str
    since: str
    until: str = ""
    seq: int = 0
    txid: int = 0  # of that entry, where transactions are read one after the other

    def mark(self) -> Mark:
        mark = {"log": self.log, "since": self.since, "until": self.until, "seq": self.seq}
        return mark | ({"txid": self.txid} if self.txid else {})


class PostgresLogStream:
    """Implements Stream for a change log of PostgreSQL. `account` may read the log and delete from it."""

    exact = True

    def __init__(self, log: PostgresLog, reader: TableReader, keep_secs: float, clock: Clock, *, whole: bool = False) -> None:
        """With `whole` transactions are read one after the other."""
        self._log = log
        self._whole = whole
        self._database = reader.database
        self._session: Session = reader.database.connect()
        self._keep_secs = keep_secs
        self._clock = clock
        self._entries = Entries(reader.pages.shape)
        self._sql = _entries_sql(log, self._entries)
        self._grouped_sql = _grouped_sql(log, self._entries)
        self._cursor: Any = None
        self._kept: Sequence[Row] = ()  # rows of the cursor behind the tip
        self._tip: _At | None = None  # where the open cursor stands
        self._looked_at = float("-inf")
        self._trimmed_at = float("-inf")
        self._may_trim: bool | None = None
        self._heard = False
        self._listen()

    def begin(self) -> Mark:
        """See Stream. Raises SourceRefused when a trigger is missing or off."""
        identity = self._identity()
        if identity is None:
            raise SourceRefused(
                N_("the triggers that fill the change log of {flow} are missing or switched off"),
                hint=N_("let the DBA run what this prints: huitong source ddl {flow}"),
                flow=self._log.flow,
            )
        return _At(identity, self._snapshot()).mark()

    def read(self, after: Mark, limit: int) -> Changes:
        """See Stream."""
        at = _At(**after)
        self._look(at)
        if self._cursor is not None and at != self._tip:
            self._end_cursor()
        if not at.until:
            at = replace(at, until=self._snapshot())
        rows = self._kept
        if len(rows) < limit:
            rows = [*rows, *self._fetch(at, limit - len(rows))]
        full = len(rows) >= limit
        made = self._entries.changes(rows[: _whole_of(rows)] if full and self._is_grouped(at) else rows, limit)
        reached = self._reach(at, rows, made.read, full=full)
        changes = replace(made.changes, mark=reached.mark(), more=bool(reached.until), suspicious=self._session.suspicious)
        ended = changes.rows and made.read and _changes_hands(rows, made.read, full=full)
        return replace(changes, ends=sorted({*changes.ends, len(changes.rows) - 1})) if ended else changes

    def head(self) -> Mark:
        """See Stream."""
        return self._snapshot()

    def covers(self, mark: Mark, head: Mark) -> bool:
        """See Stream."""
        return Snapshot.of(mark["since"]).holds(Snapshot.of(head))

    def commit(self, mark: Mark) -> None:
        """See Stream: entries that were captured and are older than `keep` go, some at a time."""
        now = self._clock.monotonic()
        if now - self._trimmed_at < _TRIM_SECS or self._cursor is not None or not self._trims:
            return
        self._trimmed_at = now
        with self._database.translated():
            self._session.driver.execute("BEGIN READ WRITE")
            try:
                self._session.driver.execute(
                    f"DELETE FROM {self._log.log} WHERE (txid, seq) IN (SELECT txid, seq FROM {self._log.log} WHERE txid < %s "  # noqa: S608
                    "AND at < clock_timestamp() - make_interval(secs => %s) ORDER BY txid, seq LIMIT %s)",
                    (Snapshot.of(mark["since"]).xmin, self._keep_secs, _TRIM_ROWS),
                )
            finally:
                self._session.driver.execute("COMMIT")

    def fileno(self) -> int | None:
        """See alarm.Watched."""
        return int(self._session.driver.fileno())

    def look(self) -> bool:
        """See alarm.Watched: take in what the server announced."""
        with self._database.translated():
            self._session.driver.pgconn.consume_input()
            while self._session.driver.pgconn.notifies() is not None:
                self._heard = True
        heard, self._heard = self._heard, False
        return heard

    def close(self) -> None:
        """See Stream."""
        self._session.close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Hear of statements that wrote to the table, where the triggers announce them."""

        def hear(_notification: object) -> None:  # one that came with the answer to something else
            self._heard = True

        with self._database.translated():
            self._session.driver.add_notify_handler(hear)
            self._session.driver.execute(f"LISTEN {quoted(self._log.channel)}")

    def _reach(self, at: _At, rows: Sequence[Row], read: int, *, full: bool) -> _At:
        """Return where reading goes on, and see to the cursor for it."""
        if not full and read == len(rows):
            self._end_cursor()
            return _At(at.log, at.until)
        seq, txid = rows[read - 1][:2]
        reached = replace(at, seq=int(seq), txid=int(txid) if self._is_grouped(at) else 0)  # type: ignore[arg-type]
        if self._cursor is None:
            self._begin_cursor(reached)
        else:
            self._kept = rows[read:]
        self._tip = reached
        return reached

    def _is_grouped(self, at: _At) -> bool:
        """Tell whether what lies between two snapshots is read by transaction: as it was begun, it is read to its end."""
        return at.txid > 0 or (self._whole and not at.seq)

    def _look(self, at: _At) -> None:
        """Raise SourceGone when the log, its triggers or the server's history are not those of the mark any more."""
        now = self._clock.monotonic()
        if now - self._looked_at < _LOOK_SECS:
            return
        if self._identity() != at.log:
            raise gone(
                str(at.log),
                N_("the change log or its triggers were replaced, altered or switched off, or the server is another"),
            )
        self._looked_at = now

    def _identity(self) -> str | None:
        log = self._log
        found: str | None = self._session.value(
            _IDENTITY, table=log.table, trigger=log.trigger, truncation=f"{log.trigger}_t", name=log.name, body=f"\n{log.body}\n"
        )
        return found

    def _snapshot(self) -> str:
        return str(self._session.value("SELECT CAST(txid_current_snapshot() AS text)"))

    def _fetch(self, at: _At, limit: int) -> Sequence[Row]:
        with self._database.translated():
            if self._cursor is not None:
                self._cursor.execute(f"FETCH {limit:d} FROM huitong_entries")
                return self._cursor.fetchall()  # type: ignore[no-any-return]
            return self._database.fetch(self._session, f"{self._sql_at(at)} LIMIT %(limit)s", _between(at) | {"limit": limit})
        raise AssertionError("unreachable")  # mypy: the context never swallows

    def _sql_at(self, at: _At) -> str:
        return self._grouped_sql if self._is_grouped(at) else self._sql

    def _begin_cursor(self, at: _At) -> None:
        """Read the rest between two snapshots through a cursor: sorted once, in a transaction of its own."""
        with self._database.translated():
            self._session.driver.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            declare = f"DECLARE huitong_entries NO SCROLL CURSOR FOR {self._sql_at(at)}"
            psycopg.ClientCursor(self._session.driver).execute(declare, _between(at))  # the server binds nothing in it
            self._cursor = self._database.reader(self._session.driver)

    def _end_cursor(self) -> None:
        self._kept = ()
        if self._cursor is not None:
            self._cursor = None
            with self._database.translated():
                self._session.driver.execute("COMMIT")
        self._tip = None

    @property
    def _trims(self) -> bool:
        if self._may_trim is None:
            self._may_trim = bool(self._session.value("SELECT has_table_privilege(:log, 'DELETE')", log=self._log.log))
        return self._may_trim


def _entries_sql(log: PostgresLog, entries: Entries) -> str:
    """Return the statement that reads entries: seq, txid, time, op, then the columns of `Entries`."""
    return f"{_selected(log, entries, log.log)} WHERE {_BETWEEN} AND l.seq > %(seq)s ORDER BY l.seq"


def _grouped_sql(log: PostgresLog, entries: Entries) -> str:
    """Return the same for entries by transaction, in the order of their last entries."""
    grouped = f"(SELECT l.*, max(l.seq) OVER (PARTITION BY l.txid) AS last FROM {log.log} AS l WHERE {_BETWEEN})"  # noqa: S608
    reached = f"COALESCE((SELECT max(r.seq) FROM {log.log} AS r WHERE r.txid = %(txid)s), 0)"  # noqa: S608
    return f"{_selected(log, entries, grouped)} WHERE (l.last, l.seq) > ({reached}, %(seq)s) ORDER BY l.last, l.seq"


def _selected(log: PostgresLog, entries: Entries, from_: str) -> str:
    new = entries.select("new", f"json_populate_record(CAST(NULL AS {log.table}), l.new)")
    old = entries.select("old", f"json_populate_record(CAST(NULL AS {log.table}), l.old)")
    return (
        "SELECT l.seq, l.txid, replace(CAST(l.at AS text), ' ', 'T') || ':00', CAST(l.op AS text), n.*, o.* "  # noqa: S608
        f"FROM {from_} AS l LEFT JOIN LATERAL ({new}) AS n ON l.new IS NOT NULL "
        f"LEFT JOIN LATERAL ({old}) AS o ON l.old IS NOT NULL"
    )


def _whole_of(rows: Sequence[Row]) -> int:
    """Return how many rows of a page belong to transactions that surely end in it; all when there is only one."""
    return next((number for number in range(len(rows) - 1, 0, -1) if rows[number][1] != rows[number - 1][1]), len(rows))


def _changes_hands(rows: Sequence[Row], read: int, *, full: bool) -> bool:
    """Tell whether a transaction ends with the row that was read last, as far as can be seen."""
    return rows[read][1] != rows[read - 1][1] if read < len(rows) else not full


def _between(at: _At) -> dict[str, Any]:
    """Return the parameters that choose the entries between two snapshots."""
    since, until = Snapshot.of(at.since), Snapshot.of(at.until)
    return {
        "floor": since.xmax,
        "ceiling": until.xmax,
        "open": f"{{{','.join(map(str, sorted(since.open)))}}}",
        "seq": at.seq,
        "txid": at.txid,
        "until": at.until,
    }


def log_of(about: About, account: str = "") -> PostgresLog:
    """Return the log of a flow; `account` is who reads it."""
    return PostgresLog(about.flow, about.table, account, notify=about.settings.notify)


def obstacle(about: About) -> str:
    """See choose.Way."""
    found = about.reader.session.value("SELECT CAST(to_regclass(:name) AS text)", name=log_of(about).log)
    return "" if found is not None else N_("there is no change log (huitong source ddl)")


def stream_of(about: About) -> Stream:
    """See choose.Way."""
    whole = about.settings.transactions == "whole"
    return PostgresLogStream(log_of(about), about.reader, about.settings.keep.total_seconds(), about.clock, whole=whole)
