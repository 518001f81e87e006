"""How the hub's threads live: started in order, stopped in reverse, and the death of one ends all.

Nothing is restarted in here; the service manager starts the process again, and nothing that was promised is lost by it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final, Protocol

from agent.events import Events, ProgressMade, ServiceFailed, ServiceStarted, ServiceStopped
from agent.ports import Clock

FAILED_STOP_SECS: Final = 2.0


class Worker(Protocol):
    """One thread's work. Everything but `wake` is called in that thread."""

    @property
    def name(self) -> str:
        """The name in events."""
        ...

    def run_once(self) -> None:
        """Do one round of a second or so at most. What it raises ends the process."""
        ...

    def wake(self) -> None:
        """Make a round in progress return soon. Any thread."""
        ...

    def drained(self) -> bool:
        """After a stop was asked for: say whether there is nothing left worth another round."""
        ...

    def finish(self) -> None:
        """Let go of what the thread owns, also after a failure."""
        ...


class Runner:
    """Runs workers. `run` blocks the calling thread; `request_stop` may come from anywhere, signal handlers included."""

    def __init__(self, workers: Sequence[Worker], events: Events, clock: Clock, *, stop_within_secs: float = 20.0) -> None:
        self._workers = workers
        self._events = events
        self._clock = clock
        self._stop_within_secs = stop_within_secs
        # SimpleQueue.put is reentrant; Event.set is not: a signal handler that interrupts Event.wait could wait for itself.
        self._bell: SimpleQueue[BaseException | None] = SimpleQueue()

    def request_stop(self) -> None:
        """Make `run` stop everything and return."""
        self._bell.put(None)

    def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Start all, call `started`, wait for a request or a failure, stop all. Raises what failed first."""
        stop_within_secs = FAILED_STOP_SECS  # nothing can drain through a thread that is dead
        loops = [_Loop(worker, self._events, self._clock, self._bell.put) for worker in self._workers]
        try:
            for loop in loops:
                loop.start()
            started()
            error = self._bell.get()
            if error is None:
                stop_within_secs = self._stop_within_secs
        finally:
            deadline = self._clock.monotonic() + stop_within_secs
            for loop in reversed(loops):
                loop.stop(deadline)
        if error is not None:
            raise error


class _Loop:
    """One worker in one thread."""

    def __init__(self, worker: Worker, events: Events, clock: Clock, failed: Callable[[BaseException], None]) -> None:
        self._worker = worker
        self._events = events
        self._clock = clock
        self._failed = failed
        self._stop_at: float | None = None
        # A daemon, so that a thread which overruns its deadline cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name=worker.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, deadline: float) -> None:
        self._stop_at = deadline
        if not self._thread.is_alive():
            return
        self._worker.wake()
        self._thread.join(max(0.0, deadline - self._clock.monotonic()))
        if self._thread.is_alive():
            self._events.emit(ServiceFailed(self._worker.name, TimeoutError("still at work at the deadline")))

    def _run(self) -> None:
        self._events.emit(ServiceStarted(self._worker.name))
        try:
            try:
                while not self._ended():
                    self._worker.run_once()
                    self._events.emit(ProgressMade(self._worker.name))
            finally:
                self._worker.finish()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the process has to learn of it
            self._events.emit(ServiceFailed(self._worker.name, error))
            self._failed(error)
        else:
            self._events.emit(ServiceStopped(self._worker.name))

    def _ended(self) -> bool:
        if self._stop_at is None:
            return False
        return self._worker.drained() or self._clock.monotonic() >= self._stop_at
