"""Defects of the agent: what a tired engineer could have written instead. Each is planted through a `pytest.MonkeyPatch`."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import Future
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from agent.adapters.amqp import sink as amqp_sink
from agent.adapters.store import settle, sqlite
from agent.adapters.store import statements as sql
from agent.app import overview
from agent.formats import encodings
from agent.mapping import numbers
from agent.model import Append, Position, Receipt, State
from agent.services import capture_pipeline, delivery, receipts, windows
from agent.services.connecting import Pause
from agent.wire import identity
from agent.wire.signature import PublicKey
from connectors.file_drop import source as file_source
from connectors.file_drop.position import decode

# -- identity and capture --------------------------------------------------------------------------------------------


def row_hash_as_id(patch: pytest.MonkeyPatch) -> None:
    """The id of a record is a hash of its content: A → B → A ends as B."""
    whole, many = identity.RecordIds.of, identity.RecordIds.of_many
    patch.setattr(identity.RecordIds, "of", lambda self, key, _token, op, data_hash: whole(self, key, "", op, data_hash))
    patch.setattr(
        identity.RecordIds, "of_many", lambda self, keys, tokens, op, hashes: many(self, keys, [""] * len(tokens), op, hashes)
    )


def record_id_random(patch: pytest.MonkeyPatch) -> None:
    """The id of a record is made up: reading a change again makes another record of it."""
    patch.setattr(identity.RecordIds, "of", lambda _self, _key, _token, _op, _data_hash: secrets.token_hex(16))
    patch.setattr(identity.RecordIds, "of_many", lambda _self, keys, _tokens, _op, _hashes: [secrets.token_hex(16) for _ in keys])


def ledger_ignored(patch: pytest.MonkeyPatch) -> None:
    """Rows that come again in the overlap are sent again."""
    patch.setattr(capture_pipeline.Pipeline, "known", lambda _self, _keys: {})


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

    def line(name: str, settings: Any, known: Any, *rest: Any) -> Any:
        shown = whole(name, settings, known, *rest)
        depth = known.depths.get(name)
        confirmed = depth.messages.get(State.CONFIRMED, 0) if depth else 0
        records = depth.records.get(State.CONFIRMED, 0) if depth else 0
        return replace(shown, waiting=shown.waiting - confirmed, stored_today=shown.stored_today + records)

    patch.setattr(overview, "_line", line)
