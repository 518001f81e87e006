"""Everything `huitong status` shows, gathered in one place for text and JSON alike.

The running agent gathers it itself and hands it over its control socket; with none running the command gathers it from the
store. What is to be done is said once, at the root: a broker that is down is one line, not one for each flow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from agent import __version__
from agent.app.witness import FlowNews, Loading
from agent.model import Depth, FlowState, State
from agent.queries import Activity, Cause

if TYPE_CHECKING:
    from agent.adapters.store.reader import StoreReader
    from agent.settings.agent_file import AgentFile

OPEN: Final = "open"
CERTIFICATE_DAYS: Final = 60
"""So long before the end a certificate is worth a line."""


@dataclass(frozen=True, slots=True)
class FlowLine:
    """One flow on the status screen."""

    flow: str
    title: str
    state: str  # running | loading | waiting (its source does not answer) | paused | stopped | removed
    by: str  # who paused it: operator, source, hub, disk, fork
    why: str
    captured_today: int
    stored_today: int
    waiting: int  # messages without a receipt
    dead: int  # messages, records and input that need a person
    oldest_waiting_secs: float | None
    loading: Loading | None


@dataclass(frozen=True, slots=True)
class Todo:
    """One thing that needs a person. `kind` says which; the rest fills its sentence."""

    kind: str
    flow: str = ""
    title: str = ""
    why: str = ""
    count: int = 0


@dataclass(frozen=True, slots=True)
class Live:
    """What only the running agent knows."""

    connections: Mapping[str, str]  # publish, consume → open, or why not
    flows: Mapping[str, FlowNews]
    disk: str = ""
    stuck: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Overview:
    """The health of the agent on one screen."""

    agent: str
    title: str
    version: str
    running: bool
    answering: bool  # False: an agent holds the store, but its socket is silent
    connections: Mapping[str, str]
    last_receipt_secs: float | None
    flows: Sequence[FlowLine]
    causes: Sequence[Cause]
    todo: Sequence[Todo]
    stuck: Sequence[str] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Tell whether nothing needs a person."""
        return self.running and not self.todo


def gather(
    settings: AgentFile,
    reader: StoreReader | None,
    live: Live | None,
    now: datetime,
    *,
    certificates: Sequence[tuple[str, datetime]] = (),
    answering: bool = True,
) -> Overview:
    """Return the overview; `live` is None when no agent runs, `reader` when there is no store yet."""
    midnight = now.astimezone(ZoneInfo(settings.agent.timezone)).replace(hour=0, minute=0, second=0, microsecond=0)
    states = {state.flow: state for state in reader.flows()} if reader else {}
    depths = {depth.flow: depth for depth in reader.depth()} if reader else {}
    today = {one.flow: one for one in reader.activity(midnight, now + timedelta(hours=1))} if reader else {}
    causes = reader.causes() if reader else ()
    last = reader.last_receipt() if reader else None
    dead = _dead(causes)
    lines = [
        _line(name, settings, states.get(name), depths.get(name), today.get(name), dead.get(name, 0), live, now)
        for name in dict.fromkeys((*settings.send, *states))
    ]
    limit = settings.hub.receipt_within.total_seconds()
    return Overview(
        agent=settings.agent.id,
        title=settings.agent.title,
        version=__version__,
        running=live is not None or not answering,
        answering=answering,
        connections=dict(live.connections) if live else {},
        last_receipt_secs=(now - last).total_seconds() if last else None,
        flows=lines,
        causes=list(causes),
        todo=[
            *_of_process(live, answering=answering),
            *_of_flows(lines, depths, now, limit),
            *(Todo("dead", cause.flow, why=_cause(cause), count=cause.count) for cause in causes),
            *(Todo("gap", gap.flow, why=gap.kind, count=gap.number) for gap in (reader.gaps() if reader else ())),
            *_of_certificates(certificates, now),
        ],
        stuck=list(live.stuck) if live else [],
    )


def _line(  # noqa: PLR0913 - what is known of one flow, from everywhere
    name: str,
    settings: AgentFile,
    state: FlowState | None,
    depth: Depth | None,
    today: Activity | None,
    dead: int,
    live: Live | None,
    now: datetime,
) -> FlowLine:
    configured = settings.send.get(name)
    messages = depth.messages if depth else {}
    oldest = min((at for at in (depth.oldest_pending, depth.oldest_confirmed) if at), default=None) if depth else None
    news = live.flows.get(name, FlowNews()) if live else FlowNews()
    by, why = _pause(state, news)
    return FlowLine(
        flow=name,
        title=configured.title if configured else "",
        state=_state(state, news, configured=configured is not None, paused=bool(by), running=live is not None),
        by=by,
        why=why or news.source_fault,
        captured_today=today.captured if today else 0,
        stored_today=today.stored if today else 0,
        waiting=messages.get(State.PENDING, 0) + messages.get(State.CONFIRMED, 0),
        dead=dead,
        oldest_waiting_secs=max(0.0, (now - oldest).total_seconds()) if oldest else None,
        loading=news.loading,
    )


def _pause(state: FlowState | None, news: FlowNews) -> tuple[str, str]:
    """Return who paused a flow and why: what is stored counts more than what lasts for now."""
    if state is not None and state.paused:
        by, _, why = state.paused.partition(":")
        return by.split(" ")[0], why.strip() or by
    return news.by, news.why


def _state(state: FlowState | None, news: FlowNews, *, configured: bool, paused: bool, running: bool) -> str:
    if not configured:
        return "removed"
    if paused:
        return "paused"
    if not running:
        return "stopped"
    if news.source_fault:
        return "waiting"
    return "running" if state is not None and state.loaded else "loading"


def _dead(causes: Sequence[Cause]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for cause in causes:
        counts[cause.flow] = counts.get(cause.flow, 0) + cause.count
    return counts


def _cause(cause: Cause) -> str:
    return ": ".join(part for part in (cause.field, cause.code) if part)


# -- what needs a person ---------------------------------------------------------------------------------------------


def _of_process(live: Live | None, *, answering: bool) -> Iterator[Todo]:
    if live is None:
        yield Todo("silent" if not answering else "stopped")
        return
    faults = list(dict.fromkeys(why for why in live.connections.values() if why != OPEN))
    if faults:
        yield Todo("broker", why=faults[0])
    if live.disk:
        yield Todo("disk", why=live.disk)
    if live.stuck:
        yield Todo("stuck", why=", ".join(live.stuck))


def _of_flows(lines: Sequence[FlowLine], depths: Mapping[str, Depth], now: datetime, limit_secs: float) -> Iterator[Todo]:
    for line in lines:
        title = line.title or line.flow
        if line.state == "paused" and line.by != "disk":  # the disk is one line for all
            yield Todo(f"paused-{line.by}", line.flow, title, line.why)
        elif line.state == "waiting":
            yield Todo("source", line.flow, title, line.why)
        depth = depths.get(line.flow)
        oldest = depth.oldest_confirmed if depth else None
        if depth is not None and oldest is not None and (now - oldest).total_seconds() > limit_secs:
            yield Todo("overdue", line.flow, title, count=depth.messages.get(State.CONFIRMED, 0))


def _of_certificates(certificates: Sequence[tuple[str, datetime]], now: datetime) -> Iterator[Todo]:
    for name, expiry in certificates:
        days = (expiry - now) // timedelta(days=1)
        if days < CERTIFICATE_DAYS:
            yield Todo("certificate" if days >= 0 else "certificate-over", title=name, count=int(days))
