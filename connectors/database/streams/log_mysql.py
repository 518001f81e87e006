"""The change log of MySQL and MariaDB, read by number with a list of what is missing (see `gaps`).

A reading looks at the open transactions first, then takes one snapshot, in which it looks into the holes and reads on. Without
the privilege to see transactions (PROCESS) holes are kept for a day. Where numbers of this log are given out by several servers
the transactions of one of them tell nothing, and there is no such capture.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from agent.errors import SourceRefused, SourceUnavailable
from agent.i18n import N_
from agent.model import Value
from agent.ports import Clock
from connectors.database.changelog.mysql import (
    COLUMNS,
    MOST_COLUMNS,
    NO_LOG,
    NO_TRIGGERS,
    VARIABLES,
    Held,
    MysqlLog,
    grantee,
    problem_of_server,
)
from connectors.database.dialects.base import Row, Session
from connectors.database.position import gone
from connectors.database.streams.about import About
from connectors.database.streams.activity_mysql import Activity
from connectors.database.streams.entries import Columns, Entries
from connectors.database.streams.gaps import MOST_HOLES, Gaps, Hole, settled_before
from connectors.database.streams.logged import require_columns
from connectors.database.streams.stream import Changes, Mark, Stream
from connectors.database.tables.pages import Shape
from connectors.database.tables.reader import TableReader

_LOOK_SECS: Final = 5.0
"""How often the triggers and the table are looked at while reading."""

_TRIM_SECS: Final = 60.0
_TRIM_AGAIN_SECS: Final = 1.0
_TRIM_ROWS: Final = 5_000
_BLIND_SECS: Final = 86_400.0
"""How long a hole is kept while nobody tells which transactions are open."""

_STUCK_SECS: Final = 600.0
"""How long reading waits for holes to close, before it says so."""

_NOT_ALLOWED: Final = 1142
_CHOSEN: Final = "/* chosen */"
_TIME: Final = "CONCAT(REPLACE(CAST(e.at AS CHAR), ' ', 'T'), '+00:00')"

_TABLE: Final = (
    "SELECT ENGINE, CAST(CREATE_TIME AS CHAR) FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
)

_IDS: Final = """
SELECT CONCAT_WS('.', COUNT(*), SUM(t.TABLE_ID), MAX(t.TABLE_ID)) FROM information_schema.{tables} AS t
JOIN (SELECT CONVERT(CONVERT(CONCAT(CONVERT(CONVERT(%s USING filename) USING binary), '/',
  CONVERT(CONVERT(%s USING filename) USING binary)) USING binary) USING utf8) AS name) AS our
