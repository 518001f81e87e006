"""Where polling starts after a first load.

Noted before the load begins, so that nothing that changes while it runs is missed, and a margin earlier, so that what was
being written when it began is not missed either.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

from agent.model import Value
from connectors.database.dialect import Database, Session
from connectors.database.pages import Pages
from connectors.database.table import ValueKind

_NEWEST_ROWS: Final = 10_000
"""The margin for cursors that are not times: that many of the newest rows are read again."""


def start_of_polling(database: Database, session: Session, pages: Pages, overlap: timedelta) -> Value:
    """Return the cursor value above which polling starts; None for all rows."""
    newest = _cursor_at(session, pages, 0)
    earlier = _earlier(newest, database.present(session, pages.cursor, newest), pages.cursor.kind, overlap)
    return earlier if earlier is not None else _cursor_at(session, pages, _NEWEST_ROWS)


def _cursor_at(session: Session, pages: Pages, rank: int) -> Value:
    rows = session.page(pages.greatest_cursor(rank))
    return rows[0][0] if rows else None


def _earlier(newest: Value, now: str | None, kind: ValueKind, overlap: timedelta) -> Value:
    """Return the lesser of `newest` and `now`, less the overlap; None when that cannot be said."""
    if not isinstance(newest, str) or now is None:
        return None
    try:
        if kind is ValueKind.DATE:
            return (date.fromisoformat(min(newest, now)) - overlap - timedelta(days=1)).isoformat()
        return (datetime.fromisoformat(min(newest, now)) - overlap).isoformat(newest[10])
    except (ValueError, OverflowError, IndexError):  # infinity, years before Christ, text of another form
        return None
