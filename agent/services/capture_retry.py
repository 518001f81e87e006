"""Quarantined records tried again when an operator asks.

The source is asked for the key as it is now: if a later version was captured in the meantime, the item closes as superseded
and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from agent.model import Quarantined
from agent.queries import Closed
from agent.services.capture_step import Step


def keys_of(items: Sequence[Quarantined]) -> list[str]:
    """Return the keys to read, each once; items whose key is unknown have none."""
    return list(dict.fromkeys(item.key for item in items if item.key is not None))


def judge(items: Sequence[Quarantined], step: Step) -> Mapping[str, Closed | None]:
    """Return per item how it is closed by a step made of its key as it is now; None when it is still not right."""
    wrong = {item.key for item in step.put_aside}
    emitted = set(step.emitted)
    return {
        item.item_id: None
        if item.key is None or item.key in wrong
        else Closed.RETRIED
        if item.key in emitted
        else Closed.SUPERSEDED  # equal to what was captured last, or gone from the source
        for item in items
    }


def closing(step: Step, outcome: Mapping[str, Closed | None]) -> Step:
    """Return the step with the items it closes."""
    closes = {**step.append.closes, **{item_id: how.value for item_id, how in outcome.items() if how is not None}}
    return replace(step, append=replace(step.append, closes=closes))
