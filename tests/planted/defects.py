"""Deliberate defects: what a tired engineer could have written instead, planted one at a time into a running test process.

The product has no switch for any of this. `plant` replaces functions of the product through a `pytest.MonkeyPatch`, which
takes everything back at the end; the plugin beside this file plants one for a whole run of the regular suite.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from agent.adapters.amqp import sink as amqp_sink
from agent.adapters.store import settle, sqlite
from agent.adapters.store import statements as sql
from agent.app import overview
from agent.formats import encodings
from agent.mapping import numbers
from agent.model import Append, Op, Position, Receipt, State
from agent.ports import Delivered
from agent.services import capture_records, delivery, receipts, windows
from agent.services.connecting import Pause
from agent.wire import identity
from agent.wire.signature import PublicKey
from connectors.file_drop import source as file_source
from connectors.file_drop.position import decode
from hub.ingest import book, intake, session
from hub.ingest.judge import STORE, Fate
from hub.store import unit
from hub.store.dialect import driver_connection
from tests.planted import scenarios
from tests.planted.scenarios import Scenario

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Defect:
    """A defect, the scenario that shows it, the promises it breaks there, and a regular test that fails with it too."""

    plant: Plant
    scenario: Scenario
    breaks: frozenset[str]
    regular: str

    @property
    def name(self) -> str:
        """The name of the defect."""
        return self.plant.__name__


# -- identity and capture --------------------------------------------------------------------------------------------


def row_hash_as_id(patch: pytest.MonkeyPatch) -> None:
    """The id of a record is a hash of its content: A → B → A ends as B."""
    whole = identity.RecordIds.of
    patch.setattr(
        identity.RecordIds, "of", lambda self, key, _token, op, data_hash: whole(self, key, "", op, data_hash)
    )


def record_id_random(patch: pytest.MonkeyPatch) -> None:
    """The id of a record is made up: reading a change again makes another record of it."""
    patch.setattr(identity.RecordIds, "of", lambda _self, _key, _token, _op, _data_hash: secrets.token_hex(16))


def ledger_ignored(patch: pytest.MonkeyPatch) -> None:
    """Rows that come again in the overlap are sent again."""
    patch.setattr(
        capture_records.RecordMaker, "_chosen", lambda _self, _batch, mapped, *_rest: range(len(mapped.keys))
    )


def position_saved_first(patch: pytest.MonkeyPatch) -> None:
    """The position of the source is stored in a transaction of its own, before the messages it covers."""
    whole = sqlite.SqliteStore.append

    def append(self: sqlite.SqliteStore, step: Append) -> Future[None]:
        move = "UPDATE flow SET position = ?, incarnation = ? WHERE name = ?"
        self._do(lambda db: db.execute(move, (step.position, step.incarnation, step.flow)).rowcount).result()
        return whole(self, step)

    patch.setattr(sqlite.SqliteStore, "append", append)


def sequence_not_given_back(patch: pytest.MonkeyPatch) -> None:
    """Sequences are taken before the append and not given back when it fails."""
    whole = sqlite.SqliteStore.append

    def append(self: sqlite.SqliteStore, step: Append) -> Future[None]:
        future = whole(self, step)
        if future.exception() is not None:
            take = "UPDATE flow SET next_sequence = ? WHERE name = ?"
            self._do(lambda db: db.execute(take, (step.after.next_sequence, step.flow)).rowcount).result()
        return future

    patch.setattr(sqlite.SqliteStore, "append", append)


def archive_before_commit(patch: pytest.MonkeyPatch) -> None:
    """A file is put away as soon as it was read, before its rows are durable."""
    whole = file_source.FileDropSource.read

    def read(self: file_source.FileDropSource, after: Position, limit: int) -> Any:
        batch = whole(self, after, limit)
        reached = decode(batch.position)
        if reached is not None and reached.ended:
            self._finisher.finish(reached)
        return batch

    patch.setattr(file_source.FileDropSource, "read", read)


def decimal_through_float(patch: pytest.MonkeyPatch) -> None:
    """Amounts pass through a binary float on their way."""

    def one(self: numbers.Decimals, value: Any) -> str | None:
        return None if value in (None, "") else f"{Decimal(float(value)):.{self._scale}f}"

    patch.setattr(numbers.Decimals, "one", one)
    patch.setattr(numbers.Decimals, "many", lambda self, values: [one(self, value) for value in values])


def undecodable_replaced(patch: pytest.MonkeyPatch) -> None:
    """Bytes that are no characters become question marks instead of a bad row."""
    patch.setattr(encodings.Encoding, "decode", lambda self, octets: (octets.decode(self.value, "replace"), 0))


# -- on the way ------------------------------------------------------------------------------------------------------


def not_mandatory(patch: pytest.MonkeyPatch) -> None:
    """Messages are published without `mandatory`: what has no route is confirmed and dropped."""
    whole = amqp_sink.OpenChannel.__init__

    def init(self: Any, connection: Any, raw: Any) -> None:
        whole(self, connection, raw)
        publish = raw.basic_publish
        raw.basic_publish = lambda *arguments, **named: publish(*arguments, **{**named, "mandatory": False})

    patch.setattr(amqp_sink.OpenChannel, "__init__", init)


def window_continues(patch: pytest.MonkeyPatch) -> None:
    """After a nack the rest of the flow is sent on; the refused message follows when there is nothing else to do."""

    def fail(self: windows.FlowWindow, entry_id: int) -> windows.Flight:
        return self.in_flight.pop(entry_id)

    patch.setattr(windows.FlowWindow, "fail", fail)
    patch.setattr(Pause, "begin", lambda *_: 0.0)


def sent_counts_as_confirmed(patch: pytest.MonkeyPatch) -> None:
    """A message counts as taken by the broker once it was written to the socket."""
    whole = delivery.DeliveryService._send_some

    def send_some(self: delivery.DeliveryService, window: windows.FlowWindow, now: float) -> int:
        before = set(window.in_flight)
        sent = whole(self, window, now)
        self._store.confirm([entry for entry in window.in_flight if entry not in before])
        return sent

    patch.setattr(delivery.DeliveryService, "_send_some", send_some)


def purge_on_confirm(patch: pytest.MonkeyPatch) -> None:
    """Bodies are dropped by age once the broker has confirmed them."""
    purge = (
        "SELECT entry_id FROM message WHERE state IN ('confirmed', 'stored', 'partly_stored') AND purged_at IS NULL "
        "AND coalesce(settled_at, confirmed_at) < :before ORDER BY entry_id LIMIT :limit"
    )
    patch.setattr(sql, "PURGE_WHICH", purge)


# -- the hub ---------------------------------------------------------------------------------------------------------


def hub_acks_before_commit(patch: pytest.MonkeyPatch) -> None:
    """The hub acks what it has read, before it is stored."""
    whole = intake.Intake._take

    def take(self: intake.Intake, feed: intake.QueueFeed, delivered: Delivered) -> None:
        feed.ack([delivered.tag])
        whole(self, feed, delivered)

    patch.setattr(intake.Intake, "_take", take)


def hub_does_not_dedupe(patch: pytest.MonkeyPatch) -> None:
    """The hub stores what comes, whether it has it already or not."""
    remember, judge_records = book.Book._remember, session.judge_records

    def judge(*arguments: Any) -> Any:
        verdict = judge_records(*arguments)
        return STORE if verdict.fate is Fate.REPEAT else verdict

    def fresh(_self: book.Book, _flow: Any, packed: Any) -> Any:
        rows = [(*row[:2], secrets.token_bytes(16), *row[3:]) for row in packed.rows]
        return replace(packed, ids=[secrets.token_hex(16) for _ in rows], rows=rows)

    def remember_again(self: book.Book, item: Any, judgement: Any, place: Any, duplicates: int) -> None:
        if self.known(item.arrival) is not None:
            other = replace(item.arrival, message_id=secrets.token_hex(16))
            item, judgement, place = replace(item, arrival=other), judgement, (place[0], place[1], None)
        remember(self, item, judgement, place, duplicates)

    patch.setattr(session, "judge_records", judge)
    patch.setattr(book.Book, "fresh", fresh)
    patch.setattr(book.Book, "_remember", remember_again)


def receipt_before_commit(patch: pytest.MonkeyPatch) -> None:
    """The hub writes receipts in a transaction of their own, ahead of what they state."""
    whole = unit.SqlUnit.write

    def write(self: unit.SqlUnit, flows: Any, changes: Any, at: Any) -> None:
        self._insert(unit.t.receipt, [unit.asdict(post) for post in changes.posts])
        driver = driver_connection(self._connection)
        driver.execute("COMMIT")
        driver.execute("BEGIN IMMEDIATE")
        changes.posts.clear()
        whole(self, flows, changes, at)

    patch.setattr(unit.SqlUnit, "write", write)


# -- receipts --------------------------------------------------------------------------------------------------------


class Credulous:
    """A key ring that believes what it is told."""

    def __init__(self, body: bytes) -> None:
        self._owner = json.loads(body)["sender"]

    def verify(self, *_arguments: object, **_named: object) -> PublicKey:
        """Believe it."""
        return PublicKey("", self._owner, "EdDSA", b"")


def receipt_unverified(patch: pytest.MonkeyPatch) -> None:
    """The signature of a receipt is not looked at."""
    whole = receipts.read_receipt

    def read(body: bytes, encoding: str, jws: str, _ring: Any, mid: str, own_code: str) -> Receipt:
        ring: Any = Credulous(body)
        return whole(body, encoding, jws, ring, mid, own_code)

    patch.setattr(receipts, "read_receipt", read)


def digest_not_compared(patch: pytest.MonkeyPatch) -> None:
    """A receipt settles the message it names, whatever octets it speaks of."""
    whole = settle.judge

    def judge(identity_: Any, state: State, receipt: Receipt, sender: str) -> Any:
        return whole(identity_, state, replace(receipt, digest=bytes.fromhex(identity_[4])), sender)

    patch.setattr(settle, "judge", judge)


def confirm_shown_as_stored(patch: pytest.MonkeyPatch) -> None:
    """The status screen counts a message as stored once the broker has it."""
    whole = overview._line

    def line(name: str, settings: Any, state: Any, depth: Any, *rest: Any, **named: Any) -> Any:
        shown = whole(name, settings, state, depth, *rest, **named)
        confirmed = depth.messages.get(State.CONFIRMED, 0) if depth else 0
        records = depth.records.get(State.CONFIRMED, 0) if depth else 0
        return replace(shown, waiting=shown.waiting - confirmed, stored_today=shown.stored_today + records)

    patch.setattr(overview, "_line", line)


# -- the table -------------------------------------------------------------------------------------------------------

_CAPTURE = "tests/unit/services/test_capture_identity.py::"
_STORE = "tests/contract/store/test_sqlite_store.py::"
_DELIVERY = "tests/unit/services/test_delivery.py::"
_INGEST = "tests/contract/hub_store/test_ingest.py::"


def _defect(plant: Plant, scenario: Scenario, breaks: str, regular: str) -> Defect:
    return Defect(plant, scenario, frozenset(breaks.split(", ")), regular)


DEFECTS = (
    _defect(
        row_hash_as_id,
        scenarios.there_and_back_again,
        "lost",
        f"{_CAPTURE}test_there_and_back_again_are_three_events",
    ),
    _defect(
        record_id_random,
        scenarios.outbox_lost,
        "twice",
        f"{_CAPTURE}test_the_same_history_gives_the_same_ids",
    ),
    _defect(
        ledger_ignored,
        scenarios.overlapping_polls,
        "twice",
        f"{_CAPTURE}test_an_overlapping_reread_is_no_event",
    ),
    _defect(
        position_saved_first,
        scenarios.killed_inside_the_append,
        "lost",
        f"{_STORE}TestCapture::test_a_step_that_does_not_fit_is_a_conflict",
    ),
    _defect(
        sequence_not_given_back,
        scenarios.killed_inside_the_append,
        "gap",
        f"{_STORE}TestCapture::test_a_step_that_does_not_fit_is_a_conflict",
    ),
    _defect(
        archive_before_commit,
        scenarios.killed_before_the_append,
        "lost",
        "tests/contract/source/test_file_drop.py::TestFileDrop::test_reading_resumes_from_every_stored_position",
    ),
    _defect(
        decimal_through_float,
        scenarios.exact_amounts,
        "altered",
        "tests/unit/mapping/test_conversions.py::test_decimals_are_exact_canonical_text",
    ),
    _defect(
        undecodable_replaced,
        scenarios.broken_characters,
        "invented, not put aside",
        "tests/unit/formats/test_encodings.py::test_invalid_gb18030_is_an_error",
    ),
    _defect(
        not_mandatory,
        scenarios.no_route,
        "custody",
        "tests/contract/broker/test_sink_contract.py::test_no_route_is_an_error_not_a_confirm",
    ),
    _defect(
        window_continues,
        scenarios.nack_in_the_window,
        "overtaken",
        f"{_DELIVERY}test_after_a_nack_nothing_new_is_sent_before_the_window_came_home",
    ),
    _defect(
        sent_counts_as_confirmed,
        scenarios.connection_lost_before_the_message,
        "custody",
        f"{_DELIVERY}test_after_a_nack_nothing_new_is_sent_before_the_window_came_home",
    ),
    _defect(
        purge_on_confirm,
        scenarios.purge_before_the_receipt,
        "body gone, custody, lost, unfinished",
        f"{_STORE}TestOutbox::test_only_stored_bodies_are_purged_oldest_first",
    ),
    _defect(
        hub_acks_before_commit,
        scenarios.hub_killed_before_the_commit,
        "custody",
        "tests/integration/hub/test_live_hub.py::test_a_lost_lease_gives_everything_back",
    ),
    _defect(
        hub_does_not_dedupe,
        scenarios.hub_killed_after_the_commit,
        "twice",
        f"{_INGEST}test_a_repeat_gets_the_same_receipt",
    ),
    _defect(
        receipt_before_commit,
        scenarios.hub_store_fails_in_the_middle,
        "unproved",
        f"{_INGEST}test_a_record_stored_before_is_counted_not_stored_again",
    ),
    _defect(
        receipt_unverified,
        scenarios.forged_receipts,
        "unproved, lost",
        "tests/unit/services/test_receipts.py::test_a_bad_signature_never_settles",
    ),
    _defect(
        digest_not_compared,
        scenarios.receipts_for_other_octets,
        "unproved, lost",
        f"{_STORE}TestOutbox::test_a_receipt_that_does_not_fit_moves_nothing",
    ),
    _defect(
        confirm_shown_as_stored,
        scenarios.status_while_the_hub_is_away,
        "untrue",
        "",
    ),
)
