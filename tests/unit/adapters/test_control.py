"""The control socket answers calls, carries errors and knows who asks."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.adapters.control import MAX_CALLS, Caller, ControlServer, Handler, RemoteError, call
from agent.errors import Busy, Conflict, SettingsError


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


# -- many at once ----------------------------------------------------------------------------------------------------


def test_a_call_that_waits_holds_up_nobody(tmp_path: Path) -> None:
    """While one handler waits, others are answered; when it may go on, its own caller is answered too."""
    go_on, waiting = threading.Event(), threading.Event()

    def wait(_caller: Caller, _args: dict[str, object]) -> object:
        waiting.set()
        assert go_on.wait(10)
        return {"done": True}

    with serving(tmp_path, {"echo": echo, "wait": wait}) as path, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(call, path, "wait", {}, 10)
        assert waiting.wait(10)
        for number in range(20):
            assert call(path, "echo", {"n": number}, 5)["n"] == number  # type: ignore[index]
        assert not slow.done()
        go_on.set()
        assert slow.result(10) == {"done": True}


def test_too_many_calls_at_once_are_told_to_come_again(tmp_path: Path) -> None:
    """The number of threads is bounded; whoever comes in vain hears Busy, and is served when there is room again."""
    go_on, waiting = threading.Event(), threading.Semaphore(0)

    def wait(_caller: Caller, _args: dict[str, object]) -> object:
        waiting.release()
        assert go_on.wait(10)
        return {"done": True}

    with serving(tmp_path, {"echo": echo, "wait": wait}) as path, ThreadPoolExecutor(MAX_CALLS) as pool:
        held = [pool.submit(call, path, "wait", {}, 10) for _ in range(MAX_CALLS)]
        for _ in held:
            assert waiting.acquire(timeout=10)
        with pytest.raises(Busy):
            call(path, "echo", {}, 5)
        go_on.set()
        assert [one.result(10) for one in held] == [{"done": True}] * MAX_CALLS
        deadline = time.monotonic() + 10
        while True:
            try:
                assert call(path, "echo", {}, 5)
                break
            except Busy:
                assert time.monotonic() < deadline


def test_a_caller_that_hangs_up_leaves_no_thread_behind(tmp_path: Path) -> None:
    """Hundreds that connect and leave, with and without a word, take no place for ever."""
    with serving(tmp_path, {"echo": echo}) as path:
        for number in range(10 * MAX_CALLS):
            with socket.socket(socket.AF_UNIX) as rude:
                rude.connect(str(path))
                if number % 2:
                    rude.sendall(b'{"call": "echo"')
        deadline = time.monotonic() + 10
        while True:
            try:
                assert call(path, "echo", {}, 5)
                return
            except Busy:
                assert time.monotonic() < deadline


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_defect_in_a_handler_is_told_on_both_sides(tmp_path: Path) -> None:
    """The caller gets an error instead of silence, and somebody hears of the defect itself."""
    heard: list[tuple[str, str]] = []

    def broken(_caller: Caller, _args: dict[str, object]) -> object:
        raise ZeroDivisionError

    with serving(tmp_path, {"broken": broken}, lambda name, error: heard.append((name, type(error).__name__))) as path:
        with pytest.raises(RemoteError) as caught:
            call(path, "broken", {}, 5)
        assert "ZeroDivisionError" in str(caught.value)
    assert heard == [("broken", "ZeroDivisionError")]


@pytest.mark.parametrize("place", ["no/such/folder/agent.sock", "x" * 120])
def test_a_place_where_no_socket_can_be_is_told(tmp_path: Path, place: str) -> None:
    """A folder that is not there, or a path the kernel finds too long: the setting is named."""
    with pytest.raises(SettingsError, match="there can be no control socket"):
        ControlServer(tmp_path / place, {}).start()


@contextmanager
def serving(
    place: Path, handlers: dict[str, Handler], failed: Callable[[str, Exception], None] = lambda _call, _error: None
) -> Iterator[Path]:
    server = ControlServer(place / "agent.sock", handlers, failed)
    server.start()
    try:
        yield place / "agent.sock"
    finally:
        server.stop()
