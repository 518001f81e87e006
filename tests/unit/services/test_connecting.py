"""Two connections to one broker: each waits politely, and neither waits on once the other has got through."""

from __future__ import annotations

import pytest

from agent.errors import Forbidden
from agent.events import BrokerConnected, BrokerLost, Events
from agent.services.connecting import LastContact, Opener
from agent.testing.clock import FakeClock
from agent.testing.recorder import EventRecorder


class Door:
    """A connection that is refused or let in."""

    def __init__(self) -> None:
        self.refuses = True
        self.knocks = 0

    def open(self) -> None:
        self.knocks += 1
        if self.refuses:
            raise Forbidden

    def close(self) -> None:
        pass


class Side:
    """One opener with its door."""

    def __init__(self, role: str, recorder: EventRecorder, clock: FakeClock, luck: float, contact: LastContact) -> None:
        self.door = Door()
        self.opener = Opener(role, self.door, Events(recorder), clock, lambda: luck, contact=contact)
        self.opener.ring()

    def round(self) -> None:
        """Do what a service does in a round, without waiting."""
        self.opener.ring()
        try:
            if not self.opener.is_open:
                self.opener.open()
        except Forbidden as error:
            self.opener.lose(error)


@pytest.fixture
def recorder() -> EventRecorder:
    """Records what was told."""
    return EventRecorder()


@pytest.fixture
def clock() -> FakeClock:
    """Stands still unless it is told."""
    return FakeClock()


@pytest.fixture
def sides(recorder: EventRecorder, clock: FakeClock) -> tuple[Side, Side]:
    """Publishing and consuming, both refused a moment ago."""
    contact = LastContact()
    publish = Side("publish", recorder, clock, 0.5, contact)  # the shorter delay
    consume = Side("consume", recorder, clock, 0.0, contact)
    publish.round()
    consume.round()
    clock.advance(1)
    return publish, consume


def test_a_pause_is_kept(sides: tuple[Side, Side]) -> None:
    """Refused once, nobody knocks again before the delay is over."""
    for _ in range(5):
        for side in sides:
            side.round()
    assert [side.door.knocks for side in sides] == [1, 1]


def test_one_gets_through_and_the_other_follows(sides: tuple[Side, Side], recorder: EventRecorder, clock: FakeClock) -> None:
    """Somebody admits the node: the side whose turn comes first takes the other along, whatever that one's delay."""
    publish, consume = sides
    for side in sides:
        side.door.refuses = False
    soon, late = [event.delay_secs for event in recorder.of(BrokerLost)]
    assert soon + 1 < late
    clock.advance(soon)
    publish.round()
    assert publish.opener.is_open
    consume.round()
    assert consume.opener.is_open
    assert [event.role for event in recorder.of(BrokerConnected)] == ["publish", "consume"]


def test_who_is_still_refused_knocks_once_more_only(sides: tuple[Side, Side], recorder: EventRecorder, clock: FakeClock) -> None:
    """One side's rights are missing: the other one's success is worth one attempt, not one in every round."""
    publish, consume = sides
    publish.door.refuses = False
    clock.advance(recorder.of(BrokerLost)[0].delay_secs)
    publish.round()
    for _ in range(5):
        consume.round()
    assert consume.door.knocks == 2
    assert recorder.of(BrokerLost)[-1].delay_secs > 0
