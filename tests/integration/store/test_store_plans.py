"""How the store reads: by index, whatever waits, so that a start with millions waiting takes no time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from sqlalchemy import event

from agent.adapters.clock import SystemClock
from agent.adapters.store import SqliteStore, engine
from agent.adapters.store import statements as sql
from agent.adapters.store.reader import StoreReader
from agent.adapters.store.reads import BODIES_BYTES
from agent.events import Events
from agent.model import Placing, State
from agent.queries import MessageQuery
from tests.contract.store.makers import message_of, step_of

pytestmark = pytest.mark.integration


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A store on disk."""
    made = SqliteStore.open(
        tmp_path / "store.db", agent_id="510100-test-01", clock=SystemClock(), events=Events(), low_water_bytes=0
    )
    made.open_flow("qszt")
    yield made
    made.close()


def plan_of(store: SqliteStore, statement: str) -> str:
    """Return how SQLite goes about a statement."""
    with closing(engine.open_reader(store.path)) as db:
        names = dict.fromkeys(("keys", "ids", "entries", "moves", "subjects"), "[]")
        numbers = dict.fromkeys(("after", "limit", "before", "now", "flow_id", "chunk", "since"), 1)
        parameters = {**names, **numbers, "flow": "qszt", "epoch": "e"}
        return "\n".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall())


