"""Hostile writers on one table, followed by a mode of the product and, beside it, by the rule most pollers have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final, Self

from agent.adapters.clock import SystemClock
from agent.events import Events
from agent.model import Op
from agent.settings.base import SettingsModel
from agent.testing.nodes.mariadb import MariadbNode
from agent.testing.nodes.postgres import PostgresNode
from agent.testing.workload import Workload
from agent.testing.workload_host import Follower
from agent.testing.workload_judge import Verdict, judge_inserts, judge_states
from agent.testing.workload_sites import PostgresSite, Site, SqliteSite
from agent.testing.workload_truth import Captured, Change, Truth
from agent.testing.workload_writer import Plan
from connectors.database.ddl import ddl_of
from connectors.database.settings import DatabaseFrom, MysqlConnection, PostgresConnection, SqliteConnection
from connectors.database.source import DatabaseSource
from connectors.wiring import Wiring

CLOCK: Final = SystemClock()
EVERY_SECS: Final = 0.1
PATIENCE_SECS: Final = 60.0
_COLUMNS: Final = ("id", "k", "version", "updated_at")
_INSERT: Final = "INSERT INTO {table} (k, version, note, updated_at) VALUES (%s, %s, 'late', {now})"

Server = PostgresNode | MariadbNode
Judge = Callable[[Truth, Sequence[Captured]], Verdict]


class Naive(threading.Thread):
    """Polls by `id > last`, as Logstash does and Kafka Connect with `incrementing`; goes on when the server is back."""

    def __init__(self, site: Site) -> None:
        super().__init__(name="naive")
        self._site = site
        self._ended = threading.Event()
        self.last = 0
        self.captured: list[Captured] = []

    def run(self) -> None:
        """Poll until told to end, and a last time."""
        session: Any = None
        while True:
            ends = self._ended.wait(EVERY_SECS)
            try:
                session = session or self._site.connect()
                self._poll(session)
            except self._site.errors:
                session = None
            if ends:
                break
        if session is not None:
            session.close()

    def finish(self) -> Sequence[Captured]:
        """End, with the server there."""
        self._ended.set()
        self.join()
        return self.captured

    def _poll(self, session: Any) -> None:
        rows = self._site.run(session, "SELECT k, version, id FROM {table} WHERE id > %s ORDER BY id", (self.last,))
        self.captured += [Captured(Op.UPSERT, key, version, CLOCK.monotonic()) for key, version, _ in rows]
        self.last = rows[-1][2] if rows else self.last


@dataclass(frozen=True, slots=True)
class Result:
    """How it ended: of the mode, of the naive rule, and how often the source had to be opened again."""

    verdict: Verdict
    naive: Verdict
    captured: int
    reopened: int
    truth: Truth


class Race:
    """One run: begin it, do something to the server meanwhile, and let it end. A context manager: nobody runs on after it."""

    def __init__(self, site: Site, mode: str, plan: Plan) -> None:
        self.site, self.plan = site, plan
        site.create()
        wiring = _wiring(site, mode)
        if mode in ("trigger", "slot"):
            for statement in ddl_of(wiring, _account(site)).create:
                with closing(site.connect()) as session, closing(session.cursor()) as cursor:
                    cursor.execute(statement)
        self.follower = Follower(DatabaseSource.build(wiring), CLOCK, every_secs=EVERY_SECS)
        self.naive = Naive(site)
        self.workload = Workload(site, plan, CLOCK)
        self._running: list[Follower | Naive | Workload] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._running:
            with suppress(Exception):
                self._running.pop().finish()

    def start(self) -> None:
        """Let everybody go, and plant the late commit that no naive rule finds."""
        for part in (self.follower, self.naive, self.workload):
            self._running.append(part)
            part.start()
        if not isinstance(self.site, SqliteSite):  # one writer at a time: nothing can be late
            self._plant()

    def await_bulk(self) -> None:
        """Wait until the transaction of many rows has committed and the new column is there."""
        key = f"b0-{self.plan.bulk_rows - 1}"
        query = f"SELECT count(*) FROM {{table}} WHERE k = '{key}'"
        until(lambda: self.site.rows(query)[0][0] == 1, "the bulk is there")
        until(self._altered, "the column is there")

    def finish(self, judge: Judge) -> Result:
        """Let the writers end, everything arrive, and judge."""
        truth = self.workload.finish()
        wanted = len(truth.changes())
        give_up = CLOCK.monotonic() + PATIENCE_SECS
        pause = threading.Event()
        while len(self.follower.captured) < wanted / 2 and CLOCK.monotonic() < give_up:
            pause.wait(EVERY_SECS)
        while judge(truth, news(list(self.follower.captured))).lost and CLOCK.monotonic() < give_up:
            pause.wait(1.0)
        captured, naive = news(self.follower.finish()), self.naive.finish()
        self._running.clear()
        owed = judge_states if isinstance(self.site, SqliteSite) else judge_inserts
        return Result(judge(truth, captured), owed(truth.histories(), naive), len(captured), self.follower.reopened, truth)

    def _altered(self) -> bool:
        with closing(self.site.connect()) as session:
            try:
                self.site.run(session, "SELECT extra FROM {table} WHERE id = 0")
            except self.site.errors:
                return False
            return True

    def _plant(self) -> None:
        """Commit a row after a younger one with a greater id was seen by the naive rule."""
        site, truth = self.site, self.workload.truth
        with closing(site.connect()) as late, closing(site.connect()) as early:
            site.run(late, site.begin)
            first = Change(Op.UPSERT, "planted-late", truth.version(), born=True)
            site.run(late, _INSERT, (first.key, first.version))
            second = Change(Op.UPSERT, "planted-early", truth.version(), born=True)
            site.run(early, _INSERT, (second.key, second.version))
            truth.commit([second], CLOCK.monotonic())
            ((number,),) = site.rows("SELECT id FROM {table} WHERE k = 'planted-early'")
            until(lambda: self.naive.last >= number, "the naive rule has seen the younger row")
            site.run(late, "COMMIT")
            truth.commit([first], CLOCK.monotonic())


def news(captured: Sequence[Captured]) -> Sequence[Captured]:
    """Leave out states that say what was captured last of their key, as the key ledger of a host does after a comparison."""
    last: dict[str, str | None] = {}
    kept = []
    for record in captured:
        if record.token is not None or record.version is None or last.get(record.key) != record.version:
            kept.append(record)
        last[record.key] = record.version
    return kept


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    give_up, pause = CLOCK.monotonic() + PATIENCE_SECS, threading.Event()
    while not condition():
        assert CLOCK.monotonic() < give_up, what
        pause.wait(0.05)


def _wiring(site: Site, mode: str) -> Wiring[DatabaseFrom]:
    connection, password = _connection(site)
    fields: dict[str, object] = {"connection": "c", "table": site.table, "key": ("k",), "every": "100ms", "mode": mode}
    if mode == "watermark":
        fields["cursor"] = "updated_at"
    settings = DatabaseFrom.of(**fields)
    return Wiring(f"late-{mode}", settings, CLOCK, Events(), "UTC", "en", connection, _COLUMNS, secret=lambda _name: password)


def _connection(site: Site) -> tuple[SettingsModel, str]:
    if isinstance(site, SqliteSite):
        return SqliteConnection.of(type="sqlite", path=str(site.path)), ""
    where = site.database  # type: ignore[attr-defined]
    fields = {"host": where.host, "port": where.port, "database": where.database, "user": where.user, "tls": "disable"}
    fields["password"] = "secret:password"
    if isinstance(site, PostgresSite):
        return PostgresConnection.of(type="postgres", **fields), where.password
    return MysqlConnection.of(type="mariadb", **fields), where.password


def _account(site: Site) -> str:
    return "" if isinstance(site, SqliteSite) else site.database.user  # type: ignore[attr-defined, no-any-return]
