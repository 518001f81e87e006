"""Ingest end to end without a broker, on both stores: PROTOCOL 2, 3 and 5."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from agent.model import ExchangeMessage, Op, Outcome
from agent.testing.clock import FakeClock
from agent.wire.control import Control, Hello, HubHello, NextSequence, Query, QueryAnswer, Void, number
from agent.wire.signature import KeyState
from hub import audit
from hub.audit import Link
from hub.events import ConflictSeen, EpochOpened, ForkSeen, MessageRefused, MessageRepeated, MessageStored
from hub.model import DepartmentState
from hub.store.sql import SqlStore
from hub.testing import SampleDepartment, StillHub

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


@pytest.fixture
def hub(store: SqlStore) -> StillHub:
    """A hub on the store under test."""
    return StillHub(store, FakeClock())


@pytest.fixture
def bdc(hub: StillHub) -> SampleDepartment:
    """An admitted department whose epoch is open."""
    department = SampleDepartment("bdc-01", hub.code, hub.clock)
    hub.admit(department)
    hub.send(department, department.opening())
    hub.recorder.clear()
    return department


def one(hub: StillHub, sql: str) -> object:
    with hub.store.transaction() as connection:
        return connection.scalar(text(sql))


def flow_state(hub: StillHub, department: SampleDepartment) -> tuple[int, str, str]:
    sql = (
        "SELECT e.high_water, e.ahead, e.frozen FROM epoch e JOIN flow f ON f.id = e.flow_id"
        f" WHERE f.sender = '{department.code}' AND f.flow = '{department.flow}' AND e.epoch = '{department.epoch}'"
    )
    with hub.store.transaction() as connection:
        row = connection.execute(text(sql)).one()
    return row.high_water, row.ahead, row.frozen


def hello(department: SampleDepartment, next_sequence: int) -> ExchangeMessage:
    stands = NextSequence(epoch=department.epoch, next_sequence=number(next_sequence))
    return department.control(Hello(instance="i-1", version="1.0.0", flows={department.flow: stands}))


def answer(hub: StillHub, department: SampleDepartment, message: ExchangeMessage) -> Control:
    hub.take(department.delivered(message))
    (said,) = hub.answers(department)
    return said


# -- stored ----------------------------------------------------------------------------------------------------------


def test_a_message_is_stored_and_receipted(hub: StillHub, bdc: SampleDepartment) -> None:
    """Message, records, audit entry and a receipt that names exactly the octets received."""
    message = bdc.records(1)
    (receipt,) = hub.send(bdc, message)
    assert receipt.outcome is Outcome.STORED
    assert (receipt.message_id, receipt.digest, receipt.sequence, receipt.stored) == (message.message_id, message.digest, 1, 2)
    assert (receipt.sender, receipt.flow, receipt.epoch, receipt.hub, receipt.stage) == (
        "bdc-01",
        "people",
        "epoch-1",
        "sc-hub",
        "R3",
    )
    assert one(hub, "SELECT count(*) FROM record") == 2
    assert flow_state(hub, bdc) == (1, "", "")
    (stored,) = hub.recorder.of(MessageStored)
    assert (stored.records, stored.duplicates) == (2, 0)


def test_the_receipt_carries_the_head_of_the_audit_chain(hub: StillHub, bdc: SampleDepartment) -> None:
    """Receipts of a group carry the heads in order, the last one is the chain's, and the chain holds."""
    receipts = hub.send(bdc, *(bdc.records(n) for n in (1, 2, 3)))
    with hub.store.transaction() as connection:
        rows = connection.execute(text("SELECT * FROM audit ORDER BY sequence")).all()
    links = [Link("bdc-01", r.sequence, r.previous, r.hash, r.entry, AT) for r in rows]
    assert audit.first_broken(links) is None
    assert [(r.audit_sequence, r.audit_hash) for r in receipts] == [(x.sequence, x.hash.hex()) for x in links[-3:]]
    assert receipts[0].message_id in links[-3].entry


def test_a_group_of_several_departments_is_one_transaction(hub: StillHub, bdc: SampleDepartment) -> None:
    """Messages of two departments in one group each get their own chain and receipt."""
    tax = SampleDepartment("tax-02", hub.code, hub.clock)
    hub.admit(tax)
    hub.take(tax.delivered(tax.opening()), bdc.delivered(bdc.records(1)), tax.delivered(tax.records(1)))
    assert [r.outcome for r in hub.receipts(bdc)] == [Outcome.STORED]
    assert [r.outcome for r in hub.receipts(tax)] == [Outcome.STORED, Outcome.STORED]


