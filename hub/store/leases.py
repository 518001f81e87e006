"""Leases on departments, in PostgreSQL.

Every process says in `member` that it lives, and takes a fair share of the departments: their number divided by the number of
living members, rounded up. A lease carries a fence that grows with every change of hands; writes check it (unit.py), so a
process that was stopped for a minute and goes on cannot write under a lease it has lost. Correctness rests on the fence alone,
expiry only decides how soon somebody else takes over. All times are those of the database.

A process that is frozen in the middle of a COPY keeps its locks: the server waits for its next octet, and no timeout of a
session counts there. So nobody ever waits for a lease that is locked, and whoever is silent for too long while a lease has
run out is cut off.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, TextClause, text

from hub.store.postgres import APPLICATION
from hub.store.sql import SqlStore
from hub.store.store import Fences

_LOCK: Final = text("SELECT pg_advisory_xact_lock(7306641962)")  # one process deals out leases at a time
_ALIVE: Final = text(
    "INSERT INTO member (owner, until) VALUES (:owner, clock_timestamp() + make_interval(secs => :ttl))"
    " ON CONFLICT (owner) DO UPDATE SET until = excluded.until"
)
_BURY: Final = text("DELETE FROM member WHERE until < clock_timestamp()")
_RENEW: Final = text(
    "UPDATE lease SET until = clock_timestamp() + make_interval(secs => :ttl) WHERE owner = :owner AND until > clock_timestamp()"
)
_SHARE: Final = text(
    "SELECT (SELECT count(*) FROM department WHERE state = 'admitted') AS departments, (SELECT count(*) FROM member) AS members"
)
_DROP_SUSPENDED: Final = text(
    "UPDATE lease SET owner = '', until = clock_timestamp(), fence = fence + 1"
    " WHERE owner = :owner AND department IN (SELECT code FROM department WHERE state <> 'admitted')"
)
_GIVE_BACK: Final = text(
    "UPDATE lease SET owner = '', until = clock_timestamp(), fence = fence + 1 WHERE department IN ("
    " SELECT department FROM lease WHERE owner = :owner ORDER BY department DESC LIMIT :many)"
)
_MEET: Final = text(
    "INSERT INTO lease (department, owner, until, fence) SELECT code, '', clock_timestamp(), 0 FROM department"
    " ON CONFLICT (department) DO NOTHING"
)
_TAKE: Final = text(
    "UPDATE lease SET owner = :owner, until = clock_timestamp() + make_interval(secs => :ttl), fence = fence + 1"
    " WHERE department IN ("
    " SELECT l.department FROM lease AS l JOIN department AS d ON d.code = l.department"
    " WHERE d.state = 'admitted' AND l.until <= clock_timestamp()"
    " ORDER BY l.department LIMIT :many FOR UPDATE OF l SKIP LOCKED)"
)
_CUT_OFF: Final = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND application_name = :application"
    " AND pid <> pg_backend_pid() AND state <> 'idle' AND wait_event = 'ClientRead'"
    " AND state_change < clock_timestamp() - make_interval(secs => :silent)"
    " AND EXISTS (SELECT 1 FROM lease WHERE owner NOT IN ('', :owner) AND until < clock_timestamp())"
)
_HELD: Final = text("SELECT department, fence FROM lease WHERE owner = :owner AND until > clock_timestamp()")
_RELEASE: Final = text("UPDATE lease SET owner = '', until = clock_timestamp(), fence = fence + 1 WHERE owner = :owner")
_LEAVE: Final = text("DELETE FROM member WHERE owner = :owner")


class PostgresLeases:
    """Leases over the same database as a SqlStore."""

    def __init__(self, store: SqlStore, *, silent_secs: float = 30.0) -> None:
        self._store = store
        self._silent_secs = silent_secs

    def hold(self, owner: str, ttl_secs: float) -> Fences:
        """Renew, give back or take until the share is fair; return department → fence."""
        with self._store.transaction() as connection:
            _run(connection, _LOCK)
            _run(connection, _ALIVE, owner=owner, ttl=ttl_secs)
            _run(connection, _BURY)
            _run(connection, _DROP_SUSPENDED, owner=owner)
            held = _run(connection, _RENEW, owner=owner, ttl=ttl_secs)
            share = connection.execute(_SHARE).one()
            fair = -(-share.departments // share.members)
            if held > fair:
                _run(connection, _GIVE_BACK, owner=owner, many=held - fair)
            elif held < fair:
                _run(connection, _CUT_OFF, owner=owner, application=APPLICATION, silent=self._silent_secs)
                _run(connection, _MEET)
                _run(connection, _TAKE, owner=owner, ttl=ttl_secs, many=fair - held)
            return {row.department: row.fence for row in connection.execute(_HELD, {"owner": owner})}

    def release(self, owner: str) -> None:
        """Give everything back and leave."""
        with self._store.transaction() as connection:
            _run(connection, _LOCK)
            _run(connection, _RELEASE, owner=owner)
            _run(connection, _LEAVE, owner=owner)


def _run(connection: Connection, statement: TextClause, **values: object) -> int:
    return connection.execute(statement, values).rowcount


class EveryDepartment:
    """Leases where there is only one process (SQLite): it works for all admitted departments, without fences."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def hold(self, owner: str, ttl_secs: float) -> Fences:  # noqa: ARG002 - nobody else asks
        """Return every admitted department; the fence 0 stands for none."""
        with self._store.transaction() as connection:
            rows = connection.execute(text("SELECT code FROM department WHERE state = 'admitted'"))
            return dict.fromkeys(rows.scalars(), 0)

    def release(self, owner: str) -> None:
        """Nothing to give back."""
