"""Whatever order messages come in, however often, with voids and restores in between: the state of a flow is that of a naive model."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import Outcome
from agent.testing.clock import FakeClock
from agent.wire.control import Control, EpochOpen, Void, WireLimits
from agent.wire.keys import generate, load_signer
from hub.audit import Head
from hub.ingest.book import Book
from hub.ingest.clerk import Clerk
from hub.ingest.controls import HubFacts
from hub.ingest.items import Arrival, Item, Place, Prepared
from hub.ingest.limiter import RefusalLimiter
from hub.ingest.session import Session
from hub.model import Changes, FlowState, PackedRecords, Post, Seen
from hub.store.store import Locked

AT = datetime(2026, 11, 21, tzinfo=UTC)
CLOCK = FakeClock()
CLERK = Clerk("sc-hub", load_signer(generate()), CLOCK, secrets.token_bytes)
FACTS = HubFacts(WireLimits(1 << 20, 1 << 20, 100), ())


@dataclass
class MemoryUnit:
    """The store as plain dictionaries; it is its own committed state."""

    flows: dict[tuple[str, str], FlowState] = field(default_factory=dict)
    messages: dict[tuple[str, str], Seen] = field(default_factory=dict)
    places: set[tuple[int | None, int | None, int | None]] = field(default_factory=set)
    records: list[tuple[int, str]] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    head: Head = field(default_factory=Head)

    def lock(
        self, departments: Collection[str], flows: Collection[tuple[str, str]], messages: Collection[tuple[str, str]]
    ) -> Locked:
        return Locked(
            dict.fromkeys(departments, self.head),
            {name: deepcopy(flow) for name, flow in self.flows.items() if name in flows},
            {key: seen for key, seen in self.messages.items() if key in messages},
        )

    def open_flow(self, name: tuple[str, str], at: datetime) -> FlowState:
        assert at == AT
        return FlowState(len(self.flows) + 1, *name)

    def occupied(self, flow_id: int, epoch_ordinal: int, sequence: int) -> bool:
        return (flow_id, epoch_ordinal, sequence) in self.places

    def stored_ids(self, flow_id: int, ids: Sequence[str]) -> frozenset[str]:
        return frozenset(one for one in ids if (flow_id, one) in self.records)

    def commit_lazily(self) -> None:
        raise AssertionError

    def write(self, flows: Iterable[FlowState], changes: Changes, at: datetime) -> None:
        assert at == AT
        for flow in flows:
            self.flows[flow.sender, flow.flow] = flow
        for row in changes.messages:
            assert (row.sender, row.message_id) not in self.messages
            assert row.sequence is None or (row.flow_id, row.epoch_ordinal, row.sequence) not in self.places
            self.messages[row.sender, row.message_id] = Seen(row.message_id, row.digest, row.outcome, row.code)
            self.places.add((row.flow_id, row.epoch_ordinal, row.sequence))
        for batch in changes.records:
            fresh = [(batch.flow_id, one) for one in batch.records.ids]
            assert not set(fresh) & set(self.records)
            self.records += fresh
        self.posts += changes.posts
        self.head = changes.heads.get("bdc-01", self.head)


def arrival(message_id: str, body: bytes) -> Arrival:
    return Arrival(
        tag=0,
        department="bdc-01",
        exchange="ing.bdc-01",
        user_id="agent.bdc-01",
        message_id=message_id,
        type="cn.huitong.records.v1",
        encoding="",
        body=body,
        digest=hashlib.sha256(body).digest(),
        jws="",
        headers="{}",
        received_at=AT,
    )


def records(epoch: str, sequence: int) -> Prepared:
    """The one message with this place: the same place is always the same octets."""
    name = f"{epoch}-{sequence}"
    packed = PackedRecords([hashlib.md5(name.encode()).hexdigest()], [b""])
    return Prepared(arrival(name, name.encode()), Place("people", epoch, sequence), "k", "s", "d", 1, packed)


def control(said: Control, name: str) -> Prepared:
    return Prepared(arrival(name, name.encode()), Place("people", "", 0), "k", "", "", 0, control=said)


def run(unit: MemoryUnit, items: Sequence[Item]) -> Book:
    book = Book(unit, CLERK, RefusalLimiter(CLOCK, burst=10_000, per_minute=60), AT)
    Session(book, FACTS, careful=True).run(items)
    return book


class Naive:
    """What a flow must look like, kept as sets, and the messages that bring it there."""

    def __init__(self) -> None:
        self.epochs: list[str] = []
        self.stored: dict[str, set[int]] = {}
        self.voided: dict[str, set[int]] = {}
        self.restore()

    @property
    def epoch(self) -> str:
        return self.epochs[-1]

    def send(self, sequence: int) -> Item:
        if sequence not in self.voided[self.epoch]:
            self.stored[self.epoch].add(sequence)
        return records(self.epoch, sequence)

    def void(self, first: int, more: int, name: str) -> Item:
        self.voided[self.epoch] |= set(range(first, first + more + 1)) - self.stored[self.epoch]
        said = Void(flow="people", epoch=self.epoch, first=str(first), last=str(first + more), reason="x")
        return control(said, name)

    def restore(self) -> Item:
        previous = self.epochs[-1] if self.epochs else ""
        self.epochs.append(f"e{len(self.epochs) + 1}")
        self.stored[self.epoch], self.voided[self.epoch] = set(), set()
        return control(EpochOpen(flow="people", epoch=self.epoch, previous=previous), f"open-{self.epoch}")

    def messages(self) -> set[str]:
        return {f"{epoch}-{n}" for epoch in self.epochs for n in self.stored[epoch]}


step = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 12), st.just(0)),
    st.tuples(st.just("void"), st.integers(1, 12), st.integers(0, 3)),
    st.tuples(st.just("restore"), st.just(0), st.just(0)),
)


@settings(max_examples=150)
@given(st.lists(step, max_size=40), st.lists(st.integers(1, 6), min_size=40, max_size=40))
def test_state_equals_a_naive_model(script: list[tuple[str, int, int]], groups: list[int]) -> None:
    """High water, gaps and stored records are those of sets; every message stored has its receipt; nothing is stored twice."""
    unit, naive = MemoryUnit(), Naive()
    run(unit, [control(EpochOpen(flow="people", epoch="e1"), "open-e1")])
    waiting: list[Item] = []
    for index, (kind, number, more) in enumerate(script):
        if kind == "send":
            waiting.append(naive.send(number))
        elif kind == "void":
            waiting.append(naive.void(number, more, f"void-{index}"))
        else:
            waiting.append(naive.restore())
        if len(waiting) >= groups[index]:
            run(unit, waiting)
            waiting = []
    run(unit, waiting)
    check_flow(unit.flows["bdc-01", "people"], naive)
    kept = {seen.message_id for seen in unit.messages.values() if seen.message_id[0] == "e"}
    assert kept == naive.messages()
    assert len(unit.records) == len(set(unit.records)) == len(naive.messages())
    assert {post.about for post in unit.posts} >= naive.messages()


def check_flow(flow: FlowState, naive: Naive) -> None:
    """Compare every epoch."""
    assert [(name, state.ordinal) for name, state in flow.epochs.items()] == [
        (name, at + 1) for at, name in enumerate(naive.epochs)
    ]
    for name, state in flow.epochs.items():
        closed = naive.stored[name] | naive.voided[name]
        assert {n for n in range(1, 20) if state.closed.covers(n)} == closed
        assert state.closed.high_water == next(n for n in range(20) if n + 1 not in closed)
        assert {n for a, b in state.closed.gaps() for n in range(a, b + 1)} == set(range(1, max(closed, default=0) + 1)) - closed
        assert state.frozen == ""


@settings(max_examples=50)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=20))
def test_a_second_body_freezes_exactly_once(sequences: list[int]) -> None:
    """As soon as a place comes with other octets the epoch is frozen, and nothing after it changes the state."""
    unit = MemoryUnit()
    run(unit, [control(EpochOpen(flow="people", epoch="e1"), "open-e1")])
    for at, sequence in enumerate(sequences):
        name = f"m{at}"
        item = Prepared(arrival(name, name.encode()), Place("people", "e1", sequence), "k", "s", "d", 0)
        book = run(unit, [item])
        before = sequences[:at]
        first_repeat = next((i for i, n in enumerate(sequences) if n in sequences[:i]), len(sequences))
        outcome = unit.messages.get(("bdc-01", name))
        if at < first_repeat:
            assert outcome is not None
            assert outcome.outcome is Outcome.STORED
            assert sequence not in before
        else:
            assert outcome is None
            assert [refused.code for refused in book.changes.quarantined] == ["fork" if at == first_repeat else "frozen"]
    state = unit.flows["bdc-01", "people"].epochs["e1"]
    assert {n for n in range(1, 9) if state.closed.covers(n)} == set(sequences[:first_repeat])
