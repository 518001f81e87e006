"""A process that fills, confirms, settles and purges a store until it is killed, and says what it was promised.

    python crash_child.py STORE POINT HITS

With a POINT it kills itself there at the HITS-th time; without (`-`) it goes on until the test kills it. What a step holds
follows from its flow and number alone, so that after the kill the store can be compared with what it must hold.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent import failpoints
from agent.adapters.clock import SystemClock
from agent.adapters.store import SqliteStore
from agent.events import Events
from agent.model import Append, Counters, FlowState, Outcome, Position, Quarantined
from tests.contract.store.makers import AGENT, item_of, message_of, receipt_for, row_of

FLOWS = ("qszt", "契税")
MADE_AT = datetime(2026, 11, 21, tzinfo=UTC)


def step_at(state: FlowState) -> Append:
    """Return the one step that follows this state of a flow."""
    first, ordinal = state.counters.next_sequence, state.counters.next_ordinal
    count = 1 + first % 4
    after = Counters(first + count, ordinal + 40 * count)
    # Keys come back every 1000 ordinals, so that rows are inserted and overwritten.
    rows = [row_of(f'[["s","{n % 1000:04}"]]', n, first + (n - ordinal) // 40) for n in range(ordinal, after.next_ordinal)]
    return Append(
        flow=state.flow,
        epoch=state.epoch,
        incarnation="crash",
        before=state.counters,
        after=after,
        position=Position(f"{after.next_sequence}:{after.next_ordinal}"),
        messages=[message_of(state, n, now=MADE_AT, body=body_of(state.flow, n)) for n in range(first, first + count)],
        ledger=rows,
        quarantined=items_at(state.flow, first),
        memory={f"file-{first % 7}": str(first)},
    )


def body_of(flow: str, sequence: int) -> bytes:
    """Return some kilobytes that do not repeat."""
    return b"".join(hashlib.sha256(f"{flow}{sequence}{n}".encode()).digest() for n in range(20 + sequence % 200))


def items_at(flow: str, sequence: int) -> list[Quarantined]:
    """Return the bad input of the step that begins with this sequence."""
    return [item_of(sequence, flow=flow)] if sequence % 5 == 0 else []


def steps_up_to(state: FlowState, end: Counters) -> Iterator[Append]:
    """Yield every step from the beginning of the flow to these counters."""
    state = replace(state, counters=Counters())
    while state.counters.next_sequence < end.next_sequence:
        step = step_at(state)
        yield step
        state = replace(state, counters=step.after)


def capture(store: SqliteStore, flow: str) -> None:
    """Append for ever, three steps in flight; each that is done is said on standard output."""
    state = store.open_flow(flow)
    flying = []
    while True:
        step = step_at(state)
        state = replace(state, counters=step.after)
        flying.append((step, store.append(step)))
        if len(flying) == 3:
            done, future = flying.pop(0)
            future.result()
            os.write(1, f"{flow} {done.after.next_sequence}\n".encode())


def deliver(store: SqliteStore, flow: str) -> None:
    """Confirm, settle and purge for ever; a third of the receipts overtake their confirm."""
    later = datetime.now(UTC) + timedelta(days=1)  # noqa: TID251 - the process stands for the real one
    after = 0
    while True:
        entries = store.pending(flow, after, 20)
        after = entries[-1].entry_id if entries else 0
        early = entries[::3]
        receipts = [receipt_for(e.message, Outcome.STORED) for e in early]
        settled = store.settle(receipts)
        store.confirm([e.entry_id for e in entries])
        settled.result()
        store.settle([receipt_for(e.message) for e in entries[1::3]]).result()
        store.purge(later, later - timedelta(days=2), 10).result()


def main() -> None:
    path, point, hits = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    left = [hits]

    def hook(name: str) -> None:
        if name == point:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    failpoints.arm(hook)
    store = SqliteStore.open(path, agent_id=AGENT, clock=SystemClock(), events=Events(), low_water_bytes=0)
    for flow in FLOWS:
        threading.Thread(target=capture, args=(store, flow), daemon=True).start()
        threading.Thread(target=deliver, args=(store, flow), daemon=True).start()
    signal.pause()


if __name__ == "__main__":
    main()