def test_any_order_of_arrival_is_stored(hub: StillHub, bdc: SampleDepartment) -> None:
    """Later sequences are stored at once and the gap closes when the earlier one comes."""
    hub.send(bdc, bdc.records(3))
    assert flow_state(hub, bdc)[:2] == (0, "3")
    hub.send(bdc, bdc.records(1))
    assert flow_state(hub, bdc)[:2] == (1, "3")
    hub.send(bdc, bdc.records(2))
    assert flow_state(hub, bdc)[:2] == (3, "")


def test_a_delete_of_an_unknown_key_is_stored(hub: StillHub, bdc: SampleDepartment) -> None:
    """A delete needs no earlier record."""
    (receipt,) = hub.send(bdc, bdc.records(1, [bdc.encoded(7, op=Op.DELETE)]))
    assert receipt.outcome is Outcome.STORED
    assert one(hub, "SELECT deleted FROM current_value")


# -- again -----------------------------------------------------------------------------------------------------------


def test_a_repeat_gets_the_same_receipt(hub: StillHub, bdc: SampleDepartment) -> None:
    """The same octets again, alone or beside themselves in one group: one set of records, the identical receipt, a count."""
    message = bdc.records(1)
    (first,) = hub.send(bdc, message)
    (second,) = hub.send(bdc, message, message)
    assert second == first
    assert one(hub, "SELECT count(*) FROM record") == 2
    assert one(hub, "SELECT repeats FROM flow") == 2
    assert len(hub.recorder.of(MessageRepeated)) == 2
    twin = bdc.records(2)
    (receipt,) = hub.send(bdc, twin, twin)
    assert receipt.outcome is Outcome.STORED
    assert one(hub, "SELECT count(*) FROM record") == 4


def test_a_repeat_with_a_renewed_signature_is_a_repeat(hub: StillHub, bdc: SampleDepartment) -> None:
    """The digest covers the body only: the same body under a newer key is the same message."""
    message = bdc.records(1)
    (first,) = hub.send(bdc, message)
    newer = SampleDepartment("bdc-01", hub.code, hub.clock)
    hub.registry.add_key(newer.public, AT, "test")
    from agent.wire.envelope import renew_signature

    (second,) = hub.send(bdc, renew_signature(message, newer.signer, hub.code))
    assert second == first


def test_a_repeat_is_known_after_its_body_was_purged(hub: StillHub, bdc: SampleDepartment) -> None:
    """Ids outlive payloads."""
    message = bdc.records(1)
    (first,) = hub.send(bdc, message)
    later = datetime(2030, 1, 1, tzinfo=UTC)
    hub.store.purge(bodies_before=later, posts_before=later, quarantine_before=later, limit=100)
    assert hub.send(bdc, message) == [first]


def test_other_octets_under_a_known_id_are_a_conflict(hub: StillHub, bdc: SampleDepartment) -> None:
    """Same message id, other digest: refused for ever, alarmed, nothing overwritten; its sequence is closed."""
    message = bdc.records(1)
    hub.send(bdc, message)
    forged = with_id(bdc, message.message_id, 2)
    (receipt,) = hub.send(bdc, forged)
    assert (receipt.outcome, receipt.code, receipt.digest) == (Outcome.REFUSED_FINAL, "conflict", forged.digest)
    assert hub.recorder.of(ConflictSeen) == [ConflictSeen("bdc-01", "people", message.message_id)]
    assert one(hub, "SELECT count(*) FROM record") == 2
    assert flow_state(hub, bdc)[:2] == (2, "")


def with_id(department: SampleDepartment, message_id: str, sequence: int) -> ExchangeMessage:
    """Return a message with chosen id, properly signed."""
    from agent.wire.envelope import renew_signature

    fresh = department.records(sequence, [department.encoded(99)])
    import hashlib

    body = fresh.body.replace(fresh.message_id.encode(), message_id.encode()) if not fresh.encoding else None
    if body is None:
        import zstandard

        plain = zstandard.ZstdDecompressor().decompress(fresh.body)
        body = zstandard.ZstdCompressor().compress(plain.replace(fresh.message_id.encode(), message_id.encode()))
    changed = replace(fresh, message_id=message_id, body=body, digest=hashlib.sha256(body).digest())
    return renew_signature(changed, department.signer, department.hub)


