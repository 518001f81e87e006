"""The capture contract on PostgreSQL."""

# ruff: noqa: ARG002 - what one database has no use for, another has

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from agent.testing.nodes.postgres import PostgresDatabase, PostgresNode
from tests.contract.capture.base import Make
from tests.contract.capture.capture_contract import CaptureContract
from tests.contract.capture.rig import Rig
from tests.contract.capture.sites import Hand, PostgresSite, Site

MODES = ("trigger", "slot", "watermark", "polling", "compare")  # a further mode is a further word
QUICK = ("trigger", "slot")  # the others are part of the long form


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:Did not recognize type")
class TestCapturePostgres(CaptureContract):
    @pytest.fixture(params=[mode if mode in QUICK else pytest.param(mode, marks=pytest.mark.long) for mode in MODES])
    def mode(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def site(self, postgres: PostgresNode, pg_database: PostgresDatabase, made: list[Rig]) -> Iterator[PostgresSite]:
        site = PostgresSite(postgres, pg_database)
        yield site
        for rig in made:
            rig.service._thread_of_source.stop(20)
        site.remove()

    @pytest.fixture
    def own_site(self, private_postgres: PostgresNode) -> PostgresSite:
        return PostgresSite(private_postgres, private_postgres.add_database("own"))

    def prepare(self, site: Site, hand: Hand, name: str, statements: tuple[str, ...]) -> None:  # type: ignore[override]
        hand.do("BEGIN", *statements, f"PREPARE TRANSACTION '{name}'")

    def decide(self, site: Site, hand: Hand, commit: str, rollback: str) -> None:  # type: ignore[override]
        hand.do(f"COMMIT PREPARED '{commit}'", f"ROLLBACK PREPARED '{rollback}'")

    def alterations(self, rig: Rig) -> tuple[str, ...]:
        if rig.mode != "trigger":
            return ()
        head = 'CREATE OR REPLACE FUNCTION huitong."log_people"() RETURNS trigger LANGUAGE plpgsql'
        return (f"{head} AS $$ BEGIN RETURN NULL; END $$",)

    def taken_away(self, site: Site, rig: Rig) -> Callable[[], None]:
        site.forbid(rig.mode)

        def restore() -> None:
            site.allow(rig.mode, "t")
            if rig.mode == "trigger":
                site.do(f'GRANT SELECT ON huitong."log_people" TO {rig.wiring.connection.user}')  # type: ignore[union-attr]

        return restore

    def test_trigger_functions_cannot_be_led_astray(self, site: Site, make: Make) -> None:
        """Writers without any right on the log, and with another search path, are logged like everybody else."""
        rig = make()
        rig.settle()
        name = f"clerk_{rig.wiring.connection.user}"  # type: ignore[union-attr]
        site.do(f"CREATE ROLE {name}", f"GRANT INSERT, UPDATE, DELETE, SELECT ON t TO {name}")
        try:
            site.do(f"SET ROLE {name}", "SET search_path = pg_temp, public", site.put(1), site.set(1, "B"))
            rig.expect(0, {1: ["A", "B"]})
        finally:
            site.do(f"DROP OWNED BY {name}", f"DROP ROLE {name}")
