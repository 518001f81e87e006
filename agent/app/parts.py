"""Single parts of an agent that prove who it is and whom it believes, made from its settings."""

from __future__ import annotations

from agent.adapters.amqp.address import BrokerAddress, Tls
from agent.adapters.keys import KeyStore, TrustStore
from agent.adapters.secrets import Secrets
from agent.app.places import learned_trust
from agent.app.trust import Trust
from agent.events import Events
from agent.ports import Clock
from agent.settings.agent_file import AgentFile


def keys_of(settings: AgentFile) -> KeyStore:
    """Return the agent's own signing keys."""
    return KeyStore(settings.agent.keys_dir)


def trust_of(settings: AgentFile, clock: Clock, events: Events) -> Trust:
    """Return the public keys that may sign what the hub says."""
    return Trust(
        settings.hub.code,
        pinned=TrustStore(settings.hub.trust),
        announced=TrustStore(learned_trust(settings)),
        folders=(settings.hub.trust, learned_trust(settings)),
        clock=clock,
        events=events,
    )


def broker_of(settings: AgentFile, secrets: Secrets) -> BrokerAddress:
    """Return how to reach the broker and prove who we are. Raises SecretMissing, Denied, SettingsError."""
    hub = settings.hub
    return BrokerAddress.parse(
        hub.url,
        user=settings.broker_user,
        password=secrets.get(hub.password.name).reveal() if hub.password is not None else "",
        tls=Tls(ca=hub.ca, cert=hub.cert, key=secrets.path(hub.key.name) if hub.key is not None else None),
    )
