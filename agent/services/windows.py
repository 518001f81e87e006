"""What is on its way, flow by flow: pure bookkeeping, without a clock and without I/O.

The one rule (PROTOCOL 2, order): a message is first sent only when every earlier message of its flow is settled, confirmed or
itself on its way. So after a failure nothing new of that flow is sent; what is on its way comes home; then sending resumes at
the lowest message that failed, with one message on trial before the window opens again.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from agent.model import OutboxEntry
from agent.services.connecting import Pause


@dataclass(frozen=True, slots=True)
class Flight:
    """A message on its way."""

    entry_id: int
    message_id: str
    records: int
    body_bytes: int
    sent_at: float


class Trial(Enum):
    """What has to happen before a flow that failed is trusted with a whole window again."""

    NONE = "none"
    CONFIRM = "confirm"  # the broker refused: its confirm of one message is enough
    RECEIPT = "receipt"  # the hub refused for now: only its receipt tells


class Unsettled:
    """How many messages the broker took that have no receipt yet: those of this run by id, earlier ones by number."""

    def __init__(self, earlier: int = 0) -> None:
        self._ids: set[str] = set()
        self._earlier = earlier

    def __len__(self) -> int:
        return len(self._ids) + self._earlier

    def add(self, message_id: str) -> None:
        """Note one that was confirmed."""
        self._ids.add(message_id)

    def remove(self, message_ids: Iterable[str]) -> None:
        """Note that these are settled, or pending again."""
        for message_id in message_ids:
            if message_id in self._ids:
                self._ids.remove(message_id)
            elif self._earlier:
                self._earlier -= 1

    def recount(self, number: int) -> None:
        """Believe the store where it counts fewer: an operator may have closed some."""
        if number < len(self):
            self._ids.clear()
            self._earlier = number


class FlowWindow:
    """The window of one flow. `cursor` is the highest entry of the outbox looked at."""

    def __init__(self, flow: str) -> None:
        self.flow = flow
        self.cursor = 0
        self.dry = False  # the outbox had nothing behind the cursor when we last looked
        self.held = ""  # why nothing may be sent: an operator's pause, a fork
        self.alarmed = False
        self.pause = Pause()
        self.trial = Trial.NONE
        self.in_flight: dict[int, Flight] = {}
        self._trial_id = ""  # the message on trial, once it was sent
        self._back_to: int | None = None
        self._idle = False  # nothing was on its way since the last look

    @property
    def trusted(self) -> bool:
        """Whether a whole window may be on its way."""
        return self.trial is Trial.NONE

    def room(self, now: float) -> int | None:
        """Return how many messages may be sent now; None means as many as fit."""
        if self.held or self.dry or now < self.pause.until:
            return 0
        if self.trusted:
            return None
        # One at a time, and none before the rest of the window came home.
        return 0 if self.in_flight or self._trial_id else 1

    def advance(self, entries: Sequence[OutboxEntry]) -> list[OutboxEntry]:
        """Move the cursor over what the outbox gave; return what is not on its way already."""
        if not entries:
            self.dry = True
            return []
        self.cursor = entries[-1].entry_id
        return [entry for entry in entries if entry.entry_id not in self.in_flight]

    def send(self, entries: Iterable[OutboxEntry], now: float) -> list[Flight]:
        """Note that these are on their way."""
        flights = [
            Flight(entry.entry_id, entry.message.message_id, entry.message.records, len(entry.message.body), now)
            for entry in entries
        ]
        self.in_flight.update((flight.entry_id, flight) for flight in flights)
        self._idle = False
        if not self.trusted and flights:
            self._trial_id = flights[0].message_id
        return flights

    def confirm(self, entry_id: int) -> Flight:
        """Note that the broker took a message."""
        flight = self.in_flight.pop(entry_id)
        if self.trial is Trial.CONFIRM and flight.message_id == self._trial_id:
            self.trust()
        self._come_home()
        return flight

    def fail(self, entry_id: int) -> Flight:
        """Note that the broker did not take a message: stop, and go back to it once everything else came home."""
        flight = self.in_flight.pop(entry_id)
        self._stop(entry_id, Trial.CONFIRM)
        return flight

    def refuse(self) -> None:
        """Note that the hub refused a message for now: go back to the lowest pending one, and wait for its receipt."""
        self._stop(0, Trial.RECEIPT)

    def lose(self) -> None:
        """Note that everything on its way is in doubt, because the connection is gone: go back to the lowest of it."""
        if self.in_flight:
            self._trial_id = ""
            self._go_back(min(self.in_flight))
            self.in_flight.clear()
        self._come_home()

    def rewind(self, message_ids: Container[str] = ()) -> None:
        """Look from the start, because messages behind the cursor are pending again; what is on its way is not sent twice."""
        if self._trial_id in message_ids:
            self._trial_id = ""
        self.dry = False
        if self._back_to is None:
            self.cursor = 0
        else:
            self._back_to = 0

    def settle(self, message_ids: Container[str]) -> None:
        """Note that messages have their receipts; that of the one on trial restores trust."""
        if not self.trusted and self._trial_id in message_ids:
            self.trust()

    def look(self) -> None:
        """Look for work without a hint, from the start if nothing was on its way since the last time."""
        self.dry = False
        if self._idle:
            self.rewind()
        self._idle = not self.in_flight

    def trust(self) -> None:
        """Open the window again."""
        self.trial = Trial.NONE
        self._trial_id = ""
        self.pause.end()

    def _stop(self, entry_id: int, trial: Trial) -> None:
        self._trial_id = ""
        if self.trial is not Trial.RECEIPT:
            self.trial = trial
        self._go_back(entry_id)
        self._come_home()

    def _go_back(self, entry_id: int) -> None:
        self._back_to = entry_id if self._back_to is None else min(self._back_to, entry_id)

    def _come_home(self) -> None:
        if self._back_to is not None and not self.in_flight:
            self.cursor = max(0, min(self.cursor, self._back_to - 1))  # back, never forward
            self._back_to = None
            self.dry = False
