"""The thread that publishes receipts and answers. It owns the publishing connection; the store is its only queue.

A batch is read from the store, sent, confirmed and marked; whatever happens in between is repaired by sending again, which
harms nobody. A department whose queue does not take them waits alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from agent.errors import HuitongError
from agent.events import BrokerConnected, BrokerLost, Events
from agent.failpoints import failpoint
from agent.ports import Clock, Parcel, Sink
from agent.retry import Backoff
from agent.wire.parcel import SIGNATURE_HEADER
from agent.wire.topology import DELIVERY_EXCHANGE, receipt_queue
from hub.errors import StoreUnavailable
from hub.events import ReceiptRefused, ReceiptsPublished, StoreLost
from hub.model import DuePost
from hub.store.store import HubStore

BATCH: Final = 256
_BACKOFF: Final = Backoff(first_secs=0.2, cap_secs=30.0)
CONFIRM_WITHIN_SECS: Final = 30.0


class Publisher:
    """Publishes what is due for the departments of this process."""

    name = "hub-publisher"

    def __init__(
        self,
        *,
        store: HubStore,
        sink: Sink,
        departments: Callable[[], frozenset[str]],
        events: Events,
        clock: Clock,
        random: Callable[[], float],
        backoff: Backoff = _BACKOFF,
    ) -> None:
        self._store = store
        self._sink = sink
        self._departments = departments
        self._events = events
        self._clock = clock
        self._random = random
        self._backoff = backoff
        self._open = False
        self._failures = 0
        self._not_before = 0.0
        self._parked: dict[str, tuple[int, float]] = {}  # department → (refusals, wait until)
        self._nothing_due = False
        self._bell = threading.Event()

    # -- Worker ------------------------------------------------------------------------------------------------------

    def run_once(self) -> None:
        """Publish one batch, or wait for something to publish."""
        pause = self._not_before - self._clock.monotonic()
        if pause > 0:
            self._bell.wait(min(pause, 0.5))
            self._bell.clear()
            return
        try:
            self._round()
        except StoreUnavailable as error:
            self._events.emit(StoreLost(error, self._postpone()))
        except HuitongError as error:
            self._close()
            self._events.emit(BrokerLost("publish", error, self._postpone()))

    def wake(self) -> None:
        """Something may be due."""
        self._bell.set()
        if self._open:
            self._sink.wake()

    def drained(self) -> bool:
        """Say whether everything was published of which we were told, or nothing can be published now."""
        return (self._nothing_due and not self._bell.is_set()) or not self._open

    def finish(self) -> None:
        """Close the connection."""
        self._close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _round(self) -> None:
        if not self._open:
            self._sink.open()
            self._open = True
            self._events.emit(BrokerConnected("publish"))
        if self._nothing_due and not self._bell.is_set():
            self._sink.poll(0.5)  # until something is stored; and a look now and then costs nothing
        self._bell.clear()
        due = self._store.due(self._ready(), BATCH)
        self._nothing_due = len(due) < BATCH
        if not due:
            return
        self._store.flush()  # what a receipt says must be on the disk before anybody reads it
        failpoint("C14")
        taken = self._publish(due)
        if taken:
            failpoint("C15")
            self._store.published(taken, self._clock.now())
            self._failures = 0
            self._events.emit(ReceiptsPublished(len(taken)))

    def _ready(self) -> frozenset[str]:
        now = self._clock.monotonic()
        return self._departments() - {code for code, (_, until) in self._parked.items() if until > now}

    def _publish(self, due: Sequence[DuePost]) -> list[int]:
        """Send a batch and return the ids of what the broker took. Raises NotConnected when it stays silent."""
        waiting = {one.post_id: one for one in due}
        self._sink.send([_parcel(one) for one in due])
        deadline = self._clock.monotonic() + CONFIRM_WITHIN_SECS
        taken: list[int] = []
        while waiting and self._clock.monotonic() < deadline:
            for outcome in self._sink.poll(0.5):
                one = waiting.pop(outcome.tag, None)
                if one is None:
                    continue
                if outcome.error is None:
                    taken.append(one.post_id)
                    self._parked.pop(one.post.department, None)
                else:
                    self._park(one.post.department, outcome.error)
        if waiting:
            # In doubt. A new connection starts from a clean slate; what did arrive will be a repeat.
            self._close()
        return taken

    def _park(self, department: str, error: Exception) -> None:
        refusals, until = self._parked.get(department, (0, 0.0))
        if until > self._clock.monotonic():
            return  # the rest of the same batch
        delay = self._backoff.delay(refusals + 1, self._random)
        self._parked[department] = (refusals + 1, self._clock.monotonic() + delay)
        self._events.emit(ReceiptRefused(department, error, delay))

    def _postpone(self) -> float:
        self._nothing_due = False
        self._failures += 1
        delay = self._backoff.delay(self._failures, self._random)
        self._not_before = self._clock.monotonic() + delay
        return delay

    def _close(self) -> None:
        self._open = False
        self._sink.close()


def _parcel(due: DuePost) -> Parcel:
    post = due.post
    return Parcel(
        tag=due.post_id,
        exchange=DELIVERY_EXCHANGE,
        routing_key=receipt_queue(post.department),
        message_id=post.message_id,
        type=post.type,
        encoding=post.encoding,
        body=post.body,
        headers={SIGNATURE_HEADER: post.jws},
        timestamp=int(post.created_at.timestamp()),
    )
