"""Which events a history gives: keys that change, states that come back, what is not news, rows that cannot be mapped."""

from __future__ import annotations

from agent.events import FlowPaused, RecordQuarantined
from agent.model import Op
from tests.contract.capture.base import CaptureBase, Make
from tests.contract.capture.rig import NAME_LENGTH, Rig
from tests.contract.capture.sites import Site


class EventCases(CaptureBase):
    """History → events."""

    def test_inserts_updates_and_deletes(self, site: Site, rig: Rig) -> None:
        """Whatever happens to a row arrives, in order per key."""
        site.fill(4)
        rig.settle()
        site.do(site.put(10, "A"), site.set(1, "B"), site.delete(2), site.set(10, "B"))
        rig.expect(4, {10: ["A", "B"], 1: ["B"], 2: [None]})

    def test_a_delete_has_a_key_and_no_data(self, site: Site, rig: Rig) -> None:
        """The record of a delete names its key and nothing else."""
        site.fill(2)
        rig.settle()
        site.do(site.delete(1))
        rig.expect(2, {1: [None]})
        (gone,) = [record for record in rig.sent() if record.op is Op.DELETE]
        assert (gone.key, gone.data) == ({"id": 1}, None)

    def test_a_change_of_key_is_a_delete_and_an_upsert(self, site: Site, rig: Rig) -> None:
        """A row that gets another key is gone under the old one and there under the new one."""
        site.fill(2)
        rig.settle()
        site.do(f"UPDATE t SET id = 9, updated_at = {site.now} WHERE id = 1")
        rig.expect(2, {1: [None], 9: ["n1"]})

    def test_keys_that_follow_each_other(self, site: Site, rig: Rig) -> None:
        """Rows that move up one key each, and two that change places, end up under the right keys."""
        site.fill(3)
        rig.settle()
        move = f"UPDATE t SET id = %s, updated_at = {site.now} WHERE id = %s".replace("%s", "{}")
        site.tx(*(move.format(n + 1, n) for n in (3, 2, 1)))
        rig.expect(3, {4: ["n3"], 3: [None, "n2"], 2: [None, "n1"], 1: [None]})
        since = len(rig.sent())
        site.tx(move.format(99, 2), move.format(2, 3), move.format(3, 99))
        rig.expect(since, {2: [None, "n2"], 3: [None, "n1"], 99: ["n1", None]})

    def test_a_state_that_comes_back_is_three_events(self, site: Site, rig: Rig) -> None:
        """A → B → A are three events, each with an id of its own, in one transaction or in three."""
        site.do(site.put(1, "A"))
        site.do(site.put(2, "A"))
        rig.settle()
        for name in ("B", "A"):
            site.do(site.set(1, name))
            rig.settle()
        assert rig.told()[1] == ["A", "B", "A"]  # seen one by one, also by modes that see states
        site.tx(site.set(2, "B"), site.set(2, "A"))
        rig.settle()
        assert rig.told()[2] == (["A", "B", "A"] if rig.exact else ["A"])
        rig.agrees()

    def test_a_row_that_comes_back_is_two_events(self, site: Site, rig: Rig) -> None:
        """Delete and insert of the same row are two events, in one transaction or in two."""
        site.do(site.put(1, "A"), site.put(2, "A"))
        rig.settle()
        site.do(site.delete(1))
        rig.settle()
        site.do(site.put(1, "A"))
        rig.settle()
        if rig.sees_deletes:
            assert rig.told()[1] == ["A", None, "A"]
        site.tx(site.delete(2), site.put(2, "A"))
        rig.settle()
        assert rig.told()[2] == (["A", None, "A"] if rig.exact else ["A"])
        rig.agrees()

    def test_what_is_read_again_is_no_news(self, site: Site, rig: Rig) -> None:
        """Rows that are read again, and updates that change nothing the map takes, give no event."""
        site.fill(8)
        rig.settle()
        site.do(site.set(1, "n1"), site.set(2, big="'x'"), site.set(3, spare="7"))
        rig.settle()
        rig.restart()
        rig.settle()
        rig.compare()
        assert len(rig.sent()) == 8

    def test_a_row_that_cannot_be_mapped_is_put_aside(self, site: Site, rig: Rig) -> None:
        """A row that does not fit the map is quarantined, its neighbours flow, and once corrected it flows too."""
        site.do(site.put(1), site.put(2, "x" * (NAME_LENGTH + 1)), site.put(3))
        rig.settle()
        site.tx(site.put(4), site.put(5, "y" * (NAME_LENGTH + 1)), site.put(6))
        rig.settle()
        rig.settle()
        assert set(rig.names()) == {1, 3, 4, 6}
        items = rig.store.tables.items.values()
        assert len([item for item in items if item.closed_as is None]) == 2
        assert len(rig.recorder.of(RecordQuarantined)) == 2
        site.do(site.set(2, "B"), site.set(5, "B"))
        rig.settle()
        assert all(item.closed_as is not None for item in items)
        rig.agrees()

    def test_a_bad_row_that_goes_leaves_nothing_behind(self, site: Site, rig: Rig) -> None:
        """A good row that becomes bad keeps its last good state at the hub until it is deleted or good again."""
        site.fill(2)
        rig.settle()
        site.do(site.set(1, "x" * (NAME_LENGTH + 1)))
        rig.settle()
        assert rig.names() == {1: "n1", 2: "n2"}
        rig.compare()
        assert rig.names() == {1: "n1", 2: "n2"}
        site.do(site.delete(1))
        rig.settle()
        rig.agrees()

    def test_two_flows_on_one_table(self, site: Site, make: Make) -> None:
        """Two flows on one table see everything each, and when one is taken away the other does not notice."""
        first, second = make(keep="0s"), make(flow="people-too", keep="0s")
        site.fill(3)
        first.settle()
        site.do(site.put(10), site.delete(1))
        first.settle(1000)
        first.settle(1000)
        second.settle(1000)
        site.do(site.set(2, "B"))
        for rig in (second, first):
            rig.settle(1000)
            rig.agrees()
        site.uninstall(second.wiring)
        site.do(site.set(2, "C"), site.put(11))
        first.settle()
        first.agrees()
        if first.exact:
            assert first.told(3) == {10: ["A"], 1: [None], 2: ["B", "C"], 11: ["A"]}
        assert first.gaps() == []

    def test_a_condition_leaves_rows_out(self, site: Site, make: Make) -> None:
        """With a condition only rows that fulfil it arrive; what stops to fulfil it is a delete for modes that see deletes."""
        rig = make(where="spare = 1")
        if rig.mode == "binlog":  # the log cannot be asked with a condition, and that is said
            rig.until(lambda: bool(rig.recorder.of(FlowPaused)))
            return
        site.do(site.put(1, spare="1"), site.put(2, spare="0"), site.put(3, spare="1"))
        rig.settle()
        assert set(rig.names()) == {1, 3}
        site.do(site.set(2, "B", spare="1"), site.set(3, "B", spare="0"), site.set(1, "B"), site.put(4, spare="0"))
        rig.settle()
        if not rig.sees_deletes:
            rig.compare()
        assert rig.names() == {1: "B", 2: "B"}
