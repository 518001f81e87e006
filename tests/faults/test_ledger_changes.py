"""The ledger of changes finds what was planted, as what it is, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.faults.ledger import Audit
from tests.faults.ledger_changes import check_changes, check_states
from tests.faults.movers import Event, Journal
from tests.faults.registry import Row


class Hub:
    """The records of one key at a hub, in order."""

    def __init__(self, events: Sequence[Event], ids: Sequence[str] = ()) -> None:
        self._events, self._ids = events, ids or [str(number) for number in range(len(events))]

    def rows(self, _query: str) -> Sequence[tuple[Any, ...]]:
        names = ("id", "rev", "name", "amount")
        return [
            ("things", ident, json.dumps({"id": "k"}), event is None, event and json.dumps(dict(zip(names, event, strict=True))))
            for ident, event in zip(self._ids, self._events, strict=True)
        ]


class Table:
    """A table that holds one row, or none."""

    def __init__(self, row: Event) -> None:
        self._row = row

    def rows(self, table: str) -> list[Row]:
        return [self._row] if self._row is not None and table == "thing" else []


def events_of(text: str) -> list[Event]:
    """Make events of "1 2 - 3": versions and deletes."""
    return [None if word == "-" else ("k", int(word), "n", "1.00") for word in text.split()]


def journal_of(before: str, after: str) -> Journal:
    """Make a journal in which a first load saw what was before."""
    journal = Journal({})
    journal.commit(lambda: None, [("things", "k", event) for event in events_of(before)])
    journal.note_loaded()
    journal.commit(lambda: None, [("things", "k", event) for event in events_of(after)])
    return journal


def kinds(found: Audit) -> set[str]:
    """Return the kinds of what was found."""
    return {kind for kind, some in found.findings().items() if some}


@pytest.mark.parametrize(
    "before, after, told, wrong",
    [
        ("1 2", "3 - 4", "2 3 - 4", set()),
        ("1 2", "3 - 4", "1 2 3 - 4", set()),
        ("1 -", "2", "2", set()),
        ("1 -", "2", "- 2", set()),
        ("1 -", "", "", set()),
        ("1", "", "", {"lost"}),
        ("1 2", "3 - 4", "3 - 4", {"lost"}),
        ("1 2", "3 - 4", "2 3 4", {"lost"}),
        ("1 2", "3 - 4", "2 - 4", {"lost"}),
        ("1 2", "3 - 4", "2 3 -", {"lost"}),
        ("1 2", "3 - 4", "2 3 - 4 4", {"twice"}),
        ("1 2", "3 - 4", "2 3 - - 4", {"twice"}),
        ("1 2", "3 - 4", "2 3 4 -", {"disorder"}),
        ("1 2", "3 - 4", "2 - 3 4", {"disorder"}),
        ("1 2 3", "4", "1 3 4", {"disorder"}),
        ("1 2", "3", "2 3 9", {"foreign"}),
        ("1", "2", "1 2 -", {"foreign"}),
    ],
)
def test_a_planted_fault_among_changes_is_found(before: str, after: str, told: str, wrong: set[str]) -> None:
    """Each change that is missing, there twice, in another place or made up is found; what a first load saw stands for more."""
    found = Audit()
    check_changes(found, journal_of(before, after), Hub(events_of(told)))
    assert kinds(found) == wrong
    assert found.records == len(told.split())


@pytest.mark.parametrize(
    "history, told, wrong",
    [
        ("1 2 - 4", "2 4", set()),
        ("1 2 - 4", "1 - 4", set()),
        ("1 2 -", "1 -", set()),
        ("1 2 -", "", set()),
        ("1 2 -", "2", {"lost"}),
        ("1 2 3", "1 2", {"lost"}),
        ("1 2 3", "", {"lost"}),
        ("1 2 3", "2 1 3", {"disorder"}),
        ("1 2 3", "1 1 3", {"twice"}),
        ("1 2 3", "1 9 3", {"foreign"}),
        ("1 2 3", "1 - 3", {"disorder"}),
    ],
)
def test_a_planted_fault_among_states_is_found(history: str, told: str, wrong: set[str]) -> None:
    """States may be left out; the last one counts, and nothing comes back to front, twice or from nowhere."""
    events = events_of(history)
    found = Audit()
    check_states(found, Table(events[-1]), journal_of("", history), Hub(events_of(told)))  # type: ignore[arg-type]
    assert kinds(found) == wrong


def test_what_is_gone_may_be_told_later() -> None:
    """Without deletes a key that is gone is no loss, an old version of one that is there is."""
    for history, wrong in (("1 2 -", set()), ("1 2 3", {"lost"})):
        events = events_of(history)
        found = Audit()
        check_states(found, Table(events[-1]), journal_of("", history), Hub(events_of("2")), deletes=False)  # type: ignore[arg-type]
        assert kinds(found) == wrong


def test_a_record_that_came_twice_is_found() -> None:
    """The same record id twice is there twice, whatever it says."""
    found = Audit()
    check_changes(found, journal_of("1", "2"), Hub(events_of("1 2"), ids=["a", "a"]))
    assert kinds(found) == {"twice"}
