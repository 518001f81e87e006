"""What an operator may do to flows, messages and dead letters.

Each act goes through the store, is noted there with who and why, and is then told to the services it concerns. The same desk
serves the control socket of a running agent and a command that holds the instance lock itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final, Protocol

from agent.errors import Conflict, NotFound
from agent.events import Events, FlowPaused, FlowResumed, OperatorActed
from agent.model import ExchangeMessage, State
from agent.ports import CaptureLog, Outbox
from agent.queries import Closed, Item, MessageRow, Operator, Trace
from agent.wire.control import Control, Void

OPERATOR: Final = "operator"
"""How the stored reason of an operator's pause begins."""

UNSETTLED: Final = (State.PENDING, State.CONFIRMED)


class DeskStore(CaptureLog, Outbox, Protocol):
    """The store as a desk uses it."""

    def discard(self, message_ids: Sequence[str], voids: Sequence[ExchangeMessage], by: Operator) -> Future[None]: ...  # noqa: D102
    def close_items(self, subjects: Sequence[str], how: Closed, by: Operator) -> Future[int]: ...  # noqa: D102
    def close_gap(self, flow: str, number: int, by: Operator) -> Future[bool]: ...  # noqa: D102
    def note(self, action: str, subject: str, by: Operator) -> Future[None]: ...  # noqa: D102


class Files(Protocol):
    """Where things are looked up; `StoreReader` is one."""

    def trace(self, message_id: str) -> Trace | None: ...  # noqa: D102
    def item(self, item_id: str) -> Item | None: ...  # noqa: D102


class Capturing(Protocol):
    """A flow's capture, as far as an operator can reach it."""

    def tick(self) -> None:
        """Look at the source now."""
        ...

    def retry(self, item_ids: Sequence[str]) -> Future[Mapping[str, Closed | None]]:
        """Translate quarantined input again; per item how it was closed, None when it is still not right."""
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
    """The acts of operators. Callable from any thread."""

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

    # -- flows -------------------------------------------------------------------------------------------------------

    def pause(self, flow: str, by: Operator) -> None:
        """Stop capturing and sending a flow. Raises NotFound."""
        self._known(flow)
        self._store.pause(flow, f"{OPERATOR} {by.user}: {by.why}")
        self._done("pause", flow, by)
        self._events.emit(FlowPaused(flow, OPERATOR, by.why))

    def resume(self, flow: str, by: Operator) -> None:
        """Go on with a paused flow. Raises NotFound; Conflict for a fork, which only a restore ends."""
        paused = self._known(flow)
        if paused.startswith("fork"):
            raise Conflict(hint="make sure no second agent runs with this identity, then: huitong restore", why="fork")
        self._store.pause(flow, "")
        self._done("resume", flow, by)
        self._events.emit(FlowResumed(flow, OPERATOR))

    def run(self, flow: str) -> None:
        """Look at the source of a flow now. Raises NotFound."""
        if flow not in self._captures:
            raise NotFound(what="flow", name=flow)
        self._captures[flow].tick()

    def close_gap(self, flow: str, number: int, by: Operator) -> None:
        """Note that a gap was dealt with. Raises NotFound."""
        if not self._store.close_gap(flow, number, by).result():
            raise NotFound(what="gap", name=f"{flow} {number}")

    # -- messages ----------------------------------------------------------------------------------------------------

    def resend(self, message_ids: Sequence[str], by: Operator) -> int:
        """Put confirmed messages back in line; returns how many moved."""
        moved = self._store.reopen(message_ids).result()
        for message_id in message_ids:
            self._store.note("resend", message_id, by)
        self._delivery.reopened(message_ids)
        self._told("resend", ", ".join(message_ids), by)
        return moved

    # -- dead letters ------------------------------------------------------------------------------------------------

    def retry(self, subjects: Sequence[str], by: Operator) -> dict[str, int]:
        """Translate quarantined input again, and take up what the hub refused for ever only through a later version.

        Returns counts by `retried`, `superseded`, `failed`.
        """
        by_flow: dict[str, list[str]] = {}
        counts: Counter[str] = Counter()
        for subject in subjects:
            item = self._files.item(subject)
            if item is None or item.closed_as is not None or item.input.flow not in self._captures:
                counts["failed"] += 1
            else:
                by_flow.setdefault(item.input.flow, []).append(subject)
        for flow, item_ids in by_flow.items():
            for how in self._captures[flow].retry(item_ids).result().values():
                counts[how.value if how else "failed"] += 1
        for subject in subjects:
            self._store.note("retry", subject, by)
        self._told("retry", f"{len(subjects)}", by)
        return dict(counts)

    def discard(self, subjects: Sequence[str], by: Operator) -> dict[str, int]:
        """Give up input, refused records and messages; unsettled messages have their sequences voided at the hub."""
        messages = [trace.message for trace in map(self._files.trace, subjects) if trace and trace.message.state in UNSETTLED]
        voids = [self._void(row, by.why) for row in messages if row.sequence]
        if messages:
            ids = [row.message_id for row in messages]
            self._store.discard(ids, voids, by).result()
            self._delivery.settled(ids)
        chosen = {row.message_id for row in messages}
        closed = self._store.close_items([s for s in subjects if s not in chosen], Closed.DISCARDED, by).result()
        self._delivery.look_again()
        self._told("discard", f"{len(subjects)}", by)
        done = len(messages) + closed
        return {"discarded": done} | ({"failed": len(subjects) - done} if done < len(subjects) else {})

    # -- inside ------------------------------------------------------------------------------------------------------

    def _void(self, row: MessageRow, why: str) -> ExchangeMessage:
        return self._write(Void(row.flow, row.epoch, str(row.sequence), str(row.sequence), why), row.flow, row.epoch)

    def _known(self, flow: str) -> str:
        for state in self._store.flows():
            if state.flow == flow:
                return state.paused
        raise NotFound(what="flow", name=flow)

    def _done(self, action: str, flow: str, by: Operator) -> None:
        self._store.note(action, flow, by)
        self._delivery.look_again()
        if flow in self._captures:
            self._captures[flow].tick()
        self._told(action, flow, by)

    def _told(self, action: str, subject: str, by: Operator) -> None:
        self._events.emit(OperatorActed(by.user, action, subject, by.why))


