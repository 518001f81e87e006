"""Late commits: what different ways to capture changes lose, side by side on one table with hostile writers.

    python bench/late_commit.py [--database postgres|mariadb|sqlite] [--seconds 30] [--mode polling ...] [--slow 0.015]
                                [--bulk 200000] [--alter] [--no-naive] [--settle 6] [--json FILE]

Every algorithm polls every 100 ms in a thread of its own. Latency runs from the return of COMMIT at the writer to the return
of the read that brought the version. What is owed: `inserts` rows still there in the end that were inserted, in any version;
`states` the final version of every row there in the end; `changes` every change, once and in order.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agent.adapters.clock import SystemClock
from agent.events import Events
from agent.model import Op
from agent.settings.base import SettingsModel
from agent.testing.nodes.mariadb import MariadbNode
from agent.testing.nodes.postgres import PostgresNode
from agent.testing.workload import Workload
from agent.testing.workload_host import Follower
from agent.testing.workload_judge import Verdict, judge_changes, judge_inserts, judge_states
from agent.testing.workload_sites import MariadbSite, PostgresSite, Site, SqliteSite
from agent.testing.workload_truth import Captured, Truth
from agent.testing.workload_writer import Plan
from connectors.database.ddl import ddl_of
from connectors.database.settings import DatabaseFrom, MysqlConnection, PostgresConnection, SqliteConnection
from connectors.database.source import DatabaseSource
from connectors.wiring import Wiring

EVERY_SECS = 0.1
COLUMNS = ("id", "k", "version", "updated_at")
CLOCK = SystemClock()


# -- Huitong's own modes ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mode:
    """One way to capture with DatabaseSource: its settings, what it promises, and what the DBA does before."""

    settings: Mapping[str, object] = field(default_factory=dict)
    exact: bool = True
    before: Callable[[Site, Wiring[DatabaseFrom]], None] = lambda _site, _wiring: None


def as_told(site: Site, wiring: Wiring[DatabaseFrom]) -> None:
    """Run what `huitong source ddl` tells the DBA to run."""
    told = ddl_of(wiring, account_of(site))
    for statement in told.create:
        site.rows(statement)


MODES = {
    "trigger": Mode({"mode": "trigger"}, before=as_told),
    "slot": Mode({"mode": "slot"}, before=as_told),
    "binlog": Mode({"mode": "binlog"}),
    "watermark": Mode({"mode": "watermark", "cursor": "updated_at"}, exact=False),
    "polling": Mode({"mode": "polling", "cursor": "updated_at", "overlap": "10s"}, exact=False),
    "polling-1s": Mode({"mode": "polling", "cursor": "updated_at", "overlap": "1s"}, exact=False),
    "polling-0s": Mode({"mode": "polling", "cursor": "updated_at", "overlap": "0s"}, exact=False),
    "compare": Mode({"mode": "compare"}, exact=False),
}


def connection_of(site: Site) -> tuple[SettingsModel, str]:
    """Return the connection of the settings and its password."""
    if isinstance(site, SqliteSite):
        return SqliteConnection.of(type="sqlite", path=str(site.path)), ""
    assert isinstance(site, PostgresSite | MariadbSite)
    where = site.database
    fields = {"host": where.host, "port": where.port, "database": where.database, "user": where.user}
    fields |= {"password": "secret:password", "tls": "disable"}
    if isinstance(site, PostgresSite):
        return PostgresConnection.of(type="postgres", **fields), where.password
    return MysqlConnection.of(type="mariadb", **fields), where.password


def account_of(site: Site) -> str:
    """Return who reads."""
    return site.database.user if isinstance(site, PostgresSite | MariadbSite) else ""


def wiring_of(site: Site, name: str) -> Wiring[DatabaseFrom]:
    """Return what a source in this mode is built of; its flow has the name of the mode."""
    connection, password = connection_of(site)
    fields = {"connection": "c", "table": site.table, "key": ("k",), "every": "100ms"}
    settings = DatabaseFrom.of(**{**fields, **MODES[name].settings})
    flow = f"late-{name}"
    return Wiring(flow, settings, CLOCK, Events(), "UTC", "en", connection, COLUMNS, secret=lambda _name: password)


# -- the rules of known tools ----------------------------------------------------------------------------------------

Rows = Sequence[tuple[Any, ...]]


class Rule(ABC):
    """A naive rule: one SELECT for each poll, in a session of its own. Rows are (key, version, mark …)."""

    judge = staticmethod(judge_states)

    @abstractmethod
    def poll(self, site: Site, session: Any) -> Rows:
        """Return the rows that are new to the rule."""


class IdAbove(Rule):
    """`id > last`: Logstash, Kafka Connect "incrementing"."""

    judge = staticmethod(judge_inserts)

    def __init__(self) -> None:
        self._last = 0

    def poll(self, site: Site, session: Any) -> Rows:
        """See Rule."""
        rows = site.run(session, "SELECT k, version, id FROM {table} WHERE id > %s ORDER BY id", (self._last,))
        self._last = rows[-1][2] if rows else self._last
        return rows


class UpdatedAbove(Rule):
    """`updated_at > last`: Logstash with tracking_column_type timestamp."""

    def __init__(self) -> None:
        self._last: Any = "1970-01-02 00:00:00"

    def poll(self, site: Site, session: Any) -> Rows:
        """See Rule."""
        query = "SELECT k, version, updated_at FROM {table} WHERE updated_at > %s ORDER BY updated_at"
        rows = site.run(session, query, (self._last,))
        self._last = rows[-1][2] if rows else self._last
        return rows


class TimestampAndId(Rule):
    """Kafka Connect JDBC "timestamp+incrementing" with `timestamp.delay.interval.ms`."""

    def __init__(self, delay_secs: int) -> None:
        self._delay = delay_secs
        self._last: tuple[Any, Any] = ("1970-01-02 00:00:00", 0)

    def poll(self, site: Site, session: Any) -> Rows:
        """See Rule."""
        query = (
            "SELECT k, version, updated_at, id FROM {table} WHERE updated_at < " + before_now(site, self._delay) + " "
            "AND (updated_at > %s OR (updated_at = %s AND id > %s)) ORDER BY updated_at, id"
        )
        rows = site.run(session, query, (self._last[0], *self._last))
        self._last = rows[-1][2:] if rows else self._last
        return rows


def before_now(site: Site, secs: int) -> str:
    """Return the SQL of a time before the database's clock, as its table has times."""
    if isinstance(site, SqliteSite):
        return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{secs} seconds')"
    clock = "clock_timestamp()" if isinstance(site, PostgresSite) else "CURRENT_TIMESTAMP(6)"
    return f"{clock} - INTERVAL '{secs}' SECOND"


