"""The service manager's notification protocol (sd_notify(3)): a datagram to the socket named in NOTIFY_SOCKET."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from threading import Lock

from agent.events import Event, ProgressMade, ServiceStarted, ServiceStopped
from agent.ports import Clock


class Notifier:
    """Tells systemd how we are. Without a socket every call does nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        microseconds = environment.get("WATCHDOG_USEC", "")
        self.watchdog_secs: float | None = int(microseconds) / 1e6 if microseconds.isdigit() else None

    def ready(self) -> None:
        """Say that start-up is complete."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that we are on the way out."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def extend(self, secs: float) -> None:
        """Ask for more time during a long start or stop."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(secs * 1e6)}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A leading @ is the notation for an abstract socket name.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.sendto(message.encode(), address)
            except OSError:
                # The manager went away; it will notice our death by itself and there is nobody else to tell.
                return


class Watchdog:
    """Decides from progress, not from a timer, whether the process may claim to be alive.

    An event listener: every service that started must have gone round its loop within `limit_secs`, else the watchdog is
    not fed and the service manager restarts the process.
    """

    def __init__(self, clock: Clock, limit_secs: float) -> None:
        self._clock = clock
        self._limit = limit_secs
        self._lock = Lock()
        self._seen: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Take note of progress."""
        match event:
            case ServiceStarted(service=name) | ProgressMade(service=name):
                with self._lock:
                    self._seen[name] = self._clock.monotonic()
            case ServiceStopped(service=name):
                with self._lock:
                    self._seen.pop(name, None)
            case _:
                pass

    def stuck(self) -> list[str]:
        """Return the services that have made no progress for too long."""
        oldest = self._clock.monotonic() - self._limit
        with self._lock:
            return sorted(name for name, at in self._seen.items() if at < oldest)
