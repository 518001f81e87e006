"""Hello: what agent and hub tell each other on every connection, and what follows when their histories differ.

The comparison is made with the counters as they stand when the answer is read, so that what was sent in between cannot look
like a second history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.events import Events, ForkDetected, HubGreeted
from agent.model import ExchangeMessage, FlowState
from agent.ports import CaptureLog
from agent.wire.control import Control, EpochOpen, Hello, HighWater, HubHello, NextSequence, number

FORK = "fork"
"""What the store keeps as the reason of a frozen flow; delivery sends none of its messages."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who speaks: `instance` names one run of one process."""

    instance: str
    version: str


class Greeting:
    """Says hello and hears the answer.

    `write(control, flow, epoch)` signs a control message (wire.ControlWriter.write), `say` sends one without storing it,
    `look_again` tells delivery that a flow was frozen, `heard` gets the whole answer: limits and announced keys.
    `hello` is called in the delivery thread, the rest in the receipts thread.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        log: CaptureLog,
        write: Callable[[Control, str, str], ExchangeMessage],
        say: Callable[[ExchangeMessage], None],
        look_again: Callable[[], None],
        heard: Callable[[HubHello], None],
        events: Events,
        types_pending: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._identity = identity
        self._log, self._write, self._say = log, write, say
        self._look_again, self._heard, self._events = look_again, heard, events
        self._types_pending = types_pending

    def hello(self) -> Sequence[ExchangeMessage]:
        """Return what to say first on a new connection."""
        flows = {state.flow: NextSequence(state.epoch, number(state.counters.next_sequence)) for state in self._log.flows()}
        said = Hello(self._identity.instance, self._identity.version, flows, list(self._types_pending()))
        return [self._write(said, "", "")]

    def hear(self, hub: str, hello: HubHello) -> None:
        """Compare the hub's history of each flow with ours: freeze where it has another one, announce what it does not know."""
        self._heard(hello)
        self._events.emit(HubGreeted(hub))
        for state in self._log.flows():
            known = hello.flows.get(state.flow)
            if known is not None and self._is_fork(state, known):
                self.freeze(state.flow, state.epoch)
            elif state.announced and (known is None or known.epoch != state.epoch):
                opening = EpochOpen(state.flow, state.epoch, state.previous_epoch)
                self._say(self._write(opening, state.flow, state.epoch))

    def freeze(self, flow: str, epoch: str) -> None:
        """Stop a flow for good: a fork is never healed by itself. Told once."""
        state = next((state for state in self._log.flows() if state.flow == flow), None)
        # A statement about an epoch that a restore has left behind says nothing about the one we are in.
        if state is None or state.epoch != epoch or state.paused.startswith(FORK):
            return
        self._log.pause(flow, FORK)
        self._look_again()
        self._events.emit(ForkDetected(flow, epoch))

    @staticmethod
    def _is_fork(state: FlowState, known: HighWater) -> bool:
        if known.epoch != state.epoch:
            return False
        return bool(known.frozen) or int(known.high_water) >= state.counters.next_sequence
