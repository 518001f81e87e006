"""The capture contract on MariaDB."""

# ruff: noqa: ARG002 - what one database has no use for, another has

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.testing.nodes.mariadb import MariadbDatabase, MariadbNode
from tests.contract.capture.base import Make
from tests.contract.capture.capture_contract import CaptureContract
from tests.contract.capture.rig import ALL_COLUMNS, Rig
from tests.contract.capture.sites import Hand, MariadbSite, Site
from tests.contract.capture.value_cases import latest

MODES = ("trigger", "binlog", "watermark", "polling", "compare")  # a further mode is a further word
QUICK = ("trigger", "binlog")  # the others are part of the long form


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:Did not recognize type")
class TestCaptureMariadb(CaptureContract):
    @pytest.fixture(params=[mode if mode in QUICK else pytest.param(mode, marks=pytest.mark.long) for mode in MODES])
    def mode(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def site(self, mariadb: MariadbNode, mysql_database: MariadbDatabase) -> Iterator[MariadbSite]:
        site = MariadbSite(mariadb, mysql_database)
        yield site
        site.remove()

    @pytest.fixture
    def own_site(self, tmp_path: Path) -> Iterator[MariadbSite]:
        node = MariadbNode(tmp_path / "mariadb")
        node.start()
        yield MariadbSite(node, node.add_database("own"))
        node.remove()

    def prepare(self, site: Site, hand: Hand, name: str, statements: tuple[str, ...]) -> None:  # type: ignore[override]
        with site.hand() as own:
            name = f"{name}-{id(self)}"
            own.do(f"XA START '{name}'", *statements, f"XA END '{name}'", f"XA PREPARE '{name}'")

    def decide(self, site: Site, hand: Hand, commit: str, rollback: str) -> None:  # type: ignore[override]
        hand.do(f"XA COMMIT '{commit}-{id(self)}'", f"XA ROLLBACK '{rollback}-{id(self)}'")

    def alterations(self, rig: Rig) -> tuple[str, ...]:
        if rig.mode != "trigger":
            return ()
        return ("DROP TRIGGER `huitong_log_people_u`",)

    def taken_away(self, site: Site, rig: Rig) -> Callable[[], None]:
        assert isinstance(site, MariadbSite)
        site.forbid(rig.mode)
        site.node.sql(f"KILL HARD USER {site.account}")  # rights on the server are looked at when a connection begins
        return lambda: site.allow(rig.mode, "t")

    def test_zero_dates(self, site: Site, make: Make) -> None:
        """Dates of zeros stay what they are, by load and by stream."""
        site.do(
            "CREATE TABLE zeros (id int PRIMARY KEY, d date, t datetime(3), s timestamp NULL, updated_at timestamp(6) NOT NULL)"
        )
        rig = make(table="zeros", spec=ALL_COLUMNS)
        for ident in (1, 2):
            site.do(f"INSERT INTO zeros VALUES ({ident}, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', now(6))")
            rig.settle()
        loaded, streamed = latest(rig)[1], latest(rig)[2]
        assert {**loaded, "updated_at": ""} == {**streamed, "updated_at": ""}
        assert loaded["d"] == loaded["t"] == "0000-00-00"
