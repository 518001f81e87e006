"""How a flow's capture lives: opening, reading, resting, failing, being told what to do."""

from __future__ import annotations

import threading

import pytest

from agent.errors import (
    Conflict,
    Disposition,
    SourceGone,
    SourceRefused,
    SourceUnavailable,
    StoreError,
    StoreFull,
    disposition,
)
from agent.events import (
    FirstLoadAdvanced,
    FirstLoadCompleted,
    FlowCaptured,
    FlowPaused,
    FlowResumed,
    GapOpened,
    ServiceFailed,
    ServiceStarted,
    ServiceStopped,
    SourceLost,
    SourceOpened,
)
from agent.model import START
from agent.testing.scripted_source import ScriptedSource
from tests.unit.services.capture_kit import FLOW, Bench, SlowLog, until

# -- what is durable, and when -----------------------------------------------------------------------------------------


def test_the_source_is_committed_and_delivery_woken_after_the_append() -> None:
    """Nobody is told of a step before the store has it."""
    bench = Bench(log=SlowLog)
    log = bench.log
    assert isinstance(log, SlowLog)
    bench.script.put((1, "A"))
    with bench.running():
        until(lambda: log.waiting != [])
        notified = bench.notified
        assert bench.script.committed == []
        log.speed_up()
    assert bench.script.committed == ["1"]
    assert bench.notified == notified + 1


def test_steps_in_flight_are_discarded_with_the_one_that_failed() -> None:
    """When an append fails, nothing behind it counts; reading goes on from what the store holds, and nothing is lost."""
    bench = Bench(log=SlowLog, page_rows=1, in_flight=8)
    log = bench.log
    assert isinstance(log, SlowLog)
    bench.script.put(*((n, "x") for n in range(5)))
    with bench.running():
        until(lambda: len(log.waiting) == 5)
        bench.store.fill_disk()
        log.commit(5)
        until(lambda: bench.recorder.of(FlowPaused) != [])
        assert bench.sent() == []
        assert bench.script.committed == []
        log.speed_up()
        bench.store.fill_disk(full=False)
    assert bench.names() == [(n, "x") for n in range(5)]
    assert bench.sequences() == [1, 2, 3, 4, 5]


def test_rows_in_flight_are_known_to_the_ledger() -> None:
    """A row that comes again while its first step is in flight is no second event."""
    bench = Bench(ScriptedSource(overlap=3), log=SlowLog, page_rows=2, in_flight=8)
    log = bench.log
    assert isinstance(log, SlowLog)
    bench.script.put(*((n, "x") for n in range(6)))
    with bench.running():
        until(lambda: len(log.waiting) == 3)
        log.speed_up()
    assert bench.names() == [(n, "x") for n in range(6)]


def test_the_next_page_is_read_while_one_is_translated() -> None:
    """A page that says there is more is followed by the next read at once, not after its append."""
    bench = Bench(log=SlowLog, page_rows=1, in_flight=1)
    log = bench.log
    assert isinstance(log, SlowLog)
    bench.script.put((1, "A"), (2, "B"), (3, "C"))
    with bench.running():
        until(lambda: len(log.waiting) == 1)  # and nothing is durable, however long we wait
        until(lambda: bench.script.calls["read"] == 2)
        log.speed_up()


def test_what_was_durable_is_committed_again_when_the_source_opens() -> None:
    """A crash between append and commit is made good when the source is opened."""
    bench = Bench()
    bench.script.put((1, "A"))
    bench.run()
    bench.restart()
    bench.script.committed.clear()
    bench.rounds(2)
    assert bench.script.committed[0] == "1"


def test_nothing_new_writes_nothing() -> None:
    """A pass that finds nothing leaves the store untouched."""
    bench = Bench()
    bench.script.put((1, "A"))
    bench.run()
    activity = dict(bench.store.tables.activity)
    bench.run()
    bench.run()
    assert bench.store.tables.activity == activity
    assert len(bench.recorder.of(FlowCaptured)) == 1


def test_events_say_how_much_and_never_what() -> None:
    """FlowCaptured counts; no event of capture holds a value of a row."""
    bench = Bench(ScriptedSource(overlap=2))
    bench.script.put((1, "绝密甲"), (2, "绝密乙"), (3, None))
    bench.script.put_unreadable("绝密丙".encode())
    bench.run()
    (event,) = bench.recorder.of(FlowCaptured)
    assert (event.rows, event.records, event.messages, event.quarantined) == (4, 2, 1, 2)
    assert event.body_bytes > 0
    assert not any("绝密" in repr(event) for event in bench.recorder.events)


