"""Real rows of a flow, mapped and shown. Nothing here opens the store, writes anywhere or sends anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from agent.adapters.clock import SystemClock
from agent.app.flows import FlowPlan, Surroundings, build_source, plan_flows
from agent.app.places import secrets_of
from agent.errors import NotFound
from agent.events import Events
from agent.i18n import N_
from agent.mapping.compile import compile_map
from agent.mapping.explain import Explained, explain_row
from agent.model import START, Batch, Counters, Finding, FlowState
from agent.ports import Moded, Sampled, Source
from agent.settings.agent_file import AgentFile


@contextmanager
def closed_source(plan: FlowPlan, settings: AgentFile, environment: Mapping[str, str]) -> Iterator[Source]:
    """Yield the unopened source of a flow and close it at the end."""
    around = Surroundings(settings, SystemClock(), Events(), secrets_of(settings, environment))
    source = build_source(plan, around)
    try:
        yield source
    finally:
        source.close()


@dataclass(frozen=True, slots=True)
class Preview:
    """Real rows of a flow and what would be sent of them."""

    plan: FlowPlan
    batch: Batch
    rows: Sequence[Sequence[Explained]]
    mode: Finding | None = None  # how the source sees changes, where there are several ways


def preview(settings: AgentFile, environment: Mapping[str, str], flow: str, count: int) -> Preview:
    """Read rows as the flow would from its beginning, and map them. Raises NotFound and what the source raises."""
    plan = plan_flows(settings).get(flow)
    if plan is None:
        raise NotFound(N_("there is no flow named {flow}"), hint=N_("list them: huitong flow list"), flow=flow)
    with closed_source(plan, settings, environment) as source:
        batch = _look(source, flow, count)
        mode = source.mode() if isinstance(source, Moded) else None
    rows = batch.rows[:count]
    if not rows:
        return Preview(plan, batch, (), mode)
    mapper = compile_map(plan.spec, batch.columns)
    return Preview(plan, batch, [explain_row(mapper, row) for row in rows], mode)


def _look(source: Source, flow: str, count: int) -> Batch:
    if isinstance(source, Sampled):
        return source.sample(count)
    source.open(FlowState(flow, "", "", START, Counters(), {}))
    batch = source.read(START, count)
    while not batch.rows and not batch.unreadable and batch.more:  # rows without a key, for example, are a page of their own
        batch = source.read(batch.position, count)
    return batch
