"""Run an agent just long enough: until every source is drained and every message has its receipt."""

from __future__ import annotations

import threading
from typing import Final

from agent.adapters.clock import SystemClock
from agent.app.agent import Agent
from agent.errors import HuitongError
from agent.model import State

LOOK_SECS: Final = 0.05


class Once:
    """One pass over all flows. `left` are the messages without a receipt, `errors` what kept a flow from being read."""

    def __init__(self, agent: Agent, within_secs: float) -> None:
        self._agent = agent
        self._clock = SystemClock()
        self._deadline = self._clock.monotonic() + within_secs
        self.errors: dict[str, HuitongError] = {}
        self.left = 0

    def run(self) -> None:
        """Capture each flow to its end while delivery and receipts run; then wait for the receipts."""
        worker = threading.Thread(target=self._work, name="once", daemon=True)
        self._agent.run(started=worker.start)
        self.left = self._unsettled()

    def _work(self) -> None:
        for flow, capture in self._agent.captures.items():
            try:
                capture.drain()
            except HuitongError as error:
                self.errors[flow] = error
        look = threading.Event()
        while self._unsettled() and self._clock.monotonic() < self._deadline:
            look.wait(LOOK_SECS)
        self._agent.supervisor.request_stop()

    def _unsettled(self) -> int:
        waiting = (State.PENDING, State.CONFIRMED)
        return sum(depth.messages.get(state, 0) for depth in self._agent.store.depth() for state in waiting)
