"""Runs services together: all of them or none.

They start in the order given and stop in the reverse order, so that what feeds others ends before what they need. One that
dies stops all; the process then ends with its error and the service manager starts it again. Nothing is restarted in here:
a half-working agent is worse than a restarted one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import SimpleQueue

from agent.events import Events, ServiceFailed
from agent.ports import Clock
from agent.services.service import Managed


class Supervisor:
    """Starts, watches and stops services. `run` blocks the calling thread; `request_stop` may come from anywhere."""

    def __init__(self, services: Sequence[Managed], events: Events, clock: Clock, *, stop_within_secs: float = 25.0) -> None:
        self._services = services
        self._events = events
        self._clock = clock
        self._stop_within_secs = stop_within_secs
        # SimpleQueue.put is reentrant; Event.set is not: a signal handler that interrupts Event.wait could wait for itself.
        self._bell: SimpleQueue[BaseException | None] = SimpleQueue()

    def request_stop(self) -> None:
        """Make `run` stop everything and return. Callable from a signal handler, any thread, and before `run`."""
        self._bell.put(None)

    def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Start all, call `started`, wait for a request or a failure, stop all. Raises what failed first."""
        running: list[Managed] = []
        try:
            for service in self._services:
                if not self._bell.empty():
                    break
                service.start(self._failed)
                running.append(service)
            else:
                started()
            error = self._bell.get()
        finally:
            self._stop(running)
        if error is not None:
            raise error

    def _failed(self, _name: str, error: BaseException) -> None:
        self._bell.put(error)

    def _stop(self, running: Sequence[Managed]) -> None:
        deadline = self._clock.monotonic() + self._stop_within_secs
        for service in reversed(running):
            remaining = max(0.0, deadline - self._clock.monotonic())
            if not service.stop(remaining):
                self._events.emit(ServiceFailed(service.name, TimeoutError(f"still running after {remaining:.1f} s")))
