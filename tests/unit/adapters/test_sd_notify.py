"""The service manager hears what it should, and the watchdog is fed by progress only."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agent.adapters.sd_notify import Notifier, Watchdog
from agent.events import ProgressMade, ServiceStarted, ServiceStopped
from agent.testing.clock import FakeClock


def test_messages_reach_the_socket(tmp_path: Path) -> None:
    """Each call is one datagram in the documented notation."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"})
        notifier.ready()
        notifier.status("3 流程运行")
        notifier.alive()
        notifier.extend(1.5)
        notifier.stopping()
        got = [manager.recv(200).decode() for _ in range(5)]
    assert got == ["READY=1", "STATUS=3 流程运行", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=1500000", "STOPPING=1"]
    assert notifier.watchdog_secs == 60.0


def test_an_abstract_socket_is_understood() -> None:
    """A leading @ names an abstract socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # autobind: the kernel picks an abstract name
        name = manager.getsockname()
        Notifier({"NOTIFY_SOCKET": "@" + name[1:].decode()}).ready()
        assert manager.recv(50) == b"READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nonexistent/socket"}])
def test_without_a_manager_nothing_happens(environment: dict[str, str]) -> None:
    """No socket, or a dead one, is not an error."""
    notifier = Notifier(environment)
    notifier.ready()
    assert notifier.watchdog_secs is None


def test_the_watchdog_names_the_service_that_hangs() -> None:
    """A service is stuck when it made no progress within the limit, and only then."""
    clock = FakeClock()
    watchdog = Watchdog(clock, 30.0)
    watchdog(ServiceStarted("delivery"))
    watchdog(ServiceStarted("capture-a"))
    clock.advance(29)
    watchdog(ProgressMade("delivery"))
    assert watchdog.stuck() == []
    clock.advance(2)
    assert watchdog.stuck() == ["capture-a"]
    watchdog(ServiceStopped("capture-a"))
    assert watchdog.stuck() == []
