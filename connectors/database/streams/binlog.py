"""Following a table of MySQL or MariaDB through the binary log: every change, exactly once, in the order of the commits.

The log is read as a replica reads it, with rows as they were and are (`binlog_format=ROW`, `binlog_row_image=FULL`). A mark is
the end of a transaction, `{"file", "pos", "born", "index"}`; when a page ended inside the next transaction, `index` tells how
many of its changes had been handed out, and reading on from there reads that transaction again and leaves so many out.

A token is `file@born:end:crc:row`, where `born` is when the file was begun, `end` the place where the event ends and `crc` a
checksum of it. All of it stands in the log, so reading again gives the same tokens. After RESET MASTER files have the same
names again: the time they were begun differs, and should it all happen within one second, the checksum of the event.

What the log does not hold: rows that foreign keys changed (`ON DELETE CASCADE` and the like), what a session wrote with
`sql_log_bin=0`, and, on a replica without `log_slave_updates`, what came from its primary. `binlog_check` looks for these.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from agent.errors import SourceGone, SourceRefused
from agent.i18n import N_
from agent.model import Finding
from connectors.database.dialects.base import Database, Session
from connectors.database.streams.about import About
from connectors.database.streams.binlog_check import check_binlog, log_status, require_rows
from connectors.database.streams.binlog_reader import Reader
from connectors.database.streams.binlog_spool import Place, Spool, Start, gone
from connectors.database.streams.binlog_table import Catalogue
from connectors.database.streams.binlog_values import Malformed
from connectors.database.streams.binlog_wire import Dump, LogError, server_id_of
from connectors.database.streams.stream import Changes, Mark, Stream
from connectors.database.tables.pages import Shape

_OCTETS_AT_ONCE: Final = 16 << 20
"""After so much of the log a read returns even without a full page, so that a flow can be stopped and its mark moves on."""

_REPLAY: Final = 0x40000000
"""What the numbers of the two dumps differ by that are open while a transaction in two phases is committed."""

_KEPT_OPEN: Final = timedelta(minutes=1)
"""Flows that look at least so often keep their connection."""

_GONE: Final = ("could not find", "position > file size", "impossible position", "purged")


class BinlogStream:
    """Implements Stream for one table. `server_id` comes from `binlog_wire.server_id_of` and belongs to this flow alone.

    With `keep_open` the connection that the log comes through stays open between reads. Otherwise it is closed when everything
    was read, and opened when there is more: for flows that read seldom.
    """

    exact = True

    def __init__(self, database: Database, session: Session, shape: Shape, *, server_id: int, keep_open: bool = True) -> None:
        self._database, self._session, self._shape = database, session, shape
        self._server_id, self._keep_open = server_id, keep_open
        self._schema = shape.table.schema or str(session.value("SELECT DATABASE()"))
        self._fold = bool(session.value("SELECT @@lower_case_table_names"))
        self._dump: Dump | None = None
        self._reader: Reader | None = None
        self._spool: Spool | None = None
        self._head: Place | None = None
        self._mark: Mark = None  # of the page read last
        self._failed: Exception | None = None  # what is raised when the changes before it are taken

    # -- Stream ------------------------------------------------------------------------------------------------------

    def begin(self) -> Mark:
        """See Stream: the end of the log."""
        self._require_whole_table()
        require_rows(self._database, self._session)
        head = self._status()
        self._open(head)
        assert self._spool is not None
        self._mark = self._spool.base.encode()
        return self._mark

    def head(self) -> Mark:
        """See Stream. The log is written before a transaction becomes visible, so its end lies behind all that is."""
        return self._status().encode()

    def covers(self, mark: Mark, head: Mark) -> bool:
        """See Stream."""
        return Place.decode(mark).order >= Place.decode(head).order

    def read(self, after: Mark, limit: int) -> Changes:
        """See Stream. Returns when the end of the log, as it was when reading began, is reached."""
        try:
            if self._spool is None or after != self._mark:
                self._restart(after)
            assert self._spool is not None
            more = self._fill(self._spool, limit)
            changes = self._spool.take(limit, more=more)
        except BaseException:
            self.close()
            raise
        self._mark = changes.mark
        return changes

    def commit(self, mark: Mark) -> None:
        """See Stream: how long the log is kept is the server's affair."""

    def close(self) -> None:
        """See Stream."""
        self._close_dump()
        self._spool = self._reader = self._head = self._failed = None
        self._mark = None

    # -- inside ------------------------------------------------------------------------------------------------------

    def _require_whole_table(self) -> None:
        if self._shape.where is not None:
            raise SourceRefused(
                N_("the binary log cannot be read with a condition (where)"),
                hint=N_("leave rows out in the map of the flow, or read the table by a cursor"),
            )

    def _restart(self, after: Mark) -> None:
        self.close()
        if after is None:
            self.begin()
            return
        place = Place.decode(after)
        self._require_whole_table()
        require_rows(self._database, self._session)
        self._check_reached(place)
        self._open(place)

    def _open(self, place: Place) -> None:
        """Open the log at a place; its file must be the one that was read before."""
        self._close_dump()
        with self._database.translated():
            dump = self._dump = self._dump_from((place.file, place.pos, place.born), self._server_id)
        self._spool = Spool(Place(place.file, place.pos, dump.born, place.index, place.gtid, place.prepared))
        catalogue = Catalogue(self._database, self._session, self._schema, self._shape.table.name)
        self._reader = Reader(self._shape, self._schema, catalogue, self._spool, self._replay, fold=self._fold)

    def _dump_from(self, start: Start, server_id: int) -> Dump:
        """Open a dump and read until it has told which file it sends. Raises SourceGone when that is another one."""
        file, pos, born = start
        dump = Dump(self._database.connect_driver(), server_id, file, pos)
        try:
            while not dump.born:
                dump.next()
        except LogError as error:
            dump.close()
            raise self._without_log(str(error), start) from error
        except BaseException:
            dump.close()
            raise
        if born and dump.born != born:
            dump.close()
            raise gone(list(start), N_("the binary log was begun anew, or the server is another one"))
        return dump

    def _replay(self, start: Start) -> Dump:
        return self._dump_from(start, self._server_id ^ _REPLAY)

    def _fill(self, spool: Spool, limit: int) -> bool:
        """Read until there is a page, or nothing more. Returns whether reading on at once will bring more."""
        if self._failed is not None and not len(spool):
            raise self._failed
        octets = 0
        with self._database.translated():
            while not spool.is_full(limit) and self._failed is None:
                assert self._reader is not None
                if self._reader.stopped or octets > _OCTETS_AT_ONCE:
                    return True
                if not spool.open and self._is_at_end(spool, asked=octets > 0):
                    if not self._keep_open:
                        self._close_dump()
                    return False
                octets += self._step(spool) + 1
        return True

    def _step(self, spool: Spool) -> int:
        assert self._reader is not None
        if self._dump is None:
            place = spool.place
            self._dump = self._dump_from((place.file, place.pos, place.born), self._server_id)
        try:
            return self._reader.step(self._dump)
        except (SourceGone, SourceRefused, Malformed) as error:
            failed = self._meant(error)
            if not len(spool):
                raise failed from error
            self._failed = failed  # what lies before it is whole and is handed out first
            return 0
        except LogError as error:
            place = spool.place
            raise self._without_log(str(error), (place.file, place.pos, place.born)) from error

    @staticmethod
    def _meant(error: Exception) -> Exception:
        if isinstance(error, Malformed):
            return SourceRefused(
                N_("an event of the binary log is not in a form that is known"),
                hint=N_("report it with the versions of server and agent; until then read the table by a cursor"),
            )
        return error

    @staticmethod
    def _without_log(said: str, start: Start) -> Exception:
        text = said.casefold()
        if any(words in text for words in _GONE):
            return gone(list(start), N_("the server no longer has the binary log from there on"))
        if "same server" in text:
            return SourceRefused(
                N_("another reader of the binary log uses the number of this flow"),
                hint=N_("a copy of this agent may be running"),
            )
        return SourceRefused(why=said.partition("\n")[0].partition(";")[0])

    def _is_at_end(self, spool: Spool, *, asked: bool) -> bool:
        """Tell whether everything was read that the log held when this read began."""
        if self._head is None or (not asked and spool.place.order >= self._head.order):
            self._check_reached(spool.place)
        assert self._head is not None
        return spool.place.order >= self._head.order

    def _check_reached(self, place: Place) -> None:
        self._head = self._status()
        if self._head.order < place.order:
            raise gone(place.encode(), N_("the binary log was begun anew, or the server is another one"))

    def _status(self) -> Place:
        """Return where the log ends now. Raises SourceRefused when there is none, or when it leaves our table out."""
        row = log_status(self._database, self._session)
        only, ignored = (str(row[n] or "").split(",") for n in (2, 3))
        if (only != [""] and self._schema not in only) or self._schema in ignored:
            raise SourceRefused(
                N_("the binary log leaves out the database {schema}"),
                hint=N_("ask the DBA to correct binlog_do_db or binlog_ignore_db in my.cnf"),
                schema=self._schema,
            )
        return Place(str(row[0]), int(row[1]), 0)

    def _close_dump(self) -> None:
        if self._reader is not None:
            self._reader.close()
        if self._dump is not None:
            dump, self._dump = self._dump, None
            dump.close()


def obstacle(about: About) -> str:
    """See choose.Way. Opens the log as the flow would."""
    stream = stream_of(about)
    try:
        stream.begin()
    except SourceRefused as error:
        return str(error)
    finally:
        stream.close()
    return ""


def stream_of(about: About) -> Stream:
    """See choose.Way. The number is new each time: then not even a copy of this agent can have the same."""
    every = about.settings.every
    return BinlogStream(
        about.reader.database,
        about.reader.session,
        about.reader.pages.shape,
        server_id=server_id_of(about.flow, secrets.token_bytes(16)),
        keep_open=every is not None and every <= _KEPT_OPEN,
    )


def findings(about: About, stream: Stream) -> Iterable[Finding]:
    """Return what doctor says of the binary log."""
    table = about.reader.pages.shape.table
    schema = table.schema or str(about.reader.session.value("SELECT DATABASE()"))
    return check_binlog(about.reader.database, about.reader.session, stream, (schema, table.name))
