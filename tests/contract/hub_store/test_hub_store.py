"""The contract of the hub's store: the same behaviour on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import Raw
from sqlalchemy import Connection, text

from agent.errors import Conflict, NotFound
from agent.model import MessageKind, Op, Outcome
from agent.testing.clock import FakeClock
from agent.wire.envelope import WireRecord
from agent.wire.signature import KeyState
from hub import audit
from hub.errors import LeaseLost, RecordsCollide
from hub.model import (
    Changes,
    Department,
    DepartmentState,
    EpochState,
    MessageRow,
    PackedRecords,
    Post,
    PostKind,
    Quarantine,
    RecordBatch,
    Seen,
)
from hub.sequence import Closed
from hub.store.leases import EveryDepartment, PostgresLeases
from hub.store.migrate import migrate
from hub.store.opening import leases_of
from hub.store.registry import SqlRegistry
from hub.store.sql import SqlStore
from hub.testing import SampleDepartment

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def department(code: str) -> Department:
    return Department(code, f"{code} 局", "张工 028-1234", DepartmentState.ADMITTED, AT)


@pytest.fixture
def registry(store: SqlStore) -> SqlRegistry:
    """A registry with the department bdc-01."""
    made = SqlRegistry(store)
    made.admit(department("bdc-01"), None, "test")
    return made


@pytest.fixture
def flow_id(store: SqlStore, registry: SqlRegistry) -> int:
    """The flow people of bdc-01 with the epoch e1."""
    assert registry.departments()
    with store.begin({}) as unit:
        flow = unit.open_flow(("bdc-01", "people"), AT)
        flow.epochs["e1"] = EpochState("e1", 1, "", changed=True)
        unit.write([flow], Changes(), AT)
    return flow.flow_id


def wire(
    number: int, *, op: Op = Op.UPSERT, at: str | None = None, corrects: str | None = None, data: bytes | None = b'{"v":1}'
) -> WireRecord:
    return WireRecord(
        id=f"{number:032x}",
        op=op,
        key=Raw(b'{"id":"%d"}' % number),
        at=at,
        corrects=corrects,
        data=None if data is None else Raw(data),
    )


def pack(store: SqlStore, records: Sequence[WireRecord]) -> PackedRecords:
    return store.pack(records, range(len(records)))


def message(message_id: str, flow_id: int | None = None, sequence: int | None = None, **changes: object) -> MessageRow:
    row = MessageRow(
        sender="bdc-01",
        message_id=message_id,
        flow_id=flow_id,
        epoch_ordinal=None if sequence is None else 1,
        sequence=sequence,
        kind=MessageKind.RECORDS,
        type="cn.huitong.records.v1",
        subject="s",
        dataschema="d",
        digest_alg="sha-256",
        digest=bytes(32),
        outcome=Outcome.STORED,
        code="",
        encoding="zstd",
        body=b"\x00\xff body",
        jws="a..b",
        kid="k",
        records=1,
        stored=1,
        duplicates=0,
        received_at=AT,
        committed_at=AT,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def post(about: str, kind: PostKind = PostKind.RECEIPT, to: str = "bdc-01") -> Post:
    return Post(to, about, kind, f"r-{about}", "cn.huitong.receipt.v1", "", b"{}", "a..b", AT)


def test_migration_is_idempotent_and_leaves_no_difference(store: SqlStore) -> None:
    """Migrating twice changes nothing, and the tables are those the code declares."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from hub.store.schema import metadata

    migrate(store)
    with store.transaction() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []


def test_a_schema_from_the_future_is_left_alone(store: SqlStore) -> None:
    """A release works on the schema of its successor: it neither fails nor migrates back."""
    with store.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    migrate(store)
    with store.transaction() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


