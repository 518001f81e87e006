"""What only the running agent knows: whether broker and sources answer, how far a first load is, who paused what.

An event listener beside the logs; its answers are copies. What went wrong is kept as catalogue keys, because who asks may
speak another language than the log.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent.errors import HuitongError
from agent.events import (
    BrokerConnected,
    BrokerLost,
    DiskLow,
    DiskRecovered,
    Event,
    FirstLoadAdvanced,
    FirstLoadCompleted,
    FlowPaused,
    FlowResumed,
    ForkDetected,
    SourceLost,
    SourceOpened,
)
from agent.i18n import N_
from agent.ports import Clock


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong, in catalogue keys; `code` is empty for what is not an error of ours."""

    text: str
    hint: str = ""
    code: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: Exception) -> Fault:
        """Take an error apart."""
        if not isinstance(error, HuitongError):
            return cls(type(error).__name__)
        return cls(error.text, error.hint, error.code, {name: str(value) for name, value in error.details.items()})


NOT_YET = Fault(N_("not connected yet"))


@dataclass(frozen=True, slots=True)
class Loading:
    """How far a first load is. `total` is an estimate of the source, None when it has none."""

    done: int
    total: int | None
    eta_secs: float | None


@dataclass(frozen=True, slots=True)
class FlowNews:
    """What is going on in a flow right now. `by`, `why` and `pause` are those of its pause, empty when it has none."""

    source: Fault | None = None
    by: str = ""
    why: str = ""
    pause: Fault | None = None
    loading: Loading | None = None


class Witness:
    """Hears every event; answers from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._flows: dict[str, FlowNews] = {}
        self._began: dict[str, tuple[float, int]] = {}  # when a load was first heard of, and how far it was
        self._links: dict[str, Fault | None] = {"publish": NOT_YET, "consume": NOT_YET}
        self._disk = ""

    def __call__(self, event: Event) -> None:
        """Take note."""
        with self._lock:
            self._note(event)

    def flows(self) -> dict[str, FlowNews]:
        """Return what is going on, by flow."""
        with self._lock:
            return dict(self._flows)

    def links(self) -> dict[str, Fault | None]:
        """Return the connections to the broker, by role: None when it is open."""
        with self._lock:
            return dict(self._links)

    def disk(self) -> str:
        """Return the path that has no room left, empty when there is room."""
        with self._lock:
            return self._disk

    def _note(self, event: Event) -> None:
        match event:
            case BrokerConnected(role=role):
                self._links[role] = None
            case BrokerLost(role=role, error=error):
                self._links[role] = Fault.of(error)
            case DiskLow() | DiskRecovered():
                self._disk = event.path if isinstance(event, DiskLow) else ""
            case FlowPaused(flow=flow, by=by, reason=reason, error=pause):
                self._change(flow, by=by, why=reason, pause=Fault.of(pause) if pause else None)
            case ForkDetected(flow=flow):
                self._change(flow, by="fork", why="fork", pause=None)
            case FlowResumed(flow=flow):
                self._change(flow, by="", why="", pause=None)
            case _:
                self._note_source(event)

    def _note_source(self, event: Event) -> None:
        match event:
            case SourceOpened(flow=flow):
                self._change(flow, source=None)
            case SourceLost(flow=flow, error=error):
                self._change(flow, source=Fault.of(error))
            case FirstLoadAdvanced(flow=flow, done=done, total=total):
                self._change(flow, loading=Loading(done, total, self._eta(flow, done, total)))
            case FirstLoadCompleted(flow=flow):
                self._change(flow, loading=None)
            case _:
                pass

    def _change(self, flow: str, **news: Any) -> None:
        self._flows[flow] = replace(self._flows.get(flow, FlowNews()), **news)

    def _eta(self, flow: str, done: int, total: int | None) -> float | None:
        """Return the seconds left at the average speed since we heard of the load first; what an earlier run did is apart."""
        now = self._clock.monotonic()
        since, before = self._began.setdefault(flow, (now, done))
        if total is None or done <= before or now <= since:
            return None
        return max(0.0, (total - done) * (now - since) / (done - before))
