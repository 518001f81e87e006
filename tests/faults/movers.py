"""People who do to a table whatever can be done to one, and keep a journal of every change that was committed."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agent.adapters.clock import SystemClock
from tests.faults.registry import TABLES, Change, Clerks, Finish, Habits, Registry, Row, first_rows

Event = Row | None
"""A row as it was written; None for a delete."""

Done = tuple[str, str, Event]
"""Flow, key, event."""

INSERT: Final = "INSERT INTO {table} VALUES (?, ?, ?, ?, {now})"
UPDATE: Final = "UPDATE {table} SET id = ?, rev = ?, name = ?, amount = ?, changed_at = {now} WHERE id = ?"
DELETE: Final = "DELETE FROM {table} WHERE id = ?"

_ACTS: Final = {"insert": 30, "update": 30, "delete": 10, "replace": 10, "rename": 10, "there_and_back": 10}
_REUSED: Final = 0.3


class Journal:
    """What happened to each key, in the order of the commits, and how much of it when the first load was complete."""

    def __init__(self, rows: Mapping[str, Sequence[Row]]) -> None:
        self._lock = threading.Lock()
        self._events: dict[tuple[str, str], list[Event]] = defaultdict(list)
        self._loaded: Mapping[tuple[str, str], int] | None = None
        for flow, some in rows.items():
            for row in some:
                self._events[flow, row[0]].append(row)

    def commit(self, act: Callable[[], object], done: Sequence[Done]) -> None:
        """Commit something, and write it down."""
        with self._lock:
            act()
            for flow, key, event in done:
                self._events[flow, key].append(event)

    def note_loaded(self) -> None:
        """Learn that the first load of every flow is complete: from now on each change is owed."""
        with self._lock:
            self._loaded = {place: len(events) for place, events in self._events.items()}

    def of(self, flow: str) -> Mapping[str, Sequence[Event]]:
        """Return the history of each key."""
        with self._lock:
            return {key: list(events) for (of, key), events in self._events.items() if of == flow}

    def owed_from(self, flow: str, key: str) -> int:
        """Return the number of the first event of a key that is owed in any case: what a first load saw last of it."""
        events = self._events.get((flow, key), [])
        seen = self._loaded.get((flow, key), 0) if self._loaded is not None else len(events)
        return seen - 1 if seen and events[seen - 1] is not None else seen


class Movers(Clerks):
    """Insert, update, delete, insert again, change keys, set back what was; nobody touches what is held by another."""

    def __init__(self, registry: Registry, drop: Path, rows: int, seed: int, habits: Habits) -> None:
        super().__init__(registry, drop, rows, seed, habits)
        moment = self._first_rows(rows)
        self.journal = Journal(moment)
        self._alive = {flow: [row[0] for row in some] for flow, some in moment.items()}
        self._dead: dict[str, list[str]] = {flow: [] for flow in TABLES}
        self._waiting: list[tuple[int, Finish, Done]] = []
        self._done: list[Done] = []

    @staticmethod
    def _first_rows(rows: int) -> Mapping[str, Sequence[Row]]:
        some = [row[:-1] for row in first_rows(rows, SystemClock().now())]
        return dict.fromkeys(TABLES, some)

    # -- transactions ------------------------------------------------------------------------------------------------

    def _transact(self) -> None:
        self._done = []
        changes = [change for _ in range(self._random.randint(1, 4)) for change in self._act()]
        self.journal.commit(lambda: self._registry.change(changes), self._done)

    def _begin_late(self) -> None:
        """Write a row now that others see some turns later, after younger ones; until then nobody else touches it."""
        flow = self._random.choice(self._habits.flows)
        self._done = []
        if self._alive[flow] and self._random.random() < 0.5:
            (change,) = self._update(flow, self._random.choice(self._alive[flow]))
        else:
            (change,) = self._insert(flow, self._free(flow))
        (done,) = self._done
        self._alive[flow].remove(done[1])
        finish = self._registry.hold(change)
        self._waiting.append((self.turns + self._random.randint(2, 30), finish, done))

    def _let_go(self, *, everything: bool = False) -> None:
        due = [held for held in self._waiting if everything or held[0] <= self.turns]
        self._waiting = [held for held in self._waiting if held not in due]
        for _, finish, done in due:
            flow, key, _ = done
            if self._random.random() < 0.9:
                self.journal.commit(lambda finish=finish: finish(True), [done])
                self._alive[flow].append(key)
                self.diary.late += 1
            else:
                finish(False)
                history = self.journal.of(flow).get(key, [])
                (self._alive if history and history[-1] is not None else self._dead)[flow].append(key)

    def _try(self, act: Callable[[], object]) -> None:
        """Do something at the database, which is never away: nobody could say what it did before it went."""
        act()

    # -- changes -----------------------------------------------------------------------------------------------------

    def _act(self) -> Sequence[Change]:
        flow = self._random.choice(self._habits.flows)
        (name,) = self._random.choices(list(_ACTS), list(_ACTS.values()))
        if name == "insert" or not self._alive[flow]:
            return self._insert(flow, self._free(flow))
        key = self._random.choice(self._alive[flow])
        acts: Mapping[str, Callable[[str, str], Sequence[Change]]] = {
            "update": self._update,
            "delete": self._remove,
            "replace": lambda flow, key: [*self._remove(flow, key), *self._insert(flow, key)],
            "rename": self._rename,
            "there_and_back": self._there_and_back,
        }
        return acts[name](flow, key)

    def _insert(self, flow: str, key: str) -> Sequence[Change]:
        row = self._written(flow, key, self._any_name(), self._any_amount())
        if key in self._dead[flow]:
            self._dead[flow].remove(key)
        self._alive[flow].append(key)
        return [self._change(INSERT, flow, *row)]

    def _update(self, flow: str, key: str) -> Sequence[Change]:
        return [self._set(flow, key, self._any_name(), self._any_amount())]

    def _there_and_back(self, flow: str, key: str) -> Sequence[Change]:
        first, second = ((self._any_name(), self._any_amount()) for _ in range(2))
        return [self._set(flow, key, *values) for values in (first, second, first)]

    def _remove(self, flow: str, key: str) -> Sequence[Change]:
        self._gone(flow, key)
        return [self._change(DELETE, flow, key)]

    def _rename(self, flow: str, key: str) -> Sequence[Change]:
        other = self._free(flow)
        self._gone(flow, key)
        row = self._written(flow, other, self._any_name(), self._any_amount())
        if other in self._dead[flow]:
            self._dead[flow].remove(other)
        self._alive[flow].append(other)
        return [self._change(UPDATE, flow, *row, key)]

    def _set(self, flow: str, key: str, name: str | None, amount: str | None) -> Change:
        return self._change(UPDATE, flow, *self._written(flow, key, name, amount), key)

    def _written(self, flow: str, key: str, name: str | None, amount: str | None) -> Row:
        rev = self._revs[flow][key] = self._revs[flow].get(key, 0) + 1
        row = (key, rev, name, amount)
        self._done.append((flow, key, row))
        return row

    def _gone(self, flow: str, key: str) -> None:
        self._alive[flow].remove(key)
        self._dead[flow].append(key)
        self._done.append((flow, key, None))

    def _free(self, flow: str) -> str:
        """Return a key that has no row: now and then one that had one."""
        if self._dead[flow] and self._random.random() < _REUSED:
            return self._random.choice(self._dead[flow])
        return f"n{self.turns:06}-{self._random.randrange(1 << 32):08x}"

    def _change(self, statement: str, flow: str, *values: Any) -> Change:
        return statement.format(table=TABLES[flow], now=self._registry.now), values