RULES: Mapping[str, Callable[[], Rule]] = {
    "id > last": IdAbove,
    "updated_at > last": UpdatedAbove,
    "ts+inc, delay 0": lambda: TimestampAndId(0),
    "ts+inc, delay 1 s": lambda: TimestampAndId(1),
}


class Poller:
    """Polls by a rule in a thread of its own."""

    def __init__(self, site: Site, rule: Rule) -> None:
        self._site, self._rule = site, rule
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="poller")
        self._error: BaseException | None = None
        self._captured: list[Captured] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> Sequence[Captured]:
        """Poll a last time and return everything."""
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._captured

    def _work(self) -> None:
        try:
            with closing(self._site.connect()) as session:
                while not self._stop.wait(EVERY_SECS):
                    self._poll(session)
                self._poll(session)
        except BaseException as error:  # noqa: BLE001 - raised again by `finish`
            self._error = error

    def _poll(self, session: Any) -> None:
        rows, now = self._rule.poll(self._site, session), CLOCK.monotonic()
        self._captured += [Captured(Op.UPSERT, key, version, now) for key, version, *_ in rows]


# -- the run ---------------------------------------------------------------------------------------------------------

Judge = Callable[[Truth, Sequence[Captured]], Verdict]


@dataclass(frozen=True)
class Entry:
    """One algorithm in the race."""

    name: str
    owed: str  # changes | states | inserts
    host: Follower | Poller
    judge: Judge


def entries(site: Site, options: argparse.Namespace) -> Iterator[Entry]:
    """Yield the algorithms of this run, unstarted."""
    if options.naive:
        for name, make in RULES.items():
            rule = make()
            owed = "inserts" if rule.judge is judge_inserts else "states"
            yield Entry(name, owed, Poller(site, rule), lambda truth, some, rule=rule: rule.judge(truth.histories(), some))
    for name in options.mode:
        mode = MODES[name]
        wiring = wiring_of(site, name)
        mode.before(site, wiring)
        judge = judge_changes if mode.exact else judge_states
        follower = Follower(DatabaseSource.build(wiring), CLOCK, every_secs=EVERY_SECS)
        owed = "changes" if mode.exact else "states"
        yield Entry(f"huitong {name}", owed, follower, lambda truth, some, judge=judge: judge(truth.histories(), some))


