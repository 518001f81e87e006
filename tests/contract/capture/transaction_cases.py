"""Transactions: late and long ones, those that are rolled back, in parts or in two phases, and changes of the table itself."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack

import pytest

from agent.events import FlowPaused
from tests.contract.capture.base import CaptureBase, Make
from tests.contract.capture.rig import Rig
from tests.contract.capture.sites import MariadbSite, Site, SqliteSite


class TransactionCases(CaptureBase):
    """Visible is what was committed, whenever that was."""

    @pytest.mark.parametrize("order", ["as begun", "reversed"])
    def test_slow_transactions_that_commit_late(self, site: Site, rig: Rig, order: str) -> None:
        """Transactions that stay open while others commit and are captured arrive when they commit, in whatever order they do."""
        site.fill(4)
        rig.settle()
        if isinstance(site, SqliteSite):
            self.writers_take_turns(site, rig)
            return
        with ExitStack() as stack:
            slow = [stack.enter_context(site.hand()) for _ in range(3)]
            for number, hand in enumerate(slow):
                hand.do(site.begin, site.put(10 + number), site.set(1 + number, "late"))
                site.do(site.put(20 + number))
                rig.settle()
            assert set(rig.names()) == {1, 2, 3, 4, 20, 21, 22}
            for number, hand in enumerate(slow if order == "as begun" else reversed(slow)):
                site.do(site.set(4, f"meanwhile {number}"))
                hand.do("COMMIT")
                site.do(site.put(30 + number))
                rig.settle()
                assert rig.names() == site.names()
        rig.agrees()
        if rig.exact:
            assert {key: names for key, names in rig.told(4).items() if key < 20} == {
                **{10 + n: ["A"] for n in range(3)},
                **{1 + n: ["late"] for n in range(3)},
                4: [f"meanwhile {n}" for n in range(3)],
            }

    def writers_take_turns(self, site: SqliteSite, rig: Rig) -> None:
        """Check what SQLite has instead: while one writes no other can, and reading sees nothing of it."""
        with site.hand() as slow, site.hand() as other:
            slow.do(site.begin, site.put(10))
            other.do("PRAGMA busy_timeout = 0")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.do(site.put(11))
            rig.settle()
            assert len(rig.sent()) == 4
            slow.do("COMMIT")
            other.do(site.put(11))
        rig.expect(4, {10: ["A"], 11: ["A"]})

    def test_a_slow_transaction_around_the_first_load(self, site: Site, rig: Rig) -> None:
        """A transaction that was open before the load and commits after it is captured."""
        site.fill(12)
        if isinstance(site, SqliteSite):
            site.do("PRAGMA journal_mode = WAL")  # readers are not in its way then
        with site.hand() as slow:
            slow.do(site.begin, site.put(50), site.set(2, "B"), site.delete(3))
            rig.settle()
            assert rig.names() == {n: f"n{n}" for n in range(1, 13)}
            slow.do("COMMIT")
        rig.expect(12, {50: ["A"], 2: ["B"], 3: [None]})

    def test_what_is_rolled_back_never_was(self, site: Site, rig: Rig) -> None:
        """Nothing of a transaction that is rolled back arrives, also when it is read in between."""
        site.fill(3)
        rig.settle()
        with site.hand() as hand:
            hand.do(site.begin, site.put(10), site.set(1, "B"), site.delete(2))
            rig.settle()
            hand.do("ROLLBACK")
        site.do(site.put(11))
        rig.expect(3, {11: ["A"]})

    def test_savepoints(self, site: Site, rig: Rig) -> None:
        """Of a transaction only what was not rolled back to a savepoint arrives, all of it, in order."""
        site.fill(3)
        rig.settle()
        with site.hand() as hand:
            hand.do(site.begin, site.put(10), "SAVEPOINT a", site.set(10, "B"), site.put(11), "SAVEPOINT b", site.delete(1))
            hand.do("ROLLBACK TO SAVEPOINT b", site.set(2, "B"), "RELEASE SAVEPOINT a", "SAVEPOINT c", site.put(12))
            site_open = not isinstance(site, SqliteSite)
            if site_open:
                site.do(site.put(20))
                rig.settle()
            hand.do("ROLLBACK TO SAVEPOINT c", "COMMIT")
        rig.expect(3, {10: ["A", "B"], 11: ["A"], 2: ["B"]} | ({20: ["A"]} if site_open else {}))

    def test_commits_in_two_phases(self, site: Site, rig: Rig) -> None:
        """What is prepared is not there yet; it arrives with the second phase, and what is rolled back then does not."""
        site.fill(3)
        rig.settle()
        with site.hand() as hand:
            for name, statements in (("one", (site.put(10), site.set(1, "B"))), ("two", (site.put(11), site.delete(2)))):
                self.prepare(site, hand, name, statements)
            rig.settle()
            site.do(site.put(20))
            rig.settle()
            assert set(rig.names()) == {1, 2, 3, 20}
            rig.restart()
            self.decide(site, hand, "one", "two")
        rig.expect(4, {10: ["A"], 1: ["B"]})

    def prepare(self, site: Site, hand: object, name: str, statements: tuple[str, ...]) -> None:
        """End the first phase of a transaction."""
        raise NotImplementedError

    def decide(self, site: Site, hand: object, commit: str, rollback: str) -> None:
        """Let one transaction be committed and the other be rolled back."""
        raise NotImplementedError

    @pytest.mark.parametrize("rows", [5_000, pytest.param(200_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
    def test_a_great_transaction(self, site: Site, make: Make, rows: int) -> None:
        """A transaction of very many rows arrives whole, each change once, also when the process dies in the middle of it."""
        rig = make(page_rows=500)
        site.fill(2)
        rig.settle()
        site.tx(
            site.many.format(first=10, count=rows, last=9 + rows, now=site.now),
            f"UPDATE t SET name = 'B', updated_at = {site.now} WHERE id > 1",
        )
        site.do(site.put(1_000_000))
        assert rig.die_at("C02", 4)
        rig.settle()
        rig.agrees()
        assert len(rig.sent()) == 2 + 1 + 1 + (2 * rows if rig.exact else rows)

    def test_emptying_a_table(self, site: Site, rig: Rig) -> None:
        """TRUNCATE deletes everything, and what is inserted behind it stays; modes that see states ask before they believe it."""
        site.fill(30)
        rig.settle()
        empty = "DELETE FROM t" if isinstance(site, SqliteSite) else "TRUNCATE TABLE t"
        site.tx(empty, site.put(3, "again"), site.put(40))
        rig.settle()
        if not rig.exact:
            rig.compare()
            assert "deletes_held" in rig.gaps()
            assert rig.names() == {n: f"n{n}" for n in range(1, 31)} | site.names()
            return
        if rig.mode == "trigger" and isinstance(site, MariadbSite):  # no trigger sees it: a comparison does, and asks
            rig.compare()
            assert rig.gaps() == ["deletes_held"]
            return
        assert rig.told(30) == {n: [None] for n in range(1, 31)} | {3: rig.told(30)[3], 40: ["A"]}
        rig.agrees()
        site.do(empty)
        rig.settle()
        rig.agrees()
        assert rig.gaps() == []

    def test_a_column_more(self, site: Site, rig: Rig) -> None:
        """ADD COLUMN in mid-stream disturbs nothing: what was written before and after arrives."""
        self.altered(site, rig, ["ALTER TABLE t ADD COLUMN more int DEFAULT 7"])

    def test_a_column_less(self, site: Site, rig: Rig) -> None:
        """DROP COLUMN stops the flow, as its policy says, with a gap and a reason; resumed, it goes on where it was."""
        site.fill(4)
        rig.settle()
        site.do(site.put(10), site.set(1, "B"))
        site.do("ALTER TABLE t DROP COLUMN spare")
        site.do(site.put(11), site.set(1, "C"), site.delete(2))
        rig.clock.advance(100)
        rig.until(lambda: bool(rig.recorder.of(FlowPaused)))
        assert rig.gaps() == ["schema_changed"]
        rig.store.pause(rig.flow, "")
        rig.expect(4, {10: ["A"], 1: ["B", "C"], 11: ["A"], 2: [None]})
        assert rig.gaps() == ["schema_changed"]

    def test_a_wider_column(self, site: Site, rig: Rig) -> None:
        """A column that becomes wider disturbs nothing, and longer values arrive."""
        self.altered(site, rig, site.widen)

    def altered(self, site: Site, rig: Rig, statements: object) -> None:
        """Change rows, the table, and rows again, without and with a look in between."""
        assert isinstance(statements, list | tuple)
        site.fill(4)
        for number in range(8):  # statements that were run often are prepared
            site.do(site.put(100 + number))
            rig.settle()
        since = len(rig.sent())
        site.do(site.put(10, amount="1.5"), site.set(1, "B"))
        site.do(*statements)
        site.do(site.put(11, amount="2.5"), site.set(1, "C"), site.set(10, "B"), site.delete(2))
        rig.expect(since, {10: ["A", "B"], 1: ["B", "C"], 11: ["A"], 2: [None]})
        site.do(site.set(3, "B"))
        rig.settle()
        rig.agrees()
        rig.restart()
        site.do(site.set(3, "C"))
        rig.settle()
        rig.agrees()
        assert rig.gaps() == []
        assert rig.recorder.of(FlowPaused) == []

    def test_a_column_of_the_flow_goes(self, site: Site, rig: Rig) -> None:
        """When a column that the flow takes is dropped or renamed the flow is paused and says so; back again, it goes on."""
        site.fill(3)
        rig.settle()
        columns = rig.mode == "trigger" and isinstance(site, SqliteSite | MariadbSite)
        if columns:
            site.switch(rig.wiring, on=False)  # these triggers name the column
        site.do("ALTER TABLE t RENAME COLUMN note TO remark", site.put(10))
        rig.clock.advance(60)
        rig.until(lambda: bool(rig.recorder.of(FlowPaused)))
        rig.store.pause(rig.flow, "")
        site.do("ALTER TABLE t RENAME COLUMN remark TO note")
        if columns:
            site.switch(rig.wiring, on=True)
        site.do(site.put(11))
        rig.settle(400)
        rig.agrees()
