"""What a mode reads from goes away: never a silent jump."""

# ruff: noqa: ARG002 - what one database has no use for, another has

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest

from agent.events import FlowPaused, GapOpened, SourceLost, WalkCompleted
from tests.contract.capture.base import CaptureBase
from tests.contract.capture.rig import Rig
from tests.contract.capture.sites import Site


class GapCases(CaptureBase):
    """Gaps are numbered, told and made good."""

    sees_triggers_return: ClassVar[bool] = True  # triggers that were dropped and made again are told from those before

    def test_a_source_that_restarts_in_the_middle(self, own_site: Site, mode: str, made: list[Rig]) -> None:
        """A server that dies and comes back, in the load and in the stream, costs nothing."""
        rig = Rig(own_site, mode)
        made.append(rig)
        own_site.fill(43)
        for change in (own_site.put(100), own_site.set(1, "B")):
            rig.step(4)
            own_site.cut()
            rig.until(lambda: bool(rig.recorder.of(SourceLost)))
            own_site.mend()
            own_site.tx(change, own_site.put(200 + len(change)))
            rig.recorder.clear()
            rig.settle()
            rig.agrees()
        assert rig.gaps() == []

    def test_the_log_is_gone(self, own_site: Site, mode: str, made: list[Rig]) -> None:
        """A log that was taken away and made anew is a numbered gap and an alarm; a comparison finds what is missing."""
        rig = Rig(own_site, mode)
        made.append(rig)
        own_site.fill(8)
        rig.settle()
        missed = (own_site.put(10), own_site.set(1, "B"), own_site.delete(2))
        if not rig.exact:
            self.the_table_is_away(own_site, rig, missed)
            return
        own_site.do(*missed)
        own_site.lose(rig.wiring)
        rig.settle()
        rig.agrees()
        self.is_told(rig, late=3)
        own_site.do(own_site.put(11), own_site.delete(3))
        since = len(rig.sent())
        rig.expect(since, {11: ["A"], 3: [None]})
        assert rig.gaps() == ["position_lost"]

    def the_table_is_away(self, site: Site, rig: Rig, missed: tuple[str, ...]) -> None:
        """Check what a mode without a log promises: while the table is away the flow is paused, then it goes on."""
        site.do("ALTER TABLE t RENAME TO away")
        rig.until(lambda: bool(rig.recorder.of(FlowPaused)))
        site.do("ALTER TABLE away RENAME TO t", *missed)
        rig.settle(400)
        rig.agrees()
        assert rig.gaps() == []

    def is_told(self, rig: Rig, late: int) -> None:
        """Check that a gap was numbered and told, and that what the comparison found was counted."""
        assert rig.gaps() == ["position_lost"]
        (gap,) = rig.recorder.of(GapOpened)
        assert (gap.flow, gap.number, gap.level) == (rig.flow, 1, "error")
        (walk,) = rig.recorder.of(WalkCompleted)
        assert walk.late + walk.deleted == late

    @pytest.mark.parametrize("looking", [True, False])
    def test_the_triggers_are_off_for_a_while(self, site: Site, rig: Rig, *, looking: bool) -> None:
        """What is written while nothing is logged is found, and told as missed, whether or not anybody looked meanwhile."""
        site.fill(8)
        rig.settle()
        missed = (site.put(10), site.set(1, "B"), site.delete(2))
        if rig.mode != "trigger":
            site.do(*missed)
            rig.expect(8, {10: ["A"], 1: ["B"], 2: [None]})
            return
        site.switch(rig.wiring, on=False)
        site.do(*missed)
        if looking:
            rig.clock.advance(60)
            rig.until(lambda: bool(rig.recorder.of(FlowPaused)))
        site.switch(rig.wiring, on=True)
        site.do(site.put(11))
        rig.settle(400)
        rig.agrees()
        (walk,) = rig.recorder.of(WalkCompleted)
        assert walk.late + walk.deleted >= 3
        assert rig.gaps() == (["position_lost"] if looking or self.sees_triggers_return else [])
        site.do(site.put(12))
        rig.settle()
        rig.agrees()

    def test_the_log_is_altered(self, site: Site, rig: Rig) -> None:
        """A log that was altered so that it no longer tells everything is not trusted: the flow is paused until it is right."""
        site.fill(8)
        rig.settle()
        alter = self.alterations(rig)
        site.do(*alter)
        site.do(site.put(10), site.delete(2))
        if alter:
            rig.clock.advance(60)
            rig.until(lambda: bool(rig.recorder.of(FlowPaused)))
            site.lose(rig.wiring)
        rig.settle(400)
        rig.agrees()
        assert rig.gaps() == (["position_lost"] if alter else [])

    def alterations(self, rig: Rig) -> tuple[str, ...]:
        """Return statements that break the log of a mode; none where there is no log that anybody could alter."""
        raise NotImplementedError

    def test_a_check_names_what_is_missing(self, site: Site, rig: Rig) -> None:
        """The connection test is content with the least rights, and names the one that is missing with what grants it."""
        site.fill(2)
        good = [finding for finding in rig.source.check() if not finding.ok and not finding.warning]
        assert good == []
        word = site.forbid(rig.mode)
        wrong = [finding for finding in rig.source.check() if not finding.ok and not finding.warning]
        assert wrong
        said = " ".join(f"{f.text} {f.hint}".format_map(Blank(f.details)) for f in wrong)
        assert word in said

    def test_a_missing_right_pauses_the_flow(self, site: Site, rig: Rig) -> None:
        """A right that is taken away in mid-stream pauses the flow, and nothing is lost once it is given back."""
        site.fill(3)
        rig.settle()
        restore = self.taken_away(site, rig)
        site.do(site.put(10)) if not self.table_is_away(site, rig) else None
        rig.clock.advance(60)
        rig.until(lambda: bool(rig.recorder.of(FlowPaused)))
        restore()
        site.do(site.put(11), site.set(1, "B"))
        rig.settle(400)
        rig.agrees()

    def taken_away(self, site: Site, rig: Rig) -> Callable[[], None]:
        """Take away what the flow reads; returns what gives it back."""
        raise NotImplementedError

    def table_is_away(self, site: Site, rig: Rig) -> bool:
        """Tell whether nobody can write meanwhile."""
        return False


class Blank(dict[str, object]):
    """Details of a finding, with nothing for what is not told."""

    def __init__(self, details: object) -> None:
        super().__init__(details)  # type: ignore[call-overload]

    def __missing__(self, key: str) -> str:
        return ""