# -- the first load ----------------------------------------------------------------------------------------------------


def test_the_first_load_tells_its_progress_and_its_end() -> None:
    """Progress is told while loading, the end once, and the store remembers it."""
    bench = Bench(ScriptedSource(first_load=True), page_rows=2)
    bench.script.put(*((n, "x") for n in range(7)))
    bench.run()
    assert bench.recorder.of(FirstLoadAdvanced)[0].total == 7
    assert [event.done for event in bench.recorder.of(FirstLoadCompleted)] == [7]
    assert bench.store.open_flow(FLOW).loaded
    bench.restart()
    bench.run()
    assert len(bench.recorder.of(FirstLoadCompleted)) == 1


class Counting(SlowLog):
    """Counts how often the ledger is asked."""

    asked = 0

    def known(self, flow: str, keys: object) -> object:
        self.asked += 1
        return self._store.known(flow, keys)  # type: ignore[arg-type]


def test_a_first_load_into_an_empty_ledger_does_not_ask_it() -> None:
    """While a new flow loads, the ledger cannot know any key; afterwards it is asked."""
    bench = Bench(ScriptedSource(first_load=True), log=Counting, page_rows=2)
    log = bench.log
    assert isinstance(log, Counting)
    log.speed_up()
    bench.script.put(*((n, "x") for n in range(7)))
    bench.run()
    assert log.asked == 0
    bench.script.put((3, "y"))
    bench.run()
    assert log.asked == 1
    assert bench.names()[-1] == (3, "y")


def test_a_first_load_goes_on_without_the_ledger_after_a_reconnect() -> None:
    """A source that was away for a moment does not make the rest of the load slower."""
    bench = Bench(ScriptedSource(first_load=True), log=Counting, page_rows=2)
    log = bench.log
    assert isinstance(log, Counting)
    log.speed_up()
    bench.script.put(*((n, "x") for n in range(9)))
    bench.rounds(3)
    bench.script.fail("read", SourceUnavailable(why="away"))
    bench.rounds(4)
    bench.clock.advance(5)
    bench.run()
    assert bench.names() == [(n, "x") for n in range(9)]
    assert log.asked == 0


def test_a_first_load_resumed_by_another_process_asks_the_ledger() -> None:
    """Only the process that found the ledger empty may leave it unasked."""
    bench = Bench(ScriptedSource(first_load=True), log=Counting, page_rows=2)
    log = bench.log
    assert isinstance(log, Counting)
    log.speed_up()
    bench.script.put(*((n, "x") for n in range(9)))
    bench.rounds(4)
    bench.restart()
    bench.run()
    assert bench.names() == [(n, "x") for n in range(9)]
    assert log.asked > 0


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["open", "read", "commit"])
def test_a_source_that_is_away_is_opened_again_later(call: str) -> None:
    """SourceUnavailable closes, waits with a growing pause and goes on where the store is; nothing is lost or doubled."""
    bench = Bench()
    bench.script.put((1, "A"))
    bench.script.fail(call, SourceUnavailable(why="away"), SourceUnavailable(why="away"))  # type: ignore[arg-type]
    for _ in range(12):
        bench.rounds(3)
        bench.clock.advance(10)
    bench.script.put((2, "B"))
    bench.run()
    assert bench.names() == [(1, "A"), (2, "B")]
    lost = bench.recorder.of(SourceLost)
    assert [event.delay_secs for event in lost] == [0.5, 1.0]
    assert bench.script.calls["close"] >= 2


def test_no_call_is_made_during_the_pause() -> None:
    """Between two attempts the source is left alone."""
    bench = Bench()
    bench.script.fail("open", SourceUnavailable(why="away"))
    bench.rounds(3)
    opened = bench.script.calls["open"]
    bench.rounds(3)
    assert bench.script.calls["open"] == opened
    bench.clock.advance(1)
    bench.rounds(2)
    assert bench.script.calls["open"] == opened + 1


def test_a_source_that_refuses_pauses_the_flow_until_it_does_not() -> None:
    """SourceRefused is told as a pause, tried again slowly, and told as resumed when it works."""
    bench = Bench()
    bench.script.put((1, "A"))
    bench.script.fail("read", SourceRefused(why="no grant"), SourceRefused(why="no grant"))
    bench.rounds(4)
    (paused,) = bench.recorder.of(FlowPaused)
    assert (paused.by, paused.reason) == ("source", "the source refuses: no grant")
    bench.clock.advance(9)
    bench.rounds(3)
    assert bench.script.calls["read"] == 1
    bench.clock.advance(100)
    bench.rounds(4)
    bench.clock.advance(100)
    bench.run()
    assert len(bench.recorder.of(FlowPaused)) == 1
    assert [event.by for event in bench.recorder.of(FlowResumed)] == ["source"]
    assert bench.names() == [(1, "A")]
    assert bench.store.open_flow(FLOW).paused == ""


