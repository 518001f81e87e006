"""What every KeyLedger does: keys are placed in chunks by appends, and what is in no chunk is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

import pytest

from agent.errors import Conflict, StoreFull
from agent.model import Placing, Position
from agent.queries import Operator
from tests.contract.store.makers import ZHANG, World, control_of, row_of, step_of

EVER = 1 << 60


def keys_of(*numbers: int) -> list[str]:
    """Return canonical keys; their order as text is not that of the numbers."""
    return [f'[["i","{number}"]]' for number in numbers]


def place(world: World, chunk: int, keys: Sequence[str], flow: str = "qszt") -> None:
    """Let a chunk hold these keys, in a step without messages."""
    step = step_of(world.flow(flow), 0, keys=[])
    world.store.append(replace(step, placed=Placing(chunk, keys))).result()


def delete(world: World, keys: Sequence[str]) -> None:
    """Capture deletes of these keys."""
    step = step_of(world.flow(), 1, keys=keys)
    world.store.append(replace(step, ledger=[replace(row, deleted=True) for row in step.ledger])).result()


def turn(world: World, epoch: str, by: Operator = ZHANG) -> None:
    """Begin a new epoch with nothing left of the old one."""
    world.send()
    world.store.begin_epoch(epoch, by).result()
    state = world.flow()
    world.store.announce("qszt", control_of(state, "epoch-open")).result()
    old = world.store.unsettled("qszt", 1000)
    fresh = step_of(state, len(old), keys=["unused"] * len(old)).messages if old else []
    pairs = [(entry.message.message_id, message) for entry, message in zip(old, fresh, strict=True)]
    world.store.rewrap("qszt", pairs).result()


class CompareContract:
    """Subclass it, give a fixture `world`, and say how its disk is filled and emptied."""

    fill: ClassVar[Callable[[World], None]]
    empty: ClassVar[Callable[[World], None]]

    # -- what is in no chunk -----------------------------------------------------------------------------------------

    def test_what_is_captured_is_in_no_chunk(self, world: World) -> None:
        """Keys of loads and streams are unplaced until a chunk is said to hold them; a deleted key never is."""
        world.capture(keys=keys_of(3, 1, 20))
        delete(world, keys_of(3, 4))
        assert world.store.alive("qszt") == 2
        assert world.store.unplaced("qszt", EVER, "", 10) == keys_of(1, 20)
        assert world.store.count_unplaced("qszt", EVER) == 2
        assert world.store.touched("qszt", 0) == frozenset()

    def test_unplaced_keys_come_in_pages(self, world: World) -> None:
        """Each page begins behind the last key of the one before, in the order of their text; the last page is empty."""
        world.capture(keys=[*keys_of(10, 9, 100, 2), '[["s","龘"]]', '[["s","𠮷"]]', '[["s","a\\"b"]]'])
        found: list[str] = []
        while page := world.store.unplaced("qszt", EVER, found[-1] if found else "", 2):
            assert len(page) <= 2
            found += page
        assert found == [*keys_of(10, 100, 2, 9), '[["s","a\\"b"]]', '[["s","龘"]]', '[["s","𠮷"]]']
        assert world.store.count_unplaced("qszt", EVER) == len(found)

    def test_only_what_is_older_than_the_walk_is_unplaced(self, world: World) -> None:
        """Keys captured at the ordinal the walk began with, or later, are not among the unplaced."""
        world.capture(keys=keys_of(1, 2))
        began = world.flow().counters.next_ordinal
        world.capture(keys=keys_of(2, 3))
        assert world.store.unplaced("qszt", began, "", 10) == keys_of(1)
        assert world.store.count_unplaced("qszt", began) == 1
        assert world.store.count_unplaced("qszt", 1) == 0

    def test_a_flow_nobody_opened_has_no_keys(self, world: World) -> None:
        """Every question about an unknown flow has an empty answer, and so has a flow without rows."""
        world.flow("empty")
        for flow in ("never-opened", "empty"):
            assert (world.store.alive(flow), world.store.count_unplaced(flow, EVER)) == (0, 0)
            assert world.store.unplaced(flow, EVER, "", 10) == []
            assert world.store.touched(flow, 0) == frozenset()
            assert world.store.unplace(flow).result() is None
        assert [state.flow for state in world.store.flows()] == ["empty"]

    # -- placing -----------------------------------------------------------------------------------------------------

    def test_a_chunk_holds_what_it_was_said_to_hold(self, world: World) -> None:
        """Placed keys are in their chunk; those that were in it and are not placed again are in none."""
        world.capture(keys=keys_of(1, 2, 3, 4))
        place(world, 0, keys_of(1, 2))
        place(world, 1, keys_of(3, 4))
        assert world.store.unplaced("qszt", EVER, "", 10) == []
        place(world, 0, keys_of(1))
        place(world, 1, keys_of(4, 3))
        assert world.store.unplaced("qszt", EVER, "", 10) == keys_of(2)
        assert world.store.touched("qszt", 0) == {0, 1}

    def test_placing_changes_nothing_else(self, world: World) -> None:
        """The rows of placed keys are what they were, and messages, counters and flows beside it stay."""
        step = world.capture(keys=keys_of(1, 2))
        world.capture(flow="other", keys=keys_of(1, 2))
        state = world.flow()
        place(world, 5, keys_of(1, 2))
        assert world.store.known("qszt", keys_of(1, 2)) == {row.key: row for row in step.ledger}
        assert world.flow() == state
        assert world.store.count_unplaced("other", EVER) == 2

    def test_placing_again_changes_nothing(self, world: World) -> None:
        """The same chunk with the same keys twice, named twice or not, is as once."""
        world.capture(keys=keys_of(1, 2, 3))
        for keys in (keys_of(1, 2), keys_of(2, 1), keys_of(1, 1, 2)):
            place(world, 0, keys)
            assert world.store.unplaced("qszt", EVER, "", 10) == keys_of(3)

    def test_a_key_moves_between_chunks(self, world: World) -> None:
        """A key placed in another chunk is in that one only: its former chunk may be placed without it."""
        world.capture(keys=keys_of(1, 2))
        place(world, 0, keys_of(1, 2))
        place(world, 1, keys_of(2))
        place(world, 0, keys_of(1))
        assert world.store.unplaced("qszt", EVER, "", 10) == []
        place(world, 1, [])
        assert world.store.unplaced("qszt", EVER, "", 10) == keys_of(2)

    def test_keys_of_the_same_step_are_placed(self, world: World) -> None:
        """Keys that come into the ledger with the step that places them are in the chunk; unknown keys are ignored."""
        step = step_of(world.flow(), 1, keys=keys_of(1, 2))
        world.store.append(replace(step, placed=Placing(0, keys_of(1, 7)))).result()
        assert world.store.unplaced("qszt", EVER, "", 10) == keys_of(2)
        assert world.store.known("qszt", keys_of(7)) == {}
        world.capture(keys=keys_of(7))
        assert world.store.unplaced("qszt", EVER, "", 10) == keys_of(2, 7)

    def test_a_key_that_changes_keeps_its_chunk(self, world: World) -> None:
        """A key that is captured again, deleted or back again stays in its chunk."""
        world.capture(keys=keys_of(1, 2))
        place(world, 3, keys_of(1, 2))
        world.capture(keys=keys_of(1))
        delete(world, keys_of(2))
        assert (world.store.alive("qszt"), world.store.count_unplaced("qszt", EVER)) == (1, 0)
        world.capture(keys=keys_of(2))
        assert (world.store.alive("qszt"), world.store.count_unplaced("qszt", EVER)) == (2, 0)
        place(world, 3, [])
        assert world.store.unplaced("qszt", EVER, "", 10) == keys_of(1, 2)

    def test_a_deleted_key_stays_in_its_chunk(self, world: World) -> None:
        """A deleted key that its chunk no longer holds is not taken out: it tells that the chunk was touched."""
        world.capture(keys=keys_of(1, 2))
        place(world, 3, keys_of(1, 2))
        since = world.flow().counters.next_ordinal
        delete(world, keys_of(2))
        place(world, 3, keys_of(1))
        assert world.store.touched("qszt", since) == {3}
        assert world.store.count_unplaced("qszt", EVER) == 0

    def test_a_step_that_fails_places_nothing(self, world: World) -> None:
        """A step that is a Conflict leaves every key in its chunk."""
        world.capture(keys=keys_of(1, 2))
        place(world, 0, keys_of(1, 2))
        step = step_of(world.flow(), 1, keys=keys_of(3))
        for wrong in (replace(step, epoch="other"), replace(step, ledger=[row_of("k", 3, 99)])):
            with pytest.raises(Conflict):
                world.store.append(replace(wrong, placed=Placing(0, keys_of(1)))).result()
        assert (world.store.alive("qszt"), world.store.count_unplaced("qszt", EVER)) == (2, 0)

    def test_thousands_of_keys_are_placed_at_once(self, world: World) -> None:
        """A chunk of some thousands of keys is placed in one step, and found without those that left it."""
        keys = keys_of(*range(4000))
        world.capture(keys=keys)
        place(world, 0, keys[:2000])
        place(world, 4_294_967_295, keys[2000:])
        assert world.store.count_unplaced("qszt", EVER) == 0
        place(world, 0, keys[:1990])
        assert world.store.unplaced("qszt", EVER, "", 100) == sorted(keys[1990:2000])
        assert world.store.touched("qszt", 0) == {0, 4_294_967_295}

    def test_a_full_store_places_nothing(self, world: World) -> None:
        """Placing makes the store grow: without room its step is refused with StoreFull, and later it is taken."""
        world.capture(keys=keys_of(1))
        type(self).fill(world)
        state = world.flow()
        step = replace(step_of(state, 0, keys=[]), position=Position("further"), placed=Placing(0, keys_of(1)))
        with pytest.raises(StoreFull):
            world.store.append(step).result()
        assert (world.flow(), world.store.count_unplaced("qszt", EVER)) == (state, 1)
        type(self).empty(world)
        world.store.append(step).result()
        assert world.store.count_unplaced("qszt", EVER) == 0

    # -- chunks that were touched, and forgetting --------------------------------------------------------------------

    def test_touched_chunks_have_a_key_captured_since(self, world: World) -> None:
        """The chunks of keys captured at an ordinal or later are told; keys in no chunk touch none."""
        world.capture(keys=keys_of(1, 2, 3, 4))
        for number in (1, 2, 3):
            place(world, number, keys_of(number))
        since = world.flow().counters.next_ordinal
        assert world.store.touched("qszt", since) == frozenset()
        world.capture(keys=keys_of(2, 4))
        delete(world, keys_of(3))
        assert world.store.touched("qszt", since) == {2, 3}
        assert world.store.touched("qszt", since + 1) == {3}
        assert world.store.touched("qszt", 0) == {1, 2, 3}

    def test_chunks_can_be_forgotten(self, world: World) -> None:
        """After `unplace` no key of the flow is in a chunk, numbers may be used again, and other flows keep theirs."""
        for flow in ("qszt", "other"):
            world.capture(flow=flow, keys=keys_of(1, 2, 3))
            place(world, 0, keys_of(1, 2, 3), flow)
        for _ in range(2):
            assert world.store.unplace("qszt").result() is None
            assert world.store.count_unplaced("qszt", EVER) == 3
            assert world.store.touched("qszt", 0) == frozenset()
            assert (world.store.count_unplaced("other", EVER), world.store.touched("other", 0)) == (0, {0})
            place(world, 0, keys_of(1, 2))
            assert world.store.unplaced("qszt", EVER, "", 10) == keys_of(3)
            place(world, 0, keys_of(1))
            assert world.store.unplaced("qszt", EVER, "", 10) == keys_of(2, 3)
            place(world, 0, keys_of(1, 2, 3))

    # -- across epochs -----------------------------------------------------------------------------------------------

    def test_what_an_earlier_epoch_captured_is_older_than_all_of_this_one(self, world: World) -> None:
        """Ordinals begin anew with an epoch: keys of the one before count as older than a walk, however high theirs are."""
        world.capture(keys=keys_of(1, 2, 3))
        place(world, 7, keys_of(1))
        turn(world, "e-next")
        assert world.flow().counters.next_ordinal == 1
        assert world.store.unplaced("qszt", 1, "", 10) == keys_of(2, 3)
        assert world.store.touched("qszt", 0) == frozenset()
        world.capture(keys=keys_of(1, 2, 4))
        assert world.store.unplaced("qszt", 1, "", 10) == keys_of(3)
        assert world.store.unplaced("qszt", 3, "", 10) == keys_of(2, 3)
        assert world.store.touched("qszt", 1) == {7}
        assert world.store.alive("qszt") == 4
