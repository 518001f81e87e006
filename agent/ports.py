"""The seams. Each is small; the prose says when a method is called, by which thread, and which error means what.

The host (a service) owns policy: reconnecting, backing off, pausing and counting. What implements a port makes one attempt
and raises one of `agent.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from agent.model import (
    Append,
    Batch,
    Depth,
    ExchangeMessage,
    Finding,
    FlowState,
    Gap,
    LedgerRow,
    OutboxEntry,
    Position,
    Receipt,
    Settled,
    WalkOrder,
)
from agent.model.handshake import Answer, Whereabouts


class Clock(Protocol):
    """Time, injected. Order never depends on it (I12)."""

    def now(self) -> datetime:
        """Return the wall clock as aware UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds for timers and deadlines."""
        ...


# -- capture ---------------------------------------------------------------------------------------------------------


class Source(Protocol):
    """Where changes come from. One thread calls everything but `wake`."""

    def open(self, state: FlowState) -> str:
        """Connect and return the incarnation: what names this very source (database system id, folder).

        Called before anything else and again after `close` when the host reconnects. `state.memory` holds what earlier
        batches asked to remember. Raises SourceUnavailable, SourceRefused.
        """
        ...

    def wait(self, timeout_secs: float) -> bool:
        """Return early, and True, when there may be news. A hint, never data; returns False after the timeout."""
        ...

    def wake(self) -> None:
        """Make a `wait` in progress return at once. The only method other threads may call."""
        ...

    def read(self, after: Position, limit: int) -> Batch:
        """Return the changes after a position: repeatable, without side effects on the source.

        Nothing new is a batch without rows. The position of the batch covers exactly its rows and its unreadable input.
        Raises SourceUnavailable, SourceRefused, SourceGone.
        """
        ...

    def commit(self, position: Position) -> None:
        """Learn that everything up to `position` is durable: archive the file, trim the log. Idempotent; a crash may skip it."""
        ...

    def check(self) -> Sequence[Finding]:
        """Imitate a real read and say what would be in the way, with the fix. Works on an unopened source."""
        ...

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        ...


@runtime_checkable
class Keyed(Protocol):
    """A source that can look up single records; beside `Source`, for those that can."""

    def read_keys(self, keys: Sequence[str]) -> Batch:
        """Return the rows with these keys (canonical key text) as they are now; the position of the batch means nothing.

        Called by the thread that calls `read`. Raises SourceUnavailable, SourceRefused.
        """
        ...


@runtime_checkable
class Walkable(Protocol):
    """A source that can be read from one end to the other while its changes flow on; beside `Source`, `Keyed` too."""

    def wants_walk(self, after: Position) -> bool:
        """Tell whether reading on after a position finds nothing unless a walk begins: the source tells nothing of changes."""
        ...

    def begin_walk(self, after: Position, order: WalkOrder) -> Position:
        """Return the position from which reading goes on as after `after`, and walks. One that is under way is given up.

        Called by the thread that calls `read`.
        """
        ...

    def count(self, order: WalkOrder) -> int:
        """Return how many rows a walk would read. Reads the source. Raises SourceUnavailable, SourceRefused."""
        ...


@runtime_checkable
class Moded(Protocol):
    """A source with several ways of seeing changes; beside `Source`."""

    def mode(self) -> Finding:
        """Return which way the open source uses, why, and what it cannot see."""
        ...


@runtime_checkable
class Sampled(Protocol):
    """A source whose `open` or `read` leaves traces, and which therefore has another way to show some rows; beside `Source`."""

    def sample(self, limit: int) -> Batch:
        """Return some rows as `read` would give them, without any effect; works on an unopened source.

        Raises SourceUnavailable, SourceRefused.
        """
        ...


@runtime_checkable
class Handshake(Protocol):
    """A source in whose rows stands how far each has got; beside `Source`. Called by the thread that calls `read`."""

    def awaiting(self, limit: int) -> Batch | None:
        """Return the next rows that were handed over and wait for an answer, with nothing but `columns`, `rows` and `more`.

        One page after the other, in turn; `more` is False at the end of a turn. None when the source keeps no states now.
        Raises SourceUnavailable, SourceRefused.
        """
        ...

    def answer(self, answers: Sequence[Answer | None]) -> None:
        """Note in the rows that `awaiting` returned last, one answer each, what became of them; None leaves a row waiting.

        A row that was changed meanwhile stays as it is. Raises SourceUnavailable, SourceRefused.
        """
        ...


class CaptureLog(Protocol):
    """The durable end of capture. `append` is the delivery guarantee."""

    def open_flow(self, flow: str) -> FlowState:
        """Return what is known of a flow; a new flow gets its counters and the epoch of the store."""
        ...

    def announce(self, flow: str, message: ExchangeMessage) -> Future[None]:
        """Put the flow's epoch-open into the outbox, ahead of every record of that epoch; once."""
        ...

    def append(self, step: Append) -> Future[None]:
        """Make one step durable: messages, ledger, quarantine, memory and position in one transaction (I1).

        The future resolves after the commit, in the order of the calls; its error is StoreError, StoreFull or Conflict (the
        counters were not those in the store). The caller may keep a few steps in flight and treats none as done before
        its future is.
        """
        ...

    def known(self, flow: str, keys: Sequence[str]) -> Mapping[str, LedgerRow]:
        """Return the committed ledger rows of those keys that have one."""
        ...

    def open_gap(self, flow: str, kind: str, text: str, details: Mapping[str, object]) -> Gap:
        """Record a numbered gap; the same gap twice is one."""
        ...

    def pause(self, flow: str, reason: str) -> None:
        """Store that a flow is paused and why; an empty reason resumes it."""
        ...

    def room(self) -> bool:
        """Whether an append that grows the store would be taken now; what a capture paused by StoreFull asks."""
        ...

    def flows(self) -> Sequence[FlowState]:
        """Return every flow the store knows, by name, without its memory: what a hello tells the hub."""
        ...


