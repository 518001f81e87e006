"""The agent put together: settings in, a supervisor out. Nothing here decides anything; it only says who gets what."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Final

from agent import __version__
from agent.adapters.amqp.feed import AmqpFeed
from agent.adapters.amqp.sink import AmqpSink
from agent.adapters.clock import SystemClock
from agent.adapters.control import ControlServer
from agent.adapters.keys import TrustStore
from agent.adapters.logs import EventLog
from agent.adapters.metrics import AgentMetrics
from agent.adapters.sd_notify import Notifier, Watchdog
from agent.adapters.store.reader import StoreReader
from agent.adapters.store.sqlite import SqliteStore
from agent.app.calls import desk_calls
from agent.app.flows import FlowPlan, Surroundings, build_source, plan_flows
from agent.app.parts import broker_of, keys_of, open_store, secrets_of, store_path, trust_of
from agent.events import Events
from agent.mapping.compile import compile_map
from agent.model import Quarantined
from agent.ports import Clock
from agent.services.capture import CapturePlan, CaptureService, Quarantine
from agent.services.capture_messages import BatchLimits
from agent.services.delivery import DeliveryLimits, DeliveryService
from agent.services.desk import Desk
from agent.services.greeting import Greeting, Identity
from agent.services.health import HealthService, HealthState
from agent.services.maintenance import MaintenanceService, Upkeep
from agent.services.receipts import Letterbox, ReceiptsService
from agent.services.schedule import Schedule
from agent.services.service import Managed
from agent.services.supervisor import Supervisor
from agent.settings.agent_file import AgentFile
from agent.wire.control import Control, ControlWriter, HubHello, Query
from agent.wire.envelope import MessageWriter
from agent.wire.event import department_source
from agent.wire.keys import public_from_jwk
from agent.wire.parcel import parcel_of
from agent.wire.signature import KeyState, Signer
from agent.wire.topology import receipt_queue

PREFETCH: Final = 256
STUCK_SECS: Final = 45.0


@dataclass(frozen=True, slots=True)
class Observers:
    """Everything that listens to events."""

    events: Events
    metrics: AgentMetrics
    watchdog: Watchdog
    health: HealthState


@dataclass(frozen=True, slots=True)
class Agent:
    """A composed agent. `run` blocks until it is asked to stop or something fails."""

    supervisor: Supervisor
    store: SqliteStore
    captures: Mapping[str, CaptureService]
    desk: Desk
    observers: Observers
    close: Callable[[], None]

    def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Run everything. Raises what failed first."""
        self.supervisor.run(started)


def observe(clock: Clock, log: BinaryIO, level: str) -> Observers:
    """Return the event bus with its listeners."""
    metrics, watchdog = AgentMetrics(clock), Watchdog(clock, STUCK_SECS)
    health = HealthState(watchdog.stuck)
    return Observers(Events(EventLog(log, clock, level=level), metrics, watchdog, health), metrics, watchdog, health)


