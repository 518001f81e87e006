"""The thread that waits for the disk, so that the thread that stores need not.

Under load each group is committed lazily and the next one begins at once; one flush then covers all groups that have been
committed meanwhile. Acks follow the flush, and the publisher flushes before it sends, so nothing is promised to anybody
before it is on the disk. Low load commits the ordinary way and does not come through here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Condition

from hub.errors import StoreUnavailable
from hub.ingest.handoff import Handoff
from hub.ingest.items import Item


class Flusher:
    """A worker; `later` is called by the thread that stores."""

    name = "hub-flush"

    def __init__(self, handoff: Handoff, flush: Callable[[], None], *, committed: Callable[[], None]) -> None:
        self._handoff = handoff
        self._flush = flush
        self._committed = committed
        self._changed = Condition()
        self._groups: list[tuple[int, Sequence[Item]]] = []

    def later(self, era: int, items: Sequence[Item]) -> None:
        """Take over a group that was committed lazily."""
        with self._changed:
            self._groups.append((era, items))
            self._changed.notify_all()

    def run_once(self) -> None:
        """Flush once for every group that waits."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._groups), 0.5)
            groups, self._groups = self._groups, []
        if not groups:
            return
        try:
            self._flush()
        except StoreUnavailable as error:
            for era, _items in groups:
                self._handoff.failed(era, error)
        else:
            for era, items in groups:
                self._handoff.done(era, items)
        self._committed()

    def wake(self) -> None:
        """Make the wait return."""
        with self._changed:
            self._changed.notify_all()

    def drained(self) -> bool:
        """Say whether nothing waits for the disk."""
        with self._changed:
            return not self._groups

    def finish(self) -> None:
        """Nothing to let go of."""
