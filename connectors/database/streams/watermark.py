"""Polling by a time that the database itself sets, up to the oldest open transaction.

A row carries the time at which its transaction, or on MySQL its statement, began, and becomes visible when it commits. So nothing
that becomes visible later is older than the oldest transaction that is open now. That time, noted before the rows are read, is
the watermark: the next round reads from there on, and no late commit is missed however late it comes.

What lies above the watermark is read again by every round; what was handed out already is remembered and left out. The rule
holds for times that the database sets (a default, ON UPDATE CURRENT_TIMESTAMP, a trigger). For a column that applications fill
from a clock of their own it does not: use polling. Deletes are not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from agent.errors import SourceRefused
from agent.i18n import N_
from agent.model import Value
from agent.ports import Clock
from connectors.database.dialects.base import Row
from connectors.database.streams.about import About
from connectors.database.streams.activity_mysql import OBSTACLES, SET_BY_SERVER, Activity, Horizon, Lookout, MysqlLookout
from connectors.database.streams.stream import Changes, Mark, Stream
from connectors.database.tables.reader import Page, TableReader
from connectors.database.tables.table import ValueKind
from connectors.database.tables.values import Place, from_json, to_json

SKEW: Final = timedelta(seconds=1.1)
"""Columns of whole seconds round down; and a transaction takes its time a moment before others can see it."""

_REMEMBERED: Final = 50_000
"""Rows above the watermark that are remembered, at most; what is forgotten is handed out again."""

_PAGES: Final = 20
"""Pages with nothing new in them that one reading goes through."""

_TICK: Final = timedelta(seconds=0.5)
_DRIFT: Final = 0.001
_QUARTER: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class _Round:
    """From where a round reads, and from where the next one will: moments, and the offsets of the column at that time."""

    low: datetime
    offset: timedelta
    next_low: datetime
    next_offset: timedelta
    doubt: bool = False


class WatermarkStream:
    """Implements Stream.

    A mark is {"low": watermark in UTC, "off": seconds that the column is ahead of UTC, "at": (cursor, *key) of the last row of a
    round, "next": low and off of the round after it, "of": digest of all that was handed out}.
    """

    exact = False

    def __init__(self, reader: TableReader, lookout: Lookout, lookback: timedelta, clock: Clock) -> None:
        self._reader = reader
        self._pages = reader.pages
        self._lookout = lookout
        self._lookback = lookback
        self._clock = clock
        self._asked: Mark = None
        self._tip: Mark = None
        self._round: _Round | None = None
        self._looked: tuple[datetime, float] | None = None  # clocks of the database and of ours
        self._memory = _Memory()

    def begin(self) -> Mark:
        """See Stream. What was open already may have begun before it was seen: so the margin of polling is kept."""
        horizon = self._look()
        return _mark(_low_of(horizon, None, self._lookback), self._offset(horizon))

    def read(self, after: Mark, limit: int) -> Changes:
        """See Stream. What comes again after a restart, the key ledger of the host knows."""
        at = from_json(after["at"])
        self._recall(after)
        if at is not None:
            self._round = _round_of(after)
        elif self._round is None:
            self._round = self._begin_round(after)
        changes = self._read_on(self._round, at, limit, after["of"])
        self._asked, self._tip = after, changes.mark
        return changes

    def head(self) -> Mark:
        """See Stream."""
        return None

    def covers(self, mark: Mark, head: Mark) -> bool:  # noqa: ARG002 - what was read is the state, whenever it was read
        """See Stream."""
        return True

    def commit(self, mark: Mark) -> None:
        """See Stream: reading leaves no trace in a table."""

    def close(self) -> None:
        """See Stream."""
        self._lookout.close()

    def settled(self, mark: Mark, rows: Sequence[Row]) -> Sequence[bool]:
        """Tell of which rows a poll would never read the present version again: what a walk finds of them was missed."""
        low, offset = datetime.fromisoformat(mark["low"]), timedelta(seconds=mark["off"])
        return [_is_before(self._cursor_of(row), low, offset) for row in rows]

    # -- rounds ------------------------------------------------------------------------------------------------------

    def _recall(self, after: Mark) -> None:
        """See from the mark what became of the page read last: it was kept, is wanted again, or nobody knows."""
        if after == self._tip:
            self._memory.keep()
            self._round = None
        elif after == self._asked:
            self._memory.drop()  # and the round, with its watermark, is that of before
        else:
            self._memory = _Memory()
            self._round = None

    def _begin_round(self, after: Mark) -> _Round:
        low, offset = datetime.fromisoformat(after["low"]), timedelta(seconds=after["off"])
        looked = self._looked
        horizon = self._look()
        back = self._set_back(looked, horizon.at, low)
        if back is not None:
            low = min(low, back - SKEW)
        now_offset = self._offset(horizon)
        # Where clocks are set back for the winter, rows written since carry smaller times.
        return _Round(low, min(offset, now_offset), _low_of(horizon, low, self._lookback), now_offset, doubt=back is not None)

    def _look(self) -> Horizon:
        horizon = self._lookout.look()
        self._looked = (horizon.at, self._clock.monotonic())
        return horizon

    def _set_back(self, looked: tuple[datetime, float] | None, at: datetime, low: datetime) -> datetime | None:
        """Return the earliest time that the clock of the database can have shown since it was set back; None if it was not."""
        if looked is None:
            return at if at < low else None
        before, then = looked
        elapsed = timedelta(seconds=self._clock.monotonic() - then)
        return at - elapsed if at < before + elapsed * (1 - _DRIFT) - _TICK else None

    def _read_on(self, of: _Round, at: Place | None, limit: int, digest: str) -> Changes:
        """Read pages until one holds something new, or the round is over."""
        suspicious, begins = False, at is None
        new: Sequence[Row] = ()
        full, pages = True, 0
        while full and not new and pages < _PAGES:
            page = self._page(of, at, limit)
            pages += 1
            suspicious = suspicious or page.suspicious
            new = [row for row in page.rows if self._memory.is_new(self._reader.key_of(row), row)]
            full = len(page.rows) == limit
            if full:
                at = (self._cursor_of(page.rows[-1]), *self._reader.key_of(page.rows[-1]))
        mark = _mark(of.low, of.offset, at, of, self._memory.digest(digest))
        if not full:
            self._memory.end_round()
            mark = _mark(of.next_low, of.next_offset, of=self._memory.digest(digest))
        return Changes(new, mark, more=full, doubt=of.doubt and begins, suspicious=suspicious)

    def _page(self, of: _Round, at: Place | None, limit: int) -> Page:
        if at is None:
            statement = self._pages.poll(low=True, resumed=False, inclusive=True)
            return self._reader.page(statement, limit, low=self._bound(of.low, of.offset))
        statement = self._pages.poll(low=False, resumed=True, inclusive=False)
        columns = (self._pages.cursor, *self._pages.shape.key)
        cursor, *key = (self._reader.database.comparable(column, value) for column, value in zip(columns, at, strict=True))
        return self._reader.page(statement, limit, c=cursor, **self._reader.bound(tuple(key)))

    # -- times -------------------------------------------------------------------------------------------------------

    def _bound(self, low: datetime, offset: timedelta) -> Value:
        """Return a moment as a value of the cursor."""
        column = self._pages.cursor
        shown = low if column.kind is ValueKind.INSTANT else (low + offset).replace(tzinfo=None)
        return self._reader.database.comparable(column, shown.isoformat())

    def _offset(self, horizon: Horizon) -> timedelta:
        """Return by how much the column is ahead of UTC: nothing, unless its times have no zone."""
        if self._pages.cursor.kind is ValueKind.INSTANT:
            return timedelta()
        present = self._reader.database.present(self._reader.session, self._pages.cursor, None)
        assert present is not None, "the cursor is a time"
        return round((datetime.fromisoformat(present).replace(tzinfo=UTC) - horizon.at) / _QUARTER) * _QUARTER

    def _cursor_of(self, row: Row) -> Value:
        return row[self._pages.shape.index[self._pages.cursor.name]]


class _Memory:
    """The newest version of each row above the watermark that the host has, known by a digest; the newest by key counts."""

    def __init__(self) -> None:
        self._kept: dict[Place, bytes] = {}  # in this round
        self._before: dict[Place, bytes] = {}  # in the round before it
        self._read: dict[Place, bytes] = {}  # in the page that the host may or may not have kept
        self._new: list[bytes] = []
        self._ended = False

    def is_new(self, key: Place, row: Row) -> bool:
        """Tell whether a row is another than the host has, and remember it with the page."""
        digest = hashlib.blake2b(repr(row).encode(), digest_size=16).digest()
        known = self._read.get(key) or self._kept.get(key) or self._before.get(key)
        if key in self._kept or len(self._kept) + len(self._read) < _REMEMBERED:
            self._read[key] = digest
        else:
            self._before = {}  # where not all is remembered, what is older must not be believed
        if known == digest:
            return False
        self._new.append(digest)
        return True

    def digest(self, before: str) -> str:
        """Return what names everything that was handed out, so that a mark tells which of two readings was kept."""
        if not self._new:
            return before
        return hashlib.blake2b(before.encode() + b"".join(self._new), digest_size=8).hexdigest()

    def end_round(self) -> None:
        """Note that the page is the last of its round: what no page of it held lies below the watermark."""
        self._ended = True

    def keep(self) -> None:
        """Learn that the host has the page."""
        self._kept.update(self._read)
        if self._ended:
            self._before, self._kept = self._kept, {}
        self.drop()

    def drop(self) -> None:
        """Learn that it has not."""
        self._read, self._new, self._ended = {}, [], False


def _low_of(horizon: Horizon, before: datetime | None, lookback: timedelta) -> datetime:
    """Return the new watermark: it stays where it is when nothing can be said."""
    if horizon.safe is None:
        return before if before is not None else min(horizon.at, horizon.unwitnessed or horizon.at) - lookback - SKEW
    low = min(horizon.at, horizon.safe) - SKEW
    if horizon.unwitnessed is None:
        return low
    # It was open when we began to look, and what opened it may have waited; but what was settled before stays so.
    margin = horizon.unwitnessed - lookback - SKEW
    return min(low, horizon.unwitnessed - SKEW, margin if before is None else max(before, margin))


def _mark(low: datetime, offset: timedelta, at: Place | None = None, then: _Round | None = None, of: str = "") -> Mark:
    following = None if then is None else [then.next_low.isoformat(), round(then.next_offset.total_seconds())]
    base = {"low": low.isoformat(), "off": round(offset.total_seconds()), "of": of}
    return base | {"at": None if at is None else to_json(at), "next": following}


def _round_of(mark: Mark) -> _Round:
    (low, off), (then, then_off) = (mark["low"], mark["off"]), mark["next"]
    return _Round(datetime.fromisoformat(low), timedelta(seconds=off), datetime.fromisoformat(then), timedelta(seconds=then_off))


def _is_before(value: Value, low: datetime, offset: timedelta) -> bool:
    """Whether a cursor value lies before a moment; what is no ordinary time does not."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return False
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC) - offset) < low


