"""How the hub's threads live and die."""

from __future__ import annotations

import threading

import pytest

from agent.adapters.clock import SystemClock
from agent.events import Events, ProgressMade, ServiceFailed, ServiceStarted, ServiceStopped
from agent.testing.recorder import EventRecorder
from hub.runner import Runner


class Step:
    """A worker that does as it is told."""

    def __init__(self, name: str, log: list[str], *, fails: bool = False, rounds_to_drain: int = 0) -> None:
        self.name = name
        self._log = log
        self._fails = fails
        self._left = rounds_to_drain
        self._bell = threading.Event()

    def run_once(self) -> None:
        if self._fails:
            raise RuntimeError(self.name)
        self._bell.wait(0.05)

    def wake(self) -> None:
        self._bell.set()

    def drained(self) -> bool:
        self._left -= 1
        return self._left < 0

    def finish(self) -> None:
        self._log.append(self.name)


def test_workers_stop_in_reverse_order() -> None:
    """What feeds others ends first; every worker is finished and told."""
    log: list[str] = []
    recorder = EventRecorder()
    runner = Runner([Step("a", log), Step("b", log, rounds_to_drain=3), Step("c", log)], Events(recorder), SystemClock())
    runner.run(started=runner.request_stop)
    assert log == ["c", "b", "a"]
    assert {event.service for event in recorder.of(ServiceStarted)} == {"a", "b", "c"}
    assert {event.service for event in recorder.of(ServiceStopped)} == {"a", "b", "c"}
    assert recorder.of(ProgressMade)


def test_the_death_of_one_ends_all() -> None:
    """The error that killed a worker leaves `run`, after everything else was stopped."""
    log: list[str] = []
    recorder = EventRecorder()
    runner = Runner([Step("a", log), Step("b", log, fails=True)], Events(recorder), SystemClock())
    with pytest.raises(RuntimeError, match="b"):
        runner.run()
    assert sorted(log) == ["a", "b"]
    assert [event.service for event in recorder.of(ServiceFailed)] == ["b"]


def test_a_worker_that_never_drains_is_left_behind() -> None:
    """At the deadline the runner goes on and says who was still at work."""
    log: list[str] = []
    recorder = EventRecorder()
    stuck = threading.Event()

    class Stuck(Step):
        def run_once(self) -> None:
            stuck.wait(10)

    runner = Runner([Stuck("a", log)], Events(recorder), SystemClock(), stop_within_secs=0.1)
    runner.run(started=runner.request_stop)
    assert [event.service for event in recorder.of(ServiceFailed)] == ["a"]
    stuck.set()


def test_a_stop_asked_for_before_the_start_is_not_lost() -> None:
    """A signal during start-up ends the process as soon as everything has started."""
    log: list[str] = []
    runner = Runner([Step("a", log)], Events(), SystemClock())
    runner.request_stop()
    runner.run()
    assert log == ["a"]
