"""Late commits: hostile writers, a server that is killed under them, and what a mode of capture makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from agent.testing.nodes.mariadb import MariadbNode
from agent.testing.nodes.postgres import PostgresNode
from agent.testing.workload_judge import Verdict, judge_changes, judge_states
from agent.testing.workload_sites import MariadbSite, PostgresSite, Site, SqliteSite
from agent.testing.workload_writer import Plan
from tests.faults.race import Race, Result, Server
from tests.faults.world import Tally, pause

pytestmark = [pytest.mark.faults, pytest.mark.integration]

MODES: Final = (
    ("postgres", "trigger"),
    ("mariadb", "binlog"),
    ("postgres", "slot"),
    ("mariadb", "trigger"),
    ("sqlite", "trigger"),
    ("postgres", "watermark"),
    ("mariadb", "watermark"),
)
QUICK: Final = MODES[:2]
QUICK_SECS: Final = 8.0
LONG_SECS: Final = 30.0
QUICK_BULK: Final = 5_000
LONG_BULK: Final = 200_000
DOWN_SECS: Final = 0.5


@pytest.fixture
def server(kind: str, tmp_path: Path) -> Iterator[Server | None]:
    """A server of the test's own, to be killed; SQLite has none."""
    if kind == "sqlite":
        yield None
        return
    node = PostgresNode(tmp_path / kind) if kind == "postgres" else MariadbNode(tmp_path / kind)
    node.start()
    yield node
    node.remove()


@pytest.fixture
def site(server: Server | None, tmp_path: Path) -> Site:
    """The table that is written to."""
    match server:
        case PostgresNode():
            return PostgresSite(server.add_database("late"))
        case MariadbNode():
            return MariadbSite(server.add_database("late"))
    return SqliteSite(tmp_path / "late.db")


def plan_of(*, long_run: bool) -> Plan:
    """Return what the writers do."""
    return Plan(bulk_rows=LONG_BULK if long_run else QUICK_BULK, bulk_at=10, alter_at=20, two_phase=0.05)


def run(race: Race, server: Server | None, tally: Tally, *, exact: bool, secs: float) -> Result:
    """Write, kill the server in the middle and start it again, write on, and judge."""
    judge = judge_changes if exact else judge_states
    with race:
        race.start()
        pause(secs / 2)
        race.await_bulk()
        if server is not None:
            server.kill()
            tally.kills += 1
            pause(DOWN_SECS)
            server.start()
        pause(secs / 2)
        result = race.finish(lambda truth, some: judge(truth.histories(), some))
    tally.records += result.captured
    tally.lost += result.verdict.lost
    tally.twice += result.verdict.doubled
    return result


def wrong(verdict: Verdict, *, exact: bool) -> dict[str, int]:
    """Return what a mode must not have done; deletes are not promised by one that sees states."""
    found = {"lost": verdict.lost, "doubled": verdict.doubled, "disorder": verdict.disorder, "phantoms": verdict.phantoms}
    return {**found, "unseen deletes": verdict.unseen_deletes if exact else 0}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "kind,mode",
    [pytest.param(*one, id="-".join(one), marks=() if one in QUICK else pytest.mark.long) for one in MODES],
)
def test_nothing_is_missed_however_late_it_commits(
    kind: str, mode: str, site: Site, server: Server | None, tally: Tally, long_run: bool
) -> None:
    """Beside a rule that loses rows in the same run, a mode loses nothing, though the server dies under the writers."""
    exact = mode != "watermark"
    plan = plan_of(long_run=long_run)
    result = run(Race(site, mode, plan), server, tally, exact=exact, secs=LONG_SECS if long_run else QUICK_SECS)
    assert result.truth.transactions > 100
    assert result.truth.rolled_back > 0
    assert kind == "sqlite" or result.truth.two_phase > 0
    assert result.verdict.total >= plan.bulk_rows
    assert not any(wrong(result.verdict, exact=exact).values()), str(result.verdict)
    assert result.naive.lost > 0, f"the experiment does not bite: {result.naive}"