# -- open transactions -----------------------------------------------------------------------------------------------


class PostgresLookout:
    """Implements Lookout: now() is the time at which a transaction began, and other clocks are read later."""

    def __init__(self, reader: TableReader) -> None:
        self._database, self._session = reader.database, reader.session

    def look(self) -> Horizon:
        """See Lookout."""
        with self._database.translated():
            # In this order: what is being prepared meanwhile is in one of them.
            ((at, oldest, hidden),) = self._database.fetch(self._session, _BACKENDS, {})
            ((prepared,),) = self._database.fetch(self._session, _PREPARED, {})
        now = datetime.fromisoformat(str(at))
        if prepared is not None or hidden:
            return Horizon(now, None, None if prepared is None else datetime.fromisoformat(str(prepared)))
        return Horizon(now, now if oldest is None else datetime.fromisoformat(str(oldest)))

    def close(self) -> None:
        """See Lookout: the session is that of the source."""


# -- whether it is possible ------------------------------------------------------------------------------------------


def obstacle(about: About) -> str:
    """See choose.Way. Also wants signs that the database itself sets the column: auto must not rely on less."""
    return _missing(about) or _unlikely(about)


def stream_of(about: About) -> Stream:
    """See choose.Way. Who asks for this mode answers for the column."""
    missing = _missing(about)
    if missing:
        raise SourceRefused(missing, hint=N_("choose another mode, or auto"))
    is_postgres = about.reader.database.name == "postgresql"
    lookout: Lookout = (
        PostgresLookout(about.reader) if is_postgres else MysqlLookout(Activity(about.reader.database, about.clock))
    )
    return WatermarkStream(about.reader, lookout, about.settings.overlap, about.clock)


