"""The capture contract on SQLite."""

# ruff: noqa: ARG002 - what one database has no use for, another has

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.capture.base import Make
from tests.contract.capture.capture_contract import CaptureContract
from tests.contract.capture.rig import Rig
from tests.contract.capture.sites import Hand, Site, SqliteSite

MODES = ("trigger", "polling", "compare")  # a further mode is a further word


class TestCaptureSqlite(CaptureContract):
    sees_triggers_return = False  # only that the schema was changed: what was missed is found by the comparison that follows

    @pytest.fixture(params=MODES)
    def mode(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def site(self, tmp_path: Path) -> SqliteSite:
        return SqliteSite(tmp_path)

    @pytest.fixture
    def own_site(self, site: SqliteSite) -> SqliteSite:
        return site

    def prepare(self, site: Site, hand: Hand, name: str, statements: tuple[str, ...]) -> None:  # type: ignore[override]
        hand.do("ATTACH ':memory:' AS " + name, f"CREATE TABLE {name}.seen (id int)")
        self.statements = getattr(self, "statements", {}) | {name: statements}

    def decide(self, site: Site, hand: Hand, commit: str, rollback: str) -> None:  # type: ignore[override]
        hand.do(site.begin, *self.statements[rollback], f"INSERT INTO {rollback}.seen VALUES (1)", "ROLLBACK")
        hand.do(site.begin, *self.statements[commit], f"INSERT INTO {commit}.seen VALUES (1)", "COMMIT")

    def alterations(self, rig: Rig) -> tuple[str, ...]:
        if rig.mode != "trigger":
            return ()
        when = 'CREATE TRIGGER "huitong_log_people_u" AFTER UPDATE ON t WHEN false BEGIN DELETE FROM "huitong_log_people"; END'
        return ('DROP TRIGGER "huitong_log_people_u"', when)

    def taken_away(self, site: Site, rig: Rig) -> Callable[[], None]:
        site.do("ALTER TABLE t RENAME TO away")
        return lambda: site.do("ALTER TABLE away RENAME TO t")

    def table_is_away(self, site: Site, rig: Rig) -> bool:
        return True

    def test_a_row_that_is_replaced(self, site: Site, make: Make) -> None:
        """INSERT OR REPLACE is an update of its key, and a delete of another key whose unique value it takes."""
        site.do("CREATE UNIQUE INDEX only_one ON t (note)")
        rig = make()
        site.do(site.put(1, note="'x'"), site.put(2, note="'y'"))
        rig.settle()
        site.do(site.put(1, "B", note="'x'").replace("INSERT", "INSERT OR REPLACE"))
        rig.settle()
        rig.agrees()
        site.do(site.put(3, "C", note="'y'").replace("INSERT", "INSERT OR REPLACE"))
        rig.settle()
        rig.agrees()