ON t.NAME = our.name OR LOWER(LEFT(t.NAME, CHAR_LENGTH(our.name) + 3)) = LOWER(CONCAT(our.name, '#p#'))
"""
"""The numbers of the table and its partitions within InnoDB. TRUNCATE gives new ones, in whatever way it is done."""

_MISSING: Final = """
SELECT a.seq + 1, (SELECT MIN(b.seq) FROM {log} AS b WHERE b.seq > a.seq) - 1 FROM {log} AS a
WHERE a.seq >= %s AND a.seq < %s AND NOT EXISTS (SELECT 1 FROM {log} AS c WHERE c.seq = a.seq + 1) ORDER BY a.seq LIMIT %s
"""


class MysqlLogStream:
    """Implements Stream.

    A mark is {"log": its identity, "made": that of its triggers, "table": that of the table, "hi": the greatest number that was
    read, "holes": [[first, last, seen missing at], ...]}.
    """

    exact = True

    def __init__(self, log: MysqlLog, reader: TableReader, keep_secs: float, clock: Clock) -> None:
        self._log = log
        self._database = reader.database
        self._keep_secs = keep_secs
        self._clock = clock
        self._entries = Entries(reader.pages.shape)
        self._sql = _entries_sql(log, reader.pages.shape, self._entries)
        self._name = _escaped(log.log)
        self._readings = 0
        self._reached: tuple[Mark, int] | None = None  # a mark whose holes were all looked into, and in which reading
        self._looked_at = self._trimmed_at = float("-inf")
        self._trim_secs = _TRIM_SECS
        self._may_trim = True
        self._booted: float | None = None
        self._activity: Activity | None = None
        self._session: Session = reader.database.connect()
        try:
            self._run("SET SESSION sql_mode = 'ALLOW_INVALID_DATES', innodb_lock_wait_timeout = 1")
            self._run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            if Activity.possible(self._session):
                self._activity = Activity(self._database, clock)
        except BaseException:
            self._session.close()
            raise

    def begin(self) -> Mark:
        """See Stream. Raises SourceRefused when a trigger is missing, or is not what the settings ask for.

        Every number that is missing below the greatest is a hole, for its transaction may be open. When none is open after
        the greatest number was read, there are none up to that.
        """
        state = self._state()
        if problem := self._log.problem(state):
            raise _refused(problem, self._log.flow)
        before, asked_at = self._top()
        looked = None if self._activity is None else self._activity.look()
        quiet = looked is not None and looked.fresh and looked.oldest is None and looked.at.timestamp() >= asked_at
        with self._database.unmoving(self._session):
            hi, now = self._top()
            holes = self._missing(before if quiet else 0, hi, now)
        made = {"log": self._identity(), "made": _short(state), "table": self._table()}
        return made | Gaps(hi, holes).stored()

    def read(self, after: Mark, limit: int) -> Changes:
        """See Stream."""
        table = self._look(after)
        if table != after["table"]:
            return Changes((), after | {"table": table}, doubt=True)
        gaps = Gaps.of(after)
        before = self._settled_before(gaps)
        self._readings += 1
        with self._database.unmoving(self._session):
            top, now = self._top()
            if top < gaps.hi:
                raise gone(str(after["log"]), N_("entries of the change log that were read already are not there any more"))
            numbers = self._numbers(gaps, limit) if top > gaps.hi or gaps.holes else []
            entries = self._fetch(self._sql.replace(_CHOSEN, gaps.condition(numbers[-1]))) if numbers else ()
        made = self._entries.changes(entries, limit)
        whole = made.read == len(numbers) < limit
        read_to = None if whole else numbers[made.read - 1]
        reached = gaps.after(numbers[: made.read], now).settled(now - _BLIND_SECS if before is None else before, read_to)
        if whole and not numbers and reached.full:
            self._complain(reached, now)
        mark = after | reached.stored()
        if read_to is None or read_to >= gaps.hi:
            self._reached = (mark, self._readings)
        return replace(made.changes, mark=mark, more=not whole)

    def head(self) -> Mark:
        """See Stream: the greatest number, and the last reading whose snapshot was taken before."""
        return {"hi": self._top()[0], "readings": self._readings}

    def covers(self, mark: Mark, head: Mark) -> bool:
        """See Stream: read up to that number, all holes below it being looked into since then."""
        if self._reached is None or self._reached[0] != mark:
            return False
        return bool(self._reached[1] > head["readings"] and mark["hi"] >= head["hi"])

    def commit(self, mark: Mark) -> None:
        """See Stream: entries that were captured and are older than `keep` go, some at a time; never the newest.

        The server may give out numbers again that are greater than any it finds after a restart (MySQL 5.7).
        """
        now = self._clock.monotonic()
        if not self._may_trim or now - self._trimmed_at < self._trim_secs:
            return
        self._trimmed_at = now
        # Somebody may hold a lock, or be shutting the server down: there is always a next time, and reading tells the rest.
        with contextlib.suppress(*self._database.errors, SourceUnavailable, SourceRefused):
            trimmed = self._trim(Gaps.of(mark).low)
            self._trim_secs = _TRIM_AGAIN_SECS if trimmed >= _TRIM_ROWS - 1 else _TRIM_SECS

    def close(self) -> None:
        """See Stream."""
        if self._activity is not None:
            self._activity.close()
        self._session.close()

    # -- what was read and what is missing ---------------------------------------------------------------------------

    def _settled_before(self, gaps: Gaps) -> float | None:
        """Return the time such that holes seen before it are settled; None when nobody tells."""
        if self._activity is None:
            return None
        if not gaps.holes or not (looked := self._activity.look()).fresh:
            return float("-inf")
        # Transactions that a server finds prepared when it starts seem to have begun then.
        if min(hole.seen_at for hole in gaps.holes) < self._boot(looked.at.timestamp()) and self._any_prepared():
            return float("-inf")
        oldest = None if looked.oldest is None else looked.oldest.timestamp()
        return settled_before(looked.at.timestamp(), oldest)

    def _boot(self, now: float) -> float:
        if self._booted is None:  # a restart would have ended the session
            self._booted = now - float(self._fetch("SHOW GLOBAL STATUS LIKE 'Uptime'")[0][1] or 0) + 1
        return self._booted

    def _any_prepared(self) -> bool:
        try:
            return bool(self._fetch("XA RECOVER"))
        except SourceRefused:  # who may not ask has to assume it
            return True

    def _missing(self, known: int, hi: int, now: float) -> tuple[Hole, ...]:
        """Return the numbers missing between `known`, up to which none is open, and the greatest that is visible."""
        if not hi:
            return ()
        first = known or self._number(f"SELECT MIN(seq) FROM {self._name}")  # noqa: S608
        found = [(1, first - 1)] if first > 1 and not known else []
        found += [(int(a), int(b)) for a, b in self._fetch(_MISSING.format(log=self._name), first, hi, MOST_HOLES)]  # type: ignore[arg-type]
        if len(found) >= MOST_HOLES:  # so many are not noted one by one: entries between them come once more, in their order
            found[MOST_HOLES // 2 :] = [(found[MOST_HOLES // 2][0], hi)]
        return tuple(Hole(a, b, now) for a, b in found)

    def _numbers(self, gaps: Gaps, limit: int) -> list[int]:
        """Return the numbers of entries that are news, ascending."""
        rows = self._fetch(f"SELECT seq FROM {self._name} WHERE {gaps.condition()} ORDER BY seq LIMIT {limit:d}")  # noqa: S608
        return [int(row[0]) for row in rows]  # type: ignore[arg-type]

    def _complain(self, gaps: Gaps, now: float) -> None:
        if now - gaps.holes[0].seen_at > _STUCK_SECS:
            raise SourceRefused(
                N_("a transaction that has been open for {minutes} minutes or more keeps the change log from being read on"),
                hint=N_("let the DBA end it: information_schema.INNODB_TRX, XA RECOVER"),
                minutes=int((now - gaps.holes[0].seen_at) // 60),
            )

    # -- the log and its table ---------------------------------------------------------------------------------------

    def _look(self, mark: Mark) -> str:
        """Return what names the table now. Raises SourceGone when log or triggers are not those of the mark any more."""
        now = self._clock.monotonic()
        if now - self._looked_at < _LOOK_SECS:
            return str(mark["table"])
        if self._identity() != mark["log"] or _short(self._state()) != mark["made"]:
            raise gone(str(mark["log"]), N_("the change log or its triggers were replaced, altered or switched off"))
        if self._activity is not None and self._activity.look().replicating:
            raise _refused(N_("the server applies changes of another server, so its transactions tell nothing"), self._log.flow)
        self._looked_at = now
        return self._table()

    def _identity(self) -> str | None:
        rows = self._fetch(f"SELECT id FROM {_escaped(self._log.registry)} WHERE name = %s", self._log.name)  # noqa: S608
        return str(rows[0][0]) if rows else None

    def _state(self) -> str:
        return str(self._fetch(f"SELECT {_escaped(self._log.state)}()")[0][0])

    def _table(self) -> str:
        mysql8 = not _is_mariadb(self._session) and (self._database.dialect.server_version_info or ()) >= (8,)
        tables = "INNODB_TABLES" if mysql8 else "INNODB_SYS_TABLES"
        if self._activity is not None:
            return str(self._fetch(_IDS.format(tables=tables), self._log.schema, self._log.table)[0][0])
        rows = self._fetch(_TABLE, self._log.schema, self._log.table)
        return str(rows[0][1]) if rows else ""

    def _trim(self, upto: int) -> int:
        """Drop entries up to a number at most, all but the last of these, and return how many.

        Up to there everything is over. Deleting a range also locks the entry that follows it, so one of them has to be left.
        """
        cut = self._number(
            f"SELECT MAX(o.seq) FROM (SELECT seq, at FROM {self._name} WHERE seq <= %s ORDER BY seq LIMIT {_TRIM_ROWS}) AS o "  # noqa: S608
            "WHERE o.at < NOW(6) - INTERVAL %s SECOND",
            upto,
            self._keep_secs,
        )
        if not cut:
            return 0
        cursor = self._session.cursor
        cursor.execute("START TRANSACTION READ WRITE")
        try:
            trimmed: int = cursor.execute(
                f"DELETE FROM {self._name} WHERE seq < %s AND at < NOW(6) - INTERVAL %s SECOND",  # noqa: S608
                (cut, self._keep_secs),
            )
        except self._database.errors as error:
            self._may_trim = error.args[:1] != (_NOT_ALLOWED,)
            raise
        finally:
            cursor.execute("COMMIT")
        return trimmed

    # -- the session -------------------------------------------------------------------------------------------------

    def _top(self) -> tuple[int, float]:
        """Return the greatest number that is visible, and the clock of the server after it was read."""
        rows = self._fetch(f"SELECT COALESCE(MAX(seq), 0), CAST(UNIX_TIMESTAMP(SYSDATE(6)) AS CHAR) FROM {self._name}")  # noqa: S608
        return int(rows[0][0]), round(float(rows[0][1]) + 0.001, 3)  # type: ignore[arg-type]

    def _number(self, sql: str, *values: Value) -> int:
        return int(self._fetch(sql, *values)[0][0] or 0)

    def _fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        with self._database.translated():
            return self._database.fetch(self._session, sql, values)
        raise AssertionError("unreachable")  # mypy: the context never swallows

    def _run(self, sql: str) -> None:
        with self._database.translated():
            self._session.cursor.execute(sql)


def log_of(about: About, account: str = "") -> MysqlLog:
    """Return the log of a flow; `account` is who reads it, by default whoever is connected. Raises SourceRefused."""
    shape, session = about.reader.pages.shape, about.reader.session
    columns, before = about.logged, about.logged_before
    if len(columns) + len(before) > MOST_COLUMNS:
        raise SourceRefused(
            N_("more columns are to be logged than a change log can hold"),
            hint=N_("name fewer columns, and use no condition (where), with which all columns are logged twice"),
        )
    schema = shape.table.schema or str(session.value("SELECT DATABASE()"))
    found: Sequence[Any] = _rows(about, COLUMNS, schema, shape.table.name)
    types = {str(name): Held(*texts) for name, *texts in found}
    who = grantee(account, str(session.value("SELECT CURRENT_USER()")))
    return MysqlLog(about.flow, schema, shape.table.name, columns, before, types, who, _is_mariadb(session))


def obstacle(about: About) -> str:
    """See choose.Way."""
    try:
        log = log_of(about)
        if problem := _of_server(about, log):
            return problem
        if not _rows(about, _TABLE, log.schema, log.name):
            return NO_LOG
        return log.problem(str(_rows(about, f"SELECT {log.state}()")[0][0]))
    except SourceRefused as error:
        return error.text


def stream_of(about: About) -> Stream:
    """See choose.Way."""
    log = log_of(about)
    if problem := _of_server(about, log):
        raise _refused(problem, about.flow)
    require_columns(about.flow, log, [name for name, *_ in _rows(about, COLUMNS, log.schema, log.name)])
    return MysqlLogStream(log, about.reader, about.settings.keep.total_seconds(), about.clock)


def _of_server(about: About, log: MysqlLog) -> str:
    """Return what is in the way, in the server or its table, of capture through a log, empty when nothing is."""
    found = {str(name): str(value) for name, value in _rows(about, VARIABLES)}
    if problem := problem_of_server(found):
        return problem
    table = _rows(about, _TABLE, log.schema, log.table)
    if not table or str(table[0][0]).casefold() != "innodb":
        return N_("the table is a view or not an InnoDB table: what is rolled back could not be told from what is not")
    return ""


def _rows(about: About, sql: str, *values: Value) -> Sequence[Row]:
    with about.reader.database.translated():
        return about.reader.database.fetch(about.reader.session, sql, values or None)
    raise AssertionError("unreachable")  # mypy: the context never swallows


def _refused(problem: str, flow: str) -> SourceRefused:
    hint = N_("let the DBA run what this prints: huitong source ddl {flow}") if problem == NO_TRIGGERS else ""
    return SourceRefused(problem, hint=hint or N_("choose another mode, or auto"), flow=flow)


def _entries_sql(log: MysqlLog, shape: Shape, entries: Entries) -> str:
    """Return the statement that reads entries, with a comment where the condition of the numbers belongs."""
    quote = shape.dialect.identifier_preparer.quote_identifier
    held = {log.new(name): name for name in log.columns} | {log.old(name): name for name in log.before}
    restored = ", ".join(f"{log.types[name].restored(quote(column))} AS {quote(column)}" for column, name in held.items())
    inside = f"(SELECT seq, at, op, {restored} FROM {_escaped(log.log)} WHERE {_CHOSEN})"  # noqa: S608
    if shape.where is not None:
        columns = Columns({name: log.new(name) for name in log.columns}, {name: log.old(name) for name in log.before})
        return entries.of_columns(inside, columns, "AS l", _TIME)

    def shown(name: str) -> str:
        column = next(column for column in held if column == name)
        expression: sa.ColumnElement[Any] = shape.show(replace(shape.table.columns[held[column]], name=column))
        return str(expression.compile(dialect=shape.dialect, compile_kwargs={"literal_binds": True}))

    new = [shown(log.new(column.name)) for column in shape.columns]
    old = [shown(log.old(column.name)) for column in shape.key]
    return f"SELECT e.seq, NULL, {_TIME}, e.op, {', '.join([*new, '1', *old, '1'])} FROM {inside} AS e ORDER BY e.seq"  # noqa: S608


def _short(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()[:16]


def _escaped(name: str) -> str:
    return name.replace("%", "%%")  # part of a statement with parameters


def _is_mariadb(session: Session) -> bool:
    return bool(getattr(session.connection.dialect, "is_mariadb", False))
