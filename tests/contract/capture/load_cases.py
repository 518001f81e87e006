"""The first load, and writers who do not wait for it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from agent.events import FirstLoadCompleted
from connectors.database.tables.reader import Page, TableReader
from tests.contract.capture.base import CaptureBase, Make
from tests.contract.capture.rig import Rig
from tests.contract.capture.sites import Site

ROWS = 60


class Writers:
    """What happens between the statements of the agent: changes ahead of the load, behind it, and at its edge."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.history: dict[int, list[Any]] = {n: [f"n{n}"] for n in range(1, ROWS + 1)}
        self.turns = 0
        self.quiet = False

    def __call__(self) -> None:
        if self.quiet or self.turns >= 80:
            return
        self.turns += 1
        turn = self.turns
        self.change((turn * 7) % ROWS + 1, f"v{turn}")
        self.change(min(turn * 4, ROWS), f"w{turn}")
        self.change(max(1, ROWS - turn), None if turn % 3 else f"x{turn}")
        self.change(1000 + turn, f"new{turn}")
        if turn > 3:
            self.change(1000 + turn - 3, None)
        self.change(-turn, f"low{turn}")

    def change(self, key: int, name: str | None) -> None:
        history = self.history.setdefault(key, [None])
        there = history[-1] is not None
        if name is None:
            self.site.do(self.site.delete(key))
        else:
            self.site.do(self.site.set(key, name) if there else self.site.put(key, name))
        if name is not None or there:
            history.append(name)


class LoadCases(CaptureBase):
    """No row stale, none doubled, none missing."""

    @pytest.fixture
    def writers(self, site: Site) -> Writers:
        """People at work while the table is loaded."""
        return Writers(site)

    @pytest.mark.parametrize("between", ["pages", "statements"])
    def test_changes_during_the_first_load(
        self, site: Site, rig: Rig, writers: Writers, between: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With a writer between every two pages, or statements, of the load no row is stale and no change doubled."""
        site.fill(ROWS)
        if between == "pages":
            rig.after_read = writers
        else:
            page = TableReader.page

            def interrupted(reader: TableReader, *arguments: Any, **values: Any) -> Page:
                read = page(reader, *arguments, **values)
                writers()
                return read

            monkeypatch.setattr(TableReader, "page", interrupted)
        rig.until(lambda: bool(rig.recorder.of(FirstLoadCompleted)))
        assert writers.turns > ROWS // 8
        writers.quiet = True
        self.check(rig, writers)

    def test_deaths_during_the_first_load(self, site: Site, rig: Rig, writers: Writers) -> None:
        """The same while the process dies again and again."""
        site.fill(ROWS)
        rig.after_read = writers
        for number in range(12):
            rig.die_at(("C01", "C02", "C03")[number % 3], 1 + number % 2)
        writers.quiet = True
        self.check(rig, writers)

    def test_a_change_behind_a_page_that_waits(self, site: Site, make: Make) -> None:
        """A row that is changed, changed back or deleted while its page waits for the stream arrives as it is in the end."""
        rig = make(page_rows=50)
        site.fill(10)
        acts = [site.set(1, "B"), site.set(2, "B"), site.set(2, "n2"), site.delete(3), site.delete(4), site.put(4, "n4")]

        def once() -> None:
            rig.after_read = lambda: None
            site.do(*acts)

        rig.after_read = once
        rig.settle()
        rig.agrees()
        assert all(one != other for names in rig.told().values() for one, other in pairwise(names))

    def check(self, rig: Rig, writers: Writers) -> None:
        """Check that what was told of each key is a part of its history, in order, and its last state."""
        rig.settle()
        rig.agrees()
        for key, names in rig.told().items():
            assert all(one != other for one, other in pairwise(names)), (key, names)
            assert is_part(names, writers.history[key]), (key, names, writers.history[key])


def is_part(some: list[Any], whole: list[Any]) -> bool:
    """Tell whether `some` is `whole` with parts left out."""
    rest = iter(whole)
    return all(item in rest for item in some)
