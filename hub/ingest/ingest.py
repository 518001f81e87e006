"""Groups of messages → committed transactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent.events import Events
from agent.failpoints import failpoint
from agent.ports import Clock
from hub.errors import RecordsCollide, Unstorable
from hub.events import GroupStored
from hub.ingest.book import Book
from hub.ingest.clerk import Clerk
from hub.ingest.controls import HubFacts
from hub.ingest.items import Item, Prepared, Refusal
from hub.ingest.limiter import RefusalLimiter
from hub.ingest.session import Session, refusal_of
from hub.store.store import Fences, HubStore


class Ingest:
    """Stores groups. Belongs to one thread."""

    def __init__(
        self, *, store: HubStore, clerk: Clerk, facts: HubFacts, limiter: RefusalLimiter, events: Events, clock: Clock
    ) -> None:
        self._store = store
        self._clerk = clerk
        self._facts = facts
        self._limiter = limiter
        self._events = events
        self._clock = clock

    def store(self, items: Sequence[Item], fences: Fences, *, lazily: bool = False) -> None:
        """Commit these messages, together if that is possible. Raises StoreUnavailable, LeaseLost: do it all again later.

        What is committed lazily may be acked and receipted only after the store was flushed.
        """
        try:
            self._transact(items, fences, lazily=lazily)
        except (RecordsCollide, Unstorable):
            for item in items:
                self._singly(item, fences)

    def _singly(self, item: Item, fences: Fences) -> None:
        try:
            self._transact([item], fences, careful=True)
        except Unstorable as error:
            self._transact([_last_resort(item, str(error.details.get("why", "")))], fences, careful=True)

    def _transact(self, items: Sequence[Item], fences: Fences, *, careful: bool = False, lazily: bool = False) -> None:
        begun = self._clock.monotonic()
        failpoint("C12")
        with self._store.begin(fences) as unit:
            if lazily:
                unit.commit_lazily()
            book = Book(unit, self._clerk, self._limiter, self._clock.now())
            Session(book, self._facts, careful=careful).run(items)
        failpoint("C13")
        for event in book.events:
            self._events.emit(event)
        records = sum(len(batch.records.ids) for batch in book.changes.records)
        size = sum(len(item.arrival.body) for item in items)
        self._events.emit(GroupStored(len(items), records, size, self._clock.monotonic() - begun))


def _last_resort(item: Item, why: str) -> Refusal:
    """Return a refusal that every store can hold: the octets, and of the rest only what we have written ourselves."""
    if isinstance(item, Prepared):
        return refusal_of(item, "malformed", why)
    arrival = replace(item.arrival, exchange="", user_id="", type="", encoding="", headers="{}")
    return replace(item, arrival=arrival, text=item.code, claimed_sender="")
