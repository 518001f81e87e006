"""Positions of a table as they are stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import SourceGone
from agent.mapping.keys import values as read_key
from agent.model import START, Position, WalkKind
from connectors.database.position import Belonging, Reached, Walk

BELONGING = Belonging("public.qszt", ("bdcdyh", "xh"), "updated_at", None)
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.binary()
places = st.none() | st.lists(values, max_size=3).map(tuple)


marks = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)
walks = st.builds(
    Walk, st.sampled_from(WalkKind), places, st.integers(0), st.integers(1), st.text(), st.booleans(), st.booleans()
)


@given(st.builds(Reached, st.text(), marks, st.none() | walks))
def test_a_position_is_read_back_as_it_was(reached: Reached) -> None:
    """Every mark and every walk, with keys of every type, survives being stored."""
    assert BELONGING.decode(BELONGING.encode(reached)) == reached


def test_the_beginning_has_no_place() -> None:
    """START is where nothing was read."""
    assert BELONGING.decode(START) is None


@pytest.mark.parametrize(
    "other",
    [
        Belonging("public.other", ("bdcdyh", "xh"), "updated_at", None),
        Belonging("public.qszt", ("bdcdyh",), "updated_at", None),
        Belonging("public.qszt", ("bdcdyh", "xh"), "version", None),
        Belonging("public.qszt", ("bdcdyh", "xh"), None, None),
        Belonging("public.qszt", ("bdcdyh", "xh"), "updated_at", "zt <> 9"),
    ],
)
def test_a_position_of_something_else_is_never_read_on_from(other: Belonging) -> None:
    """Table, key, cursor or condition were changed: the old position means nothing any more, and that is said."""
    position = BELONGING.encode(Reached("polling", None, Walk(WalkKind.LOAD, ("秘密", 7))))
    with pytest.raises(SourceGone) as caught:
        other.decode(position)
    assert "秘密" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["5", "{}", "[]", "null", '{"of":[],"mode":"x"}', '{"of":["public.qszt"],"mode":"x","mark":1,"jump":{}}', "{", "\udc80"],
)
def test_what_is_no_position_is_a_lost_one(text: str) -> None:
    """Anything else than a position of a table is told as lost."""
    with pytest.raises(SourceGone):
        BELONGING.decode(Position(text))


def test_canonical_keys_are_read_back() -> None:
    """Every type letter of canonical key text gives the value it was made of."""
    text = '[["s","5\\"1"],["i","-7"],["n","1.50"],["b","_w8"],["o","true"],["f","0.1"]]'
    assert read_key(text, 6) == ('5"1', -7, "1.50", b"\xff\x0f", True, 0.1)


@pytest.mark.parametrize("text", ["[]", '[["s","a"]]', '[["x","a"],["s","b"]]', '[["i","x"],["i","1"]]', "nonsense"])
def test_what_is_no_key_is_refused(text: str) -> None:
    """A key of another width, type or form is an error, not another key."""
    with pytest.raises((ValueError, KeyError)):
        read_key(text, 2)
