"""What only a running agent knows: links, sources, pauses, room, and how far a first load is."""

from __future__ import annotations

from agent.app.witness import NOT_YET, Fault, FlowNews, Loading, Witness
from agent.errors import NotConnected, SourceRefused
from agent.events import (
    BrokerConnected,
    BrokerLost,
    DiskLow,
    DiskRecovered,
    FirstLoadAdvanced,
    FirstLoadCompleted,
    FlowPaused,
    FlowResumed,
    ForkDetected,
    ServiceStarted,
    SourceLost,
    SourceOpened,
)
from agent.testing.clock import FakeClock


def test_links_are_unknown_then_open_then_lost() -> None:
    """With the reason as it can be told in any language."""
    witness = Witness(FakeClock())
    assert witness.links() == {"publish": NOT_YET, "consume": NOT_YET}
    witness(BrokerConnected("publish"))
    witness(BrokerLost("consume", NotConnected(why="refused"), 1.0))
    assert witness.links()["publish"] is None
    assert witness.links()["consume"] == Fault(NotConnected.text, NotConnected.hint, "HT-N001", {"why": "refused"})


def test_a_foreign_error_is_named_without_its_text() -> None:
    """Its text may hold anything."""
    witness = Witness(FakeClock())
    witness(BrokerLost("publish", ValueError("a person's name"), 1.0))
    assert witness.links()["publish"] == Fault("ValueError")


def test_a_source_is_lost_and_found() -> None:
    """The last word counts."""
    witness = Witness(FakeClock())
    witness(SourceLost("f", SourceRefused(why="no grant"), 1.0))
    assert witness.flows()["f"].source == Fault.of(SourceRefused(why="no grant"))
    witness(SourceOpened("f"))
    assert witness.flows()["f"].source is None


def test_pauses_come_with_who_and_why() -> None:
    """An error that came with it is kept; a fork is one too; a resume takes them away."""
    witness = Witness(FakeClock())
    witness(FlowPaused("f", "source", "no table", SourceRefused(why="no table")))
    assert (witness.flows()["f"].by, witness.flows()["f"].pause) == ("source", Fault.of(SourceRefused(why="no table")))
    witness(ForkDetected("f", "e"))
    assert (witness.flows()["f"].by, witness.flows()["f"].pause) == ("fork", None)
    witness(FlowResumed("f", "operator"))
    assert witness.flows()["f"] == FlowNews()


def test_room_is_gone_and_back() -> None:
    """The path that is full."""
    witness = Witness(FakeClock())
    witness(DiskLow("/var", 1, 2))
    assert witness.disk() == "/var"
    witness(DiskRecovered("/var", 3))
    assert witness.disk() == ""


def test_a_first_load_has_an_end_in_sight() -> None:
    """At the average speed of this run; rows that an earlier run loaded do not count as fast."""
    clock = FakeClock()
    witness = Witness(clock)
    witness(FirstLoadAdvanced("f", 500, 1000))
    assert witness.flows()["f"].loading == Loading(500, 1000, None)
    clock.advance(10)
    witness(FirstLoadAdvanced("f", 600, 1000))
    assert witness.flows()["f"].loading == Loading(600, 1000, 40.0)
    witness(FirstLoadAdvanced("f", 1100, 1000))
    assert witness.flows()["f"].loading == Loading(1100, 1000, 0.0)
    witness(FirstLoadAdvanced("f", 1200, None))
    assert witness.flows()["f"].loading == Loading(1200, None, None)
    witness(FirstLoadCompleted("f", 1200))
    assert witness.flows()["f"].loading is None


def test_other_events_are_no_news() -> None:
    """Nothing is made of them."""
    witness = Witness(FakeClock())
    witness(ServiceStarted("x"))
    assert witness.flows() == {}
