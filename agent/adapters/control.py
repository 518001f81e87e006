"""The control socket: how the command line talks to the running agent.

One request per connection: a JSON object `{"call": name, "args": {…}}` on one line; the answer is `{"ok": value}` or
`{"error": {"code", "text", "hint", "details"}}` on one line. The kernel tells us who asks (SO_PEERCRED); the socket's mode
decides who may.
"""

from __future__ import annotations

import os
import pwd
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from agent.errors import Busy, Denied, HuitongError, NotFound
from agent.i18n import N_

MAX_REQUEST_BYTES: Final = 1 << 20
MAX_ANSWER_BYTES: Final = 64 << 20
_IDLE_SECS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the kernel says."""

    uid: int
    name: str


Handler = Callable[[Caller, dict[str, object]], object]


class RemoteError(HuitongError):
    """An error of the running agent as it came over the socket; its text is still a catalogue key."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text, hint=failure.hint, **failure.details)
        self.code = failure.code  # type: ignore[misc]  # the code of the original error


class Failure(msgspec.Struct):
    """An error on the wire of the control socket."""

    code: str
    text: str
    hint: str = ""
    details: dict[str, str] = {}

    @classmethod
    def of(cls, error: HuitongError) -> Failure:
        """Take an error apart; details travel as text."""
        return cls(error.code, error.text, error.hint, {name: str(value) for name, value in error.details.items()})


class ControlServer:
    """Listens on a Unix socket and answers calls with the handlers it was given."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._handlers = handlers
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind and serve. The caller holds the instance lock, so a socket file that is there is left over. Raises Denied."""
        self._path.unlink(missing_ok=True)
        try:
            server = _Server(str(self._path), self._handlers)
        except PermissionError as error:
            raise Denied(path=self._path) from error
        self._path.chmod(0o660)
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.2,), name="control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and remove the socket. Idempotent."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server = None
        self._path.unlink(missing_ok=True)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 16

    def __init__(self, path: str, handlers: Mapping[str, Handler]) -> None:
        self.handlers = handlers
        super().__init__(path, _Connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that hangs up harms nobody but itself."""


class _Connection(socketserver.StreamRequestHandler):
    server: _Server
    timeout = _IDLE_SECS

    def handle(self) -> None:
        line = self.rfile.readline(MAX_REQUEST_BYTES)
        if line:
            self.wfile.write(msgspec.json.encode(self._answer(line)) + b"\n")

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request = msgspec.json.decode(line, type=_Request)
            handler = self.server.handlers.get(request.call)
            if handler is None:
                raise NotFound(what="call", name=request.call)
            return {"ok": handler(_caller(self.connection), request.args)}
        except HuitongError as error:
            return {"error": Failure.of(error)}
        except msgspec.MsgspecError as error:
            return {"error": Failure("HT-E400", "{why}", "", {"why": str(error)})}


class _Request(msgspec.Struct):
    call: str
    args: dict[str, object] = {}


class _Answer(msgspec.Struct):
    ok: object = None
    error: Failure | None = None


def _caller(connection: socket.socket) -> Caller:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", credentials)
    try:
        return Caller(uid, pwd.getpwuid(uid).pw_name)
    except KeyError:
        return Caller(uid, str(uid))


def call(path: Path, name: str, args: Mapping[str, object], timeout_secs: float) -> object:
    """Call the running agent.

    Raises FileNotFoundError or ConnectionRefusedError when no agent listens (the caller decides what that means), Busy when it
    does not answer in time, Denied when the socket is not ours to use, RemoteError when the call failed there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(timeout_secs)
        try:
            sock.connect(os.fspath(path))
            sock.sendall(msgspec.json.encode({"call": name, "args": dict(args)}) + b"\n")
            line = _read_line(sock)
        except PermissionError as error:
            raise Denied(path=path) from error
        except TimeoutError as error:
            raise Busy(
                N_("the running agent does not answer on {path}"), hint=N_("try again; look at its log"), path=path
            ) from error
    answer = msgspec.json.decode(line, type=_Answer)
    if answer.error is not None:
        raise RemoteError(answer.error)
    return answer.ok


def _read_line(sock: socket.socket) -> bytes:
    with sock.makefile("rb") as reader:
        line = reader.readline(MAX_ANSWER_BYTES)
    if not line.endswith(b"\n"):
        raise TimeoutError
    return line
