"""Follows a source as a host does, as far as a source can notice; what was read counts as durable at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from agent.errors import SourceUnavailable
from agent.model import START, Batch, Counters, FlowState, Op, Position, WalkKind, WalkOrder
from agent.ports import Clock, Source, Walkable
from agent.testing.workload_truth import Captured

_QUIET_ROUNDS: Final = 3
_PATIENCE_SECS: Final = 60.0  # with a source that is away when there is nothing left to do but to read the rest


class Follower:
    """Polls a source in a thread of its own and keeps what it captured, in order.

    States (batches without tokens) that were captured before are dropped, as the key ledger of a host does. `since` is the
    monotonic second when the first batch had come: what was committed before is owed as a state only.
    """

    def __init__(
        self,
        source: Source | Callable[[], Source],
        clock: Clock,
        *,
        key: str = "k",
        version: str = "version",
        every_secs: float = 0.1,
        limit: int = 2000,
    ) -> None:
        self._make = source if callable(source) else lambda: source
        self._clock, self._key, self._version = clock, key, version
        self._every, self._limit = every_secs, limit
        self._position: Position = START
        self._memory: dict[str, str] = {}
        self._loaded = False
        self._seen: set[tuple[str, str]] = set()
        self._stop, self._ready = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="follower")
        self._error: BaseException | None = None
        self._give_up_at: float | None = None
        self.captured: list[Captured] = []
        self.reopened = 0
        self.since = 0.0

    def start(self, timeout_secs: float = 30.0) -> None:
        """Begin, and return when what was there is loaded. Raises what the source raised."""
        self._thread.start()
        if not self._ready.wait(timeout_secs) or self._error is not None:
            self.finish()
            raise TimeoutError("the source has not loaded")

    def finish(self) -> Sequence[Captured]:
        """Read what is left until some rounds bring nothing new, and return everything. Raises what the source raised."""
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self.captured

    def _work(self) -> None:
        try:
            while not self._session():
                pass
        except BaseException as error:  # noqa: BLE001 - raised again by `finish`, in the thread of its caller
            self._error = error
        finally:
            self._ready.set()

    def _session(self) -> bool:
        """Follow the source until told to stop and nothing more comes; return False when it failed and is to be opened again."""
        source = self._make()
        try:
            source.open(FlowState("f", "e", "", self._position, Counters(), self._memory, loaded=self._loaded))
            if self._position != START:
                source.commit(self._position)
            quiet = 0
            while quiet < _QUIET_ROUNDS:
                quiet = 0 if self._step(source) or not self._stop.is_set() else quiet + 1
        except SourceUnavailable:
            self.reopened += 1
            if self._patience_is_over():
                raise
            threading.Event().wait(self._every)
            return False
        finally:
            source.close()
        return True

    def _patience_is_over(self) -> bool:
        if self._stop.is_set() and self._give_up_at is None:
            self._give_up_at = self._clock.monotonic() + _PATIENCE_SECS
        return self._give_up_at is not None and self._clock.monotonic() > self._give_up_at

    def _step(self, source: Source) -> bool:
        """Read one batch and wait unless there is more; return whether something came."""
        if isinstance(source, Walkable) and source.wants_walk(self._position):
            self._position = source.begin_walk(self._position, WalkOrder(WalkKind.COMPARE))
        batch, before = source.read(self._position, self._limit), len(self.captured)
        self._keep(batch)
        source.commit(batch.position)
        if self._loaded and not self._ready.is_set():
            self.since = self._clock.monotonic()
            self._ready.set()
        if not batch.more:
            source.wait(self._every)
        return batch.more or len(self.captured) > before

    def _keep(self, batch: Batch) -> None:
        now = self._clock.monotonic()
        self._position = batch.position
        self._memory.update(batch.memory)
        self._loaded = self._loaded or batch.loading is None
        for number, row in enumerate(batch.rows):
            named = dict(zip(batch.columns, row, strict=True))
            op = Op.UPSERT if batch.ops is None else batch.ops[number]
            token = None if batch.tokens is None else batch.tokens[number]
            key, version = str(named[self._key]), str(named[self._version]) if op is Op.UPSERT else None
            if token is None and version is not None and op is Op.UPSERT:
                if (key, version) in self._seen:
                    continue
                self._seen.add((key, version))
            self.captured.append(Captured(op, key, version, now, token))