def test_a_map_that_does_not_fit_the_source_pauses_the_flow() -> None:
    """A column that the map names and the source lacks is said, and nothing is sent."""
    bench = Bench(ScriptedSource(columns=("id", "nam")))
    bench.script.put((1, "A"))
    bench.rounds(4)
    (paused,) = bench.recorder.of(FlowPaused)
    assert paused.by == "source"
    assert "name" in paused.reason
    assert bench.sent() == []


def test_a_full_disk_pauses_capture_and_it_resumes_alone() -> None:
    """StoreFull pauses with an alarm, is not tried again before there is room, and nothing is lost or doubled."""
    bench = Bench()
    bench.script.put((1, "A"))
    bench.run()
    bench.store.fill_disk()
    bench.script.put((2, "B"))
    bench.service.tick()
    bench.rounds(6)
    reads = bench.script.calls["read"]
    bench.rounds(5)
    assert bench.script.calls["read"] == reads
    assert [event.by for event in bench.recorder.of(FlowPaused)] == ["disk"]
    bench.store.fill_disk(full=False)
    bench.run()
    assert [event.by for event in bench.recorder.of(FlowResumed)] == ["disk"]
    assert bench.names() == [(1, "A"), (2, "B")]


def test_a_broken_store_ends_the_service() -> None:
    """StoreError is fatal: the process ends and is started again."""
    bench = Bench()
    bench.run()
    bench.script.put((1, "A"))
    bench.store.fail_next(StoreError(why="I/O error"))
    with pytest.raises(StoreError):
        bench.run()
    assert disposition(StoreError(why="")) is Disposition.FATAL


def test_another_writer_ends_the_service() -> None:
    """Counters that moved on in the store mean that somebody else writes: fatal."""
    bench = Bench()
    bench.run()
    bench.script.put((1, "A"))
    other = Bench(ScriptedSource(), store=bench.store)
    other.script.put((9, "Z"))
    other.run()
    with pytest.raises(Conflict):
        bench.run()


# -- gaps --------------------------------------------------------------------------------------------------------------


def test_a_lost_position_is_a_numbered_gap_and_a_pause() -> None:
    """SourceGone opens one gap and pauses; a restart neither opens another nor goes on by itself."""
    bench = Bench()
    bench.script.put((1, "A"))
    bench.run()
    bench.script.fail("read", SourceGone(position="1", why="log truncated", flow=FLOW))
    bench.service.tick()
    bench.rounds(4)
    assert [event.kind for event in bench.recorder.of(GapOpened)] == ["position_lost"]
    assert [event.by for event in bench.recorder.of(FlowPaused)] == ["source"]
    bench.restart()
    bench.service.tick()
    bench.rounds(4)
    assert len(bench.recorder.of(GapOpened)) == 1
    assert bench.store.open_flow(FLOW).paused == "source: position_lost"


def test_after_a_gap_an_operator_lets_the_flow_begin_anew() -> None:
    """Resumed after a gap, the source is read from its beginning; what did not change is not sent again."""
    bench = Bench()
    bench.script.put((1, "A"), (2, "B"))
    bench.run()
    gone = SourceGone(position="2", why="log truncated", flow=FLOW)
    bench.script.fail("read", gone)
    bench.service.tick()
    bench.rounds(4)
    bench.script.put((3, "C"))
    bench.clock.advance(60)
    bench.store.pause(FLOW, "")
    bench.script.fail("read", gone)  # of course it still does not know that position
    bench.service.tick()
    bench.rounds(6)
    bench.run()
    assert bench.names() == [(1, "A"), (2, "B"), (3, "C")]
    assert len(bench.recorder.of(GapOpened)) == 1


def test_another_source_in_place_of_the_old_is_a_gap() -> None:
    """A new incarnation is never read on from an old position: gap and pause; resumed, it is read from its beginning."""
    bench = Bench()
    bench.script.put((1, "A"), (2, "B"))
    bench.run()
    bench.script.incarnation = "another"
    bench.script.put((2, "β"))
    bench.restart()
    bench.service.tick()
    bench.rounds(4)
    assert [event.kind for event in bench.recorder.of(GapOpened)] == ["source_replaced"]
    assert bench.names() == [(1, "A"), (2, "B")]
    bench.clock.advance(60)
    bench.store.pause(FLOW, "")
    bench.service.tick()
    bench.rounds(6)
    bench.run()
    assert bench.names() == [(1, "A"), (2, "B"), (2, "β")]
    assert bench.store.open_flow(FLOW).incarnation == "another"


