"""`/healthz`, `/readyz` and `/metrics` of the exchange node, derived from events. One thread, one request at a time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Final

from agent.errors import SettingsError
from agent.events import BrokerConnected, BrokerLost, Event, ServiceFailed, ServiceStarted, ServiceStopped
from agent.i18n import N_
from hub.events import LeasesChanged, StoreFound, StoreLost

REQUEST_SECS: Final = 5.0


class HubHealth:
    """Event listener that knows how the hub is. `stuck` names threads without progress (sd_notify.Watchdog)."""

    def __init__(self, stuck: Callable[[], Sequence[str]]) -> None:
        self._stuck = stuck
        self._lock = threading.Lock()
        self._threads: dict[str, str] = {}
        self._connections = {"publish": "not yet", "consume": "not yet"}
        self._store = "not yet"
        self._departments: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Take note."""
        with self._lock:
            match event:
                case ServiceStarted(service=name):
                    self._threads[name] = "running"
                case ServiceStopped(service=name):
                    self._threads[name] = "stopped"
                case ServiceFailed(service=name):
                    self._threads[name] = "failed"
                case _:
                    self._note_surroundings(event)

    def _note_surroundings(self, event: Event) -> None:
        match event:
            case BrokerConnected(role=role):
                self._connections[role] = "open"
            case BrokerLost(role="publish" | "consume" as role, error=error):
                self._connections[role] = str(error)
            case StoreLost(error=error):
                self._store = str(error)
            case StoreFound():
                self._store = ""
            case LeasesChanged(taken=taken, lost=lost):
                self._departments = (self._departments | set(taken)) - set(lost)
            case _:
                pass

    def alive(self) -> tuple[bool, dict[str, object]]:
        """Say whether every thread still makes progress: restarting would not help otherwise."""
        stuck = list(self._stuck())
        with self._lock:
            return not stuck and "failed" not in self._threads.values(), {"threads": dict(self._threads), "stuck": stuck}

    def ready(self) -> tuple[bool, dict[str, object]]:
        """Say whether messages can be taken in now: store and broker answer. A hub without departments is ready."""
        alive, facts = self.alive()
        with self._lock:
            needed = ("publish", "consume") if self._departments else ("publish",)
            is_open = all(self._connections[role] == "open" for role in needed)
            told: dict[str, object] = {
                "connections": dict(self._connections),
                "store": self._store or "open",
                "departments": sorted(self._departments),
            }
            return alive and is_open and not self._store, {**facts, **told}


class HealthServer:
    """A worker that answers probes."""

    name = "hub-health"

    def __init__(self, listen: str, health: HubHealth, metrics: Callable[[], bytes]) -> None:
        host, _, port = listen.rpartition(":")
        try:
            self._server = HTTPServer((host.strip("[]"), int(port)), _handler(health, metrics))
        except OSError as error:
            raise SettingsError(
                N_("cannot listen on {address}: {why}"), hint=N_("choose another address: hub.listen"), address=listen, why=error
            ) from error
        self._server.timeout = 0.5

    @property
    def port(self) -> int:
        """Return the port it listens on."""
        return int(self._server.server_address[1])

    def run_once(self) -> None:
        """Answer one request, or none within half a second."""
        self._server.handle_request()

    def wake(self) -> None:
        """Nothing to wake: a round is short."""

    def drained(self) -> bool:
        """Say yes: the next probe finds nobody."""
        return True

    def finish(self) -> None:
        """Close the port."""
        self._server.server_close()


def _handler(health: HubHealth, metrics: Callable[[], bytes]) -> type[BaseHTTPRequestHandler]:
    def probe(answer: tuple[bool, dict[str, object]]) -> tuple[HTTPStatus, str, bytes]:
        well, facts = answer
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", json.dumps(facts, ensure_ascii=False).encode() + b"\n"

    pages: dict[str, Callable[[], tuple[HTTPStatus, str, bytes]]] = {
        "/healthz": lambda: probe(health.alive()),
        "/readyz": lambda: probe(health.ready()),
        "/metrics": lambda: (HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", metrics()),
    }

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECS

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            status, kind, body = page() if page else (HTTPStatus.NOT_FOUND, "text/plain", b"not found\n")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing: probes come every few seconds."""

    return Handler
