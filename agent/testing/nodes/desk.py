"""One node of each kind for all processes of a test run.

The process that controls the run opens the desk. Its workers ask for a kind over a Unix socket; the first to ask has the node
started, everybody gets its directory and attaches to it. The nodes end with the controlling process, however it ends.
"""

from __future__ import annotations

import json
import shutil
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from agent.errors import HuitongError
from agent.testing.nodes.node import Node, NodeFailed

_PREFIX: Final = "huitong-test-"
_START_SECS: Final = 180.0


class ServiceDesk:
    """Starts each kind of node once, on the first request for it. `close` stops them all."""

    def __init__(self, kinds: Mapping[str, Callable[[Path], Node]]) -> None:
        _sweep()
        # Other users may walk through, because a database server that refuses to be root runs as one of them.
        self.directory: Final = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self.directory.chmod(0o711)
        self._kinds = kinds
        self._nodes: dict[str, Node] = {}
        self._failures: dict[str, NodeFailed] = {}
        self._locks = {kind: threading.Lock() for kind in kinds}
        self._server = _Server(str(self.directory / "desk"), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="service-desk")
        self._thread.start()

    @property
    def address(self) -> str:
        """The path of the socket, for `ask_for`."""
        return str(self.directory / "desk")

    def node_directory(self, kind: str) -> Path:
        """Return the directory of the running node of a kind, starting it if need be. Raises NodeFailed."""
        with self._locks[kind]:
            if kind in self._failures:
                raise self._failures[kind]
            if kind not in self._nodes:
                self._nodes[kind] = node = self._kinds[kind](self.directory / kind)
                try:
                    node.start()
                except NodeFailed as error:  # whoever asks next need not wait for the same answer
                    self._failures[kind] = error
                    raise
            return self._nodes[kind].directory

    def close(self) -> None:
        """Stop every node and delete everything."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for node in self._nodes.values():
            node.remove()
        shutil.rmtree(self.directory, ignore_errors=True)


class _Server(socketserver.ThreadingUnixStreamServer):
    def __init__(self, address: str, desk: ServiceDesk) -> None:
        super().__init__(address, _Request)
        self.desk = desk


class _Request(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        kind = self.rfile.readline().decode().strip()
        if not kind:  # a new desk only wanted to know whether we live
            return
        try:
            answer = {"directory": str(self.server.desk.node_directory(kind))}
        except HuitongError as error:
            answer = {"error": str(error)}
        self.wfile.write(json.dumps(answer).encode())


def _sweep() -> None:
    """Remove the directories of runs that were killed: their nodes ended with them, and nobody answers at their desk."""
    for address in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/desk"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as desk:
            try:
                desk.connect(str(address))
            except ConnectionRefusedError:
                shutil.rmtree(address.parent, ignore_errors=True)
            except OSError:  # another user's
                continue


def ask_for(kind: str, address: str) -> Path:
    """Return the directory of the run's node of a kind. Raises NodeFailed when it did not start."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as desk:
        desk.settimeout(_START_SECS)
        desk.connect(address)
        desk.sendall(f"{kind}\n".encode())
        with desk.makefile("rb") as stream:
            answer = json.loads(stream.read())
    if "error" in answer:
        raise NodeFailed(node=kind, why=answer["error"])
    return Path(answer["directory"])
