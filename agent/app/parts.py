"""Single parts of an agent, made from its settings."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.adapters.amqp.address import BrokerAddress, Tls
from agent.adapters.clock import SystemClock
from agent.adapters.keys import KeyStore, TrustStore
from agent.adapters.secrets import Secrets
from agent.adapters.store.sqlite import SqliteStore
from agent.events import Events
from agent.settings.agent_file import AgentFile

STORE_FILE: Final = "outbox.db"


def secrets_of(settings: AgentFile, environment: Mapping[str, str]) -> Secrets:
    """Return where this agent's secrets are: credentials of the service manager first, then its own folder."""
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    return Secrets(settings.agent.secrets_dir, Path(credentials) if credentials else None)


def keys_of(settings: AgentFile) -> KeyStore:
    """Return the agent's own signing keys."""
    return KeyStore(settings.agent.keys_dir)


def trust_of(settings: AgentFile) -> TrustStore:
    """Return the pinned public keys of the hub."""
    return TrustStore(settings.hub.trust)


def store_path(settings: AgentFile) -> Path:
    """Return the file of the outbox."""
    return settings.agent.state_dir / STORE_FILE


def open_store(settings: AgentFile, events: Events) -> SqliteStore:
    """Open the outbox for writing and take the instance lock. Raises Busy, SettingsError, StoreError, Denied."""
    return SqliteStore.open(
        store_path(settings),
        agent_id=settings.agent.id,
        clock=SystemClock(),
        events=events,
        random_bytes=os.urandom,
        low_water_bytes=settings.agent.disk_low_water,
    )


def broker_of(settings: AgentFile, secrets: Secrets) -> BrokerAddress:
    """Return how to reach the broker and prove who we are. Raises SecretMissing."""
    hub = settings.hub
    key = _as_file(secrets.get(hub.key.name).octets(), settings) if hub.key is not None else None
    return BrokerAddress.parse(
        hub.url,
        user=settings.broker_user,
        password=secrets.get(hub.password.name).reveal() if hub.password is not None else "",
        tls=Tls(ca=hub.ca, cert=hub.cert, key=key),
    )


def _as_file(key: bytes, settings: AgentFile) -> Path:
    """Put a private key where the TLS library, which reads only files, finds it: beside the store, for us alone."""
    settings.agent.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = settings.agent.state_dir / "broker-key.pem"
    descriptor, name = tempfile.mkstemp(dir=settings.agent.state_dir)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
    Path(name).rename(path)
    return path