def test_flow_state_survives(store: SqlStore, flow_id: int) -> None:
    """High water, ranges ahead, frozen reason and order of epochs come back as they were written."""
    with store.begin({}) as unit:
        flow = unit.lock(flows={("bdc-01", "people")}).flows["bdc-01", "people"]
        flow.epochs["e1"].closed = Closed(7, ((9, 9), (12, 20)))
        flow.epochs["e1"].changed = True
        flow.epochs["e2"] = EpochState("e2", 2, "e1", frozen="fork", changed=True)
        flow.messages, flow.records, flow.duplicates, flow.repeats = 1, 2, 3, 4
        unit.write([flow], Changes(), AT)
    with store.begin({}) as unit:
        flow = unit.lock(flows={("bdc-01", "people"), ("bdc-01", "other")}).flows["bdc-01", "people"]
    assert flow.flow_id == flow_id
    assert flow.epochs["e1"].closed == Closed(7, ((9, 9), (12, 20)))
    assert (flow.epochs["e2"].previous, flow.epochs["e2"].frozen) == ("e1", "fork")
    assert flow.latest is flow.epochs["e2"]
    assert (flow.messages, flow.repeats) == (0, 0)


def test_a_block_that_raises_leaves_nothing(store: SqlStore, flow_id: int) -> None:
    """Everything of a transaction or nothing is stored."""

    def failing() -> None:
        with store.begin({}) as unit:
            unit.write([], Changes(messages=[message("m1", flow_id, 1)], posts=[post("m1")]), AT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    with store.begin({}) as unit:
        assert unit.lock(messages={("bdc-01", "m1")}).seen == {}
    assert store.due(None, 10) == []


def test_messages_are_remembered_by_id_and_place(store: SqlStore, flow_id: int) -> None:
    """A message is found by (sender, id) with its digest and outcome, and occupies its sequence."""
    digest = bytes(range(32))
    rows = [message("m1", flow_id, 1, digest=digest, outcome=Outcome.PARTLY_STORED), message("c1", flow_id), message("c2", None)]
    with store.begin({}) as unit:
        unit.write([], Changes(messages=rows), AT)
    with store.begin({}) as unit:
        seen = unit.lock(messages={("bdc-01", "m1"), ("bdc-01", "m2"), ("other", "m1")}).seen
        assert seen == {("bdc-01", "m1"): Seen("m1", digest, Outcome.PARTLY_STORED, "")}
        assert unit.occupied(flow_id, 1, 1)
        assert not unit.occupied(flow_id, 1, 2)
        assert not unit.occupied(flow_id, 2, 1)


def test_records_are_stored_as_received(store: SqlStore, flow_id: int) -> None:
    """Key and data keep their octets, their order of members included; delete, at and corrects too."""
    records = [
        wire(1, data='{"b":"䶮","a":"1.10","n":null,"e":"\\u0000"}'.encode()),
        wire(2, op=Op.DELETE, data=None, at="2026-01-01T00:00:00+08:00"),
        wire(3, corrects=f"{1:032x}", data=b'{ "x" : [1, 2] }'),
        wire(4, corrects=f"{2:032x}", at="2026-01-01", data=b"{}"),
    ]
    with store.begin({}) as unit:
        unit.write([], Changes(records=[RecordBatch(flow_id, 1, 5, pack(store, records))]), AT)
    with store.transaction() as connection:
        query = text("SELECT position, deleted, key, data, at, corrects FROM record ORDER BY position")
        rows = [tuple(row) for row in connection.execute(query)]
    assert [row[:5] for row in rows] == [
        (0, False, '{"id":"1"}', '{"b":"䶮","a":"1.10","n":null,"e":"\\u0000"}', None),
        (1, True, '{"id":"2"}', None, "2026-01-01T00:00:00+08:00"),
        (2, False, '{"id":"3"}', '{ "x" : [1, 2] }', None),
        (3, False, '{"id":"4"}', "{}", "2026-01-01"),
    ]
    assert [row[5] is None for row in rows] == [True, True, False, False]


def test_a_stored_record_id_makes_the_bulk_insert_collide(store: SqlStore, flow_id: int) -> None:
    """The same record id in the same flow collides, whatever message carries it, and can be looked up; in another flow it does not."""
    with store.begin({}) as unit:
        other = unit.open_flow(("bdc-01", "other"), AT)
        unit.write([other], Changes(records=[RecordBatch(flow_id, 1, 1, pack(store, [wire(1), wire(2)]))]), AT)
    with pytest.raises(RecordsCollide), store.begin({}) as unit:
        unit.write([], Changes(records=[RecordBatch(flow_id, 1, 2, pack(store, [wire(3), wire(2)]))]), AT)
    ids = [f"{n:032x}" for n in range(1, 4)]
    with store.begin({}) as unit:
        assert unit.stored_ids(flow_id, ids) == frozenset(ids[:2])
        unit.write([], Changes(records=[RecordBatch(other.flow_id, 1, 1, pack(store, [wire(1)]))]), AT)


def test_packed_records_can_be_picked(store: SqlStore, flow_id: int) -> None:
    """Leaving out records keeps the positions of the others."""
    packed = pack(store, [wire(1), wire(2), wire(3)]).only([0, 2])
    with store.begin({}) as unit:
        unit.write([], Changes(records=[RecordBatch(flow_id, 1, 1, packed)]), AT)
    with store.transaction() as connection:
        assert connection.execute(text("SELECT position FROM record ORDER BY position")).scalars().all() == [0, 2]


def test_current_value_follows_the_order_not_the_arrival(store: SqlStore, flow_id: int) -> None:
    """A key's current value is that of the greatest (epoch ordinal, sequence, position), in whatever order they came."""
    with store.begin({}) as unit:
        flow = unit.lock(flows={("bdc-01", "people")}).flows["bdc-01", "people"]
        flow.epochs["e2"] = EpochState("e2", 2, "e1", changed=True)
        unit.write([flow], Changes(), AT)

    def put(number: int, ordinal: int, sequence: int, value: int) -> None:
        record = replace_key(wire(number, data=b'{"v":%d}' % value), b'{"id":"7"}')
        with store.begin({}) as unit:
            unit.write([], Changes(records=[RecordBatch(flow_id, ordinal, sequence, pack(store, [record]))]), AT)

    put(1, 2, 1, 21)
    put(2, 1, 9, 19)
    put(3, 1, 10, 110)
    with store.transaction() as connection:
        rows = connection.execute(text("SELECT sender, flow, key, data, epoch FROM current_value")).all()
    assert [tuple(row) for row in rows] == [("bdc-01", "people", '{"id":"7"}', '{"v":21}', "e2")]


def replace_key(record: WireRecord, key: bytes) -> WireRecord:
    return WireRecord(id=record.id, op=record.op, key=Raw(key), at=record.at, corrects=record.corrects, data=record.data)


def test_posts_are_due_until_published_and_again_on_request(store: SqlStore, registry: SqlRegistry) -> None:
    """A post is due once, oldest first, within the departments asked for; reposting makes a receipt due again, an answer not."""
    registry.admit(department("tax-02"), None, "test")
    posts = [post("m1"), post("m2"), post("q1", PostKind.ANSWER), post("m3", to="tax-02")]
    with store.begin({}) as unit:
        unit.write([], Changes(posts=posts), AT)
    due = store.due({"bdc-01"}, 10)
    assert [one.post for one in due] == posts[:3]
    assert [one.post.about for one in store.due(None, 10)] == ["m1", "m2", "q1", "m3"]
    assert [one.post.about for one in store.due(None, 2)] == ["m1", "m2"]
    store.published([one.post_id for one in due], AT)
    assert store.due({"bdc-01"}, 10) == []
    with store.begin({}) as unit:
        unit.write([], Changes(repost=[("bdc-01", "m2"), ("bdc-01", "q1"), ("bdc-01", "m9")]), AT)
    assert [one.post.about for one in store.due({"bdc-01"}, 10)] == ["m2"]


@pytest.mark.usefixtures("registry")
def test_quarantine_counts_the_same_refusal(store: SqlStore) -> None:
    """The same octets refused for the same reason are one entry that counts; another reason is another entry."""
    one = Quarantine(
        "bdc-01",
        "ing.bdc-01",
        "agent.bdc-01",
        "tax-02",
        "m1",
        Outcome.REFUSED_RETRY,
        "unknown_type",
        "why",
        bytes(32),
        "",
        "{}",
        b"\x00raw",
        4,
        AT,
    )
    later = replace(one, at=AT + timedelta(hours=1))
    with store.begin({}) as unit:
        unit.write([], Changes(quarantined=[one, later, replace(one, code="conflict")]), AT)
    with store.begin({}) as unit:
        unit.write([], Changes(quarantined=[later]), AT)
    with store.transaction() as connection:
        rows = connection.execute(text("SELECT code, times, raw FROM quarantine ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [("unknown_type", 3, b"\x00raw"), ("conflict", 1, b"\x00raw")]


@pytest.mark.usefixtures("registry")
def test_quarantine_keeps_a_share_of_octets(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a department's share only the facts are kept; other departments have their own share."""
    monkeypatch.setattr("hub.store.unit.QUARANTINE_SHARE_BYTES", 10)
    one = Quarantine(
        "bdc-01", "e", "u", "", "m1", Outcome.REFUSED_FINAL, "malformed", "", bytes(32), "", "{}", b"12345678", 8, AT
    )
    others = [
        replace(one, message_id="m2"),
        replace(one, message_id="m3", raw=b"12", size_bytes=2),
        replace(one, department="tax-02"),
    ]
    with store.begin({}) as unit:
        unit.write([], Changes(quarantined=[one, *others]), AT)
    with store.transaction() as connection:
        rows = connection.execute(text("SELECT department, message_id, raw FROM quarantine ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [
        ("bdc-01", "m1", b"12345678"),
        ("bdc-01", "m2", None),
        ("bdc-01", "m3", b"12"),
        ("tax-02", "m1", b"12345678"),
    ]


def test_audit_chain_is_written_with_its_head(store: SqlStore, registry: SqlRegistry) -> None:
    """Admission and ingest share one unbroken chain per department."""
    with store.begin({}) as unit:
        head = unit.lock({"bdc-01", "nobody"}).heads["bdc-01"]
        link = audit.append(head, "bdc-01", "{}", AT)
        unit.write([], Changes(links=[link], heads={"bdc-01": audit.Head(link.sequence, link.hash)}), AT)
    registry.set_state("bdc-01", DepartmentState.SUSPENDED, AT, "test")
    with store.transaction() as connection:
        rows = connection.execute(text("SELECT sequence, previous, hash, entry FROM audit ORDER BY sequence")).all()
    links = [audit.Link("bdc-01", row.sequence, row.previous, row.hash, row.entry, AT) for row in rows]
    assert len(links) == 3
    assert audit.first_broken(links) is None
    with store.begin({}) as unit:
        assert unit.lock({"bdc-01"}).heads["bdc-01"] == audit.Head(3, links[-1].hash)


def test_purge_keeps_what_identifies(store: SqlStore, flow_id: int) -> None:
    """Old bodies, published answers and quarantined octets go; ids, digests, receipts and unpublished posts stay."""
    old, new = AT, AT + timedelta(days=2)
    refused = Quarantine(
        "bdc-01", "e", "u", "", "m9", Outcome.REFUSED_FINAL, "malformed", "", bytes(32), "", "{}", b"raw", 3, old
    )
    with store.begin({}) as unit:
        rows = [message("m1", flow_id, 1), message("m2", flow_id, 2, committed_at=new)]
        posts = [post("m1"), post("q1", PostKind.ANSWER), post("q2", PostKind.REFUSAL)]
        unit.write([], Changes(messages=rows, posts=posts, quarantined=[refused]), AT)
    store.published([one.post_id for one in store.due(None, 10) if one.post.about != "q2"], old)
    cut = AT + timedelta(days=1)
    assert store.purge(bodies_before=cut, posts_before=cut, quarantine_before=cut, limit=100) == 3
    assert store.purge(bodies_before=cut, posts_before=cut, quarantine_before=cut, limit=100) == 0
    with store.transaction() as connection:
        assert connection.execute(text("SELECT message_id, body IS NULL FROM message ORDER BY 1")).all() == [
            ("m1", True),
            ("m2", False),
        ]
        assert connection.execute(text("SELECT about FROM receipt ORDER BY id")).scalars().all() == ["m1", "q2"]
        assert connection.execute(text("SELECT raw FROM quarantine")).scalars().all() == [None]


def test_keys_only_move_towards_revoked(registry: SqlRegistry) -> None:
    """A key goes active → retiring → revoked and never back; it belongs to one owner for ever."""
    key = SampleDepartment("bdc-01", "hub", FakeClock()).public
    registry.add_key(key, AT, "test")
    registry.add_key(key, AT, "test")
    assert registry.keys("bdc-01") == [key]
    registry.set_key(key.kid, KeyState.RETIRING, AT, "test")
    with pytest.raises(Conflict):
        registry.set_key(key.kid, KeyState.ACTIVE, AT, "test")
    registry.set_key(key.kid, KeyState.REVOKED, AT, "test")
    assert registry.keys() == [replace(key, state=KeyState.REVOKED)]
    registry.admit(department("tax-02"), None, "test")
    for again in (key, replace(key, owner="tax-02")):
        with pytest.raises(Conflict):
            registry.add_key(again, AT, "test")
    with pytest.raises(NotFound):
        registry.set_key("nokey", KeyState.REVOKED, AT, "test")
    with pytest.raises(NotFound):
        registry.add_key(replace(key, owner="nobody", kid="x"), AT, "test")


def test_admitting_again_renews(registry: SqlRegistry) -> None:
    """A second admission changes title and contact; who was suspended stays so until somebody lifts it."""
    registry.set_state("bdc-01", DepartmentState.SUSPENDED, AT, "test")
    assert registry.departments()[0].state is DepartmentState.SUSPENDED
    assert registry.admit(replace(department("bdc-01"), title="新名"), None, "test") is False
    assert [(one.title, one.state) for one in registry.departments()] == [("新名", DepartmentState.SUSPENDED)]
    registry.set_state("bdc-01", DepartmentState.ADMITTED, AT, "test")
    assert registry.departments()[0].state is DepartmentState.ADMITTED
    with pytest.raises(NotFound):
        registry.set_state("nobody", DepartmentState.SUSPENDED, AT, "test")


def test_one_process_works_for_every_admitted_department(store: SqlStore, registry: SqlRegistry) -> None:
    """A lone process holds every admitted department and no suspended one."""
    registry.admit(department("tax-02"), None, "test")
    registry.admit(department("zzz-03"), None, "test")
    registry.set_state("tax-02", DepartmentState.SUSPENDED, AT, "test")
    leases = leases_of(store)
    assert set(leases.hold("one", 30)) == {"bdc-01", "zzz-03"}
    registry.set_state("bdc-01", DepartmentState.SUSPENDED, AT, "test")
    assert set(leases.hold("one", 30)) == {"zzz-03"}
    assert isinstance(leases, (EveryDepartment, PostgresLeases))


def test_what_is_committed_lazily_is_there_and_is_flushed_once(
    store: SqlStore, flow_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lazy commit is visible at once; flush reaches the disk when there is something to flush, and only then."""
    flushed: list[str] = []
    whole = store._dialect.flush

    def flush(connection: Connection) -> None:
        flushed.append("flushed")
        whole(connection)

    monkeypatch.setattr(store._dialect, "flush", flush)
    store.flush()
    with store.begin({}) as unit:
        unit.commit_lazily()
        unit.write([], Changes(messages=[message("m1", flow_id, 1)], posts=[post("m1")]), AT)
    assert [one.post.about for one in store.due(None, 10)] == ["m1"]
    assert flushed == []
    store.flush()
    store.flush()
    assert flushed == ["flushed"]


def test_a_flush_waits_for_the_log(store: SqlStore, flow_id: int) -> None:
    """On PostgreSQL the log is on the disk beyond the lazy commit once flush returns; an ordinary user may do it."""
    if store.engine.dialect.name != "postgresql":
        assert store._dialect.name == "sqlite"  # every commit waits there
        return
    with store.begin({}) as unit:
        unit.commit_lazily()
        unit.write([], Changes(messages=[message("m1", flow_id, 1)]), AT)
    with store.transaction() as connection:
        committed = connection.scalar(text("SELECT pg_current_wal_insert_lsn()"))
    store.flush()
    with store.transaction() as connection:
        behind = connection.scalar(text("SELECT pg_current_wal_flush_lsn() - CAST(:lsn AS pg_lsn)"), {"lsn": committed})
        assert behind >= 0
        connection.execute(text("CREATE ROLE plain_hub"))
        connection.execute(text("SET LOCAL ROLE plain_hub"))
        connection.execute(text("SELECT pg_logical_emit_message(true, 'huitong', '')"))
        connection.rollback()


def test_probe_passes_on_a_store_that_can_write(store: SqlStore) -> None:
    """A healthy store answers the probe."""
    store.probe()


@pytest.mark.usefixtures("registry")
def test_writing_under_a_wrong_fence_is_refused(store: SqlStore) -> None:
    """A transaction that names a fence nobody holds is lost before it reads anything."""
    with pytest.raises(LeaseLost), store.begin({"bdc-01": 5}) as unit:
        unit.lock({"bdc-01"})
