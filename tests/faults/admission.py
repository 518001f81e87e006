"""What the people of hub and department do with commands before anything can flow."""

from __future__ import annotations

from pathlib import Path

from agent.adapters.amqp.admin import AmqpAdmin
from agent.adapters.clock import SystemClock
from agent.adapters.keys import KeyStore, TrustStore
from agent.settings.load import load
from agent.testing.nodes.rabbitmq import BrokerSpace
from hub.admission import Login, admit
from hub.app import broker_of, location_of, secrets_of
from hub.management import Management
from hub.model import Department, DepartmentState
from hub.settings import HubFile
from hub.store.migrate import migrate
from hub.store.opening import open_store
from hub.store.registry import SqlRegistry


def introduce(folder: Path, hub_yaml: Path, code: str, hub: str, space: BrokerSpace) -> str:
    """Make keys, exchange them, admit the department; return its password at the broker."""
    hub_keys, own_keys = KeyStore(folder / "hub-keys"), KeyStore(folder / "keys")
    hub_keys.new()
    own_keys.new()
    TrustStore(folder / "trust").pin(hub_keys.public(hub))
    settings = load([hub_yaml], HubFile).value
    secrets = secrets_of(settings, {})
    store = open_store(location_of(settings, secrets))
    try:
        migrate(store)
        with AmqpAdmin(broker_of(settings, secrets)) as topology:
            admitted = admit(
                Department(code, "", "", DepartmentState.ADMITTED, SystemClock().now()),
                [own_keys.public(code)],
                registry=SqlRegistry(store),
                broker=topology,
                management=Management(space.management_url, space.user, space.password),
                vhost=space.vhost,
                login=Login(),
                by="test",
            )
    finally:
        store.close()
    return admitted.password
