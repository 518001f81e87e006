"""What is remembered of files, and in what bounds."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from connectors.file_drop.filing import _fitting, _names
from connectors.file_drop.folder import natural_key, shown
from connectors.file_drop.ledger import DropLedger
from connectors.file_drop.position import READ, REPEATED, Drop, Identity, decode, encode


def drop(ordinal: int, name: str = "a.csv", digest: str = "d", *, ended: str = READ, inode: int = 1, twin: int = 0) -> Drop:
    return Drop(ordinal, name, Identity(inode, 5, 7), digest, ended=ended, twin=twin)


def remembered(*drops: Drop, keep: bool = False, slots: int = 10_000) -> DropLedger:
    """Return a ledger that was stored after these drops and loaded again."""
    memory: dict[str, str] = {}
    ledger = DropLedger({}, keep=keep, slots=slots)
    for each in drops:
        memory |= ledger.begin(each.ordinal)
        memory |= ledger.end(each)
        list(ledger.commit(each.ordinal))
    assert len(memory) <= slots + 1
    return DropLedger(memory, keep=keep, slots=slots)


def test_what_was_read_is_known_again() -> None:
    """The last content of a name repeats it; any other is new."""
    ledger = remembered(drop(1), drop(2, "b.csv"), drop(3, digest="e"))
    assert ledger.repeats("a.csv", "e", Identity(9, 9, 9)) is not None
    assert ledger.repeats("a.csv", "d", Identity(1, 5, 7)) is None
    assert ledger.repeats("c.csv", "d", Identity(1, 5, 7)) is None
    assert ledger.next_ordinal() == 4


def test_a_repeated_drop_stands_for_the_first() -> None:
    """However often a file is repeated, the first drop of the content is named, because its rejects are."""
    ledger = remembered(drop(4), drop(5, ended=REPEATED, twin=4))
    found = ledger.repeats("a.csv", "d", Identity(0, 0, 0))
    assert found is not None
    assert (found.ordinal, found.ended) == (4, READ)


def test_a_refused_file_only_repeats_itself() -> None:
    """A file refused whole is read again when it is dropped again; left over by a crash it is not."""
    ledger = remembered(drop(1, ended="no_header"))
    assert ledger.repeats("a.csv", "d", Identity(1, 5, 7)) is not None
    assert ledger.repeats("a.csv", "d", Identity(2, 5, 7)) is None


def test_the_number_of_facts_is_bounded() -> None:
    """Where files are archived the last ones are remembered, and ordinals never come again."""
    ledger = remembered(*(drop(n, f"f{n}.csv") for n in range(1, 51)), slots=10)
    known = [n for n in range(1, 51) if ledger.repeats(f"f{n}.csv", "d", Identity(0, 0, 0))]
    assert known == list(range(41, 51))
    assert ledger.next_ordinal() == 51


def test_files_that_stay_are_all_remembered() -> None:
    """Where files are kept, no fact is given up, however often one of them changes."""
    ledger = remembered(drop(1), *(drop(n, "b.csv", f"{n}") for n in range(2, 40)), keep=True, slots=100)
    assert ledger.is_done("a.csv", Identity(1, 5, 7))
    assert not ledger.is_done("a.csv", Identity(1, 6, 7))


def test_going_back_forgets_what_is_not_durable() -> None:
    """Reading again from an earlier position gives the same ordinals."""
    ledger = DropLedger({})
    ledger.begin(1)
    ledger.end(drop(1))
    ledger.begin(2)
    ledger.end(drop(2, "b.csv"))
    ledger.continue_from(1)
    assert ledger.next_ordinal() == 2
    assert not ledger.is_done("b.csv", Identity(1, 5, 7))
    assert [each.ordinal for each in ledger.commit(1)] == [1]
    ledger.continue_from(0)
    assert ledger.next_ordinal() == 2


@given(st.builds(drop, st.integers(1, 1 << 60), st.text(min_size=1), st.text(), ended=st.text(), twin=st.integers(0, 9)))
def test_a_position_is_read_back_as_it_was(position: Drop) -> None:
    """Every place in a drop survives being stored."""
    assert decode(encode(position)) == position


@given(st.lists(st.text(min_size=1, max_size=12)))
def test_natural_order_is_an_order(names: list[str]) -> None:
    """Any names can be sorted, always in the same way."""
    backwards = names[::-1]
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)


def test_numbers_in_names_count_as_numbers() -> None:
    """Dates and counters sort as people expect."""
    names = ["b1", "a10", "a9", "a2b10", "a2b9", "a", "2", "10"]
    assert sorted(names, key=natural_key) == ["2", "10", "a", "a2b9", "a2b10", "a9", "a10", "b1"]


@given(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=85), st.integers(1, 10**6))
def test_names_made_from_names_fit(name: str, ordinal: int) -> None:
    """A number in a name never makes it too long, and the suffix stays."""
    made = _fitting(name, f".{ordinal}")
    assert 0 < len(made.encode()) <= 255
    assert f".{ordinal}" in made


def test_there_is_always_another_name() -> None:
    """Names are tried in a fixed order, without end and without repeating."""
    tried = [path.name for path in islice(_names(Path("/x"), "deed.csv", 17), 4)]
    assert tried == ["deed.csv", "deed.17.csv", "deed.17-2.csv", "deed.17-3.csv"]


@given(st.text())
def test_a_name_that_is_shown_is_printable(name: str) -> None:
    """Nothing that reorders, hides or breaks a line of a log gets into it."""
    assert not any(ord(c) < 32 or c in "\u202e\u200b\u2028" for c in shown(name))
    shown(name).encode()
