"""The maintenance service: what has to be done now and then, whether or not anything arrives.

Bodies of stored messages are dropped by age, messages without a receipt are asked about (never sent again on a timer), and
the store is made to look at its disk. A round does one small piece of each, so that nothing else waits long for the store.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from agent.events import BodiesPurged, Events, ReceiptsOverdue
from agent.ports import Clock, Outbox
from agent.retry import Backoff
from agent.services.service import Service

ROUND_SECS: Final = 1.0
PURGE_BATCH: Final = 200
ASK_BATCH: Final = 200  # their bodies are read with them


@dataclass(frozen=True, slots=True)
class Upkeep:
    """How long to keep and how long to wait."""

    keep_days: float = 30.0  # bodies of stored messages
    know_days: float = 1095.0  # what is known of them, receipts included
    overdue_secs: float = 600.0  # from the confirm of the broker
    purge_every_secs: float = 60.0
    tend_every_secs: float = 5.0


class MaintenanceService(Service):
    """Purges, asks and tends. `ask` sends a query for message ids; each of `chores` is called every few seconds."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        ask: Callable[[Sequence[str]], None],
        chores: Sequence[Callable[[], object]],
        events: Events,
        clock: Clock,
        upkeep: Upkeep = Upkeep(),
    ) -> None:
        super().__init__("maintenance", events, clock)
        self._outbox, self._ask, self._chores, self._upkeep = outbox, ask, chores, upkeep
        self._bell = threading.Event()
        # The hub may be away for days: it is asked less and less often, until something changes.
        self._patience = Backoff(first_secs=60.0, cap_secs=3600.0)
        self._asked: frozenset[str] = frozenset()
        self._asked_times = 0
        self._purge_at = self._ask_at = self._tend_at = 0.0

    def wake(self) -> None:
        """Make the round in progress return. Any thread."""
        self._bell.set()

    def run_once(self) -> None:
        """Do what is due, then wait for a second."""
        now = self._clock.monotonic()
        if now >= self._tend_at:
            self._tend_at = now + self._upkeep.tend_every_secs
            for chore in self._chores:
                chore()
        if now >= self._purge_at:
            more = self.purge() >= PURGE_BATCH
            self._purge_at = now if more else now + self._upkeep.purge_every_secs
        if now >= self._ask_at:
            self._ask_at = now + self.ask_about_overdue()
        self._bell.wait(0.0 if self._purge_at <= now else ROUND_SECS)
        self._bell.clear()

    def purge(self) -> int:
        """Drop some of what is old enough; returns how many messages that touched."""
        now = self._clock.now()
        stored_before = now - timedelta(days=self._upkeep.keep_days)
        known_before = now - timedelta(days=self._upkeep.know_days)
        dropped = self._outbox.purge(stored_before, known_before, PURGE_BATCH).result()
        if dropped:
            self._events.emit(BodiesPurged(dropped))
        return dropped

    def ask_about_overdue(self) -> float:
        """Ask the hub what became of the oldest messages without a receipt; returns in how many seconds to look again."""
        confirmed_before = self._clock.now() - timedelta(seconds=self._upkeep.overdue_secs)
        late = self._outbox.overdue(confirmed_before, ASK_BATCH)
        if not late:
            self._asked, self._asked_times = frozenset(), 0
            return self._patience.first_secs
        ids = [entry.message.message_id for entry in late]
        self._asked_times = self._asked_times + 1 if self._asked == frozenset(ids) else 1
        self._asked = frozenset(ids)
        for flow, messages in Counter(entry.message.flow for entry in late).items():
            self._events.emit(ReceiptsOverdue(flow, messages))
        self._ask(ids)
        return self._patience.limit(self._asked_times)
