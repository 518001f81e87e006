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
from typing import Any, Final

import msgspec

from agent.errors import Busy, Denied, HuitongError, NotFound, SettingsError
from agent.i18n import N_

MAX_REQUEST_BYTES: Final = 1 << 20
MAX_ANSWER_BYTES: Final = 64 << 20
MAX_CALLS: Final = 16
"""Calls at the same time; each has a thread of its own, so that one that waits holds up nobody else."""

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
    """Listens on a Unix socket and answers calls with the handlers it was given, each in a thread of its own.

    `failed` hears of a handler that met a defect; its caller is told that it failed.
    """

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, Handler],
        failed: Callable[[str, Exception], None] = lambda _call, _error: None,
    ) -> None:
        self._path = path
        self._handlers = handlers
        self._failed = failed
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind and serve. The caller holds the instance lock, so a socket file that is there is left over.

        Raises Denied; SettingsError when there can be no socket at this place.
        """
        try:
            self._path.unlink(missing_ok=True)
            server = _Server(str(self._path), self._handlers, self._failed)
        except PermissionError as error:
            raise Denied(path=self._path) from error
        except OSError as error:
            raise SettingsError(
                N_("there can be no control socket at {path}: {why}"),
                hint=N_("agent.control_socket names a file in a folder that exists; at most 107 bytes"),
                path=self._path,
                why=error.strerror or str(error),
            ) from error
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

    def __init__(self, path: str, handlers: Mapping[str, Handler], failed: Callable[[str, Exception], None]) -> None:
        self.handlers = handlers
        self.failed = failed
        self.slots = threading.BoundedSemaphore(MAX_CALLS)
        super().__init__(path, _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the request a thread, if there are not too many; who comes in vain hears that we are busy."""
        if not self.slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self.slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve, in the request's own thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Forget a caller that hung up: it harms nobody but itself."""


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
            return {"ok": self._call(request)}
        except HuitongError as error:
            return {"error": Failure.of(error)}
        except msgspec.MsgspecError as error:
            return {"error": Failure("HT-E400", "{why}", "", {"why": str(error)})}

    def _call(self, request: _Request) -> object:
        handler = self.server.handlers.get(request.call)
        if handler is None:
            raise NotFound(what=N_("call"), name=request.call)
        try:
            return handler(_caller(self.connection), request.args)
        except (HuitongError, msgspec.MsgspecError):
            raise
        except Exception as error:
            self.server.failed(request.call, error)
            raise HuitongError(
                N_("the running agent met a defect: {why}"), hint=N_("look at its log"), why=type(error).__name__
            ) from error


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
        # BlockingIOError: so many wait to be served that the kernel takes no more.
        except (TimeoutError, BlockingIOError, BrokenPipeError, ConnectionResetError) as error:
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