class Composer:
    """Builds the parts of one agent around its open store."""

    def __init__(self, settings: AgentFile, environment: Mapping[str, str], observers: Observers, store: SqliteStore) -> None:
        self.settings, self.observers, self.store = settings, observers, store
        self.events = observers.events
        self.clock = SystemClock()
        self.secrets = secrets_of(settings, environment)
        self.signer: Signer = keys_of(settings).signer()
        self.reader = StoreReader(store_path(settings))
        self.plans = plan_flows(settings)
        self.around = Surroundings(settings, self.clock, self.events, self.secrets, self._rejected)

    def _rejected(self, flow: str, prefix: str) -> Iterator[Quarantined]:
        """Yield the quarantined items of a flow whose token begins with a text."""
        after = 0
        while page := self.reader.items(flow, closed=True, after=after, limit=500):
            yield from (item.input for item in page if item.input.token.startswith(prefix))
            after = page[-1].number

    def writer(self, plan: FlowPlan, epoch: str) -> MessageWriter:
        """Return what writes the messages of a flow."""
        settings = self.settings
        return MessageWriter(
            sender=settings.agent.id,
            receiver=settings.hub.code,
            flow=plan.flow,
            epoch=epoch,
            subject=plan.subject,
            dataschema=plan.dataschema,
            signer=self.signer,
            clock=self.clock,
            random_bytes=os.urandom,
            compression_level=settings.delivery.compression_level,
        )

    def write_control(self, control: Control, flow: str, epoch: str) -> Any:
        """Return a signed control message."""
        own, hub = self.settings.agent.id, self.settings.hub.code
        writer = ControlWriter(own, hub, department_source(own, flow), self.signer, self.clock, os.urandom)
        return writer.write(control, flow, epoch)

    def capture(self, plan: FlowPlan, notify: Callable[[str], None]) -> CaptureService:
        """Return the capture of one flow."""
        delivery = self.settings.delivery
        about = CapturePlan(
            flow=plan.flow,
            sender=self.settings.agent.id,
            spec=plan.spec,
            limits=BatchLimits(delivery.batch_records, delivery.batch_bytes),
            page_rows=getattr(plan.source_settings, "page_rows", 2000),
        )
        return CaptureService(
            about,
            source=build_source(plan, self.around),
            log=self.store,
            writer_for=lambda epoch: self.writer(plan, epoch),
            events=self.events,
            clock=self.clock,
            random=random.random,
            notify=lambda: notify(plan.flow),
            quarantine=Quarantine(self.reader.item, lambda: self._open_items(plan.flow)),
        )

    def _open_items(self, flow: str) -> Iterator[Quarantined]:
        after = 0
        while page := self.reader.items(flow, after=after, limit=500):
            yield from (item.input for item in page)
            after = page[-1].number

    def delivery(self, greet: Callable[[], Sequence[Any]]) -> DeliveryService:
        """Return the sending side."""
        settings = self.settings
        sink = AmqpSink(broker_of(settings, self.secrets), user_id=settings.broker_user, app_id=f"huitong/{__version__}")
        return DeliveryService(
            sink=sink,
            store=self.store,
            parcel=lambda message, tag: parcel_of(message, settings.agent.id, tag),
            greet=greet,
            events=self.events,
            clock=self.clock,
            random=random.random,
            limits=DeliveryLimits(unconfirmed=settings.delivery.window, unsettled=settings.delivery.unsettled),
        )

    def receipts(self, delivery: DeliveryService, greeting: Greeting, trust: TrustStore) -> ReceiptsService:
        """Return the receiving side."""
        feed = AmqpFeed(broker_of(self.settings, self.secrets), [receipt_queue(self.settings.agent.id)], prefetch=PREFETCH)
        return ReceiptsService(
            feed=feed,
            outbox=self.store,
            letterbox=Letterbox(trust.ring, self.settings.agent.id),
            delivery=delivery,
            listener=greeting,
            events=self.events,
            clock=self.clock,
            random=random.random,
        )

    def maintenance(self, delivery: DeliveryService) -> MaintenanceService:
        """Return the upkeep."""
        settings = self.settings
        return MaintenanceService(
            outbox=self.store,
            ask=lambda ids: delivery.say(self.write_control(Query(list(ids)), "", "")),
            chores=(self.store.room,),
            events=self.events,
            clock=self.clock,
            upkeep=Upkeep(settings.agent.retention.total_seconds() / 86_400, settings.hub.receipt_within.total_seconds()),
        )


def compose(settings: AgentFile, environment: Mapping[str, str], log: BinaryIO, *, capturing: bool) -> Agent:
    """Put an agent together. Takes the instance lock; raises Busy, SettingsError, SecretMissing, StoreError, Denied."""
    observers = observe(SystemClock(), log, settings.agent.log_level)
    store = open_store(settings, observers.events)
    try:
        return _compose(Composer(settings, environment, observers, store), environment, capturing=capturing)
    except BaseException:
        store.close()
        raise