def test_a_record_stored_before_is_counted_not_stored_again(hub: StillHub, bdc: SampleDepartment) -> None:
    """A record id that another message carried is a duplicate; the message around it is stored."""
    a, b, c = (bdc.encoded(n) for n in (1, 2, 3))
    hub.send(bdc, bdc.records(1, [a, b]))
    (receipt,) = hub.send(bdc, bdc.records(2, [b, c]))
    assert (receipt.outcome, receipt.stored) == (Outcome.STORED, 2)
    assert one(hub, "SELECT count(*) FROM record") == 3
    assert one(hub, "SELECT duplicates FROM flow") == 1
    assert hub.recorder.of(MessageStored)[-1].duplicates == 1


def test_duplicates_within_one_group_do_not_stop_their_neighbours(hub: StillHub, bdc: SampleDepartment) -> None:
    """Two messages of one group with the same record: every message is stored, the record once."""
    a, b, c = (bdc.encoded(n) for n in (1, 2, 3))
    receipts = hub.send(bdc, bdc.records(1, [a, b]), bdc.records(2, [b]), bdc.records(3, [c]))
    assert [r.outcome for r in receipts] == [Outcome.STORED] * 3
    assert one(hub, "SELECT count(*) FROM record") == 3


def test_a_restore_resends_records_under_new_messages(hub: StillHub, bdc: SampleDepartment) -> None:
    """After a restore the same records come in a new epoch: nothing twice, the new epoch follows the old."""
    records = [bdc.encoded(n) for n in range(5)]
    hub.send(bdc, bdc.records(1, records))
    restored = bdc.in_epoch("epoch-2")
    hub.send(bdc, restored.opening(previous="epoch-1"))
    (receipt,) = hub.send(bdc, restored.records(1, records))
    assert (receipt.outcome, receipt.epoch, receipt.sequence) == (Outcome.STORED, "epoch-2", 1)
    assert one(hub, "SELECT count(*) FROM record") == 5
    assert hub.recorder.of(EpochOpened) == [EpochOpened("bdc-01", "people", "epoch-2", 2, follows=True)]


# -- forks -----------------------------------------------------------------------------------------------------------


def test_a_second_body_for_a_sequence_is_a_fork(hub: StillHub, bdc: SampleDepartment) -> None:
    """Refused, frozen, alarmed; further messages of the epoch are refused, repeats still get their receipt."""
    genuine = bdc.records(1)
    (stored,) = hub.send(bdc, genuine)
    (fork,) = hub.send(bdc, bdc.records(1, [bdc.encoded(50)]))
    assert (fork.outcome, fork.code) == (Outcome.FORK, "fork")
    (after,) = hub.send(bdc, bdc.records(2))
    assert (after.outcome, after.code) == (Outcome.FORK, "frozen")
    assert hub.send(bdc, genuine) == [stored]
    assert [event.epoch for event in hub.recorder.of(ForkSeen)] == ["epoch-1"]
    assert flow_state(hub, bdc)[0] == 1
    assert one(hub, "SELECT count(*) FROM record") == 2


def test_a_fork_within_one_group_is_seen(hub: StillHub, bdc: SampleDepartment) -> None:
    """Two bodies for one sequence in the same group: the first is stored, the second freezes."""
    first, second = hub.send(bdc, bdc.records(1), bdc.records(1, [bdc.encoded(50)]))
    assert (first.outcome, second.outcome) == (Outcome.STORED, Outcome.FORK)


def test_a_restore_is_the_way_out_of_a_fork(hub: StillHub, bdc: SampleDepartment) -> None:
    """A new epoch goes on; the frozen one stays frozen, and so does its clone."""
    hub.send(bdc, bdc.records(1), bdc.records(1, [bdc.encoded(50)]))
    restored = bdc.in_epoch("epoch-2")
    hub.send(bdc, restored.opening(previous="epoch-1"))
    (receipt,) = hub.send(bdc, restored.records(1, [bdc.encoded(60)]))
    assert receipt.outcome is Outcome.STORED
    (clone,) = hub.send(bdc, bdc.records(2))
    assert clone.outcome is Outcome.FORK


