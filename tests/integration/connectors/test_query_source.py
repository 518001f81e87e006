"""A query as a source: read, polled and compared like a table, with the types the database gives its columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent.errors import SourceGone, SourceRefused
from agent.events import WalkCompleted
from agent.mapping import keys as canonical
from agent.model import START, Op, Value, WalkKind, WalkOrder
from agent.testing.memory_store import MemoryStore
from connectors.database.source import DatabaseSource
from tests.integration.connectors.database_kit import Bench
from tests.unit.services.capture_kit import Bench as Capture

pytestmark = pytest.mark.integration

JOINED = {
    "sqlite": "p.name || '@' || d.title",
    "postgresql": "p.name || '@' || d.title",
    "mysql": "CONCAT(p.name, '@', d.title)",
}


def join(bench: Bench) -> str:
    """Return a query over two tables, with a computed column."""
    name = JOINED[bench.engine.dialect.name]
    return f"SELECT p.id, {name} AS name, p.updated_at\nFROM person p JOIN dept d ON d.id = p.dept  -- the join; of two\nWHERE p.id > 0"


@pytest.fixture
def town(any_database: Bench) -> Bench:
    """A database with people in departments."""
    any_database.run(
        "CREATE TABLE dept (id int PRIMARY KEY, title varchar(20))",
        "CREATE TABLE person (id int PRIMARY KEY, name varchar(20), dept int, updated_at timestamp NULL)",
        "INSERT INTO dept VALUES (1, 'north'), (2, 'south')",
    )
    put(any_database, *range(1, 8))
    return any_database


def put(bench: Bench, *ids: int, at: str = "2026-11-20 10:00:00", name: str = "x") -> None:
    rows = ", ".join(f"({n}, '{name}{n}', {n % 2 + 1}, '{at}')" for n in ids)
    bench.run(f"INSERT INTO person (id, name, dept, updated_at) VALUES {rows}")


def key(number: int) -> str:
    return canonical.text([("i", str(number))])


def opened(bench: Bench, query: str, **settings: object) -> Bench:
    bench.open(**{"table": None, "query": query, **settings})
    return bench


def source(bench: Bench, query: str, **settings: object) -> DatabaseSource:
    return bench.build(("id", "name"), **{"table": None, "query": query, **settings})


def ids(rows: list[dict[str, Value]]) -> list[Value]:
    return [row["id"] for row in rows]


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_join_is_loaded_by_key_and_polled_by_cursor(town: Bench) -> None:
    """Pages follow the key whatever their size; afterwards only what has a later cursor comes."""
    opened(town, join(town))
    rows = town.drain(limit=10)
    assert ids(rows)[:7] == list(range(1, 8))
    zone = "+00:00" if town.engine.dialect.name == "mysql" else ""  # there it is a moment
    assert rows[0] == {"id": 1, "name": "x1@south", "updated_at": f"2026-11-20T10:00:00{zone}"}
    put(town, 8, at="2026-11-20 11:00:00")
    town.run("UPDATE person SET dept = 1, updated_at = '2026-11-20 11:00:01' WHERE id = 3")
    later = {row["id"]: row["name"] for row in town.drain()}
    assert later[8] == "x8@north"
    assert later[3] == "x3@north"


def not_lite(bench: Bench) -> bool:
    return bench.engine.dialect.name != "sqlite"


def test_pages_of_a_query_end_anywhere(town: Bench) -> None:
    """Rows of a load that takes many pages are each read once, in the order of the key."""
    put(town, *range(8, 60))
    opened(town, join(town), page_rows=10, cursor=None, mode="compare")
    assert ids(town.drain(limit=10)) == list(range(1, 60))


def test_a_query_may_name_its_parts_group_and_cut(town: Bench) -> None:
    """WITH, aggregates, ORDER BY and LIMIT belong to the query; our own pages are made of its result."""
    query = """WITH members AS (SELECT dept, count(*) AS heads, max(updated_at) AS updated_at FROM person GROUP BY dept)
        SELECT d.id, d.title AS name, m.heads, m.updated_at FROM members m JOIN dept d ON d.id = m.dept
        ORDER BY m.heads DESC LIMIT 1"""
    opened(town, query)
    (row,) = town.drain()[:1]
    assert (row["id"], row["name"], row["heads"]) == (2, "south", 4)


def test_percent_signs_colons_and_quotes_survive(any_database: Bench) -> None:
    """Nothing in the text of a query is taken for a parameter, in whatever way the driver writes those."""
    text = "5%% :id %%s" if not_lite(any_database) else "5% :id %s"
    any_database.run("CREATE TABLE t (id int PRIMARY KEY, name varchar(40))", f"INSERT INTO t VALUES (1, '{text}'), (2, 'x')")
    query = (
        "SELECT id, name, '%(k0)s %d ? :limit a:b ''quoted''' AS note FROM t WHERE name LIKE '5%' AND name LIKE '%:id%' -- 100%:x"
    )
    opened(any_database, query, cursor=None, where="note LIKE '%:limit%'")
    expected = {"id": 1, "name": "5% :id %s", "note": "%(k0)s %d ? :limit a:b 'quoted'"}
    assert any_database.drain() == [expected]
    assert any_database.source.read_keys([key(1)]).rows == [tuple(expected.values())]


def test_casts_with_two_colons_survive(pg: Bench) -> None:
    """PostgreSQL's own way to write casts, its slices of arrays and its operators with a question mark."""
    pg.run("CREATE TABLE t (id int PRIMARY KEY, doc jsonb, tags int[])", """INSERT INTO t VALUES (1, '{"a": 5}', '{7,8,9}')""")
    query = "SELECT id::bigint, (doc->>'a')::numeric(5,2) AS a, tags[2:3] AS rest FROM t WHERE doc ? 'a' AND $$it's; 5%$$ <> ''"
    opened(pg, query, cursor=None)
    assert pg.drain() == [{"id": 1, "a": "5.00", "rest": "{8,9}"}]


