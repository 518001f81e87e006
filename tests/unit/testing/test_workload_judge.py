"""The judge of captures finds what was planted, and nothing else; the workload believes what the table holds."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from agent.adapters.clock import SystemClock
from agent.errors import SourceUnavailable
from agent.model import Batch, Finding, FlowState, Op, Position, Progress
from agent.testing.workload import Plan, Workload, WorkloadBroken
from agent.testing.workload_host import Follower
from agent.testing.workload_judge import Verdict, judge_changes, judge_inserts, judge_states
from agent.testing.workload_sites import SqliteSite
from agent.testing.workload_truth import Captured, Change, Truth


def truth_of(*steps: str) -> Truth:
    """Make a truth of steps like "a+1 a=2 a-" (insert, update, delete); one commit a second."""
    truth = Truth()
    for second, step in enumerate(" ".join(steps).split(), 1):
        key, sign, version = step[0], step[1], (step[2:] or str(second)).zfill(3)
        truth.commit([Change(Op.DELETE if sign == "-" else Op.UPSERT, key, version, born=sign == "+")], float(second))
    return truth


def captured_of(*steps: str, tokens: bool = True) -> list[Captured]:
    """Make what was captured of the same, each with a token of its own unless these are states."""
    return [
        Captured(
            Op.DELETE if step[1] == "-" else Op.UPSERT,
            step[0],
            None if step[1] == "-" else step[2:].zfill(3),
            float(number),
            f"t{number}" if tokens else None,
        )
        for number, step in enumerate(" ".join(steps).split())
    ]


def figures(verdict: Verdict) -> dict[str, int]:
    """Return what is wrong."""
    names = ("missed", "stale", "unseen_deletes", "doubled", "disorder", "phantoms")
    return {name: getattr(verdict, name) for name in names if getattr(verdict, name)}


HISTORY = "a+1 a=2 b+3 a- a+5 a=6 a-"


# -- every change ----------------------------------------------------------------------------------------------------


def test_a_perfect_capture_is_exact() -> None:
    """Every change once and in order is exact, however the keys are interleaved."""
    for text in (HISTORY, "b+3 a+1 a=2 a- a+5 a=6 a-"):
        verdict = judge_changes(truth_of(HISTORY).histories(), captured_of(text))
        assert verdict.exact
        assert verdict.total == 7


@pytest.mark.parametrize(
    "captured, wrong",
    [
        ("a+1 a=2 b+3 a- a+5 a=6", {"missed": 1}),
        ("a+1 b+3 a- a+5 a=6 a-", {"missed": 1}),
        ("a+1 a=2 b+3 a+5 a=6 a-", {"missed": 1}),
        ("a+1 a=2 a- a+5 a=6 a-", {"missed": 1}),
        ("b+3", {"missed": 6}),
        ("a+1 a=2 b+3 b+3 a- a+5 a=6 a-", {"doubled": 1}),
        ("a+1 a=2 b+3 a- a- a+5 a=6 a-", {"doubled": 1}),
        ("a+1 a=2 a- a+1 a=2 b+3 a- a+5 a=6 a-", {"doubled": 3}),
        ("a=2 a+1 b+3 a- a+5 a=6 a-", {"disorder": 1}),
        ("a+1 a=2 b+3 a- a=6 a+5 a-", {"disorder": 1}),
        ("a=2 a+1 b+3 a- a=6 a+5 a-", {"disorder": 2}),
        ("a+1 a=2 b+3 a- a+5 a=6 a- a=9", {"phantoms": 1}),
        ("a+1 a=2 b+3 a- a+5 a=6 a- b=2", {"phantoms": 1}),
        ("a+1 a=2 b+3 a- a+5 a=6 a- c-", {"phantoms": 1}),
        ("a=2 a+1 b+3 b+3 a- a=6 a=9 a-", {"missed": 1, "disorder": 1, "doubled": 1, "phantoms": 1}),
        ("", {"missed": 7}),
    ],
)
def test_a_planted_fault_is_found(captured: str, wrong: dict[str, int]) -> None:
    """Each loss, double, reordering and invention is counted, and as what it is."""
    verdict = judge_changes(truth_of(HISTORY).histories(), captured_of(captured))
    assert figures(verdict) == wrong
    assert not verdict.exact
    assert verdict.examples


def test_the_same_token_again_is_a_double() -> None:
    """A change whose token came before is doubled, also where its content could pass for another change."""
    once = captured_of("a+1 a- a+3 a-")
    verdict = judge_changes(truth_of("a+1 a- a+3 a-").histories(), [*once[:2], once[1], *once[2:]])
    assert figures(verdict) == {"doubled": 1}


def test_a_change_of_key_is_two_records_of_one_token() -> None:
    """The delete of the old key and the row under the new one may share a token, for each of them once."""
    renamed = [record._replace(token="t") for record in captured_of("a- b=3")]
    histories = truth_of("a+1 a- b=3").histories()
    assert judge_changes(histories, [*captured_of("a+1"), *renamed]).exact
    assert figures(judge_changes(histories, [*captured_of("a+1"), *renamed, renamed[1]])) == {"doubled": 1}


def test_random_faults_are_counted_exactly() -> None:
    """Whatever changes are left out or repeated in a long history, that many are missed and doubled."""
    random = Random(5)
    for _ in range(50):
        steps = [f"{random.choice('abc')}={n}" for n in range(1, 60)]
        lost = set(random.sample(range(59), random.randint(0, 9)))
        twice = set(random.sample(sorted(set(range(59)) - lost), random.randint(0, 9)))
        seen = [step for n, step in enumerate(steps) if n not in lost for _ in range(1 + (n in twice))]
        verdict = judge_changes(truth_of(*steps).histories(), captured_of(*seen))
        assert (verdict.missed, verdict.doubled, verdict.disorder, verdict.phantoms) == (len(lost), len(twice), 0, 0)


def test_nothing_to_judge_is_not_exact() -> None:
    """A run in which nothing happened proves nothing."""
    assert not judge_changes({}, []).exact
    assert not judge_states({}, []).exact
    assert not judge_inserts({}, []).exact


# -- a first load before the changes ---------------------------------------------------------------------------------


def test_a_loaded_state_stands_for_what_was_before_it() -> None:
    """What happened to a key before its loaded state is not owed; what happened after it is."""
    load, after = captured_of("a=2", tokens=False), captured_of("a=3 a-")
    histories = truth_of("a+1 a=2 a=3 a-").histories()
    assert judge_changes(histories, [*load, *after]).exact
    assert figures(judge_changes(histories, [*load, after[1]])) == {"missed": 1}
    assert figures(judge_changes(histories, [*after, *load])) == {"disorder": 1}


def test_what_was_before_the_load_is_owed_as_a_state() -> None:
    """Before the first load only the last state of a row counts; a row deleted by then, or changed since, need not come."""
    truth = truth_of("a+1 a=2 b+3 b- c+5 c=6 d+7")
    histories, times = truth.histories(), truth.times()

    def judged(*captured: Captured) -> dict[str, int]:
        return figures(judge_changes(histories, captured, times=times, since=5.5))

    load = captured_of("a=2 c=5", tokens=False)
    stream = captured_of("c=6 d+7")
    assert judged(*load, *stream) == {}
    assert judged(load[0], *stream) == {}
    assert judged(load[1], *stream) == {"missed": 1}
    assert judged(*load, stream[1]) == {"missed": 1}
    assert judged(*load, stream[0]) == {"missed": 1}


# -- states ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "captured, wrong",
    [
        ("a=2 b=5", {}),
        ("a=1 a=2 c=6 b=5", {"unseen_deletes": 1}),
        ("a=2 c=6 c- b=5", {}),
        ("a=1 b=5", {"stale": 1}),
        ("b=5", {"missed": 1}),
        ("a=2 b=3", {"missed": 1}),
        ("a=2 b=3 b-", {"missed": 1}),
        ("a=2 b=5 b-", {"stale": 1}),
        ("a=2 a=1 b=5", {"stale": 1, "disorder": 1}),
        ("a=2 a=2 b=5", {"doubled": 1}),
        ("a=2 b=5 b=9", {"stale": 1, "phantoms": 1}),
        ("a=2 b=5 x=9", {"phantoms": 1}),
        ("", {"missed": 2}),
    ],
)
def test_final_states_are_judged(captured: str, wrong: dict[str, int]) -> None:
    """Versions in between may be skipped; final states, their order and what is gone are counted."""
    verdict = judge_states(truth_of("a+1 a=2 b+3 b- b+5 c+6 c-").histories(), captured_of(captured, tokens=False))
    assert figures(verdict) == wrong
    assert verdict.total == 2
    assert verdict.exact == (not wrong)


def test_new_rows_are_judged() -> None:
    """A rule for new rows owes each row still there once, in whatever version; rows renamed to a key are not new."""
    histories = truth_of("a+1 a=2 b+3 c=4 d+5 d- e+7 e- e+9").histories()
    assert judge_inserts(histories, captured_of("a=1 b=3 e=9", tokens=False)).exact
    verdict = judge_inserts(histories, captured_of("a=2 e=7", tokens=False))
    assert (verdict.total, verdict.missed, verdict.lost) == (3, 2, 2)


# -- the host --------------------------------------------------------------------------------------------------------


class Tape:
    """A source that plays batches, each once it was asked for what lies after the one before; one of them fails first."""

    def __init__(self, *batches: Batch, fails_at: int) -> None:
        self.batches, self.fails_at = batches, fails_at
        self.commits: list[str] = []

    def open(self, state: FlowState) -> str:
        return state.flow

    def wait(self, timeout_secs: float) -> bool:
        return threading.Event().wait(timeout_secs / 100)

    def wake(self) -> None:
        """Nobody waits."""

    def read(self, after: Position, limit: int) -> Batch:
        place = int(after or 0)
        if place == self.fails_at:
            self.fails_at = -1
            raise SourceUnavailable(why="torn")
        nothing = Batch("t", ("k", "version"), (), after)
        return self.batches[place] if place < len(self.batches) and limit else nothing

    def commit(self, position: Position) -> None:
        self.commits.append(position)

    def check(self) -> Sequence[Finding]:
        return ()

    def close(self) -> None:
        """Nothing is held."""


def test_the_host_keeps_what_it_reads() -> None:
    """States seen before are dropped, changes are kept with op and token even twice, and a source that failed is read on."""
    load = Batch("t", ("k", "version"), (("a", "1"), ("b", "2")), Position("1"), loading=Progress(2, 2))
    again = Batch("t", ("k", "version"), (("b", "2"), ("b", "3")), Position("2"))
    changes = Batch(
        "t", ("k", "version"), (("a", None), ("b", "3")), Position("3"), ops=(Op.DELETE, Op.UPSERT), tokens=("x", "y")
    )
    tape = Tape(load, again, changes, fails_at=2)
    follower = Follower(tape, SystemClock())
    follower.start()
    captured = follower.finish()
    shown = [(record.op, record.key, record.version, record.token) for record in captured]
    states = [(Op.UPSERT, "a", "1", None), (Op.UPSERT, "b", "2", None), (Op.UPSERT, "b", "3", None)]
    assert shown == [*states, (Op.DELETE, "a", None, "x"), (Op.UPSERT, "b", "3", "y")]
    assert follower.reopened == 1
    assert tape.commits[:4] == ["1", "2", "2", "3"]
    assert follower.since > 0


# -- the workload ----------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> SqliteSite:
    """An empty table in a file."""
    site = SqliteSite(tmp_path / "watched.db")
    site.create()
    return site


def run(site: SqliteSite, **plan: object) -> Truth:
    """Let writers do a number of transactions without pauses."""
    quick = {
        "writers": 3,
        "transactions": 40,
        "slow": 0.0,
        "pause_secs": 0.0,
        "think_secs": 0.0,
        "rollback": 0.2,
        "savepoint": 0.3,
    }
    workload = Workload(site, Plan(**{**quick, **plan}), SystemClock())  # type: ignore[arg-type]
    workload.start()
    workload.join()
    return workload.finish()


def test_the_truth_is_what_the_table_holds(site: SqliteSite) -> None:
    """After rollbacks, savepoints, renames and a column added the truth leads to exactly the rows of the table."""
    truth = run(site, alter_at=20, bulk_rows=1200, bulk_at=10)
    assert truth.final() == site.final()
    assert truth.transactions + truth.rolled_back == 3 * 40 + 16
    assert truth.rolled_back > 0
    assert sum(change.key.startswith("b0-") for change in truth.changes()) == 1200
    assert site.rows("SELECT count(*) > 0 FROM {table} WHERE extra = version") == [(1,)]


def test_the_truth_equals_what_triggers_saw(site: SqliteSite) -> None:
    """An independent log, written by triggers, holds the same changes; one entry less, and the judge says so."""
    log = "CREATE TABLE log (seq integer PRIMARY KEY AUTOINCREMENT, op text, k text, version text)"
    with closing(sqlite3.connect(site.path)) as db:
        db.execute(log)
        for when, rows in (("INSERT", "n"), ("DELETE", "o"), ("UPDATE", "on")):
            entries = {"o": "('delete', OLD.k, NULL)", "n": "('upsert', NEW.k, NEW.version)"}
            wheres = {"o": "WHERE true" if when == "DELETE" else "WHERE OLD.k <> NEW.k", "n": "WHERE true"}
            body = "".join(f"INSERT INTO log (op, k, version) SELECT * FROM (VALUES {entries[r]}) {wheres[r]};" for r in rows)
            db.execute(f"CREATE TRIGGER log_{when} AFTER {when} ON watched BEGIN {body} END")
    truth = run(site)
    logged: Sequence[tuple[int, str, str, str]] = site.rows("SELECT seq, op, k, version FROM log ORDER BY seq")
    captured = [Captured(Op(op), key, version, 0.0, str(seq)) for seq, op, key, version in logged]
    verdict = judge_changes(truth.histories(), captured)
    assert verdict.exact, str(verdict)
    for place in (0, len(captured) // 2, len(captured) - 1):
        assert judge_changes(truth.histories(), captured[:place] + captured[place + 1 :]).missed == 1


def test_a_lost_write_breaks_the_workload(site: SqliteSite) -> None:
    """A table that does not hold what the writers committed is not judged on."""
    workload = Workload(site, Plan(writers=1, transactions=5, slow=0.0), SystemClock())
    workload.start()
    workload.join()
    site.rows("DELETE FROM {table} WHERE k = 's-3'")
    with pytest.raises(WorkloadBroken, match="s-3"):
        workload.finish()
