"""Messages that hold records of one transaction of the source only, where the flow asks for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events import RecordQuarantined
from agent.model import Batch, ExchangeMessage, Objection, Position
from agent.services.capture_messages import BatchLimits, Packed, breaks_of, pack
from agent.testing.scripted_source import ScriptedSource
from connectors.database.batches import BatchMaker
from tests.unit.services.capture_kit import Bench


class Transactions(ScriptedSource):
    """A log whose transactions end with these rows: numbers in the order in which they were put, from 1."""

    def __init__(self, *ends: int) -> None:
        super().__init__(log=True)
        self.ends = ends
        self.objection: Objection | None = None

    def read(self, after: Position, limit: int) -> Batch:
        batch = super().read(after, limit)
        assert batch.tokens is not None
        ends = [row for row, token in enumerate(batch.tokens) if int(token) in self.ends]
        return replace(batch, ends=ends, objection=self.objection)


def messages(bench: Bench) -> list[list[Any]]:
    """Return the keys in each message."""
    by_sequence: dict[int, list[Any]] = {}
    for sent in bench.sent():
        by_sequence.setdefault(sent.sequence, []).append(sent.key["id"])
    return list(by_sequence.values())


def captured(*ends: int, rows: int = 6, records: int = 500, whole: bool = True, page_rows: int = 2000) -> list[list[Any]]:
    """Capture rows 1 to `rows`, whose transactions end as told, and return the keys in each message."""
    source = Transactions(*ends)
    bench = Bench(source, limits=None, whole_transactions=whole, page_rows=page_rows)
    bench.plan = replace(bench.plan, limits=BatchLimits(records=records))
    bench.service = bench.build()
    source.put(*((number, "x") for number in range(1, rows + 1)))
    bench.run()
    return messages(bench)


def test_a_message_never_holds_two_transactions() -> None:
    """Each transaction travels in a message of its own, the one whose end is not known yet too."""
    assert captured(2, 3, 5) == [[1, 2], [3], [4, 5], [6]]


def test_messages_are_filled_without_regard_to_transactions_unless_asked() -> None:
    """With `split`, the default, everything that was read together travels together."""
    assert captured(2, 3, 5, whole=False) == [[1, 2, 3, 4, 5, 6]]


def test_a_large_transaction_takes_several_messages_in_a_row() -> None:
    """What does not fit into one message goes on in the next, and the next transaction begins with another."""
    assert captured(5, 6, records=2) == [[1, 2], [3, 4], [5], [6]]


def test_a_page_that_ends_inside_a_transaction_goes_on_in_a_new_message() -> None:
    """The rest of the transaction never shares a message with the one that follows it."""
    assert captured(5, 6, page_rows=3) == [[1, 2, 3], [4, 5], [6]]


def test_a_row_that_is_put_aside_does_not_join_transactions() -> None:
    """When the last row of a transaction becomes no record, its end still is one."""
    source = Transactions(2, 4)
    bench = Bench(source, whole_transactions=True)
    source.put((1, "a"), (2, None), (3, None), (4, "d"), (5, "e"))
    bench.run()
    assert messages(bench) == [[1], [4], [5]]


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.lists(st.integers(0, 29), unique=True).map(sorted), st.integers(1, 5))
def test_no_record_is_lost_and_no_message_crosses_an_end(kept: list[bool], ends: list[int], most: int) -> None:
    """Whatever rows became records and wherever transactions end: all travel, in order, and no message holds two transactions."""
    rows = [row for row, keep in enumerate(kept) if keep]
    packed = list(pack(_Writer(), [b"%d" % row for row in rows], 1, BatchLimits(records=most), breaks_of(rows, ends)))
    groups = [rows[p.first : p.last] for p in packed if isinstance(p, Packed)]
    assert [row for group in groups for row in group] == rows
    for group in groups:
        assert 0 < len(group) <= most
        assert not [end for end in ends if group[0] <= end < group[-1]]


class _Writer:
    def records(self, sequence: int, records: Sequence[bytes]) -> ExchangeMessage:  # noqa: ARG002 - as it is called
        return None  # type: ignore[return-value]  # nobody looks at it


@pytest.mark.parametrize(
    "ends, good, left",
    [
        ([1, 3], [True, True, True, True], [1, 3]),
        ([1, 3], [True, False, True, True], [0, 2]),
        ([1, 3], [False, False, True, False], [0]),
        ([0, 1, 3], [True, False, True, True], [0, 2]),
    ],
)
def test_ends_follow_the_rows_that_can_be_read(ends: list[int], good: list[bool], left: list[int]) -> None:
    """A transaction that loses its last row to a value that is no text ends with the row before."""
    assert BatchMaker.ends_among(ends, good) == left


def test_rows_that_the_source_objects_to_are_put_aside_with_their_keys() -> None:
    """Every row is quarantined for the reason given, deletes pass, and the flow goes on."""
    source = Transactions()
    bench = Bench(source)
    source.put((1, "a"), (2, "b"))
    bench.run()
    source.objection = Objection("schema_changed", "columns have changed: {difference}", details={"difference": "- fax TEXT"})
    source.put((3, "c"))
    source.delete(1)
    bench.run()
    assert bench.names() == [(1, "a"), (2, "b"), (1, None)]
    (item,) = bench.open_items()
    assert (item.reason, item.details["difference"], item.key is not None) == ("schema_changed", "- fax TEXT", True)
    assert [event.reason for event in bench.recorder.of(RecordQuarantined)] == ["schema_changed"]
