"""The thread that stores: takes what is already waiting, never waits for more."""

from __future__ import annotations

from collections.abc import Callable

from hub.errors import LeaseLost, StoreUnavailable
from hub.ingest.flusher import Flusher
from hub.ingest.handoff import Handoff
from hub.ingest.ingest import Ingest
from hub.store.store import Fences


class Storer:
    """Groups what has queued up while the last transaction ran: low load is not delayed, high load is shared out.

    With a flusher, a group behind which others wait already is committed lazily and acked by the flusher.
    """

    name = "hub-store"

    def __init__(
        self,
        handoff: Handoff,
        ingest: Ingest,
        fences: Callable[[], Fences],
        *,
        group_messages: int,
        committed: Callable[[], None],
        flusher: Flusher | None = None,
    ) -> None:
        self._handoff = handoff
        self._ingest = ingest
        self._fences = fences
        self._group_messages = group_messages
        self._committed = committed
        self._flusher = flusher

    def run_once(self) -> None:
        """Store one group."""
        era, items = self._handoff.take(self._group_messages, timeout_secs=0.5)
        if not items:
            return
        later = self._flusher.later if self._flusher is not None and self._handoff.busy else None
        try:
            self._ingest.store(items, self._fences(), lazily=later is not None)
        except (StoreUnavailable, LeaseLost) as error:
            self._handoff.failed(era, error)
        else:
            (later or self._handoff.done)(era, items)
        if later is None:
            self._committed()

    def wake(self) -> None:
        """Make a wait return."""
        self._handoff.wake()

    def drained(self) -> bool:
        """Whoever feeds us has ended already."""
        return self._handoff.idle

    def finish(self) -> None:
        """Nothing to let go of."""
