"""Which transactions are open on a MySQL or MariaDB server, and since when.

`information_schema.INNODB_TRX` is a cache: it is not refreshed while anybody reads it more often than about every 100 ms, and
then an open transaction stays invisible. So the statement that reads it runs in a transaction of its own and carries a mark that
no other statement has. The table shows the statement of each transaction: only when it shows this very one was it filled for us.

`trx_started` is when InnoDB learnt of a transaction, which may be long after the statement began that opened it: a statement
waits for a lock on the table, sorts what it will insert, or sleeps, and its NOW() is from before. So running statements are
looked at first, and what was running at the look before is remembered: a transaction that is new was opened by a statement that
was running then, or that began later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from agent.errors import SourceRefused
from agent.i18n import N_
from agent.ports import Clock
from connectors.database.dialects.base import Database, Session

_EVERY_SECS: Final = 0.15
"""Reads closer together than 100 ms would keep the cache from being refreshed."""

_MOST: Final = 4000
"""The cache ends after 16 MB without saying so; some thousand transactions always fit."""

_ZONES: Final = timedelta(minutes=15)
"""Offsets of time zones are multiples of this."""

_AHEAD: Final = timedelta(seconds=5)
"""What seems to have started so far in the future is from before the end of summer time, or from before a step of the clock."""

_IDLE: Final = "'Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID'"

_STATEMENTS: Final = f"""
SELECT CAST(UTC_TIMESTAMP(6) AS CHAR), ID, {{time}}, USER = 'system user' FROM information_schema.PROCESSLIST
WHERE ID = CONNECTION_ID() OR COMMAND NOT IN ({_IDLE}) OR (USER = 'system user' AND COMMAND <> 'Daemon')
"""  # noqa: S608 - constants

_TRANSACTIONS: Final = """
SELECT /* huitong {mark} */ trx_id, trx_mysql_thread_id, CAST(trx_started AS CHAR),
COALESCE(trx_mysql_thread_id = CONNECTION_ID() AND LOCATE('/* huitong {mark} */', trx_query), 0)
FROM information_schema.INNODB_TRX
"""


_TABLE: Final = "TABLE_SCHEMA = COALESCE(NULLIF(:schema, ''), DATABASE()) AND TABLE_NAME = :name"

OBSTACLES: Final = (
    (
        N_("the server applies changes of another server, whose times mean nothing here"),
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'system user' AND COMMAND <> 'Daemon'",
    ),
    (
        N_("the table is not of InnoDB: its transactions cannot be seen"),
        f"SELECT COUNT(*) FROM information_schema.TABLES WHERE {_TABLE} AND ENGINE <> 'InnoDB'",  # noqa: S608 - constants
    ),
)
"""What keeps times from being a watermark: texts, and questions about the table (:schema, :name) that must not hold."""

SET_BY_SERVER: Final = f"""
SELECT COUNT(*) FROM information_schema.COLUMNS WHERE {_TABLE} AND COLUMN_NAME = :column
AND LOWER(COLUMN_DEFAULT) LIKE 'current_timestamp%' AND LOWER(EXTRA) LIKE '%on update current_timestamp%'
"""  # noqa: S608 - constants
"""Whether the server sets a column (:column) at every change."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """What was seen of open transactions at `at`, the clock of the database just before. All times are aware UTC.

    What becomes visible later is not older than `safe`; None when that cannot be said now. `unwitnessed`: the start of the oldest
    transaction of which less is known, because it was open before the first look.
    """

    at: datetime
    safe: datetime | None
    unwitnessed: datetime | None = None


class Lookout(Protocol):
    """Looks at the open transactions of a database."""

    def look(self) -> Horizon:
        """Return what is open now. Raises SourceUnavailable, SourceRefused."""
        ...

    def close(self) -> None:
        """Let go of what it holds. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen at `at`, the clock of the server just before. All times are aware UTC.

    `fresh`: the answer was made for this look; if not, it proves nothing. `oldest` is the earliest `trx_started` (whole seconds,
    rounded down) of all open transactions but our own, prepared and recovered ones included, None when there is none.

    `earliest`: whatever becomes visible later took its time from a statement that began at or after this moment, except by
    transactions that had begun before the first look: `unwitnessed` is the earliest `trx_started` of those, None without any.
    `earliest` is None while one of those has no connection: nobody knows when it began.
    `replicating`: the server applies changes of another server, whose times mean nothing here.
    """

    at: datetime
    fresh: bool
    oldest: datetime | None = None
    earliest: datetime | None = None
    unwitnessed: datetime | None = None
    replicating: bool = False


@dataclass(frozen=True, slots=True)
class Transaction:
    """An open transaction; `number` 0 until it writes, `thread` 0 when no connection owns it (any more)."""

    number: int
    thread: int
    started: datetime


class Witness:
    """Remembers of every open transaction since when a statement of it may have been running. Pure."""

    def __init__(self) -> None:
        self._at: datetime | None = None
        self._running: Mapping[int, datetime] = {}
        self._since: dict[Transaction, datetime | None] = {}

    def note(
        self, at: datetime, running: Mapping[int, datetime], transactions: Sequence[Transaction]
    ) -> tuple[datetime | None, datetime | None]:
        """Take what a look saw; return `earliest` and `unwitnessed`. `running`: thread → when its statement began."""
        numbers = {known.number: since for known, since in self._since.items() if known.number}
        threads = {(known.thread, known.started): since for known, since in self._since.items() if known.thread}
        found: dict[Transaction, datetime | None] = {}
        for transaction in transactions:
            place = (transaction.thread, transaction.started)
            if transaction.number in numbers:
                found[transaction] = numbers[transaction.number]
            elif place in threads:
                found[transaction] = threads[place]
            else:
                found[transaction] = self._since_when(transaction)
        self._at, self._running, self._since = at, dict(running), found
        known = [since for since in found.values() if since is not None]
        unknown = [transaction for transaction, since in found.items() if since is None]
        unwitnessed = min((transaction.started for transaction in unknown), default=None)
        if any(not transaction.thread for transaction in unknown):
            return None, unwitnessed  # recovered after a crash, it says that it started then
        return min([at, *running.values(), *known]), unwitnessed

    def _since_when(self, transaction: Transaction) -> datetime | None:
        """Return when the statement that opened a new transaction can have begun at the earliest; None when nobody knows."""
        if self._at is None:
            return None
        running = self._running
        opened_by = list(running.values())
        if transaction.thread:
            opened_by = [running[transaction.thread]] if transaction.thread in running else []
        return min([self._at, transaction.started, *opened_by])


class Activity:
    """Looks at the open transactions of a server, through a session of its own. Belongs to one thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._session = database.connect()
        self._witness = Witness()
        self._count = 0
        self._last: Looked | None = None
        self._looked_at = 0.0
        in_millis = getattr(database.dialect, "is_mariadb", False)
        # Whole seconds may be nearly one more; the statement that began then must not seem to have begun later.
        self._statements = _STATEMENTS.format(time="TIME_MS / 1000" if in_millis else "TIME + 1")

    @staticmethod
    def possible(session: Session) -> bool:
        """Tell whether an account may see the transactions of others, for which it needs PROCESS. Raises SourceUnavailable."""
        try:
            session.value("SELECT COUNT(*) FROM information_schema.INNODB_TRX")
        except SourceRefused:  # also where the server has no such table
            return False
        return True

    def look(self) -> Looked:
        """Return what is open now, or the look before, when that was less than 150 ms ago.

        Raises SourceUnavailable, SourceRefused.
        """
        now = self._clock.monotonic()
        if self._last is not None and now - self._looked_at < _EVERY_SECS:
            return self._last
        self._looked_at = now
        # Statements first: one that ends before the transactions are read has left its transaction there, or is visible.
        found = self._rows(self._statements)
        at = _moment(found[0][0])
        running = {int(ident): at - _span(secs) for _at, ident, secs, applies in found if not int(applies)}
        running.pop(self._thread, None)
        replicating = any(int(applies) for *_, applies in found)
        self._last = self._looked(at, running, replicating=replicating)
        return self._last

    def close(self) -> None:
        """End the session."""
        self._session.close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _looked(self, at: datetime, running: Mapping[int, datetime], *, replicating: bool) -> Looked:
        rows = self._transactions()
        own = [_moment(started) for _number, _thread, started, ours in rows if int(ours)]
        if not own or len(rows) > _MOST:
            return Looked(at, fresh=False, replicating=replicating)
        # The table shows the local time of the server, whatever the zone of the session; our own transaction began just now.
        shift = round((own[0] - at) / _ZONES) * _ZONES
        open_ = [
            Transaction(int(number), int(thread or 0), _moment(started) - shift)
            for number, thread, started, ours in rows
            if not int(ours)
        ]
        oldest = min((transaction.started for transaction in open_), default=None)
        if any(transaction.started > at + _AHEAD for transaction in open_):
            return Looked(at, fresh=False, replicating=replicating)
        earliest, unwitnessed = self._witness.note(at, running, open_)
        return Looked(at, True, oldest, earliest, unwitnessed, replicating)

    def _transactions(self) -> Sequence[Sequence[Any]]:
        self._count += 1
        self._run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        try:
            return self._rows(_TRANSACTIONS.format(mark=f"{self._thread}.{self._count}"))
        finally:
            self._run("COMMIT")

    @property
    def _thread(self) -> int:
        return int(self._session.driver.thread_id())

    def _rows(self, sql: str) -> Sequence[Sequence[Any]]:
        with self._database.translated():
            return self._database.fetch(self._session, sql, None)
        raise AssertionError("unreachable")  # mypy: the context never swallows

    def _run(self, sql: str) -> None:
        with self._database.translated():
            self._session.cursor.execute(sql)


class MysqlLookout:
    """Implements Lookout."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity

    def look(self) -> Horizon:
        """See Lookout."""
        looked = self._activity.look()
        safe = looked.earliest if looked.fresh and not looked.replicating else None
        return Horizon(looked.at, safe, looked.unwitnessed)

    def close(self) -> None:
        """See Lookout."""
        self._activity.close()


def _moment(text: Any) -> datetime:
    return datetime.fromisoformat(str(text)).replace(tzinfo=UTC)


def _span(secs: Any) -> timedelta:
    return timedelta(seconds=max(0.0, float(secs)))
