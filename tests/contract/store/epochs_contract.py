"""What every store does when it was put back from a copy: a new epoch, nothing lost, nothing out of order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.errors import Conflict
from agent.events import GapOpened
from agent.model import Counters, ExchangeMessage, Outcome, State
from agent.queries import Closed, MessageQuery, Rewrapped
from tests.contract.store.makers import ZHANG, World, control_of, message_of, receipt_for, step_of


def rewrapped(world: World, limit: int = 100, flow: str = "qszt") -> list[Rewrapped]:
    """Return the next old messages of a flow, each with the message that is to carry its records."""
    state = world.flow(flow)
    old = world.store.unsettled(flow, limit)
    return [
        (entry.message.message_id, message_of(state, sequence, body=entry.message.body))
        for sequence, entry in enumerate(old, state.counters.next_sequence)
    ]


def turn(world: World) -> list[ExchangeMessage]:
    """Leave four messages in four states behind, begin a new epoch and announce it; return the four."""
    messages = list(world.capture(4).messages)
    entries = world.store.pending("qszt", 0, 10)
    world.store.confirm([entries[0].entry_id, entries[1].entry_id])
    world.store.flush()
    world.receive(receipt_for(messages[0]), receipt_for(messages[3], Outcome.REFUSED_FINAL))
    world.store.begin_epoch("e-new", ZHANG).result()
    world.store.announce("qszt", control_of(world.flow(), "epoch-open")).result()
    return messages


class EpochsContract:
    """Subclass it and give a fixture `world`."""

    def test_a_new_epoch_starts_every_flow_anew(self, world: World) -> None:
        """Every flow is in the new epoch, unannounced, at 1 and 1, and remembers the old epoch; the source position stays."""
        world.capture(2, memory={"m": "1"}, loaded=True)
        world.flow("b")
        old = world.store.epoch
        world.store.begin_epoch("e-new", ZHANG).result()
        state = world.flow()
        assert (state.epoch, state.previous_epoch, state.announced) == ("e-new", old, False)
        assert state.counters == Counters(1, 1)
        assert (state.position, dict(state.memory), state.loaded) == ("at 3", {"m": "1"}, True)
        assert world.flow("b").epoch == world.flow("later").epoch == world.store.epoch == "e-new"
        assert world.reader.identity()[1] == "e-new"

    def test_a_new_epoch_records_a_gap_per_flow(self, world: World) -> None:
        """Each flow gets a numbered gap that says where the old epoch had got to, and the alarm is raised."""
        world.capture(2)
        old = world.store.epoch
        world.store.begin_epoch("e-new", ZHANG).result()
        (gap,) = world.reader.gaps()
        assert (gap.flow, gap.number, gap.kind) == ("qszt", 1, "store_restored")
        assert dict(gap.details) == {"epoch": old, "next_sequence": 3, "next_ordinal": 3}
        assert [(e.flow, e.number, e.kind) for e in world.recorder.of(GapOpened)] == [("qszt", 1, "store_restored")]
        assert [(a.action, a.subject) for a in world.reader.actions()] == [("begin-epoch", "e-new")]

    def test_the_same_epoch_twice_is_a_conflict(self, world: World) -> None:
        """An epoch cannot follow itself."""
        world.flow()
        with pytest.raises(Conflict):
            world.store.begin_epoch(world.store.epoch, ZHANG).result()
        assert world.reader.gaps() == []

    def test_old_messages_are_not_sent(self, world: World) -> None:
        """What is left of the old epoch waits apart, confirmed or not; what had come to its end stays there."""
        messages = turn(world)
        assert [e.message.epoch for e in world.store.pending("qszt", 0, 10)] == ["e-new"]
        assert [e.message for e in world.store.unsettled("qszt", 10)] == [messages[1], messages[2]]
        assert [e.message for e in world.store.unsettled("qszt", 1)] == [messages[1]]
        assert world.store.unsettled("b", 10) == []
        assert world.states() == {"stored": 1, "dead": 1, "pending": 3}

    def test_old_control_messages_die(self, world: World) -> None:
        """What the agent had to say about the old epoch is not said any more."""
        state = world.flow()
        world.store.announce("qszt", control_of(state, "epoch-open")).result()
        world.store.enqueue([control_of(state, "void")]).result()
        world.store.confirm([1])
        world.store.begin_epoch("e-new", ZHANG).result()
        assert world.states() == {"dead": 2}
        assert world.store.unsettled("qszt", 10) == []
        assert world.reader.causes() == []
        world.capture()

    def test_nothing_is_captured_before_the_old_is_rewrapped(self, world: World) -> None:
        """A flow with messages left behind takes no append until all are re-wrapped: what was captured first stays first."""
        turn(world)
        with pytest.raises(Conflict):
            world.store.append(step_of(world.flow(), 1)).result()
        for _ in range(2):
            with pytest.raises(Conflict):
                world.store.append(step_of(world.flow(), 1)).result()
            world.store.rewrap("qszt", rewrapped(world, limit=1)).result()
        world.capture()
        assert [e.message.sequence for e in world.store.pending("qszt", 0, 10)] == [0, 1, 2, 3]

    def test_rewrapping_carries_everything_over(self, world: World) -> None:
        """The new messages are in line under new ids, the old ones are superseded by them, and both can be traced."""
        messages = turn(world)
        pairs = rewrapped(world)
        world.store.rewrap("qszt", pairs).result()
        assert [e.message for e in world.store.pending("qszt", 0, 10)][1:] == [new for _, new in pairs]
        assert world.flow().counters == Counters(3, 1)
        assert world.store.unsettled("qszt", 10) == []
        old = world.reader.trace(messages[1].message_id).message
        assert (old.state, old.closed_as, old.superseded_by) == (State.DEAD, Closed.SUPERSEDED, pairs[0][1].message_id)
        assert world.reader.trace(pairs[0][1].message_id).supersedes == [messages[1].message_id]
        assert [c.count for c in world.reader.causes()] == [1]
        assert len(world.reader.find(MessageQuery(state=State.DEAD))) == 3

    def test_a_late_receipt_of_the_old_epoch(self, world: World) -> None:
        """A receipt for an old message settles it while it still waits, and is a repeat once it was re-wrapped."""
        messages = turn(world)
        assert world.receive(receipt_for(messages[1])) == ["moved"]
        pairs = rewrapped(world)
        assert [old for old, _ in pairs] == [messages[2].message_id]
        world.store.rewrap("qszt", pairs).result()
        assert world.receive(receipt_for(messages[2])) == ["repeat"]
        assert world.receive(receipt_for(pairs[0][1])) == ["moved"]

    def test_receipts_may_settle_all_that_was_left(self, world: World) -> None:
        """When receipts settle everything left behind, re-wrapping nothing lets the flow go on."""
        messages = turn(world)
        world.receive(receipt_for(messages[1]), receipt_for(messages[2]))
        world.store.rewrap("qszt", []).result()
        world.capture()
        assert world.flow().counters == Counters(2, 2)

    def test_rewrapping_out_of_order_is_a_conflict(self, world: World) -> None:
        """Old messages in another order, unknown ones, wrong sequences or a flow not announced are a Conflict; nothing moves."""
        turn(world)
        good = rewrapped(world)
        swapped = [(good[1][0], good[0][1]), (good[0][0], good[1][1])]
        skipped = [(good[1][0], good[0][1])]
        stale = [(good[0][0], replace(good[0][1], sequence=5)), good[1]]
        unknown = [("unknown", good[0][1])]
        for bad in (swapped, skipped, stale, unknown):
            with pytest.raises(Conflict):
                world.store.rewrap("qszt", bad).result()
        assert len(world.store.unsettled("qszt", 10)) == 2
        with pytest.raises(Conflict):
            world.store.rewrap("never-opened", good).result()

    def test_an_epoch_is_announced_before_anything_is_rewrapped(self, world: World) -> None:
        """Re-wrapping before the epoch-open is in line is a Conflict."""
        world.capture(1)
        world.store.begin_epoch("e-new", ZHANG).result()
        with pytest.raises(Conflict):
            world.store.rewrap("qszt", rewrapped(world)).result()

    def test_restoring_twice(self, world: World) -> None:
        """A restore in the middle of a restore leaves nothing behind: what was re-wrapped and what was not both wait again."""
        messages = turn(world)
        first = rewrapped(world, limit=1)
        world.store.rewrap("qszt", first).result()
        world.store.begin_epoch("e-newer", ZHANG).result()
        waiting = [e.message.message_id for e in world.store.unsettled("qszt", 10)]
        assert waiting == [messages[2].message_id, first[0][1].message_id]
        world.store.announce("qszt", control_of(world.flow(), "epoch-open")).result()
        world.store.rewrap("qszt", rewrapped(world)).result()
        assert world.flow().previous_epoch == "e-new"
        assert [g.number for g in world.reader.gaps()] == [1, 2]
