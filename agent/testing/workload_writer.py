"""One hostile writer: short, long, broken and prepared transactions on keys of its own and on shared ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from agent.model import Op
from agent.ports import Clock
from agent.testing.workload_keys import KeyBook
from agent.testing.workload_sites import Site, TwoPhase
from agent.testing.workload_truth import Change, Truth

_ACTIONS: Final = {
    "insert": 40,
    "update": 25,
    "delete": 10,
    "rename": 6,
    "rename_and_back": 3,
    "replace": 6,
    "there_and_back": 6,
    "shared": 6,
}
_INSERT: Final = "INSERT INTO {table} (k, version, note, updated_at{extra}) VALUES {rows}"
_UPDATE: Final = "UPDATE {table} SET version = %s, note = %s, updated_at = {now}{extra} WHERE k = %s"
_ROWS_AT_ONCE: Final = 500
_SETTLE_SECS: Final = 60.0
_RETRY_SECS: Final = 0.1
_PREPARED_SECS: Final = 0.05
_AFTER_PREPARE: Final = 0.2  # share of prepared transactions that are rolled back


@dataclass(frozen=True, slots=True)
class Plan:
    """What the writers do. Shares are of all transactions, numbers of transactions are those of one writer."""

    writers: int = 8
    seed: int = 1
    changes: int = 5  # in one transaction, at most; composite ones may exceed it
    slow: float = 0.015
    slow_secs: tuple[float, float] = (1.0, 4.0)
    rollback: float = 0.05
    savepoint: float = 0.1
    two_phase: float = 0.02
    shared_keys: int = 16
    pause_secs: float = 0.002  # between two transactions of a writer, on average
    think_secs: float = 0.006  # after each change, at most
    transactions: int = 0  # of each writer; 0: until they are stopped
    bulk_rows: int = 0  # inserted by the first writer in one transaction
    bulk_at: int = 50  # … its how many-th
    alter_at: int = 0  # the last writer adds the column `extra` before this transaction; 0: never


@dataclass(frozen=True, slots=True)
class Scene:
    """What the writers of one workload share."""

    plan: Plan
    site: Site
    truth: Truth
    clock: Clock
    stop: threading.Event
    altered: threading.Event  # the column `extra` is there


class Writer:
    """Runs transactions until it is told to stop. Belongs to one thread."""

    def __init__(self, scene: Scene, number: int) -> None:
        self._scene, self._number = scene, number
        self._plan, self._site = scene.plan, scene.site
        self._random = Random(f"{scene.plan.seed}/{number}")
        self._keys = KeyBook(f"w{number}", self._random)
        self._session: Any = None
        self._count = 0
        self._work: list[Change] = []
        self._shared_used = False
        self._actions = tuple(name for name in _ACTIONS if name != "shared" or scene.plan.shared_keys)
        self._weights = tuple(_ACTIONS[name] for name in self._actions)

    def run(self) -> None:
        """Work. Raises what is a defect of the workload itself."""
        try:
            while not self._scene.stop.is_set() and not 0 < self._plan.transactions <= self._count:
                self._count += 1
                self._transact()
                if self._plan.pause_secs:
                    self._scene.stop.wait(self._random.expovariate(1 / self._plan.pause_secs))
        finally:
            self._drop()

    # -- a transaction -----------------------------------------------------------------------------------------------

    def _transact(self) -> None:
        name = f"w{self._number}-{self._count}"
        two = self._site.two_phase(name) if self._chance(self._plan.two_phase) else None
        undo = self._chance(_AFTER_PREPARE if two else self._plan.rollback) and not self._bulky
        slow = self._chance(self._plan.slow)
        self._work, self._shared_used = [], False
        try:
            self._prologue()
            self._run(two.begin if two else self._site.begin)
            self._body(pause=slow and two is None)
            if undo and two is None:
                self._run("ROLLBACK")
                self._settle(committed=False)
                return
            self._run("INSERT INTO {marks} VALUES (%s)", name)
        except self._site.errors:
            self._drop()  # which rolls back
            self._keys.undo()
            self._scene.truth.note(failed=1)
            self._scene.stop.wait(_RETRY_SECS)
            return
        self._settle(committed=self._end(name, two, undo=undo, slow=slow))

    def _prologue(self) -> None:
        if self._session is None:
            self._session = self._site.connect()
        last = self._number == self._plan.writers - 1
        if last and self._count == self._plan.alter_at and not self._scene.altered.is_set():
            self._run(f"ALTER TABLE {self._site.table} ADD COLUMN extra varchar(20)")
            self._scene.altered.set()

    def _body(self, *, pause: bool) -> None:
        if self._bulky:
            self._insert_many(self._plan.bulk_rows)
        wanted = self._random.randint(1, self._plan.changes)
        pause_after = self._random.randint(1, wanted)
        savepoint = self._chance(self._plan.savepoint)
        while len(self._work) < wanted:
            self._act()
            if self._plan.think_secs:
                self._pause(self._random.uniform(0, self._plan.think_secs))
            if pause and len(self._work) >= pause_after:
                self._pause()
                pause = False
        if savepoint:
            self._nested()

    def _nested(self) -> None:
        """Change some more behind a savepoint, and keep it or not."""
        self._run("SAVEPOINT nested")
        done, keys = len(self._work), self._keys.mark()
        for _ in range(self._random.randint(1, 2)):
            self._act()
        if self._chance(0.5):
            self._run("ROLLBACK TO SAVEPOINT nested")
            del self._work[done:]
            self._keys.undo(keys)
        else:
            self._run("RELEASE SAVEPOINT nested")

    def _end(self, name: str, two: TwoPhase | None, *, undo: bool, slow: bool) -> bool:
        """Commit, or roll back what is prepared; return whether it is committed, which takes a look when no answer came."""
        try:
            if two is None:
                self._run("COMMIT")
                return True
            for statement in two.prepare:
                self._run(statement)
            self._pause(None if slow else self._random.uniform(0, _PREPARED_SECS))
            self._run(two.rollback if undo else two.commit)
        except self._site.errors:
            self._drop()
            self._scene.truth.note(unknown=1)
            return self._find_out(name, two)
        self._scene.truth.note(two_phase=not undo)
        return not undo

    def _settle(self, *, committed: bool) -> None:
        if committed:
            self._scene.truth.commit(self._work, self._scene.clock.monotonic())
            self._keys.keep()
        else:
            self._scene.truth.note(rolled_back=1)
            self._keys.undo()

    def _find_out(self, name: str, two: TwoPhase | None) -> bool:
        """Return whether the transaction with this mark is committed; what waits for its second phase gets it."""
        deadline = self._scene.clock.monotonic() + _SETTLE_SECS
        pause = threading.Event()
        while True:
            try:
                return self._outcome(name, two)
            except self._site.errors:
                self._drop()
                if self._scene.clock.monotonic() > deadline:
                    raise
            pause.wait(_RETRY_SECS)

    def _outcome(self, name: str, two: TwoPhase | None) -> bool:
        self._session = self._site.connect()
        self._run(self._site.patience)
        if two is not None and two.name in self._site.prepared(self._session):
            self._run(two.commit)
            self._drop()
            return True
        self._run(self._site.begin)
        try:  # to write the mark again, which waits for a transaction that is about to end
            self._run("INSERT INTO {marks} VALUES (%s)", name)
        except self._site.duplicate:
            return True
        else:
            return False
        finally:
            self._drop()

    # -- changes -----------------------------------------------------------------------------------------------------

    def _act(self) -> None:
        (action,) = self._random.choices(self._actions, self._weights)
        if action == "shared" and not self._shared_used:
            self._update_shared()
            return
        key = self._keys.some()
        if key is None or action in ("insert", "shared"):
            self._insert(self._keys.free())
            return
        acts: Mapping[str, Callable[[str], None]] = {
            "update": self._update,
            "delete": self._delete,
            "rename": self._rename,
            "rename_and_back": self._rename_and_back,
            "replace": self._replace,
            "there_and_back": self._there_and_back,
        }
        acts[action](key)

    def _insert(self, key: str) -> None:
        version = self._scene.truth.version()
        self._insert_rows([(key, version)])
        self._keys.alive(key)

    def _insert_many(self, rows: int) -> None:
        for start in range(0, rows, _ROWS_AT_ONCE):
            numbers = range(start, min(start + _ROWS_AT_ONCE, rows))
            self._insert_rows([(f"b{self._number}-{n}", self._scene.truth.version()) for n in numbers])

    def _insert_rows(self, rows: Sequence[tuple[str, str]]) -> None:
        extra = ", extra" if self._scene.altered.is_set() else ""
        one = "(%s, %s, %s, {now}, %s)" if extra else "(%s, %s, %s, {now})"
        values = [value for key, version in rows for value in (key, version, "-", *((version,) if extra else ()))]
        self._run(_INSERT.replace("{extra}", extra).replace("{rows}", ", ".join([one] * len(rows))), *values)
        self._work += [Change(Op.UPSERT, key, version, born=True) for key, version in rows]

    def _update(self, key: str, note: str = "-") -> None:
        version = self._scene.truth.version()
        extra = ", extra = %s" if self._scene.altered.is_set() else ""
        self._run(_UPDATE.replace("{extra}", extra), version, note, *((version,) if extra else ()), key)
        self._work.append(Change(Op.UPSERT, key, version))

    def _update_shared(self) -> None:
        """Once in a transaction, so that no two writers wait for each other."""
        self._shared_used = True
        key = f"s-{self._random.randrange(self._plan.shared_keys)}"
        self._run("SELECT id FROM {table} WHERE k = %s{lock}", key)
        self._update(key)

    def _delete(self, key: str) -> None:
        self._run("DELETE FROM {table} WHERE k = %s", key)
        self._work.append(Change(Op.DELETE, key, self._scene.truth.version()))
        self._keys.dead(key)

    def _rename(self, key: str, other: str | None = None) -> None:
        other = other or self._keys.free()
        gone, version = self._scene.truth.version(), self._scene.truth.version()
        statement = "UPDATE {table} SET k = %s, version = %s, updated_at = {now} WHERE k = %s"
        self._run(statement, other, version, key)
        self._work += [Change(Op.DELETE, key, gone), Change(Op.UPSERT, other, version)]
        self._keys.dead(key)
        self._keys.alive(other)

    def _rename_and_back(self, key: str) -> None:
        other = self._keys.free()
        self._rename(key, other)
        self._rename(other, key)

    def _replace(self, key: str) -> None:
        self._delete(key)
        self._insert(key)

    def _there_and_back(self, key: str) -> None:
        for note in "ABA":
            self._update(key, note)

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def _bulky(self) -> bool:
        return self._number == 0 and self._count == self._plan.bulk_at and self._plan.bulk_rows > 0

    def _run(self, statement: str, *values: object) -> None:
        self._site.run(self._session, statement, values)

    def _pause(self, secs: float | None = None) -> None:
        self._scene.stop.wait(self._random.uniform(*self._plan.slow_secs) if secs is None else secs)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _drop(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            with suppress(self._site.errors):
                session.close()
