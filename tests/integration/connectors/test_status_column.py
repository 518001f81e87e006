"""Rows handed over through a status column, on real databases, captured by the service and answered from the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent.adapters.store import SqliteStore
from agent.adapters.store.reader import StoreReader
from agent.errors import SourceRefused
from agent.mapping.spec import FieldSpec, MapSpec
from agent.model import START, Counters, FlowState, MessageKind, Outcome, RefusedRecord, WalkKind, WalkOrder
from agent.services.capture import CapturePlan, CaptureService, Quarantine
from connectors.database.ddl import ddl_of
from connectors.database.source import DatabaseSource
from connectors.database.streams.status_writer import StatusWriter
from tests.contract.store.makers import ZHANG, receipt_for
from tests.integration.connectors.database_kit import Bench
from tests.unit.services.capture_kit import FLOW, SENDER, Sent
from tests.unit.services.capture_kit import Bench as Host

pytestmark = pytest.mark.integration

STATUS = {"column": "zt", "message": "cwxx", "at": "ztsj"}
SPEC = MapSpec(fields=(FieldSpec("id", "id"), FieldSpec("name", "name", required=True)), key=("id",))

TABLES = {
    "sqlite": "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, x REAL, zt TEXT DEFAULT '0', cwxx TEXT, ztsj TEXT)",
    "postgresql": (
        "CREATE TABLE t (id integer PRIMARY KEY, name text, x float8, zt char(2) DEFAULT '0', cwxx varchar(60), ztsj timestamp)"
    ),
    "mysql": (
        "CREATE TABLE t (id integer PRIMARY KEY, name varchar(50), x float, zt integer DEFAULT 0, cwxx varchar(60) NOT NULL "
        "DEFAULT '', ztsj datetime)"
    ),
}


WIDE = {
    "sqlite": ("f REAL, d DECIMAL(10,2), b BLOB, w TIMESTAMP, j TEXT", "0.1, 1.50, x'00ff', '2026-01-02 03:04:05', '{}'"),
    "postgresql": (
        "f float4, g float8, d numeric(10,2), b bytea, w timestamptz, j json, m money, n interval, o boolean",
        "0.1, 'NaN', 1.50, '\\x00ff', '2026-01-02 03:04:05+08', '{\"a\": 1}', 12.5, '1 day', true",
    ),
    "mysql": (
        "f float, g double, d decimal(10,2), b blob, w timestamp NULL, j json, e enum('a', 'b'), i bit(3), y year, t time, u text",
        "0.1, 1e20, 1.50, x'00ff', '2026-01-02 03:04:05', '{\"a\": 1}', 'b', b'101', 2026, '10:11:12', 'Straße '",
    ),
}


class Office:
    """An application, its table, and the agent that takes rows from there."""

    def __init__(self, database: Bench, **settings: Any) -> None:
        self.database = database
        name = database.engine.dialect.name
        self.name = "mysql" if name == "mariadb" else name
        database.run(TABLES[self.name])
        self.settings = {"mode": "status", "status": STATUS, "cursor": None, **settings}
        self.source = database.build(("id", "name"), **self.settings)
        self.host = Host(self.source, spec=SPEC)

    def run(self, *statements: str) -> None:
        """Let the application run statements."""
        self.database.run(*statements)

    def look(self) -> None:
        """Let the agent look at the table, and at what became of what it took."""
        self.host.clock.advance(10)
        self.host.run()

    def hand_over(self, *rows: tuple[int, str | None]) -> None:
        """Let the application write rows."""
        for number, name in rows:
            said = "NULL" if name is None else f"'{name}'"
            self.run(f"INSERT INTO t (id, name, x, zt) VALUES ({number}, {said}, 0.1, '0')")

    def statuses(self) -> dict[int, str]:
        """Return key → status."""
        return {row[0]: str(row[1]).strip() for row in self.rows("id, zt")}

    def reason(self, number: int) -> str:
        """Return why a row failed."""
        return {row[0]: str(row[1] or "") for row in self.rows("id, cwxx")}[number]

    def rows(self, what: str) -> list[Any]:
        """Return rows of the table."""
        with self.database.engine.connect() as connection:
            return list(connection.exec_driver_sql(f"SELECT {what} FROM t ORDER BY id").fetchall())

    def answer(self, outcome: Outcome = Outcome.STORED, **more: Any) -> None:
        """Let the hub answer everything that waits."""
        store = self.host.store
        waiting = [e.message for e in store.pending(FLOW, 0, 1000) if e.message.kind is MessageKind.RECORDS]
        store.settle([receipt_for(message, outcome, **more) for message in waiting]).result()

    def sent(self) -> list[tuple[Any, Any]]:
        """Return (key, name) of every record that waits for its receipt."""
        return self.host.names()

    def last(self) -> Sent:
        """Return the newest record that waits for its receipt."""
        return self.host.sent()[-1]


@pytest.fixture
def office(any_database: Bench) -> Iterator[Office]:
    """An office on each database in turn."""
    made = Office(any_database)
    yield made
    made.host.service._thread_of_source.stop(5)


def test_a_row_goes_from_pending_to_sent_to_stored(office: Office) -> None:
    """A row is marked sent when it is captured, stored when the receipt is there, and others are never touched."""
    office.hand_over((1, "甲"), (2, "乙"))
    office.run("INSERT INTO t (id, name, zt) VALUES (3, '丙', '9'), (4, '丁', '1')")
    office.look()
    assert office.sent() == [(1, "甲"), (2, "乙")]
    assert office.statuses() == {1: "1", 2: "1", 3: "9", 4: "1"}
    office.look()
    assert office.statuses() == {1: "1", 2: "1", 3: "9", 4: "1"}
    office.answer()
    office.look()
    assert office.statuses() == {1: "3", 2: "3", 3: "9", 4: "1"}
    assert len(str(office.rows("ztsj")[0][0])) >= 19


def test_many_rows_in_many_pages(any_database: Bench) -> None:
    """Every row is sent once and marked, with small pages, and nothing is left pending."""
    office = Office(any_database, page_rows=10)
    values = ", ".join(f"({number}, 'n{number}', 0.1)" for number in range(1, 234))
    office.run(f"INSERT INTO t (id, name, x) VALUES {values}")
    office.look()
    assert office.sent() == [(number, f"n{number}") for number in range(1, 234)]
    assert set(office.statuses().values()) == {"1"}
    office.answer()
    office.look()
    assert set(office.statuses().values()) == {"3"}
    office.run("UPDATE t SET zt = '0'")  # nothing is news: no position is stored on the way
    for _ in range(3):
        office.look()
    assert set(office.statuses().values()) == {"3"}
    assert office.sent() == []
    office.host.service._thread_of_source.stop(5)


def test_values_of_every_type_are_known_again(any_database: Bench) -> None:
    """Whatever a row holds, it is recognised as unchanged when it is marked; NULL everywhere too."""
    office = Office(any_database)
    columns, values = WIDE[office.name]
    names = ", ".join(part.split()[0] for part in columns.replace("(10,2)", "").replace("'a', 'b'", "").split(", "))
    office.run(
        "DROP TABLE t", f"CREATE TABLE t (id integer PRIMARY KEY, name varchar(9), zt char(1), cwxx varchar(9), {columns})"
    )
    office.run(
        f"INSERT INTO t (id, name, zt, {names}) VALUES (1, 'a', '0', {values})",
        "INSERT INTO t (id, name, zt) VALUES (2, 'b', '0')",
    )
    office.host.source = any_database.build((), **{**office.settings, "status": {"column": "zt", "message": "cwxx"}})
    office.host.restart()
    office.look()
    assert office.statuses() == {1: "1", 2: "1"}
    office.answer()
    office.look()
    assert office.statuses() == {1: "3", 2: "3"}
    office.host.service._thread_of_source.stop(5)


def test_a_key_of_several_columns(any_database: Bench) -> None:
    """Keys of texts and times are found again, too, and a long reason is cut to its column."""
    office = Office(any_database)
    when = "datetime" if office.name == "mysql" else "timestamp"
    office.run(
        "DROP TABLE t",
        f"CREATE TABLE t (id varchar(9), w {when}, name varchar(9), zt varchar(2), cwxx varchar(6), PRIMARY KEY (id, w))",
    )
    office.run(
        "INSERT INTO t (id, w, name, zt) VALUES ('a''1', '2026-01-02 03:04:05', NULL, '0'), ('龘', '2026-01-02 03:04:06', 'b', '0')"
    )
    spec = MapSpec(fields=(FieldSpec("id", "id"), FieldSpec("w", "w"), FieldSpec("name", "name", required=True)), key=("id", "w"))
    settings = {**office.settings, "key": ("id", "w"), "status": {"column": "zt", "message": "cwxx"}}
    office.host = Host(any_database.build(("id", "w", "name"), **settings), spec=spec)
    office.look()
    assert sorted(office.statuses().values()) == ["1", "2"]
    assert len(office.rows("id, cwxx")[0][1]) == 6
    office.answer()
    office.look()
    assert sorted(office.statuses().values()) == ["2", "3"]
    office.host.service._thread_of_source.stop(5)


def test_what_the_hub_refuses_has_failed(office: Office) -> None:
    """A refused message is failed with the reason of the hub, and stored once the application handed it over again."""
    office.hand_over((1, "甲"))
    office.look()
    office.answer(Outcome.REFUSED_FINAL, code="bad_type", text="no such type")
    office.look()
    assert office.statuses() == {1: "2"}
    assert "no such type" in office.reason(1)
    assert "bad_type" in office.reason(1)
    office.run("UPDATE t SET name = '乙', zt = '0'")
    office.look()
    assert (office.statuses(), office.reason(1)) == ({1: "1"}, "")
    office.answer()
    office.look()
    assert office.statuses() == {1: "3"}


def test_one_refused_record_of_a_message(office: Office) -> None:
    """Of a partly stored message only the refused record fails."""
    office.hand_over((1, "甲"), (2, "乙"))
    office.look()
    refused = RefusedRecord(office.last().id, "name", "too_short", "name too short")
    office.answer(Outcome.PARTLY_STORED, refused=[refused], stored=1)
    office.look()
    assert office.statuses() == {1: "3", 2: "2"}
    assert office.reason(2).startswith("name: ")
    assert "name too short (too_short)" in office.reason(2)


def test_what_cannot_be_translated_has_failed(office: Office) -> None:
    """A quarantined row is failed with the reason, and stored after it was corrected and handed over again."""
    office.hand_over((1, None), (2, "乙"))
    office.look()
    assert office.sent() == [(2, "乙")]
    assert office.statuses() == {1: "2", 2: "1"}
    assert office.reason(1)
    office.run("UPDATE t SET name = '甲', zt = '0' WHERE id = 1")
    office.look()
    office.answer()
    office.look()
    assert office.statuses() == {1: "3", 2: "3"}
    assert office.host.item_states() == {"required": "superseded"}


def test_a_later_version_that_cannot_be_translated_is_not_called_stored(office: Office) -> None:
    """The receipt of an earlier version says nothing of a row that is wrong now, even after somebody dismissed the item."""
    office.hand_over((1, "甲"))
    office.look()
    office.answer()
    office.look()
    for _ in range(2):
        office.run("UPDATE t SET name = NULL, zt = '0'")
        office.look()
        assert office.statuses() == {1: "2"}
        office.host.store.close_items(list(office.host.store.tables.items), "discarded", ZHANG).result()


def test_a_row_equal_to_what_was_sent(office: Office) -> None:
    """A row that is handed over again unchanged sends nothing and gets the state of what was sent."""
    office.hand_over((1, "甲"))
    office.look()
    office.run("UPDATE t SET zt = '0'")
    office.look()
    assert office.statuses() == {1: "1"}
    office.answer()
    office.look()
    office.run("UPDATE t SET zt = '0'")
    office.look()
    office.look()
    assert (office.statuses(), office.sent()) == ({1: "3"}, [])


def test_a_crash_between_append_and_marking(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that was captured but not marked is read again, sends nothing again, and is marked then."""
    office.hand_over((1, "甲"), (2, "乙"))
    with monkeypatch.context() as patch:
        patch.setattr(StatusWriter, "move", lambda *_: None)
        office.look()
    assert office.statuses() == {1: "0", 2: "0"}
    office.host.restart()
    office.look()
    assert office.sent() == [(1, "甲"), (2, "乙")]
    assert office.statuses() == {1: "1", 2: "1"}


