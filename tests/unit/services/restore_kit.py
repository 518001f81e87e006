"""A store with real messages in every state that a restore can meet, and ways to kill a restore."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.events import Events
from agent.model import Append, Counters, ExchangeMessage, LedgerRow, MessageKind, Op, Outcome, Position
from agent.queries import Operator
from agent.services.restore import Restore
from agent.testing.clock import FakeClock
from agent.testing.recorder import EventRecorder
from agent.wire.control import Control, ControlWriter, EpochOpen
from agent.wire.envelope import MessageWriter, encode_record, open_body
from agent.wire.event import department_source
from agent.wire.identity import RecordIds, data_hash
from agent.wire.keys import generate, load_signer
from agent.wire.limits import Limits
from tests.contract.store.makers import AGENT, receipt_for

HUB = "510000-hub"
SCHEMA = "https://example.invalid/types/person/1"
SIGNER = load_signer(generate())
ZHANG = Operator("张工", "换盘")


@dataclass
class Shop:
    """A store, and the means to fill it as the services do."""

    store: Any
    reader: Any
    clock: FakeClock
    recorder: EventRecorder
    ids: itertools.count[int]

    def write(self, control: Control, flow: str, epoch: str) -> ExchangeMessage:
        return ControlWriter(AGENT, HUB, department_source(AGENT, flow), SIGNER, self.clock, self.random).write(
            control, flow, epoch
        )

    def writer(self, flow: str, epoch: str, subject: str = "people", dataschema: str = SCHEMA) -> MessageWriter:
        return MessageWriter(
            sender=AGENT,
            receiver=HUB,
            flow=flow,
            epoch=epoch,
            subject=subject,
            dataschema=dataschema,
            signer=SIGNER,
            clock=self.clock,
            random_bytes=self.random,
        )

    def random(self, size: int) -> bytes:
        return next(self.ids).to_bytes(size)

    def restore(self, store: Any = None) -> Restore:
        return Restore(
            store=store or self.store,
            diary=self.reader,
            write=self.write,
            writer_for=self.writer,
            random_bytes=self.random,
            events=Events(self.recorder),
        )

    def capture(self, flow: str, *people: tuple[str, str | None]) -> list[ExchangeMessage]:
        """Append one message for each record (key, name; no name is a delete), announced first."""
        state = self.store.open_flow(flow)
        if not state.announced:
            opening = EpochOpen(flow, state.epoch, state.previous_epoch)
            self.store.announce(flow, self.write(opening, flow, state.epoch)).result()
        writer, before = self.writer(flow, state.epoch), state.counters
        messages, rows = [], []
        for offset, (key, name) in enumerate(people):
            record, row = record_of(flow, state.epoch, key, name, before.next_ordinal + offset, before.next_sequence + offset)
            messages.append(writer.records(before.next_sequence + offset, [record]))
            rows.append(row)
        after = Counters(before.next_sequence + len(people), before.next_ordinal + len(people))
        step = Append(flow, state.epoch, "registry", before, after, Position(f"at {after.next_ordinal}"), messages, rows)
        self.store.append(step).result()
        return messages

    def settle(self, *messages: ExchangeMessage, outcome: Outcome = Outcome.STORED, **more: Any) -> None:
        self.store.settle([receipt_for(message, outcome, **more) for message in messages]).result()

    def confirm_all(self, flow: str) -> None:
        self.store.confirm([entry.entry_id for entry in self.store.pending(flow, 0, 1000)])
        self.store.flush()

    def waiting(self, flow: str) -> list[ExchangeMessage]:
        """Return what would be sent, in order."""
        return [entry.message for entry in self.store.pending(flow, 0, 1000)]

    def records_waiting(self, flow: str) -> list[str]:
        """Return the record ids that would be sent, in order."""
        messages = [message for message in self.waiting(flow) if message.kind is MessageKind.RECORDS]
        return [record_id for message in messages for record_id in record_ids(message)]

    def paused(self) -> dict[str, str]:
        return {state.flow: state.paused for state in self.store.flows()}


def record_of(flow: str, epoch: str, key: str, name: str | None, ordinal: int, sequence: int) -> tuple[bytes, LedgerRow]:
    """Return an encoded record and its ledger row."""
    data = json.dumps({"id": key, "name": name}, ensure_ascii=False, separators=(",", ":")).encode() if name is not None else None
    op, canonical = (Op.UPSERT if data else Op.DELETE), f'[["s","{key}"]]'
    record_id = RecordIds(AGENT, flow, "registry", "person").of(canonical, f"{epoch}:{ordinal}", op, data_hash(data))
    digest = bytes.fromhex(data_hash(data))[:16] if data else bytes(16)
    return encode_record(record_id, op, f'{{"id":"{key}"}}'.encode(), data), LedgerRow(
        canonical, digest, ordinal, sequence, not data
    )


def record_ids(message: ExchangeMessage) -> list[str]:
    return [record.id for record in open_body(message.body, message.encoding, Limits()).records]


class Killed(BaseException):
    """The process died here."""


class Dying:
    """A store that dies at the n-th change: before it, or after it was made."""

    CHANGES = frozenset({"begin_epoch", "pause", "announce", "rewrap", "note"})

    def __init__(self, store: Any, dies_at: int, *, after: bool) -> None:
        self._store, self._left, self._after = store, dies_at, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._deadly(found) if name in self.CHANGES else found

    def _deadly(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Killed
            done = change(*arguments)
            if self._left == 0:
                if done is not None:
                    done.result()
                raise Killed
            return done

        return call


def with_changes(message: ExchangeMessage, **more: Any) -> ExchangeMessage:
    return replace(message, **more)


Facts = Mapping[str, Any]
