"""Messages, steps and receipts as the services would make them, and the world a store is tested in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from agent.events import Events
from agent.model import (
    Append,
    Counters,
    ExchangeMessage,
    FlowState,
    LedgerRow,
    MessageKind,
    Outcome,
    Position,
    Quarantined,
    Receipt,
    RefusedRecord,
)
from agent.queries import Operator
from agent.testing.clock import FakeClock
from agent.testing.recorder import EventRecorder

AGENT = "510100-test-01"
START = datetime(2026, 11, 21, 8, 0, 0, 123456, tzinfo=UTC)
ZHANG = Operator("张工", "省中心要求")


@dataclass
class World:
    """A store under test, who asks it questions, and what drives it. `store` and `reader` share one interface each."""

    store: Any
    reader: Any
    clock: FakeClock
    recorder: EventRecorder
    events: Events = field(default_factory=Events)

    def flow(self, name: str = "qszt") -> FlowState:
        """Open a flow."""
        state: FlowState = self.store.open_flow(name)
        return state

    def capture(self, count: int = 1, *, flow: str = "qszt", keys: Sequence[str] | None = None, **more: Any) -> Append:
        """Append a step of `count` messages and wait for it."""
        step = step_of(self.flow(flow), count, keys=keys, now=self.clock.now(), **more)
        self.store.append(step).result()
        return step

    def receive(self, *receipts: Receipt) -> list[str]:
        """Settle receipts and return the verdicts."""
        return [str(done.verdict) for done in self.store.settle(receipts).result()]

    def send(self, flow: str = "qszt") -> list[ExchangeMessage]:
        """Confirm everything that is pending and return it."""
        sent = self.store.pending(flow, 0, 1000)
        self.store.confirm([entry.entry_id for entry in sent])
        self.store.flush()
        return [entry.message for entry in sent]

    def states(self, flow: str = "qszt") -> dict[str, int]:
        """Return how many messages of a flow are in which state, those in none left out."""
        (depth,) = [each for each in self.store.depth() if each.flow == flow]
        return {str(state): count for state, count in depth.messages.items() if count}


def message_of(
    state: FlowState, sequence: int, *, now: datetime = START, body: bytes | None = None, **more: Any
) -> ExchangeMessage:
    """Return a record message of a flow."""
    octets = body if body is not None else f"{state.flow} {state.epoch} {sequence} 䶮".encode()
    made = ExchangeMessage(
        message_id=hashlib.sha256(f"{state.flow}/{state.epoch}/{sequence}".encode()).hexdigest()[:32],
        kind=MessageKind.RECORDS,
        type="cn.huitong.records.v1",
        flow=state.flow,
        epoch=state.epoch,
        sequence=sequence,
        body=octets,
        encoding="zstd",
        digest_alg="sha-256",
        digest=hashlib.sha256(octets).digest(),
        jws=f"head..{sequence}",
        kid="kid-1",
        records=3,
        created_at=now,
    )
    return replace(made, **more)


def control_of(state: FlowState, name: str, *, now: datetime = START) -> ExchangeMessage:
    """Return a control message of a flow."""
    body = f'{{"control":"{name}"}}'.encode()
    return replace(
        message_of(state, 0, now=now, body=body),
        message_id=f"control-{name}-{state.flow}-{state.epoch}",
        kind=MessageKind.CONTROL,
        type="cn.huitong.control.v1",
        encoding="",
        records=0,
    )


def row_of(key: str, ordinal: int, sequence: int, *, deleted: bool = False) -> LedgerRow:
    """Return a ledger row whose hash follows from key and ordinal."""
    return LedgerRow(key, hashlib.sha256(f"{key}{ordinal}".encode()).digest()[:16], ordinal, sequence, deleted)


def step_of(state: FlowState, count: int = 1, *, keys: Sequence[str] | None = None, now: datetime = START, **more: Any) -> Append:
    """Return the next step of a flow: `count` messages; `keys` spread over them (one key a message when not given)."""
    before = state.counters
    first = before.next_sequence
    if keys is None:
        keys = [f'[["s","k{ordinal}"]]' for ordinal in range(before.next_ordinal, before.next_ordinal + count)]
    rows = [row_of(key, before.next_ordinal + index, first + index * count // len(keys)) for index, key in enumerate(keys)]
    after = Counters(first + count, before.next_ordinal + len(rows))
    made = Append(
        flow=state.flow,
        epoch=state.epoch,
        incarnation=state.incarnation or "source-1",
        before=before,
        after=after,
        position=Position(f"at {after.next_ordinal}"),
        messages=[message_of(state, sequence, now=now) for sequence in range(first, first + count)],
        ledger=rows,
        captured=3 * count,
    )
    return replace(made, **more)


def receipt_for(message: ExchangeMessage, outcome: Outcome = Outcome.STORED, **more: Any) -> Receipt:
    """Return what the hub would say of a message."""
    made = Receipt(
        message_id=message.message_id,
        sender=AGENT,
        flow=message.flow,
        epoch=message.epoch,
        sequence=message.sequence,
        outcome=outcome,
        stage="R3",
        code="",
        text="",
        digest_alg=message.digest_alg,
        digest=message.digest,
        stored=message.records,
        refused=(),
        hub="510000-hub",
        received_at=START,
        committed_at=START,
        audit_sequence=7,
        audit_hash="ab" * 32,
        kid="hub-1",
        body=b'{"receipt":"' + str(outcome).encode() + b'"}',
        jws="h..s",
    )
    return replace(made, **more)


def refused_record(record: str = "r1", field: str = "owner_id", code: str = "check_digit") -> RefusedRecord:
    """Return a record the hub did not store."""
    return RefusedRecord(record, field, code, "身份证号校验位不对")


def item_of(number: int, *, flow: str = "qszt", reason: str = "not_a_number", **details: object) -> Quarantined:
    """Return input that could not be read."""
    return Quarantined(
        item_id=f"item-{flow}-{number}",
        flow=flow,
        entity="deed.csv",
        token=f"t{number}",
        key=None if number % 2 else f'[["s","k{number}"]]',
        raw=f"第{number}行,abc\r\n".encode("gb18030"),
        reason=reason,
        code="HT-R001",
        field="amount",
        text="field {field}: {why}",
        details=details or {"line": number},
        observed_at=START,
    )
