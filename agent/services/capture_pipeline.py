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


@dataclass(frozen=True, slots=True)
class _InFlight:
    step: Step
    committed: Future[None]


class Pipeline:
    """Belongs to the capture thread."""

    def __init__(self, log: CaptureLog, flow: str, most: int) -> None:
        self._log = log
        self._flow = flow
        self._most = most
        self._flight: deque[_InFlight] = deque()
        self._overlay: dict[str, LedgerRow] = {}

    def known(self, keys: Sequence[str]) -> Mapping[str, LedgerRow]:
        """Return what the ledger says of these keys when everything in flight is committed."""
        here = {key: self._overlay[key] for key in keys if key in self._overlay} if self._overlay else {}
        rest = [key for key in keys if key not in here] if here else keys
        return {**self._log.known(self._flow, rest), **here} if rest else here

    def add(self, step: Step) -> None:
        """Hand a step to the store. Raises what the store refuses at once."""
        self._flight.append(_InFlight(step, self._log.append(step.append)))
        for row in step.append.ledger:
            self._overlay[row.key] = row

    def harvest(self, *, wait: bool) -> Iterator[Step]:
        """Yield steps that are durable, in order: those that are by now, or with `wait` all.

        Waits for the oldest while too many are in flight. Raises what failed; then nothing behind it is durable either.
        """
        while self._flight and (wait or len(self._flight) >= self._most or self._flight[0].committed.done()):
            self._flight[0].committed.result()
            step = self._flight.popleft().step
            for row in step.append.ledger:
                if self._overlay.get(row.key) is row:  # not one that a later step put there
                    del self._overlay[row.key]
            yield step

    def abandon(self) -> None:
        """Forget what is in flight, after the store is through with it.

        Only called when the oldest failed: those behind it then fail too, because their counters are not those in the store.
        """
        for flight in self._flight:
            flight.committed.exception()
        self._flight.clear()
        self._overlay.clear()