def test_keys_are_looked_up_in_the_result(town: Bench) -> None:
    """What is retried is read as the query gives it now."""
    opened(town, join(town))
    batch = town.source.read_keys([key(3), key(5), key(99)])
    assert [row[:2] for row in batch.rows] == [(3, "x3@south"), (5, "x5@south")]
    assert batch.entity == "f"


def test_a_backfill_chooses_among_the_rows_of_the_result(town: Bench) -> None:
    """By a condition on computed columns, by key, by the time of the change."""
    opened(town, join(town))
    town.drain()
    order = WalkOrder(WalkKind.BACKFILL, condition="name LIKE '%@north'", first="3")
    assert town.source.count(order) == 2
    town.position = town.source.begin_walk(town.position, order)
    assert ids(town.drain())[:2] == [4, 6]
    with pytest.raises(SourceRefused):
        town.source.begin_walk(town.position, WalkOrder(WalkKind.BACKFILL, condition="dept = 1"))  # no column of the result


# -- keys ---------------------------------------------------------------------------------------------------------------


def test_a_decimal_key_of_a_query_is_exact(town: Bench) -> None:
    """Places of a load by a computed decimal are compared as decimals, not as floating point."""
    town.run("CREATE TABLE big (id decimal(25, 2) PRIMARY KEY, name varchar(9))")
    numbers = ["9007199254740993.01", "9007199254740993.02", "9007199254740993.03"] if not_lite(town) else ["1.25", "1.5", "1.75"]
    town.run(*(f"INSERT INTO big VALUES ({number}, 'x')" for number in numbers))
    opened(town, "SELECT id, name FROM big WHERE id IS NOT NULL", cursor=None, page_rows=10)
    page = town.source._open.reader.by_key(None, 1)
    key = town.source._open.reader.key_of(page.rows[0])
    assert len(town.source._open.reader.by_key(key, 10).rows) == 2


# -- the whole way -----------------------------------------------------------------------------------------------------


@pytest.fixture
def captures(town: Bench) -> Iterator[Any]:
    """Makes services that capture the join, or another query, on one store."""
    store: list[MemoryStore] = []
    made: list[Capture] = []

    def make(query: str, **settings: object) -> Capture:
        capture = Capture(source(town, query, **settings), store=store[0] if store else None)
        capture.clock.advance(86_400 * len(made))
        store[:] = [capture.store]
        made.append(capture)
        return capture

    yield make
    for capture in made:
        capture.service._thread_of_source.stop(10)


