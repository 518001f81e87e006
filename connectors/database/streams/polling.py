"""Polling by a cursor: a column that grows with each change, set by whoever writes.

The rows that are read are the state of the table, not its changes. How far back a poll looks, and what it may miss, is told in
`overlap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from agent.errors import SourceRefused
from agent.i18n import N_
from agent.model import Value
from agent.ports import Clock
from connectors.database.dialects.base import Row
from connectors.database.streams.about import About
from connectors.database.streams.margin import start_of_polling
from connectors.database.streams.overlap import Overlap
from connectors.database.streams.stream import Changes, Mark, Stream
from connectors.database.tables.reader import TableReader
from connectors.database.tables.table import ValueKind
from connectors.database.tables.values import Place, from_json, to_json


class PollingStream:
    """Implements Stream. A mark is {"low": everything up to it is settled, "at": (cursor, *key) of the last row of a round}."""

    exact = False

    def __init__(self, reader: TableReader, clock: Clock, overlap: timedelta) -> None:
        self._reader = reader
        self._pages = reader.pages
        self._look_back = overlap
        self._overlap = Overlap(clock, overlap.total_seconds())
        self._tip: Mark = None  # where polling has got to: reading on from there continues what memory knows
        self._now: str | None = None  # of the database, when it was last asked
        self._newest: Value = None  # cursor value of the round so far

    def begin(self) -> Mark:
        """See Stream."""
        return self._mark(start_of_polling(self._reader.database, self._reader.session, self._pages, self._look_back))

    def read(self, after: Mark, limit: int) -> Changes:
        """See Stream. Rows that may still have changed unseen come again; the key ledger of the host knows them."""
        low, at = from_json(after["low"]), from_json(after["at"])
        if after != self._tip:
            self._overlap.restart(low)
        changes = self._poll(at, after, limit)
        self._tip = changes.mark
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

    def settled(self, mark: Mark, rows: Sequence[Row]) -> Sequence[bool]:
        """Tell of which rows a poll would never read the present version again: what a walk finds of them was missed."""
        low = from_json(mark["low"])
        if low is None:
            return [False] * len(rows)
        return [_is_before(self._cursor_of(row), low) for row in rows]

    # -- inside ------------------------------------------------------------------------------------------------------

    def _poll(self, at: Place | None, after: Mark, limit: int) -> Changes:
        if at is None:
            low = self._overlap.begin_round()
            statement = self._pages.poll(low=low is not None, resumed=False, inclusive=self._coarse)
            page = self._reader.page(statement, limit, low=low)
        else:
            statement = self._pages.poll(low=False, resumed=True, inclusive=False)
            page = self._reader.page(statement, limit, c=at[0], **self._reader.bound(at[1:]))
        rows = page.rows
        self._newest = self._newest_past(rows, self._newest if at is not None else None)
        if len(rows) == limit:
            reached = (self._cursor_of(rows[-1]), *self._reader.key_of(rows[-1]))
            return Changes(rows, self._mark(self._overlap.low, reached), more=True, suspicious=page.suspicious)
        self._overlap.complete_round(self._newest)
        mark = after if not rows and at is None else self._mark(self._overlap.low)
        return Changes(rows, mark, suspicious=page.suspicious)

    def _mark(self, low: Value, at: Place | None = None) -> Mark:
        return {"low": to_json(low), "at": None if at is None else to_json(at)}

    def _newest_past(self, rows: Sequence[Row], before: Value) -> Value:
        """Return the greatest cursor value that is not in the future: one wrong date must not hide what comes before it."""
        last = self._cursor_of(rows[-1]) if rows else before
        if isinstance(last, str) and (self._now is None or last > self._now):
            self._now = self._reader.database.present(self._reader.session, self._pages.cursor, last)
        now = self._now
        values = map(self._cursor_of, reversed(rows))
        return next((value for value in values if now is None or not isinstance(value, str) or value <= now), before)

    def _cursor_of(self, row: Row) -> Value:
        return row[self._pages.shape.index[self._pages.cursor.name]]

    @property
    def _coarse(self) -> bool:
        """Tell whether many changes share a cursor value for a long time, as the rows of one day do."""
        return self._pages.cursor.kind not in (ValueKind.INSTANT, ValueKind.TIMESTAMP, ValueKind.INTEGER, ValueKind.DECIMAL)


def _is_before(value: Value, low: Value) -> bool:
    """Whether a cursor value lies at or before another; values that cannot be compared do not."""
    try:
        return value is not None and value <= low  # type: ignore[operator]
    except TypeError:
        return False


def obstacle(about: About) -> str:
    """See choose.Way."""
    return "" if about.settings.cursor is not None else N_("no cursor is set")


def stream_of(about: About) -> Stream:
    """See choose.Way."""
    if about.settings.cursor is None:
        raise SourceRefused(
            N_("mode {mode} needs a cursor"),
            hint=N_("name a column that the database sets at every change (cursor), or choose another mode"),
            mode="polling",
        )
    return PollingStream(about.reader, about.clock, about.settings.overlap)
