"""Run an agent just long enough: until every source is drained and every message has its receipt."""

from __future__ import annotations

import threading
from typing import Final

from agent.adapters.clock import SystemClock
from agent.app.agent import Agent
from agent.errors import HuitongError
from agent.events import ReceiptSettled
from agent.model import State
from agent.services.capture import CaptureService

LOOK_SECS: Final = 1.0
"""So often the outbox is looked at without a hint."""


class Once:
    """One pass over all flows; hears the agent's events. After `run`: what is left, and what kept a flow from being read."""

    def __init__(self, within_secs: float) -> None:
        self._clock = SystemClock()
        self._deadline = self._clock.monotonic() + within_secs
        self._news = threading.Event()
        self._over = False
        self.errors: dict[str, HuitongError] = {}
        self.records = 0
        self.quarantined = 0
        self.left = 0
        self._failure: BaseException | None = None

    def __call__(self, event: object) -> None:
        """Notice that receipts come in."""
        if isinstance(event, ReceiptSettled):
            self._news.set()

    def run(self, agent: Agent) -> None:
        """Capture each flow to its end while delivery and receipts run; then wait for the receipts."""
        worker = threading.Thread(target=self._work, args=(agent,), name="once", daemon=True)
        try:
            agent.run(started=worker.start)
        finally:
            self.stop()
        if self._failure is not None:
            raise self._failure
        self.left = _unsettled(agent)

    def stop(self) -> None:
        """Wait no longer. Takes no lock: callable from a signal handler."""
        self._over = True

    def _work(self, agent: Agent) -> None:
        try:
            for flow, capture in agent.captures.items():
                self._drain(flow, capture)
            while _unsettled(agent) and self._clock.monotonic() < self._deadline and not self._over:
                self._news.wait(LOOK_SECS)
                self._news.clear()
        except BaseException as error:  # noqa: BLE001 - raised again by `run`
            self._failure = error
        finally:
            agent.supervisor.request_stop()

    def _drain(self, flow: str, capture: CaptureService) -> None:
        if self._over:
            return
        try:
            captured = capture.drain()
        except HuitongError as error:
            self.errors[flow] = error
        else:
            self.records += captured.records
            self.quarantined += captured.quarantined


def _unsettled(agent: Agent) -> int:
    waiting = (State.PENDING, State.CONFIRMED)
    return sum(depth.messages.get(state, 0) for depth in agent.store.depth() for state in waiting)
