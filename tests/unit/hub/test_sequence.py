"""The algebra of closed sequences, against a model that is a plain set."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hub.sequence import Closed, read_ranges, write_ranges

ranges = st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def model(closes: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in closes for number in range(first, last + 1)}


def close_all(closes: list[tuple[int, int]]) -> Closed:
    closed = Closed()
    for first, last in closes:
        closed = closed.close(first, last)
    return closed


@given(st.lists(ranges, max_size=40))
def test_closed_sequences_equal_a_plain_set(closes: list[tuple[int, int]]) -> None:
    """In any order and with repeats, high water, gaps, top and membership are those of a set of numbers."""
    closed, numbers = close_all(closes), model(closes)
    unbroken = next(n for n in range(100) if n + 1 not in numbers)
    assert closed.high_water == unbroken
    assert closed.top == max(numbers, default=0)
    assert [n for n in range(1, 80) if closed.covers(n)] == sorted(numbers)
    missing = set(range(1, closed.top + 1)) - numbers
    assert {n for first, last in closed.gaps() for n in range(first, last + 1)} == missing
    assert closed.missing() == len(missing)


@given(st.lists(ranges, max_size=40))
def test_ranges_stay_compact(closes: list[tuple[int, int]]) -> None:
    """Ranges never overlap, never touch and never touch the high water."""
    closed = close_all(closes)
    edges = [(closed.high_water, closed.high_water), *closed.ahead]
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(edges))


@given(st.lists(ranges, max_size=20), st.randoms())
def test_order_of_closing_does_not_matter(closes: list[tuple[int, int]], random: object) -> None:
    """The same closes in another order give the same value."""
    shuffled = list(closes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert close_all(shuffled) == close_all(closes)


@given(st.lists(ranges, max_size=20))
def test_ranges_survive_the_store(closes: list[tuple[int, int]]) -> None:
    """What is written as text reads back the same."""
    closed = close_all(closes)
    assert read_ranges(write_ranges(closed.ahead)) == closed.ahead
