"""How a process is armed to die at a crash point."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent import failpoints
from agent.errors import SettingsError
from agent.failpoints import failpoint
from agent.testing import arming


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    """Leave nothing armed."""
    yield
    failpoints.arm(None)


@pytest.mark.parametrize("asked,meant", [("C07:3", ("C07", 3)), ("C01", ("C01", 1))])
def test_a_point_and_a_hit_are_asked_for(asked: str, meant: tuple[str, int]) -> None:
    """`C07:3` is the third hit of C07; without a number it is the first."""
    assert arming.parse(asked) == meant


@pytest.mark.parametrize("asked", ["", "C99", "c07", "C07:", "C07:0", "C07:-1", "C07:x", "C07:3,C08", "C07:٣", "C07:9999999999"])
def test_what_is_no_point_is_refused(asked: str) -> None:
    """A typing error must not look like a process that survived."""
    with pytest.raises(SettingsError, match="names no crash point"):
        arming.arm_as_asked({arming.VARIABLE: asked})


def test_without_the_variable_nothing_is_armed() -> None:
    """In production a crash point costs one comparison."""
    arming.arm_as_asked({"PATH": "/bin"})
    assert failpoints._hook is None


def test_the_hit_that_was_asked_for_is_the_end() -> None:
    """Other points and earlier hits pass; the end comes once."""
    ended: list[str] = []
    failpoints.arm(arming._Fuse("C07", 3, ended.append).burn)
    for name in ("C07", "C08", "C07", "C08"):
        failpoint(name)
    assert ended == []
    for _ in range(3):
        failpoint("C07")
    assert ended == ["C07"]