def test_a_hello_that_is_behind_the_hub_is_a_fork(hub: StillHub, bdc: SampleDepartment) -> None:
    """next_sequence at or below what the hub has closed: the store of the agent was put back from a copy."""
    hub.send(bdc, bdc.records(1), bdc.records(2), bdc.records(5))
    assert isinstance(answer(hub, bdc, hello(bdc, 6)), HubHello)
    assert flow_state(hub, bdc)[2] == ""
    said = answer(hub, bdc, hello(bdc, 5))
    assert isinstance(said, HubHello)
    assert said.flows["people"].frozen != ""
    assert flow_state(hub, bdc)[2] != ""
    (receipt,) = hub.send(bdc, bdc.records(6))
    assert receipt.outcome is Outcome.FORK


def test_a_hello_delivered_again_accuses_nobody(hub: StillHub, bdc: SampleDepartment) -> None:
    """The broker may deliver a hello again after the messages that followed it; that is no fork."""
    message = hello(bdc, 1)
    hub.send(bdc, message)
    hub.send(bdc, bdc.records(1))
    said = answer(hub, bdc, message)
    assert isinstance(said, HubHello)
    assert said.flows["people"].high_water == "1"
    assert flow_state(hub, bdc)[2] == ""


def test_a_hello_in_an_epoch_that_was_left_is_a_fork(hub: StillHub, bdc: SampleDepartment) -> None:
    """Whoever greets from an old epoch after a restore is a second agent; the new epoch goes on."""
    restored = bdc.in_epoch("epoch-2")
    hub.send(bdc, restored.opening(previous="epoch-1"))
    hub.send(bdc, hello(bdc, 10))
    assert flow_state(hub, bdc)[2] != ""
    (receipt,) = hub.send(bdc, restored.records(1))
    assert receipt.outcome is Outcome.STORED


# -- epochs, voids, queries ------------------------------------------------------------------------------------------


def test_an_unknown_epoch_is_refused_for_now(hub: StillHub, bdc: SampleDepartment) -> None:
    """Before its epoch-open a message waits; afterwards the same message is stored."""
    restored = bdc.in_epoch("epoch-2")
    message = restored.records(1)
    (refused,) = hub.send(bdc, message)
    assert (refused.outcome, refused.code) == (Outcome.REFUSED_RETRY, "unknown_epoch")
    hub.send(bdc, restored.opening(previous="epoch-1"))
    (stored,) = hub.send(bdc, message)
    assert stored.outcome is Outcome.STORED


def test_an_unknown_flow_is_refused_for_now(hub: StillHub, bdc: SampleDepartment) -> None:
    """A flow begins with its epoch-open."""
    (refused,) = hub.send(bdc, bdc.in_flow("cars").records(1))
    assert refused.code == "unknown_epoch"


def test_opening_an_epoch_twice_is_once(hub: StillHub, bdc: SampleDepartment) -> None:
    """A second epoch-open, the same message or another one, changes nothing and is receipted."""
    opening = bdc.opening()
    first = hub.send(bdc, opening)
    assert hub.send(bdc, opening) == first
    assert one(hub, "SELECT count(*) FROM epoch") == 1


def test_an_epoch_that_skips_the_latest_is_told(hub: StillHub, bdc: SampleDepartment) -> None:
    """Two restores of one backup: numbered all the same, but the event says that it does not follow."""
    hub.send(bdc, bdc.in_epoch("epoch-2").opening(previous="epoch-1"))
    hub.send(bdc, bdc.in_epoch("epoch-3").opening(previous="epoch-1"))
    assert [(e.ordinal, e.follows) for e in hub.recorder.of(EpochOpened)] == [(2, True), (3, False)]


def test_a_void_closes_sequences(hub: StillHub, bdc: SampleDepartment) -> None:
    """Voided sequences count as closed; a message that comes for one of them is refused for ever, but is no fork."""
    hub.send(bdc, bdc.records(1), bdc.records(4))
    void = bdc.control(Void(flow="people", epoch="epoch-1", first="2", last="3", reason="discarded"))
    (receipt,) = hub.send(bdc, void)
    assert receipt.outcome is Outcome.STORED
    assert flow_state(hub, bdc) == (4, "", "")
    (late,) = hub.send(bdc, bdc.records(3))
    assert (late.outcome, late.code) == (Outcome.REFUSED_FINAL, "void")
    assert flow_state(hub, bdc) == (4, "", "")


