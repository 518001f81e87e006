"""Waiting for news of a source."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from connectors.database.alarm import Alarm


class Bell:
    """A stream that hears of news through a socket."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)

    def fileno(self) -> int:
        return self.ours.fileno()

    def look(self) -> bool:
        try:
            return bool(self.ours.recv(10))
        except BlockingIOError:
            return False


class Book:
    """A stream in which somebody has to look."""

    def __init__(self, after: int) -> None:
        self.looks, self._after = 0, after

    def fileno(self) -> None:
        return None

    def look(self) -> bool:
        self.looks += 1
        return self.looks > self._after


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    alarm = Alarm()
    alarm.arm()
    yield alarm
    alarm.disarm()


@pytest.fixture
def bell() -> Iterator[Bell]:
    bell = Bell()
    yield bell
    bell.ours.close()
    bell.theirs.close()


def woken_soon(alarm: Alarm) -> threading.Timer:
    timer = threading.Timer(0.05, alarm.wake)
    timer.start()
    return timer


@pytest.mark.parametrize("kind", ["nothing", "bell", "book"])
def test_a_wake_ends_a_wait(alarm: Alarm, bell: Bell, kind: str) -> None:
    """Whatever is waited for, another thread can end the wait, also a moment too early."""
    watched = {"bell": bell, "book": Book(10**9)}.get(kind)
    timer = woken_soon(alarm)
    assert alarm.wait(60, watched)
    timer.join()
    alarm.wake()
    assert alarm.wait(60, watched)
    assert not alarm.wait(0.01, watched)


def test_news_end_a_wait(alarm: Alarm, bell: Bell) -> None:
    """A connection that has something to say ends the wait, and once only."""
    timer = threading.Timer(0.05, lambda: bell.theirs.send(b"x"))
    timer.start()
    assert alarm.wait(60, bell)
    timer.join()
    assert not alarm.wait(0.01, bell)


def test_somebody_looks_from_time_to_time(alarm: Alarm) -> None:
    """Where nothing rings, looks find the news, ever more rarely while there is none."""
    book = Book(5)
    assert alarm.wait(60, book)
    idle = Book(10**9)
    assert not alarm.wait(0.5, idle)
    assert idle.looks < 20


@pytest.mark.parametrize("listened", [False, True])
def test_any_number_of_wakes_is_harmless(alarm: Alarm, bell: Bell, listened: bool) -> None:
    """Nobody who wakes is ever kept waiting, even when nobody listens."""
    for _ in range(100_000):
        alarm.wake()
    assert alarm.wait(0, bell if listened else None)


def test_an_alarm_that_is_not_armed_still_wakes() -> None:
    """Before the source is open and after it was closed, a wake ends the wait."""
    alarm = Alarm()
    timer = woken_soon(alarm)
    assert alarm.wait(60, None)
    timer.join()
    alarm.arm()
    alarm.disarm()
    alarm.disarm()
    alarm.wake()
    assert alarm.wait(60, None)
