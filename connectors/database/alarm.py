"""Waiting for news of a source: until somebody wakes the waiter, a connection has something to say, or a look finds something."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol, runtime_checkable

_SOON_SECS: Final = 0.02
_LATE_SECS: Final = 0.5
_SLOWER: Final = 1.3


@runtime_checkable
class Watched(Protocol):
    """A stream that hears of news, or finds out cheaply whether there is any; beside `Stream`."""

    def fileno(self) -> int | None:
        """Return the descriptor that becomes readable when there is news; None where somebody has to look from time to time."""
        ...

    def look(self) -> bool:
        """Tell whether there is news since the last look, at next to no cost. Raises SourceUnavailable."""
        ...


class Alarm:
    """The wait of one source. `wake` is for any thread, everything else for the one that waits."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._woken = threading.Event()
        self._lock = threading.Lock()
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._pause = _SOON_SECS

    def arm(self) -> None:
        """Get ready to wait for a connection too."""
        with self._lock:
            if self._pair is None:
                self._pair = socket.socketpair()
                for end in self._pair:  # nobody may be listening: then it fills up, and says no more
                    end.setblocking(False)

    def disarm(self) -> None:
        """Let go of what `arm` took. Idempotent."""
        with self._lock:
            pair, self._pair = self._pair, None
        for end in pair or ():
            end.close()

    def wake(self) -> None:
        """End the wait in progress, or the next one."""
        self._woken.set()
        with self._lock, contextlib.suppress(OSError):
            if self._pair is not None:
                self._pair[1].send(b"!")

    def wait(self, timeout_secs: float, watched: Watched | None) -> bool:
        """Wait for news, at most so long; tells whether there may be some."""
        if self._pair is None or watched is None:
            news = self._woken.wait(timeout_secs)
        elif watched.fileno() is not None:
            news = self._listen(timeout_secs, watched)
        else:
            news = self._look_again_and_again(timeout_secs, watched)
        self._woken.clear()
        return news

    # -- inside ------------------------------------------------------------------------------------------------------

    def _listen(self, timeout_secs: float, watched: Watched) -> bool:
        deadline = self._monotonic() + timeout_secs
        while not self._woken.is_set() and not watched.look():
            left = deadline - self._monotonic()
            if left <= 0:
                return False
            self._select(left, watched.fileno())
        return True

    def _look_again_and_again(self, timeout_secs: float, watched: Watched) -> bool:
        """Look soon after there was news, and ever more rarely while there is none."""
        deadline = self._monotonic() + timeout_secs
        while not self._woken.is_set():
            if watched.look():
                self._pause = _SOON_SECS
                return True
            left = deadline - self._monotonic()
            if left <= 0:
                return False
            self._select(min(left, self._pause), None)
            self._pause = min(self._pause * _SLOWER, _LATE_SECS)
        return True

    def _select(self, timeout_secs: float, descriptor: int | None) -> None:
        assert self._pair is not None
        waker = self._pair[0]
        watched: list[Any] = [waker] if descriptor is None else [waker, descriptor]
        select.select(watched, [], [], timeout_secs)
        with contextlib.suppress(BlockingIOError):
            while waker.recv(64):
                pass
