"""What every KeyLedger says of where the last version of a key has got to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agent.model import Outcome, State
from agent.model.handshake import Whereabouts
from tests.contract.store.compare_contract import delete, keys_of, turn
from tests.contract.store.makers import ZHANG, World, receipt_for, refused_record


def of(world: World, number: int, flow: str = "qszt") -> Whereabouts:
    """Return where one key has got to."""
    (key,) = keys_of(number)
    found: Whereabouts = world.store.whereabouts(flow, [key])[key]
    return found


def state_of(world: World, number: int) -> State | None:
    """Return the state of the message that carries a key."""
    return of(world, number).state


class HandshakeContract:
    """Subclass it and give a fixture `world`."""

    def test_keys_that_were_never_captured_are_left_out(self, world: World) -> None:
        """Neither unknown keys nor those of another or an unknown flow have an answer."""
        world.capture(keys=keys_of(1, 2))
        world.capture(flow="other", keys=keys_of(3))
        assert list(world.store.whereabouts("qszt", keys_of(2, 3, 4))) == keys_of(2)
        assert world.store.whereabouts("qszt", []) == {}
        assert world.store.whereabouts("never-opened", keys_of(1)) == {}

    def test_an_answer_names_the_version_it_is_about(self, world: World) -> None:
        """Hash, ordinal and deletion are the ledger's, the epoch is that of the message."""
        step = world.capture(keys=keys_of(1, 2))
        delete(world, keys_of(2))
        row = step.ledger[0]
        assert of(world, 1) == Whereabouts(row.hash, row.ordinal, deleted=False, epoch=step.epoch, state=State.PENDING)
        assert of(world, 2).deleted

    @pytest.mark.parametrize(
        "outcome, state",
        [
            (Outcome.STORED, State.STORED),
            (Outcome.DUPLICATE, State.STORED),
            (Outcome.REFUSED_FINAL, State.DEAD),
            (Outcome.REFUSED_RETRY, State.PENDING),
        ],
    )
    def test_the_state_of_the_message_counts(self, world: World, outcome: Outcome, state: State) -> None:
        """What is said of a message is said of every key that it carried last."""
        step = world.capture(keys=keys_of(1, 2))
        world.send()
        assert state_of(world, 1) is State.CONFIRMED
        world.receive(receipt_for(step.messages[0], outcome, code="bad_type", text="no such type"))
        for number in (1, 2):
            found = of(world, number)
            assert (found.state, found.code, found.text) == (state, "bad_type", "no such type")

    def test_only_the_last_version_counts(self, world: World) -> None:
        """A key that was captured again waits, whatever became of its earlier version."""
        first = world.capture(keys=keys_of(1, 2))
        world.capture(keys=keys_of(2))
        world.receive(receipt_for(first.messages[0]))
        assert (state_of(world, 1), state_of(world, 2)) == (State.STORED, State.PENDING)

    def test_refused_records_come_with_their_message(self, world: World) -> None:
        """The records that a partly stored message lost are told, in their order, and only with that message."""
        first, second = world.capture(keys=keys_of(1, 2)), world.capture(keys=keys_of(3))
        refused = [refused_record("r1"), refused_record("r2", "name", "too_short")]
        world.receive(receipt_for(first.messages[0], Outcome.PARTLY_STORED, refused=refused), receipt_for(second.messages[0]))
        assert (of(world, 1).state, list(of(world, 2).refused)) == (State.PARTLY_STORED, refused)
        assert list(of(world, 3).refused) == []

    def test_a_message_that_was_given_up(self, world: World) -> None:
        """What an operator discarded is dead and has no code of the hub."""
        step = world.capture(keys=keys_of(1))
        world.store.discard([step.messages[0].message_id], [], ZHANG).result()
        assert (of(world, 1).state, of(world, 1).code) == (State.DEAD, "")

    def test_messages_that_stand_for_others(self, world: World) -> None:
        """After a new epoch the message counts that carries the records now; the epoch is still that of the first."""
        step = world.capture(keys=keys_of(1))
        turn(world, "e-1")
        turn(world, "e-2")
        assert (of(world, 1).state, of(world, 1).epoch) == (State.PENDING, step.epoch)
        self.settle_all(world)
        assert (of(world, 1).state, of(world, 1).epoch) == (State.STORED, step.epoch)

    def test_a_message_that_is_forgotten_was_stored(self, world: World) -> None:
        """Keys outlive what is known of the messages that carried them."""
        for number in (1, 2):
            world.capture(keys=keys_of(number))
        turn(world, "e-1")
        self.settle_all(world)
        world.capture(keys=keys_of(9))
        world.clock.advance(86400)
        while world.store.purge(world.clock.now(), world.clock.now() - timedelta(seconds=1), 100).result():
            pass
        assert [state_of(world, number) for number in (1, 2)] == [None, None]
        assert state_of(world, 9) is State.PENDING

    @staticmethod
    def settle_all(world: World, flow: str = "qszt", **more: Any) -> None:
        """Let the hub store everything that waits."""
        waiting: Sequence[Any] = world.store.pending(flow, 0, 1000)
        world.receive(*(replace(receipt_for(entry.message), **more) for entry in waiting))
