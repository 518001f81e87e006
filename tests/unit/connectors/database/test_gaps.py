"""Numbers given out at write time, commits in any order: what the list of gaps takes, remembers and forgets."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from connectors.database.streams.gaps import MARGIN_SECS, MOST_HOLES, Gaps, Hole, settled_before

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "write", "write", "commit", "commit", "rollback", "look", "read", "read", "wait"]),
        st.integers(0, 7),
        st.integers(1, 5),
    ),
    max_size=120,
)


@dataclass
class Server:
    """Transactions that take numbers when they write, and a reader with a limit that follows them."""

    clock: float = 1000.0
    number: int = 0
    visible: set[int] = field(default_factory=set)
    open: dict[int, tuple[int, list[int]]] = field(default_factory=dict)  # when it began, in whole seconds, and its numbers
    look: tuple[float, float | None] | None = None
    gaps: Gaps = field(default_factory=lambda: Gaps(0))
    emitted: list[int] = field(default_factory=list)

    def do(self, step: str, who: int, amount: int) -> None:  # noqa: C901 - one branch for each step
        self.clock += 0.01
        match step:
            case "begin":
                self.open.setdefault(who, (int(self.clock), []))
            case "write":
                _began, numbers = self.open.setdefault(who, (int(self.clock), []))
                for _ in range(amount):
                    self.number += 1
                    numbers.append(self.number)
            case "commit":
                self.visible.update(self.open.pop(who, (0, []))[1])
            case "rollback":
                self.open.pop(who, None)
            case "look":
                oldest = min((began for began, _ in self.open.values()), default=None)
                self.look = (self.clock, oldest)
            case "read":
                self.read(amount)
            case "wait":
                self.clock += amount / 2

    def read(self, limit: int) -> bool:
        """Read in one snapshot, after the look that was made last; return whether everything was read."""
        wanted = {n for hole in self.gaps.holes for n in range(hole.first, hole.last + 1)}
        found = sorted(n for n in self.visible if n in wanted or n > self.gaps.hi)[:limit]
        whole = len(found) < limit
        before = float("-inf") if self.look is None else settled_before(*self.look)
        gaps = self.gaps.after(found, self.clock).settled(before, None if whole else found[-1])
        self.gaps = Gaps.of(json.loads(json.dumps(gaps.stored())))
        self.emitted += found
        return whole


@given(STEPS)
def test_every_committed_entry_is_read_once(steps: list[tuple[str, int, int]]) -> None:
    """Whatever the order of commits, rollbacks, looks and reads: each committed number is taken exactly once."""
    server = Server()
    for step in steps:
        server.do(*step)
        assert len(server.emitted) == len(set(server.emitted))
        assert set(server.emitted) <= server.visible
    for who in list(server.open):
        server.do("commit", who, 1)
    while not server.read(5):
        pass
    assert sorted(server.emitted) == sorted(server.visible)


@given(STEPS)
def test_nothing_stays_open_once_all_is_over(steps: list[tuple[str, int, int]]) -> None:
    """When no transaction is open, a look and a reading some seconds later leave no hole."""
    server = Server()
    for step in steps:
        server.do(*step)
    for who in list(server.open):
        server.do("rollback", who, 1)
    while not server.read(5):
        pass
    server.clock += MARGIN_SECS + 0.1
    server.do("look", 0, 1)
    assert server.read(5)
    assert server.gaps == Gaps(server.gaps.hi)


@given(STEPS)
def test_order_is_kept_per_row(steps: list[tuple[str, int, int]]) -> None:
    """Two changes of one row never overlap in time, so they are read in the order of their numbers."""
    server = Server()
    changed: list[int] = []  # the numbers of row changes; a transaction that has one holds the row until it ends
    holder: int | None = None
    for step, who, amount in steps:
        if step == "write" and holder in (None, who):
            holder = who
            changed += range(server.number + 1, server.number + amount + 1)
        if step in ("commit", "rollback") and who == holder:
            holder = None
        server.do(step, who, amount)
    order = [number for number in server.emitted if number in changed]
    assert order == sorted(order)


@given(STEPS)
def test_holes_are_in_order_and_apart(steps: list[tuple[str, int, int]]) -> None:
    """Holes never overlap, lie below the greatest number and hold nothing that was read."""
    server = Server()
    for step in steps:
        server.do(*step)
        assert all(a.last < b.first for a, b in pairwise(server.gaps.holes))
        assert all(hole.first <= hole.last < server.gaps.hi for hole in server.gaps.holes)
        assert not any(hole.first <= number <= hole.last for hole in server.gaps.holes for number in server.emitted)
        assert server.gaps.low <= server.gaps.hi


def test_a_hole_outlives_a_transaction_that_began_before_it_was_seen() -> None:
    """As long as one is open that began up to two seconds after a hole was seen, the hole is kept."""
    gaps = Gaps(5, (Hole(3, 3, 100.0),))
    assert gaps.settled(settled_before(200.0, 102.0)) == gaps
    assert gaps.settled(settled_before(200.0, 103.0)) == Gaps(5)
    assert gaps.settled(settled_before(101.9, None)) == gaps
    assert gaps.settled(settled_before(200.0, None)) == Gaps(5)


def test_holes_that_were_not_looked_into_are_kept() -> None:
    """A reading that ended at its limit forgets only the holes up to there."""
    gaps = Gaps(9, (Hole(2, 3, 1.0), Hole(6, 7, 1.0)))
    assert gaps.settled(50.0, 3) == Gaps(9, (Hole(6, 7, 1.0),))
    assert gaps.settled(50.0, 2) == gaps


def test_a_hole_is_filled_from_within() -> None:
    """Numbers found inside a hole split it; both parts keep the time at which they were seen missing."""
    assert Gaps(9, (Hole(2, 8, 1.0),)).after([2, 5, 8, 12], 7.0) == Gaps(
        12, (Hole(3, 4, 1.0), Hole(6, 7, 1.0), Hole(10, 11, 7.0))
    )


def test_the_list_of_holes_is_bounded() -> None:
    """With too many holes reading waits; below the first of them everything is settled."""
    gaps = Gaps(0).after(range(2, 2 * MOST_HOLES + 2, 2), 5.0)
    assert gaps.full
    assert gaps.low == 0
    assert not Gaps(7).full
    assert Gaps(7).low == 7


def test_the_condition_names_holes_and_what_lies_behind() -> None:
    """The first question is for what is news, the second for the same up to the number found last."""
    gaps = Gaps(9, (Hole(2, 3, 1.0), Hole(6, 7, 1.0)))
    assert gaps.condition() == "seq BETWEEN 2 AND 3 OR seq BETWEEN 6 AND 7 OR seq > 9"
    assert gaps.condition(6) == "seq BETWEEN 2 AND 3 OR seq BETWEEN 6 AND 6"
    assert gaps.condition(12) == "seq BETWEEN 2 AND 3 OR seq BETWEEN 6 AND 7 OR seq BETWEEN 10 AND 12"
    assert "seq >" not in Gaps(0).after(range(2, 2 * MOST_HOLES + 2, 2), 5.0).condition()
