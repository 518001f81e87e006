"""How a service's thread lives and dies."""

from __future__ import annotations

import threading

import pytest

from agent.errors import SettingsError
from agent.events import Events, ProgressMade, ServiceFailed, ServiceStarted, ServiceStopped
from agent.services.service import Service
from agent.testing.clock import FakeClock
from agent.testing.recorder import EventRecorder


class Puppet(Service):
    """A service that does what the test says."""

    def __init__(self, recorder: EventRecorder, clock: FakeClock | None = None) -> None:
        super().__init__("puppet", Events(recorder), clock or FakeClock())
        self.news = threading.Event()
        self.rounds = 0
        self.error: BaseException | None = None
        self.work_left = 0
        self.refuse_start: Exception | None = None
        self.finished = 0

    def prepare(self) -> None:
        if self.refuse_start is not None:
            raise self.refuse_start

    def run_once(self) -> None:
        self.rounds += 1
        if self.error is not None:
            raise self.error
        if not self.stopping:
            self.news.wait(10)
            self.news.clear()
        elif self.work_left:
            self.work_left -= 1

    def wake(self) -> None:
        self.news.set()

    def drained(self) -> bool:
        return self.work_left == 0

    def finish(self) -> None:
        self.finished += 1


def nobody(_name: str, _error: BaseException) -> None:
    raise AssertionError("it was not to fail")


def test_a_service_runs_rounds_until_it_is_stopped() -> None:
    """Rounds run in a thread of their own; every round is told; stop waits for the end."""
    recorder = EventRecorder()
    puppet = Puppet(recorder)
    puppet.start(nobody)
    recorder.wait_for(ServiceStarted)
    puppet.wake()
    recorder.wait_for(ProgressMade)
    assert puppet.stop(10)
    assert puppet.finished == 1
    assert recorder.of(ServiceStopped) == [ServiceStopped("puppet")]


def test_stop_is_idempotent_and_harmless_before_start() -> None:
    """Stopping twice, or what never ran, is fine."""
    recorder = EventRecorder()
    assert Puppet(recorder).stop(1)
    puppet = Puppet(recorder)
    puppet.start(nobody)
    assert puppet.stop(10)
    assert puppet.stop(10)
    assert puppet.finished == 1


def test_a_start_that_fails_leaves_nothing_behind() -> None:
    """What prepare raises comes out of start, and no thread runs."""
    recorder = EventRecorder()
    puppet = Puppet(recorder)
    puppet.refuse_start = SettingsError("no")
    before = threading.active_count()
    with pytest.raises(SettingsError):
        puppet.start(nobody)
    assert threading.active_count() == before
    assert recorder.events == []


def test_a_service_starts_once() -> None:
    """A service has one life."""
    puppet = Puppet(EventRecorder())
    puppet.start(nobody)
    with pytest.raises(RuntimeError):
        puppet.start(nobody)
    assert puppet.stop(10)


def test_an_error_in_a_round_is_told_and_ends_the_thread() -> None:
    """The failure reaches the callback and the events; what the thread owns is let go."""
    recorder = EventRecorder()
    puppet = Puppet(recorder)
    puppet.error = ValueError("broken")
    told: list[tuple[str, BaseException]] = []
    puppet.start(lambda name, error: told.append((name, error)))
    recorder.wait_for(ServiceFailed)
    assert puppet.stop(10)
    assert told == [("puppet", puppet.error)]
    assert puppet.finished == 1
    assert not recorder.of(ServiceStopped)


def test_what_is_left_is_finished_before_the_end() -> None:
    """After a stop, rounds go on until the service is drained."""
    puppet = Puppet(EventRecorder())
    puppet.work_left = 3
    puppet.start(nobody)
    assert puppet.stop(10)
    assert puppet.work_left == 0


def test_a_deadline_ends_what_is_not_drained() -> None:
    """When the time to stop is over, the rest is left."""
    recorder, clock = EventRecorder(), FakeClock()
    puppet = Puppet(recorder, clock)
    puppet.work_left = 10**9
    puppet.start(nobody)
    recorder.wait_for(ServiceStarted)
    assert not puppet.stop(0.05)
    clock.advance(1)
    assert puppet.stop(10)
    assert puppet.work_left > 0
