"""A source that lost its place: a numbered gap, and reading from the beginning, at once or when an operator has looked at it.

One whose columns changed has lost nothing: once an operator has looked at it, it is read on where it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

from agent.errors import SourceChanged, SourceGone, StoreFull
from agent.i18n import N_
from agent.model import SHAPE_ACCEPTED, SHAPE_OFFERED, START, Append, FlowState
from agent.ports import CaptureLog, Clock

REPLACED: Final = "source_replaced"
POSITION_LOST: Final = "position_lost"
CHANGED: Final = "schema_changed"

_TEXTS: Final = {
    REPLACED: N_("the source is not the one that was read before"),
    POSITION_LOST: N_("the source no longer knows the position that was reached"),
    CHANGED: N_("the columns of {table} have changed: {difference}"),
}


def loss_of(error: SourceGone | SourceChanged) -> tuple[str, Mapping[str, str]]:
    """Return which kind of gap an error is, and the details that `lose` takes."""
    if isinstance(error, SourceChanged):
        told = {name: str(error.details.get(name, "")) for name in ("table", "difference")}
        return CHANGED, {**told, SHAPE_ACCEPTED: error.shape}
    return POSITION_LOST, {"position": str(error.details.get("position", "")), "why": str(error)}


def accept_offer(log: CaptureLog, flow: str) -> None:
    """Note for a paused flow that whoever resumes it accepts what its source offered, if it offered something."""
    state = log.open_flow(flow)
    if offered := state.memory.get(SHAPE_OFFERED):
        _remember(log, state, {SHAPE_ACCEPTED: offered, SHAPE_OFFERED: ""})


def _await_acceptance(log: CaptureLog, flow: str, details: Mapping[str, str]) -> str:
    """Pause the flow and record the gap; returns the reason of the pause.

    The pause comes first: the fact says that whoever resumes the flow accepts the columns.
    """
    reason = f"source: {CHANGED}"
    log.pause(flow, reason)
    log.open_gap(flow, CHANGED, _TEXTS[CHANGED], {name: text for name, text in details.items() if name != SHAPE_ACCEPTED})
    _remember(log, log.open_flow(flow), {SHAPE_ACCEPTED: details[SHAPE_ACCEPTED]})
    return reason


def _remember(log: CaptureLog, now: FlowState, facts: Mapping[str, str]) -> None:
    step = Append(now.flow, now.epoch, now.incarnation, now.counters, now.counters, now.position, memory=facts)
    with contextlib.suppress(StoreFull):  # then the source will ask once more
        log.append(step).result()


def lose(
    log: CaptureLog, clock: Clock, state: FlowState, incarnation: str, kind: str, details: Mapping[str, str], *, walks: bool
) -> str:
    """Record that a flow lost its place, and let it begin anew as soon as that is right; returns the reason of its pause, if any.

    A source that is the same and can be walked through (`walks`) is compared with what was captured at once. Otherwise an
    operator has to look first: after `flow resume` the flow begins anew. When only columns changed it goes on where it was.
    """
    if kind == CHANGED:
        return _await_acceptance(log, state.flow, details)
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
