"""Everything `huitong status` shows, gathered in one place for text and JSON alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from agent import __version__
from agent.adapters.store.reader import StoreReader
from agent.model import Depth, FlowState, State
from agent.queries import Activity, Cause
from agent.settings.agent_file import AgentFile


@dataclass(frozen=True, slots=True)
class FlowLine:
    """One flow on the status screen."""

    flow: str
    title: str
    state: str  # running | paused | loading | removed | stopped
    why: str
    captured_today: int
    stored_today: int
    waiting: int  # messages without a receipt
    dead: int  # messages and records that need a person
    oldest_waiting_secs: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """The health of the agent on one screen."""

    agent: str
    title: str
    version: str
    running: bool
    connections: Mapping[str, bool]  # role or flow → open, as the running agent says
    last_receipt_secs: float | None
    flows: Sequence[FlowLine]
    causes: Sequence[Cause]
    gaps: int
    alarms: Sequence[str]

    @property
    def healthy(self) -> bool:
        """Nothing needs a person."""
        return self.running and not self.causes and not self.gaps and not self.alarms and not any(f.state == "paused" for f in self.flows)


def gather(settings: AgentFile, reader: StoreReader | None, live: Mapping[str, object] | None, now: datetime) -> Overview:
    """Return the overview. `live` is the running agent's own word, None when none runs."""
    midnight = now.astimezone(ZoneInfo(settings.agent.timezone)).replace(hour=0, minute=0, second=0, microsecond=0)
    states = {state.flow: state for state in reader.flows()} if reader else {}
    depths = {depth.flow: depth for depth in reader.depth()} if reader else {}
    today = {one.flow: one for one in reader.activity(midnight, now + timedelta(hours=1))} if reader else {}
    last = reader.last_receipt() if reader else None
    names = [*settings.send, *(flow for flow in states if flow not in settings.send)]
    return Overview(
        agent=settings.agent.id,
        title=settings.agent.title,
        version=__version__,
        running=live is not None,
        connections=_connections(live),
        last_receipt_secs=(now - last).total_seconds() if last else None,
        flows=[_line(name, settings, states.get(name), depths.get(name), today.get(name), now, running=live is not None) for name in names],
        causes=reader.causes() if reader else (),
        gaps=len(reader.gaps()) if reader else 0,
        alarms=_alarms(live),
    )


def _line(
    name: str,
    settings: AgentFile,
    state: FlowState | None,
    depth: Depth | None,
    today: Activity | None,
    now: datetime,
    *,
    running: bool,
) -> FlowLine:
    configured = settings.send.get(name)
    messages = depth.messages if depth else {}
    oldest = min((at for at in (depth.oldest_pending, depth.oldest_confirmed) if at), default=None) if depth else None
    return FlowLine(
        flow=name,
        title=configured.title if configured else "",
        state=_state(state, configured is not None, running=running),
        why=state.paused if state else "",
        captured_today=today.captured if today else 0,
        stored_today=today.stored if today else 0,
        waiting=messages.get(State.PENDING, 0) + messages.get(State.CONFIRMED, 0),
        dead=messages.get(State.DEAD, 0) + (depth.quarantined if depth else 0),
        oldest_waiting_secs=(now - oldest).total_seconds() if oldest else None,
    )


def _state(state: FlowState | None, configured: bool, *, running: bool) -> str:  # noqa: FBT001 - two facts about one flow
    if not configured:
        return "removed"
    if state is not None and state.paused:
        return "paused"
    if not running:
        return "stopped"
    return "running" if state is not None and state.loaded else "loading"


def _connections(live: Mapping[str, object] | None) -> dict[str, bool]:
    found = live.get("connections") if live else None
    return {str(name): bool(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _alarms(live: Mapping[str, object] | None) -> list[str]:
    found = live.get("alarms") if live else None
    return [str(text) for text in found] if isinstance(found, list) else []