def race(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    """Run the workload beside every algorithm and return the figures."""
    plan = Plan(
        writers=options.writers,
        seed=options.seed,
        slow=options.slow,
        pause_secs=options.pause,
        think_secs=options.think,
        bulk_rows=options.bulk,
        alter_at=60 if options.alter else 0,
    )
    site.create()
    running = list(entries(site, options))
    for entry in running:
        entry.host.start()
    workload, wait = Workload(site, plan, CLOCK), threading.Event()
    workload.start()
    wait.wait(options.seconds)
    truth = workload.finish()
    wait.wait(options.settle)
    captured = [entry.host.finish() for entry in running]
    times = truth.times()
    return {
        "database": options.database,
        "seconds": options.seconds,
        "transactions": truth.transactions,
        "rolled_back": truth.rolled_back,
        "failed": truth.failed,
        "two_phase": truth.two_phase,
        "unknown_outcome": truth.unknown,
        "changes": len(truth.changes()),
        "algorithms": [
            {"algorithm": entry.name, "owed": entry.owed} | figures(entry.judge(truth, some), some, times)
            for entry, some in zip(running, captured, strict=True)
        ],
    }


def figures(verdict: Verdict, captured: Sequence[Captured], times: Mapping[str, float]) -> dict[str, Any]:
    """Return what the table shows of one algorithm."""
    first: dict[str, float] = {}
    for record in captured:
        if record.version in times:
            first.setdefault(str(record.version), max(0.0, record.at - times[str(record.version)]))
    delays = sorted(first.values()) or [0.0]
    return {
        "total": verdict.total,
        "lost": verdict.lost,
        "lost_percent": round(100 * verdict.lost / max(1, verdict.total), 2),
        "never_came": verdict.missed,
        "doubled": verdict.doubled,
        "out_of_order": verdict.disorder,
        "phantoms": verdict.phantoms,
        "unseen_deletes": verdict.unseen_deletes,
        "captured": len(captured),
        "p50_ms": round(1000 * delays[len(delays) // 2]),
        "p99_ms": round(1000 * delays[len(delays) * 99 // 100]),
        "examples": verdict.examples,
    }


SHOWN = ("owed", "total", "lost", "lost_percent", "doubled", "out_of_order", "phantoms", "unseen_deletes", "p50_ms", "p99_ms")
TITLES = ("owed", "changes", "lost", "lost %", "doubled", "out of order", "phantoms", "deletes unseen", "p50 ms", "p99 ms")


def show(result: Mapping[str, Any]) -> None:
    """Print the table."""
    print(", ".join(f"{name} {value}" for name, value in result.items() if name != "algorithms"))
    print(f"{'algorithm':22}", *(f"{title:>14}" for title in TITLES))
    for line in result["algorithms"]:
        print(f"{line['algorithm']:22}", *(f"{line[name]:>14}" for name in SHOWN))
    for line in (line for line in result["algorithms"] if line["algorithm"].startswith("huitong") and line["examples"]):
        print(f"{line['algorithm']}: {'; '.join(line['examples'])}")


@contextmanager
def stage(database: str) -> Iterator[Site]:
    """Give a place for the table, on a private node."""
    folder = Path(tempfile.mkdtemp(prefix="huitong-bench-"))
    try:
        match database:
            case "postgres":
                with PostgresNode(folder / "postgres", settings={"shared_buffers": "'256MB'"}) as server:
                    yield PostgresSite(server.add_database("bench"))
                server.remove()
            case "mariadb":
                with MariadbNode(folder / "mariadb") as server:
                    yield MariadbSite(server.add_database("bench"))
            case _:
                yield SqliteSite(folder / "bench.db")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("postgres", "mariadb", "sqlite"), default="postgres")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--mode", nargs="*", choices=tuple(MODES), default=["polling"])
    parser.add_argument("--naive", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slow", type=float, default=0.015, help="share of transactions open for 1 to 4 s")
    parser.add_argument("--pause", type=float, default=0.002, help="seconds between two transactions of a writer")
    parser.add_argument("--think", type=float, default=0.006, help="seconds after each change, at most")
    parser.add_argument("--bulk", type=int, default=0, help="rows of one long transaction")
    parser.add_argument("--alter", action="store_true", help="add a column in mid-stream")
    parser.add_argument("--settle", type=float, default=6.0, help="seconds between the last commit and the last poll")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with stage(options.database) as site:
        result = race(site, options)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
