"""The composition root of a hub process: settings → objects → runner."""

from __future__ import annotations

import os
import random
import secrets as random_octets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent import __version__
from agent.adapters.amqp.address import BrokerAddress, Tls
from agent.adapters.clock import SystemClock
from agent.adapters.keys import KeyStore
from agent.adapters.secrets import Secrets
from agent.events import Event, Events
from agent.ports import Sink
from agent.wire.control import JwkPublic, WireLimits
from agent.wire.keys import jwk_of
from agent.wire.limits import Limits
from hub.admission import check_delivery_limit
from hub.health import HealthServer, HubHealth
from hub.ingest.clerk import Clerk
from hub.ingest.controls import HubFacts
from hub.ingest.flusher import Flusher
from hub.ingest.handoff import Handoff
from hub.ingest.ingest import Ingest
from hub.ingest.intake import Intake, QueueFeed
from hub.ingest.limiter import RefusalLimiter
from hub.ingest.prepare import Preparer
from hub.ingest.storer import Storer
from hub.maintenance import Maintenance, Retention
from hub.management import Management
from hub.metrics import HubMetrics
from hub.publisher import Publisher
from hub.roster import Roster
from hub.runner import Runner, Worker
from hub.settings import HubFile, PostgresStoreSection
from hub.store.migrate import migrate
from hub.store.opening import Location, Sqlite, leases_of, open_store
from hub.store.postgres import Postgres
from hub.store.reading import HubReader
from hub.store.registry import SqlRegistry
from hub.store.sql import SqlStore
from hub.types import MessageTypes, read_types

HANDOFF_BYTES: Final = 128 << 20
REFUSAL_BURST: Final = 60

Listener = Callable[[Event], None]


# -- single parts ----------------------------------------------------------------------------------------------------


def secrets_of(settings: HubFile, environment: Mapping[str, str]) -> Secrets:
    """Return where this hub's secrets are: credentials of the service manager first, then its own folder."""
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    return Secrets(settings.hub.secrets_dir, Path(credentials) if credentials else None)


def keys_of(settings: HubFile) -> KeyStore:
    """Return the hub's own signing keys."""
    return KeyStore(settings.hub.keys_dir)


def location_of(settings: HubFile, secrets: Secrets) -> Location:
    """Return where the store is. Raises SecretMissing."""
    section = settings.store
    if not isinstance(section, PostgresStoreSection):
        return Sqlite(section.path)
    return Postgres(
        host=section.host,
        port=section.port,
        database=section.database,
        user=section.user,
        password=secrets.get(section.password.name).reveal() if section.password is not None else None,
        sslmode=section.tls,
        sslrootcert=str(section.ca) if section.ca is not None else None,
    )


def broker_of(settings: HubFile, secrets: Secrets) -> BrokerAddress:
    """Return how to reach the broker. Raises SecretMissing."""
    section = settings.broker
    return BrokerAddress.parse(
        section.url,
        user=section.user,
        password=secrets.get(section.password.name).reveal() if section.password is not None else "",
        tls=Tls(ca=section.ca, cert=section.cert, key=section.key) if section.url.startswith("amqps:") else None,
    )


def management_of(settings: HubFile, secrets: Secrets) -> Management | None:
    """Return the broker's management interface, None when none is configured. Raises SecretMissing."""
    section = settings.broker.management
    if section is None:
        return None
    return Management(section.url, section.user, secrets.get(section.password.name).reveal(), section.ca)


def facts_of(settings: HubFile, keys: KeyStore) -> HubFacts:
    """Return what the hub says of itself in its hello: its limits and all its public keys."""
    code = settings.hub.code
    public = [keys.public(code, key.kid) for key in keys.list()]
    return HubFacts(WireLimits.of(limits_of(settings)), tuple(JwkPublic(**_jwk_members(jwk_of(key))) for key in public))


def _jwk_members(jwk: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in jwk.items() if name in JwkPublic.__struct_fields__}


def limits_of(settings: HubFile) -> Limits:
    """Return what the hub reads."""
    ingest = settings.ingest
    return Limits(body_bytes=ingest.body, decompressed_bytes=ingest.decompressed, records=ingest.records)


def types_of(settings: HubFile) -> MessageTypes:
    """Return the message types the hub knows. Raises SettingsError."""
    return read_types(settings.message_types, settings.ingest.check, settings.hub.language)


