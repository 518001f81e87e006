"""Checkpoints, crashes, and ids that stay the same."""

from __future__ import annotations

import contextlib
import threading

import pytest

from agent.events import FirstLoadCompleted
from agent.model import Op, WalkKind
from agent.wire.identity import RecordIds, data_hash
from connectors.database.streams.choose import EXACT
from tests.contract.capture.base import CaptureBase, Make
from tests.contract.capture.rig import PATIENCE_SECS, SENDER, Rig
from tests.contract.capture.sites import Site

DEATHS = [(point, hit) for point in ("C01", "C02", "C03") for hit in (1, 2, 3, 5, 8)]


def positions_of(rig: Rig) -> str:
    return rig.store.open_flow(rig.flow).position


class DurableCases(CaptureBase):
    """What is durable when."""

    def test_the_end_of_the_snapshot_is_a_checkpoint(self, site: Site, rig: Rig) -> None:
        """As soon as the first load is through the store says so, and a process that starts then does not load again."""
        site.fill(23)
        rig.step(2)
        assert not rig.store.open_flow(rig.flow).loaded
        rig.until(lambda: bool(rig.recorder.of(FirstLoadCompleted)))
        assert rig.store.open_flow(rig.flow).loaded
        sent = len(rig.sent())
        rig.restart()
        rig.batches.clear()
        rig.settle()
        assert all(batch.walked is None or batch.walked.kind is not WalkKind.LOAD for batch in rig.batches)
        assert len(rig.sent()) == sent == 23

    def test_a_death_at_the_end_of_the_snapshot_costs_one_page(self, site: Site, rig: Rig) -> None:
        """A process that dies when the load is read but not stored reads no more than its last page again."""
        site.fill(23)
        assert rig.die_at("C04")
        rig.batches.clear()
        rig.settle()
        loads = [b for b in rig.batches if b.walked is not None and b.walked.kind is WalkKind.LOAD]
        assert sum(len(batch.rows) for batch in loads) <= 2 * rig.plan.page_rows
        rig.agrees()

    def test_a_load_goes_on_where_it_was(self, site: Site, rig: Rig) -> None:
        """A process that dies in the middle of the first load does not begin it again."""
        site.fill(43)
        assert rig.die_at("C02", 5)
        stored = len(rig.sent())
        rig.batches.clear()
        rig.settle()
        loads = [b for b in rig.batches if b.walked is not None and b.walked.kind is WalkKind.LOAD]
        assert sum(len(batch.rows) for batch in loads) == 43 - stored
        rig.agrees()

    @pytest.mark.parametrize("point,hit", DEATHS)
    def test_a_death_in_the_stream_loses_and_doubles_nothing(self, site: Site, rig: Rig, point: str, hit: int) -> None:
        """Wherever the process dies, inside a transaction of the source or between two, every change arrives once, as itself."""
        site.fill(3)
        rig.settle()
        since = len(rig.sent())
        for first in (10, 30, 50):  # pages of five end inside each of these transactions
            site.tx(*(site.put(n, "A") for n in range(first, first + 7)))
        site.tx(*(site.set(n, "B") for n in range(10, 17)))
        site.tx(site.set(10, "A"), site.set(11, "C"))
        rig.log.attempted.clear()
        died = rig.die_at(point, hit)
        assert died or not rig.exact or hit > 5
        rig.settle()
        rig.agrees()
        if rig.exact:
            expected = {n: ["A"] for first in (30, 50) for n in range(first, first + 7)}
            expected |= {n: ["A", "B"] for n in range(10, 17)} | {10: ["A", "B", "A"], 11: ["A", "B", "C"]}
            assert rig.told(since) == expected
        assert set(rig.log.attempted) <= {record.id for record in rig.sent()}

    def test_a_death_at_a_late_commit_loses_nothing(self, site: Site, rig: Rig) -> None:
        """A process that dies when a page holds known rows and new ones finds the new ones again."""
        site.fill(4)
        rig.settle()
        site.tx(site.set(1, "n1"), site.set(2, "B"))  # one row is what it was
        assert rig.die_at("C05")
        rig.settle()
        rig.agrees()

    def test_the_source_is_told_only_what_is_durable(self, site: Site, rig: Rig) -> None:
        """No position is committed at the source before what it covers is in the store."""
        site.fill(3)
        rig.settle()
        rig.log.held = []
        site.do(site.put(10))
        rig.commits.clear()
        before = positions_of(rig)
        worker = threading.Thread(target=rig.settle, daemon=True)
        worker.start()
        deadline = threading.Event()
        while not any(step.messages for step, _ in rig.log.held):
            deadline.wait(0.005)
            assert worker.is_alive()
        assert positions_of(rig) == before
        durable = set(rig.commits)
        assert not durable or durable == {before}
        rig.log.release()
        worker.join(PATIENCE_SECS)
        assert not worker.is_alive()
        rig.agrees()

    def test_nothing_is_trimmed_that_is_not_durable(self, site: Site, make: Make) -> None:
        """What a mode keeps in the source stays there until the store has it, however soon it may go afterwards."""
        rig = make(keep="0s")
        site.fill(3)
        rig.settle()
        for number in range(3):
            site.tx(*(site.put(10 * (number + 1) + n, "A") for n in range(7)))
            rig.clock.advance(1000)
            rig.die_at("C02", 2)
            rig.settle(100)
        rig.agrees()
        assert rig.gaps() == []

    def test_a_full_store_is_waited_for(self, site: Site, rig: Rig) -> None:
        """While the store refuses nothing moves; when it has room again everything arrives."""
        site.fill(3)
        rig.settle()
        rig.store.fill_disk()
        site.tx(site.put(10), site.set(1, "B"))
        for _ in range(10):
            rig.clock.advance(10)
            rig.step()
        assert len(rig.sent()) == 3
        rig.store.fill_disk(full=False)
        rig.expect(3, {10: ["A"], 1: ["B"]})

    def test_ids_are_those_of_the_protocol(self, site: Site, rig: Rig) -> None:
        """Each id can be computed from what PROTOCOL names: sender, flow, incarnation, entity, key, token, op, data."""
        site.fill(7)
        rig.settle()
        site.tx(site.put(10), site.set(1, "B"), site.set(1, "C"))
        site.do(site.delete(2))
        rig.settle()
        state = rig.store.open_flow(rig.flow)
        ids = RecordIds(SENDER, rig.flow, state.incarnation, rig.wiring.settings.table)
        tokens = [token for batch in rig.batches for token in batch.tokens or ()]
        ordinals = [f"{state.epoch}:{n}" for n in range(1, state.counters.next_ordinal)]
        used = []
        for record in rig.sent():
            key = f'[["i","{record.key["id"]}"]]'
            known = {ids.of(key, token, record.op, data_hash(record.raw)): token for token in (*tokens, *ordinals)}
            assert record.id in known
            used.append(known[record.id])
        assert used[:7] == ordinals[:7]
        assert set(used[7:]) <= set(tokens if rig.exact else ordinals)
        assert rig.exact == (rig.mode in EXACT)

    def test_the_same_changes_have_the_same_ids(self, site: Site, make: Make) -> None:
        """Two lives that read the same log from the same place, in pages of other sizes, give the same ids to its changes."""
        rig = make()
        rig.settle()
        state = rig.store.open_flow(rig.flow)
        site.tx(*(site.put(n) for n in range(1, 9)))
        site.tx(*(site.set(n, "B") for n in range(1, 9)), site.delete(3))
        rig.settle()
        first = [record.id for record in rig.sent()]
        rig.restart()
        again = make(page_rows=3, install=False)
        again.store.open_flow(again.flow)
        row = again.store.tables.flows[again.flow]
        row.incarnation, row.position, row.loaded, row.counters = state.incarnation, state.position, True, state.counters
        again.settle()
        again.agrees()
        assert again.gaps() == [] or rig.mode == "slot"  # what was captured may be gone from there
        if rig.exact and not again.gaps():
            assert [record.id for record in again.sent()] == first
            assert any(record.op is Op.DELETE for record in again.sent())

    def test_an_idle_source_costs_nothing(self, site: Site, rig: Rig) -> None:
        """When nothing changes nothing is sent, reads are few, and reading rests between two looks."""
        site.fill(12)
        rig.settle()
        rig.settle()
        sent, pages = len(rig.sent()), 12 // rig.plan.page_rows + 4
        for _ in range(5):
            rig.batches.clear()
            rig.settle(30)
            assert len(rig.batches) <= 8 * pages
            assert not rig.batches[-1].more
        assert len(rig.sent()) == sent
        site.do(site.put(20))
        rig.expect(sent, {20: ["A"]})

    def test_what_others_write_moves_the_position_only(self, site: Site, rig: Rig) -> None:
        """While only other tables change, nothing is sent, and an exact mode does not fall behind for ever."""
        site.do("CREATE TABLE other (id int PRIMARY KEY)")
        site.fill(2)
        rig.settle()
        before = positions_of(rig)
        for number in range(4):
            site.do(f"INSERT INTO other VALUES ({number})")
            rig.settle(100)
        assert len(rig.sent()) == 2
        if rig.mode in ("slot", "binlog") or (rig.mode == "trigger" and type(site).__name__ == "PostgresSite"):
            assert positions_of(rig) != before
        rig.agrees()

    def test_waking_never_blocks(self, site: Site, make: Make) -> None:
        """However often a busy source is woken, whoever wakes it goes on at once."""
        rig = make(real_wake=True)
        site.fill(3)
        rig.settle()
        waker = threading.Thread(target=lambda: [rig.source.wake() for _ in range(10_000)], daemon=True)
        waker.start()
        waker.join(5)
        blocked = waker.is_alive()
        if blocked and rig.source._alarm._pair is not None:  # let it go, so that the test can end
            while waker.is_alive():
                with contextlib.suppress(BlockingIOError):
                    rig.source._alarm._pair[0].recv(1 << 16)
        assert not blocked