def _missing(about: About) -> str:
    """Return what the mode cannot do without."""
    cursor = about.reader.pages.shape.cursor
    if cursor is None:
        return N_("no cursor is set")
    if cursor.kind not in (ValueKind.INSTANT, ValueKind.TIMESTAMP):
        return N_("the cursor is not a date with a time of day")
    obstacles = _POSTGRES if about.reader.database.name == "postgresql" else OBSTACLES
    if obstacles is OBSTACLES and not Activity.possible(about.reader.session):
        return N_("the account may not see open transactions; let the DBA run: GRANT PROCESS ON *.* TO the account")
    of_query = about.reader.pages.shape.table.query is not None
    asked_of = [(text, asked) for text, asked in obstacles if not (of_query and _names_table(asked))]
    return next((text for text, asked in asked_of if _holds(about, asked)), "")


def _unlikely(about: About) -> str:
    """Return what speaks against a column that the database sets at every change."""
    reader = about.reader
    cursor = reader.pages.cursor
    if reader.pages.shape.table.query is not None:
        return N_("nobody can tell of a query whether the database itself sets the cursor at every change")
    if cursor.kind is not ValueKind.INSTANT:
        return N_("the cursor has no time zone, so nobody can tell which zone its times are in")
    if not _holds(about, _SET_POSTGRES if reader.database.name == "postgresql" else SET_BY_SERVER):
        return N_("the database does not set the cursor at every change (no default and trigger, or ON UPDATE)")
    if cursor.nullable and reader.session.page(reader.pages.any_null((cursor,))):
        return N_("some rows have no value in the cursor")
    newest = reader.session.page(reader.pages.greatest_cursor(0))
    value = newest[0][0] if newest else None
    present = reader.database.present(reader.session, cursor, value)
    if isinstance(value, str) and (present is None or value > present):
        return N_("some values of the cursor lie in the future")
    return ""


