"""The acts of operators: done in the store, noted with who and why, told to those they concern."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from agent.errors import Conflict, NotFound
from agent.events import Events, FlowPaused, FlowResumed, OperatorActed
from agent.model import MessageKind, Outcome, State
from agent.queries import Closed, Operator
from agent.services.capture_again import Letter
from agent.services.dead_letters import CLOSED, STORED, UNKNOWN
from agent.services.desk import Desk
from agent.testing.clock import FakeClock
from agent.testing.memory_reader import MemoryReader
from agent.testing.memory_store import MemoryStore
from agent.testing.recorder import EventRecorder
from agent.wire.control import Void, decode_control
from agent.wire.envelope import open_body
from agent.wire.limits import Limits
from tests.contract.store.makers import AGENT, START, item_of
from tests.unit.services.restore_kit import Shop

LI = Operator("李工", "盘点")


class Flow:
    """A capture that does as it is told and remembers."""

    def __init__(self, answer: Closed | None = Closed.RETRIED) -> None:
        self.ticks = 0
        self.retried: list[str] = []
        self.letters: list[Letter] = []
        self._answer = answer

    def tick(self) -> None:
        self.ticks += 1

    def retry(self, item_ids: Sequence[str]) -> Future[dict[str, Closed | None]]:
        self.retried += item_ids
        return self._done(item_ids)

    def again(self, letters: Sequence[Letter]) -> Future[dict[str, Closed | None]]:
        self.letters += letters
        return self._done([letter.subject for letter in letters])

    def _done(self, subjects: Sequence[str]) -> Future[dict[str, Closed | None]]:
        future: Future[dict[str, Closed | None]] = Future()
        future.set_result(dict.fromkeys(subjects, self._answer))
        return future


class Delivery:
    """Delivery that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def look_again(self) -> None:
        self.told.append("look")

    def reopened(self, message_ids: Sequence[str]) -> None:
        self.told.append(("reopened", tuple(message_ids)))

    def settled(self, message_ids: Sequence[str]) -> None:
        self.told.append(("settled", tuple(message_ids)))


class Room:
    """A desk with everything around it."""

    def __init__(self) -> None:
        clock, self.recorder = FakeClock(START), EventRecorder()
        events = Events(self.recorder)
        self.store = MemoryStore(AGENT, epoch="e0", clock=clock, events=events)
        self.reader = MemoryReader(self.store)
        self.shop = Shop(self.store, self.reader, clock, self.recorder, itertools.count(1))
        self.delivery, self.flow = Delivery(), Flow()
        self.desk = Desk(
            store=self.store,
            files=self.reader,
            captures={"people": self.flow},
            delivery=self.delivery,
            write=self.shop.write,
            events=events,
        )

    def diary(self) -> list[tuple[str, str, str, str]]:
        return [(done.action, done.subject, done.user, done.why) for done in reversed(self.reader.actions())]

    def acted(self) -> list[tuple[str, str]]:
        return [(event.action, event.subject) for event in self.recorder.of(OperatorActed)]


@pytest.fixture
def room() -> Room:
    return Room()


# -- flows -----------------------------------------------------------------------------------------------------------


def test_a_pause_holds_capture_and_delivery_and_is_noted(room: Room) -> None:
    """The stored reason names who and why; both sides are told to look."""
    room.shop.capture("people", ("1", "张三"))
    room.desk.pause("people", LI)
    assert room.shop.paused() == {"people": "operator 李工: 盘点"}
    assert room.recorder.of(FlowPaused) == [FlowPaused("people", "operator", "盘点")]
    assert (room.flow.ticks, room.delivery.told) == (1, ["look"])
    assert room.diary() == [("pause", "people", "李工", "盘点")]


def test_a_resume_takes_the_reason_away(room: Room) -> None:
    """Whoever paused it: an operator, or a source that lost its place."""
    for reason in ("operator 张工: 假日", "source: position_lost"):
        room.shop.capture("people", ("1", reason))
        room.store.pause("people", reason)
        room.desk.resume("people", LI)
        assert room.shop.paused() == {"people": ""}
    assert room.recorder.of(FlowResumed) == [FlowResumed("people", "operator")] * 2


def test_a_flow_that_never_ran_can_be_paused_beforehand(room: Room) -> None:
    """It is configured, and its first run finds it paused."""
    room.desk.pause("people", LI)
    assert room.shop.paused() == {"people": "operator 李工: 盘点"}


def test_a_flow_that_is_only_draining_can_be_paused(room: Room) -> None:
    """The store knows it although nobody configures it any more."""
    room.shop.capture("old", ("1", "张三"))
    room.desk.pause("old", LI)
    assert room.shop.paused() == {"old": "operator 李工: 盘点"}


@pytest.mark.parametrize("act", ["pause", "resume"])
def test_an_unknown_flow_is_refused(room: Room, act: str) -> None:
    """A misspelt name makes no new flow."""
    with pytest.raises(NotFound, match="nope"):
        getattr(room.desk, act)("nope", LI)
    assert room.store.flows() == []
    assert room.acted() == []


@pytest.mark.parametrize("act", ["pause", "resume"])
def test_a_fork_is_ended_by_a_restore_only(room: Room, act: str) -> None:
    """Neither a resume nor a pause and a resume after it thaw a frozen flow."""
    room.shop.capture("people", ("1", "张三"))
    room.store.pause("people", "fork")
    with pytest.raises(Conflict) as caught:
        getattr(room.desk, act)("people", LI)
    assert "huitong restore" in caught.value.hint
    assert room.shop.paused() == {"people": "fork"}


