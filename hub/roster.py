"""What this process works for and whom it believes: leases, departments and keys, looked up again every few seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

from agent.errors import HuitongError
from agent.events import Events
from agent.ports import Clock
from agent.wire.signature import KeyRing
from hub.errors import StoreUnavailable
from hub.events import LeasesChanged, StoreFound, StoreLost
from hub.ingest.prepare import Trust
from hub.model import DepartmentState
from hub.store.store import Fences, Leases, Registry


def _nobody() -> None:
    """Tell nobody."""


class Roster:
    """A worker. Its attributes may be read from any thread; each is replaced as a whole. `changed` is told of other leases."""

    name = "hub-roster"

    def __init__(
        self,
        *,
        owner: str,
        leases: Leases,
        registry: Registry,
        prepare: Callable[[], None],
        events: Events,
        clock: Clock,
        ttl_secs: float = 15.0,
    ) -> None:
        self._owner = owner
        self._leases = leases
        self._registry = registry
        self._prepare: Callable[[], None] | None = prepare
        self._events = events
        self._clock = clock
        self._ttl_secs = ttl_secs
        self._held_until = 0.0
        self._next = 0.0
        self._lost = True  # until the first answer
        self._told = False
        self._bell = threading.Event()
        self.changed: Callable[[], None] = _nobody
        self.fences: Fences = MappingProxyType({})
        self.trust = Trust(KeyRing(()), frozenset())

    @property
    def departments(self) -> frozenset[str]:
        """Departments whose leases are ours."""
        return frozenset(self.fences)

    def reconsider(self) -> None:
        """Look again at once. Any thread."""
        self._bell.set()

    # -- Worker ------------------------------------------------------------------------------------------------------

    def run_once(self) -> None:
        """Renew and look up when a third of the lease's life has gone by, or at once when asked to."""
        asked = self._bell.wait(min(1.0, max(0.0, self._next - self._clock.monotonic())))
        self._bell.clear()
        if not asked and self._clock.monotonic() < self._next:
            return
        self._next = self._clock.monotonic() + self._ttl_secs / 3
        try:
            self._look()
        except StoreUnavailable as error:
            self._keep_what_lasts(error)

    def wake(self) -> None:
        """Make the wait return."""
        self._bell.set()

    def drained(self) -> bool:
        """Nothing waits here."""
        return True

    def finish(self) -> None:
        """Give the leases back, so that others need not wait for them to expire."""
        try:
            self._leases.release(self._owner)
        except HuitongError as error:
            self._events.emit(StoreLost(error, 0.0))

    # -- inside ------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        if self._prepare is not None:
            self._prepare()
            self._prepare = None
        asked_at = self._clock.monotonic()
        admitted = frozenset(d.code for d in self._registry.departments() if d.state is DepartmentState.ADMITTED)
        self.trust = Trust(KeyRing(self._registry.keys()), admitted)
        self._hold(self._leases.hold(self._owner, self._ttl_secs))
        self._held_until = asked_at + self._ttl_secs
        if self._lost:
            self._lost = self._told = False
            self._events.emit(StoreFound())

    def _hold(self, fences: Mapping[str, int]) -> None:
        before, self.fences = self.fences, MappingProxyType(dict(fences))
        if dict(before) != dict(self.fences):
            taken, lost = self.fences.keys() - before.keys(), before.keys() - self.fences.keys()
            self._events.emit(LeasesChanged(tuple(sorted(taken)), tuple(sorted(lost))))
            self.changed()

    def _keep_what_lasts(self, error: StoreUnavailable) -> None:
        """Without the store, leases are believed until they expire; after that somebody else may have them."""
        if not self._told:
            self._lost = self._told = True
            self._events.emit(StoreLost(error, self._ttl_secs / 3))
        if self._clock.monotonic() >= self._held_until:
            self._hold({})
