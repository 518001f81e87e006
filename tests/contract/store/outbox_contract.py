"""What every Outbox does: in order, only along the transition table, and never on less than a receipt that fits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.errors import Conflict
from agent.model import TRANSITIONS, Outcome, State, Trigger, Verdict
from agent.queries import Closed, MessageQuery
from tests.contract.store.makers import START, ZHANG, World, control_of, message_of, receipt_for, refused_record

OUTCOMES = {
    Outcome.STORED: Trigger.RECEIPT_STORED,
    Outcome.DUPLICATE: Trigger.RECEIPT_STORED,
    Outcome.PARTLY_STORED: Trigger.RECEIPT_PARTLY,
    Outcome.REFUSED_FINAL: Trigger.RECEIPT_FINAL,
    Outcome.REFUSED_RETRY: Trigger.RECEIPT_RETRY,
}


def in_state(world: World, state: State) -> str:
    """Bring a fresh message into a state and return its id."""
    message = world.capture().messages[0]
    if state is State.CONFIRMED:
        world.send()
    elif state is not State.PENDING:
        outcome = {"stored": Outcome.STORED, "partly_stored": Outcome.PARTLY_STORED, "dead": Outcome.REFUSED_FINAL}[state]
        world.receive(receipt_for(message, outcome))
    assert world.states() == {str(state): 1}
    return message.message_id


class OutboxContract:
    """Subclass it and give a fixture `world`."""

    # -- pending and confirm -------------------------------------------------------------------------------------

    def test_pending_comes_in_order_and_in_pages(self, world: World) -> None:
        """Pending entries come in the order of the appends, after the one named, and at most as many as asked for."""
        world.capture(5)
        first = world.store.pending("qszt", 0, 2)
        rest = world.store.pending("qszt", first[-1].entry_id, 10)
        assert [e.message.sequence for e in [*first, *rest]] == [1, 2, 3, 4, 5]
        assert len(first) == 2
        assert world.store.pending("qszt", rest[-1].entry_id, 10) == []
        assert world.store.pending("never-opened", 0, 10) == []

    def test_pending_is_octet_identical(self, world: World) -> None:
        """A body of any octets comes back as it was, with everything else about its message."""
        state = world.flow()
        body = bytes(range(256)) * 50
        message = message_of(state, 1, body=body)
        step = world.capture(messages=[message])
        assert step.messages == [message]
        (entry,) = world.store.pending("qszt", 0, 10)
        assert (entry.message, entry.state, entry.attempts, entry.confirmed_at) == (message, State.PENDING, 0, None)

    def test_flows_do_not_mix(self, world: World) -> None:
        """Each flow's pending entries are its own."""
        world.capture(2, flow="a")
        world.capture(1, flow="b")
        assert [e.message.flow for e in world.store.pending("b", 0, 10)] == ["b"]

    def test_confirmed_is_no_longer_pending(self, world: World) -> None:
        """A confirm moves pending entries, counts the attempt and keeps the time; twice, or for an unknown entry, is nothing."""
        world.capture(3)
        entries = world.store.pending("qszt", 0, 10)
        world.clock.advance(5)
        world.store.confirm([entries[0].entry_id, 999])
        world.store.confirm([entries[0].entry_id])
        world.store.flush()
        assert [e.entry_id for e in world.store.pending("qszt", 0, 10)] == [e.entry_id for e in entries[1:]]
        (late,) = world.store.overdue(world.clock.now() + timedelta(seconds=1), 10)
        assert (late.state, late.attempts, late.confirmed_at) == (State.CONFIRMED, 1, world.clock.now())
        assert late.message == entries[0].message

    # -- the state machine ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("outcome", OUTCOMES)
    @pytest.mark.parametrize("state", State)
    def test_a_receipt_moves_along_the_table_only(self, world: World, state: State, outcome: Outcome) -> None:
        """From every state every outcome does what the transition table says, and nothing where it says nothing."""
        message_id = in_state(world, state)
        (row,) = world.reader.find(MessageQuery(message_id=message_id))
        message = replace(message_of(world.flow(), row.sequence), message_id=message_id)
        expected = TRANSITIONS.get((state, OUTCOMES[outcome]))
        assert world.receive(receipt_for(message, outcome)) == ["repeat" if expected is None else "moved"]
        assert world.states() == {str(expected or state): 1}

    @pytest.mark.parametrize("state", State)
    def test_confirm_and_reopen_move_along_the_table_only(self, world: World, state: State) -> None:
        """From every state confirm and reopen do what the transition table says."""
        message_id = in_state(world, state)
        reopened = TRANSITIONS.get((state, Trigger.MISSING))
        assert world.store.reopen([message_id]).result() == (reopened is not None)
        now = reopened or state
        assert world.states() == {str(now): 1}
        (row,) = world.reader.find(MessageQuery(message_id=message_id))
        world.store.confirm([row.entry_id])
        world.store.flush()
        assert world.states() == {str(TRANSITIONS.get((now, Trigger.CONFIRM), now)): 1}

    @pytest.mark.parametrize("state", State)
    def test_discard_moves_along_the_table_only(self, world: World, state: State) -> None:
        """What has come to its end cannot be discarded; what has not dies."""
        message_id = in_state(world, state)
        allowed = (state, Trigger.DISCARD) in TRANSITIONS
        error = world.store.discard([message_id], [], ZHANG).exception()
        assert (error is None, isinstance(error, Conflict)) == (allowed, not allowed)
        assert world.states() == {"dead" if allowed else str(state): 1}

    # -- receipts ------------------------------------------------------------------------------------------------

    def test_a_batch_of_receipts_is_answered_one_by_one(self, world: World) -> None:
        """Each receipt of a batch gets its own verdict, in order, with what it did to which message."""
        one, two = world.capture(2).messages
        world.send()
        unknown = replace(receipt_for(one), message_id="unknown")
        fork = receipt_for(two, Outcome.FORK)
        done = world.store.settle([receipt_for(one), unknown, fork, receipt_for(two), receipt_for(one)]).result()
        assert [d.verdict for d in done] == [Verdict.MOVED, Verdict.UNKNOWN, Verdict.HELD, Verdict.MOVED, Verdict.REPEAT]
        assert [d.message_id for d in done] == [one.message_id, "unknown", two.message_id, two.message_id, one.message_id]
        assert [d.state for d in done] == [State.STORED, None, State.CONFIRMED, State.STORED, State.STORED]
        assert (done[0].flow, done[0].records, done[0].created_at) == ("qszt", 3, one.created_at)
        assert (done[1].flow, done[1].records, done[1].created_at) == ("", 0, None)
        assert world.store.settle([]).result() == []

    @pytest.mark.parametrize(
        "lie",
        [
            {"digest": b"x" * 32},
            {"digest_alg": "sm3"},
            {"sender": "510100-other"},
            {"flow": "other"},
            {"epoch": "other"},
            {"sequence": 2},
        ],
        ids=lambda lie: next(iter(lie)),
    )
    def test_a_receipt_that_does_not_fit_moves_nothing(self, world: World, lie: dict[str, object]) -> None:
        """A receipt with another digest, sender, flow, epoch or sequence is a mismatch whatever else it says."""
        (message,) = world.capture(1).messages
        world.send()
        assert world.receive(replace(receipt_for(message), **lie)) == ["mismatch"]  # type: ignore[arg-type]
        assert world.states() == {"confirmed": 1}
        assert world.reader.trace(message.message_id).receipts == []

    @pytest.mark.parametrize(
        "outcome, verdict",
        [(Outcome.REFUSED_RETRY, "moved"), (Outcome.REFUSED_FINAL, "moved"), (Outcome.STORED, "mismatch")],
    )
    def test_a_refusal_of_an_unread_message_names_no_place(self, world: World, outcome: Outcome, verdict: str) -> None:
        """The hub cannot say flow and sequence of what it could not verify; only a refusal may leave them out."""
        (message,) = world.capture(1).messages
        unread = replace(receipt_for(message, outcome), flow="", epoch="", sequence=0)
        assert world.receive(unread) == [verdict]

    def test_a_fork_moves_nothing(self, world: World) -> None:
        """A fork leaves the message as it is: the flow is to be frozen by who hears of it."""
        (message,) = world.capture(1).messages
        assert world.receive(receipt_for(message, Outcome.FORK)) == ["held"]
        assert world.states() == {"pending": 1}

    def test_a_receipt_may_overtake_the_confirm(self, world: World) -> None:
        """A message whose receipt comes before its confirm is settled, and the confirm does not bring it back."""
        (message,) = world.capture(1).messages
        (entry,) = world.store.pending("qszt", 0, 1)
        assert world.receive(receipt_for(message)) == ["moved"]
        world.store.confirm([entry.entry_id])
        world.store.flush()
        assert world.states() == {"stored": 1}

    def test_refused_for_now_goes_back_in_line(self, world: World) -> None:
        """A message refused for now is pending again under the same id, and a later receipt still settles it."""
        (message,) = world.capture(1).messages
        world.send()
        world.receive(receipt_for(message, Outcome.REFUSED_RETRY, stage="R2", code="unknown_type", stored=0))
        (entry,) = world.store.pending("qszt", 0, 1)
        assert (entry.message, entry.attempts, entry.confirmed_at) == (message, 1, None)
        (row,) = world.reader.find(MessageQuery(code="unknown_type"))
        assert row.message_id == message.message_id
        assert world.receive(receipt_for(message)) == ["moved"]
        kept = world.reader.trace(message.message_id).receipts
        assert [(r.stage, r.outcome, r.code) for r in kept] == [("R2", "refused_retry", "unknown_type"), ("R3", "stored", "")]

    def test_refused_records_are_kept_for_the_operator(self, world: World) -> None:
        """The records a partly stored message names are kept with field, code and message until somebody closes them."""
        (message,) = world.capture(1).messages
        refused = [refused_record("r1"), refused_record("r2", field="生日", code="date")]
        world.receive(receipt_for(message, Outcome.PARTLY_STORED, refused=refused, stored=1))
        assert [r.refused for r in world.reader.refusals()] == refused
        assert {r.message_id for r in world.reader.refusals()} == {message.message_id}
        world.receive(receipt_for(message, Outcome.PARTLY_STORED, refused=refused, stored=1))
        assert len(world.reader.refusals()) == 2
        assert world.states() == {"partly_stored": 1}

    def test_a_duplicate_counts_as_stored(self, world: World) -> None:
        """The hub's word that it had a message already is as good as stored; with refused records it is partly stored."""
        one, two = world.capture(2).messages
        world.receive(receipt_for(one, Outcome.DUPLICATE), receipt_for(two, Outcome.DUPLICATE, refused=[refused_record()]))
        assert world.states() == {"stored": 1, "partly_stored": 1}

    def test_the_receipt_itself_is_kept(self, world: World) -> None:
        """The signed octets of the receipt and what they say are kept as evidence."""
        (message,) = world.capture(1).messages
        receipt = receipt_for(message, body=b"\x00\xff receipt", jws="a..b")
        world.clock.advance(3)
        world.receive(receipt)
        (kept,) = world.reader.trace(message.message_id).receipts
        assert (kept.body, kept.jws, kept.kid, kept.hub) == (receipt.body, receipt.jws, receipt.kid, receipt.hub)
        assert (kept.received_at, kept.committed_at, kept.settled_at) == (START, START, world.clock.now())
        assert (kept.audit_sequence, kept.audit_hash) == (7, "ab" * 32)

    # -- reopen and overdue --------------------------------------------------------------------------------------

    def test_missing_messages_are_sent_again_in_order(self, world: World) -> None:
        """Confirmed messages the hub names missing are pending again, in their old place; all others stay."""
        messages = world.capture(4).messages
        world.send()
        world.capture(1)
        named = [messages[2].message_id, messages[0].message_id, "unknown", messages[2].message_id]
        assert world.store.reopen(named).result() == 2
        assert [e.message.sequence for e in world.store.pending("qszt", 0, 10)] == [1, 3, 5]
        assert [e.attempts for e in world.store.pending("qszt", 0, 10)] == [1, 1, 0]
        assert world.states() == {"pending": 3, "confirmed": 2}

    def test_overdue_is_the_oldest_without_a_receipt(self, world: World) -> None:
        """Confirmed entries of all flows come oldest first and are limited; receipted and younger ones are not among them."""
        world.capture(1, flow="a")
        first = world.send("a")
        world.clock.advance(60)
        second = world.capture(2, flow="b").messages
        world.send("b")
        world.clock.advance(60)
        world.capture(1, flow="c")
        world.send("c")
        world.receive(receipt_for(second[1]))
        before = world.clock.now()
        assert [e.message for e in world.store.overdue(before, 10)] == [*first, second[0]]
        assert [e.message for e in world.store.overdue(before, 1)] == first
        assert world.store.overdue(START, 10) == []

    # -- enqueue -------------------------------------------------------------------------------------------------

    def test_control_messages_stand_in_line(self, world: World) -> None:
        """A control message is sent in the order it was handed over, takes no sequence, and may be of a flow not seen before."""
        world.capture()
        void = control_of(world.flow(), "void")
        greeting = control_of(replace(world.flow(), flow="greeting"), "hello")
        world.store.enqueue([void, greeting]).result()
        world.capture()
        assert [(e.message.kind, e.message.sequence) for e in world.store.pending("qszt", 0, 9)] == [
            ("records", 1),
            ("control", 0),
            ("records", 2),
        ]
        assert [e.message for e in world.store.pending("greeting", 0, 9)] == [greeting]

    def test_records_are_never_enqueued(self, world: World) -> None:
        """A record message, or a control message with a sequence, is a Conflict, and none of its batch is enqueued."""
        state = world.flow()
        fine = control_of(state, "void")
        for bad in (message_of(state, 1), replace(control_of(state, "x"), sequence=4), fine):
            with pytest.raises(Conflict):
                world.store.enqueue([fine, bad]).result()
        assert world.store.pending("qszt", 0, 9) == []

    # -- purge ---------------------------------------------------------------------------------------------------

    def test_only_stored_bodies_are_purged_oldest_first(self, world: World) -> None:
        """Purge drops the oldest bodies of stored and partly stored messages up to its limit; the rest of a message stays."""
        outcomes = (Outcome.STORED, Outcome.PARTLY_STORED, Outcome.REFUSED_FINAL, Outcome.STORED)
        messages = world.capture(6).messages
        for message, outcome in zip(messages, outcomes, strict=False):
            world.receive(receipt_for(message, outcome))
            world.clock.advance(10)
        world.store.confirm([world.store.pending("qszt", 0, 1)[0].entry_id])
        later = world.clock.now() + timedelta(days=1)
        assert world.store.purge(START, START, 10).result() == 0
        assert [world.store.purge(later, START, 2).result() for _ in range(3)] == [2, 1, 0]
        bodies = [world.reader.entry(message.message_id) is not None for message in messages]
        assert bodies == [False, False, True, False, True, True]
        trace = world.reader.trace(messages[0].message_id)
        assert (trace.message.state, trace.message.purged_at, len(trace.receipts)) == (State.STORED, world.clock.now(), 1)
        assert world.receive(receipt_for(messages[0])) == ["repeat"]

    def test_purge_keeps_what_is_younger(self, world: World) -> None:
        """A body settled at the very moment of the cut stays."""
        (message,) = world.capture(1).messages
        world.receive(receipt_for(message))
        assert world.store.purge(world.clock.now(), START, 10).result() == 0
        assert world.reader.entry(message.message_id).message == message

    def test_what_is_known_goes_later_and_never_all_of_it(self, world: World) -> None:
        """Messages without a body are forgotten oldest first, receipts included; the newest and what a person has to see stay."""
        messages = world.capture(5).messages
        for message, refused in zip(messages, ([], [refused_record()], [], [], []), strict=True):
            world.receive(receipt_for(message, Outcome.PARTLY_STORED if refused else Outcome.STORED, refused=refused))
            world.clock.advance(10)
        later = world.clock.now() + timedelta(days=1)
        assert world.store.purge(START, later, 10).result() == 0  # a body keeps its message
        assert world.store.purge(later, START, 10).result() == 5
        assert [world.store.purge(START, later, 2).result() for _ in range(3)] == [2, 1, 0]
        known = [world.reader.trace(message.message_id) is not None for message in messages]
        assert known == [False, True, False, False, True]  # the second has a refused record that is open
        (depth,) = world.store.depth()
        assert (depth.messages[State.STORED], depth.messages[State.PARTLY_STORED]) == (1, 1)
        assert world.receive(receipt_for(messages[0])) == ["unknown"]
        (refusal,) = world.reader.refusals("qszt", limit=9)
        world.store.close_items([refusal.refused.record], Closed.DISCARDED, ZHANG).result()
        assert world.store.purge(START, later, 10).result() == 1
        (new,) = world.capture(1).messages
        world.receive(receipt_for(new))
        assert world.reader.trace(messages[4].message_id) is not None
        assert world.store.purge(later, later, 10).result() == 2
        assert [world.reader.trace(m.message_id) is not None for m in (messages[4], new)] == [False, True]

    # -- depth ---------------------------------------------------------------------------------------------------

    def test_depth_counts_by_state(self, world: World) -> None:
        """Depth counts messages and records of every flow by state, and names the oldest that waits."""
        messages = world.capture(5).messages
        world.clock.advance(10)
        world.capture(1)
        entries = world.store.pending("qszt", 0, 10)
        world.store.confirm([entries[0].entry_id, entries[1].entry_id])
        world.store.flush()
        world.receive(receipt_for(messages[1]), receipt_for(messages[2], Outcome.REFUSED_FINAL))
        world.flow("empty")
        empty, depth = world.store.depth()
        assert {state: n for state, n in depth.messages.items() if n} == {"pending": 3, "confirmed": 1, "stored": 1, "dead": 1}
        assert {state: n for state, n in depth.records.items() if n} == {"pending": 9, "confirmed": 3, "stored": 3, "dead": 3}
        assert (depth.oldest_pending, depth.oldest_confirmed) == (START, world.clock.now())
        assert (empty.flow, set(empty.messages.values()), empty.oldest_pending) == ("empty", {0}, None)
        assert set(empty.messages) == set(State)
