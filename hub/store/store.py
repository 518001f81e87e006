"""The seams to the hub's store. One contract suite (tests/contract/hub_store) holds every implementation to them.

All of them raise StoreUnavailable when the database cannot be used now; nothing was committed then, except that a commit
whose answer was lost may have happened. Everything above is written so that doing the same again is harmless.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agent.wire.envelope import WireRecord
from agent.wire.signature import KeyState, PublicKey
from hub.audit import Head
from hub.model import Changes, Department, DepartmentState, DuePost, FlowState, PackedRecords, Seen

FlowName = tuple[str, str]
"""(sender, flow)."""

Fences = Mapping[str, int]
"""Department → fence of the lease under which this process writes. Empty where there is only one process."""


@dataclass(frozen=True, slots=True)
class Locked:
    """What a transaction of ingest has locked and read: only what exists."""

    heads: dict[str, Head]  # where audit chains end, by department
    flows: dict[FlowName, FlowState]  # with their epochs
    seen: dict[tuple[str, str], Seen]  # messages by (sender, message id)


class IngestUnit(Protocol):
    """One transaction of ingest."""

    def lock(
        self,
        departments: Collection[str] = (),
        flows: Collection[FlowName] = (),
        messages: Collection[tuple[str, str]] = (),
    ) -> Locked:
        """Lock audit chains and flows, and read what they and the store know. Once, first. Raises LeaseLost."""
        ...

    def open_flow(self, name: FlowName, at: datetime) -> FlowState:
        """Create a flow without epochs."""
        ...

    def occupied(self, flow_id: int, epoch_ordinal: int, sequence: int) -> bool:
        """Say whether a message, and not a void, has closed this sequence."""
        ...

    def stored_ids(self, flow_id: int, ids: Sequence[str]) -> frozenset[str]:
        """Return the record ids among these that the flow has stored already."""
        ...

    def commit_lazily(self) -> None:
        """Let this transaction's commit return before the disk has it. It is a promise only after `HubStore.flush`."""
        ...

    def write(self, flows: Iterable[FlowState], changes: Changes, at: datetime) -> None:
        """Write everything; once, last. Raises RecordsCollide, Unstorable: the transaction is lost then."""
        ...


class HubStore(Protocol):
    """What ingest and the publisher need. Callable from any thread."""

    def begin(self, fences: Fences) -> AbstractContextManager[IngestUnit]:
        """Open a transaction that commits at the end of the block and rolls back when the block raises."""
        ...

    def pack(self, records: Sequence[WireRecord], positions: Sequence[int]) -> PackedRecords:
        """Bring records into the form that inserts fastest. Pure; called outside the transaction, in another thread."""
        ...

    def flush(self) -> None:
        """Return once everything committed through this store so far is on the disk; at once when it is already."""
        ...

    def probe(self) -> None:
        """Make sure that the store can be written to."""
        ...

    def due(self, departments: Collection[str] | None, limit: int) -> Sequence[DuePost]:
        """Return posts not published yet, oldest first; of these departments, or of all when None."""
        ...

    def published(self, post_ids: Sequence[int], at: datetime) -> None:
        """Note that the broker took these posts."""
        ...

    def purge(self, *, bodies_before: datetime, posts_before: datetime, quarantine_before: datetime, limit: int) -> int:
        """Drop bodies of messages, published answers and refusals, and quarantined octets by age, at most `limit` of each.

        Ids, digests, receipts, records and audit stay for ever. Returns how many rows changed.
        """
        ...

    def close(self) -> None:
        """Let go of every connection. Idempotent."""
        ...


class Registry(Protocol):
    """Who may send, and with which keys. `admit` and the key methods append to the department's audit chain."""

    def departments(self) -> Sequence[Department]:
        """Return all departments in order of their code."""
        ...

    def keys(self, owner: str | None = None) -> Sequence[PublicKey]:
        """Return all pinned keys, or those of one owner."""
        ...

    def admit(self, department: Department, key: PublicKey | None, by: str) -> bool:
        """Register a department, or renew its title and contact, and pin its key; True when it is new. Raises Conflict.

        Only `set_state` ends a suspension.
        """
        ...

    def set_state(self, code: str, state: DepartmentState, at: datetime, by: str) -> None:
        """Suspend or readmit a department. Raises NotFound."""
        ...

    def add_key(self, key: PublicKey, at: datetime, by: str) -> None:
        """Pin a key. The same key again changes nothing; one that belongs to somebody else raises Conflict."""
        ...

    def set_key(self, kid: str, state: KeyState, at: datetime, by: str) -> None:
        """Retire or revoke a key; a revoked key stays revoked. Raises NotFound, Conflict."""
        ...


class Leases(Protocol):
    """Which process works for which department. Time is the database's own, so no two clocks are compared."""

    def hold(self, owner: str, ttl_secs: float) -> Fences:
        """Renew this owner's membership and leases, take or give back until the share is fair; return what is held."""
        ...

    def release(self, owner: str) -> None:
        """Give everything back and leave."""
        ...
