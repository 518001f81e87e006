"""Messages that are well made and still must not be taken, for what was before them: replays, clones, revoked keys, floods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from agent.model import ExchangeMessage
from agent.ports import Delivered
from agent.testing.clock import FakeClock
from agent.wire.codes import CODES
from agent.wire.control import Hello, NextSequence, Query, Void
from agent.wire.signature import KeyState
from agent.wire.topology import ingress_exchange, user_name
from hub.model import DepartmentState
from hub.store.migrate import migrate
from hub.store.opening import Sqlite, open_store
from hub.store.postgres import Postgres
from hub.testing import SampleDepartment, StillHub
from tests.badinput.kit import in_both_languages

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["sqlite", "postgres"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StillHub]:
    """A hub on each kind of store."""
    location: Sqlite | Postgres = Sqlite(tmp_path / "hub.db")
    if request.param == "postgres":
        db = request.getfixturevalue("pg_database")
        location = Postgres(db.host, db.port, db.database, db.user, db.password)
    store = open_store(location)
    migrate(store)
    yield StillHub(store, FakeClock())
    store.close()


@pytest.fixture
def bdc(hub: StillHub) -> SampleDepartment:
    """An admitted department that has sent two messages."""
    department = SampleDepartment("bdc-01", hub.code, hub.clock)
    hub.admit(department)
    hub.send(department, department.opening(), department.records(1), department.records(2))
    return department


def admitted(hub: StillHub, code: str) -> SampleDepartment:
    department = SampleDepartment(code, hub.code, hub.clock)
    hub.admit(department)
    hub.take(department.delivered(department.opening()))
    return department


# -- ways to come too late, or in somebody else's name ---------------------------------------------------------------

Make = Callable[[StillHub, SampleDepartment], list[Delivered]]


def again(times: int) -> Make:
    """A message that was stored, so many times more."""

    def make(hub: StillHub, bdc: SampleDepartment) -> list[Delivered]:
        message = bdc.records(3)
        hub.take(bdc.delivered(message))
        return [bdc.delivered(message, redelivered=True) for _ in range(times)]

    return make


def other_body(hub: StillHub, bdc: SampleDepartment) -> list[Delivered]:
    """Another body under an id that was used."""
    twin = SampleDepartment("bdc-01", hub.code, hub.clock, random_bytes=lambda count: b"\x07" * count)
    twin.signer = bdc.signer
    one, two = twin.records(3), twin.records(4)
    assert one.message_id == two.message_id
    hub.take(bdc.delivered(one))
    return [bdc.delivered(two)]


def other_message(_hub: StillHub, bdc: SampleDepartment) -> list[Delivered]:
    """A second message with a sequence that is taken: a clone, or a store that was put back."""
    return [bdc.delivered(bdc.records(2, [bdc.encoded(77)]))]


def frozen(hub: StillHub, bdc: SampleDepartment) -> list[Delivered]:
    """A message of a flow that is frozen."""
    hub.take(*other_message(hub, bdc))
    return [bdc.delivered(bdc.records(3))]


def voided(hub: StillHub, bdc: SampleDepartment) -> list[Delivered]:
    """A message whose sequence was given up."""
    hub.take(bdc.delivered(bdc.control(Void(bdc.flow, bdc.epoch, "3", "9", "x"))))
    return [bdc.delivered(bdc.records(4))]


def of_another(hub: StillHub, bdc: SampleDepartment) -> list[Delivered]:
    """The whole message of another department, copied, through our exchange."""
    tax = admitted(hub, "tax-02")
    return [bdc.delivered(tax.records(1))]


def into_another(hub: StillHub, bdc: SampleDepartment) -> list[Delivered]:
    """Our message through the exchange of another department."""
    admitted(hub, "tax-02")
    return [bdc.delivered(bdc.records(3), exchange=ingress_exchange("tax-02"), user_id=user_name("tax-02"), queue="in.tax-02")]


def by_key_of_another(hub: StillHub, bdc: SampleDepartment) -> list[Delivered]:
    """Our message, signed by another department that is admitted."""
    tax = admitted(hub, "tax-02")
    twin = bdc.in_epoch(bdc.epoch)
    twin.signer = tax.signer
    return [bdc.delivered(twin.records(3))]


def revoked(hub: StillHub, bdc: SampleDepartment) -> list[Delivered]:
    """Signed with a key that was revoked."""
    hub.registry.set_key(bdc.signer.kid, KeyState.REVOKED, hub.clock.now(), "test")
    return [bdc.delivered(bdc.records(3))]


def suspended(hub: StillHub, bdc: SampleDepartment) -> list[Delivered]:
    """Of a department that is suspended."""
    hub.registry.set_state("bdc-01", DepartmentState.SUSPENDED, hub.clock.now(), "test")
    return [bdc.delivered(bdc.records(3))]


def stranger(hub: StillHub, _bdc: SampleDepartment) -> list[Delivered]:
    """Of a department that was never admitted."""
    nobody = SampleDepartment("nobody-9", hub.code, hub.clock)
    return [nobody.delivered(nobody.records(1))]


def delivered_often(_hub: StillHub, bdc: SampleDepartment) -> list[Delivered]:
    """Delivered five times without an end: reading it may be what kills the hub."""
    return [bdc.delivered(bdc.records(3), redelivered=True, delivery_count=5)]


CASES: dict[str, tuple[Make, str]] = {
    "another body under the same id": (other_body, "conflict"),
    "another message with the same sequence": (other_message, "fork"),
    "after a fork": (frozen, "frozen"),
    "a sequence that was given up": (voided, "void"),
    "a message of another department": (of_another, "wrong_sender"),
    "through the exchange of another department": (into_another, "wrong_sender"),
    "by the key of another department": (by_key_of_another, "wrong_sender"),
    "by a revoked key": (revoked, "revoked_key"),
    "by a suspended department": (suspended, "not_authorised"),
    "by nobody": (stranger, "not_authorised"),
    "delivered too often": (delivered_often, "not_processed"),
}


def records(hub: StillHub) -> int:
    with hub.store.transaction() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM record")) or 0)


@pytest.mark.parametrize("name", CASES)
def test_what_comes_too_late_or_in_a_wrong_name_is_refused(name: str, hub: StillHub, bdc: SampleDepartment) -> None:
    """It is refused with its word and kept; nothing of it is stored, and other flows go on."""
    make, code = CASES[name]
    deliveries = make(hub, bdc)
    before = records(hub)
    hub.take(*deliveries)
    assert records(hub) == before
    with hub.store.transaction() as connection:
        raw = [(row.code, bytes(row.raw)) for row in connection.execute(text("SELECT code, raw FROM quarantine ORDER BY id"))]
    assert raw[-1] == (code, deliveries[-1].body)
    in_both_languages(CODES[code].text, {})
    in_both_languages(CODES[code].hint, {})
    other = admitted(hub, "civil-03")
    (receipt,) = [one for one in hub.send(other, other.records(1)) if one.sequence]
    assert receipt.outcome == "stored"


@pytest.mark.parametrize("times", [1, 10, 300])
def test_a_replay_is_stored_once(times: int, hub: StillHub, bdc: SampleDepartment) -> None:
    """A message that comes again, however often, changes nothing but a counter and gets the receipt it had."""
    deliveries = again(times)(hub, bdc)
    (first,) = [one for one in hub.receipts(bdc) if one.sequence == 3]
    before = records(hub)
    hub.take(*deliveries)
    assert records(hub) == before
    assert {(one.message_id, one.outcome, one.audit_hash) for one in hub.receipts(bdc)} == {
        (first.message_id, first.outcome, first.audit_hash)
    }


def test_a_retiring_key_still_counts(hub: StillHub, bdc: SampleDepartment) -> None:
    """A key that is being replaced verifies until its last message is closed."""
    hub.registry.set_key(bdc.signer.kid, KeyState.RETIRING, hub.clock.now(), "test")
    (receipt,) = hub.send(bdc, bdc.records(3))
    assert receipt.outcome == "stored"


def hello(bdc: SampleDepartment, number: int) -> ExchangeMessage:
    flows = {f"flow-{number}-{n}": NextSequence("e", "1") for n in range(1000)}
    return bdc.control(Hello("i", "1", flows))


def query(bdc: SampleDepartment, number: int) -> ExchangeMessage:
    return bdc.control(Query([f"m-{number}-{n}" for n in range(1000)]))


@pytest.mark.parametrize("question", [hello, query], ids=["hello", "query"])
def test_a_flood_of_questions_is_answered(
    question: Callable[[SampleDepartment, int], ExchangeMessage], hub: StillHub, bdc: SampleDepartment
) -> None:
    """A group of the largest questions there are asks the store for more than one statement can; every one is answered."""
    hub.take(*(bdc.delivered(question(bdc, number)) for number in range(40)), bdc.delivered(bdc.records(3)))
    posts = hub.posts("bdc-01")
    assert sum(post.kind == "answer" for post in posts) == 40
    assert [one.outcome for one in hub.send(bdc, bdc.records(4))] == ["stored"]


def test_keys_are_looked_up_for_every_message(hub: StillHub, bdc: SampleDepartment) -> None:
    """A revocation works at once, in the middle of a stream."""
    first, second = bdc.records(3), bdc.records(4)
    hub.take(bdc.delivered(first))
    hub.registry.set_key(bdc.signer.kid, KeyState.REVOKED, hub.clock.now(), "test")
    hub.take(bdc.delivered(second), replace(bdc.delivered(first), redelivered=True))
    refused = {one.message_id: one.code for one in hub.receipts(bdc) if one.code}
    assert refused == {first.message_id: "revoked_key", second.message_id: "revoked_key"}