def test_a_void_of_an_unknown_epoch_waits(hub: StillHub, bdc: SampleDepartment) -> None:
    """A void before its epoch-open is refused for now."""
    (receipt,) = hub.send(bdc, bdc.control(Void(flow="people", epoch="epoch-9", first="1", last="1", reason="x")))
    assert (receipt.outcome, receipt.code) == (Outcome.REFUSED_RETRY, "unknown_epoch")


def test_hello_is_answered_with_limits_high_water_and_gaps(hub: StillHub, bdc: SampleDepartment) -> None:
    """The hub's hello tells what it reads and where each flow stands."""
    hub.send(bdc, bdc.records(1), bdc.records(4), bdc.records(7))
    said = answer(hub, bdc, hello(bdc, 8))
    assert isinstance(said, HubHello)
    assert said.limits.records == 5000
    flow = said.flows["people"]
    assert (flow.epoch, flow.high_water, flow.gaps, flow.frozen) == ("epoch-1", "1", [("2", "3"), ("5", "6")], "")


def test_a_query_names_what_is_missing_and_repeats_receipts(hub: StillHub, bdc: SampleDepartment) -> None:
    """Known messages get their receipts again, stored or finally refused; unknown ones are named."""
    message = bdc.records(1)
    (receipt,) = hub.send(bdc, message)
    query = bdc.control(Query(ids=[message.message_id, "never-arrived"]))
    hub.take(bdc.delivered(query))
    posts = hub.posts("bdc-01")
    assert [post.about for post in posts] == [message.message_id, query.message_id, query.message_id]
    assert posts[0].jws == receipt.jws
    hub.take(bdc.delivered(query))
    said = hub.answers(bdc)
    assert said == [QueryAnswer(missing=["never-arrived"], known=1)]


def test_what_only_a_hub_says_is_refused(hub: StillHub, bdc: SampleDepartment) -> None:
    """A department cannot send the hub's own control messages."""
    (receipt,) = hub.send(bdc, bdc.control(QueryAnswer(missing=[], known=0)))
    assert (receipt.outcome, receipt.code) == (Outcome.REFUSED_FINAL, "malformed")


# -- refused ---------------------------------------------------------------------------------------------------------


def test_refusals_go_to_the_owner_of_the_exchange(hub: StillHub, bdc: SampleDepartment) -> None:
    """A message that names somebody else is receipted to whoever sent it, never to whom it names."""
    tax = SampleDepartment("tax-02", hub.code, hub.clock)
    hub.admit(tax)
    hub.take(bdc.delivered(tax.records(1)))
    assert hub.posts("tax-02") == []
    (receipt,) = hub.receipts(bdc)
    assert receipt.outcome is Outcome.REFUSED_FINAL
    assert receipt.code == "wrong_sender"
    assert one(hub, "SELECT department FROM quarantine") == "bdc-01"


def test_refusals_are_rate_limited_by_department_and_reason(hub: StillHub, bdc: SampleDepartment) -> None:
    """Beyond the limit a refusal is quarantined without a receipt; time gives tokens back; other reasons are not affected."""
    clock = hub.clock
    assert isinstance(clock, FakeClock)
    hub.limiter._burst = 3.0
    stranger = SampleDepartment("bdc-01", hub.code, clock)
    told = [len(hub.send(bdc, stranger.records(n))) for n in range(1, 6)]
    assert told == [1, 1, 1, 0, 0]
    assert [event.receipted for event in hub.recorder.of(MessageRefused)] == [True, True, True, False, False]
    assert one(hub, "SELECT count(*) FROM quarantine") == 5
    assert len(hub.send(bdc, bdc.in_epoch("e9").records(1))) == 1
    clock.advance(1.0)
    assert [len(hub.send(bdc, stranger.records(n))) for n in (6, 7)] == [1, 0]


