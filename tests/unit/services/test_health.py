"""Health over HTTP."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator

import pytest

from agent.errors import NotConnected, SettingsError
from agent.events import (
    BrokerConnected,
    BrokerLost,
    DiskLow,
    DiskRecovered,
    Event,
    Events,
    FlowPaused,
    FlowResumed,
    ForkDetected,
    ServiceFailed,
    ServiceStarted,
)
from agent.services.health import HealthService, HealthState
from agent.testing.clock import FakeClock
from agent.testing.recorder import EventRecorder

UP: list[Event] = [ServiceStarted("delivery"), BrokerConnected("publish"), BrokerConnected("consume")]


def state_after(*events: Event, stuck: tuple[str, ...] = ()) -> HealthState:
    state = HealthState(lambda: stuck)
    for event in events:
        state(event)
    return state


def test_ready_means_that_everything_is_possible() -> None:
    """Both connections open, room on the disk, nothing paused."""
    assert not state_after().health().ready
    assert state_after(*UP).health().ready


@pytest.mark.parametrize(
    "trouble, cure",
    [
        (BrokerLost("publish", NotConnected(why="reset"), 1.0), BrokerConnected("publish")),
        (FlowPaused("f", "hub", "no route"), FlowResumed("f", "hub")),
        (ForkDetected("f", "e"), FlowResumed("f", "operator")),
        (DiskLow("/var", 1, 2), DiskRecovered("/var", 3)),
    ],
)
def test_trouble_makes_it_unready_but_not_unhealthy(trouble: Event, cure: Event) -> None:
    """Restarting would not help, so the process stays healthy; when the trouble is over it is ready again."""
    health = state_after(*UP, trouble).health()
    assert (health.alive, health.ready) == (True, False)
    assert state_after(*UP, trouble, cure).health().ready


def test_a_failed_or_stuck_service_is_unhealthy() -> None:
    """Then a restart helps."""
    assert not state_after(*UP, ServiceFailed("delivery", ValueError())).health().alive
    assert not state_after(*UP, stuck=("delivery",)).health().alive


class Probe:
    """A running health service and a client."""

    def __init__(self, state: HealthState, metrics: Callable[[], bytes]) -> None:
        self.recorder = EventRecorder()
        self.service = HealthService(
            host="127.0.0.1", port=0, health=state.health, metrics=metrics, events=Events(self.recorder), clock=FakeClock()
        )
        self.failed: list[BaseException] = []
        self.service.start(lambda _name, error: self.failed.append(error))

    def get(self, path: str) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.headers["Content-Type"], answer.read()
        finally:
            connection.close()


@pytest.fixture
def probe() -> Iterator[Probe]:
    probe = Probe(state_after(*UP, FlowPaused("登记", "operator", "假日")), lambda: b"huitong_build_info 1\n")
    yield probe
    assert probe.service.stop(10)


def test_probes_are_answered_with_the_reasons(probe: Probe) -> None:
    """200 or 503, and JSON that says why."""
    assert probe.get("/healthz")[0] == 200
    status, kind, body = probe.get("/readyz?verbose")
    assert (status, kind) == (503, "application/json")
    assert json.loads(body)["paused_flows"] == {"登记": "operator: 假日"}
    assert probe.get("/metrics") == (200, "text/plain; version=0.0.4; charset=utf-8", b"huitong_build_info 1\n")
    assert probe.get("/")[0] == 404


def test_nonsense_and_silence_harm_nobody(probe: Probe) -> None:
    """A client that hangs up or talks nonsense is forgotten; the next one is answered."""
    for octets in (b"", b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"a" * 70_000 + b"\r\n"):
        with socket.create_connection(("127.0.0.1", probe.service.port), timeout=10) as client:
            client.sendall(octets)
    assert probe.get("/healthz")[0] == 200
    assert probe.failed == []


def test_a_failure_of_ours_is_not_hidden() -> None:
    """When the metrics cannot be rendered, the service dies with that error."""

    def broken() -> bytes:
        raise ValueError("metrics")

    probe = Probe(state_after(*UP), broken)
    with pytest.raises((http.client.HTTPException, OSError)):
        probe.get("/metrics")
    probe.recorder.wait_for(ServiceFailed)
    assert probe.service.stop(10)
    assert [str(error) for error in probe.failed] == ["metrics"]


def test_a_port_that_is_taken_fails_the_start(probe: Probe) -> None:
    """It is a matter of settings, told before anything runs."""
    other = HealthService(
        host="127.0.0.1", port=probe.service.port, health=state_after().health, metrics=bytes, events=Events(), clock=FakeClock()
    )
    with pytest.raises(SettingsError):
        other.start(lambda *_: None)
    assert other.stop(1)
