"""A source whose columns changed, as the host sees it: a gap, a pause, and a resume that accepts."""

from __future__ import annotations

from agent.errors import SourceChanged
from agent.events import FlowPaused, GapOpened
from agent.model import SHAPE_ACCEPTED, SHAPE_OFFERED, Append
from tests.unit.services.capture_kit import FLOW, Bench


def changed(difference: str = "+ email TEXT", shape: str = "new") -> SourceChanged:
    return SourceChanged(flow=FLOW, table="t", difference=difference, shape=shape)


def stop(bench: Bench, error: SourceChanged) -> None:
    """Let the source refuse to read on."""
    bench.script.fail("read", error)
    bench.service.tick()
    bench.rounds(4)


def remember(bench: Bench, **facts: str) -> None:
    now = bench.store.open_flow(FLOW)
    memory = {name.replace("_", ":"): text for name, text in facts.items()}
    bench.store.append(Append(FLOW, now.epoch, now.incarnation, now.counters, now.counters, now.position, memory=memory)).result()


def test_changed_columns_are_a_numbered_gap_and_a_pause() -> None:
    """The gap tells the difference; what the source knew of its columns by then is what a resume accepts."""
    bench = Bench()
    bench.script.put((1, "A"))
    bench.run()
    stop(bench, changed())
    state = bench.store.open_flow(FLOW)
    assert state.paused == "source: schema_changed"
    assert state.memory[SHAPE_ACCEPTED] == "new"
    (gap,) = bench.store.tables.flows[FLOW].gaps
    assert (gap.number, gap.kind, gap.details) == (1, "schema_changed", {"table": "t", "difference": "+ email TEXT"})
    assert [event.kind for event in bench.recorder.of(GapOpened)] == ["schema_changed"]
    assert [event.by for event in bench.recorder.of(FlowPaused)] == ["source"]


def test_a_resumed_flow_reads_on_where_it_was() -> None:
    """Nothing is read from the beginning, and nothing is sent twice."""
    bench = Bench()
    bench.script.put((1, "A"))
    bench.run()
    position = bench.store.open_flow(FLOW).position
    stop(bench, changed())
    bench.script.put((2, "B"))
    bench.restart()
    bench.service.tick()
    bench.rounds(4)
    assert bench.names() == [(1, "A")]
    assert bench.store.open_flow(FLOW).position == position
    bench.store.pause(FLOW, "")
    bench.run()
    assert bench.names() == [(1, "A"), (2, "B")]


def test_the_same_change_stops_the_flow_again_although_its_gap_is_still_open() -> None:
    """A gap that nobody closed is no acceptance of what happens later."""
    bench = Bench()
    bench.run()
    stop(bench, changed())
    bench.store.pause(FLOW, "")
    bench.clock.advance(60)
    bench.run()
    stop(bench, changed())
    assert bench.store.open_flow(FLOW).paused == "source: schema_changed"


def test_a_pause_accepts_what_the_source_offered() -> None:
    """Columns that the source knew before an operator's pause are accepted by the resume; without an offer nothing is."""
    bench = Bench()
    bench.run()
    bench.store.pause(FLOW, "operator: looking")
    bench.service.tick()
    bench.rounds(3)
    assert SHAPE_ACCEPTED not in bench.store.open_flow(FLOW).memory
    bench.store.pause(FLOW, "")
    bench.run()
    remember(bench, shape_offered="newer")
    bench.restart()
    bench.store.pause(FLOW, "operator: looking")
    bench.service.tick()
    bench.rounds(3)
    memory = bench.store.open_flow(FLOW).memory
    assert (memory[SHAPE_ACCEPTED], memory[SHAPE_OFFERED]) == ("newer", "")


def test_a_full_disk_keeps_nothing_from_being_paused() -> None:
    """The facts may have to wait for room; the pause and the gap do not."""
    bench = Bench()
    bench.run()
    bench.store.fill_disk()
    stop(bench, changed())
    assert bench.store.open_flow(FLOW).paused == "source: schema_changed"