class KeyLedger(Protocol):
    """What the key ledger knows of a whole flow: what a comparison of a table asks. Callable from any thread.

    Only committed rows are seen, those of the last append whose future is done included. Each question reads the ledger of
    its flow once, about a second for some millions of keys. A flow nobody opened has no rows.

    A key is in the chunk it was last placed in (`Append.placed`), or in none. Ordinals are compared within the epoch: what was
    captured in an earlier one is older than every ordinal of this one. So a comparison never goes on across epochs.
    """

    def alive(self, flow: str) -> int:
        """Return how many keys are not deleted."""
        ...

    def unplaced(self, flow: str, before: int, after: str, limit: int) -> Sequence[str]:
        """Return keys > `after`, in the order of their text, at most `limit`; none means that there are none.

        They are those in no chunk that are not deleted and whose ordinal is < `before`. Reads on from `after`, so that all
        pages together read the ledger once.
        """
        ...

    def count_unplaced(self, flow: str, before: int) -> int:
        """Return how many keys all pages of `unplaced` have together."""
        ...

    def touched(self, flow: str, since: int) -> frozenset[int]:
        """Return the chunks that have a key, deleted or not, whose ordinal is >= `since`."""
        ...

    def whereabouts(self, flow: str, keys: Sequence[str]) -> Mapping[str, Whereabouts]:
        """Return where the last version of each of these keys has got to; keys that were never captured are left out."""
        ...

    def unplace(self, flow: str) -> Future[None]:
        """Take every key out of its chunk: the next walk starts from nothing. Costs the same however many keys there are."""
        ...


# -- delivery --------------------------------------------------------------------------------------------------------


