"""What an operator may do to flows, messages and dead letters.

Each act goes through the store, is noted there with who and why, and is then told to the services it concerns. The same desk
serves the control socket of a running agent and a command that holds the instance lock itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final, Protocol

from agent.errors import Conflict, NotFound
from agent.events import Events, FlowPaused, FlowResumed, OperatorActed
from agent.i18n import N_
from agent.model import ExchangeMessage, FlowState, State, WalkKind, WalkOrder
from agent.ports import CaptureLog, Outbox
from agent.queries import Closed, MessageRow, Operator
from agent.services.capture_walk import HELD
from agent.services.dead_letters import Capturing, DeadLetters, Files, Outcome, discarded, failed
from agent.services.greeting import FORK
from agent.wire.control import Control, Void

OPERATOR: Final = "operator"
"""How the stored reason of an operator's pause begins."""

UNSETTLED: Final = (State.PENDING, State.CONFIRMED)


class DeskStore(CaptureLog, Outbox, Protocol):
    """The store as a desk uses it."""

    def discard(self, message_ids: Sequence[str], voids: Sequence[ExchangeMessage], by: Operator) -> Future[None]:
        """Give messages up for ever and enqueue the voids of their sequences, in one transaction."""
        ...

    def close_items(self, subjects: Sequence[str], how: Closed, by: Operator) -> Future[int]:
        """Mark items as dealt with; returns how many were open."""
        ...

    def close_gap(self, flow: str, number: int, by: Operator) -> Future[bool]:
        """Mark a gap as dealt with; False when there is no such open gap."""
        ...

    def note(self, action: str, subject: str, by: Operator) -> Future[None]:
        """Keep what an operator did, for the auditor."""
        ...


class Sending(Protocol):
    """Delivery, as far as an operator can reach it."""

    def look_again(self) -> None:
        """Flows were paused or resumed."""
        ...

    def reopened(self, message_ids: Sequence[str]) -> None:
        """Note that these confirmed messages are pending again."""
        ...

    def settled(self, message_ids: Sequence[str]) -> None:
        """Note that these messages need nothing more."""
        ...


