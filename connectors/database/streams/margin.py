"""Where polling starts after a first load.

Noted before the load begins, so that nothing that changes while it runs is missed, and a margin earlier, so that what was
being written when it began is not missed either.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

from agent.model import Value
from connectors.database.dialects.base import Database, Session
from connectors.database.tables.pages import Pages
from connectors.database.tables.table import ValueKind

_NEWEST_ROWS: Final = 10_000
"""The margin for cursors that are not times: that many of the newest rows are read again."""


def start_of_polling(database: Database, session: Session, pages: Pages, overlap: timedelta) -> Value:
    """Return the cursor value above which polling starts; None for all rows.

    Values in the future do not count. What counts is the greatest value that is there, never the clock itself: times that
    were written in another zone than we think would be hours away from it.
    """
    newest = _cursor_at(session, pages, 0)
    now = database.present(session, pages.cursor, newest)
    if isinstance(newest, str) and now is not None and newest > now:
        rows = session.page(pages.greatest_cursor(0, until=True), until=database.comparable(pages.cursor, now))
        newest = rows[0][0] if rows else None
    earlier = _earlier(newest, pages.cursor.kind, overlap) if now is not None else None
    return earlier if earlier is not None else _cursor_at(session, pages, _NEWEST_ROWS)


def _cursor_at(session: Session, pages: Pages, rank: int) -> Value:
    rows = session.page(pages.greatest_cursor(rank))
    return rows[0][0] if rows else None


def _earlier(newest: Value, kind: ValueKind, overlap: timedelta) -> Value:
    """Return a time less the overlap; None when that cannot be said."""
    if not isinstance(newest, str):
        return None
    try:
        if kind is ValueKind.DATE:
            return (date.fromisoformat(newest) - overlap - timedelta(days=1)).isoformat()
        return (datetime.fromisoformat(newest) - overlap).isoformat(newest[10])
    except (ValueError, OverflowError, IndexError):  # infinity, years before Christ, text of another form
        return None
