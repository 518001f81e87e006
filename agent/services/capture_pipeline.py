"""Steps of capture on their way into the store.

A few are in flight at a time, so that translating the next page does not wait for the disk. None counts before its commit:
the source is told, delivery is woken and events are emitted step by step as they become durable. Until then the ledger rows
they carry are known from here, because the store does not have them yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from agent.model import LedgerRow
from agent.ports import CaptureLog
from agent.services.capture_step import Step


@dataclass(slots=True)
class _InFlight:
    step: Step
    committed: Future[None]
    rows: dict[str, LedgerRow] | None = None  # made when somebody asks

    def known(self, keys: Sequence[str]) -> dict[str, LedgerRow]:
        if self.rows is None:
            self.rows = {row.key: row for row in self.step.append.ledger}
        return {key: self.rows[key] for key in keys if key in self.rows}


class Pipeline:
    """Belongs to the capture thread."""

    def __init__(self, log: CaptureLog, flow: str, most: int) -> None:
        self._log = log
        self._flow = flow
        self._most = most
        self._flight: deque[_InFlight] = deque()

    def known(self, keys: Sequence[str]) -> Mapping[str, LedgerRow]:
        """Return what the ledger says of these keys when everything in flight is committed."""
        here: dict[str, LedgerRow] = {}
        for flight in self._flight:  # a later step knows better
            here |= flight.known(keys)
        rest = [key for key in keys if key not in here] if here else keys
        return {**self._log.known(self._flow, rest), **here} if rest else here

    def add(self, step: Step) -> None:
        """Hand a step to the store. Raises what the store refuses at once."""
        self._flight.append(_InFlight(step, self._log.append(step.append)))

    def harvest(self, *, wait: bool) -> Iterator[Step]:
        """Yield steps that are durable, in order: those that are by now, or with `wait` all.

        Waits for the oldest while too many are in flight. Raises what failed; then nothing behind it is durable either.
        """
        while self._flight and (wait or len(self._flight) >= self._most or self._flight[0].committed.done()):
            self._flight[0].committed.result()
            yield self._flight.popleft().step

    def abandon(self) -> None:
        """Forget what is in flight, after the store is through with it.

        Only called when the oldest failed: those behind it then fail too, because their counters are not those in the store.
        """
        for flight in self._flight:
            flight.committed.exception()
        self._flight.clear()