def test_changes_of_both_tables_and_deletes_are_captured_by_comparing(town: Bench, captures: Any) -> None:
    """A department that is renamed changes its people; a row that leaves the result is deleted."""
    capture = captures(join(town), cursor=None, mode="compare", most_deletes=100)
    capture.run()
    assert capture.view()[1] == {"id": 1, "name": "x1@south"}
    town.run("UPDATE dept SET title = 'NORTH' WHERE id = 1", "DELETE FROM person WHERE id = 5")
    put(town, 9)
    before = len(capture.sent())
    capture.run()
    capture.run()
    told = capture.sent()[before:]
    assert {(sent.key["id"], sent.op) for sent in told} == {
        *((n, Op.UPSERT) for n in (2, 4, 6, 9)),
        (5, Op.DELETE),
    }
    assert set(capture.view()) == {1, 2, 3, 4, 6, 7, 9}
    assert capture.view()[2]["name"] == "x2@NORTH"


def test_a_polled_query_is_completed_by_a_comparison(town: Bench, captures: Any) -> None:
    """What the cursor does not tell, deletes and renamed departments, is found by the comparison that was ordered."""
    capture = captures(join(town), mode="polling", most_deletes=100)
    capture.run()
    town.run("UPDATE dept SET title = 'N' WHERE id = 1", "DELETE FROM person WHERE id = 7")
    put(town, 10, at="2026-11-20 12:00:00")
    capture.run()
    assert set(capture.view()) == {*range(1, 8), 10}
    ordered = capture.service.walk(WalkOrder(WalkKind.COMPARE))
    capture.run()
    capture.run()
    ordered.result(0)
    assert set(capture.view()) == {*range(1, 7), 10}
    assert capture.view()[4]["name"] == "x4@N"
    assert capture.recorder.of(WalkCompleted)


def test_a_changed_query_loses_the_position_and_is_compared(town: Bench, captures: Any) -> None:
    """A numbered gap, and a comparison that tells what the new text gives otherwise: no record twice, none left over."""
    captures(join(town), most_deletes=100).run()
    changed = join(town).replace("p.id > 0", "p.id > 2").replace("p.name", "upper(p.name)")
    capture = captures(changed, most_deletes=100)
    before = len(capture.sent())
    capture.run()
    capture.run()
    told = capture.sent()[before:]
    assert {sent.key["id"] for sent in told if sent.op is Op.DELETE} == {1, 2}
    assert {sent.key["id"] for sent in told if sent.op is Op.UPSERT} == {3, 4, 5, 6, 7}
    assert set(capture.view()) == {3, 4, 5, 6, 7}
    assert [gap.kind for gap in capture.store.tables.flows["people"].gaps] == ["position_lost"]
    assert len({sent.id for sent in capture.sent()}) == len(capture.sent())


def test_another_query_with_the_same_result_sends_nothing_again(town: Bench, captures: Any) -> None:
    """Identity does not depend on the text: rewritten, it is compared, and nothing differs."""
    captures(join(town), most_deletes=100).run()
    capture = captures(join(town).replace("JOIN dept d", "INNER JOIN dept d"), most_deletes=100)
    before = len(capture.sent())
    capture.run()
    capture.run()
    assert capture.sent()[before:] == []


def test_the_position_belongs_to_the_query(town: Bench) -> None:
    """The source itself says that a position is of another query; of the same it goes on."""
    opened(town, join(town))
    town.drain()
    opened(town, join(town))
    town.drain()
    opened(town, join(town) + " AND 1 = 1")
    with pytest.raises(SourceGone, match="query"):
        town.source.read(town.position, 10)


def test_the_entity_can_be_that_of_a_table(town: Bench) -> None:
    """A query that takes the place of a table keeps the identity of its records."""
    opened(town, join(town), entity="public.person")
    assert town.read().entity == "public.person"


