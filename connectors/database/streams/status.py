"""A status column: the application says which rows are to be sent, and reads there how far each has got.

Rows are read while their status is `pending`, and set to `sent` when they are durably captured. Which rows a position covers is
kept in memory alone: after a crash they are still pending, are read again, are equal to what was captured, and are marked then.
A row that the application changed between reading and marking stays pending, so that it is read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from agent.errors import SourceRefused
from agent.i18n import N_
from agent.model import Finding, Value
from agent.model.handshake import Answer, Fate
from connectors.database.dialects.base import Row
from connectors.database.settings import StatusFrom
from connectors.database.streams.about import About
from connectors.database.streams.status_grant import StatusGrant
from connectors.database.streams.status_pages import StatusPages
from connectors.database.streams.status_writer import StatusWriter, said
from connectors.database.streams.stream import Changes, Mark, Stream
from connectors.database.tables.reader import Page, TableReader
from connectors.database.tables.rows import readable
from connectors.database.tables.values import Place, from_json, to_json

_UNMARKED_PAGES: Final = 8
"""Full pages that are read in one go without being marked. Where nothing is news, no position is stored in between."""

_FAILED_ROWS: Final = 100
_UNREADABLE: Final = Answer(Fate.FAILED, N_("the row holds bytes that are not text"))


class StatusStream:
    """Implements Stream. A mark is {"n": pages read, "at": key of the last row of a full page}; only pages count, not rows."""

    exact = False

    def __init__(self, reader: TableReader, status: StatusFrom, writer: StatusWriter) -> None:
        self._reader = reader
        self._pages = StatusPages(reader.pages.shape, status.column)
        self._status = status
        self._writer = writer
        self._unmarked: dict[int, Sequence[Row]] = {}  # rows read, by the number of their page
        self._looked: dict[str, Place | None] = {}  # by status: where the turn through the rows that wait has got to
        self._looks_at = status.sent
        self._asked: Sequence[Row] = ()
        self._asked_status = status.sent
        self._interrupted = False

    def begin(self) -> Mark:
        """See Stream."""
        return {"n": 0, "at": None}

    def read(self, after: Mark, limit: int) -> Changes:
        """See Stream. Rows come until they are marked; the key ledger of the host knows them."""
        page, place = self._read(from_json(after["at"]), limit)
        if not page.rows:
            return Changes((), {"n": after["n"], "at": None})
        number = after["n"] + 1
        self._unmarked[number] = page.rows
        more = place is not None and len(self._unmarked) < _UNMARKED_PAGES
        self._interrupted = place is not None and not more
        mark = {"n": number, "at": to_json(place) if place is not None else None}
        return Changes(page.rows, mark, more=more, suspicious=page.suspicious)

    def fileno(self) -> None:
        """See alarm.Watched."""

    def look(self) -> bool:
        """See alarm.Watched: only the rest of what was interrupted is news."""
        interrupted, self._interrupted = self._interrupted, False
        return interrupted

    def head(self) -> Mark:
        """See Stream."""
        return None

    def covers(self, mark: Mark, head: Mark) -> bool:  # noqa: ARG002 - what was read is the state, whenever it was read
        """See Stream."""
        return True

    def commit(self, mark: Mark) -> None:
        """See Stream: set what was read to `sent`."""
        for number in sorted(number for number in self._unmarked if number <= mark["n"]):
            rows = [row for row in self._unmarked[number] if None not in self._reader.key_of(row)]
            good = readable(rows)
            self._writer.move(
                [row for row, fine in zip(rows, good, strict=True) if fine], self._status.pending, self._status.sent
            )
            broken = [row for row, fine in zip(rows, good, strict=True) if not fine]
            if broken:
                reason = said(_UNREADABLE, self._status.language)
                self._writer.move(broken, self._status.pending, self._status.failed, reason)
            del self._unmarked[number]

    def close(self) -> None:
        """See Stream."""
        self._writer.close()

    # -- ports.Handshake ---------------------------------------------------------------------------------------------

    def awaiting(self, limit: int) -> tuple[Page, bool]:
        """Return the next rows that wait for an answer, and whether the turn goes on.

        After those that were sent come some of those that failed: an operator may have had them sent again.
        """
        status = self._looks_at
        size = limit if status == self._status.sent else min(limit, _FAILED_ROWS)
        page = self._with_status(status, self._looked.get(status), size)
        full = len(page.rows) == size
        self._looked[status] = self._reader.key_of(page.rows[-1]) if full else None
        if status == self._status.failed or not full:
            self._looks_at = self._status.failed if status == self._status.sent else self._status.sent
        good = readable(page.rows) if page.suspicious else [True] * len(page.rows)
        self._asked = [row for row, fine in zip(page.rows, good, strict=True) if fine]
        self._asked_status = status
        return Page(self._asked), status == self._status.sent

    def answer(self, answers: Sequence[Answer | None]) -> None:
        """Write down what became of the rows that `awaiting` returned last."""
        groups: dict[tuple[str, str | None], list[Row]] = {}
        for row, answer in zip(self._asked, answers, strict=True):
            if answer is not None and (answer.fate is Fate.STORED or self._asked_status == self._status.sent):
                groups.setdefault(self._told(answer), []).append(row)
        self._asked = ()
        for (status, reason), rows in groups.items():
            self._writer.move(rows, self._asked_status, status, reason)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _told(self, answer: Answer) -> tuple[str, str | None]:
        """Return status and reason."""
        match answer.fate:
            case Fate.STORED:
                return self._status.stored, None
            case Fate.AGAIN:
                return self._status.pending, None
            case Fate.FAILED:
                return self._status.failed, said(answer, self._status.language)

    def _read(self, place: Place | None, limit: int) -> tuple[Page, Place | None]:
        """Return a page and where the next begins, None when that was the last.

        Rows without a key come before all others: the host quarantines them so that they are seen, and none can be marked.
        """
        if place is None and any(column.nullable for column in self._pages.shape.key):
            page = self._reader.page(self._pages.keyless_with_status(), limit, s=self._bound(self._status.pending))
            if page.rows:
                return page, ()
        page = self._with_status(self._status.pending, place, limit)
        return page, self._reader.key_of(page.rows[-1]) if len(page.rows) == limit else None

    def _with_status(self, status: str, after: Place | None, limit: int) -> Page:
        statement = self._pages.with_status(resumed=bool(after))
        return self._reader.page(statement, limit, s=self._bound(status), **self._reader.bound(after or ()))

    def _bound(self, status: str) -> Value:
        return self._reader.database.comparable(self._pages.status, status)


def findings(about: About, stream: Stream) -> Iterator[Finding]:
    """Say what `check` wants to know of this mode beside its limits."""
    stream.begin()
    status = about.settings.status
    assert status is not None
    table = about.reader.pages.shape.table
    written = ", ".join(status.written)
    yield Finding(N_("status"), ok=True, text=N_("the account may write {columns}"), details={"columns": written})
    if not table.is_indexed(status.column):
        yield Finding(
            N_("status"),
            ok=False,
            text=N_("no index begins with {column}: every look reads the whole table"),
            hint=N_("ask the DBA for an index on the status, followed by the key"),
            details={"column": status.column},
            warning=True,
        )
    if set(status.written) & set(about.settings.key):
        yield Finding(
            N_("status"),
            ok=False,
            text=N_("a column that the agent writes ({columns}) is part of the key"),
            hint=N_("name a key that never changes"),
            details={"columns": written},
        )


def log_of(about: About, account: str = "") -> StatusGrant:
    """Return what the DBA has to do. Raises SourceRefused."""
    return StatusGrant(about.reader, _status_of(about), account)


def obstacle(about: About) -> str:
    """See choose.Way."""
    return "" if about.settings.status is not None else N_("no status column is set")


def stream_of(about: About) -> Stream:
    """See choose.Way. Tries whether the account may write, because rows that cannot be marked would be read for ever."""
    status = _status_of(about)
    writer = StatusWriter(about.reader, status)
    try:
        writer.prove()
    except BaseException:
        writer.close()
        raise
    return StatusStream(about.reader, status, writer)


def _status_of(about: About) -> StatusFrom:
    """Return the settings of the handshake, checked against the table."""
    status, shape = about.settings.status, about.reader.pages.shape
    if status is None or shape.table.query is not None:
        raise SourceRefused(
            N_("mode {mode} needs a status column of a table"),
            hint=N_("name the column and its values (status), or choose another mode"),
            mode="status",
        )
    missing = [name for name in status.written if name not in shape.table.columns]
    if missing:
        raise SourceRefused(
            N_("table {table} has no column {column}"),
            hint=N_("names are taken as they stand in the source, case included"),
            table=about.settings.table,
            column=", ".join(missing),
            lacking=missing,
            columns=list(shape.table.columns),
        )
    return status
