"""A flow's settings turned into what its capture needs: a source, a map, a place on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any, Final

from agent.adapters.secrets import Secrets
from agent.errors import Conflict, SettingsError
from agent.events import Events
from agent.i18n import N_
from agent.mapping.spec import FieldSpec, MapSpec, OnFail
from agent.model import Quarantined
from agent.ports import Clock, Source
from agent.services.schedule import Cron, Every
from agent.settings.agent_file import AgentFile, FlowSection
from agent.settings.compose import kind_of
from agent.settings.map_fields import SAME_NAMES, ConstantField, MappedField
from agent.settings.message_types import MessageField, MessageTypeFile, load_message_types
from connectors import BUILTIN
from connectors.wiring import Wiring

UNKNOWN_SCHEMA: Final = "urn:huitong:message-type:{code}:{version}"
"""The dataschema of a type that is not defined here; the hub, which may know it, decides."""


@dataclass(frozen=True, slots=True)
class FlowPlan:
    """What the settings say of one flow."""

    flow: str
    section: FlowSection
    spec: MapSpec
    subject: str
    dataschema: str

    @property
    def source_settings(self) -> Any:
        """The `from:` block."""
        return self.section.from_

    @property
    def schedule(self) -> Every | Cron:
        """When to look at the source."""
        cron = getattr(self.source_settings, "cron", None)
        if cron is not None:
            return Cron(str(cron))
        every: timedelta = self.source_settings.every
        return Every(every.total_seconds())

    @property
    def audit(self) -> Cron | None:
        """When to compare the source with what was captured; None for a source that has no such thing."""
        by_status = getattr(self.source_settings, "status", None) is not None
        expression = None if by_status else getattr(self.source_settings, "audit", None)
        return None if expression is None else Cron(str(expression))


def plan_flows(settings: AgentFile) -> dict[str, FlowPlan]:
    """Return the plan of every configured flow. Raises SettingsError."""
    types = load_message_types(settings.message_types)
    return {name: _plan(name, section, types, settings.agent.timezone) for name, section in settings.send.items()}


def _plan(name: str, section: FlowSection, types: Mapping[str, MessageTypeFile], timezone: str) -> FlowPlan:
    definition = types.get(section.message)
    unknown = UNKNOWN_SCHEMA.format(code=section.message_code, version=section.message_version)
    return FlowPlan(
        flow=name,
        section=section,
        spec=map_spec(section, definition, timezone),
        subject=definition.resource if definition else section.message_code,
        dataschema=definition.dataschema if definition else unknown,
    )


def map_spec(section: FlowSection, definition: MessageTypeFile | None, timezone: str) -> MapSpec:
    """Return the map of a flow; what the message type asks of a field holds for it too."""
    asked = definition.fields if definition else {}
    forms = {} if section.map == SAME_NAMES else section.map
    fields = tuple(_field(target, form, asked.get(target)) for target, form in forms.items())
    if section.map == SAME_NAMES:
        fields = tuple(_field(target, target, field) for target, field in asked.items() if field.required)
    return MapSpec(fields=fields, key=section.from_.key, same_names=section.map == SAME_NAMES, timezone=timezone)


def _field(target: str, form: str | MappedField | ConstantField, asked: MessageField | None) -> FieldSpec:
    if isinstance(form, ConstantField):
        return FieldSpec(target, const=form.const)
    given = form if isinstance(form, MappedField) else MappedField.of(from_=form)
    converted = given.codes is not None or given.date is not None or given.decimal is not None
    return FieldSpec(
        target,
        given.from_,
        codes=given.code_table(),
        date=given.date,
        decimal=given.decimal,
        integer=not converted and asked is not None and asked.type == "integer",
        boolean=not converted and asked is not None and asked.type == "boolean",
        trim=given.trim,
        required=given.required or (asked is not None and asked.required and given.default is None),
        default=given.default,
        check=given.check or (asked.check if asked else None),
        max_length=asked.max_length if asked else None,
        on_fail=OnFail(given.on_fail),
    )


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every source of one agent shares."""

    settings: AgentFile
    clock: Clock
    events: Events
    secrets: Secrets
    rejected: Callable[[str, str], Iterable[Quarantined]] = lambda _flow, _prefix: ()


def build_source(plan: FlowPlan, around: Surroundings) -> Source:
    """Return the unopened source of a flow. Imports its connector, and nothing of the others."""
    module, _, name = kind_of(plan.source_settings, BUILTIN).source.partition(":")
    source: Source = getattr(import_module(module), name).build(wire(plan, around))
    return source


def installation_of(plan: FlowPlan, around: Surroundings, account: str) -> Any:
    """Return what the DBA has to create for a flow: mode, and the statements `create` and `drop`.

    Raises SourceUnavailable, SourceRefused; Conflict for a flow whose source needs nothing.
    """
    target = kind_of(plan.source_settings, BUILTIN).ddl
    if not target:
        raise Conflict(N_("flow {flow} does not read a database: nothing has to be created for it"), flow=plan.flow)
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)(wire(plan, around), account)


def wire(plan: FlowPlan, around: Surroundings) -> Wiring[Any]:
    """Return what the source of a flow is built from. Raises SettingsError."""
    block = plan.source_settings
    connection = getattr(block, "connection", None)
    if connection is not None and connection not in around.settings.connections:
        raise SettingsError(N_("there is no connection named {name}"), name=connection)
    return Wiring(
        flow=plan.flow,
        settings=block,
        clock=around.clock,
        events=around.events,
        time_zone=around.settings.agent.timezone,
        language=around.settings.agent.language,
        connection=around.settings.connections[connection] if connection is not None else None,
        columns=_columns(plan),
        secret=lambda name: around.secrets.get(name).reveal(),
        rejected=lambda prefix: around.rejected(plan.flow, prefix),
    )


def _columns(plan: FlowPlan) -> tuple[str, ...]:
    """Return the columns to read: what the map needs and what the operator adds; none means all."""
    needed = plan.spec.columns()
    extra: tuple[str, ...] = getattr(plan.source_settings, "columns", ())
    return tuple(dict.fromkeys((*needed, *extra))) if needed else ()
