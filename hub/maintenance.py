"""The thread that cleans up by age and raises the alarm about gaps that stay."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from agent.errors import HuitongError
from agent.events import BrokerLost, Events
from agent.ports import Clock
from hub.errors import StoreUnavailable
from hub.events import BodiesDropped, GapSeen, StoreLost
from hub.store.store import HubStore

PURGE_LIMIT: Final = 2_000


@dataclass(frozen=True, slots=True)
class Hole:
    """A gap in a flow's sequences, as the store shows it."""

    department: str
    flow: str
    epoch: str
    first: int
    missing: int


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept that are not kept for ever."""

    bodies: timedelta
    posts: timedelta
    quarantine: timedelta


class Maintenance:
    """Purges and watches gaps. A gap is told once when it has stayed for `gap_after_secs`, and again every hour."""

    name = "hub-maintenance"

    def __init__(
        self,
        *,
        store: HubStore,
        holes: Callable[[], Sequence[Hole]],
        retention: Retention,
        events: Events,
        clock: Clock,
        check_broker: Callable[[], None] = lambda: None,
        gap_after_secs: float = 600.0,
        every_secs: float = 60.0,
    ) -> None:
        self._store = store
        self._holes = holes
        self._retention = retention
        self._check_broker: Callable[[], None] | None = check_broker
        self._events = events
        self._clock = clock
        self._gap_after_secs = gap_after_secs
        self._every_secs = every_secs
        self._due: dict[tuple[str, str, str, int], float] = {}  # hole → when to tell of it
        self._bell = threading.Event()
        self._next = 0.0

    def run_once(self) -> None:
        """Do one round when it is time."""
        wait = self._next - self._clock.monotonic()
        if wait > 0:
            self._bell.wait(min(wait, 1.0))
            self._bell.clear()
            return
        self._next = self._clock.monotonic() + self._every_secs
        try:
            self.look_at_gaps()
            self.purge()
        except StoreUnavailable as error:
            self._events.emit(StoreLost(error, self._every_secs))
        self._look_at_broker()

    def wake(self) -> None:
        """Make the wait return."""
        self._bell.set()

    def drained(self) -> bool:
        """Say yes: what is left can wait."""
        return True

    def finish(self) -> None:
        """Nothing to let go of."""

    def _look_at_broker(self) -> None:
        """Check the broker once; while it does not answer, again in the next round."""
        if self._check_broker is None:
            return
        try:
            self._check_broker()
        except HuitongError as error:
            self._events.emit(BrokerLost("check", error, self._every_secs))
        else:
            self._check_broker = None

    def look_at_gaps(self) -> None:
        """Tell of gaps that have stayed for too long."""
        now = self._clock.monotonic()
        present = {(hole.department, hole.flow, hole.epoch, hole.first): hole for hole in self._holes()}
        self._due = {key: self._due.get(key, now + self._gap_after_secs) for key in present}
        for key, at in self._due.items():
            if at <= now:
                hole = present[key]
                self._events.emit(GapSeen(hole.department, hole.flow, hole.epoch, hole.missing, hole.first))
                self._due[key] = now + 3600.0

    def purge(self) -> None:
        """Drop what is old, one limited batch."""
        now = self._clock.now()
        rows = self._store.purge(
            bodies_before=now - self._retention.bodies,
            posts_before=now - self._retention.posts,
            quarantine_before=now - self._retention.quarantine,
            limit=PURGE_LIMIT,
        )
        if rows:
            self._events.emit(BodiesDropped(rows))