class Desk:
    """The acts of operators. Callable from any thread; `captures` are the configured flows."""

    def __init__(
        self,
        *,
        store: DeskStore,
        files: Files,
        captures: Mapping[str, Capturing],
        delivery: Sending,
        write: Callable[[Control, str, str], ExchangeMessage],
        events: Events,
    ) -> None:
        self._store, self._files, self._captures = store, files, captures
        self._delivery, self._write, self._events = delivery, write, events
        self._letters = DeadLetters(files, captures)

    # -- flows -------------------------------------------------------------------------------------------------------

    def pause(self, flow: str, by: Operator) -> None:
        """Stop capturing and sending a flow. Raises NotFound; Conflict for a fork, which is stopped already."""
        self._thawed(flow)
        self._store.pause(flow, f"{OPERATOR} {by.user}: {by.why}")
        self._events.emit(FlowPaused(flow, OPERATOR, by.why))
        self._done("pause", flow, by)

    def resume(self, flow: str, by: Operator) -> None:
        """Go on with a paused flow. Raises NotFound; Conflict for a fork, which only a restore ends."""
        self._thawed(flow)
        self._store.pause(flow, "")
        self._events.emit(FlowResumed(flow, OPERATOR))
        self._done("resume", flow, by)

    def run(self, flow: str) -> None:
        """Look at the source of a flow now. Raises NotFound; Conflict when it is paused."""
        self._capture_of(flow).tick()

    def compare(self, flow: str, by: Operator, *, accept_deletes: bool) -> None:
        """Have a source compared with what was captured; with `accept_deletes` all that is gone there is deleted.

        Raises NotFound; Conflict when the flow does not run, or its source cannot be compared.
        """
        self._capture_of(flow).walk(WalkOrder(WalkKind.COMPARE, certain=accept_deletes)).result()
        if accept_deletes:
            for gap in self._files.gaps(flow):
                if gap.kind == HELD:
                    self._store.close_gap(flow, gap.number, by).result()
        self._note("accept-deletes" if accept_deletes else "compare", [flow], by)

    def backfill(self, flow: str, order: WalkOrder, by: Operator) -> None:
        """Read part of a source again and send what differs from what was sent last. Raises as `compare` does."""
        self._capture_of(flow).walk(order).result()
        self._note("backfill", [flow], by)

    def count(self, flow: str, order: WalkOrder) -> int:
        """Return how many rows a backfill would read. Raises as `compare` does."""
        return self._capture_of(flow).count(order).result()

    def close_gap(self, flow: str, number: int, by: Operator) -> None:
        """Note that a gap was dealt with. Raises NotFound."""
        if not self._store.close_gap(flow, number, by).result():
            raise NotFound(
                N_("flow {flow} has no open gap number {number}"),
                hint=N_("list them: huitong flow gaps"),
                flow=flow,
                number=number,
            )
        self._told("close-gap", f"{flow} {number}", by)

    # -- messages ----------------------------------------------------------------------------------------------------

    def resend(self, message_ids: Sequence[str], by: Operator) -> int:
        """Put confirmed messages back in line; returns how many moved."""
        moved = self._store.reopen(message_ids).result()
        self._note("resend", message_ids, by)
        self._delivery.reopened(message_ids)
        return moved

    # -- dead letters ------------------------------------------------------------------------------------------------

    def retry(self, subjects: Sequence[str], by: Operator) -> Mapping[str, Outcome]:
        """Try dead letters again; per subject what came of it.

        Input is translated again as its source has it now. What the hub refused for ever travels again in a new message,
        unless a later version of its key was captured.
        """
        outcomes = self._letters.retry(subjects)
        self._note("retry", [subject for subject, outcome in outcomes.items() if outcome.done], by)
        return outcomes

    def discard(self, subjects: Sequence[str], by: Operator) -> Mapping[str, Outcome]:
        """Give up input, refused records and messages; unsettled messages have their sequences voided at the hub.

        Raises Conflict when one of the messages came to its end meanwhile; then nothing was done.
        """
        wanted = list(dict.fromkeys(subjects))
        waiting = {row.message_id: row for row in map(self._unsettled, wanted) if row is not None}
        if waiting:
            voids = [self._void(row, by.why) for row in waiting.values() if row.sequence]
            self._store.discard(list(waiting), voids, by).result()
            self._delivery.settled(list(waiting))
            self._delivery.look_again()
        rest = {subject: self._letters.closable(subject) for subject in wanted if subject not in waiting}
        closing = [subject for subject, why in rest.items() if why is None]
        if closing:
            self._store.close_items(closing, Closed.DISCARDED, by).result()
        self._told("discard", str(len(waiting) + len(closing)), by)
        return {**dict.fromkeys(wanted, discarded()), **{subject: failed(why) for subject, why in rest.items() if why}}

    # -- inside ------------------------------------------------------------------------------------------------------

    def _capture_of(self, flow: str) -> Capturing:
        """Return the capture of a flow that may run."""
        if flow not in self._captures:
            raise _no_flow(flow)
        paused = self._state(flow).paused
        if paused:
            raise Conflict(
                N_("flow {flow} is paused: {why}"),
                hint=N_("resume it: huitong flow resume {flow} --why TEXT"),
                flow=flow,
                why=paused,
            )
        return self._captures[flow]

    def _unsettled(self, message_id: str) -> MessageRow | None:
        trace = self._files.trace(message_id)
        return trace.message if trace is not None and trace.message.state in UNSETTLED else None

    def _void(self, row: MessageRow, why: str) -> ExchangeMessage:
        return self._write(Void(row.flow, row.epoch, str(row.sequence), str(row.sequence), why), row.flow, row.epoch)

    def _state(self, flow: str) -> FlowState:
        """Return what is known of a flow; one that is only configured becomes known by this. Raises NotFound."""
        known = next((state for state in self._store.flows() if state.flow == flow), None)
        if known is None and flow not in self._captures:
            raise _no_flow(flow)
        return known or self._store.open_flow(flow)

    def _thawed(self, flow: str) -> None:
        if self._state(flow).paused.startswith(FORK):
            raise Conflict(
                N_("flow {flow} is frozen: the hub already has another history of it"),
                hint=N_("make sure no second agent runs with this identity, then: huitong restore --why TEXT"),
                flow=flow,
            )

    def _done(self, action: str, flow: str, by: Operator) -> None:
        self._note(action, [flow], by)
        self._delivery.look_again()
        if flow in self._captures:
            self._captures[flow].tick()

    def _note(self, action: str, subjects: Sequence[str], by: Operator) -> None:
        for done in [self._store.note(action, subject, by) for subject in subjects]:
            done.result()
        if subjects:
            self._told(action, subjects[0] if len(subjects) == 1 else str(len(subjects)), by)

    def _told(self, action: str, subject: str, by: Operator) -> None:
        self._events.emit(OperatorActed(by.user, action, subject, by.why))


def _no_flow(flow: str) -> NotFound:
    return NotFound(N_("there is no flow named {flow}"), hint=N_("list them: huitong flow list"), flow=flow)