def test_a_flow_is_run_at_once(room: Room) -> None:
    """Its source is looked at; a paused or unknown flow is refused."""
    room.desk.run("people")
    assert room.flow.ticks == 1
    room.store.pause("people", "operator 张工: 假日")
    with pytest.raises(Conflict, match="假日"):
        room.desk.run("people")
    with pytest.raises(NotFound):
        room.desk.run("old")


def test_a_gap_is_closed_once(room: Room) -> None:
    """With who and why; closing it again, or one that is not there, is refused."""
    room.store.open_flow("people")
    gap = room.store.open_gap("people", "position_lost", "lost", {})
    room.desk.close_gap("people", gap.number, LI)
    assert room.reader.gaps() == []
    assert room.diary() == [("close-gap", "people 1", "李工", "盘点")]
    for number in (1, 7):
        with pytest.raises(NotFound, match=f"no open gap number {number}"):
            room.desk.close_gap("people", number, LI)


# -- messages --------------------------------------------------------------------------------------------------------


def test_a_resend_puts_only_confirmed_messages_back_in_line(room: Room) -> None:
    """The same message again; one that waits already, or has its receipt, does not count."""
    stored, confirmed, pending = room.shop.capture("people", ("1", "a"), ("2", "b"), ("3", "c"))
    room.store.confirm([entry.entry_id for entry in room.store.pending("people", 0, 10)][:3])
    room.shop.settle(stored)
    ids = [stored.message_id, confirmed.message_id, pending.message_id]
    assert room.desk.resend(ids, LI) == 1
    assert confirmed.message_id in [message.message_id for message in room.shop.waiting("people")]
    assert room.delivery.told == [("reopened", tuple(ids))]
    assert [entry[:2] for entry in room.diary()] == [("resend", message_id) for message_id in ids]


# -- dead letters ----------------------------------------------------------------------------------------------------


def put_aside(room: Room) -> str:
    room.store.open_flow("people")
    item = item_of(1, flow="people")
    room.store.tables.quarantine(item)
    return item.item_id


def test_a_retry_goes_to_the_flow_and_is_noted_when_it_did_something(room: Room) -> None:
    """Input and refused messages go their different ways; what fails is not noted as done."""
    item = put_aside(room)
    (message,) = room.shop.capture("people", ("1", "张三"))
    room.shop.settle(message, outcome=Outcome.REFUSED_FINAL, code="malformed")
    outcomes = room.desk.retry([item, message.message_id, "nonsense"], LI)
    assert {subject: outcome.how for subject, outcome in outcomes.items()} == {
        item: "retried",
        message.message_id: "retried",
        "nonsense": "failed",
    }
    assert outcomes["nonsense"].text == UNKNOWN
    assert room.flow.retried == [item]
    ((former,),) = [letter.formers for letter in room.flow.letters]
    assert former.key == '[["s","1"]]'
    assert [entry[:2] for entry in room.diary()] == [("retry", item), ("retry", message.message_id)]
    assert room.acted() == [("retry", "2")]


def test_nothing_done_is_nothing_noted(room: Room) -> None:
    """A retry of what cannot be retried leaves no trace of an act."""
    room.desk.retry(["nonsense"], LI)
    assert (room.diary(), room.acted()) == ([], [])


def test_a_discarded_message_is_voided_at_the_hub(room: Room) -> None:
    """Its sequence is closed by a signed void, delivery forgets it, and it is never sent."""
    first, second = room.shop.capture("people", ("1", "张三"), ("2", "李四"))
    outcomes = room.desk.discard([first.message_id], LI)
    assert outcomes[first.message_id].how == "discarded"
    *_, waiting, void = room.shop.waiting("people")
    assert waiting == second
    assert void.kind is MessageKind.CONTROL
    said = decode_control(open_body(void.body, void.encoding, Limits()))
    assert said == Void("people", "e0", "1", "1", "盘点")
    assert room.delivery.told == [("settled", (first.message_id,)), "look"]
    row = room.reader.trace(first.message_id).message
    assert (row.state, row.closed_as) == (State.DEAD, Closed.DISCARDED)


def test_dead_letters_are_given_up_without_a_void(room: Room) -> None:
    """The hub has closed the sequence of a refused message itself; input never had one."""
    item = put_aside(room)
    refused, stored = room.shop.capture("people", ("1", "张三"), ("2", "李四"))
    room.shop.settle(refused, outcome=Outcome.REFUSED_FINAL, code="malformed")
    room.shop.settle(stored)
    subjects = [item, refused.message_id, stored.message_id, "nonsense"]
    outcomes = room.desk.discard(subjects, LI)
    assert [outcomes[subject].how for subject in subjects] == ["discarded", "discarded", "failed", "failed"]
    assert outcomes[stored.message_id].text == STORED
    assert room.reader.causes() == []
    assert [message.kind for message in room.shop.waiting("people")] == [MessageKind.CONTROL]  # the epoch-open
    assert room.desk.discard([item], LI)[item].text == CLOSED
    assert room.acted() == [("discard", "2"), ("discard", "0")]


def test_a_message_that_got_its_receipt_meanwhile_is_not_discarded(room: Room) -> None:
    """The store refuses the whole act, so that nothing is voided that the hub has stored."""
    one, two = room.shop.capture("people", ("1", "张三"), ("2", "李四"))
    found = room.reader.trace
    seen: list[str] = []

    def late(message_id: str) -> Any:
        trace = found(message_id)
        seen.append(message_id)
        if len(seen) == 2:
            room.shop.settle(one)
        return trace

    room.reader.trace = late  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        room.desk.discard([one.message_id, two.message_id], LI)
    assert room.shop.waiting("people")[-1] == two
