"""What the hub refused for ever, tried again: the same records in a new message, unless something newer was captured."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agent.errors import Conflict
from agent.model import ExchangeMessage, MessageKind, Outcome, RefusedRecord, State
from agent.queries import Closed, MessageQuery
from agent.services.capture import CaptureService
from agent.services.capture_again import Letter
from agent.services.capture_messages import BatchLimits
from agent.services.dead_letters import CLOSED, PURGED, REMOVED, STILL_WRONG, STORED, UNKNOWN, WAITING, DeadLetters
from agent.services.restore import encoded
from agent.testing.memory_reader import MemoryReader
from agent.testing.scripted_source import ScriptedSource
from agent.wire.control import EpochOpen
from agent.wire.envelope import Limits, open_body
from tests.contract.store.makers import receipt_for
from tests.unit.services.capture_kit import FLOW, OPERATOR, SENDER, Bench


class Waited:
    """The answer to an order; whoever waits for it lets the flow go round."""

    def __init__(self, future: Any, go_round: threading.Event) -> None:
        self._future, self._go_round = future, go_round

    def result(self) -> Any:
        self._go_round.set()
        return self._future.result(10)


class Counter:
    """A flow as operators reach it: it goes round only when all their orders are given, so that no change comes first."""

    def __init__(self, service: CaptureService) -> None:
        self.go_round = threading.Event()
        self._service = service

    def tick(self) -> None:
        self._service.tick()

    def retry(self, item_ids: Sequence[str]) -> Any:
        return Waited(self._service.retry(item_ids), self.go_round)

    def again(self, letters: Sequence[Letter]) -> Any:
        return Waited(self._service.again(letters), self.go_round)


class Office(Bench):
    """A flow in memory whose messages the hub judges, and somebody who tries dead letters again."""

    def __init__(self, source: Any = None, **plan: Any) -> None:
        super().__init__(source, **plan)
        self.reader = MemoryReader(self.store)
        self.counter = Counter(self.service)
        self.letters = DeadLetters(self.reader, {FLOW: self.counter})

    def reconfigure(self, **plan: Any) -> None:
        """Start the flow anew with another plan."""
        self.plan = replace(self.plan, **plan)
        self.restart()
        self.counter = Counter(self.service)
        self.letters = DeadLetters(self.reader, {FLOW: self.counter})
        self.run()

    def captured(self) -> list[ExchangeMessage]:
        """Capture what is there and return the messages that wait."""
        self.run()
        return [entry.message for entry in self.store.pending(FLOW, 0, 1000) if entry.message.kind is MessageKind.RECORDS]

    def judge(self, message: ExchangeMessage, outcome: Outcome, *refused: str, code: str = "malformed") -> None:
        """Let the hub say what became of a message; `refused` are record ids."""
        records = [RefusedRecord(record, "name", "too_long", "太长") for record in refused]
        receipt = receipt_for(message, outcome, code=code, refused=records, sender=SENDER)
        (settled,) = self.store.settle([receipt]).result()
        assert str(settled.verdict) == "moved"

    def retry(self, *subjects: str) -> dict[str, str]:
        """Try again while the flow goes round; returns how each ended."""
        with self.going_round():
            return {subject: outcome.how for subject, outcome in self.letters.retry(subjects).items()}

    def why(self, subject: str) -> str:
        with self.going_round():
            return self.letters.retry([subject])[subject].text

    @contextmanager
    def going_round(self) -> Iterator[None]:
        ended = threading.Event()

        def rounds() -> None:
            self.counter.go_round.wait()
            while not ended.is_set():
                self.service.wake()
                self.service.run_once()

        self.counter.go_round.clear()
        worker = threading.Thread(target=rounds, daemon=True)
        worker.start()
        yield
        ended.set()
        self.counter.go_round.set()
        self.service.wake()
        worker.join(10)
        assert not worker.is_alive()


class Log:
    """A source that gives a log and cannot look up single records."""

    def __init__(self) -> None:
        self.script = ScriptedSource(log=True)

    def __getattr__(self, name: str) -> Any:
        if name == "read_keys":
            raise AttributeError(name)
        return getattr(self.script, name)


def ids_of(message: ExchangeMessage) -> list[str]:
    return [record.id for record in open_body(message.body, message.encoding, Limits()).records]


@pytest.fixture
def office() -> Office:
    """Three people captured in one message, each refused by nobody yet."""
    office = Office()
    office.script.put((1, "张三"), (2, "李四"), (3, "王五"))
    return office


def closed(office: Office) -> Mapping[str, Closed | None]:
    return {refusal.refused.record: refusal.closed_as for refusal in office.reader.refusals(FLOW, closed=True)}


# -- messages --------------------------------------------------------------------------------------------------------


def test_a_refused_message_travels_again_with_the_same_record_ids(office: Office) -> None:
    """A new message with the next sequence carries the same octets; the old one is closed and can be traced to it."""
    (refused,) = office.captured()
    office.judge(refused, Outcome.REFUSED_FINAL)
    assert office.retry(refused.message_id) == {refused.message_id: "retried"}
    (again,) = office.captured()
    assert (again.sequence, again.epoch) == (2, refused.epoch)
    assert again.message_id != refused.message_id
    assert ids_of(again) == ids_of(refused)
    row = office.reader.trace(refused.message_id).message
    assert (row.state, row.closed_as) == (State.DEAD, Closed.RETRIED)
    assert office.reader.causes() == []


def test_only_what_is_still_the_last_version_travels_again(office: Office) -> None:
    """A record that was captured anew since then is left out; the others go."""
    (refused,) = office.captured()
    office.judge(refused, Outcome.REFUSED_FINAL)
    office.script.put((2, "李四改"))
    (newer,) = office.captured()
    assert office.retry(refused.message_id) == {refused.message_id: "retried"}
    *_, again = office.captured()
    assert ids_of(again) == [ids_of(refused)[0], ids_of(refused)[2]]
    assert not set(ids_of(newer)) & set(ids_of(again))
    assert office.view() == {n: {"id": n, "name": name} for n, name in ((1, "张三"), (2, "李四改"), (3, "王五"))}


def test_a_message_of_which_nothing_is_current_is_only_closed(office: Office) -> None:
    """Everything in it was captured anew: superseded, and nothing is sent."""
    (refused,) = office.captured()
    office.judge(refused, Outcome.REFUSED_FINAL)
    office.script.put((1, "a"), (2, "b"), (3, "c"))
    before = len(office.captured())
    assert office.retry(refused.message_id) == {refused.message_id: "superseded"}
    assert len(office.captured()) == before
    assert office.reader.trace(refused.message_id).message.closed_as is Closed.SUPERSEDED


def test_the_source_is_asked_first(office: Office) -> None:
    """A change that was not captured yet is captured by the retry, and the refused version is superseded by it."""
    (refused,) = office.captured()
    office.judge(refused, Outcome.REFUSED_FINAL)
    office.script.put((1, "张三改"), (2, "李四改"), (3, "王五改"))
    assert office.retry(refused.message_id) == {refused.message_id: "superseded"}
    assert [name for _, name in office.names()] == ["张三改", "李四改", "王五改"]


def test_what_is_gone_from_the_source_is_not_sent(office: Office) -> None:
    """A row that exists no more is not brought to the hub by a retry."""
    (refused,) = office.captured()
    office.judge(refused, Outcome.REFUSED_FINAL)
    office.script.delete(1)
    assert office.retry(refused.message_id) == {refused.message_id: "retried"}
    *_, again = office.captured()
    assert ids_of(again) == ids_of(refused)[1:]


def test_what_the_source_now_holds_wrongly_is_put_aside_instead(office: Office) -> None:
    """A newer version that cannot be translated supersedes the refused one; it waits as input of its own."""
    (refused,) = office.captured()
    office.judge(refused, Outcome.REFUSED_FINAL)
    office.script.put((1, None), (2, None), (3, None))
    assert office.retry(refused.message_id) == {refused.message_id: "superseded"}
    assert office.item_states() == {"required": "open"}
    assert [cause.count for cause in office.reader.causes()] == [3]


def test_a_source_that_cannot_be_asked_relies_on_the_ledger() -> None:
    """A log has no look-up: what was captured last is what counts."""
    office = Office(Log())
    office.source.put((1, "张三"), (2, "李四"))
    (refused,) = office.captured()
    office.judge(refused, Outcome.REFUSED_FINAL)
    office.source.put((1, "张三改"))
    office.captured()
    assert office.retry(refused.message_id) == {refused.message_id: "retried"}
    *_, again = office.captured()
    assert ids_of(again) == ids_of(refused)[1:]


def test_of_two_versions_in_one_message_only_the_last_travels_again() -> None:
    """A log gives both versions of a key in one batch; the first is superseded within its own message."""
    office = Office(Log())
    office.source.put((1, "甲"), (2, "乙"), (1, "丙"), (1, "甲"))
    (refused,) = office.captured()
    office.judge(refused, Outcome.REFUSED_FINAL)
    assert office.retry(refused.message_id) == {refused.message_id: "retried"}
    *_, again = office.captured()
    assert ids_of(again) == [ids_of(refused)[1], ids_of(refused)[3]]


def test_deletes_travel_again_too() -> None:
    """A refused delete of a key that did not come back is sent again; one of a key that did is not."""
    office = Office(Log())
    office.source.put((1, "甲"), (2, "乙"))
    office.captured()
    office.source.delete(1, 2)
    *_, refused = office.captured()
    office.judge(refused, Outcome.REFUSED_FINAL)
    office.source.put((2, "丁"))
    office.captured()
    assert office.retry(refused.message_id) == {refused.message_id: "retried"}
    *_, again = office.captured()
    assert ids_of(again) == ids_of(refused)[:1]


def test_a_retry_that_is_refused_again_can_be_tried_again(office: Office) -> None:
    """Each try is a message of its own; the keys belong to the last one."""
    (first,) = office.captured()
    office.judge(first, Outcome.REFUSED_FINAL)
    office.retry(first.message_id)
    (second,) = office.captured()
    office.judge(second, Outcome.REFUSED_FINAL)
    assert office.retry(first.message_id) == {first.message_id: "failed"}
    assert office.retry(second.message_id) == {second.message_id: "retried"}
    (third,) = office.captured()
    assert ids_of(third) == ids_of(first)
    (found,) = office.reader.find(MessageQuery(key='[["i","1"]]'))
    assert found.message_id == third.message_id


def test_messages_are_cut_as_capture_cuts_them(office: Office) -> None:
    """Where the limits are lower by now, several messages carry what one carried."""
    (refused,) = office.captured()
    office.judge(refused, Outcome.REFUSED_FINAL)
    office.reconfigure(limits=BatchLimits(records=2))
    assert office.retry(refused.message_id) == {refused.message_id: "retried"}
    again = office.captured()
    assert [ids_of(message) for message in again] == [ids_of(refused)[:2], ids_of(refused)[2:]]
    assert [message.sequence for message in again] == [2, 3]


# -- records ---------------------------------------------------------------------------------------------------------


def test_one_refused_record_travels_again_alone(office: Office) -> None:
    """Its neighbours are stored and stay where they are."""
    (partly,) = office.captured()
    ids = ids_of(partly)
    office.judge(partly, Outcome.PARTLY_STORED, ids[1], ids[2], code="")
    assert office.retry(ids[1]) == {ids[1]: "retried"}
    (again,) = office.captured()
    assert ids_of(again) == [ids[1]]
    assert closed(office) == {ids[1]: Closed.RETRIED, ids[2]: None}


def test_records_of_one_message_travel_again_together_and_in_order(office: Office) -> None:
    """Whatever the order in which they are named."""
    (partly,) = office.captured()
    ids = ids_of(partly)
    office.judge(partly, Outcome.PARTLY_STORED, *ids, code="")
    assert set(office.retry(*reversed(ids)).values()) == {"retried"}
    (again,) = office.captured()
    assert sorted(ids_of(again)) == sorted(ids)


def test_a_record_whose_body_was_purged_says_so(office: Office) -> None:
    """The octets are gone by age; the operator is sent to the source."""
    (partly,) = office.captured()
    ids = ids_of(partly)
    office.judge(partly, Outcome.PARTLY_STORED, ids[0], code="")
    office.clock.advance(60)
    office.store.purge(office.clock.now(), office.clock.now() - timedelta(days=1), 10).result()
    assert office.why(ids[0]) == PURGED
    assert closed(office) == {ids[0]: None}


# -- after a restore -------------------------------------------------------------------------------------------------


def test_a_record_refused_after_a_restore_is_found_under_its_new_message(office: Office) -> None:
    """The ledger still names the message of the old epoch; what stands for it is known."""
    (left,) = office.captured()
    office.store.begin_epoch("e-new", OPERATOR).result()
    writer = office.writer("e-new")
    office.store.announce(FLOW, writer.control(EpochOpen(FLOW, "e-new", "e0"))).result()
    envelope = open_body(left.body, left.encoding, Limits())
    new = writer.records(1, [encoded(record) for record in envelope.records])
    office.store.rewrap(FLOW, [(left.message_id, new)]).result()
    office.reconfigure()
    office.judge(new, Outcome.PARTLY_STORED, ids_of(new)[0], code="")
    assert office.retry(ids_of(new)[0]) == {ids_of(new)[0]: "retried"}
    *_, again = office.captured()
    assert (again.epoch, ids_of(again)) == ("e-new", ids_of(left)[:1])


# -- what cannot be tried --------------------------------------------------------------------------------------------


def test_what_is_no_dead_letter_says_what_it_is(office: Office) -> None:
    """Unknown, waiting, stored and dealt with are told apart, and nothing is sent."""
    (message,) = office.captured()
    assert office.why("nonsense") == UNKNOWN
    assert office.why(message.message_id) == WAITING
    office.judge(message, Outcome.STORED, code="")
    assert office.why(message.message_id) == STORED
    office.script.put((9, "新"))
    *_, second = office.captured()
    office.judge(second, Outcome.REFUSED_FINAL)
    office.retry(second.message_id)
    assert office.why(second.message_id) == CLOSED


def test_a_flow_that_is_not_configured_any_more_cannot_retry(office: Office) -> None:
    """Nobody could give its message a sequence."""
    (message,) = office.captured()
    office.judge(message, Outcome.REFUSED_FINAL)
    outcomes = DeadLetters(office.reader, {}).retry([message.message_id])
    assert outcomes[message.message_id].text == REMOVED


def test_a_flow_that_does_not_run_says_so_and_others_go_on(office: Office) -> None:
    """A paused flow takes nothing; the letter stays open, with the reason."""
    (message,) = office.captured()
    office.judge(message, Outcome.REFUSED_FINAL)
    office.store.pause(FLOW, "operator 李工: 盘点")
    office.service.tick()
    office.rounds(1)
    with office.going_round():
        outcome = office.letters.retry([message.message_id])[message.message_id]
    assert (outcome.how, outcome.text, outcome.details) == ("failed", "the flow {flow} is not running now", {"flow": FLOW})
    assert office.reader.trace(message.message_id).message.closed_as is None


def test_input_is_translated_again(office: Office) -> None:
    """Quarantined input that was corrected at the source is sent; what is still wrong stays open, and says so."""
    office.script.put((4, None), (5, None))
    office.captured()
    items = {item.input.key: item.input.item_id for item in office.reader.items(FLOW)}
    office.script.put((4, "赵六"))
    four, five = items['[["i","4"]]'], items['[["i","5"]]']
    assert office.retry(four, five) == {four: "retried", five: "failed"}
    assert office.why(five) == STILL_WRONG
    assert (4, "赵六") in office.names()


def test_input_that_was_captured_first_is_told_as_it_was_closed(office: Office) -> None:
    """The corrected row came by itself between the question and the order: superseded, not "still wrong"."""
    office.script.put((4, None))
    office.captured()
    (item,) = office.reader.items(FLOW)
    order = office.service.retry([item.input.item_id])
    waiting = office.service._orders._waiting.get_nowait()
    office.script.put((4, "赵六"))
    office.captured()
    waiting()
    assert order.result(0) == {item.input.item_id: Closed.SUPERSEDED}


def test_a_record_too_large_by_now_stays_open(office: Office) -> None:
    """The hub takes smaller messages than before: nothing is lost, the letter stays open."""
    (message,) = office.captured()
    office.judge(message, Outcome.REFUSED_FINAL)
    office.limits = Limits(body_bytes=16)
    office.reconfigure()
    assert office.retry(message.message_id) == {message.message_id: "failed"}
    assert office.reader.trace(message.message_id).message.closed_as is None
    assert office.sequences() == []


def test_an_open_letter_may_be_closed_and_nothing_else(office: Office) -> None:
    """What discard asks: open letters only."""
    (message,) = office.captured()
    assert office.letters.closable(message.message_id) == WAITING
    office.judge(message, Outcome.REFUSED_FINAL)
    assert office.letters.closable(message.message_id) is None
    assert office.letters.closable("nonsense") == UNKNOWN


def test_an_order_to_a_flow_without_a_thread_is_answered_at_its_end(office: Office) -> None:
    """Nobody waits for ever: what was ordered from a flow that ends is refused with a Conflict."""
    future = office.service.again([])
    office.service.finish()
    with pytest.raises(Conflict):
        future.result(5)


def test_a_delete_that_cannot_be_told_from_others_is_not_guessed() -> None:
    """Its key was converted on the way and it carries no data: the letter stays open and says so."""
    office = Office(Log())
    office.source.put((1, "甲"), (2, "乙"))
    office.captured()
    office.source.delete(1, 2)
    *_, refused = office.captured()
    office.judge(refused, Outcome.REFUSED_FINAL)
    ledger = office.store.tables.flows[FLOW].ledger
    for key, other in (('[["i","1"]]', '[["s","001"]]'), ('[["i","2"]]', '[["s","002"]]')):
        row, entry = ledger.pop(key)
        ledger[other] = (replace(row, key=other), entry)
    assert office.retry(refused.message_id) == {refused.message_id: "failed"}
    assert "cannot be told" in office.why(refused.message_id)
    assert office.reader.trace(refused.message_id).message.closed_as is None
