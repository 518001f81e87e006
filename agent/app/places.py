"""Where an agent keeps its things, and the store there. Light to import: what opens a store loads it when it is called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.adapters.secrets import Secrets
from agent.errors import NotFound
from agent.i18n import N_
from agent.settings.types import SecretName

if TYPE_CHECKING:
    from agent.adapters.store.reader import StoreReader
    from agent.adapters.store.sqlite import SqliteStore
    from agent.events import Events
    from agent.settings.agent_file import AgentFile

STORE_FILE: Final = "outbox.db"


def store_path(settings: AgentFile) -> Path:
    """Return the file of the outbox."""
    return settings.agent.state_dir / STORE_FILE


def learned_trust(settings: AgentFile) -> Path:
    """Return the folder of the hub's keys that the hub itself announced.

    Not the operators' own folder: under the hardened unit the agent cannot write to /etc, and should not.
    """
    return settings.agent.state_dir / "announced-keys"


def secrets_of(settings: AgentFile, environment: Mapping[str, str]) -> Secrets:
    """Return where this agent's secrets are: credentials of the service manager first, then its own folder."""
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    return Secrets(settings.agent.secrets_dir, Path(credentials) if credentials else None)


def secret_names(settings: AgentFile) -> list[str]:
    """Return the names of the secrets the settings refer to."""
    sections = (settings.agent, settings.hub, *settings.connections.values())
    found = (getattr(section, name) for section in sections for name in type(section).model_fields)
    return sorted({value.name for value in found if isinstance(value, SecretName)})


def open_store(settings: AgentFile, events: Events) -> SqliteStore:
    """Open the outbox for writing and take the instance lock. Raises Busy, SettingsError, StoreError, Denied."""
    from agent.adapters.clock import SystemClock  # noqa: PLC0415 - only who writes pays for the database library
    from agent.adapters.store.sqlite import SqliteStore  # noqa: PLC0415 - as above

    return SqliteStore.open(
        store_path(settings),
        agent_id=settings.agent.id,
        clock=SystemClock(),
        events=events,
        random_bytes=os.urandom,
        low_water_bytes=settings.agent.disk_low_water,
    )


def open_reader(settings: AgentFile) -> StoreReader:
    """Open the outbox for reading; close it afterwards. Raises NotFound when this agent has never run, Denied, StoreError."""
    from agent.adapters.store.reader import StoreReader  # noqa: PLC0415 - only who reads pays for the database library

    path = store_path(settings)
    if not path.exists():
        raise NotFound(N_("this agent has no store yet: {path}"), hint=N_("start it first: huitong run"), path=path)
    return StoreReader(path)
