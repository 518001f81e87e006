"""The one lifecycle: start may fail, stop is idempotent and total, the death of one service is told.

A service owns one thread. Its loop contains no logic: it calls `run_once` until somebody asks it to stop. What a round does
is therefore tested without a thread, and how a thread lives and dies is tested once.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from agent.events import Events, ProgressMade, ServiceFailed, ServiceStarted, ServiceStopped
from agent.ports import Clock

Failed = Callable[[str, BaseException], None]
"""Told once, in the failing thread, with the name of the service and what killed it."""


class Managed(Protocol):
    """What a supervisor can run: a `Service`, or anything else with this life."""

    @property
    def name(self) -> str:
        """The name in events and messages."""
        ...

    def start(self, failed: Failed) -> None:
        """Begin; returns when it runs. May raise, and then nothing runs."""
        ...

    def stop(self, within_secs: float) -> bool:
        """End; True when everything has ended, False when the time ran out. Idempotent, also before `start`."""
        ...


class Service(ABC):
    """Base of every service.

    Subclasses write `run_once`, which blocks for no more than a second or so, and where they need them `prepare`, `wake`,
    `drained` and `finish`. Only `stop`, `wake` and `stopping` are for other threads.
    """

    def __init__(self, name: str, events: Events, clock: Clock) -> None:
        self.name = name
        self._events = events
        self._clock = clock
        self._stopping = threading.Event()
        self._stop_at = float("inf")
        self._thread: threading.Thread | None = None

    # -- what a subclass writes --------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Do what may fail before there is a thread (bind a port, open a file); its error leaves `start`."""

    @abstractmethod
    def run_once(self) -> None:
        """Do one round. What it raises kills the service, and with it the process."""

    def wake(self) -> None:
        """Make a round in progress return soon. Any thread."""

    def drained(self) -> bool:
        """After a stop was asked for: say whether another round could still finish something. True ends the loop."""
        return True

    def finish(self) -> None:
        """Let go of what the thread owns; called in it, after the last round, also after a failure."""

    # -- what everybody else calls -----------------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """True once a stop was asked for."""
        return self._stopping.is_set()

    def start(self, failed: Failed) -> None:
        """Prepare in the calling thread, then run rounds in a new one. Raises what `prepare` raises."""
        if self._thread is not None:
            raise RuntimeError(f"{self.name} was started before")
        self.prepare()
        # A daemon, so that a service which overruns its deadline cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, args=(failed,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self, within_secs: float) -> bool:
        """Ask for the end and wait for it; True when the thread has ended. Idempotent, also before `start`."""
        if not self._stopping.is_set():
            self._stop_at = self._clock.monotonic() + within_secs
            self._stopping.set()
        self.wake()
        if self._thread is None:
            return True
        self._thread.join(within_secs)
        return not self._thread.is_alive()

    def _run(self, failed: Failed) -> None:
        self._events.emit(ServiceStarted(self.name))
        try:
            try:
                self._rounds()
            finally:
                self.finish()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the process has to learn of it
            self._events.emit(ServiceFailed(self.name, error))
            failed(self.name, error)
        else:
            self._events.emit(ServiceStopped(self.name))

    def _rounds(self) -> None:
        while not self._ended():
            self.run_once()
            self._events.emit(ProgressMade(self.name))

    def _ended(self) -> bool:
        if not self._stopping.is_set():
            return False
        return self.drained() or self._clock.monotonic() >= self._stop_at
