"""A source whose every move a test writes down.

    source = ScriptedSource()
    source.put((1, "张三"), (2, "李四"))
    source.fail("read", SourceUnavailable(why="gone"))

As a table (the default) it is polled: every row carries the version of its last change, reading goes on from a version, and the
last `overlap` rows come again each time, as they are by then. As a log (`log=True`) it gives every change, deletes included,
with a token. It passes the contract suite that real sources pass.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from agent.model import START, Batch, Finding, FlowState, Op, Position, Progress, Unreadable, Value, Walked, WalkKind

Row = tuple[Value, ...]
Call = Literal["open", "wait", "read", "read_keys", "commit", "check", "close"]


class _Change(NamedTuple):
    version: int
    op: Op
    row: Row
    unreadable: Unreadable | None = None


class ScriptedSource:
    """Implements ports.Source, and ports.Keyed as a table. The first column is the key. Tests call the rest from their thread."""

    def __init__(
        self,
        columns: Sequence[str] = ("id", "name"),
        *,
        log: bool = False,
        overlap: int = 0,
        first_load: bool = False,
        incarnation: str = "scripted",
    ) -> None:
        self.columns = tuple(columns)
        self.incarnation = incarnation
        self.calls: Counter[str] = Counter()
        self.committed: list[Position] = []
        self.is_open = False
        self._log = log
        self._overlap = overlap
        self._first_load = first_load
        self._loads_until = 0
        self._version = 0
        self._changes: list[_Change] = []
        self._failures: dict[str, deque[BaseException]] = {}
        self._lock = threading.RLock()
        self._news = threading.Event()
        self._held = threading.Event()
        self._held.set()

    # -- what tests do to it -----------------------------------------------------------------------------------------

    def put(self, *rows: Row) -> None:
        """Let rows appear or change."""
        for row in rows:
            self._add(Op.UPSERT, row)

    def delete(self, *keys: Value) -> None:
        """Let rows disappear; a table says nothing about it."""
        for key in keys:
            self._add(Op.DELETE, (key, *(None for _ in self.columns[1:])))

    def put_unreadable(self, raw: bytes, reason: str = "broken") -> None:
        """Let something appear that is no row."""
        with self._lock:
            self._version += 1
            token = str(self._version) if self._log else ""
            self._changes.append(_Change(self._version, Op.UPSERT, (), Unreadable(token, raw, reason, "cannot be read")))

    def fail(self, call: Call, *errors: BaseException) -> None:
        """Let the next calls of this name fail, each with the next error."""
        self._failures.setdefault(call, deque()).extend(errors)

    def hold(self) -> None:
        """Let reads hang until `release`."""
        self._held.clear()

    def release(self) -> None:
        """Let reads go on."""
        self._held.set()

    def rows(self) -> dict[Value, Row]:
        """Return what is there now, by key."""
        rows: dict[Value, Row] = {}
        for change in self._changes:
            if change.unreadable is None:
                rows.pop(change.row[0], None)
                if change.op is Op.UPSERT:
                    rows[change.row[0]] = change.row
        return rows

    # -- ports.Source ------------------------------------------------------------------------------------------------

    def open(self, state: FlowState) -> str:
        """See ports.Source."""
        self._called("open")
        with self._lock:
            self.is_open = True
            if self._first_load and state.position == START:
                self._loads_until = self._version
            return self.incarnation

    def wait(self, timeout_secs: float) -> bool:
        """See ports.Source."""
        self._called("wait")
        woken = self._news.wait(timeout_secs)
        self._news.clear()
        return woken

    def wake(self) -> None:
        """See ports.Source."""
        self._news.set()

    def read(self, after: Position, limit: int) -> Batch:
        """See ports.Source."""
        self._called("read")
        self._held.wait()
        with self._lock:
            reached = int(after or 0)
            there = self._changes if self._log else self._latest()
            ahead = [change for change in there if change.version > reached]
            taken, more = ahead[:limit], len(ahead) > limit
            polls = self._overlap and not self._log and reached >= self._loads_until
            again = [change for change in there if change.version <= reached][-self._overlap :] if polls else []
            position = Position(str(taken[-1].version)) if taken else after
            return self._batch([*again, *taken], position, reached=reached, more=more)

    def read_keys(self, keys: Sequence[str]) -> Batch:
        """See ports.Keyed."""
        self._called("read_keys")
        with self._lock:
            wanted = {json.loads(key)[0][1] for key in keys}
            found = [change for change in self._latest() if not change.unreadable and str(change.row[0]) in wanted]
            return self._batch(found, START, reached=self._version, more=False)

    def commit(self, position: Position) -> None:
        """See ports.Source."""
        self._called("commit")
        self.committed.append(position)

    def check(self) -> Sequence[Finding]:
        """See ports.Source."""
        self._called("check")
        return [Finding("script", ok=True, text="it is all written down")]

    def close(self) -> None:
        """See ports.Source."""
        self._called("close")
        self.is_open = False

    # -- inside ------------------------------------------------------------------------------------------------------

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        failures = self._failures.get(name)
        if failures:
            raise failures.popleft()

    def _add(self, op: Op, row: Row) -> None:
        with self._lock:
            self._version += 1
            self._changes.append(_Change(self._version, op, row))
        self._news.set()

    def _latest(self) -> list[_Change]:
        """Return the last change of each key that is still there, and what is no row, by version."""
        latest: dict[Any, _Change] = {}
        for change in self._changes:
            key = change.row[0] if change.unreadable is None else ("unreadable", change.version)
            latest.pop(key, None)
            if change.op is Op.UPSERT:
                latest[key] = change
        return list(latest.values())

    def _batch(self, changes: Sequence[_Change], position: Position, *, reached: int, more: bool) -> Batch:
        rows = [change for change in changes if change.unreadable is None]
        loading = Progress(int(position or 0), self._loads_until) if reached < self._loads_until else None
        return Batch(
            entity="people",
            columns=self.columns,
            rows=[change.row for change in rows],
            position=position,
            ops=[change.op for change in rows] if self._log else None,
            tokens=[str(change.version) for change in rows] if self._log else None,
            unreadable=[change.unreadable for change in changes if change.unreadable is not None],
            more=more or loading is not None,
            loading=loading,
            walked=Walked(WalkKind.LOAD) if loading is not None else None,
        )
