"""Health over HTTP for probes and Prometheus: `/healthz`, `/readyz`, `/metrics`.

Healthy means that restarting would not help; ready means that everything this agent is for is possible right now. Both are
derived from events alone. One thread, one request at a time, a loopback address unless the operator chose another.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Final

from agent.errors import SettingsError
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
    ServiceStopped,
)
from agent.i18n import N_
from agent.ports import Clock
from agent.services.service import Service

ROUND_SECS: Final = 0.5
REQUEST_SECS: Final = 5.0
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Health:
    """How the agent is; every mapping names only what is known."""

    services: dict[str, str] = field(default_factory=dict)  # running | stopped | failed
    connections: dict[str, str] = field(default_factory=dict)  # publish, consume → open, or why not
    paused_flows: dict[str, str] = field(default_factory=dict)  # flow → why
    disk: str = ""  # empty, or why capture pauses
    stuck: Sequence[str] = ()

    @property
    def alive(self) -> bool:
        """Whether every service that started still makes progress."""
        return not self.stuck and "failed" not in self.services.values()

    @property
    def ready(self) -> bool:
        """Whether both connections are open, the disk has room and nothing is paused."""
        is_open = set(self.connections.values()) == {"open"}
        return self.alive and is_open and not self.disk and not self.paused_flows


class HealthState:
    """An event listener that knows how the agent is. `stuck` names the services without progress (sd_notify.Watchdog)."""

    def __init__(self, stuck: Callable[[], Sequence[str]]) -> None:
        self._stuck = stuck
        self._lock = threading.Lock()
        self._services: dict[str, str] = {}
        self._connections: dict[str, str] = {"publish": "not yet", "consume": "not yet"}
        self._paused: dict[str, str] = {}
        self._disk = ""

    def __call__(self, event: Event) -> None:
        """Take note."""
        with self._lock:
            self._note_process(event)
            self._note_flow(event)

    def health(self) -> Health:
        """Return how it is now."""
        stuck = self._stuck()
        with self._lock:
            return Health(dict(self._services), dict(self._connections), dict(self._paused), self._disk, stuck)

    def _note_process(self, event: Event) -> None:
        match event:
            case ServiceStarted(service=name):
                self._services[name] = "running"
            case ServiceStopped(service=name):
                self._services[name] = "stopped"
            case ServiceFailed(service=name):
                self._services[name] = "failed"
            case BrokerConnected(role=role):
                self._connections[role] = "open"
            case BrokerLost(role=role, error=error):
                self._connections[role] = str(error)
            case _:
                pass

    def _note_flow(self, event: Event) -> None:
        match event:
            case FlowPaused(flow=flow, by=by, reason=reason):
                self._paused[flow] = f"{by}: {reason}"
            case ForkDetected(flow=flow):
                self._paused[flow] = "fork"
            case FlowResumed(flow=flow):
                self._paused.pop(flow, None)
            case DiskLow():
                self._disk = f"{event.free_bytes} bytes free on {event.path}"
            case DiskRecovered():
                self._disk = ""
            case _:
                pass


class HealthService(Service):
    """Answers probes. `metrics` renders the exposition text."""

    def __init__(
        self, *, host: str, port: int, health: Callable[[], Health], metrics: Callable[[], bytes], events: Events, clock: Clock
    ) -> None:
        super().__init__("health", events, clock)
        self._address = (host, port)
        self._health = health
        self._metrics = metrics
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port in use; of interest where 0, any free one, was asked for."""
        assert self._server is not None
        return int(self._server.server_address[1])

    def prepare(self) -> None:
        """Bind. Raises SettingsError when the address is not to be had."""
        try:
            self._server = _Server(self._address, _Handler)
        except OSError as error:
            host, port = self._address
            raise SettingsError(
                N_("health and metrics cannot listen on {host}:{port}: {why}"), host=host, port=port, why=error.strerror
            ) from error
        self._server.answer = self._answer

    def run_once(self) -> None:
        """Answer one request, or wait for a moment. Raises what went wrong in here, not what a client did wrong."""
        assert self._server is not None
        self._server.handle_request()
        if self._server.failure is not None:
            raise self._server.failure

    def finish(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.server_close()

    def _answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Return status, content type and body."""
        if path == "/metrics":
            return HTTPStatus.OK, METRICS_TYPE, self._metrics()
        if path not in ("/healthz", "/readyz"):
            return HTTPStatus.NOT_FOUND, "text/plain", b"/healthz /readyz /metrics\n"
        health = self._health()
        well = health.alive if path == "/healthz" else health.ready
        said = {
            "well": well,
            "services": health.services,
            "connections": health.connections,
            "paused_flows": health.paused_flows,
            "disk": health.disk,
            "stuck": list(health.stuck),
        }
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", json.dumps(said, ensure_ascii=False).encode() + b"\n"


class _Server(HTTPServer):
    timeout = ROUND_SECS  # how long handle_request waits
    answer: Callable[[str], tuple[HTTPStatus, str, bytes]]
    failure: Exception | None = None

    def handle_error(self, request: object, client_address: object) -> None:
        """Forget a client that hung up or sent nonsense; it harms nobody but itself."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_SECS  # a client that says nothing does not hold up the others for longer
    server_version = "huitong"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        try:
            status, kind, body = self.server.answer(self.path.partition("?")[0])
        except Exception as error:
            self.server.failure = error
            raise
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing: a probe every few seconds is no news."""
