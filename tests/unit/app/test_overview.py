"""The overview: what needs a person, once and at the root."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from agent.app.overview import FlowLine, Live, Overview, gather, reason_of
from agent.app.witness import Fault, FlowNews, Loading
from agent.model import Outcome
from agent.settings.agent_file import AgentFile, AgentSection, FlowSection, HubSection
from agent.testing.clock import FakeClock
from agent.testing.memory_reader import MemoryReader
from agent.testing.memory_store import MemoryStore
from agent.testing.recorder import EventRecorder
from tests.contract.store.makers import AGENT, START, World, item_of, receipt_for

UP = {"publish": None, "consume": None}


@pytest.fixture
def world() -> World:
    clock = FakeClock(START)
    store = MemoryStore(AGENT, clock=clock)
    return World(store, MemoryReader(store), clock, EventRecorder())


def settings(*flows: str) -> AgentFile:
    sections = {flow: FlowSection.model_construct(title=f"《{flow}》") for flow in flows}
    return AgentFile.model_construct(
        agent=AgentSection.of(id=AGENT), hub=HubSection.model_construct(receipt_within=timedelta(minutes=10)), send=sections
    )


def look(world: World, live: Live | None = None, *flows: str, **more: Any) -> Overview:
    return gather(settings(*(flows or ("qszt",))), world.reader, live, world.clock.now(), **more)


def kinds(overview: Overview) -> list[str]:
    return [todo.kind for todo in overview.todo]


def line(overview: Overview, flow: str = "qszt") -> FlowLine:
    return next(one for one in overview.flows if one.flow == flow)


def test_a_healthy_agent_needs_nobody(world: World) -> None:
    """It runs, both links are open, everything has its receipt."""
    step = world.capture(2)
    world.clock.advance(8)
    world.receive(*map(receipt_for, step.messages))
    world.clock.advance(5)
    overview = look(world, Live(UP))
    assert (overview.healthy, overview.todo, overview.last_receipt_secs) == (True, [], 5.0)
    assert (line(overview).captured_today, line(overview).stored_today, line(overview).waiting) == (6, 6, 0)


def test_it_travels_over_the_socket_unchanged(world: World) -> None:
    """As JSON, with everything in it."""
    world.capture(1, quarantined=[item_of(1)])
    live = Live({"publish": Fault("x", details={"a": "b"}), "consume": None}, {"qszt": FlowNews(loading=Loading(1, 2, 3.0))})
    overview = look(world, live)
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(overview)), Overview) == overview


def test_a_stopped_agent_is_one_line(world: World) -> None:
    """Its flows are not lines of their own."""
    world.capture(1)
    overview = look(world)
    assert (kinds(overview), overview.running, line(overview).state) == (["stopped"], False, "stopped")
    silent = look(world, answering=False)
    assert (kinds(silent), silent.running, silent.answering) == (["silent"], True, False)


def test_a_broker_that_is_down_is_one_line(world: World) -> None:
    """However many links and flows suffer."""
    fault = Fault("gone")
    overview = look(world, Live({"publish": fault, "consume": fault}), "a", "b")
    assert kinds(overview) == ["broker"]
    assert overview.todo[0].fault == fault
    assert overview.connected == {"publish": False, "consume": False}


@pytest.mark.parametrize(
    "stored, news, by, why, kind",
    [
        ("operator 李工: 盘点", FlowNews(), "operator", "盘点 (李工)", "paused-operator"),
        ("fork", FlowNews(), "fork", "fork", "paused-fork"),
        ("source: position_lost", FlowNews(), "source", "position_lost", "paused-source"),
        ("", FlowNews(by="hub", why="unknown_type"), "hub", "unknown_type", "paused-hub"),
        ("operator 李工: 盘点", FlowNews(by="hub", why="quota"), "operator", "盘点 (李工)", "paused-operator"),
    ],
)
def test_a_paused_flow_names_who_and_why(world: World, stored: str, news: FlowNews, by: str, why: str, kind: str) -> None:
    """What is stored counts more than what lasts for now."""
    world.capture(1)
    world.store.pause("qszt", stored)
    overview = look(world, Live(UP, {"qszt": news}))
    assert (line(overview).state, line(overview).by, line(overview).why) == ("paused", by, why)
    assert kinds(overview) == [kind]


def test_a_full_disk_is_one_line(world: World) -> None:
    """The flows it pauses are not."""
    live = Live(UP, {flow: FlowNews(by="disk", why="full") for flow in ("a", "b")}, disk="/var")
    overview = look(world, live, "a", "b")
    assert kinds(overview) == ["disk"]
    assert {one.state for one in overview.flows} == {"paused"}


def test_flows_are_in_their_states(world: World) -> None:
    """Loading, running, waiting for the source, drained after removal."""
    world.capture(1, flow="loaded", loaded=True)
    world.capture(1, flow="removed")
    live = Live(UP, {"waiting": FlowNews(source=Fault("gone")), "new": FlowNews(loading=Loading(1, 10, None))})
    overview = look(world, live, "loaded", "new", "waiting")
    assert {one.flow: one.state for one in overview.flows} == {
        "loaded": "running",
        "new": "loading",
        "waiting": "waiting",
        "removed": "removed",
    }
    assert line(overview, "new").loading == Loading(1, 10, None)
    assert kinds(overview) == ["source"]


def test_receipts_that_are_late_are_told(world: World) -> None:
    """After receipt_within, not before; messages that wait to be sent are not late."""
    world.capture(1)
    world.send()
    world.clock.advance(599)
    assert kinds(look(world, Live(UP))) == []
    world.clock.advance(2)
    overdue = look(world, Live(UP)).todo[0]
    assert (overdue.kind, overdue.count) == ("overdue", 1)


def test_open_dead_letters_and_gaps_are_told_and_closed_ones_are_not(world: World) -> None:
    """Input explains itself, refusals by their code."""
    from agent.queries import Closed
    from tests.contract.store.makers import ZHANG

    step = world.capture(1, quarantined=[item_of(1, line=7)])
    world.receive(receipt_for(step.messages[0], Outcome.REFUSED_FINAL, code="malformed"))
    gap = world.store.open_gap("qszt", "position_lost", "x", {})
    overview = look(world, Live(UP))
    assert kinds(overview) == ["dead", "dead", "gap"]
    faults = {todo.fault.code: todo.fault.text for todo in overview.todo if todo.fault}
    assert faults == {"malformed": "", "not_a_number": "field {field}: {why}"}
    assert line(overview).dead == 2
    world.store.close_items([step.messages[0].message_id, item_of(1).item_id], Closed.DISCARDED, ZHANG)
    world.store.close_gap("qszt", gap.number, ZHANG)
    assert look(world, Live(UP)).healthy


@pytest.mark.parametrize("days, kind", [(90, None), (59, "certificate"), (0, "certificate"), (-1, "certificate-over")])
def test_a_certificate_is_told_in_time(world: World, days: int, kind: str | None) -> None:
    """Sixty days before its end, and after it."""
    expiry = world.clock.now() + timedelta(days=days, hours=1)
    assert kinds(look(world, Live(UP), certificates=[("agent.crt", expiry)])) == ([kind] if kind else [])


def test_services_that_hang_are_told(world: World) -> None:
    """By name."""
    stuck = look(world, Live(UP, stuck=["delivery"])).todo[0]
    assert (stuck.kind, stuck.why) == ("stuck", "delivery")


def test_stored_reasons_are_read_back() -> None:
    """As desk, greeting and capture write them."""
    assert reason_of("operator 李工: 盘点: 第二次") == ("operator", "盘点: 第二次 (李工)")
    assert reason_of("fork") == ("fork", "fork")
    assert reason_of("source: source_replaced") == ("source", "source_replaced")