class Outbox(Protocol):
    """What waits to be sent and what became of what was sent. Callable from any thread."""

    def pending(self, flow: str, after: int, limit: int) -> Sequence[OutboxEntry]:
        """Return pending entries of a flow with `entry_id` > `after`, in order, at most `limit`.

        May return fewer, so that bodies stay within some megabytes; none means that there are none.
        """
        ...

    def confirm(self, entry_ids: Sequence[int]) -> None:
        """Note that the broker took these. Lazy: it rides on the next transaction, because losing it costs only a resend."""
        ...

    def settle(self, receipts: Sequence[Receipt]) -> Future[Sequence[Settled]]:
        """Apply verified receipts in one transaction; per receipt, in order, what it did. Applying one twice is harmless."""
        ...

    def reopen(self, message_ids: Sequence[str]) -> Future[int]:
        """Put confirmed messages back in line: the hub names them missing or an operator resends; returns how many moved."""
        ...

    def enqueue(self, messages: Sequence[ExchangeMessage]) -> Future[None]:
        """Append control messages, which take no sequence, to the outbox."""
        ...

    def purge(self, stored_before: datetime, known_before: datetime, limit: int) -> Future[int]:
        """Drop by age what is known of stored and partly stored messages; returns how many were touched, up to twice `limit`.

        Bodies go by `stored_before`, at most `limit`. By `known_before` messages without a body are forgotten altogether, with
        their receipts, at most `limit`; never one with a refused record that is still open, and never the newest of all.
        """
        ...

    def overdue(self, confirmed_before: datetime, limit: int) -> Sequence[OutboxEntry]:
        """Return confirmed entries without a receipt since then, oldest first."""
        ...

    def depth(self) -> Sequence[Depth]:
        """Return the depth of every flow."""
        ...


@dataclass(frozen=True, slots=True)
class Parcel:
    """One publication: what goes on the wire and the tag by which its outcome comes back."""

    tag: int
    exchange: str
    routing_key: str
    message_id: str
    type: str
    encoding: str
    body: bytes
    headers: Mapping[str, str]
    timestamp: int


@dataclass(frozen=True, slots=True)
class Published:
    """The outcome of one parcel: error None means the broker confirmed it and did not return it."""

    tag: int
    error: Exception | None = None


class Sink(Protocol):
    """A publishing connection. One thread calls everything but `wake`.

    Publications are persistent, mandatory, confirmed and carry `user_id`; none of that is an option.
    """

    def open(self) -> None:
        """Connect. Raises NotConnected, Forbidden."""
        ...

    def send(self, parcels: Sequence[Parcel]) -> None:
        """Hand parcels to the socket, in order, without waiting for the outcome. Raises NotConnected."""
        ...

    def poll(self, timeout_secs: float) -> Sequence[Published]:
        """Serve the connection (heartbeats too) until there are outcomes, `wake` is called or the time is over.

        After NotConnected is raised, every parcel without an outcome is in doubt and the sink must be reopened.
        """
        ...

    def wake(self) -> None:
        """Make a `poll` in progress return. The only method other threads may call."""
        ...

    def close(self) -> None:
        """Close the connection. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Delivered:
    """One message as it came from a queue: what the broker vouches for (exchange, user_id) and what the sender says."""

    tag: int
    queue: str
    exchange: str
    routing_key: str
    user_id: str | None
    message_id: str | None
    type: str | None
    encoding: str
    content_type: str | None
    body: bytes
    headers: Mapping[str, object]
    redelivered: bool
    delivery_count: int


class Feed(Protocol):
    """A consuming connection, never the one that publishes. One thread calls everything but `wake`."""

    def open(self) -> None:
        """Connect and consume. Raises NotConnected, Forbidden."""
        ...

    def poll(self, timeout_secs: float, limit: int) -> Sequence[Delivered]:
        """Serve the connection until something arrived, `wake` is called or the time is over. Raises NotConnected."""
        ...

    def ack(self, tags: Sequence[int]) -> None:
        """Tell the broker that these are durably dealt with."""
        ...

    def wake(self) -> None:
        """Make a `poll` in progress return. The only method other threads may call."""
        ...

    def close(self) -> None:
        """Close; what was not acked is delivered again. Idempotent."""
        ...
