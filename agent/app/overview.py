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

import msgspec

from agent import __version__
from agent.app.witness import Fault, FlowNews, Loading
from agent.model import Depth, FlowState, State
from agent.queries import AUDIT, Activity, Audit, Cause, CauseKind

if TYPE_CHECKING:
    from agent.adapters.store.reader import StoreReader
    from agent.settings.agent_file import AgentFile

CERTIFICATE_DAYS: Final = 60
"""So long before the end a certificate is worth a line."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What the last comparison with the source found, and when: rows missed before, gone, and held back, of all."""

    secs_ago: float
    covered: int
    late: int
    deleted: int
    held: int


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
    compared: Compared | None = None


@dataclass(frozen=True, slots=True)
class Todo:
    """One thing that needs a person. `kind` says which; the rest fills its sentence."""

    kind: str
    flow: str = ""
    title: str = ""
    why: str = ""
    count: int = 0
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """What only the running agent knows."""

    links: Mapping[str, Fault | None]  # publish, consume → None when open
    flows: Mapping[str, FlowNews] = field(default_factory=dict)
    disk: str = ""
    stuck: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Overview:
    """The health of the agent on one screen. `answering` is False when an agent holds the store but its socket is silent."""

    agent: str
    title: str
    version: str
    running: bool
    answering: bool
    connected: Mapping[str, bool]  # publish, consume
    last_receipt_secs: float | None
    flows: list[FlowLine]
    todo: list[Todo]

    @property
    def healthy(self) -> bool:
        """Tell whether nothing needs a person."""
        return self.running and not self.todo


@dataclass(frozen=True, slots=True)
class _Known:
    """What the store says, by flow."""

    states: Mapping[str, FlowState] = field(default_factory=dict)
    depths: Mapping[str, Depth] = field(default_factory=dict)
    today: Mapping[str, Activity] = field(default_factory=dict)
    dead: Mapping[str, int] = field(default_factory=dict)
    audits: Mapping[str, Audit] = field(default_factory=dict)


def gather(
    settings: AgentFile,
    reader: StoreReader | None,
    live: Live | None,
    now: datetime,
    *,
    certificates: Sequence[tuple[str, datetime]] = (),
    answering: bool = True,
) -> Overview:
    """Return the overview; `live` is None when no agent runs or answers, `reader` when there is no store yet."""
    causes = reader.causes() if reader else ()
    known = _known(settings, reader, causes, now) if reader else _Known()
    last = reader.last_receipt() if reader else None
    lines = [_line(name, settings, known, live, now) for name in dict.fromkeys((*settings.send, *known.states))]
    return Overview(
        agent=settings.agent.id,
        title=settings.agent.title,
        version=__version__,
        running=live is not None or not answering,
        answering=answering,
        connected={role: fault is None for role, fault in live.links.items()} if live else {},
        last_receipt_secs=(now - last).total_seconds() if last else None,
        flows=lines,
        todo=[
            *_of_process(live, answering=answering),
            *_of_flows(lines, known, live, now, settings.hub.receipt_within),
            *(_of_cause(cause, reader) for cause in causes if reader),
            *(Todo("gap", gap.flow, why=gap.kind, count=gap.number) for gap in (reader.gaps() if reader else ())),
            *_of_certificates(certificates, now),
        ],
    )


def _known(settings: AgentFile, reader: StoreReader, causes: Sequence[Cause], now: datetime) -> _Known:
    midnight = now.astimezone(ZoneInfo(settings.agent.timezone)).replace(hour=0, minute=0, second=0, microsecond=0)
    dead: dict[str, int] = {}
    for cause in causes:
        dead[cause.flow] = dead.get(cause.flow, 0) + cause.count
    return _Known(
        states={state.flow: state for state in reader.flows()},
        depths={depth.flow: depth for depth in reader.depth()},
        today={one.flow: one for one in reader.activity(midnight, now + timedelta(hours=1))},
        dead=dead,
        audits={flow: msgspec.json.decode(text, type=Audit) for flow, text in reader.facts(AUDIT).items() if text},
    )


