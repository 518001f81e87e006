"""What every store tells operators and lets them change."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.errors import Conflict
from agent.model import Outcome, State
from agent.queries import Activity, CauseKind, Closed, MessageQuery
from tests.contract.store.makers import START, ZHANG, World, control_of, item_of, message_of, receipt_for, refused_record


class OversightContract:
    """Subclass it and give a fixture `world`."""

    # -- find and trace ------------------------------------------------------------------------------------------

    def test_find_pages_by_key_newest_first(self, world: World) -> None:
        """Messages come newest first, page by page, none twice and none left out."""
        world.capture(7)
        seen: list[int] = []
        before: int | None = None
        while page := world.reader.find(MessageQuery(before=before, limit=3)):
            seen += [row.sequence for row in page]
            before = page[-1].entry_id
        assert seen == [7, 6, 5, 4, 3, 2, 1]

    def test_find_narrows_by_everything(self, world: World) -> None:
        """Flow, id, state, refusal code and time each narrow what is found, alone and together."""
        old = world.capture(2, flow="a").messages
        world.clock.advance(3600)
        new = world.capture(2, flow="b").messages
        world.receive(receipt_for(old[0], Outcome.REFUSED_FINAL, code="malformed"), receipt_for(new[0]))

        def ids(**query: object) -> list[str]:
            return [row.message_id for row in world.reader.find(MessageQuery(**query))]  # type: ignore[arg-type]

        assert ids(flow="a") == [old[1].message_id, old[0].message_id]
        assert ids(message_id=new[1].message_id) == [new[1].message_id]
        assert ids(state=State.STORED) == [new[0].message_id]
        assert ids(state=State.DEAD) == ids(code="malformed") == [old[0].message_id]
        assert ids(state=State.PENDING, flow="b") == [new[1].message_id]
        assert ids(since=world.clock.now()) == [new[1].message_id, new[0].message_id]
        assert ids(until=world.clock.now()) == [old[1].message_id, old[0].message_id]
        assert ids(flow="a", state=State.STORED) == []
        assert ids(limit=1) == [new[1].message_id]

    def test_find_within_a_time_pages_by_time(self, world: World) -> None:
        """Where times are given the pages are in the order of the times, though the clock was set back in between."""
        world.capture(2)
        world.clock.step(START - timedelta(hours=1))
        world.capture(2)
        world.clock.step(START + timedelta(hours=1))
        world.capture(1)
        seen: list[int] = []
        query = MessageQuery(since=START - timedelta(days=1), until=START + timedelta(hours=1), limit=3)
        while page := world.reader.find(query):
            seen += [row.sequence for row in page]
            query = replace(query, before=page[-1].entry_id)
        assert seen == [2, 1, 4, 3]

    def test_find_by_business_key(self, world: World) -> None:
        """A key, canonical or as the bare text of a single field, finds the message that carried it last."""
        world.capture(2, keys=['[["s","5101"]]', '[["i","7"],["s","乙"]]'])
        newer = world.capture(1, keys=['[["s","5101"]]']).messages[0]
        older = world.capture(1, flow="other", keys=['[["i","42"]]']).messages[0]
        assert [r.message_id for r in world.reader.find(MessageQuery(key="5101"))] == [newer.message_id]
        assert [r.message_id for r in world.reader.find(MessageQuery(key="42"))] == [older.message_id]
        assert [r.sequence for r in world.reader.find(MessageQuery(key='[["i","7"],["s","乙"]]'))] == [2]
        assert world.reader.find(MessageQuery(key="unknown")) == []

    def test_a_trace_tells_everything(self, world: World) -> None:
        """A trace has every time, attempt and digest of a message; an unknown id has none."""
        (message,) = world.capture(1).messages
        world.clock.advance(1)
        world.send()
        confirmed_at = world.clock.now()
        world.clock.advance(1)
        world.receive(receipt_for(message, Outcome.PARTLY_STORED, refused=[refused_record()]))
        trace = world.reader.trace(message.message_id)
        row = trace.message
        assert (row.created_at, row.confirmed_at, row.settled_at, row.purged_at) == (
            START,
            confirmed_at,
            world.clock.now(),
            None,
        )
        assert (row.flow, row.epoch, row.sequence, row.records, row.attempts) == ("qszt", message.epoch, 1, 3, 1)
        assert (row.digest_alg, row.digest, row.kid, row.size_bytes) == ("sha-256", message.digest, "kid-1", len(message.body))
        assert ([r.outcome for r in trace.receipts], len(trace.refused), trace.supersedes) == (["partly_stored"], 1, [])
        assert world.reader.trace("unknown") is None
        assert world.reader.entry("unknown") is None

    # -- dead letters --------------------------------------------------------------------------------------------

    def test_dead_letters_are_grouped_by_cause(self, world: World) -> None:
        """Messages, records and input with the same cause are one line with their number and their first and last time."""
        messages = world.capture(3, quarantined=[item_of(1), item_of(2), item_of(3, reason="encoding")]).messages
        first = world.clock.now()
        world.receive(receipt_for(messages[0], Outcome.REFUSED_FINAL, code="malformed"))
        world.receive(receipt_for(messages[1], Outcome.PARTLY_STORED, refused=[refused_record("a"), refused_record("b")]))
        world.clock.advance(60)
        world.receive(receipt_for(messages[2], Outcome.PARTLY_STORED, refused=[refused_record("c")]))
        causes = world.reader.causes()
        assert [(c.kind, c.code, c.field, c.count) for c in causes] == [
            (CauseKind.RECORD, "check_digit", "owner_id", 3),
            (CauseKind.INPUT, "not_a_number", "amount", 2),
            (CauseKind.INPUT, "encoding", "amount", 1),
            (CauseKind.MESSAGE, "malformed", "", 1),
        ]
        assert (causes[0].first, causes[0].last) == (first, world.clock.now())

    def test_closing_takes_a_dead_letter_off_the_list(self, world: World) -> None:
        """Items, refused records and dead messages are closed by their ids, once, and the auditor can see who did it."""
        messages = world.capture(2, quarantined=[item_of(1)]).messages
        world.receive(receipt_for(messages[0], Outcome.REFUSED_FINAL, code="malformed"))
        world.receive(receipt_for(messages[1], Outcome.PARTLY_STORED, refused=[refused_record("r1")]))
        subjects = ["item-qszt-1", "r1", messages[0].message_id, messages[1].message_id, "unknown"]
        assert world.store.close_items(subjects, Closed.DISCARDED, ZHANG).result() == 3
        assert world.store.close_items(subjects, Closed.RETRIED, ZHANG).result() == 0
        assert world.reader.causes() == []
        assert (world.reader.items(), world.reader.refusals()) == ([], [])
        assert [i.closed_as for i in world.reader.items(closed=True)] == [Closed.DISCARDED]
        assert [r.closed_as for r in world.reader.refusals(closed=True)] == [Closed.DISCARDED]
        done = world.reader.actions(limit=5)
        assert {(a.user, a.action, a.why) for a in done} == {("张工", "close", "省中心要求")}

    def test_items_are_paged_and_narrowed(self, world: World) -> None:
        """Quarantined input comes in the order of its arrival, by flow and reason, page by page."""
        world.capture(1, quarantined=[item_of(n) for n in range(5)])
        world.capture(1, flow="b", quarantined=[item_of(9, flow="b", reason="encoding", line=3, why="坏字节")])
        first = world.reader.items("qszt", limit=2)
        rest = world.reader.items("qszt", after=first[-1].number)
        assert [i.input for i in [*first, *rest]] == [item_of(n) for n in range(5)]
        assert [i.input.flow for i in world.reader.items(reason="encoding")] == ["b"]
        found = world.reader.item("item-b-9")
        assert dict(found.input.details) == {"line": 3, "why": "坏字节"}
        assert found.input.raw == item_of(9).raw
        assert world.reader.item("unknown") is None

    def test_refusals_are_paged_and_narrowed(self, world: World) -> None:
        """Refused records come in the order of their arrival, by flow and code, page by page."""
        one, two = world.capture(2).messages
        world.receive(receipt_for(one, Outcome.PARTLY_STORED, refused=[refused_record(f"r{n}") for n in range(3)]))
        world.receive(receipt_for(two, Outcome.PARTLY_STORED, refused=[refused_record("other", code="date")]))
        first = world.reader.refusals(limit=2)
        rest = world.reader.refusals(after=first[-1].number)
        assert [r.refused.record for r in [*first, *rest]] == ["r0", "r1", "r2", "other"]
        assert [r.refused.record for r in world.reader.refusals("qszt", "date")] == ["other"]
        assert world.reader.refusals("b") == []

    # -- discard -------------------------------------------------------------------------------------------------

    def test_discarding_voids_in_the_same_step(self, world: World) -> None:
        """Discarded messages die, their voids stand in line and the auditor sees each of them."""
        one, two, three = world.capture(3).messages
        world.send()
        void = control_of(world.flow(), "void")
        world.store.discard([one.message_id, three.message_id], [void], ZHANG).result()
        assert world.states() == {"dead": 2, "confirmed": 1, "pending": 1}
        assert [e.message for e in world.store.pending("qszt", 0, 9)] == [void]
        assert {(a.action, a.subject, a.why) for a in world.reader.actions()} == {
            ("discard", one.message_id, ZHANG.why),
            ("discard", three.message_id, ZHANG.why),
        }
        assert world.reader.causes() == []
        assert world.reader.trace(one.message_id).message.closed_as is Closed.DISCARDED
        assert world.receive(receipt_for(one), receipt_for(two)) == ["repeat", "moved"]

    def test_discarding_is_all_or_nothing(self, world: World) -> None:
        """When one of the messages has come to its end or is unknown, none is discarded and no void is sent."""
        one, two = world.capture(2).messages
        world.receive(receipt_for(two))
        void = control_of(world.flow(), "void")
        for other in (two.message_id, "unknown"):
            with pytest.raises(Conflict):
                world.store.discard([one.message_id, other], [void], ZHANG).result()
        assert world.states() == {"pending": 1, "stored": 1}
        with pytest.raises(Conflict):
            world.store.discard([one.message_id], [replace(void, sequence=1)], ZHANG).result()
        assert world.states() == {"pending": 1, "stored": 1}
        assert world.reader.actions() == []

    # -- gaps, actions, activity ---------------------------------------------------------------------------------

    def test_a_closed_gap_opens_again_under_a_new_number(self, world: World) -> None:
        """Closing a gap is noted; the same thing happening again is a new gap."""
        world.store.open_gap("qszt", "position_lost", "text", {"a": 1})
        assert world.store.close_gap("qszt", 1, ZHANG).result() is True
        assert world.store.close_gap("qszt", 1, ZHANG).result() is False
        assert world.reader.gaps() == []
        assert world.store.open_gap("qszt", "position_lost", "text", {"a": 1}).number == 2
        closed, reopened = world.reader.gaps(closed=True)
        assert (closed.closed_at, reopened.closed_at) == (world.clock.now(), None)
        assert [a.action for a in world.reader.actions()] == ["close-gap"]

    def test_actions_are_paged_newest_first(self, world: World) -> None:
        """What operators did comes newest first with who, when, what and why."""
        for number in range(5):
            world.store.note("resend", f"m{number}", ZHANG).result()
        first = world.reader.actions(limit=2)
        rest = world.reader.actions(before=first[-1].action_id)
        assert [a.subject for a in [*first, *rest]] == ["m4", "m3", "m2", "m1", "m0"]
        assert (first[0].user, first[0].action, first[0].why, first[0].at) == ("张工", "resend", "省中心要求", START)

    def test_activity_is_summed_over_hours(self, world: World) -> None:
        """What a flow did is summed over whole hours; hours outside are left out."""
        one = world.capture(1, captured=10, unchanged=7, quarantined=[item_of(1)]).messages[0]
        world.clock.advance(3600)
        world.receive(receipt_for(one, Outcome.PARTLY_STORED, stored=2, refused=[refused_record()]))
        world.capture(2, captured=6)
        eight = START.replace(minute=0, second=0, microsecond=0)
        first = Activity("qszt", captured=10, unchanged=7, messages=1, records=3, quarantined=1)
        second = Activity("qszt", captured=6, messages=2, records=6, stored=2, refused=1)
        both = Activity("qszt", 16, 7, 3, 9, 2, 1, 1)
        hour = timedelta(hours=1)
        assert world.reader.activity(eight, eight + hour) == [first]
        assert world.reader.activity(eight + hour, eight + 2 * hour) == [second]
        assert world.reader.activity(eight, eight + 2 * hour) == [both]
        assert world.reader.activity(eight + timedelta(microseconds=1), eight + 2 * hour) == [second]
        assert world.reader.activity(eight - hour, eight) == []

    def test_the_last_receipt_has_a_time(self, world: World) -> None:
        """The time of the last receipt is known; before the first there is none."""
        one, two = world.capture(2).messages
        assert world.reader.last_receipt() is None
        world.receive(receipt_for(one))
        world.clock.advance(5)
        world.receive(receipt_for(two), receipt_for(one))
        assert world.reader.last_receipt() == world.clock.now()

    def test_the_reader_sees_what_the_store_sees(self, world: World) -> None:
        """Identity, flows and depth read the same from outside; nothing is damaged."""
        world.capture(2, quarantined=[item_of(1)])
        assert world.reader.identity() == (world.store.agent_id, world.store.epoch)
        assert world.reader.flows() == world.store.flows()
        assert world.reader.depth() == world.store.depth()
        assert world.reader.check() == []

    # -- what a message still stands for ---------------------------------------------------------------------------

    def test_a_message_carries_the_last_version_of_its_keys(self, world: World) -> None:
        """Keys that a later message carries are not among them; the rest come in the order of their ordinals."""
        first = world.capture(1, keys=["k1", "k2", "k3"]).messages[0]
        second = world.capture(1, keys=["k2"]).messages[0]
        world.capture(1, flow="other", keys=["k1"])
        assert [(row.key, row.ordinal) for row in world.reader.carried(first.message_id)] == [("k1", 1), ("k3", 3)]
        assert [(row.key, row.ordinal) for row in world.reader.carried(second.message_id)] == [("k2", 4)]
        assert world.reader.carried("unknown") == []

    def test_a_message_that_stands_for_others_carries_what_they_carried(self, world: World) -> None:
        """After two restores the newest message has the keys of the oldest."""
        world.capture(1, keys=["k1", "k2"])
        for epoch in ("e-new", "e-newer"):
            world.store.begin_epoch(epoch, ZHANG).result()
            world.store.announce("qszt", control_of(world.flow(), "epoch-open")).result()
            (left,) = world.store.unsettled("qszt", 10)
            new = message_of(world.flow(), 1)
            world.store.rewrap("qszt", [(left.message.message_id, new)]).result()
        assert [row.key for row in world.reader.carried(new.message_id)] == ["k1", "k2"]

    def test_the_refusals_of_one_record(self, world: World) -> None:
        """A record that was refused twice has two refusals, oldest first; another record has none."""
        one, two = world.capture(2).messages
        refused = refused_record("r1")
        world.receive(receipt_for(one, Outcome.PARTLY_STORED, refused=[refused]))
        world.receive(receipt_for(two, Outcome.PARTLY_STORED, refused=[refused]))
        assert [refusal.message_id for refusal in world.reader.refused("r1")] == [one.message_id, two.message_id]
        assert world.reader.refused("r2") == []
