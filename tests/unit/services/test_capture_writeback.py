"""What a source is told of rows that it handed over: pure judgement, and when the source is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from agent.mapping.compile import compile_map
from agent.model import START, Batch, Counters, FlowState, Op, Position, Quarantined, RefusedRecord, State
from agent.model.handshake import Answer, Fate, Whereabouts
from agent.queries import Item
from agent.services.capture_plan import CapturePlan, Quarantine
from agent.services.capture_quarantine import Isolation
from agent.services.capture_writeback import Row, Writeback, judge, of_message, rows_of
from agent.testing.clock import FakeClock
from agent.testing.memory_store import MemoryStore
from agent.testing.scripted_source import ScriptedSource
from agent.wire.identity import RecordIds
from tests.unit.services.capture_kit import FLOW, SENDER, SPEC, Bench

DIGEST = hashlib.sha256(b"data").digest()
KEY = '[["i","1"]]'
ROW = Row(KEY, DIGEST, "item-1")
IDS = RecordIds(SENDER, FLOW, "source-1", "t")
RECORD = IDS.of(KEY, "e0:7", Op.UPSERT, DIGEST.hex())


def known(state: State | None = State.STORED, **more: Any) -> Whereabouts:
    """Return where the key of ROW has got to, in the version that ROW is."""
    return replace(Whereabouts(DIGEST[:16], 7, deleted=False, epoch="e0", state=state), **more)


def other(state: State | None = State.STORED, **more: Any) -> Whereabouts:
    """Return where another version of the key of ROW has got to."""
    return known(state, hash=bytes(16), **more)


def item(text: str = "field {field}", **details: object) -> Item:
    """Return a quarantined item."""
    said = Quarantined("item-1", FLOW, "t", "", KEY, b"", "required", "HT-R001", "name", text, details, FakeClock().now())
    return Item(1, said, None, None)


def said_of(row: Row, found: Whereabouts | None, kept: Item | None = None, *, restored: bool = False) -> Answer | None:
    """Judge a row."""
    return judge(row, found, IDS, {"e0", ""}, lambda item_id: kept if item_id == "item-1" else None, restored=restored)


@pytest.mark.parametrize("state", [State.PENDING, State.CONFIRMED])
def test_a_row_waits_while_its_message_waits(state: State) -> None:
    """Nothing is said before the hub has answered."""
    assert said_of(ROW, known(state)) is None


@pytest.mark.parametrize("state", [State.STORED, State.PARTLY_STORED, None])
def test_a_row_is_stored_with_its_message(state: State | None) -> None:
    """A stored message, a partly stored one that did not lose this record, and a forgotten one mean stored."""
    assert said_of(ROW, known(state, refused=(RefusedRecord("another", "name", "bad", "no"),))) == Answer(Fate.STORED)


def test_the_refusal_of_the_record_decides() -> None:
    """In a partly stored message the refusal of this very record makes it fail, with field, text and code."""
    refused = (RefusedRecord("another", "x", "y", "z"), RefusedRecord(RECORD, "name", "too_short", "名称太短"))
    answer = said_of(ROW, known(State.PARTLY_STORED, refused=refused))
    assert answer is not None
    assert (answer.fate, answer.field, answer.details["said"]) == (Fate.FAILED, "name", "名称太短 (too_short)")


def test_a_dead_message_failed() -> None:
    """What the hub said of a refused message is the reason; a message that was given up says so."""
    refused, given_up = of_message(known(State.DEAD, code="bad_type", text="no such type"), ()), of_message(known(State.DEAD), ())
    assert refused is not None
    assert given_up is not None
    assert (refused.fate, refused.details["said"]) == (Fate.FAILED, "no such type (bad_type)")
    assert (given_up.fate, "gave the message up" in given_up.text) == (Fate.FAILED, True)


def test_quarantine_counts_by_content() -> None:
    """A row whose content was quarantined failed, whatever became of other versions of its key, and whether it can be mapped."""
    for row in (ROW, Row(KEY, None, "item-1"), Row(None, None, "item-1")):
        for found in (other(), None):
            answer = said_of(row, found, item(name="x"))
            assert answer is not None
            assert answer == Answer(Fate.FAILED, "field {field}", {"name": "x"}, "name")


def test_what_was_captured_after_all_is_not_quarantined() -> None:
    """An item of the same content that a change of the map has settled does not count."""
    assert said_of(ROW, known(), item()) == Answer(Fate.STORED)


def test_a_row_nobody_knows_is_left_alone() -> None:
    """A row with the status of sent rows that was never captured may belong to somebody else."""
    assert said_of(ROW, None) is None
    assert said_of(Row(None, None, "item-2"), None) is None


def test_a_changed_row_gets_the_state_of_what_was_sent() -> None:
    """A row that was changed without being handed over again is answered for what was, unless that cannot be told."""
    assert said_of(Row(KEY, DIGEST, "item-2"), other()) == Answer(Fate.STORED)
    assert said_of(Row(KEY, DIGEST, "item-2"), other(State.PARTLY_STORED)) is None


def test_what_a_restored_store_does_not_know_goes_again() -> None:
    """After the store was put back from a copy, what it does not know as it is now is handed over again."""
    for found in (None, other(), other(State.PENDING)):
        assert said_of(ROW, found, restored=True) == Answer(Fate.AGAIN)
    assert said_of(ROW, known(State.PENDING), restored=True) is None


def test_rows_are_identified_as_capture_does() -> None:
    """Keys, digests and item ids are those of the ledger and of quarantine, also for rows that cannot be translated."""
    bench = Bench()
    bench.script.put((1, "A"), (2, None))
    bench.run()
    (kept,) = bench.open_items()
    batch = bench.script.read(START, 10)
    mapped = compile_map(SPEC, batch.columns).apply(batch.rows)
    incarnation = bench.store.open_flow(FLOW).incarnation
    rows = rows_of(batch, mapped, Isolation(FLOW, incarnation), bench.clock)
    assert [row.key for row in rows] == ['[["i","1"]]', '[["i","2"]]']
    ledger = bench.store.known(FLOW, ['[["i","1"]]'])
    assert rows[0].digest is not None
    assert rows[0].digest[:16] == ledger['[["i","1"]]'].hash
    assert (rows[1].digest, rows[1].item_id) == (None, kept.item_id)


class Desk(ScriptedSource):
    """A source that keeps states: `pages` are what waits, `answers` what it was told."""

    def __init__(self, *pages: Sequence[tuple[Any, ...]], keeps: bool = True) -> None:
        super().__init__()
        self.pages = list(pages)
        self.keeps = keeps
        self.asked = 0
        self.answers: list[Answer | None] = []

    def awaiting(self, limit: int) -> Batch | None:
        """See ports.Handshake."""
        self.asked += 1
        if not self.keeps:
            return None
        rows = self.pages.pop(0) if self.pages else ()
        assert len(rows) <= limit
        return Batch("t", ("id", "name"), rows, Position(""), more=bool(self.pages))

    def answer(self, answers: Sequence[Answer | None]) -> None:
        """See ports.Handshake."""
        self.answers += answers


def writeback(source: ScriptedSource, clock: FakeClock) -> Writeback:
    """Return a write-back that asks the source at once."""

    def ask(call: Any, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call(*arguments))
        return future

    made = Writeback(CapturePlan(FLOW, SENDER, SPEC), source, MemoryStore(SENDER), Quarantine(), ask=ask, clock=clock)
    made.opened(FlowState(FLOW, "e0", "", START, Counters(), {}), "source-1")
    return made


def test_a_source_without_states_is_not_asked() -> None:
    """Sources of other kinds, and tables that are captured in another way, cost nothing."""
    writeback(ScriptedSource(), FakeClock()).advance()
    desk, clock = Desk(keeps=False), FakeClock()
    back = writeback(desk, clock)
    for _ in range(3):
        back.advance()
    assert desk.asked == 1


def test_a_few_pages_at_a_time() -> None:
    """A turn goes on where it stopped, soon when rows wait, later when none does."""
    desk, clock = Desk(*[[(number, "A")] for number in range(6)]), FakeClock()
    back = writeback(desk, clock)
    back.advance()
    back.advance()
    assert (desk.asked, desk.answers) == (4, [None] * 4)
    clock.advance(1)
    back.advance()
    assert (desk.asked, desk.answers) == (6, [None] * 6)
    clock.advance(1)
    back.advance()
    clock.advance(1)
    back.advance()
    assert desk.asked == 7


def test_columns_that_do_not_fit_the_map_answer_nothing() -> None:
    """What is wrong with the map is said by capture; here rows only wait."""
    desk = Desk([(1,)])
    desk.awaiting = lambda _limit: Batch("t", ("nowhere",), [(1,)], Position(""))  # type: ignore[method-assign]
    writeback(desk, FakeClock()).advance()
    assert desk.answers == [None]
