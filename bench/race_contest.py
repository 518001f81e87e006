"""What one side goes through in the race, and what is measured of it; the measures are described in `race_debezium`."""

from __future__ import annotations

import argparse
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from agent.testing.nodes.postgres import PostgresNode
from bench.race_changes import Changes
from bench.race_process import RaceVoid, Side
from bench.stage import calibrate, median, percentile

_LARGE = 1000


@dataclass(frozen=True, slots=True)
class Entrant:
    """A side: its program, and what it is told beside the database.

    `prepare` is SQL to be run in its database before it starts. `small` are environment variables with which it takes as little
    memory as it can work with, where that makes it slower.
    """

    name: str
    command: tuple[str, ...]
    settings: Mapping[str, Any]
    prepare: str = ""
    small: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Figures:
    """What was measured of one side."""

    mloops: float = 0.0
    first_event_s: float = 0.0
    load_per_s: float = 0.0
    load_from_start_s: float = 0.0
    stream_1_per_s: float = 0.0
    stream_1000_per_s: float = 0.0
    latency_p50_ms: float = 0.0
    latency_p99_ms: float = 0.0
    latency_max_ms: float = 0.0
    memory_after_load_mb: float = 0.0
    memory_mb: float = 0.0
    memory_small_mb: float = 0.0
    starts_s: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the figures with as many digits as they deserve."""
        return {name: _rounded(value) for name, value in dataclasses.asdict(self).items()}


class Contest:
    """One side, from its empty database to its last event."""

    def __init__(self, entrant: Entrant, node: PostgresNode, folder: Path, options: argparse.Namespace) -> None:
        self._entrant = entrant
        self._node = node
        self._folder = folder
        self._options = options
        self._figures = Figures()
        self._runs = 0

    def run(self) -> Figures:
        """Go through everything. Raises RaceVoid."""
        self._figures.mloops = calibrate()
        self._say("fills its table")
        self._database = self._node.add_database(self._entrant.name)
        changes = Changes(self._database, self._options.rows)
        changes.fill()
        if self._entrant.prepare:
            with psycopg.connect(self._database, autocommit=True) as db:
                db.execute(self._entrant.prepare.encode())
        try:
            self._start_often()
            self._start_small(changes)
            with self._side() as side:
                self._measure(side, changes)
        except RaceVoid as void:
            raise RaceVoid(f"{self._entrant.name}: {void}") from None
        finally:
            self._forget_slots()
            self._node.delete_database(self._entrant.name)
        return self._figures

    def _measure(self, side: Side, changes: Changes) -> None:
        figures = self._figures
        self._load(side, changes.total)
        figures.memory_after_load_mb = side.peak_mb()
        self._backlog(side, changes, self._options.warm_changes, 1)
        figures.stream_1_per_s = self._backlog(side, changes, self._options.changes, 1)
        figures.stream_1000_per_s = self._backlog(side, changes, self._options.changes, _LARGE)
        self._latency(side, changes)
        figures.memory_mb = side.peak_mb()
        figures.memory_small_mb = figures.memory_small_mb or figures.memory_mb

    # -- measures --

    def _start_often(self) -> None:
        """Start once to be warm, and then as often as wanted but for the start that goes on."""
        for number in range(self._options.starts):
            with self._side() as side:
                took = side.wait_for(1) - side.started_at
            if number:
                self._figures.starts_s.append(took)
            self._forget_slots()

    def _start_small(self, changes: Changes) -> None:
        """Let a side that can do with less memory show how much it needs for a load and a backlog."""
        if not self._entrant.small:
            return
        self._say("shows how little memory it needs")
        with self._side(self._entrant.small) as side:
            side.wait_for(changes.total)
            side.require_exactly(changes.total)
            self._backlog(side, changes, self._options.warm_changes, _LARGE)
            self._figures.memory_small_mb = side.peak_mb()
        self._forget_slots()
        changes.fill_again()

    def _load(self, side: Side, rows: int) -> None:
        self._say("loads")
        figures = self._figures
        last = side.wait_for(rows)
        first, size = side.first()
        side.require_exactly(rows)
        if rows <= size or last <= first:
            raise RaceVoid("all rows came in one batch: there is nothing to measure, take more rows")
        figures.load_per_s = (rows - size) / (last - first)
        figures.load_from_start_s = last - side.started_at
        figures.starts_s.append(first - side.started_at)
        figures.first_event_s = median(figures.starts_s)

    def _backlog(self, side: Side, changes: Changes, count: int, size: int) -> float:
        """Let the side read a backlog; return events a second."""
        self._say(f"reads {count} changes in transactions of {size}")
        if changes.total == changes.rows:
            self._see_one(side, changes)
        side.freeze()
        changes.write(count, size)
        thawed = side.thaw()
        took = side.wait_for(changes.total) - thawed
        side.require_exactly(changes.total)
        return count / took

    def _see_one(self, side: Side, changes: Changes) -> None:
        """See a change arrive, so that the side is known to follow changes and not on its way there."""
        changes.write(1, 1)
        side.wait_for(changes.total)

    def _latency(self, side: Side, changes: Changes) -> None:
        self._say(f"follows {self._options.rate:g} changes a second")
        seen = changes.total
        committed = changes.write_slowly(self._options.events, self._options.rate)
        side.wait_for(changes.total)
        side.require_exactly(changes.total)
        delays = [(side.reached_at(seen + number) - at) * 1000 for number, at in enumerate(committed, 1)]
        self._figures.latency_p50_ms = percentile(delays, 0.5)
        self._figures.latency_p99_ms = percentile(delays, 0.99)
        self._figures.latency_max_ms = max(delays)

    # -- the side and what it leaves behind --

    @contextmanager
    def _side(self, environment: Mapping[str, str] | None = None) -> Iterator[Side]:
        """Run the side, from nothing."""
        self._runs += 1
        order = {
            "host": self._database.host,
            "port": self._database.port,
            "user": self._database.user,
            "password": self._database.password,
            "database": self._database.database,
            "slot": f"race_{self._runs}",
            "settings": dict(self._entrant.settings),
        }
        side = Side(self._entrant.command, order, self._folder / str(self._runs), environment or {})
        try:
            yield side
        finally:
            side.end()

    def _forget_slots(self) -> None:
        """Drop every replication slot and publication, so that nobody reads for those who are gone."""
        with psycopg.connect(self._database, autocommit=True) as db:
            _until(lambda: not db.execute("SELECT FROM pg_replication_slots WHERE active").fetchall(), "a slot stays in use")
            db.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
            if not self._entrant.prepare:  # which may have made one on purpose
                for (name,) in db.execute("SELECT quote_ident(pubname) FROM pg_publication").fetchall():
                    db.execute(f"DROP PUBLICATION {name}".encode())

    def _say(self, what: str) -> None:
        print(f"{self._entrant.name} {what}", flush=True)


def _until(holds: Callable[[], bool], complaint: str, within_secs: float = 30.0) -> None:
    deadline, pause = time.monotonic() + within_secs, threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            raise RaceVoid(complaint)
        pause.wait(0.05)


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(member) for member in value]
    return round(value) if value >= 1000 else round(value, 2)
