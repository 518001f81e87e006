"""What a flow captures, and where its quarantined input is looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from agent.mapping.spec import MapSpec
from agent.model import Quarantined
from agent.queries import Item
from agent.retry import Backoff
from agent.services.capture_messages import BatchLimits


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """What a flow captures, and in which portions. `sender` is the node code of this agent."""

    flow: str
    sender: str
    spec: MapSpec
    limits: BatchLimits = field(default_factory=BatchLimits)
    page_rows: int = 2000
    whole_transactions: bool = False  # no message holds records of two transactions
    most_deletes: int = 20  # percent of all rows that may vanish without anybody being asked
    in_flight: int = 4  # steps handed to the store and not yet durable, at most
    reconnect: Backoff = field(default_factory=lambda: Backoff(first_secs=0.5, cap_secs=60.0))
    slow: Backoff = field(default_factory=lambda: Backoff(first_secs=10.0, cap_secs=300.0))


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Where quarantined items are looked up: one by its id, and those of this flow that are open, newest last."""

    item: Callable[[str], Item | None] = lambda _item_id: None
    open_items: Callable[[], Iterable[Quarantined]] = lambda: ()
