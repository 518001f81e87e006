"""The log of PostgreSQL as a stream: a logical replication slot with pgoutput, read in plain SQL by peeking and advancing.

Peeking leaves the slot where it is, so what was read comes again until `commit` moves it, and only to where it was told that
everything is durable. The slot is made and dropped by the operator (`slot_ddl`), never here.

A transaction is in the log a moment before others see it (until it waited for its standbys, which may be long). Such
transactions are held back, so whatever lies before a mark is visible, and a page of the table read behind it is never older.
For the same reason `begin` returns the place of the slot with a snapshot: transactions that the snapshot saw are passed over
by their number, for no place in the log parts them from the others.

Long values that an update left alone are not logged; they are read from the table, as they are now. If they were changed
since, that change comes later and says the same. When the row is gone, or has another key, the change is left out: the
change that did it is still to come, and what the row looked like before cannot be told. REPLICA IDENTITY FULL logs them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from psycopg import sql

from agent.errors import HuitongError, SourceGone, SourceRefused
from agent.i18n import N_
from agent.model import Finding, Value
from agent.ports import Clock
from connectors.database.changelog.postgres import quoted
from connectors.database.dialects.base import Database, Session
from connectors.database.position import gone
from connectors.database.streams.about import About
from connectors.database.streams.pgoutput import UNCHANGED, Relation, lsn_number, lsn_text, reader_of
from connectors.database.streams.slot_reading import Known, Lost, Place, Reading, Told, Unidentified
from connectors.database.streams.slot_rest import Rest
from connectors.database.streams.slot_server import (
    SlotLog,
    check_slot,
    codec_of,
    database_number,
    fault,
    identifies,
    published,
    right_missing,
    slot_of,
    status,
    unidentified,
)
from connectors.database.streams.snapshots import Snapshot
from connectors.database.streams.stream import Changes, Mark, Stream
from connectors.database.tables.pages import Pages, Shape

_AT_ONCE: Final = 1000
_KEYS_AT_ONCE: Final = 50
_WINDOW: Final = 64 << 20
_WIDEST: Final = 8 << 30
"""Octets of log that are decoded at a time, at least and at most: the server keeps what is of ours in a temporary file."""

_FIRST_MADE: Final = 10_000  # numbers of types below are the same everywhere
_SESSION: Final = "SET synchronous_commit = local"
_END: Final = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END"

_LOOK_TIMES: Final = 2.0
_LOOK_SECS: Final = 5.0
_ADVANCE_TIMES: Final = 10.0
_ADVANCE_SECS: Final = 10.0
"""How long looks and advances rest: so many times what they took, and at most so long. Nobody waits for an advance."""

_DOMAINS: Final = """
WITH RECURSIVE d(oid, base) AS (
    SELECT oid, typbasetype FROM pg_catalog.pg_type WHERE typtype = 'd' AND oid = ANY (CAST(:types AS oid[]))
    UNION ALL SELECT d.oid, t.typbasetype FROM d JOIN pg_catalog.pg_type AS t ON t.oid = d.base AND t.typtype = 'd')
