"""Columns of real tables that change while a flow is captured, or while nobody looks: what each policy makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from agent.errors import SourceRefused
from agent.events import FlowPaused, GapOpened, SchemaChanged
from agent.mapping.spec import FieldSpec, MapSpec
from agent.model import START, Batch, Gap
from agent.queries import Closed
from agent.testing.nodes.mariadb import MariadbDatabase
from agent.testing.nodes.postgres import PostgresDatabase
from connectors.database.ddl import ddl_of
from connectors.database.settings import DatabaseFrom
from connectors.database.source import DatabaseSource
from connectors.wiring import Wiring
from tests.integration.connectors.database_kit import Bench as Database
from tests.unit.services.capture_kit import FLOW
from tests.unit.services.capture_kit import Bench as Host

pytestmark = pytest.mark.integration

NAMED: Final = MapSpec(fields=(FieldSpec("id", "id"), FieldSpec("name", "name")), key=("id",))
SAME_NAMES: Final = MapSpec(fields=(), key=("id",), same_names=True)

ADD: Final = "ALTER TABLE t ADD COLUMN email varchar(30)"
DROP: Final = "ALTER TABLE t DROP COLUMN fax"
RENAME: Final = "ALTER TABLE t RENAME COLUMN fax TO telefax"
WIDEN: Final = {"postgresql": "ALTER TABLE t ALTER name TYPE varchar(60)", "mysql": "ALTER TABLE t MODIFY name varchar(60)"}
RETYPE: Final = {
    "postgresql": "ALTER TABLE t ALTER fax TYPE integer USING NULL",
    "mysql": "ALTER TABLE t MODIFY fax integer",
}
NEEDED: Final = "ALTER TABLE t RENAME COLUMN name TO full_name"


class Site:
    """A table in a database, an application that writes to it, and the capture of one flow."""

    def __init__(self, database: Database, mode: str) -> None:
        self.database = database
        self.mode = mode
        self.stamp = 0
        database.run(
            "CREATE TABLE t (id int PRIMARY KEY, name varchar(40), fax varchar(20), updated_at timestamp NULL)",
            "CREATE INDEX t_updated_at ON t (updated_at, id)",
        )

    def follow(self, spec: MapSpec = NAMED, **settings: object) -> None:
        """Let a flow capture two rows, and come to rest."""
        self.spec, self.settings = spec, settings
        if self.mode == "trigger":
            self.install()
        self.put(1, "A")
        self.put(2, "B")
        self.host = Host(self.source())
        self.host.plan = type(self.host.plan)(FLOW, self.host.plan.sender, spec)
        self.host.source = self.source()
        self.host.service = self.host.build()
        self.host.run()

    def install(self) -> None:
        self.database.run(*ddl_of(self.wiring(), self.account).create)

    def uninstall(self) -> None:
        self.database.run(*ddl_of(self.wiring(), self.account).drop)

    @property
    def account(self) -> str:
        return self.database.engine.url.username or ""

    def wiring(self) -> Wiring[DatabaseFrom]:
        fields = {"connection": "c", "table": "t", "key": ("id",), "cursor": "updated_at", "every": "5s", "overlap": "0s"}
        host = getattr(self, "host", None)
        return Wiring(
            flow=FLOW,
            settings=DatabaseFrom.of(**{**fields, "mode": self.mode, "audit": None, **self.settings}),
            clock=host.clock if host else self.database.clock,
            events=host.events if host else self.database.wiring().events,
            time_zone="Asia/Shanghai",
            connection=self.database.connection,
            columns=self.spec.columns(),
            secret=lambda _name: self.database.password,
        )

    def source(self) -> DatabaseSource:
        source = DatabaseSource.build(self.wiring())
        self.database._open.append(source)
        return source

    def put(self, number: int, name: str, **more: object) -> None:
        """Write a row, as the application would."""
        self.stamp += 1
        values = {"id": number, "name": name, "updated_at": f"2026-11-20 10:{self.stamp // 60:02}:{self.stamp % 60:02}", **more}
        names, shown = ", ".join(values), ", ".join(f"'{value}'" for value in values.values())
        self.database.run(f"INSERT INTO t ({names}) VALUES ({shown})")

    def alter(self, statement: str | dict[str, str]) -> None:
        """Change the table, as its DBA would."""
        self.database.run(statement if isinstance(statement, str) else statement[self.database.engine.dialect.name])

    def later(self) -> None:
        """Let a minute pass, and the flow look at its source; it may stop."""
        self.host.clock.advance(61)
        self.host.service.tick()
        for _ in range(60):
            self.host.service.wake()
            self.host.service.run_once()
            if self.paused and self.host.service._flow is None:
                break
        if not self.paused:
            self.host.run()

    def restart(self) -> None:
        """Let the agent be stopped and started again."""
        self.host.service._thread_of_source.stop(5)
        self.host.source = self.source()
        self.host.service = self.host.build()

    def resume(self) -> None:
        """Resume the flow, as an operator who has looked at the gap."""
        self.host.store.pause(FLOW, "")
        self.host.service.tick()
        self.host.run()

    @property
    def paused(self) -> str:
        return self.host.store.open_flow(FLOW).paused

    @property
    def gaps(self) -> list[Gap]:
        return self.host.store.tables.flows[FLOW].gaps

    def told(self) -> list[tuple[str, str]]:
        """Return (outcome, difference) of each change that passed."""
        return [(event.outcome, event.difference) for event in self.host.recorder.of(SchemaChanged)]

    def fields(self) -> dict[Any, Any]:
        """Return what a hub holds, without the cursor."""
        shown = {}
        for key, data in self.host.view().items():
            shown[key] = {name: value for name, value in data.items() if name != "updated_at" and value is not None}
        return shown


WORLDS: Final = ["lite-polling", "lite-trigger", "pg-polling", "pg-trigger", "maria-polling", "maria-trigger"]


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A table in a database, in one mode."""
    name, _, mode = request.param.partition("-")
    site = Site(request.getfixturevalue(name), mode)
    yield site
    if hasattr(site, "host"):
        site.host.service._thread_of_source.stop(5)


