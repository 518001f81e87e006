"""From the events of the binary log to the changes of one table.

A transaction begins with its GTID (or BEGIN) and ends with XID, COMMIT, or the one statement it is. The rows of a
transaction in two phases stand where it was prepared: they are left out there, and read when its XA COMMIT comes, through a
dump of their own.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Final

from agent.errors import SourceRefused
from agent.i18n import N_
from agent.model import Op
from connectors.database.dialects.base import Row
from connectors.database.streams import binlog_events as log
from connectors.database.streams.binlog_ddl import Meaning, Said, meaning_of
from connectors.database.streams.binlog_events import Kind
from connectors.database.streams.binlog_spool import Place, Spool, Start, gone
from connectors.database.streams.binlog_table import CannotTell, Catalogue, Reading, reading_of
from connectors.database.streams.binlog_wire import Dump, Event
from connectors.database.tables.pages import Shape

_READINGS: Final = 16
"""Versions of the table that are remembered."""


class Reader:
    """Puts the changes of a table into a spool. `replay` opens a dump beside the one that is read."""

    def __init__(
        self, shape: Shape, schema: str, catalogue: Catalogue, spool: Spool, replay: Callable[[Start], Dump], *, fold: bool
    ) -> None:
        self._schema, self._table = schema, shape.table.name
        self._names = tuple(column.name for column in shape.columns)
        self._key = tuple(column.name for column in shape.key)
        self._key_at = tuple(self._names.index(name) for name in self._key)
        self._catalogue, self._spool, self._open_replay = catalogue, spool, replay
        self._fold = fold
        self._ours = self._folded(log.name_in_map(schema, self._table))
        self._tables: dict[int, Reading] = {}
        self._readings: dict[bytes, Reading] = {}
        self._gtid = ""
        self._when = 0
        self._alone = False  # the transaction is one statement, which ends it
        self._passing = False  # the rows of the transaction wait for its second phase
        self._prepared: dict[str, Start] = dict(spool.base.prepared)
        self._replay: tuple[Dump, Place] | None = None
        self._truncated: Place | None = None  # where a TRUNCATE ends that has to wait for its turn

    # -- what the stream calls ---------------------------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Whether what is in the spool has to be taken before more is read: that the table was emptied stands alone."""
        return self._spool.emptied or (self._truncated is not None and len(self._spool) > 0)

    def close(self) -> None:
        """Let go of what was opened beside the dump."""
        if self._replay is not None:
            self._replay[0].close()
            self._replay = None

    def step(self, dump: Dump) -> int:
        """Read one event and return how many octets it had.

        Raises SourceUnavailable, SourceRefused, SourceGone, Malformed, LogError and the errors of the driver.
        """
        if self._truncated is not None:
            place, self._truncated = self._truncated, None
            self._spool.emptied = True
            self._spool.end(place)
            return 0
        source = self._replay[0] if self._replay is not None else dump
        event = source.next()
        try:
            self._apply(event, source)
        except CannotTell as error:
            raise gone(self._spool.place.encode(), str(error)) from error
        return len(event.body)

    # -- events ------------------------------------------------------------------------------------------------------

    def _apply(self, event: Event, dump: Dump) -> None:
        kind = event.kind
        if kind in log.ROWS:
            self._rows(event, dump)
        elif kind == Kind.TABLE_MAP:
            self._map(event)
        elif kind in (Kind.MARIADB_GTID, Kind.GTID, Kind.ANONYMOUS):
            self._begin(event)
        elif kind == Kind.XID:
            self._end(event, dump)
        elif kind in (Kind.QUERY, Kind.QUERY_COMPRESSED):
            self._query(event, dump)
        elif kind == Kind.XA_PREPARE:
            self._prepare(event, dump)
        else:
            self._other(event, dump)

    def _other(self, event: Event, dump: Dump) -> None:
        kind = event.kind
        if kind in (Kind.PAYLOAD, Kind.PARTIAL_UPDATE):
            name = "binlog_transaction_compression=OFF" if kind == Kind.PAYLOAD else "binlog_row_value_options=''"
            raise SourceRefused(
                N_("the binary log is written in a form that cannot be read: {name} is needed"),
                hint=N_("ask the DBA for: SET GLOBAL {name}; and the same line in my.cnf"),
                name=name,
            )
        if kind == Kind.INCIDENT:
            raise CannotTell(N_("the server noted in its log that changes are missing in it"))
        if kind == Kind.ROTATE or self._replay is not None:
            return  # the place moves when the next file has told when it was begun
        if kind in (Kind.FORMAT, Kind.STOP) and self._spool.open:
            self._spool.abandon()
        if not self._spool.open:
            self._mark_end(event, dump)

    def _begin(self, event: Event) -> None:
        if self._replay is not None:
            return
        if self._spool.open:  # the one before it had no end
            self._spool.abandon()
        self._when, self._gtid = event.when, ""
        self._alone = self._passing = False
        if event.kind == Kind.MARIADB_GTID:
            found = log.mariadb_gtid(event.server, event.body)
            self._gtid, self._alone, self._passing = found.text, found.standalone, found.prepared
        elif event.kind == Kind.GTID:
            body = event.body
            self._gtid = f"{body[1:17].hex()}:{int.from_bytes(body[17:25], 'little')}"
        # Without flags, as MySQL writes it, what follows tells by itself: BEGIN, or a statement that stands alone.
        self._alone = self._alone or event.kind != Kind.MARIADB_GTID
        self._spool.open = True

    def _end(self, event: Event, dump: Dump) -> None:
        if self._replay is None:
            self._mark_end(event, dump)

    def _mark_end(self, event: Event, dump: Dump) -> None:
        self._passing = False
        self._tables.clear()
        self._spool.end(Place(dump.file, event.end, dump.born, 0, self._gtid, self._prepared))

    # -- statements --------------------------------------------------------------------------------------------------

    def _query(self, event: Event, dump: Dump) -> None:
        if self._replay is not None:
            return
        found = self._meaning(event)
        if not self._spool.open:
            self._when, self._gtid, self._alone = event.when, "", True
            self._spool.open = True
        match found.meaning:
            case Meaning.LOST:
                raise CannotTell(found.text)
            case Meaning.BEGIN | Meaning.XA_START:
                self._alone, self._passing = False, found.meaning is Meaning.XA_START
            case Meaning.XA_COMMIT:
                self._commit(found.text, event, dump)
            case Meaning.COMMIT | Meaning.ROLLBACK | Meaning.XA_ROLLBACK:
                self._ended(found, event, dump)
            case _:
                self._statement(found.meaning, event, dump)

    def _ended(self, said: Said, event: Event, dump: Dump) -> None:
        if said.meaning is Meaning.ROLLBACK:
            self._spool.abandon()
        if said.meaning is Meaning.XA_ROLLBACK:
            self._forget(said.text)
        self._mark_end(event, dump)

    def _meaning(self, event: Event) -> Said:
        said = log.query(event.kind, event.body)
        charset = "" if said.text.isascii() or not said.collation else self._catalogue.charset(said.collation)
        text = str(self._catalogue.to_text(charset)(said.text)) if charset else said.text.decode("utf-8", "replace")
        return meaning_of(text, said.schema, self._schema, self._table)

    def _statement(self, meaning: Meaning, event: Event, dump: Dump) -> None:
        if meaning is not Meaning.NOTHING:
            self._readings.clear()
        if meaning is Meaning.TRUNCATE:
            place = Place(dump.file, event.end, dump.born, 0, self._gtid, self._prepared)
            self._spool.open = False
            if len(self._spool):
                self._truncated = place
            else:
                self._spool.emptied = True
                self._spool.end(place)
        elif self._alone:
            self._mark_end(event, dump)

    # -- two phases --------------------------------------------------------------------------------------------------

    def _prepare(self, event: Event, dump: Dump) -> None:
        name, one_phase = log.xa_prepared(event.body)
        if self._replay is not None:
            replay, place = self._replay
            self._replay = None
            replay.close()
            self._tables.clear()
            self._spool.end(place)
            return
        start = self._spool.place
        if not self._passing:
            self._mark_end(event, dump)
        elif one_phase:
            self._commit_from((start.file, start.pos, start.born), event, dump)
        else:
            self._prepared = {**self._prepared, name: (start.file, start.pos, start.born)}
            self._mark_end(event, dump)

    def _commit(self, name: str, event: Event, dump: Dump) -> None:
        start = self._prepared.get(name)
        if start is None:
            raise CannotTell(N_("a transaction in two phases (XA) was committed that was prepared before reading began"))
        self._forget(name)
        self._commit_from(start, event, dump)

    def _commit_from(self, start: Start, event: Event, dump: Dump) -> None:
        self._tables.clear()
        self._passing = False
        place = Place(dump.file, event.end, dump.born, 0, self._gtid, self._prepared)
        self._replay = (self._open_replay(start), place)

    def _forget(self, name: str) -> None:
        self._prepared = {known: start for known, start in self._prepared.items() if known != name}

    # -- rows --------------------------------------------------------------------------------------------------------

    def _folded(self, name: bytes) -> bytes:
        return name.lower() if self._fold else name

    def _map(self, event: Event) -> None:
        number, name = log.map_head(event.body)
        if self._folded(name) != self._ours:
            self._tables.pop(number, None)
            return
        key = event.body[6:]
        reading = self._readings.get(key)
        if reading is None:
            reading = reading_of(
                log.table_map(event.body, mariadb=self._catalogue.mariadb), self._catalogue, self._names, self._key
            )
            if len(self._readings) >= _READINGS:
                self._readings.clear()
            self._readings[key] = reading
        self._tables[number] = reading

    def _rows(self, event: Event, dump: Dump) -> None:
        reading = self._tables.get(log.rows_table(event.body))
        if reading is None or self._passing:
            return
        images = log.row_images(event.kind, event.body)
        place = f"{dump.file}@{dump.born:x}:{event.end}:{zlib.crc32(event.body):08x}:"
        if event.kind in log.INSERTS:
            rows = reading.rows(images.before, images.data)
            self._spool.add(rows, [Op.UPSERT] * len(rows), [f"{place}{n}" for n in range(len(rows))], self._when)
        elif event.kind in log.DELETES:
            rows = [self._deleted(key) for key in reading.keys(images.before, images.data)]
            self._spool.add(rows, [Op.DELETE] * len(rows), [f"{place}{n}" for n in range(len(rows))], self._when)
        else:
            self._updated(reading.pairs(images.before, images.after, images.data), place)

    def _updated(self, pairs: Sequence[tuple[Row, Row]], place: str) -> None:
        rows: list[Row] = []
        ops: list[Op] = []
        tokens: list[str] = []
        for number, (was, row) in enumerate(pairs):
            if was != tuple(row[at] for at in self._key_at):
                rows.append(self._deleted(was))
                ops.append(Op.DELETE)
                tokens.append(f"{place}{number}d")
            rows.append(row)
            ops.append(Op.UPSERT)
            tokens.append(f"{place}{number}")
        self._spool.add(rows, ops, tokens, self._when)

    def _deleted(self, key: Row) -> Row:
        held = dict(zip(self._key_at, key, strict=True))
        return tuple(held.get(at) for at in range(len(self._names)))
