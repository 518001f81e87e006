"""Opening a connection again and again, politely: what delivery and receipts have in common."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Final, Protocol

from agent.errors import Disposition, Forbidden, NotConnected, disposition
from agent.events import BrokerConnected, BrokerLost, Events
from agent.ports import Clock
from agent.retry import Backoff

ROUND_SECS: Final = 1.0
STABLE_SECS: Final = 30.0  # a connection that lived so long, or did its work, was a good one

RECONNECT: Final = Backoff(first_secs=0.5, cap_secs=60.0)
SLOW: Final = Backoff(first_secs=5.0, cap_secs=300.0)
"""How fast to try again when somebody has to act first."""


class Openable(Protocol):
    """A sink or a feed, as far as this module is concerned."""

    def open(self) -> None:
        """Connect. Raises NotConnected, Forbidden."""
        ...

    def close(self) -> None:
        """Close. Idempotent."""
        ...


class Pause:
    """A pause that grows with every failure in a row; failures during a pause are the same failure."""

    def __init__(self) -> None:
        self.until = 0.0
        self._attempt = 0

    def begin(self, now: float, backoff: Backoff, random: Callable[[], float]) -> float | None:
        """Pause for the next delay and return it; None when a pause is on already."""
        if now < self.until:
            return None
        self._attempt += 1
        delay = backoff.delay(self._attempt, random)
        self.until = now + delay
        return delay

    def end(self) -> None:
        """Note that it works again."""
        self.until = 0.0
        self._attempt = 0


class LastContact:
    """When a connection to the broker was last made, by whichever of those who share this."""

    def __init__(self) -> None:
        self.at = -math.inf


class Opener:
    """Keeps one connection open; `role` is publish or consume. One thread calls everything but `ring`.

    Whoever waits tries at once, and once, when another one that shares `contact` has got through since.
    """

    def __init__(
        self,
        role: str,
        connection: Openable,
        events: Events,
        clock: Clock,
        random: Callable[[], float],
        backoff: Backoff = RECONNECT,
        contact: LastContact | None = None,
    ) -> None:
        self.is_open = False
        self._role = role
        self._connection = connection
        self._events, self._clock, self._random, self._backoff = events, clock, random, backoff
        self._bell = threading.Event()
        self._pause = Pause()
        self._contact = contact or LastContact()
        self._opened_at = 0.0
        self._lost_at = 0.0
        self._proven = False

    def ring(self) -> None:
        """Make `open` return when it waits. Any thread."""
        self._bell.set()

    def open(self) -> bool:
        """Open the connection if it is time to; True when that was done, False after waiting for a second or a ring.

        Raises NotConnected, Forbidden: then call `lose`.
        """
        remaining = self._pause.until - self._clock.monotonic()
        if remaining > 0 and self._contact.at <= self._lost_at:
            self._bell.wait(min(remaining, ROUND_SECS))
            self._bell.clear()
            return False
        self._connection.open()
        self.is_open, self._proven, self._opened_at = True, False, self._clock.monotonic()
        self._contact.at = self._opened_at
        self._events.emit(BrokerConnected(self._role))
        return True

    def prove(self) -> None:
        """Note that the connection did its work."""
        self._proven = True

    def lose(self, error: NotConnected | Forbidden) -> None:
        """Close what is left and say when it is tried again."""
        self._lost_at = now = self._clock.monotonic()
        self._connection.close()
        # Being let in is not yet success: a broker that breaks every connection at once must not be asked at full speed.
        if self.is_open and (self._proven or now - self._opened_at >= STABLE_SECS):
            self._pause.end()
        self.is_open = False
        backoff = SLOW if disposition(error) is Disposition.PAUSE else self._backoff
        delay = self._pause.begin(now, backoff, self._random)
        self._events.emit(BrokerLost(self._role, error, self._pause.until - now if delay is None else delay))

    def close(self) -> None:
        """Close the connection, for good."""
        self._connection.close()
        self.is_open = False
