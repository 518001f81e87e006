"""Between the thread that prepares and the thread that stores: a short queue one way, finished tags the other.

Bounded by messages and by bytes, so that large messages do not pile up. Nothing in it has been promised to anybody: what is
in it is unacked at the broker, and `reset` throws it away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Condition

from hub.ingest.items import Item, Prepared


class Handoff:
    """One producer, one consumer. A group that fails is told as trouble and everything waiting is void."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._changed = Condition()
        self._waiting: deque[Item] = deque()
        self._bytes = 0
        self._working = 0
        self._done: list[int] = []
        self._trouble: BaseException | None = None
        self._era = 0

    # -- the side that prepares --------------------------------------------------------------------------------------

    def room(self) -> int:
        """Return how many more messages are welcome."""
        with self._changed:
            return 0 if self._bytes >= self._max_bytes else max(0, self._max_items - len(self._waiting))

    def put(self, item: Item) -> None:
        """Hand over one message."""
        with self._changed:
            self._waiting.append(item)
            self._bytes += _weight(item)
            self._changed.notify_all()

    def finished(self) -> tuple[list[int], BaseException | None]:
        """Return the tags of committed messages and what went wrong since the last call."""
        with self._changed:
            done, self._done = self._done, []
            return done, self._trouble

    def wait_for_news(self, timeout_secs: float) -> None:
        """Wait until something was finished or went wrong."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._done) or self._trouble is not None, timeout_secs)

    @property
    def idle(self) -> bool:
        """True when nothing waits and nothing is being stored."""
        with self._changed:
            return not self._waiting and not self._working

    def reset(self) -> None:
        """Forget everything: the connection it came from is gone, or the store was."""
        with self._changed:
            self._waiting.clear()
            self._bytes = 0
            self._done.clear()
            self._trouble = None
            self._era += 1

    # -- the side that stores ----------------------------------------------------------------------------------------

    def take(self, limit: int, timeout_secs: float) -> tuple[int, Sequence[Item]]:
        """Return (era, messages): at most `limit`, all that wait already, after waiting for the first."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) and self._trouble is None, timeout_secs)
            if self._trouble is not None:
                return self._era, ()
            items = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
            self._bytes -= sum(map(_weight, items))
            self._working += 1 if items else 0
            return self._era, items

    @property
    def busy(self) -> bool:
        """True when more messages wait already."""
        with self._changed:
            return bool(self._waiting)

    def done(self, era: int, items: Sequence[Item]) -> None:
        """Say that these are committed; of an era that is over nobody wants to know."""
        with self._changed:
            self._working -= 1
            if era == self._era:
                self._done.extend(item.arrival.tag for item in items)
            self._changed.notify_all()

    def failed(self, era: int, error: BaseException) -> None:
        """Say that a group was not committed and why."""
        with self._changed:
            self._working -= 1
            if era == self._era:
                self._trouble = error
            self._changed.notify_all()

    def wake(self) -> None:
        """Make waits return soon."""
        with self._changed:
            self._changed.notify_all()


def _weight(item: Item) -> int:
    return len(item.arrival.body) + (item.packed.size_bytes if isinstance(item, Prepared) else 0)