def _names_table(question: str) -> bool:
    return ":full" in question or ":name" in question


def _holds(about: About, question: str) -> bool:
    """Ask the catalogue about the table and its cursor."""
    table, column = about.reader.pages.shape.table, about.reader.pages.cursor.name
    given = {"full": about.table, "schema": table.schema or "", "name": table.name, "column": column}
    return bool(about.reader.session.value(question, **{name: given[name] for name in given if f":{name}" in question}))


_BACKENDS: Final = """
SELECT CAST(statement_timestamp() AS text), CAST(min(xact_start) AS text),
CAST(count(*) FILTER (WHERE backend_type IS NULL OR state = 'disabled') AS int)
FROM pg_catalog.pg_stat_activity
WHERE datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()
AND (backend_type IS NULL OR backend_type NOT IN ('parallel worker', 'autovacuum worker', 'walsender'))
"""
"""Transactions of other databases cannot write to this one, nor can the processes left out except for who leads them."""

_PREPARED: Final = "SELECT CAST(min(prepared) AS text) FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()"

_POSTGRES: Final = (
    (
        N_("the account may not see the transactions of others; let the DBA run: GRANT pg_read_all_stats TO the account"),
        "SELECT NOT pg_has_role('pg_read_all_stats', 'USAGE')",
    ),
    (N_("the server is a standby: transactions of the primary cannot be seen here"), "SELECT pg_is_in_recovery()"),
    (
        N_("the server does not show what its sessions do (track_activities is off)"),
        "SELECT current_setting('track_activities') = 'off'",
    ),
    (
        N_("the table is filled by replication: its times are those of another server"),
        "SELECT count(*) FROM pg_catalog.pg_subscription_rel WHERE srrelid = to_regclass(:full)",
    ),
)

_SET_POSTGRES: Final = """
SELECT count(*) FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
WHERE t.tgrelid = to_regclass(:full) AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 19 = 19
AND (position(lower(:column) IN lower(p.prosrc)) > 0 OR position(:column IN encode(t.tgargs, 'escape')) > 0)
"""
"""For each row (1), before (2) an update (16), by a function that knows the column."""