@pytest.mark.parametrize(
    "statement, index",
    [
        (sql.PENDING, "SEARCH m USING INDEX message_pending (flow_id=? AND entry_id>?)"),
        (sql.LEFT_BEHIND, "SEARCH m USING INDEX message_pending (flow_id=?)"),
        (sql.NEXT_LEFT_BEHIND, "SEARCH message USING INDEX message_pending (flow_id=?)"),
        (sql.OVERDUE, "SEARCH m USING INDEX message_confirmed (flow_id=? AND confirmed_at<?)"),
        (sql.PURGE_WHICH, "SEARCH message USING INDEX message_purgeable (settled_at<?)"),
        (sql.FORGET_WHICH, "SEARCH m USING INDEX message_created (created_at<?)"),
        (sql.RECEIPTED, "SEARCH m USING INDEX sqlite_autoindex_message_1 (message_id=?)"),
        (sql.KNOWN, "SEARCH l USING PRIMARY KEY (flow_id=? AND key=?)"),
        (sql.LEAVE_CHUNK, "SEARCH ledger USING COVERING INDEX ledger_chunk (flow_id=? AND chunk=?)"),
        (sql.ENTER_CHUNK, "SEARCH ledger USING PRIMARY KEY (flow_id=? AND key=?)"),
        (sql.ENTER_CHUNK, "SEARCH ledger USING COVERING INDEX ledger_chunk (flow_id=? AND chunk=?)"),
        (sql.UNPLACED, "SEARCH l USING PRIMARY KEY (flow_id=? AND key>?)"),
        (sql.COUNT_UNPLACED, "SEARCH l USING PRIMARY KEY (flow_id=?)"),
        (sql.ALIVE, "SEARCH l USING PRIMARY KEY (flow_id=?)"),
        (sql.TOUCHED, "SEARCH l USING PRIMARY KEY (flow_id=?)"),
        (sql.DEPTH_OF_FLOW, "SEARCH p USING INDEX message_pending (flow_id=?)"),
        (sql.DEPTH_OF_FLOW, "SEARCH c USING COVERING INDEX message_confirmed (flow_id=?)"),
        (sql.CONFIRM, "SEARCH message USING INTEGER PRIMARY KEY (rowid=?)"),
        (sql.REOPEN, "SEARCH message USING INDEX sqlite_autoindex_message_1 (message_id=?)"),
        (sql.SETTLE, "SEARCH message USING INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
def test_hot_statements_go_by_index(store: SqliteStore, statement: str, index: str) -> None:
    """Each hot statement finds its rows by the index made for it, sorts nothing and scans no table of messages."""
    plan = plan_of(store, statement)
    assert index in plan
    assert "TEMP B-TREE FOR ORDER BY" not in plan
    for table in ("m", "message", "l", "ledger", "c", "p"):
        assert f"SCAN {table}\n" not in plan + "\n"


def test_placing_writes_only_what_moves(store: SqliteStore) -> None:
    """A chunk that holds what it held rewrites no ledger row, and one with a newcomer rewrites that one."""
    keys = [f'[["i","{number}"]]' for number in range(500)]
    step = step_of(store.open_flow("qszt"), 1, keys=keys)
    store.append(replace(step, placed=Placing(3, keys[:400]))).result()
    with closing(engine.open_writer(store.path)) as db:
        parameters = {"flow_id": 1, "chunk": 3}
        for placed, rewritten in ((keys[:400], [0, 0]), (keys[:401], [0, 1]), (keys[1:401], [1, 0])):
            parameters["keys"] = orjson.dumps(placed).decode()
            assert [db.execute(each, parameters).rowcount for each in (sql.LEAVE_CHUNK, sql.ENTER_CHUNK)] == rewritten


@pytest.mark.parametrize("chunk", [-1, sql.CHUNKS])
def test_a_chunk_with_an_impossible_number_is_refused(store: SqliteStore, chunk: int) -> None:
    """A chunk number that would run into those of another generation is refused with its step."""
    state = store.open_flow("qszt")
    with pytest.raises(ValueError, match="chunk"):
        store.append(replace(step_of(state, 1), placed=Placing(chunk, []))).result()
    assert store.open_flow("qszt") == state


def test_questions_of_operators_go_by_index(store: SqliteStore) -> None:
    """Dead letters, single messages, keys and rare states are found without reading all that was ever stored."""
    reader = StoreReader(store.path)
    asked: list[str] = []
    event.listen(reader._engine, "before_cursor_execute", lambda *a: asked.append(engine_text(a[2], a[3])))
    with closing(reader):
        reader.causes()
        reader.trace("x")
        for query in (
            MessageQuery(message_id="x"),
            MessageQuery(key="5101"),
            MessageQuery(state=State.DEAD),
            MessageQuery(state=State.PARTLY_STORED),
            MessageQuery(state=State.PENDING, flow="qszt"),
            MessageQuery(state=State.CONFIRMED, flow="qszt"),
            MessageQuery(since=SystemClock().now()),
        ):
            reader.find(query)
    plans = {statement: plan_of(store, statement) for statement in asked if "FROM" in statement}
    scans = {
        statement: plan
        for statement, plan in plans.items()
        if re.search(r"SCAN (message|refused|quarantine)$", plan, re.MULTILINE)
    }
    assert (len(plans), scans) == (12, {})


def engine_text(statement: str, parameters: tuple[object, ...]) -> str:
    """Return a statement with its values written into it."""
    for value in parameters:
        text = f"'{value}'" if isinstance(value, str) else str(value)
        statement = statement.replace("?", text, 1)
    return statement


def test_a_page_of_large_bodies_is_cut_short(store: SqliteStore) -> None:
    """A page stops when its bodies are some megabytes, never before the first, and the next page goes on."""
    state = store.open_flow("qszt")
    size = BODIES_BYTES // 3
    step = step_of(state, 5)
    bodies = [message_of(state, number, body=bytes([number]) * size) for number in range(1, 6)]
    store.append(replace(step, messages=bodies)).result()
    first = store.pending("qszt", 0, 100)
    second = store.pending("qszt", first[-1].entry_id, 100)
    assert [len(first), len(second)] == [4, 1]
    assert [entry.message for entry in [*first, *second]] == bodies


def test_depth_does_not_count(store: SqliteStore) -> None:
    """The counts by state are kept by the database itself, through every move a message can make."""
    state = store.open_flow("qszt")
    store.append(step_of(state, 30)).result()
    with closing(engine.open_writer(store.path)) as db:
        db.execute("UPDATE message SET state = 'dead' WHERE sequence % 3 = 0")
        db.execute("UPDATE message SET state = 'stored' WHERE sequence % 5 = 0")
    (depth,) = store.depth()
    assert {str(name): count for name, count in depth.messages.items() if count} == {"pending": 16, "dead": 8, "stored": 6}