def _line(name: str, settings: AgentFile, known: _Known, live: Live | None, now: datetime) -> FlowLine:
    configured, depth, today = settings.send.get(name), known.depths.get(name), known.today.get(name)
    messages = depth.messages if depth else {}
    oldest = min((at for at in (depth.oldest_pending, depth.oldest_confirmed) if at), default=None) if depth else None
    news = live.flows.get(name, FlowNews()) if live else FlowNews()
    state = known.states.get(name)
    by, why = _pause(state, news)
    return FlowLine(
        flow=name,
        title=configured.title if configured else "",
        state=_state(state, news, configured=configured is not None, paused=bool(by), running=live is not None),
        by=by,
        why=why,
        captured_today=today.captured if today else 0,
        stored_today=today.stored if today else 0,
        waiting=messages.get(State.PENDING, 0) + messages.get(State.CONFIRMED, 0),
        dead=known.dead.get(name, 0),
        oldest_waiting_secs=max(0.0, (now - oldest).total_seconds()) if oldest else None,
        loading=news.loading,
        compared=_compared(known.audits.get(name), now),
    )


def _compared(audit: Audit | None, now: datetime) -> Compared | None:
    if audit is None:
        return None
    secs_ago = max(0.0, (now - datetime.fromisoformat(audit.ended_at)).total_seconds())
    return Compared(secs_ago, audit.covered, audit.late, audit.deleted, audit.held)


def reason_of(stored: str) -> tuple[str, str]:
    """Return (who, why) of the stored reason of a pause: `operator NAME: WHY`, `source: KIND`, `fork`."""
    head, _, why = stored.partition(":")
    by, _, name = head.partition(" ")
    return by, (f"{why.strip()} ({name})" if name else why.strip()) or by


def _pause(state: FlowState | None, news: FlowNews) -> tuple[str, str]:
    """Return who paused a flow and why: what is stored counts more than what lasts for now."""
    return reason_of(state.paused) if state is not None and state.paused else (news.by, news.why)


def _state(state: FlowState | None, news: FlowNews, *, configured: bool, paused: bool, running: bool) -> str:
    if not configured:
        return "removed"
    if paused:
        return "paused"
    if not running:
        return "stopped"
    if news.source is not None:
        return "waiting"
    return "running" if state is not None and state.loaded else "loading"


# -- what needs a person ---------------------------------------------------------------------------------------------


def _of_process(live: Live | None, *, answering: bool) -> Iterator[Todo]:
    if live is None:
        yield Todo("stopped" if answering else "silent")
        return
    fault = next((fault for fault in live.links.values() if fault is not None), None)
    if fault is not None:
        yield Todo("broker", fault=fault)
    if live.disk:
        yield Todo("disk", why=live.disk)
    if live.stuck:
        yield Todo("stuck", why=", ".join(live.stuck))


def _of_flows(
    lines: Sequence[FlowLine], known: _Known, live: Live | None, now: datetime, receipt_within: timedelta
) -> Iterator[Todo]:
    for line in lines:
        title = line.title or line.flow
        news = live.flows.get(line.flow, FlowNews()) if live else FlowNews()
        if line.state == "paused" and line.by != "disk":  # the disk is one line for all
            yield Todo(f"paused-{line.by}", line.flow, title, line.why, fault=news.pause)
        elif line.state == "waiting":
            yield Todo("source", line.flow, title, fault=news.source)
        depth = known.depths.get(line.flow)
        oldest = depth.oldest_confirmed if depth else None
        if depth is not None and oldest is not None and now - oldest > receipt_within:
            yield Todo("overdue", line.flow, title, count=depth.messages.get(State.CONFIRMED, 0))


def _of_cause(cause: Cause, reader: StoreReader) -> Todo:
    why = ": ".join(part for part in (cause.field, cause.code) if part)
    return Todo("dead", cause.flow, why=why, count=cause.count, fault=fault_of(cause, reader))


def fault_of(cause: Cause, reader: StoreReader) -> Fault:
    """Return what a group of dead letters has in common; for input in the words of the first of them."""
    first = reader.items(cause.flow, cause.code, limit=1) if cause.kind is CauseKind.INPUT else ()
    if not first:
        return Fault("", code=cause.code)
    details = {name: str(value) for name, value in first[0].input.details.items()}
    return Fault(first[0].input.text, code=cause.code, details=details)


def _of_certificates(certificates: Sequence[tuple[str, datetime]], now: datetime) -> Iterator[Todo]:
    for name, expiry in certificates:
        days = (expiry - now) // timedelta(days=1)
        if days < CERTIFICATE_DAYS:
            yield Todo("certificate" if days >= 0 else "certificate-over", title=name, count=int(days))
