"""The change log of SQLite. Writers take turns, so numbers become visible in their order: what comes behind the last is new."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from typing import Any, Final

from agent.errors import SourceRefused
from agent.i18n import N_
from agent.ports import Clock
from connectors.database.changelog.sqlite import REGISTRY, SqliteLog, quoted
from connectors.database.dialects.sqlite import SqliteDatabase
from connectors.database.position import gone
from connectors.database.streams.about import About
from connectors.database.streams.entries import Columns, Entries
from connectors.database.streams.logged import require_columns
from connectors.database.streams.stream import Changes, Mark, Stream
from connectors.database.tables.reader import TableReader

_TRIM_SECS: Final = 60.0
_TRIM_ROWS: Final = 20_000


class SqliteLogStream:
    """Implements Stream. A mark is {"log": identity, "schema": version of the schema, "seq": the last entry read}."""

    exact = True

    def __init__(self, log: SqliteLog, reader: TableReader, keep_secs: float, clock: Clock) -> None:
        self._log = log
        self._database = reader.database
        self._session = reader.session
        self._keep_secs = keep_secs
        self._clock = clock
        self._entries = Entries(reader.pages.shape)
        self._sql = _entries_sql(log, self._entries)
        self._trimmed_at = float("-inf")
        self._version = 0

    def begin(self) -> Mark:
        """See Stream. Raises SourceRefused when a trigger is missing or another one than it should be."""
        identity = self._identity()
        if identity is None:
            raise SourceRefused(
                N_("the triggers that fill the change log of {flow} are missing or switched off"),
                hint=N_("let the DBA run what this prints: huitong source ddl {flow}"),
                flow=self._log.flow,
            )
        return {"log": identity, "schema": self._schema(), "seq": self.head()}

    def read(self, after: Mark, limit: int) -> Changes:
        """See Stream."""
        schema = self._schema()
        if schema != after["schema"]:
            if self._identity() != after["log"]:
                raise gone(str(after["log"]), N_("the change log or its triggers were replaced, altered or switched off"))
            # Somebody changed the schema: the triggers are as they were, but they may have been away for a while.
            return Changes((), after | {"schema": schema}, doubt=True)
        with self._database.translated():
            rows = self._database.fetch(self._session, self._sql, {"seq": after["seq"], "limit": limit})
        made = self._entries.changes(rows, limit)
        seq = rows[made.read - 1][0] if rows else after["seq"]
        more = len(rows) == limit or made.read < len(rows)
        return replace(made.changes, mark=after | {"seq": seq}, more=more, suspicious=self._session.suspicious)

    def head(self) -> Mark:
        """See Stream."""
        return int(self._session.value(f"SELECT max(seq) FROM {quoted(self._log.log)}") or 0)  # noqa: S608 - our own name

    def covers(self, mark: Mark, head: Mark) -> bool:
        """See Stream."""
        return bool(mark["seq"] >= head)

    def commit(self, mark: Mark) -> None:
        """See Stream: entries that were captured and are older than `keep` go, where the account may write to the file."""
        now = self._clock.monotonic()
        if now - self._trimmed_at < _TRIM_SECS:
            return
        self._trimmed_at = now
        # Somebody else may be writing, or the file may be read-only for us: there is always a next time.
        with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(self._writer()) as writer:
            writer.execute(
                f"DELETE FROM {quoted(self._log.log)} WHERE seq IN (SELECT seq FROM {quoted(self._log.log)} WHERE seq <= ? "  # noqa: S608
                "AND julianday(at) < julianday('now') - ? / 86400.0 ORDER BY seq LIMIT ?)",
                (mark["seq"], self._keep_secs, _TRIM_ROWS),
            )

    def fileno(self) -> int | None:
        """See alarm.Watched: a file says nothing."""
        return None

    def look(self) -> bool:
        """See alarm.Watched: whether another connection has committed since."""
        version = int(self._session.value("PRAGMA data_version"))
        before, self._version = self._version, version
        return version != before

    def close(self) -> None:
        """See Stream: the session is that of the source."""

    # -- inside ------------------------------------------------------------------------------------------------------

    def _schema(self) -> int:
        return int(self._session.value("PRAGMA schema_version"))

    def _identity(self) -> str | None:
        """Return what names this log; None when a trigger is missing or is not what the settings ask for."""
        for name, wanted in zip(self._log.triggers, self._log.trigger_statements(), strict=True):
            found = self._session.value("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = :name", name=name)
            if found != wanted:
                return None
        found = self._session.value(f"SELECT id FROM {quoted(REGISTRY)} WHERE name = :name", name=self._log.log)  # noqa: S608
        return None if found is None else str(found)

    def _writer(self) -> Any:
        assert isinstance(self._database, SqliteDatabase)
        return self._database.connect_writer()


def _entries_sql(log: SqliteLog, entries: Entries) -> str:
    columns = Columns({name: log.new(name) for name in log.columns}, {name: log.old(name) for name in log.before})
    chosen = "WHERE seq > :seq ORDER BY seq LIMIT :limit"
    return entries.of_columns(quoted(log.log), columns, chosen, "replace(e.at, ' ', 'T') || '+00:00'")


def log_of(about: About, account: str = "") -> SqliteLog:  # noqa: ARG001 - a file knows no accounts
    """Return the log of a flow."""
    shape = about.reader.pages.shape
    key = [column.name for column in shape.key]
    others = [tuple(sorted(columns)) for columns in shape.table.unique if not columns >= set(key)]
    return SqliteLog(about.flow, shape.table.name, about.logged, about.logged_before, key, sorted(set(others)))


def obstacle(about: About) -> str:
    """See choose.Way."""
    log = log_of(about)
    found = about.reader.session.value("SELECT name FROM sqlite_master WHERE type = 'table' AND name = :name", name=log.log)
    return "" if found is not None else N_("there is no change log (huitong source ddl)")


def stream_of(about: About) -> Stream:
    """See choose.Way."""
    log, reader = log_of(about), about.reader
    with reader.database.translated():
        held = reader.database.fetch(reader.session, "SELECT name FROM pragma_table_info(:log)", {"log": log.log})
    require_columns(about.flow, log, [name for (name,) in held])
    return SqliteLogStream(log, about.reader, about.settings.keep.total_seconds(), about.clock)