# -- misuse ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query, settings, said",
    [
        ("SELECT p.id, d.id FROM person p JOIN dept d ON d.id = p.dept", {}, "id|Duplicate"),
        ("SELECT id, id + 1 FROM person", {}, "no name"),
        ("SELECT id, name FROM nowhere", {}, "does not take the query"),
        ("SELECT id, nothing FROM person", {}, "does not take the query"),
        ("SELECT id FROM FROM person", {}, "does not take the query"),
        ("SELECT id, name FROM person", {"cursor": "updated_at"}, "no column updated_at"),
        ("SELECT id AS nr, name FROM person", {}, "no column id"),
    ],
)
def test_what_cannot_be_read_is_named(town: Bench, query: str, settings: dict[str, Any], said: str) -> None:
    """Each kind of trouble is told when the source is opened, with what to do about it."""
    with pytest.raises(SourceRefused, match=said) as caught:
        opened(town, query, **{"cursor": None, **settings})
    assert caught.value.localised()[1]


def test_a_key_that_a_join_repeats_stops_the_flow(town: Bench) -> None:
    """Also when the second row would only have been on the next page, which begins behind the key."""
    town.run("CREATE TABLE flat (person int, door int)", "INSERT INTO flat VALUES (1, 1), (2, 1), (3, 1), (3, 2), (4, 1)")
    query = "SELECT p.id, f.door FROM person p JOIN flat f ON f.person = p.id"
    for page in (3, 100):
        town.position = START
        opened(town, query, cursor=None)
        with pytest.raises(SourceRefused, match="not unique"):
            town.drain(limit=page)


def test_rows_without_a_key_are_seen_once(town: Bench) -> None:
    """An outer join may leave the key empty: such rows come on a page of their own, for the host to quarantine."""
    town.run("UPDATE person SET dept = 9 WHERE id IN (1, 2)")
    query = "SELECT d.id AS id, p.id AS person FROM person p LEFT JOIN dept d ON d.id = p.dept WHERE p.id IN (1, 2, 3)"
    opened(town, query, cursor=None)
    assert sorted(map(str, ids(town.drain()))) == ["2", "None", "None"]


def test_a_function_that_writes_is_refused_by_the_session(pg: Bench) -> None:
    """What no text shows, the read-only session does."""
    pg.run(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "INSERT INTO t VALUES (1)",
        "CREATE FUNCTION f(n int) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO t VALUES (n + 100); RETURN n; END'",
    )
    opened(pg, "SELECT f(id) AS id FROM t", cursor=None)
    with pytest.raises(SourceRefused, match="read-only"):
        pg.drain()


def test_only_some_modes_are_possible(town: Bench) -> None:
    """Auto polls, or compares without a cursor, and says what is not possible and why."""
    opened(town, join(town), mode="auto")
    assert town.source._open.chosen.mode == "polling"
    assert ("trigger", "a query has no triggers and no log of its own") in town.source._open.chosen.passed
    opened(town, join(town), cursor=None, mode="auto")
    assert town.source._open.chosen.mode == "compare"


def test_watermark_is_possible_when_it_is_asked_for(pg: Bench) -> None:
    """Who names the mode answers for the column; open transactions are seen as for a table."""
    pg.run(
        "CREATE TABLE t (id int PRIMARY KEY, updated_at timestamptz DEFAULT now())",
        "INSERT INTO t VALUES (1)",
        "GRANT pg_read_all_stats TO CURRENT_USER",
    )
    opened(pg, "SELECT id, updated_at FROM t", mode="watermark")
    assert ids(pg.drain())[:1] == [1]
    pg.run("INSERT INTO t VALUES (2)")
    assert 2 in ids(pg.drain())


def test_doctor_reads_the_query(town: Bench) -> None:
    """It runs the query, names the mode, and tells what it cannot know of the key."""
    town.build(table=None, query=join(town))
    findings = town.source.check()
    texts = [finding.text for finding in findings]
    assert not [finding for finding in findings if not finding.ok and not finding.warning]
    assert any("unique in the result of the query" in text for text in texts)
    assert not any("no index begins" in text for text in texts)
    town.build(table=None, query="SELECT id, name FROM nowhere", cursor=None)
    assert any("does not take the query" in finding.text for finding in town.source.check())
