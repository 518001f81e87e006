"""What vanished is looked for only in a ledger that knows the whole walk."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

from agent.events import GapOpened, WalkCompleted
from agent.model import Append, Batch, FlowState, Position, Progress, Walked, WalkKind, WalkOrder
from agent.testing.memory_store import MemoryStore
from agent.testing.scripted_source import ScriptedSource
from tests.unit.services.capture_kit import Bench

ROWS = 6


class Slow:
    """A store whose commits come when they are waited for, as a disk makes them come late."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._waiting: list[tuple[Append, Future[None]]] = []

    def append(self, step: Append) -> Future[None]:
        future: _Late = _Late(self)
        self._waiting.append((step, future))
        return future

    def catch_up(self) -> None:
        """Commit what is waiting, in order."""
        waiting, self._waiting = self._waiting, []
        for step, future in waiting:
            self._store.append(step).result()
            future.set_result(None)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


class _Late(Future[None]):
    def __init__(self, store: Slow) -> None:
        super().__init__()
        self._store = store

    def result(self, timeout: float | None = None) -> None:
        self._store.catch_up()
        return super().result(timeout)


class Walkable(ScriptedSource):
    """Reads its rows two at a time, first as a load and then, when it is told to, as a comparison."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()

    def open(self, _state: FlowState) -> str:
        return "here"

    def read(self, after: Position, limit: int) -> Batch:  # noqa: ARG002 - pages are of two
        kind, _, at = str(after or "load:0").partition(":")
        begin = int(at)
        if begin >= ROWS:
            return Batch("people", ("id", "name"), (), Position(f"{kind}:{ROWS}"))
        rows = [(number, f"n{number}") for number in range(begin, begin + 2)]
        ended = begin + 2 >= ROWS
        load = kind == "load"
        return Batch(
            "people",
            ("id", "name"),
            rows,
            Position(f"{kind}:{begin + 2}"),
            more=True,
            loading=Progress(begin, ROWS) if load else None,
            walked=Walked(WalkKind(kind), chunk=None if load else begin + 1, covered=2, ended=ended),
        )

    def read_keys(self, keys: Sequence[str]) -> Batch:
        raise AssertionError(f"nothing vanished, and these were asked for: {keys}")

    def wants_walk(self, after: Position) -> bool:  # noqa: ARG002
        return False

    def begin_walk(self, after: Position, order: WalkOrder) -> Position:  # noqa: ARG002
        return Position(f"{order.kind}:0")

    def count(self, order: WalkOrder) -> int:  # noqa: ARG002
        return ROWS


def test_nothing_counts_as_vanished_before_the_walk_is_durable() -> None:
    """With commits that come late a comparison that found everything asks for nothing, holds nothing and deletes nothing."""
    bench = Bench(Walkable(), log=Slow, in_flight=50)
    bench.run()
    bench.run()
    ordered = bench.service.walk(WalkOrder(WalkKind.COMPARE))
    bench.run()
    bench.run()
    ordered.result(0)
    assert bench.recorder.of(GapOpened) == []
    (walk,) = bench.recorder.of(WalkCompleted)
    assert (walk.covered, walk.late, walk.deleted, walk.held) == (ROWS, 0, 0, 0)
