"""Free loopback ports that stay ours while we need them.

They lie below the range from which the kernel takes the source ports of outgoing connections, so a client cannot take the
port of a node that is down for a moment. Each is claimed by the name of an abstract Unix socket, which the kernel gives back
when the process ends: two test runs on one machine never choose the same port.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterable
from typing import Final

LOOPBACK: Final = "127.0.0.1"
_LOWEST: Final = 14_000
_HIGHEST: Final = 32_000


class PortClaims:
    """The ports one node holds."""

    def __init__(self) -> None:
        self._claims: list[socket.socket] = []

    def take(self, count: int) -> list[int]:
        """Find and claim `count` free ports."""
        ports: list[int] = []
        while len(ports) < count:
            port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
            if self._claim(port):
                ports.append(port)
        return ports

    def hold(self, ports: Iterable[int]) -> None:
        """Claim ports chosen in an earlier life; whether they are still free shows when the node starts."""
        for port in ports:
            self._name(port)

    def release(self) -> None:
        """Give all of them back. Idempotent."""
        for claim in self._claims:
            claim.close()
        self._claims.clear()

    def _claim(self, port: int) -> bool:
        return _is_free(port) and self._name(port)

    def _name(self, port: int) -> bool:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.ExitStack() as undo:
            undo.callback(claim.close)
            try:
                claim.bind(f"\0huitong-port-{port}")
            except OSError:
                return False
            undo.pop_all()
        self._claims.append(claim)
        return True


def _is_free(port: int) -> bool:
    # Without SO_REUSEADDR: a port with connections in TIME_WAIT is not free enough for a server that does not set it either.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def ask(port: int, request: bytes = b"", timeout_secs: float = 2.0) -> bytes:
    """Connect, send `request` and return the first octets of the answer; nothing when there is none."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout_secs) as connection:
            connection.sendall(request)
            return connection.recv(64)
    except OSError:
        return b""
