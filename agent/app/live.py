"""Looking at sources without any effect: checks, previews, tables. Nothing here opens the store or sends anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


from agent.adapters.amqp.sink import AmqpSink
from agent.adapters.clock import SystemClock
from agent.adapters.store import engine
from agent.app.flows import FlowPlan, Surroundings, build_source, plan_flows
from agent.app.parts import broker_of, keys_of, secrets_of, trust_of
from agent.errors import HuitongError, NotFound
from agent.events import Events
from agent.i18n import N_
from agent.mapping.compile import compile_map
from agent.mapping.explain import Explained, explain_row
from agent.model import START, Batch, Counters, Finding, FlowState
from agent.ports import Source
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


def check_connections(settings: AgentFile) -> Sequence[Finding]:
    """Try everything the configuration names, read-only: each source as its flow would read it, keys, trust, broker."""
    environment = dict(os.environ)
    findings = [*_check_keys(settings), *_check_broker(settings, environment), *_check_engine()]
    for name, plan in plan_flows(settings).items():
        try:
            with closed_source(plan, settings, environment) as source:
                findings += [_named(name, finding) for finding in source.check()]
        except HuitongError as error:
            findings.append(_failed(name, error))
    return findings


def _check_keys(settings: AgentFile) -> Iterator[Finding]:
    try:
        keys_of(settings).signer()
        yield Finding("keys", ok=True, text=N_("there is a signing key"))
    except HuitongError as error:
        yield _failed("keys", error)
    try:
        known = len(trust_of(settings).keys())
        hint = N_("ask the hub for its file, then: huitong keys trust FILE")
        yield Finding("trust", ok=known > 0, text=N_("{count} keys of the hub are trusted"), hint=hint, details={"count": known})
    except HuitongError as error:
        yield _failed("trust", error)


def _check_broker(settings: AgentFile, environment: Mapping[str, str]) -> Iterator[Finding]:
    try:
        address = broker_of(settings, secrets_of(settings, environment))
        sink = AmqpSink(address, user_id=settings.broker_user, app_id="huitong")
        try:
            sink.open()
        finally:
            sink.close()
        yield Finding("broker", ok=True, text=N_("the message broker takes our login"))
    except HuitongError as error:
        yield _failed("broker", error)


def _check_engine() -> Iterator[Finding]:
    version = engine.engine_version()
    warning = engine.warning_for(version)
    shown = ".".join(map(str, version))
    yield Finding("store", ok=not warning, warning=True, text=warning or N_("SQLite {version}"), details={"version": shown})


def _named(flow: str, finding: Finding) -> Finding:
    return Finding(f"{flow}: {finding.subject}", finding.ok, finding.text, finding.hint, finding.details, finding.warning)


def _failed(subject: str, error: HuitongError) -> Finding:
    return Finding(subject, ok=False, text=error.text, hint=error.hint, details=error.details)


@dataclass(frozen=True, slots=True)
class Preview:
    """Real rows of a flow and what would be sent of them."""

    plan: FlowPlan
    batch: Batch
    rows: Sequence[Sequence[Explained]]


def preview(settings: AgentFile, flow: str, count: int) -> Preview:
    """Read rows as the flow would from its beginning, and map them. Raises NotFound and what the source raises."""
    plan = plan_flows(settings).get(flow)
    if plan is None:
        raise NotFound(what=N_("flow"), name=flow)
    with closed_source(plan, settings, dict(os.environ)) as source:
        state = FlowState(flow, "", "", START, Counters(), {})
        source.open(state)
        batch = source.read(START, count)
    mapper = compile_map(plan.spec, batch.columns)
    return Preview(plan, batch, [explain_row(mapper, row) for row in batch.rows[:count]])


