"""The order and the effects of an admission, with everything around it faked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from agent.errors import NotConnected
from agent.events import Events
from agent.testing.clock import FakeClock
from agent.testing.recorder import EventRecorder
from agent.wire.signature import PublicKey
from hub.admission import Login, admit, check_delivery_limit
from hub.errors import BrokerRefused
from hub.events import DeliveryLimitSuspected
from hub.management import Management
from hub.model import Department, DepartmentState
from hub.testing import SampleDepartment

DEPARTMENT = Department("bdc-01", "不动产", "", DepartmentState.ADMITTED, datetime(2026, 1, 1, tzinfo=UTC))
KEYS = [SampleDepartment("bdc-01", "sc-hub", FakeClock()).public for _ in range(2)]


@dataclass
class World:
    """Broker and registry; `steps` is what happened in which order."""

    version: tuple[int, ...] = (3, 10, 8)
    down: bool = False
    steps: list[str] = field(default_factory=list)

    @property
    def server_version(self) -> tuple[int, ...]:
        return self.version

    def admit(self, code: str, *rest: Any) -> bool:
        if rest:
            self.steps.append(f"register {code.code} with {rest[0].kid if rest[0] else 'no key'}")  # type: ignore[attr-defined]
            return True
        if self.down:
            raise NotConnected(why="down")
        self.steps.append(f"declare {code}")
        return True

    def add_key(self, key: PublicKey, at: datetime, by: str) -> None:
        self.steps.append(f"key {key.kid} of {at.year} by {by}")


@dataclass
class FakeManagement:
    """Remembers calls."""

    steps: list[str]
    known: bool = False
    lifted: bool = False

    def user_exists(self, code: str) -> bool:
        return self.known and code == "bdc-01"

    def put_user(self, code: str, password: str | None) -> None:
        self.steps.append(f"user {code} {'with' if password else 'without'} password")

    def put_rights(self, code: str, vhost: str) -> None:
        self.steps.append(f"rights {code} in {vhost}")

    def lift_delivery_limit(self, vhost: str) -> None:
        self.steps.append(f"policy in {vhost}")

    def delivery_limit_lifted(self, vhost: str) -> bool:
        return self.lifted and vhost == "/"


PASSWORD = Login()


def run(world: World, management: FakeManagement | None, login: Login = PASSWORD) -> Any:
    return admit(DEPARTMENT, KEYS, registry=world, broker=world, management=management, vhost="/x", login=login, by="张工")  # type: ignore[arg-type]


def test_the_registry_comes_last() -> None:
    """Queues, user and rights exist before anybody works for the department; every key is pinned."""
    world = World()
    admitted = run(world, FakeManagement(world.steps))
    assert world.steps == [
        "declare bdc-01",
        "user bdc-01 with password",
        "rights bdc-01 in /x",
        f"register bdc-01 with {KEYS[0].kid}",
        f"key {KEYS[1].kid} of 2026 by 张工",
    ]
    assert len(admitted.password) >= 32
    assert admitted.commands == []


def test_a_known_user_keeps_its_password_unless_asked() -> None:
    """Repeating an admission does not lock a department out."""
    world = World()
    assert run(world, FakeManagement(world.steps, known=True)).password == ""
    assert "user bdc-01 with password" not in world.steps
    assert run(world, FakeManagement(world.steps, known=True), Login(new_password=True)).password != ""


def test_a_certificate_means_no_password() -> None:
    """The user exists, its password does not."""
    world = World()
    assert run(world, FakeManagement(world.steps), Login(certificate=True)).password == ""
    assert "user bdc-01 without password" in world.steps


def test_without_management_the_commands_are_left() -> None:
    """The topology is declared all the same; the rest is printed."""
    world = World()
    admitted = run(world, None)
    assert world.steps[0] == "declare bdc-01"
    assert any("set_permissions" in line for line in admitted.commands)


def test_a_broker_that_is_down_registers_nobody() -> None:
    """Nothing is half done: the registry is not touched."""
    world = World(down=True)
    with pytest.raises(NotConnected):
        run(world, None)
    assert world.steps == []


@pytest.mark.parametrize(
    "version,lifted,alarm",
    [((3, 10, 8), False, False), ((3, 13, 0), False, False), ((4, 0, 0), True, False), ((4, 1, 2), False, True)],
)
def test_a_delivery_limit_is_lifted_or_alarmed(version: tuple[int, ...], lifted: bool, alarm: bool) -> None:
    """From RabbitMQ 4.0 on admission sets the policy, and a hub that does not find it says so."""
    world, recorder = World(version=version), EventRecorder()
    run(world, FakeManagement(world.steps))
    assert ("policy in /x" in world.steps) == (version >= (4,))
    check_delivery_limit(world, FakeManagement([], lifted=lifted), "/", Events(recorder))  # type: ignore[arg-type]
    assert bool(recorder.of(DeliveryLimitSuspected)) == alarm
    recorder.clear()
    check_delivery_limit(world, None, "/", Events(recorder))  # type: ignore[arg-type]
    assert bool(recorder.of(DeliveryLimitSuspected)) == (version >= (4,))


@pytest.fixture
def answers() -> Iterator[tuple[str, list[tuple[str, str, Any]], dict[str, tuple[int, bytes]]]]:
    """A small HTTP server: its address, what it was asked, and what it answers by path."""
    asked: list[tuple[str, str, Any]] = []
    told: dict[str, tuple[int, bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            asked.append((self.command, self.path, json.loads(body) if body else None))
            status, content = told.get(self.path, (200, b"{}"))
            self.send_response(status)
            if status in (301, 302):
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = handle_any  # noqa: N815 - the base class calls them so

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked, told
    server.shutdown()
    thread.join()
    server.server_close()


def test_management_asks_as_documented(answers: Any) -> None:
    """Paths are escaped, bodies are those of RabbitMQ's HTTP API."""
    url, asked, told = answers
    told["/api/users/agent.bdc-01"] = (404, b'{"error":"Object Not Found"}')
    management = Management(url, "admin", "secret")
    assert management.user_exists("bdc-01") is False
    told.clear()
    management.put_user("bdc-01", "pw")
    management.put_user("bdc-01", None)
    management.put_rights("bdc-01", "/ex change")
    management.lift_delivery_limit("/")
    assert management.delivery_limit_lifted("/") is False
    assert [(method, path) for method, path, _ in asked] == [
        ("GET", "/api/users/agent.bdc-01"),
        ("PUT", "/api/users/agent.bdc-01"),
        ("PUT", "/api/users/agent.bdc-01"),
        ("PUT", "/api/permissions/%2Fex%20change/agent.bdc-01"),
        ("PUT", "/api/user-limits/agent.bdc-01/max-connections"),
        ("PUT", "/api/user-limits/agent.bdc-01/max-channels"),
        ("PUT", "/api/policies/%2F/huitong-no-delivery-limit"),
        ("GET", "/api/policies/%2F/huitong-no-delivery-limit"),
    ]
    assert asked[1][2] == {"password": "pw", "tags": ""}
    assert asked[2][2] == {"password_hash": "", "tags": ""}


@pytest.mark.parametrize("status,content", [(401, b'{"reason":"Not authorised"}'), (500, b"<html>"), (302, b""), (400, b"[1]")])
def test_management_refusals_are_told_without_the_password(answers: Any, status: int, content: bytes) -> None:
    """Errors and redirects end in one error that names the answer and never the password."""
    url, _asked, told = answers
    told["/api/users/agent.bdc-01"] = (status, content)
    with pytest.raises(BrokerRefused) as caught:
        Management(url, "admin", "top-secret").user_exists("bdc-01")
    assert str(status) in str(caught.value)
    assert "top-secret" not in str(caught.value)


def test_management_uses_no_proxy(answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is not asked: it would see the administrator's password."""
    url, asked, _told = answers
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert Management(url, "admin", "x").user_exists("bdc-01")
    assert len(asked) == 1
