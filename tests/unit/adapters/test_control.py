"""The control socket answers calls, carries errors and knows who asks."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters.control import Caller, ControlServer, RemoteError, call
from agent.errors import Busy, Conflict


def echo(caller: Caller, args: dict[str, object]) -> object:
    return {"uid": caller.uid, **args}


def refuse(_caller: Caller, _args: dict[str, object]) -> object:
    raise Conflict(why="已入库")


@pytest.fixture
def socket_path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "agent.sock"
    path.write_text("left over by a crash")
    server = ControlServer(path, {"echo": echo, "refuse": refuse})
    server.start()
    yield path
    server.stop()
    server.stop()
    assert not path.exists()


def test_a_call_is_answered_and_the_caller_is_known(socket_path: Path) -> None:
    """Arguments and results pass, the kernel names the caller, the socket is not for everybody."""
    assert call(socket_path, "echo", {"flow": "权属"}, 5) == {"uid": os.getuid(), "flow": "权属"}
    assert socket_path.stat().st_mode & 0o777 == 0o660


def test_an_error_comes_back_with_its_code(socket_path: Path) -> None:
    """The error of the running agent is raised here, code and text intact."""
    with pytest.raises(RemoteError, match="已入库") as caught:
        call(socket_path, "refuse", {}, 5)
    assert caught.value.code == "HT-E409"


@pytest.mark.parametrize("request_line, code", [(b"garbage\n", b"HT-E400"), (b'{"call": "nope", "args": {}}\n', b"HT-E404")])
def test_nonsense_gets_an_error_and_harms_nobody(socket_path: Path, request_line: bytes, code: bytes) -> None:
    """Bad requests are answered with an error; the next caller is served."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(socket_path))
        raw.sendall(request_line)
        assert code in raw.makefile("rb").readline()
    assert call(socket_path, "echo", {}, 5)


def test_nobody_listening_is_told_apart_from_silence(tmp_path: Path) -> None:
    """No socket is FileNotFoundError; a listener that never answers is Busy."""
    with pytest.raises(FileNotFoundError):
        call(tmp_path / "none.sock", "echo", {}, 1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen()
        with pytest.raises(Busy):
            call(tmp_path / "silent.sock", "echo", {}, 0.1)
