"""Whatever is done to both, the store on SQLite and the store in memory answer alike."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from agent.adapters.store import SqliteStore
from agent.adapters.store.reader import StoreReader
from agent.errors import HuitongError
from agent.events import Events
from agent.model import ExchangeMessage, Outcome, Placing
from agent.queries import Closed, MessageQuery
from agent.testing.clock import FakeClock
from agent.testing.memory_reader import MemoryReader
from agent.testing.memory_store import MemoryStore
from agent.testing.recorder import EventRecorder
from tests.contract.store.makers import (
    AGENT,
    START,
    ZHANG,
    control_of,
    item_of,
    message_of,
    receipt_for,
    refused_record,
    row_of,
    step_of,
)

FLOWS = st.sampled_from(["qszt", "契税"])
PICKS = st.lists(st.integers(0, 1 << 16), max_size=4)
KEYS = st.lists(st.sampled_from([f'[["s","k{n}"]]' for n in range(6)]), max_size=5)


class BothStores(RuleBasedStateMachine):
    """Does everything to both stores and compares what they say."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock(START)
        self.told = (EventRecorder(), EventRecorder())
        self.memory = MemoryStore(AGENT, epoch="e0", clock=self.clock, events=Events(self.told[0]))
        self.open_sqlite()
        self.readers = (MemoryReader(self.memory), StoreReader(self.path))
        self.sent: list[ExchangeMessage] = []
        self.names = itertools.count(1)

    @property
    def path(self) -> Path:
        return Path(self.folder.name) / "store.db"

    def open_sqlite(self) -> None:
        events = Events(self.told[1])
        random = iter([b"i", b"\xe0"]).__next__
        self.sqlite = SqliteStore.open(
            self.path, agent_id=AGENT, clock=self.clock, events=events, random_bytes=lambda _: random(), low_water_bytes=0
        )
        if self.sqlite.epoch == "e0":
            self.memory.epoch = "e0"

    def both(self, do: Callable[[Any], Any]) -> Any:
        """Do something to both and return what they agree on."""
        answers = [outcome(lambda store=store: do(store)) for store in (self.memory, self.sqlite)]
        assert answers[0] == answers[1]
        return answers[0]

    def picked(self, picks: Sequence[int]) -> list[ExchangeMessage]:
        return [self.sent[pick % len(self.sent)] for pick in picks] if self.sent else []

    # -- what is done ------------------------------------------------------------------------------------------------

    @rule(flow=FLOWS, count=st.integers(0, 3), keys=KEYS, bad=st.integers(0, 3), loaded=st.booleans(), source=st.integers(1, 2))
    def append(self, flow: str, count: int, keys: list[str], bad: int, loaded: bool, source: int) -> None:
        state = self.both(lambda store: store.open_flow(flow))
        step = step_of(state, count, keys=keys if count else [], now=self.clock.now(), loaded=loaded)
        step = replace(
            step,
            incarnation=f"source-{source}",
            quarantined=[item_of(number, flow=flow) for number in range(bad)],
            memory={f"m{number}": str(count) for number in range(bad)},
            closes={f"item-{flow}-{bad}": "retried", "r1": "superseded"} if source == 2 else {},
        )
        if self.both(lambda store: store.append(step)) is None:
            self.sent += step.messages

    @rule(flow=FLOWS, fresh=KEYS, placed=KEYS, chunk=st.integers(0, 2), gone=st.booleans())
    def place(self, flow: str, fresh: list[str], placed: list[str], chunk: int, gone: bool) -> None:
        state = self.both(lambda store: store.open_flow(flow))
        step = step_of(state, min(len(fresh), 1), keys=fresh, now=self.clock.now())
        step = replace(step, ledger=[replace(row, deleted=gone) for row in step.ledger], placed=Placing(chunk, placed))
        if self.both(lambda store: store.append(step)) is None:
            self.sent += step.messages

    @rule(flow=FLOWS, before=st.integers(0, 30), limit=st.integers(1, 3))
    def look_for_unplaced(self, flow: str, before: int, limit: int) -> None:
        found: list[str] = []
        after = ""
        while page := self.both(lambda store, after=after: store.unplaced(flow, before, after, limit)):
            found += page
            after = page[-1]
        assert found == self.both(lambda store: store.unplaced(flow, before, "", 1000))
        assert len(found) == self.both(lambda store: store.count_unplaced(flow, before))

    @rule(flow=FLOWS)
    def unplace(self, flow: str) -> None:
        self.both(lambda store: store.unplace(flow))

    @rule(flow=FLOWS, wrong=st.sampled_from(["epoch", "before", "sequence", "ledger"]))
    def append_what_does_not_fit(self, flow: str, wrong: str) -> None:
        state = self.both(lambda store: store.open_flow(flow))
        step = step_of(state, 2, quarantined=[item_of(99)], memory={"m": "never"})
        if wrong == "epoch":
            step = replace(step, epoch="other")
        elif wrong == "before":
            step = replace(step, before=replace(step.before, next_ordinal=step.before.next_ordinal + 1))
        elif wrong == "sequence":
            step = replace(step, messages=list(reversed(step.messages)))
        else:
            step = replace(step, ledger=[row_of("k", state.counters.next_ordinal, 10_000)])
        assert self.both(lambda store: store.append(step)) == "Conflict"

    @rule(flow=FLOWS)
    def announce(self, flow: str) -> None:
        state = self.both(lambda store: store.open_flow(flow))
        opening = control_of(state, "epoch-open", now=self.clock.now())
        if not state.announced and self.both(lambda store: store.announce(flow, opening)) is None:
            self.sent.append(opening)

    @rule(flow=FLOWS)
    def enqueue(self, flow: str) -> None:
        state = self.both(lambda store: store.open_flow(flow))
        message = control_of(state, f"query-{next(self.names)}", now=self.clock.now())
        if self.both(lambda store: store.enqueue([message])) is None:
            self.sent.append(message)

    @rule(flow=FLOWS, limit=st.integers(1, 4))
    def confirm(self, flow: str, limit: int) -> None:
        entries = self.both(lambda store: store.pending(flow, 0, limit))
        self.both(lambda store: store.confirm([entry.entry_id for entry in entries]))
        self.sqlite.flush()

    @rule(
        picks=PICKS, outcome=st.sampled_from(Outcome), refused=st.integers(0, 2), lie=st.sampled_from([None, "epoch", "digest"])
    )
    def settle(self, picks: list[int], outcome: Outcome, refused: int, lie: str | None) -> None:
        records = [refused_record(f"r{number}") for number in range(refused)]
        lies = {"epoch": {"epoch": "other"}, "digest": {"digest": b"other"}}.get(lie or "", {})
        receipts = [
            replace(receipt_for(m, outcome, refused=records, code=str(outcome)), **lies)  # type: ignore[arg-type]
            for m in self.picked(picks)
        ]
        self.both(lambda store: store.settle(receipts))

    @rule(picks=PICKS)
    def reopen_messages(self, picks: list[int]) -> None:
        self.both(lambda store: store.reopen([m.message_id for m in self.picked(picks)]))

    @rule(picks=PICKS)
    def discard(self, picks: list[int]) -> None:
        ids = [message.message_id for message in self.picked(picks)[:2]]
        state = self.both(lambda store: store.open_flow("qszt"))
        void = control_of(state, f"void-{next(self.names)}", now=self.clock.now())
        if self.both(lambda store: store.discard(ids, [void], ZHANG)) is None:
            self.sent.append(void)

    @rule(picks=PICKS, how=st.sampled_from(Closed))
    def close_items(self, picks: list[int], how: Closed) -> None:
        subjects = [f"item-qszt-{pick % 4}" for pick in picks] + [m.message_id for m in self.picked(picks)] + ["r0"]
        self.both(lambda store: store.close_items(sorted(set(subjects)), how, ZHANG))

    @rule(flow=FLOWS, number=st.integers(1, 2))
    def gaps_and_pauses(self, flow: str, number: int) -> None:
        self.both(lambda store: store.open_gap(flow, "position_lost", "text", {"n": number}))
        self.both(lambda store: store.pause(flow, f"reason {number}" if number == 1 else ""))
        if number == 2:
            self.both(lambda store: store.close_gap(flow, number, ZHANG))

    @rule(limit=st.integers(1, 3), age=st.integers(0, 4000), known=st.integers(0, 8000))
    def purge(self, limit: int, age: int, known: int) -> None:
        now = self.clock.now()
        self.both(lambda store: store.purge(now - timedelta(seconds=age), now - timedelta(seconds=known), limit))

    @rule(secs=st.integers(1, 4000))
    def time_passes(self, secs: int) -> None:
        self.clock.advance(secs)

    @rule(flow=FLOWS)
    def restore(self, flow: str) -> None:
        epoch = f"e{next(self.names)}"
        self.both(lambda store: store.begin_epoch(epoch, ZHANG))
        self.announce(flow)

    @rule(flow=FLOWS, limit=st.integers(1, 3))
    def rewrap(self, flow: str, limit: int) -> None:
        state = self.both(lambda store: store.open_flow(flow))
        old = self.both(lambda store: store.unsettled(flow, limit))
        pairs = [
            (entry.message.message_id, message_of(state, sequence, now=self.clock.now()))
            for sequence, entry in enumerate(old, state.counters.next_sequence)
        ]
        if self.both(lambda store: store.rewrap(flow, pairs)) is None:
            self.sent += [new for _, new in pairs]

    @rule()
    def start_again(self) -> None:
        self.sqlite.close()
        self.open_sqlite()

    # -- what must be so ---------------------------------------------------------------------------------------------

    @invariant()
    def they_agree(self) -> None:
        self.both(lambda store: store.depth())
        self.both(lambda store: [store.open_flow(flow.flow) for flow in store.flows()])
        for flow in ("qszt", "契税"):
            self.both(lambda store, flow=flow: store.pending(flow, 0, 1000))
            self.both(lambda store, flow=flow: store.unsettled(flow, 1000))
            self.both(lambda store, flow=flow: store.known(flow, [f'[["s","k{n}"]]' for n in range(6)]))
            self.both(lambda store, flow=flow: store.alive(flow))
            for ordinal in (0, 3, 10, 1000):
                self.both(lambda store, flow=flow, ordinal=ordinal: store.count_unplaced(flow, ordinal))
                self.both(lambda store, flow=flow, ordinal=ordinal: store.touched(flow, ordinal))
        later = self.clock.now() + timedelta(days=1)
        self.both(lambda store: store.overdue(later, 1000))
        for memory, sqlite in zip(*(self.told_by(reader) for reader in self.readers), strict=True):
            assert memory == sqlite
        assert self.told[0].events == self.told[1].events

    def told_by(self, reader: Any) -> list[object]:
        found = reader.find(MessageQuery(limit=1000))
        return [
            found,
            [reader.trace(row.message_id) for row in found],
            [reader.find(MessageQuery(key=f"k{n}")) for n in range(6)],
            reader.causes(),
            reader.items(closed=True, limit=1000),
            reader.refusals(closed=True, limit=1000),
            reader.gaps(closed=True),
            reader.actions(limit=1000),
            reader.activity(START - timedelta(days=1), self.clock.now() + timedelta(days=1)),
            reader.last_receipt(),
        ]

    def teardown(self) -> None:
        if hasattr(self, "sqlite"):
            self.readers[1].close()
            self.sqlite.close()
            self.folder.cleanup()


def outcome(do: Callable[[], Any]) -> Any:
    """Return a result, waited for; of an error its name."""
    try:
        result = do()
        return result.result() if isinstance(result, Future) else result
    except HuitongError as error:
        return type(error).__name__


def run_machine(examples: int, steps: int) -> None:
    """Run the machine."""
    limits = settings(max_examples=examples, stateful_step_count=steps, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(BothStores, settings=limits)  # type: ignore[no-untyped-call]


def test_both_stores_answer_alike() -> None:
    """Over random histories, restarts and restores among them, both stores give equal answers and tell equal events."""
    run_machine(examples=15, steps=30)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_both_stores_answer_alike_for_long() -> None:
    """The same over many more and longer histories."""
    run_machine(examples=500, steps=60)
