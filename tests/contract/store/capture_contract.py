"""What every CaptureLog does: one transaction a step, in order, exactly once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import ClassVar

import pytest

from agent.errors import Conflict, StoreFull
from agent.events import GapOpened
from agent.model import START as AT_START
from agent.model import Counters, Position
from tests.contract.store.makers import World, control_of, item_of, message_of, receipt_for, row_of, step_of


class CaptureContract:
    """Subclass it, give a fixture `world`, and say how its disk is filled and emptied."""

    fill: ClassVar[Callable[[World], None]]
    empty: ClassVar[Callable[[World], None]]

    # -- flows ---------------------------------------------------------------------------------------------------

    def test_a_new_flow_starts_at_one(self, world: World) -> None:
        """A flow seen for the first time has the epoch of the store, both counters at 1 and no position."""
        state = world.flow("新流程")
        assert (state.flow, state.epoch, state.counters) == ("新流程", world.store.epoch, Counters(1, 1))
        assert (state.position, state.incarnation, dict(state.memory)) == (AT_START, "", {})
        assert (state.paused, state.loaded, state.previous_epoch, state.announced) == ("", False, "", False)

    def test_opening_a_flow_twice_changes_nothing(self, world: World) -> None:
        """A flow that is opened again is as it was left."""
        world.capture(2, memory={"甲.csv": "sha"}, loaded=True)
        first, second = world.flow(), world.flow()
        assert first == second
        assert first.counters == Counters(3, 3)
        assert dict(first.memory) == {"甲.csv": "sha"}
        assert first.loaded

    def test_flows_lists_every_flow_without_its_memory(self, world: World) -> None:
        """`flows` returns all flows by name; memory, which can be large, is left out."""
        world.capture(flow="b", memory={"x": "y"})
        world.flow("a")
        a, b = world.store.flows()
        assert (a.flow, b.flow) == ("a", "b")
        assert b == replace(world.flow("b"), memory={})

    # -- append --------------------------------------------------------------------------------------------------

    def test_a_step_is_stored_whole(self, world: World) -> None:
        """Position, counters, memory, ledger, quarantine and messages of a step are there after it, and read back equal."""
        state = world.flow()
        step = step_of(state, 2, memory={"f": "1"}, quarantined=[item_of(1)], captured=9, unchanged=4)
        assert world.store.append(step).result() is None
        after = world.flow()
        assert (after.position, after.counters, after.incarnation) == (step.position, step.after, "source-1")
        assert dict(after.memory) == {"f": "1"}
        assert [entry.message for entry in world.store.pending("qszt", 0, 10)] == list(step.messages)
        assert world.store.known("qszt", [row.key for row in step.ledger]) == {row.key: row for row in step.ledger}
        assert [found.input for found in world.reader.items()] == [item_of(1)]
        (depth,) = world.store.depth()
        assert depth.quarantined == 1

    def test_a_step_without_messages_moves_the_position_only(self, world: World) -> None:
        """Rows that were all known, or none at all, still move the position and what the source wants to remember."""
        state = world.flow()
        step = replace(step_of(state, 0, keys=[]), position=Position("p"), captured=5, unchanged=5, memory={"m": "1"})
        world.store.append(step).result()
        after = world.flow()
        assert (after.position, after.counters, dict(after.memory)) == ("p", Counters(1, 1), {"m": "1"})
        assert world.store.pending("qszt", 0, 10) == []

    @pytest.mark.parametrize(
        "wrong",
        [
            {"before": Counters(2, 1), "after": Counters(3, 2)},
            {"before": Counters(1, 2), "after": Counters(2, 3)},
            {"epoch": "another"},
            {"flow": "never-opened"},
            {"after": Counters(3, 2)},
            {"after": Counters(1, 2)},
            {"after": Counters(2, 0)},
        ],
        ids=lambda wrong: " ".join(f"{k}={v}" for k, v in wrong.items()),
    )
    def test_a_step_that_does_not_fit_is_a_conflict(self, world: World, wrong: dict[str, object]) -> None:
        """Counters, epoch or flow other than those in the store are a Conflict, and nothing of the step is stored."""
        state = world.flow()
        step = replace(step_of(state, 1, memory={"m": "1"}, quarantined=[item_of(1)]), **wrong)  # type: ignore[arg-type]
        with pytest.raises(Conflict):
            world.store.append(step).result()
        assert world.flow() == state
        assert world.store.pending("qszt", 0, 10) == []
        assert world.store.known("qszt", [step.ledger[0].key]) == {}
        assert world.reader.items() == []

    @pytest.mark.parametrize("wrong", [{"sequence": 2}, {"flow": "other"}, {"epoch": "other"}], ids=["sequence", "flow", "epoch"])
    def test_a_message_out_of_line_is_a_conflict(self, world: World, wrong: dict[str, object]) -> None:
        """A message with a sequence, flow or epoch that is not the next of its step is refused with the whole step."""
        state = world.flow()
        step = step_of(state, 1)
        step = replace(step, messages=[replace(step.messages[0], **wrong)])  # type: ignore[arg-type]
        with pytest.raises(Conflict):
            world.store.append(step).result()
        assert world.flow() == state

    def test_a_control_message_cannot_ride_on_a_step(self, world: World) -> None:
        """A control message in a step is a Conflict: it takes no sequence."""
        state = world.flow()
        step = replace(step_of(state, 0, keys=[]), messages=[control_of(state, "void")])
        with pytest.raises(Conflict):
            world.store.append(step).result()

    def test_a_ledger_row_names_a_message_of_its_step(self, world: World) -> None:
        """A ledger row that names a message not in the step is a Conflict."""
        state = world.flow()
        step = replace(step_of(state, 1), ledger=[row_of("k", 1, 9)])
        with pytest.raises(Conflict):
            world.store.append(step).result()
        assert world.store.known("qszt", ["k"]) == {}

    def test_the_same_step_twice_is_stored_once(self, world: World) -> None:
        """A step that is appended again, by a caller that did not hear of its commit, is a Conflict and changes nothing."""
        step = world.capture(2)
        with pytest.raises(Conflict):
            world.store.append(step).result()
        assert world.states() == {"pending": 2}

    def test_a_message_id_is_stored_once(self, world: World) -> None:
        """A message with an id that is in the outbox already is a Conflict for its step and for nobody else."""
        step = world.capture(1)
        state = world.flow()
        again = step_of(state, 1)
        again = replace(again, messages=[replace(again.messages[0], message_id=step.messages[0].message_id)])
        with pytest.raises(Conflict):
            world.store.append(again).result()
        assert world.flow() == state

    def test_steps_in_flight_commit_in_order(self, world: World) -> None:
        """Several steps handed over without waiting commit one after the other, and their futures resolve in that order."""
        state = world.flow()
        order: list[int] = []
        futures = []
        for number in range(20):
            step = step_of(state, 1)
            future = world.store.append(step)
            future.add_done_callback(lambda _, number=number: order.append(number))
            futures.append(future)
            state = replace(state, counters=step.after)
        for future in futures:
            future.result()
        assert order == list(range(20))
        assert [e.message.sequence for e in world.store.pending("qszt", 0, 100)] == list(range(1, 21))

    def test_steps_after_one_that_failed_fail_too(self, world: World) -> None:
        """When a step in flight fails, those built upon it do not fit any more: no hole can open in the sequence."""
        state = world.flow()
        good = step_of(state, 1)
        bad = replace(step_of(replace(state, counters=good.after), 1), epoch="other")
        late = step_of(replace(state, counters=bad.after), 1)
        futures = [world.store.append(step) for step in (good, bad, late)]
        assert futures[0].result() is None
        for future in futures[1:]:
            assert isinstance(future.exception(), Conflict)
        assert world.flow().counters == good.after

    def test_many_threads_append_to_their_flows(self, world: World) -> None:
        """Threads that append to different flows at once all succeed, each in its own order."""
        names = [f"flow-{number}" for number in range(6)]

        def run(name: str) -> None:
            state = world.flow(name)
            for _ in range(15):
                step = step_of(state, 2)
                world.store.append(step).result()
                state = replace(state, counters=step.after)

        with ThreadPoolExecutor(len(names)) as threads:
            assert list(threads.map(run, names)) == [None] * len(names)
        for name in names:
            assert [e.message.sequence for e in world.store.pending(name, 0, 100)] == list(range(1, 31))
        assert [state.counters for state in world.store.flows()] == [Counters(31, 31)] * 6

    def test_loaded_holds_for_one_incarnation(self, world: World) -> None:
        """A first load stays complete through later steps, and starts anew when the source is another one."""
        world.capture(loaded=True)
        world.capture()
        assert world.flow().loaded
        world.capture(incarnation="source-2")
        assert not world.flow().loaded
        assert world.flow().incarnation == "source-2"

    # -- ledger --------------------------------------------------------------------------------------------------

    def test_the_ledger_keeps_the_last_of_a_key(self, world: World) -> None:
        """A key that is captured again replaces its row, a deleted key says so, and flows do not share keys."""
        key = '[["s","龘\\"\\\\"],["b","AA-_"]]'
        world.capture(keys=[key])
        state = world.flow()
        world.store.append(replace(step_of(state, 1), ledger=[row_of(key, 2, 2, deleted=True)])).result()
        found = world.store.known("qszt", [key, "unknown"])
        assert found == {key: row_of(key, 2, 2, deleted=True)}
        world.flow("other")
        assert world.store.known("other", [key]) == {}
        assert world.store.known("never-opened", [key]) == {}

    def test_the_ledger_takes_rows_of_many_messages(self, world: World) -> None:
        """Rows spread over several messages, deletes among them and gaps in their ordinals, are found as they were given."""
        state = world.flow()
        ordinals = [1, 2, 3, 7, 8, 20]
        rows = [row_of(f"k{o}", o, 1 + o % 3, deleted=o % 2 == 0) for o in ordinals]
        step = replace(step_of(state, 3), ledger=rows, after=Counters(4, 21))
        world.store.append(step).result()
        assert world.store.known("qszt", [row.key for row in rows]) == {row.key: row for row in rows}

    def test_known_sees_committed_rows_of_thousands_of_keys(self, world: World) -> None:
        """A page of keys is looked up at once; what is not there is left out; no keys is no rows."""
        step = world.capture(4, keys=[f'[["i","{number}"]]' for number in range(2000)])
        keys = [row.key for row in step.ledger]
        assert world.store.known("qszt", keys[::2]) == {row.key: row for row in step.ledger[::2]}
        assert world.store.known("qszt", []) == {}

    # -- announce ------------------------------------------------------------------------------------------------

    def test_an_epoch_is_announced_once_and_first(self, world: World) -> None:
        """The epoch-open is in the outbox ahead of every record of its epoch; announcing again does nothing."""
        state = world.flow()
        opening = control_of(state, "epoch-open")
        world.store.announce("qszt", opening).result()
        world.capture()
        world.store.announce("qszt", opening).result()
        world.store.announce("qszt", replace(opening, message_id="another")).result()
        assert [e.message.kind for e in world.store.pending("qszt", 0, 10)] == ["control", "records"]
        assert world.flow().announced

    def test_only_the_current_epoch_is_announced(self, world: World) -> None:
        """An epoch-open of another epoch or flow, or a record message, is a Conflict."""
        state = world.flow()
        wrong = [replace(control_of(state, "x"), epoch="old"), replace(control_of(state, "x"), flow="b"), message_of(state, 1)]
        for message in wrong:
            with pytest.raises(Conflict):
                world.store.announce("qszt", message).result()
        assert not world.flow().announced

    # -- quarantine ----------------------------------------------------------------------------------------------

    def test_the_same_bad_input_is_kept_once(self, world: World) -> None:
        """Reading bad input again adds nothing, and what was known about it stays."""
        world.capture(quarantined=[item_of(1), item_of(2), item_of(1)])
        world.capture(quarantined=[replace(item_of(1), raw=b"other"), item_of(3)])
        assert [found.input for found in world.reader.items()] == [item_of(1), item_of(2), item_of(3)]
        (depth,) = world.store.depth()
        assert depth.quarantined == 3

    def test_a_step_closes_items(self, world: World) -> None:
        """A step that carries the corrected record closes its item; the same bad input later does not open it again."""
        world.capture(quarantined=[item_of(1), item_of(2)])
        world.capture(closes={"item-qszt-1": "retried", "unknown": "superseded"})
        world.capture(quarantined=[item_of(1)])
        assert [found.input.item_id for found in world.reader.items()] == ["item-qszt-2"]
        closed = world.reader.item("item-qszt-1")
        assert (closed.closed_as, closed.closed_at) == ("retried", world.clock.now())
        (depth,) = world.store.depth()
        assert depth.quarantined == 1

    # -- gaps and pauses -----------------------------------------------------------------------------------------

    def test_gaps_are_numbered_and_the_same_gap_is_one(self, world: World) -> None:
        """Gaps of a flow count from 1; one that is reported again, in whatever order of details, is the same and tells once."""
        first = world.store.open_gap("qszt", "position_lost", "text", {"a": 1, "b": "二"})
        again = world.store.open_gap("qszt", "position_lost", "text", {"b": "二", "a": 1})
        second = world.store.open_gap("qszt", "position_lost", "text", {"a": 2})
        other = world.store.open_gap("other", "position_lost", "text", {"a": 1})
        assert (first, second.number, other.number) == (again, 2, 1)
        assert world.reader.gaps("qszt") == [first, second]
        told = [(event.flow, event.number) for event in world.recorder.of(GapOpened)]
        assert told == [("qszt", 1), ("qszt", 2), ("other", 1)]

    def test_a_pause_is_remembered(self, world: World) -> None:
        """A pause and its reason survive; an empty reason ends it."""
        world.store.pause("qszt", "operator: 检修")
        assert world.flow().paused == "operator: 检修"
        world.store.pause("qszt", "")
        assert world.flow().paused == ""

    # -- room ----------------------------------------------------------------------------------------------------

    def test_a_full_store_takes_what_does_not_grow_it(self, world: World) -> None:
        """Without room an append of messages or items is refused with StoreFull; positions, receipts and controls are taken."""
        sent = world.capture(2).messages
        type(self).fill(world)
        assert not world.store.room()
        state = world.flow()
        for growing in (step_of(state, 1), step_of(state, 0, keys=[], quarantined=[item_of(1)])):
            with pytest.raises(StoreFull):
                world.store.append(growing).result()
        assert world.flow() == state
        world.store.append(replace(step_of(state, 0, keys=[]), position=Position("further"))).result()
        assert world.flow().position == "further"
        assert world.receive(*[receipt_for(m) for m in sent]) == ["moved", "moved"]
        type(self).empty(world)
        assert world.store.room()
        world.capture()
