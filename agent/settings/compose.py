"""The connectors' models put into agent.yaml: `connections:` by their `type`, `from:` by the fields it has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from importlib import import_module
from types import GenericAlias
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import create_model

from agent.i18n import N_
from agent.settings.agent_file import AgentFile, FlowSection
from agent.settings.base import Misfit, SettingsModel
from agent.settings.choice import OneOf, Pick
from agent.settings.codes import Note
from agent.settings.suggest import near
from agent.settings.translate import field_names
from agent.settings.types import ConnectionName, FlowId, named_type

M = TypeVar("M", bound=SettingsModel)
K = TypeVar("K", bound="SourceKind")


class SourceKind(Protocol):
    """What settings must know of a kind of source; `connectors.Kind` is one. Targets are `module:Class`."""

    @property
    def name(self) -> str:
        """Return the stable name of the kind."""
        ...

    @property
    def settings(self) -> str:
        """Return the model of its `from:` block."""
        ...

    @property
    def selector(self) -> tuple[str, ...]:
        """Return the fields that only its `from:` block has."""
        ...

    @property
    def connections(self) -> Mapping[str, str]:
        """Return the models of the connections it reads through, by their `type`."""
        ...


def agent_settings_model(kinds: Mapping[str, SourceKind]) -> type[AgentFile]:
    """Return the model of agent.yaml with these kinds of source."""
    connections = {name: resolve(target) for kind in kinds.values() for name, target in kind.connections.items()}
    sources = {name: resolve(kind.settings) for name, kind in kinds.items()}
    flow = _with(FlowSection, from_=Annotated[SettingsModel, OneOf(sources, _pick_source(kinds, sources))])
    connection = Annotated[SettingsModel, OneOf(_distinct(connections), _pick_connection(connections))]
    return _with(AgentFile, connections=_by_name(ConnectionName, connection), send=_by_name(FlowId, flow))


def _by_name(name: Any, value: Any) -> Any:
    return GenericAlias(Mapping, (name, value))


def kind_of(block: SettingsModel, kinds: Mapping[str, K]) -> K:
    """Return the kind whose settings a `from:` block is."""
    return next(kind for kind in kinds.values() if isinstance(block, resolve(kind.settings)))


def resolve(target: str) -> type[SettingsModel]:
    """Import `module:Class`."""
    module, _, name = target.partition(":")
    model: type[SettingsModel] = getattr(import_module(module), name)
    return model


def _distinct(connections: Mapping[str, type[SettingsModel]]) -> dict[str, type[SettingsModel]]:
    """Return each model once, under the first of its names."""
    seen: dict[str, type[SettingsModel]] = {}
    for name, model in connections.items():
        if model not in seen.values():
            seen[name] = model
    return seen


def _pick_connection(connections: Mapping[str, type[SettingsModel]]) -> Pick:
    named = {model: name for name, model in _distinct(connections).items()}

    def pick(value: object) -> str:
        if isinstance(value, SettingsModel):
            return named[type(value)]
        kind = _need_section(value).get("type")
        if kind is None:
            raise Misfit("HT-C011", on_key=True, details={"name": "type"}, hints=(_known(connections),)).error()
        if not isinstance(kind, str) or kind not in connections:
            guess = near(str(kind), connections)
            raise Misfit(
                "HT-C014", at=("type",), details={"value": kind}, alternatives=guess, hints=(_known(connections),)
            ).error()
        return named[connections[kind]]

    return pick


def _known(names: Collection[str]) -> Note:
    return Note(N_("possible values: {values}"), {"values": ", ".join(names)})


def _pick_source(kinds: Mapping[str, SourceKind], sources: Mapping[str, type[SettingsModel]]) -> Pick:
    fields = {name: frozenset(field_names(model)) for name, model in sources.items()}

    def exact(given: Collection[str], name: str) -> float:
        return 4 * sum(field in kinds[name].selector for field in given) + sum(field in fields[name] for field in given)

    def alike(given: Collection[str], name: str) -> float:
        return exact(given, name) + sum(0.5 for field in given if field not in fields[name] and near(field, fields[name], 1))

    def pick(value: object) -> str:
        if isinstance(value, SettingsModel):
            return next(name for name, model in sources.items() if type(value) is model)
        given = _need_section(value)
        for likeness in (exact, alike):
            (best, name), *others = sorted(((likeness(given, name), name) for name in sources), reverse=True)
            if best > 0 and all(score < best for score, _ in others):
                return name
        raise Misfit("HT-C026", on_key=True, hints=tuple(_required(name, sources[name]) for name in sources)).error()

    return pick


def _required(name: str, model: type[SettingsModel]) -> Note:
    required = [info.alias or field for field, info in model.model_fields.items() if info.is_required()]
    return Note(N_("{kind} needs: {fields}"), {"kind": name, "fields": ", ".join(required)})


def _need_section(value: object) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return value
    raise Misfit("HT-C013", details={"expected": Note(N_("a section with fields")), "actual": named_type(value)}).error()


def _with(base: type[M], **annotations: Any) -> type[M]:
    """Return `base` with other annotations for some of its fields; what else was declared of them stays."""
    fields: dict[str, Any] = {}
    for name, annotation in annotations.items():
        info = copy(base.model_fields[name])
        info.annotation = annotation
        fields[name] = (annotation, info)
    return create_model(base.__name__, __base__=base, __module__=base.__module__, __doc__=base.__doc__, **fields)
