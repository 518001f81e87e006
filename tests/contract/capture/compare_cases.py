"""The comparison: the proof that nothing was missed, and the remedy when something was."""

from __future__ import annotations

import pytest

from agent.events import WalkCompleted
from agent.model import WalkKind, WalkOrder
from tests.contract.capture.base import CaptureBase, Make
from tests.contract.capture.rig import Rig
from tests.contract.capture.sites import Site

OLD = "'2020-01-01 00:00:00'"
ROWS = 60


class CompareCases(CaptureBase):
    """Everything that was read before is `settled`: rows with an old cursor, and one that is newer."""

    @pytest.fixture
    def old(self, site: Site, rig: Rig) -> Rig:
        """A flow that has captured old rows and a new one."""
        return self.grown(site, rig)

    def grown(self, site: Site, rig: Rig) -> Rig:
        site.tx(site.many.format(first=1, count=ROWS, last=ROWS, now=OLD))
        site.do(site.put(1000))
        rig.settle()
        assert len(rig.sent()) == ROWS + 1
        return rig

    def test_nothing_missed_is_told(self, old: Rig) -> None:
        """When nothing was missed a comparison covers every row and finds none late, none gone and none to hold."""
        found = old.compare()
        assert (found.covered, found.late, found.deleted, found.held) == (ROWS + 1, 0, 0, 0)
        assert len(old.sent()) == ROWS + 1
        assert old.gaps() == []

    def test_what_is_still_under_way_is_not_late(self, site: Site, old: Rig) -> None:
        """Changes that the mode would have captured anyway do not count as missed, and are told once."""
        site.do(site.put(2000), site.set(1, "B"), site.delete(2))
        found = old.compare()
        old.settle()
        old.agrees()
        if old.mode != "compare":  # that one has nothing but walks
            assert found.late == 0
            assert found.deleted == 0 or not old.sees_deletes
        if old.exact:
            assert old.told(ROWS + 1) == {2000: ["A"], 1: ["B"], 2: [None]}

    def test_what_was_missed_is_found(self, site: Site, old: Rig) -> None:
        """Rows that were changed behind the back of the capture are found, sent, deleted and counted."""
        site.behind(
            old.wiring,
            "UPDATE t SET name = 'B', updated_at = updated_at WHERE id IN (1, 30)",
            f"INSERT INTO t (id, name, updated_at) VALUES (500, 'A', {OLD})",
            "DELETE FROM t WHERE id IN (2, 59)",
        )
        if old.mode != "compare":
            old.settle()
            assert len(old.sent()) == ROWS + 1  # indeed nobody saw it
        found = old.compare()
        late = 0 if old.mode == "compare" else 3  # that one had no other chance to see them
        assert (found.covered, found.late, found.deleted) == (ROWS, late, 2)
        old.agrees()
        assert old.told(ROWS + 1) == {1: ["B"], 30: ["B"], 500: ["A"], 2: [None], 59: [None]}
        site.do(site.set(1, "C"))
        old.settle()
        old.agrees()
        assert old.compare().late == 0

    def test_a_key_that_vanished_and_came_back(self, site: Site, old: Rig) -> None:
        """What the comparison deleted is an event again when it comes back, seen or not."""
        site.behind(old.wiring, "DELETE FROM t WHERE id IN (1, 2)")
        old.compare()
        assert old.told(ROWS + 1) == {1: [None], 2: [None]}
        site.behind(old.wiring, f"INSERT INTO t (id, name, updated_at) VALUES (1, 'n1', {OLD})")
        site.do(site.put(2, "n2"))
        old.settle()
        old.compare()
        old.agrees()
        assert old.told(ROWS + 1) == {1: [None, "n1"], 2: [None, "n2"]}

    def test_too_many_deletes_are_held(self, site: Site, old: Rig) -> None:
        """When more than the bearable share vanished nothing is deleted, and a numbered gap asks."""
        site.behind(old.wiring, "DELETE FROM t WHERE id <= 25")
        found = old.compare()
        assert (found.deleted, found.held) == (0, 25)
        assert old.gaps() == ["deletes_held"]
        assert len(old.names()) == ROWS + 1
        old.compare()
        assert old.gaps() == ["deletes_held"]

    def test_an_operator_accepts_deletes(self, site: Site, old: Rig) -> None:
        """Deletes that were held are carried out by a comparison that somebody ordered as certain."""
        site.behind(old.wiring, "DELETE FROM t WHERE id <= 25")
        old.compare()
        ordered = old.service.walk(WalkOrder(WalkKind.COMPARE, certain=True))
        old.settle()
        ordered.result(0)
        old.agrees()

    def test_a_share_that_is_bearable(self, site: Site, make: Make) -> None:
        """The same deletes are carried out when the flow allows so many."""
        rig = self.grown(site, make(most_deletes=60))
        site.behind(rig.wiring, "DELETE FROM t WHERE id <= 25")
        assert rig.compare().deleted == 25
        rig.agrees()
        assert rig.gaps() == []

    @pytest.mark.parametrize("rounds", [2, 5, 9, 14])
    def test_a_comparison_goes_on_after_a_restart(self, site: Site, old: Rig, rounds: int) -> None:
        """A process that dies in the middle of a comparison goes on with it, and finds what there is to find."""
        site.behind(
            old.wiring,
            "DELETE FROM t WHERE id IN (1, 2, 58)",
            "UPDATE t SET name = 'B', updated_at = updated_at WHERE id IN (3, 57)",
        )
        if old.mode != "compare":
            old.settle()
        known = len(old.recorder.of(WalkCompleted))
        ordered = old.service.walk(WalkOrder(WalkKind.COMPARE))
        old.step(rounds)
        assert ordered.done()
        old.restart()
        old.settle()
        found = old.recorder.of(WalkCompleted)[known]
        assert found.covered == ROWS - 2
        assert (found.late, found.deleted) == (0 if old.mode == "compare" else 2, 3)
        old.agrees()

    def test_parts_that_look_the_same_are_not_read(self, site: Site, make: Make) -> None:
        """The second comparison reads only the parts in which something changed; the others are told apart by checksums."""
        rig = self.grown(site, make(page_rows=10))
        rig.compare()
        rig.batches.clear()
        assert rig.compare().covered == ROWS + 1
        checksums = rig.source._database.digest(()) is not None if rig.source._database.name == "sqlite" else True
        read = sum(len(b.rows) for b in rig.batches if b.walked is not None)
        assert read == 0 or not checksums
        site.behind(rig.wiring, "UPDATE t SET name = 'B', updated_at = updated_at WHERE id = 15")
        if rig.mode != "compare":
            site.do(site.set(35, "B"))
            rig.settle()
        rig.batches.clear()
        found = rig.compare()
        assert (found.covered, found.late) == (ROWS + 1, 0 if rig.mode == "compare" else 1)
        read = sum(len(b.rows) for b in rig.batches if b.walked is not None)
        assert 10 <= read <= 20 or not checksums
        rig.agrees()

    def test_rows_come_and_go_between_comparisons(self, site: Site, make: Make) -> None:
        """Parts that grow, shrink and vanish between comparisons are compared as they are now."""
        rig = self.grown(site, make(page_rows=10, most_deletes=100))
        rig.compare()
        for turn in range(4):
            first = 3 + 13 * turn
            site.behind(
                rig.wiring,
                f"DELETE FROM t WHERE id BETWEEN {first} AND {first + 11}",
                site.many.format(first=2000 + 100 * turn, count=17, last=2016 + 100 * turn, now=OLD),
                *(f"INSERT INTO t (id, name, updated_at) VALUES ({-n - 100 * turn}, 'low', {OLD})" for n in range(1, 14)),
            )
            found = rig.compare()
            assert found.covered == len(site.names())
            assert found.deleted == 12
            rig.agrees()
        assert rig.compare().late == 0

    def test_the_table_changes_while_it_is_compared(self, site: Site, make: Make) -> None:
        """A writer between the pages of a comparison makes nothing late, nothing stale and nothing doubled."""
        rig = self.grown(site, make(page_rows=10))
        turns = iter(range(12))

        def write() -> None:
            for turn in turns:
                site.do(
                    site.set(ROWS - turn, f"v{turn}"),
                    site.set(turn + 1, f"w{turn}"),
                    site.put(3000 + turn),
                    site.delete(20 + turn),
                )
                return

        rig.after_read = write
        found = rig.compare()
        rig.settle()
        rig.agrees()
        if rig.mode != "compare":
            assert found.late == 0
        if rig.exact:
            assert all(len(names) <= 2 for names in rig.told(ROWS + 1).values())

    def test_a_backfill_reads_some_again(self, site: Site, old: Rig) -> None:
        """A backfill of chosen rows sends what was missed among them; with `again` also what is known."""
        site.behind(old.wiring, "UPDATE t SET name = 'B', updated_at = updated_at WHERE id IN (5, 50)")
        ordered = old.service.walk(WalkOrder(WalkKind.BACKFILL, condition="id < 10"))
        old.until(ordered.done)
        old.settle()
        if old.mode != "compare":
            assert old.told(ROWS + 1) == {5: ["B"]}
            ordered = old.service.walk(WalkOrder(WalkKind.BACKFILL, condition="id < 4", again=True))
            old.until(ordered.done)
            old.settle()
            assert old.told(ROWS + 2) == {n: [f"n{n}"] for n in (1, 2, 3)}
