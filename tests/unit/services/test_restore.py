"""Going on in a new epoch: nothing is forgotten, nothing gets a second record id, and a kill at any point changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters.store import SqliteStore
from agent.adapters.store.reader import StoreReader
from agent.errors import StoreError
from agent.events import EpochBegun, Events, FlowResumed
from agent.model import ExchangeMessage, MessageKind, Outcome, State
from agent.testing.clock import FakeClock
from agent.testing.memory_reader import MemoryReader
from agent.testing.memory_store import MemoryStore
from agent.testing.recorder import EventRecorder
from agent.wire.envelope import open_body
from agent.wire.limits import Limits
from tests.contract.store.makers import AGENT, START
from tests.unit.services.restore_kit import SCHEMA, ZHANG, Dying, Killed, Shop, record_ids


@pytest.fixture(params=["memory", "sqlite"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A fresh store."""
    clock, recorder = FakeClock(START), EventRecorder()
    events = Events(recorder)
    if request.param == "memory":
        store = MemoryStore(AGENT, epoch="e0", clock=clock, events=events)
        yield Shop(store, MemoryReader(store), clock, recorder, itertools.count(1))
        return
    path = tmp_path / "state" / "outbox.db"
    ids = itertools.count(1)
    disk = SqliteStore.open(
        path, agent_id=AGENT, clock=clock, events=events, random_bytes=lambda size: next(ids).to_bytes(size), low_water_bytes=0
    )
    reader = StoreReader(path)
    yield Shop(disk, reader, clock, recorder, ids)
    reader.close()
    disk.close()


def fill(shop: Shop) -> dict[str, list[ExchangeMessage]]:
    """Make three flows: frozen with messages in every state, paused by an operator, and one with nothing on its way."""
    people = shop.capture("people", ("1", "张三"), ("2", "李四"), ("3", "王五"), ("4", "赵六"), ("5", None))
    shop.settle(people[0])
    shop.settle(people[1], outcome=Outcome.REFUSED_FINAL, code="malformed")
    shop.store.confirm([entry.entry_id for entry in shop.store.pending("people", 0, 10)][:2])
    shop.store.flush()
    shop.store.pause("people", "fork")
    cars = shop.capture("cars", ("川A1", "红旗"), ("川A2", "东风"))
    shop.store.pause("cars", "operator 李工: 盘点")
    idle = shop.capture("idle", ("9", "静"))
    shop.settle(*idle)
    return {"people": people, "cars": cars, "idle": idle}


def assert_restored(shop: Shop, captured: dict[str, list[ExchangeMessage]], previous: str) -> None:
    """Check everything that a restore promises, however often it was interrupted."""
    left = {"people": captured["people"][2:], "cars": captured["cars"], "idle": []}
    states = {state.flow: state for state in shop.store.flows()}
    assert {state.previous_epoch for state in states.values()} == {previous}
    assert len({state.epoch for state in states.values()} | {previous}) == 2
    for flow, messages in left.items():
        opening, *waiting = shop.waiting(flow)
        assert (opening.kind, opening.epoch) == (MessageKind.CONTROL, states[flow].epoch)
        assert [(m.epoch, m.sequence) for m in waiting] == [(states[flow].epoch, n) for n in range(1, len(messages) + 1)]
        assert shop.records_waiting(flow) == [record for message in messages for record in record_ids(message)]
        assert not {m.message_id for m in waiting} & {m.message_id for m in messages}
        assert states[flow].counters.next_sequence == len(messages) + 1
        assert shop.store.unsettled(flow, 10) == []
        assert [(gap.number, gap.kind) for gap in shop.reader.gaps(flow)] == [(1, "store_restored")]
    assert shop.paused() == {"people": "", "cars": "operator 李工: 盘点", "idle": ""}


def test_what_has_no_receipt_is_written_again_in_a_new_epoch(shop: Shop) -> None:
    """New ids and sequences, the same records in the same order; frozen flows go on, paused ones stay paused."""
    captured = fill(shop)
    before = shop.store.epoch
    done = shop.restore().run(ZHANG)
    assert_restored(shop, captured, before)
    assert [(one.flow, one.messages, one.records, one.thawed) for one in done] == [
        ("cars", 2, 2, False),
        ("idle", 0, 0, False),
        ("people", 3, 3, True),
    ]
    assert [(event.flow, event.messages) for event in shop.recorder.of(EpochBegun)] == [("cars", 2), ("idle", 0), ("people", 3)]
    assert shop.recorder.of(FlowResumed) == [FlowResumed("people", "fork")]
    noted = [(action.action, action.subject, action.user, action.why) for action in shop.reader.actions()]
    assert noted == [(word, shop.store.epoch, "张工", "换盘") for word in ("restore", "begin-epoch")]


def test_the_new_message_is_the_old_one_with_another_envelope(shop: Shop) -> None:
    """Subject, schema and every octet of every record are those of the old message, also of a flow nobody configures any more."""
    captured = fill(shop)
    shop.restore().run(ZHANG)
    old = open_body(captured["people"][2].body, captured["people"][2].encoding, Limits())
    new = open_body(shop.waiting("people")[1].body, shop.waiting("people")[1].encoding, Limits())
    assert (new.subject, new.dataschema) == (old.subject, old.dataschema) == ("people", SCHEMA)
    assert [(r.id, r.op, bytes(r.key), bytes(r.data or b"")) for r in new.records] == [
        (r.id, r.op, bytes(r.key), bytes(r.data or b"")) for r in old.records
    ]
    trace = shop.reader.trace(new.id)
    assert trace.supersedes == [old.id]
    assert shop.reader.trace(old.id).message.state is State.DEAD