every_world = pytest.mark.parametrize("world", WORLDS, indirect=True)
servers = pytest.mark.parametrize("world", WORLDS[2:], indirect=True)


@pytest.fixture(params=["mid-stream", "while down"])
def when(request: pytest.FixtureRequest) -> str:
    """Whether the agent runs while the table changes."""
    return str(request.param)


def change(site: Site, when: str, *statements: str | dict[str, str]) -> None:
    """Change the table, and let the flow find out."""
    for statement in statements:
        site.alter(statement)
    if when == "while down":
        site.restart()
    site.later()


# -- accept-new --------------------------------------------------------------------------------------------------------


@every_world
def test_a_new_column_passes_and_is_told(world: Site, when: str) -> None:
    """A flow with a map goes on as before; the event names column and type."""
    world.follow()
    change(world, when, ADD)
    world.put(3, "C")
    world.later()
    assert [name for _, name in world.host.names()] == ["A", "B", "C"]
    ((outcome, difference),) = world.told()
    assert (outcome, difference.startswith("+ email VARCHAR(30)")) == ("accepted", True)
    assert world.gaps == []


@pytest.mark.parametrize("world", [name for name in WORLDS if name not in ("lite-trigger", "maria-trigger")], indirect=True)
def test_a_flow_that_takes_all_columns_takes_new_ones_too(world: Site, when: str) -> None:
    """With a map of same names the new column travels from then on, without a restart."""
    world.follow(SAME_NAMES)
    change(world, when, ADD)
    world.put(3, "C", email="c@x", fax="5")
    world.later()
    assert world.fields()["3" if "3" in world.fields() else 3] == {"id": 3, "name": "C", "fax": "5", "email": "c@x"}


@servers
def test_a_wider_type_passes(world: Site, when: str) -> None:
    """A longer varchar has values of the same kind: told, and read on, mid-statement caches or not."""
    world.follow()
    change(world, when, WIDEN)
    world.put(3, "C" * 60)
    world.later()
    assert world.host.names()[-1] == (3, "C" * 60)
    ((outcome, difference),) = world.told()
    assert outcome == "accepted"
    assert "VARCHAR(40)" in difference
    assert "VARCHAR(60)" in difference
    assert world.gaps == []


BREAKING: Final = {"drop": DROP, "rename": RENAME, "retype": RETYPE}
OTHERS: Final = [
    pytest.param(name, statement, id=f"{name}-{what}")
    for name in WORLDS
    for what, statement in BREAKING.items()
    if what != "retype" or not name.startswith("lite")
]
"""What is neither a new column nor a wider type. SQLite changes no types."""

WIDER: Final = [pytest.param(name, WIDEN, id=f"{name}-widen") for name in WORLDS if not name.startswith("lite")]


