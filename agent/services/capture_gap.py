"""A source that lost its place: a numbered gap, and reading from the beginning, at once or when an operator has looked at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent.i18n import N_
from agent.model import START, Append, FlowState
from agent.ports import CaptureLog, Clock

REPLACED: Final = "source_replaced"
POSITION_LOST: Final = "position_lost"

_TEXTS: Final = {
    REPLACED: N_("the source is not the one that was read before"),
    POSITION_LOST: N_("the source no longer knows the position that was reached"),
}


def lose(
    log: CaptureLog, clock: Clock, state: FlowState, incarnation: str, kind: str, details: Mapping[str, str], *, walks: bool
) -> str:
    """Record that a flow lost its place, and let it begin anew as soon as that is right; returns the reason of its pause, if any.

    A source that is the same and can be walked through (`walks`) is compared with what was captured at once. Otherwise an
    operator has to look first: after `flow resume` the flow begins anew.
    """
    if walks and kind == POSITION_LOST:
        log.open_gap(state.flow, kind, _TEXTS[kind], details)
    elif reason := note_gap(log, clock, state, kind, details):
        return reason
    start_over(log, state, incarnation)
    return ""


def note_gap(log: CaptureLog, clock: Clock, state: FlowState, kind: str, details: Mapping[str, str]) -> str:
    """Pause the flow and record the gap; returns the reason of the pause, empty when the gap was recorded before.

    Before means that an operator has looked at it and resumed the flow. The pause comes first: after a crash in between, a
    gap without a pause would be taken for one that somebody looked at.
    """
    asked_at = clock.now()
    reason = f"source: {kind}"
    log.pause(state.flow, reason)
    gap = log.open_gap(state.flow, kind, _TEXTS[kind], details)
    return reason if gap.opened_at >= asked_at else ""


def start_over(log: CaptureLog, state: FlowState, incarnation: str) -> None:
    """Let the flow begin anew at this incarnation. What is in the key ledger already and unchanged is not sent again."""
    now = log.open_flow(state.flow)
    log.append(
        Append(flow=now.flow, epoch=now.epoch, incarnation=incarnation, before=now.counters, after=now.counters, position=START)
    ).result()
    log.pause(now.flow, "")