# -- the whole -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class HubProcess:
    """Everything one process of a hub is made of; `feed` and `sink` connect when they are opened."""

    settings: HubFile
    store: SqlStore
    keys: KeyStore
    types: MessageTypes
    feed: Callable[[], QueueFeed]
    sink: Sink
    health: HubHealth
    metrics: HubMetrics
    events: Events
    check_broker: Callable[[], None] = lambda: None
    random: Callable[[], float] = random.random

    def runner(self) -> Runner:
        """Return the runner of all its threads; they start in this order and stop in the reverse one."""
        clock = SystemClock()
        roster = self._roster(clock)
        handoff = Handoff(max_items=2 * self.settings.ingest.group, max_bytes=HANDOFF_BYTES)
        publisher = Publisher(
            store=self.store,
            sink=self.sink,
            departments=lambda: roster.departments,
            events=self.events,
            clock=clock,
            random=self.random,
        )
        intake = self._intake(handoff, roster, clock)

        def committed() -> None:
            intake.wake()
            publisher.wake()

        roster.changed = committed
        flusher = Flusher(handoff, self.store.flush, committed=committed)
        storer = Storer(
            handoff,
            self._ingest(clock),
            lambda: roster.fences,
            group_messages=self.settings.ingest.group,
            committed=committed,
            flusher=flusher,
        )
        workers: list[Worker] = [roster, self._maintenance(clock), publisher, flusher, storer, intake]
        if self.settings.hub.listen is not None:
            workers.insert(0, HealthServer(self.settings.hub.listen, self.health, self.metrics.render))
        return Runner(workers, self.events, clock)

    def _roster(self, clock: SystemClock) -> Roster:
        return Roster(
            owner=f"{socket.gethostname()}:{os.getpid()}:{random_octets.token_hex(4)}",
            leases=leases_of(self.store),
            registry=SqlRegistry(self.store),
            prepare=lambda: migrate(self.store),
            events=self.events,
            clock=clock,
            ttl_secs=self.settings.ingest.lease.total_seconds(),
        )

    def _intake(self, handoff: Handoff, roster: Roster, clock: SystemClock) -> Intake:
        preparer = Preparer(
            code=self.settings.hub.code,
            limits=limits_of(self.settings),
            types=self.types,
            trust=lambda: roster.trust,
            pack=self.store.pack,
            clock=clock,
        )
        return Intake(
            feed=self.feed,
            preparer=preparer,
            handoff=handoff,
            duties=roster,
            probe=self.store.probe,
            events=self.events,
            clock=clock,
            random=self.random,
        )

    def _ingest(self, clock: SystemClock) -> Ingest:
        code, per_minute = self.settings.hub.code, self.settings.ingest.refusals_per_minute
        return Ingest(
            store=self.store,
            clerk=Clerk(code, self.keys.signer(), clock, random_octets.token_bytes),
            facts=facts_of(self.settings, self.keys),
            limiter=RefusalLimiter(clock, burst=REFUSAL_BURST, per_minute=per_minute),
            events=self.events,
            clock=clock,
        )

    def _maintenance(self, clock: SystemClock) -> Maintenance:
        kept = self.settings.retention
        return Maintenance(
            store=self.store,
            holes=HubReader(self.store).holes,
            retention=Retention(bodies=kept.bodies, posts=kept.answers, quarantine=kept.quarantine),
            events=self.events,
            clock=clock,
            check_broker=self.check_broker,
            gap_after_secs=self.settings.ingest.gap_alarm.total_seconds(),
        )


def build(settings: HubFile, environment: Mapping[str, str], health: HubHealth, *listeners: Listener) -> HubProcess:
    """Make a hub process. Nothing connects yet; raises what is wrong with settings, secrets, keys or the lock."""
    from agent.adapters.amqp.admin import AmqpAdmin  # noqa: PLC0415 - as below
    from agent.adapters.amqp.feed import AmqpFeed  # noqa: PLC0415 - only a running hub pays for pika
    from agent.adapters.amqp.sink import AmqpSink  # noqa: PLC0415 - as above

    secrets, keys, types = secrets_of(settings, environment), keys_of(settings), types_of(settings)
    keys.signer()  # a hub that cannot sign must not begin
    address = broker_of(settings, secrets)
    store = open_store(location_of(settings, secrets))
    metrics = HubMetrics()
    metrics.watch(HubReader(store).flows)
    prefetch = settings.ingest.prefetch
    events = Events(health, metrics, *listeners)
    management = management_of(settings, secrets)

    def check_broker() -> None:
        with AmqpAdmin(address) as admin:
            check_delivery_limit(admin, management, address.vhost, events)

    return HubProcess(
        settings=settings,
        store=store,
        keys=keys,
        types=types,
        feed=lambda: AmqpFeed(address, prefetch=prefetch),
        sink=AmqpSink(address, user_id=address.user, app_id=f"huitong/{__version__}"),
        health=health,
        metrics=metrics,
        events=events,
        check_broker=check_broker,
    )