@pytest.mark.parametrize("world, statement", OTHERS, indirect=["world"])
def test_anything_else_stops_the_flow_until_it_is_resumed(world: Site, when: str, statement: str | dict[str, str]) -> None:
    """A numbered gap tells the difference; resumed, the flow goes on where it was and sends nothing twice."""
    world.follow()
    change(world, when, statement)
    assert world.paused == "source: schema_changed"
    (gap,) = world.gaps
    assert (gap.number, gap.kind, "fax" in str(gap.details["difference"])) == (1, "schema_changed", True)
    assert [event.kind for event in world.host.recorder.of(GapOpened)] == ["schema_changed"]
    assert [event.by for event in world.host.recorder.of(FlowPaused)] == ["source"]
    position = world.host.store.open_flow(FLOW).position
    assert position != START
    world.put(3, "C")
    world.resume()
    assert [name for _, name in world.host.names()] == ["A", "B", "C"]
    world.restart()
    world.put(4, "D")
    world.later()
    assert [name for _, name in world.host.names()] == ["A", "B", "C", "D"]
    assert len(world.gaps) == 1


# -- freeze ------------------------------------------------------------------------------------------------------------


@every_world
def test_freeze_stops_at_any_change(world: Site, when: str) -> None:
    """Even a new column is a gap; resuming accepts it, and another one is another gap."""
    world.follow(drift="freeze")
    change(world, when, ADD)
    assert world.paused == "source: schema_changed"
    assert str(world.gaps[0].details["difference"]).startswith("+ email")
    world.put(3, "C")
    world.resume()
    assert [name for _, name in world.host.names()] == ["A", "B", "C"]
    assert [outcome for outcome, _ in world.told()] == ["accepted"]
    world.alter("ALTER TABLE t ADD COLUMN note varchar(5)")
    world.later()
    assert [str(gap.details["difference"])[:6] for gap in world.gaps] == ["+ emai", "+ note"]


@every_world
def test_a_change_that_is_undone_needs_no_acceptance(world: Site) -> None:
    """Resumed with the columns that were known, the flow goes on as if nothing had happened."""
    world.follow(drift="freeze")
    world.alter(ADD)
    world.later()
    world.alter("ALTER TABLE t DROP COLUMN email")
    world.put(3, "C")
    world.resume()
    assert [name for _, name in world.host.names()] == ["A", "B", "C"]
    assert world.told() == []


# -- quarantine --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world, statement", [*OTHERS, *WIDER], indirect=["world"])
def test_quarantine_puts_rows_aside_until_the_columns_are_accepted(
    world: Site, when: str, statement: str | dict[str, str]
) -> None:
    """Rows go on being read and wait with their keys; after pause and resume new ones pass, and a retry sends the others."""
    world.follow(drift="quarantine")
    change(world, when, statement)
    world.put(3, "C")
    world.later()
    assert [name for _, name in world.host.names()] == ["A", "B"]
    (item,) = [item for item in world.host.open_items() if '"id":3' in item.raw.decode()]
    assert (item.reason, item.key is not None) == ("schema_changed", True)
    assert str(item.details["difference"]) == world.told()[0][1]
    assert (world.paused, world.gaps) == ("", [])
    world.restart()  # nobody has accepted anything
    world.put(4, "D")
    world.later()
    assert [name for _, name in world.host.names()] == ["A", "B"]
    world.host.store.pause(FLOW, "operator: looking")
    world.host.service.tick()
    world.host.rounds(3)
    world.resume()
    world.put(5, "E")
    world.later()
    assert world.host.names()[-1] == (5, "E")
    retried = world.host.service.retry([item.item_id])
    world.host.rounds(3)
    assert retried.result(5)[item.item_id] in (Closed.RETRIED, Closed.SUPERSEDED)
    assert (3, "C") in world.host.names()


@every_world
def test_quarantine_lets_new_columns_pass(world: Site) -> None:
    """A new column puts nothing aside."""
    world.follow(drift="quarantine")
    world.alter(ADD)
    world.put(3, "C")
    world.later()
    assert world.host.names()[-1] == (3, "C")
    assert world.host.open_items() == []


# -- what a flow needs ---------------------------------------------------------------------------------------------------


