"""Killed at any instant, the store holds exactly what it promised: every step whole or not at all."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from agent.adapters.clock import SystemClock
from agent.adapters.store import SqliteStore, engine
from agent.adapters.store.reader import StoreReader
from agent.events import Events
from agent.model import State
from agent.queries import MessageQuery, MessageRow
from tests.contract.store.makers import AGENT
from tests.integration.store.crash_child import FLOWS, body_of, steps_up_to

ROOT = Path(__file__).resolve().parents[3]
CHILD = Path(__file__).with_name("crash_child.py")
pytestmark = [pytest.mark.integration, pytest.mark.faults]


def run_and_kill(path: Path, point: str, hits: int, lines: int = 10**9) -> dict[str, int]:
    """Run the child until it kills itself at a point, or for so many lines; return what it was promised, by flow."""
    promised: dict[str, int] = {}
    command = [sys.executable, str(CHILD), str(path), point, str(hits)]
    with subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            flow, next_sequence = line.split()
            promised[flow] = int(next_sequence)
            lines -= 1
            if lines <= 0:
                child.kill()
                break
        assert child.wait(60) == -signal.SIGKILL
    return promised


def check_everything(path: Path, promised: dict[str, int]) -> dict[str, int]:
    """Compare the store, row by row, with what its counters say it holds; return how far each flow has got."""
    store = SqliteStore.open(path, agent_id=AGENT, clock=SystemClock(), events=Events(), low_water_bytes=0)
    with closing(store), closing(StoreReader(path)) as reader:
        assert reader.check() == []
        ends = {flow: check_flow(store, reader, flow) for flow in FLOWS}
    for flow, next_sequence in promised.items():
        assert ends[flow] >= next_sequence, "a step that was said to be durable is gone"
    return ends


def check_flow(store: SqliteStore, reader: StoreReader, flow: str) -> int:
    state = store.open_flow(flow)
    steps = list(steps_up_to(state, state.counters))
    if not steps:
        assert (state.position, dict(state.memory)) == ("", {})
        return 1
    assert (state.counters, state.position) == (steps[-1].after, steps[-1].position)
    assert dict(state.memory) == {name: value for step in steps for name, value in step.memory.items()}
    ledger = {row.key: row for step in steps for row in step.ledger}
    assert store.known(flow, list(ledger)) == ledger
    items = [item for step in steps for item in step.quarantined]
    assert [item.input for item in reader.items(flow, limit=100_000)] == items
    rows = list(reversed(reader.find(MessageQuery(flow=flow, limit=100_000))))
    wanted = [message for step in steps for message in step.messages]
    assert [(r.message_id, r.sequence, r.digest) for r in rows] == [(m.message_id, m.sequence, m.digest) for m in wanted]
    check_bodies(reader, rows)
    (depth,) = [depth for depth in store.depth() if depth.flow == flow]
    assert depth.messages == {s: sum(row.state is s for row in rows) for s in State}
    assert depth.quarantined == len(items)
    return state.counters.next_sequence


def check_bodies(reader: StoreReader, rows: list[MessageRow]) -> None:
    """A body is there, whole, exactly when its message is not purged; a settled message has its receipt."""
    for row in rows:
        entry = reader.entry(row.message_id)
        assert (entry is None) == (row.purged_at is not None)
        if entry is not None:
            assert entry.message.body == body_of(row.flow, row.sequence)
        trace = reader.trace(row.message_id)
        assert trace is not None
        assert len(trace.receipts) == (row.state is State.STORED)


@pytest.mark.parametrize("point", ["C02", "C03", "C09", "C18"])
def test_killed_at_a_point(tmp_path: Path, point: str) -> None:
    """Killed at the same point again and again, early and late, the store goes on from exactly what it promised."""
    path = tmp_path / "store.db"
    randomly = random.Random(point)
    ends = dict.fromkeys(FLOWS, 1)
    for _ in range(4):
        promised = run_and_kill(path, point, hits=randomly.randint(1, 15))
        now = check_everything(path, promised)
        assert all(now[flow] >= ends[flow] for flow in FLOWS)
        ends = now
    assert sum(ends.values()) > len(FLOWS)


def test_killed_at_any_time(tmp_path: Path, long_run: bool) -> None:
    """Killed from outside at moments nobody chose, the store goes on from exactly what it promised."""
    path = tmp_path / "store.db"
    randomly = random.Random(2026)
    for _ in range(60 if long_run else 6):
        promised = run_and_kill(path, "-", 0, lines=randomly.randint(1, 60))
        check_everything(path, promised)


def test_killed_while_a_reader_looks_on(tmp_path: Path) -> None:
    """A reader that holds an old snapshot open neither stops the writer nor sees half a step."""
    path = tmp_path / "store.db"
    run_and_kill(path, "-", 0, lines=5)
    with closing(engine.open_reader(path)) as onlooker:
        onlooker.execute("BEGIN")
        (seen,) = onlooker.execute("SELECT count(*) FROM message").fetchone()
        promised = run_and_kill(path, "-", 0, lines=30)
        assert onlooker.execute("SELECT count(*) FROM message").fetchone() == (seen,)
    assert sum(check_everything(path, promised).values()) > seen
