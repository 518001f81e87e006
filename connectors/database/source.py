"""A table as a source: a first load by key, then polling by cursor and key."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, Self

from agent.errors import SourceRefused
from agent.i18n import N_
from agent.model import Batch, Finding, FlowState, Position, Progress, Unreadable, Value
from agent.ports import Clock
from connectors.database.connect import database_of
from connectors.database.dialects.base import Database, Row, Session
from connectors.database.position import Belonging, Load, Place, Poll, Reached, Walk
from connectors.database.settings import DatabaseFrom
from connectors.database.streams.margin import start_of_polling
from connectors.database.streams.overlap import Overlap
from connectors.database.tables.keys import read_key
from connectors.database.tables.pages import Pages, Statement
from connectors.database.tables.rows import instants, split_unreadable
from connectors.database.tables.shape import shape_of
from connectors.database.tables.table import ValueKind
from connectors.wiring import Wiring

_KEYS_AT_ONCE: Final = 50


class DatabaseSource:
    """Implements ports.Source for one table. What the modes of reading mean is told in `position` and `overlap`."""

    def __init__(self, settings: DatabaseFrom, database: Database, columns: Sequence[str], clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._wanted = tuple(columns)
        self._belonging = Belonging(settings.table, settings.key, settings.cursor, settings.where)
        self._overlap = Overlap(clock, settings.overlap.total_seconds())
        self._news = threading.Event()
        self._session: Session | None = None
        self._pages: Pages | None = None
        self._total: int | None = None
        self._tip: Position | None = None  # where polling has got to: reading on from there continues what memory knows
        self._now: str | None = None  # of the database, when it was last asked
        self._newest: Value = None  # cursor value of the round so far

    @classmethod
    def build(cls, wiring: Wiring[DatabaseFrom]) -> Self:
        """Return the source of a flow, unopened."""
        return cls(wiring.settings, database_of(wiring), wiring.columns, wiring.clock)

    # -- ports.Source ------------------------------------------------------------------------------------------------

    def open(self, state: FlowState) -> str:
        """See ports.Source."""
        self.close()
        self._session = self._database.connect()
        self._pages = Pages(shape_of(self._database, self._session, self._settings, self._wanted))
        self._total = None
        if not state.loaded and self._settings.where is None:
            self._total = self._database.estimate(self._session, self._pages.shape.table)
        self._tip = self._now = self._newest = None
        return self._database.incarnation(self._session)

    def wait(self, timeout_secs: float) -> bool:
        """See ports.Source: a table says nothing by itself, so only `wake` ends the wait early."""
        woken = self._news.wait(timeout_secs)
        self._news.clear()
        return woken

    def wake(self) -> None:
        """See ports.Source."""
        self._news.set()

    def read(self, after: Position, limit: int) -> Batch:
        """See ports.Source. Rows that may still have changed unseen come again; the key ledger of the host knows them."""
        limit = min(limit, self._settings.page_rows)
        match self._belonging.decode(after):
            case None:
                return self._load(Load(None, self._start_of_polling(), 0), limit)
            case Load() as reached:
                return self._load(reached, limit)
            case Walk() as reached:
                return self._walk(reached, limit)
            case Poll() as reached:
                if after != self._tip:
                    self._overlap.restart(reached.low)
                batch = self._poll(reached, after, limit)
                self._tip = batch.position
                return batch

    def read_keys(self, keys: Sequence[str]) -> Batch:
        """Return the rows with these keys (canonical key text) as they are now. The position of the batch means nothing."""
        columns = self._open_pages.shape.key
        rows: list[Row] = []
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            values = {
                f"k{n}_{i}": self._database.comparable(column, value)
                for n, key in enumerate(some)
                for i, (column, value) in enumerate(zip(columns, read_key(key, len(columns)), strict=True))
            }
            rows += self._rows(self._open_pages.matching(len(some)), len(some) + 1, values)
        return self._batch(rows, Position(""), more=False)

    def commit(self, position: Position) -> None:
        """See ports.Source: reading leaves no trace in a table."""

    def check(self) -> Sequence[Finding]:
        """See ports.Source."""
        from connectors.database.check import check_table  # noqa: PLC0415 - only people ask

        return check_table(self._database, self._settings, self._wanted)

    def close(self) -> None:
        """See ports.Source."""
        if self._session is not None:
            session, self._session, self._pages = self._session, None, None
            session.close()

    # -- the three ways to read --------------------------------------------------------------------------------------

    def _load(self, place: Load, limit: int) -> Batch:
        rows, after = self._by_key(place.after, limit)
        done = place.done + len(rows)
        reached: Reached = Walk() if self._settings.cursor is None else Poll(place.low)
        if after is not None:
            reached = Load(after, place.low, done)
        loading = Progress(done, done if after is None else self._estimate(done))
        return self._batch(rows, self._belonging.encode(reached), more=not isinstance(reached, Walk), loading=loading)

    def _walk(self, place: Walk, limit: int) -> Batch:
        rows, after = self._by_key(place.after, limit)
        return self._batch(rows, self._belonging.encode(Walk(after)), more=after is not None)

    def _poll(self, place: Poll, after: Position, limit: int) -> Batch:
        if place.at is None:
            low = self._overlap.begin_round()
            statement = self._open_pages.poll(low=low is not None, resumed=False, inclusive=self._coarse)
            rows = self._rows(statement, limit, {"low": low})
        else:
            statement = self._open_pages.poll(low=False, resumed=True, inclusive=False)
            rows = self._rows(statement, limit, self._at(place.at, cursor=True))
        self._newest = self._newest_past(rows, self._newest if place.at is not None else None)
        if len(rows) == limit:
            reached = Poll(self._overlap.low, (self._cursor_of(rows[-1]), *self._key_of(rows[-1])))
            return self._batch(rows, self._belonging.encode(reached), more=True)
        self._overlap.complete_round(self._newest)
        if not rows and place.at is None:
            return self._batch(rows, after, more=False)
        return self._batch(rows, self._belonging.encode(Poll(self._overlap.low)), more=False)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _by_key(self, after: Place | None, limit: int) -> tuple[Sequence[Row], Place | None]:
        """Return a page and where the next one begins, None after the last. Rows without a key are a page before all others."""
        if after is None and any(column.nullable for column in self._open_pages.shape.key):
            return self._keyless(limit), ()
        statement = self._open_pages.load(resumed=bool(after))
        rows = self._rows(statement, limit, self._at(after, cursor=False) if after else {})
        return rows, self._key_of(rows[-1]) if len(rows) == limit else None

    def _at(self, place: Place, *, cursor: bool) -> dict[str, Value]:
        names = [f"k{index}" for index in range(len(self._settings.key))]
        return dict(zip(["c", *names] if cursor else names, place, strict=True))

    def _rows(self, statement: Statement, limit: int, values: dict[str, Value]) -> Sequence[Row]:
        assert self._session is not None, "the source is not open"
        rows = self._session.page(statement, limit=limit, **values)
        shape = self._open_pages.shape
        if not shape.table.is_unique(self._settings.key) and len({self._key_of(row) for row in rows}) < len(rows):
            raise SourceRefused(
                N_("the key ({key}) is not unique: two rows of {table} share it"),
                hint=N_("name the columns that tell any two rows apart as the key of the flow"),
                key=", ".join(self._settings.key),
                table=self._settings.table,
            )
        return rows

    def _keyless(self, limit: int) -> Sequence[Row]:
        """Return the rows with NULL in their key: the host quarantines them, so that they do not go unseen."""
        assert self._session is not None, "the source is not open"
        rows = self._session.page(self._open_pages.keyless(), limit=limit)
        if len(rows) == limit:
            raise SourceRefused(
                N_("{count} or more rows of {table} have no value in the key ({key})"),
                hint=N_("name columns that are always filled as the key, or leave these rows out with a condition (where)"),
                count=limit,
                table=self._settings.table,
                key=", ".join(self._settings.key),
            )
        return rows

    def _batch(self, rows: Sequence[Row], position: Position, *, more: bool, loading: Progress | None = None) -> Batch:
        shape = self._open_pages.shape
        names = tuple(column.name for column in shape.columns)
        unreadable: Sequence[Unreadable] = ()
        if self._session is not None and self._session.suspicious:
            rows, unreadable = split_unreadable(rows, names)
        shown = self._database.canonical(rows, shape.columns)
        cursor = shape.cursor
        times = instants(shown, names.index(cursor.name)) if cursor is not None and cursor.kind is ValueKind.INSTANT else None
        return Batch(
            entity=self._settings.table,
            columns=names,
            rows=shown,
            position=position,
            times=times,
            unreadable=unreadable,
            more=more,
            loading=loading,
        )

    def _start_of_polling(self) -> Value:
        if self._settings.cursor is None:
            return None
        assert self._session is not None
        return start_of_polling(self._database, self._session, self._open_pages, self._settings.overlap)

    def _newest_past(self, rows: Sequence[Row], before: Value) -> Value:
        """Return the greatest cursor value that is not in the future: one wrong date must not hide what comes before it."""
        last = self._cursor_of(rows[-1]) if rows else before
        if isinstance(last, str) and (self._now is None or last > self._now):
            assert self._session is not None, "the source is not open"
            self._now = self._database.present(self._session, self._open_pages.cursor, last)
        now = self._now
        values = map(self._cursor_of, reversed(rows))
        return next((value for value in values if now is None or not isinstance(value, str) or value <= now), before)

    def _cursor_of(self, row: Row) -> Value:
        assert self._settings.cursor is not None
        return row[self._index(self._settings.cursor)]

    def _estimate(self, done: int) -> int | None:
        return None if self._total is None else max(self._total, done + 1)

    def _key_of(self, row: Row) -> Place:
        return tuple(row[self._index(name)] for name in self._settings.key)

    def _index(self, name: str) -> int:
        return self._open_pages.shape.index[name]

    @property
    def _coarse(self) -> bool:
        """Tell whether many changes share a cursor value for a long time, as the rows of one day do."""
        return self._open_pages.cursor.kind not in (ValueKind.INSTANT, ValueKind.TIMESTAMP, ValueKind.INTEGER, ValueKind.DECIMAL)

    @property
    def _open_pages(self) -> Pages:
        assert self._pages is not None, "the source is not open"
        return self._pages