SELECT json_object_agg(oid, base::bigint) FROM d WHERE base NOT IN (SELECT oid FROM pg_catalog.pg_type WHERE typtype = 'd')"""

_ADVANCE: Final = """
SELECT pg_catalog.pg_replication_slot_advance(slot_name, CAST(:lsn AS pg_lsn)) IS NULL FROM pg_catalog.pg_replication_slots
WHERE slot_name = :slot AND confirmed_flush_lsn < CAST(:lsn AS pg_lsn)"""

_HEAD: Final = f"""
SELECT ({_END})::text || CASE WHEN pg_is_in_recovery() THEN ''
                              WHEN pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn() THEN ' behind' ELSE '' END"""

_BEACON: Final = "SELECT pg_logical_emit_message(true, 'huitong', '')::text"


class SlotStream:
    """Implements Stream. Reads the slot in a session of its own, in which nothing but the place of the slot ever changes."""

    exact = True

    def __init__(self, database: Database, session: Session, shape: Shape, slot: str, publication: str, clock: Clock) -> None:
        self._database = database
        self._session = session
        self._shape = shape
        self._pages = Pages(shape)
        self._slot = slot
        self._publication = publication
        self._own: Session | None = None
        self._table: dict[str, Any] | None = None
        self._reading: Reading | None = None
        self._tip: Place | None = None
        self._window = _WINDOW
        self._more = False  # there is log behind what was peeked
        self._encoding = ""
        self._looks = Rest(clock, _LOOK_TIMES, _LOOK_SECS)
        self._advances = Rest(clock, _ADVANCE_TIMES, _ADVANCE_SECS)
        self._awaited = 0  # somebody waits for reading to get there
        self._advanced = 0

    # -- Stream ------------------------------------------------------------------------------------------------------

    def begin(self) -> Mark:
        """See Stream."""
        try:
            found = self._status(None)
        except SourceGone as error:
            raise SourceRefused(
                N_("replication slot {slot} cannot be read: {why}"),
                hint=N_("let the DBA run the statements of: huitong source ddl"),
                slot=self._slot,
                why=error.details["why"],
            ) from error
        self._known_table()
        # The snapshot is taken before the statement runs, so whatever it saw was committed before this end of the log.
        snapshot, until = str(self._value(f"SELECT txid_current_snapshot()::text || ' ' || {_END}")).split(" ")
        return Place(lsn_number(found["confirmed"]), seen=snapshot, until=lsn_number(until)).mark()

    def read(self, after: Mark, limit: int) -> Changes:
        """See Stream. Where nothing of ours was logged the mark moves on all the same, and with it, by `commit`, the slot."""
        place = Place.of(after)
        try:
            if self._reading is None or self._tip != place:
                self._drop()
                if self._looks.is_on and place.lsn >= self._awaited:
                    return Changes(rows=(), mark=after)
                self._reading = self._start(place)
            if self._reading is None:
                return Changes(rows=(), mark=after)
            return self._page(self._reading, limit)
        except Lost:
            self._drop()
            raise gone(str(after), N_("the transaction that reading stopped in is not in the log")) from None
        except Unidentified:
            self._drop()
            raise self._unidentified() from None
        except ValueError as error:
            self._drop()
            raise SourceRefused(why=N_("the log of the database holds what is not understood")) from error
        except BaseException:
            self._drop()
            raise

    def _page(self, reading: Reading, limit: int) -> Changes:
        page, place = reading.page(limit)
        if page.unknown:
            page.without(self._completed(page.rows, page.unknown))
        if reading.finished:
            more = self._more and not reading.held
            if more:
                self._looks.end()
            self._window = _WINDOW if page.rows else min(2 * self._window, _WIDEST)
            self._drop()
        else:
            more, self._tip = True, place
        return Changes(
            rows=page.rows,
            mark=place.mark(),
            more=more,
            ops=page.ops,
            tokens=page.tokens,
            times=page.times,
            ends=page.ends,
            emptied=page.emptied,
            suspicious=self._encoding != "UTF8",
        )

    def head(self) -> Mark:
        """See Stream. Unless all is written where peeking can see it, a small message is logged, so that it gets there."""
        lsn, _, behind = str(self._value(_HEAD)).partition(" ")
        self._awaited = lsn_number(lsn)
        if behind:
            with contextlib.suppress(SourceRefused):  # without the right to it, the server takes some 15 s to do so by itself
                self._value(_BEACON)
        return Place(self._awaited).mark()

    def covers(self, mark: Mark, head: Mark) -> bool:
        """See Stream."""
        return Place.of(mark).lsn >= Place.of(head).lsn

    def commit(self, mark: Mark) -> None:
        """See Stream: advances the slot to the last transaction that is complete, never back; not each time if that is costly."""
        lsn = Place.of(mark).lsn
        if lsn <= self._advanced or self._advances.is_on:
            return
        with self._advances.after():
            self._value(_ADVANCE, slot=self._slot, lsn=lsn_text(lsn))
        self._advanced = lsn

    def close(self) -> None:
        """See Stream."""
        self._drop()
        own, self._own = self._own, None
        if own is not None:
            own.close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _session_of_slot(self) -> Session:
        if self._own is None:
            own = self._database.connect()
            with self._database.translated():
                own.driver.execute(_SESSION)
            self._own = own
        return self._own

    def _value(self, statement: str, **values: str) -> Any:
        return self._session_of_slot().value(statement, **values)

    def _status(self, place: Place | None) -> dict[str, Any]:
        found = status(self._session_of_slot(), self._slot)
        why = fault(found, None if place is None else place.lsn)
        if why:
            raise gone("" if place is None else str(place.mark()), why)
        return found

    def _start(self, place: Place) -> Reading | None:
        """Decode what the log holds behind a place, as far as the window reaches. None when there is nothing."""
        flushed = lsn_number(self._status(place)["flushed"])
        if flushed == place.lsn:
            return None
        self._encoding = self._known_table()["encoding"]
        upto = min(flushed, max(place.lsn, place.into) + self._window)
        codec = codec_of(self._encoding)
        try:
            with self._looks.after():
                self._peek(upto)
        except HuitongError:
            self._status(place)  # the slot may have gone at that very moment
            raise
        # Taken behind the peek: what was visible before it is so now.
        visible = Snapshot.of(self._value("SELECT txid_current_snapshot()::text"))
        self._more = upto < flushed
        return Reading(self._messages(), codec, self._know, place, visible, upto)

    def _peek(self, upto: int) -> None:
        """Open a cursor that outlives its transaction, so none stays open while the host is busy with what was read."""
        asked = sql.SQL(
            "DECLARE huitong NO SCROLL CURSOR WITH HOLD FOR SELECT data FROM pg_catalog.pg_logical_slot_peek_binary_changes("
            "{}, CAST({} AS pg_lsn), NULL, 'proto_version', '1', 'publication_names', {})"
        ).format(sql.Literal(self._slot), sql.Literal(lsn_text(upto)), sql.Literal(quoted(self._publication)))
        assert self._own is not None
        with self._database.translated():
            self._own.driver.execute(asked)

    def _messages(self) -> Iterator[bytes]:
        """Yield what was peeked."""
        assert self._own is not None
        cursor = self._own.driver.cursor(binary=True)
        while True:
            with self._database.translated():
                fetched = cursor.execute(f"FETCH {_AT_ONCE} FROM huitong", prepare=False).fetchall()
            for (data,) in fetched:
                yield data
            if len(fetched) < _AT_ONCE:
                return

    def _drop(self) -> None:
        self._tip = None
        reading, self._reading = self._reading, None
        if reading is not None and self._own is not None:
            with contextlib.suppress(HuitongError), self._database.translated():  # a lost connection has no cursor either
                self._own.driver.execute("CLOSE huitong")

    def _known_table(self) -> dict[str, Any]:
        """Return what the catalogue says of the table. Raises SourceRefused when the log cannot tell what the flow needs."""
        if self._table is None:
            self._table = published(self._database, self._session, self._shape, self._publication)
        return self._table

    def _know(self, relation: Relation) -> Known | None:
        """Return what a relation means, None if it is another. Columns added since it was logged are read from the table."""
        table, columns = self._known_table(), self._shape.columns
        if (relation.schema, relation.name) != (table["schema"], table["name"]):
            return None
        at = {column.name: n for n, column in enumerate(relation.columns)}
        if any(column.name not in at for column in columns):
            published(self._database, self._session, self._shape, self._publication)  # refuses columns that are not there now
        made = ",".join(str(column.type_oid) for column in relation.columns if column.type_oid >= _FIRST_MADE)
        bases: dict[str, int] = (self._value(_DOMAINS, types=f"{{{made}}}") if made else None) or {}
        types = [(n, relation.columns[at[c.name]].type_oid) for n, c in enumerate(columns) if c.name in at]
        readers = [(n, reader_of(oid, bases.get(str(oid)))) for n, oid in types]
        return Known(
            picks=tuple(at.get(column.name, -1) for column in columns),
            readers=tuple((n, read) for n, read in readers if read is not None),
            key=tuple(self._shape.index[column.name] for column in self._shape.key),
            identified=all(c.name in at and relation.columns[at[c.name]].identity for c in self._shape.key),
        )

    def _completed(self, rows: list[Told], unknown: Sequence[int]) -> list[int]:
        """Put values that were not logged into rows; return the numbers of those rows that are no longer in the table."""
        lost = []
        key = [self._shape.index[column.name] for column in self._shape.key]
        for start in range(0, len(unknown), _KEYS_AT_ONCE):
            some = unknown[start : start + _KEYS_AT_ONCE]
            values: dict[str, Value] = {
                f"k{n}_{i}": self._database.comparable(column, rows[number][at])
                for n, number in enumerate(some)
                for i, (column, at) in enumerate(zip(self._shape.key, key, strict=True))
            }
            found = self._session.page(self._pages.matching(len(some)), limit=len(some) + 1, **values)
            now = {tuple(row[at] for at in key): row for row in found}
            for number in some:
                row = now.get(tuple(rows[number][at] for at in key))
                if row is None:
                    lost.append(number)
                else:
                    rows[number] = tuple(b if a is UNCHANGED else a for a, b in zip(rows[number], row, strict=True))
        return lost

    def _unidentified(self) -> SourceRefused:
        return unidentified(self._database, self._shape)


def log_of(about: About, account: str = "") -> SlotLog:
    """Return slot and publication of a flow; `account` is who reads them. Reads the catalogue."""
    database, session, shape = about.reader.database, about.reader.session, about.reader.pages.shape
    return SlotLog(
        flow=about.flow,
        database=database_number(session),
        table=about.table,
        account=account,
        where=shape.where,
        identify=not identifies(database, session, shape),
    )


def obstacle(about: About) -> str:
    """See choose.Way."""
    database, session = about.reader.database, about.reader.session
    if database.name != "postgresql":
        return N_("only PostgreSQL has replication slots")
    name = slot_of(about.flow, database_number(session))
    why = fault(status(session, name), None) or right_missing(session)
    if why:
        return why
    try:
        codec_of(published(database, session, about.reader.pages.shape, name)["encoding"])
    except SourceRefused:
        return N_("its slot or publication does not tell all that the flow needs (huitong source ddl)")
    return ""


def stream_of(about: About) -> Stream:
    """See choose.Way."""
    name = slot_of(about.flow, database_number(about.reader.session))
    return SlotStream(about.reader.database, about.reader.session, about.reader.pages.shape, name, name, about.clock)


def findings(about: About, stream: Stream) -> Iterable[Finding]:
    """Return what doctor says of the slot. Raises what beginning would."""
    stream.begin()
    database, session, shape = about.reader.database, about.reader.session, about.reader.pages.shape
    name = slot_of(about.flow, database_number(session))
    return check_slot(database, session, shape, name, name)
