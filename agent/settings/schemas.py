"""The configuration files that have a JSON Schema and a field reference, by name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from agent.settings.base import SettingsModel
from agent.settings.compose import SourceKind, agent_settings_model, resolve
from agent.settings.message_types import MessageTypeFile

HUB_MODEL = "hub.settings:HubFile"
"""The hub's file is declared by the hub, which this package knows nothing of; it is looked up by name."""


def file_models(kinds: Mapping[str, SourceKind]) -> dict[str, type[SettingsModel]]:
    """Return name → model of every configuration file of this installation."""
    models: dict[str, type[SettingsModel]] = {"agent": agent_settings_model(kinds)}
    with suppress(ModuleNotFoundError):  # an agent-only installation has none
        models["hub"] = resolve(HUB_MODEL)
    models["message-type"] = MessageTypeFile
    return models
