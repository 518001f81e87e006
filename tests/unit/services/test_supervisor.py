"""All services or none."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from agent.errors import SettingsError
from agent.events import Events, ServiceFailed
from agent.services.service import Failed
from agent.services.supervisor import Supervisor
from agent.testing.clock import FakeClock
from agent.testing.recorder import EventRecorder


class Actor:
    """A managed thing that keeps a diary."""

    def __init__(self, name: str, diary: list[str], *, stops: bool = True, error: Exception | None = None) -> None:
        self.name = name
        self.diary = diary
        self.stops = stops
        self.error = error
        self.failed: Failed | None = None

    def start(self, failed: Failed) -> None:
        if self.error is not None:
            raise self.error
        self.failed = failed
        self.diary.append(f"start {self.name}")

    def stop(self, within_secs: float) -> bool:
        assert within_secs <= 5
        self.diary.append(f"stop {self.name}")
        return self.stops


def supervise(actors: list[Actor], recorder: EventRecorder | None = None) -> Supervisor:
    return Supervisor(actors, Events(*([recorder] if recorder else [])), FakeClock(), stop_within_secs=5)


def test_services_start_in_order_and_stop_in_reverse() -> None:
    """What feeds others ends before what they need."""
    diary: list[str] = []
    supervisor = supervise([Actor(name, diary) for name in "abc"])
    supervisor.run(supervisor.request_stop)
    assert diary == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]


def test_a_start_that_fails_stops_what_runs() -> None:
    """Nothing is left running after a failed start, and its error comes out."""
    diary: list[str] = []
    supervisor = supervise([Actor("a", diary), Actor("b", diary, error=SettingsError("no")), Actor("c", diary)])
    with pytest.raises(SettingsError):
        supervisor.run()
    assert diary == ["start a", "stop a"]


def test_one_that_dies_stops_all() -> None:
    """The error of the first that failed comes out after all have stopped."""
    diary: list[str] = []
    actors = [Actor(name, diary) for name in "ab"]
    supervisor = supervise(actors)
    error = ValueError("broken")

    def die() -> None:
        assert actors[0].failed is not None
        threading.Thread(target=actors[0].failed, args=("a", error)).start()

    with pytest.raises(ValueError, match="broken"):
        supervisor.run(die)
    assert diary[-2:] == ["stop b", "stop a"]


def test_a_stop_before_the_start_is_not_lost() -> None:
    """A request that comes early keeps services from starting."""
    diary: list[str] = []
    supervisor = supervise([Actor("a", diary)])
    supervisor.request_stop()
    supervisor.run()
    assert diary == []


def test_a_service_that_does_not_stop_is_told_and_does_not_hold_up_the_others() -> None:
    """The deadline is for all; who overruns it is named."""
    diary: list[str] = []
    recorder = EventRecorder()
    supervisor = supervise([Actor("a", diary), Actor("b", diary, stops=False)], recorder)
    supervisor.run(supervisor.request_stop)
    assert diary[-2:] == ["stop b", "stop a"]
    (failed,) = recorder.of(ServiceFailed)
    assert (failed.service, type(failed.error)) == ("b", TimeoutError)


def test_a_signal_handler_may_ask_for_the_stop() -> None:
    """A signal that interrupts the waiting main thread ends the run."""
    diary: list[str] = []
    supervisor = supervise([Actor("a", diary)])
    before = signal.signal(signal.SIGUSR1, lambda *_: supervisor.request_stop())
    try:
        supervisor.run(lambda: threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert diary == ["start a", "stop a"]