def test_a_revoked_key_is_refused_and_a_retiring_one_is_not(hub: StillHub, bdc: SampleDepartment) -> None:
    """Keys are what the registry says now."""
    hub.registry.set_key(bdc.public.kid, KeyState.RETIRING, AT, "test")
    assert hub.send(bdc, bdc.records(1))[0].outcome is Outcome.STORED
    hub.registry.set_key(bdc.public.kid, KeyState.REVOKED, AT, "test")
    (receipt,) = hub.send(bdc, bdc.records(2))
    assert (receipt.outcome, receipt.code) == (Outcome.REFUSED_RETRY, "revoked_key")
    assert flow_state(hub, bdc)[0] == 1


def test_a_suspended_department_is_refused_for_now(hub: StillHub, bdc: SampleDepartment) -> None:
    """Suspension stops storing, readmission lets the same message in."""
    message = bdc.records(1)
    hub.registry.set_state("bdc-01", DepartmentState.SUSPENDED, AT, "test")
    (refused,) = hub.send(bdc, message)
    assert (refused.outcome, refused.code) == (Outcome.REFUSED_RETRY, "not_authorised")
    hub.registry.set_state("bdc-01", DepartmentState.ADMITTED, AT, "test")
    (stored,) = hub.send(bdc, message)
    assert stored.outcome is Outcome.STORED


def test_a_bad_signature_never_touches_sequence_state(hub: StillHub, bdc: SampleDepartment) -> None:
    """An altered message is quarantined; the genuine one with the same id and sequence is stored afterwards."""
    message = bdc.records(1)
    altered = bytearray(message.body)
    altered[len(altered) // 2] ^= 1
    hub.take(bdc.delivered(message, body=bytes(altered)))
    assert hub.receipts(bdc)[0].code == "bad_signature"
    assert flow_state(hub, bdc) == (0, "", "")
    (stored,) = hub.send(bdc, message)
    assert stored.outcome is Outcome.STORED


def test_a_message_delivered_too_often_is_put_aside_unread(hub: StillHub, bdc: SampleDepartment) -> None:
    """At the fifth redelivery the octets go to quarantine unparsed; sent again, the message is stored."""
    message = bdc.records(1)
    hub.take(bdc.delivered(message, delivery_count=5))
    (refused,) = hub.receipts(bdc)
    assert (refused.outcome, refused.code, refused.digest) == (Outcome.REFUSED_RETRY, "not_processed", message.digest)
    assert one(hub, "SELECT raw FROM quarantine") == message.body
    assert hub.send(bdc, message)[0].outcome is Outcome.STORED


def test_an_authentic_final_refusal_closes_its_sequence(hub: StillHub, bdc: SampleDepartment) -> None:
    """The hub never waits for a sequence it has refused for ever; the same octets again are refused again, the receipt too."""
    message = bdc.records(1)
    wrong_type = replace(message)
    hub.take(bdc.delivered(wrong_type, type="cn.huitong.catalogue.v1"))
    (receipt,) = hub.receipts(bdc)
    assert (receipt.outcome, receipt.code) == (Outcome.REFUSED_FINAL, "id_mismatch")
    assert flow_state(hub, bdc) == (1, "", "")
    hub.take(bdc.delivered(wrong_type, type="cn.huitong.catalogue.v1"))
    assert hub.receipts(bdc)[0].code == "id_mismatch"
    (other,) = hub.send(bdc, bdc.records(1))
    assert other.outcome is Outcome.FORK


def test_one_message_the_store_cannot_hold_leaves_its_neighbours_alone(hub: StillHub, bdc: SampleDepartment) -> None:
    """When the database refuses a value, only that message is refused, for ever, and its sequence is closed."""
    if hub.store.engine.dialect.name == "sqlite":
        hub.store.engine.dispose()
        with hub.store.transaction() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.setlimit(0, 100_000)  # SQLITE_LIMIT_LENGTH
        big = bdc.encoded(1, value="x" * 200_000)
    else:
        with hub.store.transaction() as connection:
            connection.execute(text("DROP VIEW current_value"))
            connection.execute(text("ALTER TABLE record ALTER COLUMN key TYPE varchar(60)"))
        big = bdc.encoded(int("9" * 80))
    receipts = hub.send(bdc, bdc.records(1), bdc.records(2, [big]), bdc.records(3))
    assert [(r.outcome, r.code) for r in receipts] == [
        (Outcome.STORED, ""),
        (Outcome.REFUSED_FINAL, "malformed"),
        (Outcome.STORED, ""),
    ]
    assert flow_state(hub, bdc) == (3, "", "")
