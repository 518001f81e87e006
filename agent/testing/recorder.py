"""An event listener that remembers, so that tests wait for what happened and never for time to pass."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from agent.events import Event

E = TypeVar("E", bound=Event)


class EventRecorder:
    """Give it to `Events(...)`. Safe to call and to ask from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Remember an event and wake who waits."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    @property
    def events(self) -> list[Event]:
        """Return everything so far, in order."""
        with self._changed:
            return list(self._events)

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one type so far, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def clear(self) -> None:
        """Forget everything so far."""
        with self._changed:
            self._events.clear()

    def wait_for(self, predicate: Callable[[Event], bool] | type[Event], timeout: float = 10.0) -> Event:
        """Return the first event, past or to come, that satisfies `predicate` (or is of that type).

        Raises AssertionError, listing what did happen, when there is none within `timeout` seconds.
        """
        wanted = _of_type(predicate) if isinstance(predicate, type) else predicate
        seen = 0
        found: Event | None = None

        def look() -> bool:
            nonlocal seen, found
            fresh = self._events[min(seen, len(self._events)) :]
            seen = len(self._events)
            found = next((event for event in fresh if wanted(event)), None)
            return found is not None

        with self._changed:
            if not self._changed.wait_for(look, timeout):
                names = [type(event).__name__ for event in self._events]
                raise AssertionError(f"no such event within {timeout} s; there were {len(names)}: {names[-20:]}")
        assert found is not None
        return found

    def wait_until(self, enough: Callable[[list[Event]], bool], timeout: float = 10.0) -> list[Event]:
        """Wait until `enough` holds for the list of all events; for counts and sums. Raises AssertionError as above."""
        with self._changed:
            if not self._changed.wait_for(lambda: enough(self._events), timeout):
                names = [type(event).__name__ for event in self._events]
                raise AssertionError(f"not enough within {timeout} s; there were {len(names)}: {names[-20:]}")
            return list(self._events)


def _of_type(kind: type[Event]) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, kind)