def test_capture_goes_on_behind_what_was_written_again(shop: Shop) -> None:
    """The next record takes the next sequence of the new epoch."""
    fill(shop)
    shop.restore().run(ZHANG)
    (message,) = shop.capture("people", ("6", "孙七"))
    assert message.sequence == 4
    assert shop.store.open_flow("people").counters.next_ordinal == 2


CHANGES = 11
"""begin_epoch; announce, rewrap, rewrap for cars; announce, rewrap for idle; pause, announce, rewrap, rewrap for people; note."""


@pytest.mark.parametrize("who", ["operator", "agent"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies_at", range(1, CHANGES + 1))
def test_a_kill_at_any_point_is_finished_by_the_next_run(shop: Shop, dies_at: int, after: bool, who: str) -> None:
    """Whether the operator repeats the command or the agent starts: one epoch, one gap, every record once, in order."""
    captured = fill(shop)
    before = shop.store.epoch
    with pytest.raises(Killed):
        shop.restore(Dying(shop.store, dies_at, after=after)).run(ZHANG)
    ended = dies_at == CHANGES and after
    if who == "agent":
        shop.restore().finish()
        if not shop.reader.gaps():  # it died before it had decided anything
            shop.restore().run(ZHANG)
    elif not ended:
        shop.restore().run(ZHANG)
    assert_restored(shop, captured, before)
    assert shop.restore().unfinished() is None
    assert shop.restore().finish() == []


def test_a_restore_makes_no_other_changes_than_those_that_were_killed(shop: Shop) -> None:
    """The list of kills above is complete: one further is not reached."""
    captured = fill(shop)
    before = shop.store.epoch
    shop.restore(Dying(shop.store, CHANGES + 1, after=False)).run(ZHANG)
    assert_restored(shop, captured, before)


def test_kills_in_a_row_are_finished_too(shop: Shop) -> None:
    """A restore that dies after every second step still ends in the same place."""
    captured = fill(shop)
    before = shop.store.epoch
    kills = 0
    while shop.reader.gaps() == [] or shop.restore().unfinished():
        try:
            shop.restore(Dying(shop.store, 2, after=True)).run(ZHANG)
        except Killed:
            kills += 1
    assert kills >= 4
    assert_restored(shop, captured, before)


def test_nothing_unfinished_is_nothing_to_finish(shop: Shop) -> None:
    """An agent that starts on an ordinary store, frozen flows included, changes nothing."""
    fill(shop)
    before = (shop.store.epoch, shop.paused(), shop.waiting("cars"))
    assert shop.restore().finish() == []
    assert before == (shop.store.epoch, shop.paused(), shop.waiting("cars"))
    assert shop.paused()["people"] == "fork"


def test_a_second_restore_begins_a_second_epoch(shop: Shop) -> None:
    """What is finished is finished: the next restore takes what still waits, and records a second gap."""
    captured = fill(shop)
    shop.restore().run(ZHANG)
    first = shop.store.epoch
    shop.settle(shop.waiting("people")[1])
    shop.restore().run(ZHANG)
    assert shop.store.open_flow("people").previous_epoch == first
    assert shop.records_waiting("people") == [record for m in captured["people"][3:] for record in record_ids(m)]
    assert [gap.number for gap in shop.reader.gaps("people")] == [1, 2]


def test_more_messages_than_one_batch_keep_their_order(shop: Shop) -> None:
    """Hundreds of messages are written again in their order, in several transactions."""
    people = shop.capture("people", *((str(number), f"第{number}") for number in range(200)))
    (done,) = shop.restore().run(ZHANG)
    assert (done.messages, done.records) == (200, 200)
    assert shop.records_waiting("people") == [record for message in people for record in record_ids(message)]


def test_receipts_may_have_settled_what_was_left(shop: Shop) -> None:
    """Between the kill and the next run nothing is left: the flow takes records again."""
    fill(shop)
    with pytest.raises(Killed):
        shop.restore(Dying(shop.store, 1, after=True)).run(ZHANG)
    shop.settle(*[entry.message for flow in ("people", "cars") for entry in shop.store.unsettled(flow, 10)])
    shop.restore().finish()
    assert shop.records_waiting("people") == []
    assert shop.capture("people", ("7", "周八"))[0].sequence == 1


def test_a_store_without_flows_has_nothing_to_restore(shop: Shop) -> None:
    """A new store gets a new epoch, and that is all."""
    before = shop.store.epoch
    assert shop.restore().run(ZHANG) == []
    assert shop.store.epoch != before


def test_a_store_that_fails_stops_the_restore() -> None:
    """An error of the disk is raised; nothing is half done in memory only."""
    clock = FakeClock(START)
    store = MemoryStore(AGENT, clock=clock)
    shop = Shop(store, MemoryReader(store), clock, EventRecorder(), itertools.count(1))
    captured = fill(shop)
    store.fail_next(StoreError(why="disk"))
    with pytest.raises(StoreError):
        shop.restore().run(ZHANG)
    shop.restore().run(ZHANG)
    assert_restored(shop, captured, "e0")
