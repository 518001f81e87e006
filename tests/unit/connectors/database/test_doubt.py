"""A stream that cannot tell all that happened makes its source compare, whatever the source is doing just then."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.events import Events
from agent.model import START, Counters, FlowState, WalkKind, WalkOrder
from agent.testing.clock import FakeClock
from connectors.database.position import Reached
from connectors.database.settings import DatabaseFrom, SqliteConnection
from connectors.database.source import DatabaseSource
from connectors.database.streams.nothing import NoStream
from connectors.database.streams.stream import Changes, Mark
from connectors.wiring import Wiring

ROWS = 6


class Doubting(NoStream):
    """Says once that it may have missed something."""

    def __init__(self, *, exact: bool) -> None:
        self.exact = exact
        self.doubts = 0

    def read(self, after: Mark, limit: int) -> Changes:  # noqa: ARG002 - there is never anything else
        doubt, self.doubts = self.doubts > 0, 0
        return Changes((), after, doubt=doubt)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def source(tmp_path: Path, clock: FakeClock) -> Iterator[DatabaseSource]:
    path = tmp_path / "registry.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, changed TEXT)")
        db.executemany("INSERT INTO t VALUES (?, '2026-11-20 10:00:00')", [(number,) for number in range(ROWS)])
        db.commit()
    settings = DatabaseFrom.of(connection="c", table="t", key=("id",), cursor="changed", mode="polling", every="5s")
    connection = SqliteConnection.of(type="sqlite", path=str(path))
    source = DatabaseSource.build(Wiring("f", settings, clock, Events(), "Asia/Shanghai", connection=connection))
    source.open(FlowState("f", "e", "", START, Counters(), {}))
    yield source
    source.close()


def reached(source: DatabaseSource, position: str) -> Reached:
    found = source._belonging.decode(position)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("walking", [True, False])
def test_a_doubt_leads_to_a_comparison_that_reads_everything(
    source: DatabaseSource, clock: FakeClock, exact: bool, walking: bool
) -> None:
    """Also in the middle of another walk; and what was known of changed parts, for a walk before, passes over nothing in this one."""
    stream = Doubting(exact=exact)
    source._open.chosen = replace(source._open.chosen, stream=stream)
    position = source.read(START, 2).position
    if not walking:
        while reached(source, position).walk is not None:
            position = source.read(position, 2).position
        position = source.begin_walk(position, WalkOrder(WalkKind.COMPARE, changed=frozenset()))
        while reached(source, position).walk is not None:
            position = source.read(position, 2).position
    stream.doubts = 1
    clock.advance(60)
    walk = reached(source, source.read(position, 2).position).walk
    assert walk is not None
    assert (walk.kind, walk.after, walk.chunk) == (WalkKind.COMPARE, None, 1)
    assert source._open.walker.changed is None


def test_the_mode_is_told_once(source: DatabaseSource) -> None:
    """The store remembers in which mode a flow was captured; later pages do not write it again."""
    first = source.read(START, 2)
    assert first.memory["mode"] == "polling"
    assert "mode" not in source.read(first.position, 2).memory


def test_what_a_dropped_page_changed_is_remembered_with_the_next(source: DatabaseSource) -> None:
    """A page of a comparison that is given up takes nothing with it: the parts it cut are stored with the page that follows."""
    stream = Doubting(exact=True)
    source._open.chosen = replace(source._open.chosen, stream=stream)
    position = START
    while position == START or reached(source, position).walk is not None:
        position = source.read(position, 100).position
    position = source.begin_walk(position, WalkOrder(WalkKind.COMPARE))
    stream.doubts = 1
    again = source.read(position, 2)  # the page is read, and dropped for the doubt
    assert not any(name.startswith("chunk:") for name in again.memory)
    told = source.read(again.position, 2).memory
    assert told.keys() >= {"chunk:1", "chunk:2"}