def _compose(parts: Composer, environment: Mapping[str, str], *, capturing: bool) -> Agent:
    settings, store, events = parts.settings, parts.store, parts.events
    trust = trust_of(settings)
    greeting: Greeting
    delivery = parts.delivery(lambda: greeting.hello())
    receipts: ReceiptsService
    greeting = Greeting(
        Identity(store.instance, __version__),
        log=store,
        write=parts.write_control,
        say=delivery.say,
        look_again=delivery.look_again,
        heard=lambda hello: _learn_keys(trust, settings.hub.code, hello, lambda: receipts.keys_changed()),
        events=events,
    )
    receipts = parts.receipts(delivery, greeting, trust)
    captures = {name: parts.capture(plan, delivery.wake) for name, plan in parts.plans.items()}
    schedule = Schedule(
        lambda flow: captures[flow].tick(), {name: plan.schedule for name, plan in parts.plans.items()}, settings.agent.timezone
    )
    desk = Desk(
        store=store, files=parts.reader, captures=captures, delivery=delivery, write=parts.write_control, events=events
    )
    services: list[Managed] = [parts.maintenance(delivery), delivery, receipts]
    if capturing:
        services += [*captures.values(), schedule]
    if settings.agent.listen:
        services.insert(0, _health(settings.agent.listen, parts))
    services.append(_Face(parts, desk, Notifier(environment)))
    parts.observers.metrics.watch_outbox(store.depth, lambda: _size_of(store))
    return Agent(Supervisor(services, events, parts.clock), store, captures, desk, parts.observers, _closer(parts))


def _closer(parts: Composer) -> Callable[[], None]:
    def close() -> None:
        parts.reader.close()
        parts.store.close()

    return close


def _health(listen: str, parts: Composer) -> HealthService:
    host, _, port = listen.rpartition(":")
    observers = parts.observers
    return HealthService(
        host=host.strip("[]"),
        port=int(port),
        health=observers.health.health,
        metrics=observers.metrics.render,
        events=parts.events,
        clock=parts.clock,
    )


def _size_of(store: SqliteStore) -> int:
    return sum(path.stat().st_size for path in store.path.parent.glob(f"{store.path.name}*"))


def _learn_keys(trust: TrustStore, hub: str, hello: HubHello, changed: Callable[[], None]) -> None:
    """Pin keys the hub announces: the hello itself was signed with a key we trust already."""
    for jwk in hello.keys:
        members = {"kty": jwk.kty, "crv": jwk.crv, "x": jwk.x, "kid": jwk.kid, "alg": jwk.alg} | ({"y": jwk.y} if jwk.y else {})
        trust.pin(public_from_jwk(members, hub, KeyState.ACTIVE))
    if hello.keys:
        changed()


class _Face:
    """What the agent shows to the service manager and to the command line; a `service.Managed`, started last."""

    name = "face"

    def __init__(self, parts: Composer, desk: Desk, notifier: Notifier) -> None:
        self._notifier, self._watchdog = notifier, parts.observers.watchdog
        self._server = ControlServer(parts.settings.agent.control_socket, {**desk_calls(desk), "live": self._live})
        self._health = parts.observers.health
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="watchdog", daemon=True)

    def start(self, failed: Callable[[str, BaseException], None]) -> None:
        """Listen and say ready."""
        self._server.start()
        self._thread.start()
        self._notifier.ready()

    def stop(self, within_secs: float) -> bool:
        """Say that we leave, and stop listening. The watchdog has nothing to say any more."""
        self._notifier.stopping()
        self._ended.set()
        self._server.stop()
        return True

    def _feed(self) -> None:
        every = (self._notifier.watchdog_secs or 60.0) / 4
        while not self._ended.wait(every):
            if not self._watchdog.stuck():
                self._notifier.alive()

    def _live(self, _caller: object, _args: dict[str, object]) -> object:
        health = self._health.health()
        known = asdict(health)
        return {
            **known,
            "connections": {name: state == "open" for name, state in health.connections.items()},
            "alarms": [health.disk] if health.disk else [],
            "version": __version__,
        }


@contextmanager
def composed(settings: AgentFile, environment: Mapping[str, str], *, capturing: bool = True) -> Iterator[Agent]:
    """Compose an agent and let go of its store at the end. Not `capturing`, the flows are there but nobody runs them."""
    agent = compose(settings, environment, sys.stderr.buffer, capturing=capturing)
    try:
        yield agent
    finally:
        agent.close()