def test_a_crash_between_receipt_and_marking(office: Office) -> None:
    """A receipt that came while nobody could mark the row is written down by the next process."""
    office.hand_over((1, "甲"))
    office.look()
    office.answer()
    office.host.restart()
    office.look()
    assert office.statuses() == {1: "3"}


def test_a_row_changed_between_reading_and_marking(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change by the application after reading keeps the row pending, and it is sent as a new version."""
    office.hand_over((1, "甲"), (2, "乙"))
    append, changed = office.host.store.append, []

    def change_first(step: Any) -> Any:
        if step.messages and not changed:
            changed.append(True)
            office.run("UPDATE t SET name = '丙', zt = '0' WHERE id = 1")
        return append(step)

    monkeypatch.setattr(office.host.store, "append", change_first)
    office.look()
    assert office.sent() == [(1, "甲"), (2, "乙"), (1, "丙")]
    assert office.statuses() == {1: "1", 2: "1"}


def test_a_change_before_the_receipt_gets_a_receipt_of_its_own(office: Office) -> None:
    """A row handed over again while its receipt was under way is not called stored before its own receipt."""
    office.hand_over((1, "甲"))
    office.look()
    office.run("UPDATE t SET name = '乙', zt = '0'")
    office.answer()
    office.look()
    assert (office.statuses(), office.sent()) == ({1: "1"}, [(1, "乙")])
    office.answer()
    office.look()
    assert office.statuses() == {1: "3"}


def test_a_row_that_somebody_holds(office: Office) -> None:
    """A locked row stays pending, its neighbours are marked, and it is marked when it is free; a file is locked as a whole."""
    office.hand_over((1, "甲"), (2, "乙"))
    with office.database.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("UPDATE t SET x = 0.2 WHERE id = 1")
        office.look()
        assert office.statuses() == {1: "0", 2: "0" if office.name == "sqlite" else "1"}
        connection.exec_driver_sql("COMMIT")
    office.look()
    assert office.statuses() == {1: "1", 2: "1"}


def test_an_operator_has_a_refused_message_sent_again(office: Office) -> None:
    """A failed row becomes stored when what it holds was stored after all."""
    office.hand_over((1, "甲"))
    office.look()
    office.answer(Outcome.REFUSED_FINAL, code="bad_type")
    office.look()
    assert office.statuses() == {1: "2"}
    row = office.host.store.known(FLOW, ['[["i","1"]]'])['[["i","1"]]']
    office.run("INSERT INTO t (id, name, zt) VALUES (2, '乙', '0')")
    office.look()
    ledger = office.host.store.tables.flows[FLOW].ledger
    ledger[row.key] = (row, ledger['[["i","2"]]'][1])  # as an order to send again leaves it
    office.answer()
    office.look()
    assert office.statuses() == {1: "3", 2: "3"}


def test_after_the_store_was_put_back(office: Office) -> None:
    """Rows that a store put back from a copy has forgotten are handed over again by themselves."""
    office.hand_over((1, "甲"))
    office.look()
    row = office.host.store.tables.flows[FLOW]
    row.ledger.clear()
    row.previous_epoch = "earlier"
    office.host.restart()
    office.look()
    office.look()
    assert [key for key, _ in office.sent()] == [1, 1]
    assert office.statuses() == {1: "1"}


def test_two_flows_with_a_column_each(any_database: Bench) -> None:
    """Two flows on one table with a status column of their own do not touch each other's."""
    first = Office(any_database)
    any_database.run("ALTER TABLE t ADD zt2 char(1) DEFAULT '0'")
    source = any_database.build(("id", "name"), **{**first.settings, "status": {"column": "zt2"}})
    second = Host(source, spec=SPEC)
    first.hand_over((1, "甲"))
    first.look()
    assert [tuple(str(value).strip() for value in row) for row in first.rows("zt, zt2")] == [("1", "0")]
    second.run()
    first.answer()
    first.look()
    assert second.names() == [(1, "甲")]
    assert [tuple(str(value).strip() for value in row) for row in first.rows("zt, zt2")] == [("3", "1")]
    for host in (first.host, second):
        host.service._thread_of_source.stop(5)


def test_the_store_on_disk(any_database: Bench, tmp_path: Any) -> None:
    """The same with the store that is used in earnest: captured, marked, refused, answered."""
    office = Office(any_database)
    host = office.host
    store = SqliteStore.open(tmp_path / "s" / "store.db", agent_id=SENDER, clock=host.clock, events=host.events)
    reader = StoreReader(tmp_path / "s" / "store.db")
    service = CaptureService(
        CapturePlan(FLOW, SENDER, SPEC),
        source=office.source,
        log=store,
        ledger=store,
        writer_for=host.writer,
        events=host.events,
        clock=host.clock,
        random=lambda: 0.0,
        quarantine=Quarantine(reader.item, lambda: [item.input for item in reader.items(FLOW)]),
    )
    host.service, host.store = service, store  # type: ignore[assignment]
    office.hand_over((1, "甲"), (2, None), (3, "丙"))
    office.look()
    assert office.statuses() == {1: "1", 2: "2", 3: "1"}
    refused = RefusedRecord(office.last().id, "name", "too_short", "name too short")
    office.answer(Outcome.PARTLY_STORED, refused=[refused], stored=1)
    office.look()
    assert office.statuses() == {1: "3", 2: "2", 3: "2"}
    assert "too_short" in office.reason(3)
    service._thread_of_source.stop(5)
    reader.close()
    store.close()


# -- what is said ------------------------------------------------------------------------------------------------------


def test_check_finds_nothing_wrong(office: Office) -> None:
    """With all rights check says which columns are written, and asks for an index."""
    findings = office.source.check()
    assert all(finding.ok or finding.warning for finding in findings), findings
    subjects = {finding.subject: finding for finding in findings if finding.subject == "status"}
    assert subjects["status"].text == "no index begins with {column}: every look reads the whole table"
    assert any(finding.details.get("mode") == "status" for finding in findings)


def test_what_the_dba_runs(office: Office) -> None:
    """The statements for the DBA give the rights and the index, can be run as they are, and are taken back."""
    ddl = ddl_of(office.database.wiring(("id", "name"), **office.settings))
    assert ddl.mode == "status"
    if office.name == "postgresql":
        assert list(ddl.create[1:]) == ['CREATE INDEX "huitong_zt" ON "t" ("zt", "id")']
    index = [statement for statement in ddl.create if statement.startswith("CREATE INDEX")]
    office.run(*(index if office.name == "mysql" else ddl.create))  # there nobody grants to somebody logged in as everybody
    assert [finding.text for finding in office.source.check() if finding.subject == "status"] == [
        "the account may write {columns}"
    ]
    assert [statement.split()[0] for statement in ddl.drop] == ([] if office.name == "sqlite" else ["REVOKE"])


def test_there_is_nothing_to_compare(office: Office) -> None:
    """A comparison or backfill of a status column is refused: what the application did not hand over is not sent."""
    office.source.open(state())
    for kind in (WalkKind.COMPARE, WalkKind.BACKFILL):
        with pytest.raises(SourceRefused, match="nothing to compare"):
            office.source.begin_walk(state().position, WalkOrder(kind))


def test_auto_with_a_status_column(any_database: Bench) -> None:
    """Auto takes the status column before everything else."""
    office = Office(any_database, mode="auto")
    office.hand_over((1, "甲"))
    office.look()
    assert office.statuses() == {1: "1"}
    office.host.service._thread_of_source.stop(5)


def test_a_column_that_is_not_there(any_database: Bench) -> None:
    """A column of the handshake that the table does not have is named."""
    office = Office(any_database, status={**STATUS, "message": "nowhere"})
    with pytest.raises(SourceRefused, match="nowhere"):
        office.source.open(state())


def test_the_right_to_write_is_missing_on_postgresql(pg: Bench) -> None:
    """Without UPDATE on the columns check says the GRANT that is needed, and with it everything works."""
    office = Office(pg)
    pg.run("CREATE ROLE reader_of_t LOGIN PASSWORD 'x'", "GRANT SELECT ON t TO reader_of_t")
    try:
        _without_rights(office, pg, 'GRANT UPDATE ("zt", "cwxx", "ztsj") ON "t" TO "reader_of_t"')
    finally:
        pg.run("DROP OWNED BY reader_of_t", "DROP ROLE reader_of_t")


def test_the_right_to_write_is_missing_on_mariadb(maria: Bench) -> None:
    """Without UPDATE on the columns check says the GRANT that is needed, and with it everything works."""
    office = Office(maria)
    maria.run("CREATE USER 'reader_of_t'@'%%' IDENTIFIED BY 'x'", "GRANT SELECT ON t TO 'reader_of_t'@'%%'")
    try:
        _without_rights(office, maria, "GRANT UPDATE (`zt`, `cwxx`, `ztsj`) ON `t` TO 'reader_of_t'@'%%'")
    finally:
        maria.run("DROP USER 'reader_of_t'@'%%'")


def test_a_file_that_may_only_be_read(lite: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file the agent may not write to is said by check."""
    office = Office(lite)
    writer = "connectors.database.dialects.sqlite.SqliteDatabase.connect_writer"
    monkeypatch.setattr(writer, lambda database: database.connect_driver())
    (finding,) = [finding for finding in office.source.check() if not finding.ok and not finding.warning]
    assert "cannot be written" in finding.text
    assert "chmod" in str(finding.details["grant"])


def _without_rights(office: Office, bench: Bench, grant: str) -> None:
    bench.connection = bench.connection.model_copy(update={"user": "reader_of_t"})
    bench.password = "x"
    source: DatabaseSource = bench.build(("id", "name"), **office.settings)
    (finding,) = [finding for finding in source.check() if not finding.ok and not finding.warning]
    assert "cannot be written" in finding.text
    assert "{grant}" in finding.hint
    assert finding.details["grant"] == grant.replace("%%", "%")
    bench.run(grant)
    assert all(finding.ok or finding.warning for finding in source.check())
    office.host.source = source
    office.host.restart()
    office.hand_over((1, "甲"))
    office.look()
    assert office.statuses() == {1: "1"}
    office.host.service._thread_of_source.stop(5)


def state() -> FlowState:
    """Return a flow that was never captured."""
    return FlowState(FLOW, "e", "", START, Counters(), {})
