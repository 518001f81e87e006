"""`huitong demo`: the whole story in a minute, ending with a proof."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from agent.cli.base import Session, command, option, pass_session
from agent.cli.demo.compare import Comparison, compare, expect_tables, expect_tax, read_postgres_hub, read_sqlite_hub
from agent.cli.demo.registry import Clerks, local_now
from agent.cli.demo.sample import Sampler, TaxDrop, tax_drop
from agent.cli.demo.stay import stay
from agent.cli.demo.world import DemoFailed, World
from agent.cli.exit_codes import ExitCode
from agent.cli.formatting import table
from agent.i18n import N_, _

PEOPLE: Final = 40_000
COMPANIES: Final = 10_000
TAX_LINES: Final = 2_000
WORK_SECS: Final = 15.0
SETTLE_SECS: Final = 75.0
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PROGRESS: Final = N_(
    "  captured {captured}  confirmed {confirmed}  receipted {stored}  put aside {quarantined}  (changes: {changes})"
)
_WORK: Final = N_(
    "While it ran: {inserted_meanwhile} inserts, {updated_meanwhile} updates and {deleted_meanwhile} deletes. "
    "Stored twice: {stored_twice}. {seconds:.0f} seconds."
)
_AGREE: Final = N_("Source and hub agree record by record, and every bad row is accounted for.")
_DISAGREE: Final = N_("The two sides do not agree.")
_COLUMNS: Final = (
    N_("flow"),
    N_("captured"),
    N_("sent"),
    N_("confirmed"),
    N_("receipted"),
    N_("refused here"),
    N_("keys at the hub"),
    N_("comparison"),
)
FLOWS: Final = {"people": N_("people"), "companies": N_("companies"), "tax": N_("tax list (CSV)")}


@command(
    "demo",
    help=N_("A complete demonstration on this machine: department, agent, broker and hub. Ends by itself with a proof."),
)
@option("--postgres", is_flag=True, help=N_("PostgreSQL as source and as store of the hub, instead of SQLite"))
@option("--keep", is_flag=True, help=N_("leave everything running and say what to try"))
@option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar=N_("FOLDER"),
    help=N_("where to put everything; default a temporary one"),
)
@pass_session
def demo(session: Session, postgres: bool, keep: bool, folder: Path | None) -> ExitCode:
    """Build the world, let it work, compare."""
    place = folder or Path(tempfile.mkdtemp(prefix="huitong-demo-"))
    place.mkdir(parents=True, exist_ok=True)
    failed = False
    try:
        with ended_by_signals(), World(place, postgres=postgres, environment=os.environ) as world:
            code = Demo(session, world).run()
            if keep:
                stay(session, world)
            return code
    except DemoFailed:
        failed = True
        raise
    finally:
        if folder is None and not failed:  # the logs of a failed one say why
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Take a request to end, and a terminal that goes away, as Ctrl-C; only the first counts, cleaning up goes through."""

    def end(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    # What was ignored stays so: nohup means it.
    before = {number: old for number in _ENDING if (old := signal.getsignal(number)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Demo:
    """One run of the demonstration."""

    def __init__(self, session: Session, world: World) -> None:
        self._output, self._world = session.output, world
        self._now = local_now()
        self._sampler = Sampler(20261121, self._now)
        self._drops: list[TaxDrop] = []

    def run(self) -> ExitCode:
        """Tell and do, step by step."""
        started = time.monotonic()
        self._say(_(N_("Starting a broker; setting up the hub and the department …")))
        self._world.build()
        filling = _(N_("Filling the department's registry: {people} people, {companies} companies …"))
        self._say(filling.format(people=f"{PEOPLE:,}", companies=f"{COMPANIES:,}"))
        clerks = self._fill()
        self._world.start("hub")
        self._world.start("agent")
        clerks.start()
        self._say(_(N_("The agent captures; meanwhile clerks insert and change records, and tax lists are dropped:")))
        self._drop(1)
        self._watch(clerks, time.monotonic() + WORK_SECS)
        clerks.stop()
        self._drop(1 + TAX_LINES)
        found = self._settle(time.monotonic() + SETTLE_SECS)
        return self._close(found, clerks, time.monotonic() - started)

    # -- steps -------------------------------------------------------------------------------------------------------

    def _fill(self) -> Clerks:
        registry = self._world.registry
        registry.create()
        for flow in ("people", "companies"):  # as the DBA of the department would
            registry.change((statement, ()) for statement in self._world.agent("source", "ddl", flow)["statements"])
        rows = {"person": list(self._sampler.people(PEOPLE)), "company": list(self._sampler.companies(COMPANIES))}
        for name, content in rows.items():
            registry.load(name, content)
        keys = {name: [str(row[0]) for row in content] for name, content in rows.items()}
        return Clerks(registry, Sampler(self._sampler.seed + 1, self._now), keys)

    def _drop(self, first: int) -> None:
        drop = tax_drop(self._sampler, TAX_LINES, first)
        self._drops.append(drop)
        self._world.drop_file(f"deed-{first:06d}.csv", drop.content)

    def _watch(self, clerks: Clerks, until: float) -> None:
        pause = threading.Event()
        while time.monotonic() < until:
            pause.wait(1.0)
            self._world.require_running()
            self._progress(_(_PROGRESS).format(**self._totals(), changes=clerks.inserted + clerks.updated + clerks.deleted))
        self._progress("", end=True)

    def _totals(self) -> dict[str, str]:
        counts = self._counts()
        return {name: f"{sum(counts.get(name, {}).values()):,}" for name in ("captured", "confirmed", "stored", "quarantined")}

    def _settle(self, until: float) -> Comparison:
        """Wait until both sides agree; what differs after the time is over is the result."""
        self._say(_(N_("Work is over. Waiting for the last receipts, then comparing both sides record by record …")))
        pause = threading.Event()
        while True:
            self._world.require_running()
            found = self._compare()
            if (found.equal and self._nothing_waits()) or time.monotonic() > until:
                return found
            pause.wait(0.5)

    def _compare(self) -> Comparison:
        world = self._world
        database = world.hub_database
        rows = read_sqlite_hub(world.folder / "hub" / "hub.db") if database is None else read_postgres_hub(database)
        tax = expect_tax(row for drop in self._drops for row in drop.good)
        return compare({**expect_tables(world.registry.rows), "tax": tax}, rows)

    def _nothing_waits(self) -> bool:
        return all(line["waiting"] == 0 for line in self._world.agent("status")["flows"])

    def _counts(self) -> dict[str, dict[str, int]]:
        """Return outcome → flow → records, from the agent's metrics; nothing while it is starting."""
        counts: dict[str, dict[str, int]] = {}
        with suppress(OSError):
            with urllib.request.urlopen(f"http://127.0.0.1:{self._world.agent_port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
            for labels, value in re.findall(r"^huitong_records_total\{(.*)\} (\S+)$", text, re.MULTILINE):
                of = dict(re.findall(r'(\w+)="([^"]*)"', labels))
                counts.setdefault(of["outcome"], {})[of["flow"]] = int(float(value))
        return counts

    # -- the end -----------------------------------------------------------------------------------------------------

    def _close(self, found: Comparison, clerks: Clerks, secs: float) -> ExitCode:
        counts = self._counts()
        reasons = self._reasons()
        wanted = sorted(reason for drop in self._drops for reason in drop.bad)
        accounted = sorted(reason for reason, count in reasons.items() for _one in range(count)) == wanted
        good = found.equal and accounted
        result = {
            "equal": found.equal,
            "bad_rows_accounted_for": accounted,
            "records": counts,
            "at_the_hub": {"records": found.records, "keys": found.keys},
            "missing": found.missing,
            "different": found.different,
            "surplus": found.surplus,
            "stored_twice": found.twice,
            "reasons": reasons,
            "inserted_meanwhile": clerks.inserted,
            "updated_meanwhile": clerks.updated,
            "deleted_meanwhile": clerks.deleted,
            "seconds": round(secs, 1),
        }
        self._output.data(result, lambda: self._table(found, counts, result, good=good))
        return ExitCode.OK if good else ExitCode.FAILED

    def _table(
        self, found: Comparison, counts: dict[str, dict[str, int]], result: dict[str, Any], *, good: bool
    ) -> Iterator[str]:
        rows = []
        for flow, title in FLOWS.items():
            cells = [counts.get(name, {}).get(flow, 0) for name in ("captured", "sent", "confirmed", "stored", "quarantined")]
            faults = [len(where.get(flow, ())) for where in (found.missing, found.different, found.surplus)]
            verdict = _(N_("missing {0}, different {1}, surplus {2}")).format(*faults) if any(faults) else _(N_("equal"))
            rows.append((_(title), *(f"{count:,}" for count in cells), f"{found.keys.get(flow, 0):,}", verdict))
        yield ""
        yield from table([_(column) for column in _COLUMNS], rows, right=range(1, 7))
        yield ""
        yield _(N_("Refused rows by reason, in the words of the first of each:"))
        yield from table(["", ""], [(f"  {count:,} ×", text) for text, count in self._reasons("text").items()], right=(0,))
        yield _(_WORK).format(**result)
        yield self._output.paint(_(_AGREE if good else _DISAGREE), "green" if good else "red")

    def _reasons(self, field: str = "code") -> dict[str, int]:
        """Return how many rows were refused for each reason, by its `code` or as its `text`."""
        causes: Any = self._world.agent("dead", "list")
        counted: Counter[str] = Counter()
        for cause in causes:
            counted[cause[field]] += cause["count"]
        return dict(counted)

    def _say(self, text: str) -> None:
        self._output.say(text)

    def _progress(self, text: str, *, end: bool = False) -> None:
        stream = self._output.stderr
        if stream.isatty():
            stream.write(f"\r\033[K{text}" + ("\n" if end else ""))
            stream.flush()
        elif text:
            self._output.say(text)
