"""Bad messages on their way through broker, intake and ingest: refused with a word, kept as evidence; good ones are stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from agent.model import ExchangeMessage, Receipt
from agent.ports import Delivered
from agent.testing.clock import FakeClock
from agent.testing.nodes.postgres import PostgresDatabase
from agent.wire.codes import CODES
from agent.wire.event import RECEIPT_TYPE
from agent.wire.receipt import read_receipt
from agent.wire.signature import KeyRing
from agent.wire.topology import inbound_queue, receipt_queue
from hub.store.migrate import migrate
from hub.store.opening import open_store
from hub.store.postgres import Postgres
from hub.testing import SampleDepartment, StillHub
from tests.badinput.kit import in_both_languages
from tests.badinput.message_cases import CASES
from tests.badinput.messages import SEQUENCE, STORED
from tests.planted.ledgers import in_the_broker
from tests.planted.line import CODE, Line

pytestmark = pytest.mark.timeout(60)


def good(department: SampleDepartment, sequence: int) -> ExchangeMessage:
    return department.records(sequence, [department.encoded(1000 + sequence)])


def post(own: Line, *deliveries: Delivered) -> None:
    """Put deliveries into the hub's queue, whatever a broker would have said about them, and let the hub take them."""
    with own.broker.changed:
        own.broker._queues[inbound_queue(CODE)].ready.extend(replace(one, tag=0) for one in deliveries)
    own.hub.ingest()
    own.hub.publish()


def receipts(own: Line) -> dict[str, Receipt]:
    """Return the receipts in the department's queue by the message they speak of, verified."""
    ring = KeyRing([own.hub.still.public])
    found = [one for one in own.broker.waiting(receipt_queue(CODE)) if one.type == RECEIPT_TYPE]
    read = [read_receipt(one.body, "", str(one.headers["jws"]), ring, one.message_id or "", CODE) for one in found]
    return {receipt.message_id: receipt for receipt in read}


def rows(own: Line, query: str) -> list[Any]:
    with own.hub.store.transaction() as connection:
        return [row._asdict() for row in connection.execute(text(query))]


CLOSING = {"malformed", "id_mismatch", "count_mismatch", "too_many_records", "duplicate_record"}
"""Words for what a rightful sender said itself and will never be taken: only these may close the sequence it names."""


@pytest.mark.parametrize("name", CASES)
def test_a_bad_message_is_refused_and_its_neighbours_are_stored(name: str, own: Line) -> None:
    """In one group with good messages: refused with its word, octets kept, the department told, everything acked."""
    make, code = CASES[name]
    department = own.department
    bad = make(department)
    before, after = good(department, 1), good(department, 2)
    post(own, *(department.delivered(one) for one in (department.opening(), before)), bad, department.delivered(after))
    assert in_the_broker(own) == set()
    stored = {row["message_id"] for row in rows(own, "SELECT message_id FROM message WHERE outcome = 'stored'")}
    assert {before.message_id, after.message_id} <= stored
    quarantined = rows(own, "SELECT code, text, raw, times, outcome FROM quarantine")
    if code == STORED:
        assert quarantined == []
        assert bad.message_id in stored
        return
    assert bad.message_id not in stored
    assert [(row["code"], row["raw"], row["times"]) for row in quarantined] == [(code, bad.body, 1)]
    ((high_water, ahead),) = ((row["high_water"], row["ahead"]) for row in rows(own, "SELECT high_water, ahead FROM epoch"))
    assert (high_water, ahead) in {(2, ""), (2, str(SEQUENCE)) if code in CLOSING else (2, "")}
    assert quarantined[0]["text"]
    in_both_languages(CODES[code].text, {})
    in_both_languages(CODES[code].hint, {})
    told = receipts(own).get(bad.message_id or "")
    if told is not None:
        assert (told.code, told.outcome) == (code, CODES[code].outcome)
        assert told.stored == 0
    # and the hub goes on
    later = good(department, 3)
    post(own, department.delivered(later))
    assert receipts(own)[later.message_id].outcome == STORED


@pytest.mark.timeout(120)
def test_all_of_them_end_the_same_way_on_postgres(pg_database: PostgresDatabase) -> None:
    """The whole corpus against the other store, each from a department of its own; nothing is raised."""
    db = pg_database
    store = open_store(Postgres(db.host, db.port, db.database, db.user, db.password))
    migrate(store)
    hub = StillHub(store, FakeClock())
    wrong = {}
    for number, (name, (make, code)) in enumerate(CASES.items()):
        department = SampleDepartment(f"d-{number}", hub.code, hub.clock)
        hub.admit(department)
        hub.send(department, department.opening())
        bad = make(department)
        hub.take(bad, department.delivered(good(department, 1)))
        mine = {"d": department.code}
        with store.transaction() as connection:
            codes = connection.execute(text("SELECT code FROM quarantine WHERE department = :d"), mine).scalars().all()
            kept = connection.scalar(text("SELECT count(*) FROM message WHERE sender = :d AND sequence = 1"), mine)
        if (list(codes) or [STORED], kept) != ([code], 1):
            wrong[name] = (codes, kept)
    store.close()
    assert wrong == {}
