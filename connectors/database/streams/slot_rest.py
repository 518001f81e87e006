"""How long a server is left alone after work that took it long.

The server decodes its log from where the oldest transaction began that was open when it last took stock, every 15 seconds, not
from where we read on: after a big transaction, and while a long one is open, every look costs as much as that one, however
little is new. So a look rests for a time in proportion to what it took, and all looks together cost a bounded share of a core.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from agent.ports import Clock


class Rest:
    """One kind of work, and the time before which it is not done again: `times` what it took, `longest_secs` at most."""

    def __init__(self, clock: Clock, times: float, longest_secs: float) -> None:
        self._clock = clock
        self._times = times
        self._longest_secs = longest_secs
        self._until = -math.inf

    @property
    def is_on(self) -> bool:
        """Whether it is too early."""
        return self._clock.monotonic() < self._until

    @contextmanager
    def after(self) -> Iterator[None]:
        """Time the work inside; the rest begins when it ends, however it ends."""
        begun = self._clock.monotonic()
        try:
            yield
        finally:
            now = self._clock.monotonic()
            self._until = now + min(self._times * (now - begun), self._longest_secs)

    def end(self) -> None:
        """Let the work be done at once."""
        self._until = -math.inf