@servers
def test_a_column_that_the_flow_needs_is_refused_with_what_changed(world: Site, when: str) -> None:
    """The refusal names the column as ever and adds the difference; once it is back, the flow goes on by itself."""
    world.follow()
    world.alter(NEEDED)
    if when == "while down":
        world.restart()
    world.host.clock.advance(61)
    world.host.service.tick()
    world.host.rounds(20)
    (pause,) = world.host.recorder.of(FlowPaused)
    assert isinstance(pause.error, SourceRefused)
    assert pause.error.details["column"] == "name"
    assert "full_name" in str(pause.error.details["difference"])
    assert "full_name" in pause.error.localised()[1]
    world.alter("ALTER TABLE t RENAME COLUMN full_name TO name")
    world.put(3, "C")
    world.host.clock.advance(400)
    world.host.run()
    assert (3, "C") in world.host.names()
    assert [gap.kind for gap in world.gaps if gap.kind == "schema_changed"] == []


@pytest.mark.parametrize("world", ["lite-trigger", "maria-trigger"], indirect=True)
def test_a_log_that_lacks_a_new_column_says_how_to_make_it_anew(world: Site) -> None:
    """A change log that names columns cannot hold what came later: the DBA has to run `source ddl` again."""
    world.follow(SAME_NAMES)
    world.alter(ADD)
    world.host.clock.advance(61)
    world.host.service.tick()
    world.host.rounds(20)
    (pause,) = world.host.recorder.of(FlowPaused)
    assert isinstance(pause.error, SourceRefused)
    assert pause.error.details["column"] == "email"
    assert f"huitong source ddl {FLOW}" in pause.error.localised()[1]


def test_a_source_read_by_its_own_knows_its_columns(tmp_path: Path) -> None:
    """The fact is stored with the first batch and given until that is durable; then batches carry nothing."""
    bench = Database.sqlite(tmp_path)
    bench.run("CREATE TABLE t (id integer PRIMARY KEY, updated_at timestamp)", "INSERT INTO t VALUES (1, '2026-01-01 10:00:00')")
    bench.open()
    first = bench.read()
    assert '"id":["integer","INTEGER"]' in first.memory["shape"]
    again = bench.read()
    assert again.memory["shape"] == first.memory["shape"]
    bench.source.commit(again.position)
    assert "shape" not in bench.read().memory
    bench.close()


# -- transactions --------------------------------------------------------------------------------------------------------


def test_interleaved_transactions_of_postgresql_are_read_whole(pg_database: PostgresDatabase) -> None:
    """Two transactions that wrote in turn come one after the other, each with its end, however small the pages are."""
    for transactions, limit in (("whole", 1000), ("whole", 4), ("whole", 3), ("split", 4)):
        database = Database.postgres(pg_database)
        site = Site(database, "trigger")
        site.spec, site.settings = NAMED, {"transactions": transactions}
        site.install()
        source = site.source()
        source.open(database.state())
        database.source = source
        database.drain()
        with psycopg.connect(pg_database) as one, psycopg.connect(pg_database) as two:
            for number in range(10, 13):
                one.execute("INSERT INTO t (id, name) VALUES (%s, 'one')", [number])
                two.execute("INSERT INTO t (id, name) VALUES (%s, 'two')", [number + 10])
            two.commit()
            one.execute("UPDATE t SET name = 'last' WHERE id = 20")
        batches = []
        while not batches or batches[-1].more:
            batches.append(database.read(limit))
        groups = [group for batch in batches for group in cut(batch)]
        first, second, last = [20, 21, 22], [10, 11, 12], [20]
        if transactions == "whole":
            assert groups == ([first, second, last] if limit == 3 else [first, second + last])
        else:
            assert sorted(number for group in groups for number in group) == sorted(first + second + last)
            assert groups[0] == [10]
        site.uninstall()
        database.run("DROP TABLE t")
        database.close()


def cut(batch: Batch) -> list[list[Any]]:
    """Return the ids of a batch, transaction by transaction."""
    edges = [0, *(end + 1 for end in batch.ends), len(batch.rows)]
    parts = [[row[0] for row in batch.rows[start:stop]] for start, stop in pairwise(edges)]
    return [part for part in parts if part]


def test_neighbours_flow_on(pg_database: PostgresDatabase, mysql_database: MariadbDatabase) -> None:
    """A flow that stopped is of no concern to another one on another table."""
    first, second = Site(Database.postgres(pg_database), "polling"), Site(Database.mariadb(mysql_database), "polling")
    first.follow(drift="freeze")
    second.follow(drift="freeze")
    first.alter(ADD)
    second.put(3, "C")
    for site in (first, second):
        site.later()
    assert first.paused == "source: schema_changed"
    assert second.host.names()[-1] == (3, "C")
    for site in (first, second):
        site.host.service._thread_of_source.stop(5)
        site.database.close()
