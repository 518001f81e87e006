"""What only the running agent knows of its flows: whether their sources answer, how far a first load is, who paused them.

An event listener beside the logs; its answers are copies.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from agent.errors import HuitongError
from agent.events import (
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
from agent.ports import Clock


@dataclass(frozen=True, slots=True)
class Loading:
    """How far a first load is. `total` is an estimate of the source, None when it has none."""

    done: int
    total: int | None
    eta_secs: float | None


@dataclass(frozen=True, slots=True)
class FlowNews:
    """What is going on in a flow right now. `by` and `why` are those of its pause, empty when it has none."""

    source_open: bool = False
    source_fault: str = ""
    by: str = ""
    why: str = ""
    loading: Loading | None = None


class Witness:
    """Hears every event; answers from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._flows: dict[str, FlowNews] = {}
        self._began: dict[str, tuple[float, int]] = {}  # when a load was first heard of, and how far it was
        self._disk = ""

    def __call__(self, event: Event) -> None:
        """Take note."""
        with self._lock:
            self._note(event)

    def flows(self) -> dict[str, FlowNews]:
        """Return what is going on, by flow."""
        with self._lock:
            return dict(self._flows)

    def disk(self) -> str:
        """Return why capture pauses for want of room, empty when there is room."""
        with self._lock:
            return self._disk

    def _note(self, event: Event) -> None:
        match event:
            case SourceOpened(flow=flow):
                self._change(flow, source_open=True, source_fault="")
            case SourceLost(flow=flow, error=error):
                self._change(flow, source_open=False, source_fault=_said(error))
            case FlowPaused(flow=flow, by=by, reason=reason):
                self._change(flow, by=by, why=reason)
            case ForkDetected(flow=flow):
                self._change(flow, by="fork", why="fork")
            case FlowResumed(flow=flow):
                self._change(flow, by="", why="")
            case FirstLoadAdvanced(flow=flow, done=done, total=total):
                self._change(flow, loading=Loading(done, total, self._eta(flow, done, total)))
            case FirstLoadCompleted(flow=flow):
                self._change(flow, loading=None)
            case DiskLow() | DiskRecovered():
                self._disk = event.path if isinstance(event, DiskLow) else ""
            case _:
                pass

    def _change(self, flow: str, **news: object) -> None:
        self._flows[flow] = replace(self._flows.get(flow, FlowNews()), **news)  # type: ignore[arg-type]

    def _eta(self, flow: str, done: int, total: int | None) -> float | None:
        """Return the seconds left at the average speed since we heard of the load first; what an earlier run did is apart."""
        now = self._clock.monotonic()
        since, before = self._began.setdefault(flow, (now, done))
        if total is None or done <= before or now <= since:
            return None
        return max(0.0, (total - done) * (now - since) / (done - before))


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, HuitongError) else type(error).__name__