# -- operators ---------------------------------------------------------------------------------------------------------


def test_a_stored_pause_stops_capture_until_it_is_taken_away() -> None:
    """A tick after an operator's pause closes the source; a tick after the resume opens it again."""
    bench = Bench()
    bench.script.put((1, "A"))
    bench.run()
    bench.store.pause(FLOW, "operator 张工: 检修")
    bench.script.put((2, "B"))
    bench.service.tick()
    bench.rounds(4)
    until(lambda: not bench.script.is_open)
    assert bench.names() == [(1, "A")]
    bench.store.pause(FLOW, "")
    bench.run()
    assert bench.names() == [(1, "A"), (2, "B")]


def test_a_flow_that_was_paused_before_the_start_is_not_opened() -> None:
    """A pause survives a restart."""
    bench = Bench()
    bench.store.open_flow(FLOW)
    bench.store.pause(FLOW, "operator 张工: 检修")
    bench.rounds(4)
    assert bench.script.calls["open"] == 0


# -- threads -----------------------------------------------------------------------------------------------------------


def test_the_service_stops_while_the_source_hangs() -> None:
    """A source that does not answer keeps neither rounds nor the stop of the service waiting."""
    bench = Bench()
    bench.script.put((1, "A"))
    bench.script.hold()
    bench.service.start(lambda _name, error: pytest.fail(str(error)))
    bench.recorder.wait_for(SourceOpened)
    until(lambda: bench.script.calls["read"] == 1)
    bench.script.release()
    bench.recorder.wait_for(FlowCaptured)
    bench.script.hold()
    bench.service.tick()
    until(lambda: bench.script.calls["read"] >= 2)
    threading.Timer(0.2, bench.script.release).start()
    assert bench.service.stop(10)
    assert bench.recorder.of(ServiceFailed) == []
    assert len(bench.recorder.of(ServiceStarted)) == len(bench.recorder.of(ServiceStopped)) == 1
    assert not bench.script.is_open


def test_news_are_captured_without_a_tick() -> None:
    """A source that says that there may be news is read at once."""
    bench = Bench()
    bench.service.start(lambda _name, error: pytest.fail(str(error)))
    bench.recorder.wait_for(SourceOpened)
    bench.script.put((1, "A"))
    bench.recorder.wait_for(FlowCaptured)
    assert bench.service.stop(10)
    assert bench.names() == [(1, "A")]


def test_what_is_in_flight_at_the_stop_becomes_durable() -> None:
    """Stopping waits for the store with what was handed to it."""
    bench = Bench(log=SlowLog)
    log = bench.log
    assert isinstance(log, SlowLog)
    bench.script.put((1, "A"))
    bench.service.start(lambda _name, error: pytest.fail(str(error)))
    until(lambda: log.waiting != [])
    stopper = threading.Thread(target=bench.service.stop, args=(10,), daemon=True)
    stopper.start()
    log.speed_up()
    stopper.join(10)
    assert bench.names() == [(1, "A")]


# -- draining ----------------------------------------------------------------------------------------------------------


def test_drain_captures_everything_and_says_how_much() -> None:
    """Draining without a thread reads to the end, commits, closes and counts."""
    bench = Bench(page_rows=3)
    bench.script.put(*((n, "x") for n in range(10)), (10, None))
    done = bench.service.drain()
    assert (done.rows, done.records, done.quarantined) == (11, 10, 1)
    assert bench.script.committed[-1] == "11"
    assert not bench.script.is_open


def test_drain_raises_what_is_in_the_way() -> None:
    """A command wants to know why, not to wait."""
    bench = Bench()
    bench.script.fail("open", SourceUnavailable(why="away"))
    with pytest.raises(SourceUnavailable):
        bench.service.drain()
    paused = Bench()
    paused.store.open_flow(FLOW)
    paused.store.pause(FLOW, "operator 张工: 检修")
    with pytest.raises(Conflict):
        paused.service.drain()
    full = Bench()
    full.script.put((1, "A"))
    full.store.fill_disk()
    with pytest.raises(StoreFull):
        full.service.drain()


def test_the_position_starts_at_the_beginning() -> None:
    """A new flow is read from START."""
    bench = Bench()
    assert bench.store.open_flow(FLOW).position == START
