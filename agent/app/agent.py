"""The agent put together: settings in, a supervisor out. Nothing here decides anything; it only says who gets what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final

from agent import __version__
from agent.adapters.clock import SystemClock
from agent.adapters.control import Caller, ControlServer
from agent.adapters.logs import EventLog, hear_libraries
from agent.adapters.metrics import AgentMetrics
from agent.adapters.sd_notify import Notifier, Watchdog
from agent.adapters.store.sqlite import SqliteStore
from agent.app.calls import desk_calls
from agent.app.certificates import expiries
from agent.app.composer import Composer
from agent.app.face import Face
from agent.app.overview import Live, Overview, gather, reason_of
from agent.app.places import open_store
from agent.app.trust import Trust
from agent.app.witness import Witness
from agent.errors import HuitongError
from agent.events import CallFailed, Events, FlowPaused
from agent.model import WalkKind, WalkOrder
from agent.services.capture import CaptureService
from agent.services.greeting import Greeting, Identity
from agent.services.health import HealthService, HealthState
from agent.services.receipts import ReceiptsService
from agent.services.schedule import Schedule
from agent.services.service import Managed
from agent.services.supervisor import Supervisor
from agent.settings.agent_file import AgentFile
from agent.wire.control import HubHello

STUCK_SECS: Final = 45.0


@dataclass(frozen=True, slots=True)
class Observers:
    """Everything that listens to events."""

    events: Events
    metrics: AgentMetrics
    watchdog: Watchdog
    health: HealthState
    witness: Witness

    def live(self) -> Live:
        """Return what only the running agent knows."""
        return Live(self.witness.links(), self.witness.flows(), self.witness.disk(), self.watchdog.stuck())


@dataclass(frozen=True, slots=True)
class Agent:
    """A composed agent. `run` blocks until it is asked to stop or something fails."""

    supervisor: Supervisor
    store: SqliteStore
    trust: Trust
    captures: Mapping[str, CaptureService]
    observers: Observers

    def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Run everything. Raises what failed first."""
        self.supervisor.run(started)


def observe(log: BinaryIO, level: str, *listeners: Callable[[object], None]) -> Observers:
    """Return the event bus with its listeners; what libraries have to say joins the log."""
    clock = SystemClock()
    metrics, watchdog, witness = AgentMetrics(clock), Watchdog(clock, STUCK_SECS), Witness(clock)
    health = HealthState(watchdog.stuck)
    lines = EventLog(log, clock, level=level)
    hear_libraries(lines)
    return Observers(Events(lines, metrics, watchdog, health, witness, *listeners), metrics, watchdog, health, witness)


@contextmanager
def composed(
    settings: AgentFile, environment: Mapping[str, str], observers: Observers, *, capturing: bool = True
) -> Iterator[Agent]:
    """Compose an agent and let go of its store at the end. Not `capturing`, the flows are there but nobody runs them.

    Takes the instance lock; raises Busy, SettingsError, SecretMissing, StoreError, Denied.
    """
    store = open_store(settings, observers.events)
    try:
        parts = Composer(settings, environment, observers.events, store)
    except BaseException:
        store.close()
        raise
    try:
        parts.restore().finish()  # what an operator began and a crash interrupted
        yield _compose(parts, environment, observers, capturing=capturing)
    finally:
        parts.close()


def _compose(parts: Composer, environment: Mapping[str, str], observers: Observers, *, capturing: bool) -> Agent:
    settings, store, events = parts.settings, parts.store, parts.events
    parts.trust.ring()  # an agent that can verify nothing must not begin
    greeting: Greeting
    receipts: ReceiptsService

    def learn(hello: HubHello) -> None:
        if parts.trust.learn(hello.keys):
            receipts.keys_changed()

    delivery = parts.delivery(lambda: greeting.hello())  # noqa: PLW0108 - the two know each other
    greeting = Greeting(
        Identity(store.instance, __version__),
        log=store,
        write=parts.write_control,
        say=delivery.say,
        look_again=delivery.look_again,
        heard=learn,
        events=events,
    )
    receipts = parts.receipts(delivery, greeting)
    captures = {flow: parts.capture(flow, delivery.wake) for flow in parts.plans}
    services: list[Managed] = [parts.maintenance(delivery), delivery, receipts]
    if capturing:
        plans = {flow: plan.schedule for flow, plan in parts.plans.items()}
        audits = {flow: plan.audit for flow, plan in parts.plans.items() if plan.audit is not None}
        services += [
            *captures.values(),
            Schedule(lambda flow: captures[flow].tick(), plans, settings.agent.timezone),
            Schedule(lambda flow: _audit(captures[flow], events), audits, settings.agent.timezone, "audits"),
        ]
        if settings.agent.listen:
            services.insert(0, _health(settings.agent.listen, parts, observers))
    calls = {
        **desk_calls(parts.desk(captures, delivery)),
        "overview": lambda _caller, _args: _overview(parts, observers),
        "keys.reload": lambda caller, _args: _reload(caller, receipts.keys_changed),
    }
    server = ControlServer(settings.agent.control_socket, calls, lambda call, error: events.emit(CallFailed(call, error)))
    services.append(Face(server, Notifier(environment), observers.watchdog.stuck))
    observers.metrics.watch_outbox(store.depth, parts.reader.causes, lambda: _size_of(store))
    observers.metrics.watch_certificates(expiries(settings))
    _tell_pauses(store, events)
    return Agent(Supervisor(services, events, parts.clock), store, parts.trust, captures, observers)


def _audit(capture: CaptureService, events: Events) -> None:
    """Have a flow compared with its source; one that does not run now is compared the next time."""

    def tell(begun: Future[None]) -> None:
        error = begun.exception()
        if isinstance(error, HuitongError):
            events.emit(CallFailed("flow.compare", error))

    capture.walk(WalkOrder(WalkKind.COMPARE)).add_done_callback(tell)


def _health(listen: str, parts: Composer, observers: Observers) -> HealthService:
    host, _, port = listen.rpartition(":")
    return HealthService(
        host=host.strip("[]"),
        port=int(port),
        health=observers.health.health,
        metrics=observers.metrics.render,
        events=parts.events,
        clock=parts.clock,
    )


def _overview(parts: Composer, observers: Observers) -> Overview:
    certificates = expiries(parts.settings)
    return gather(parts.settings, parts.reader, observers.live(), parts.clock.now(), certificates=certificates)


def _reload(_caller: Caller, changed: Callable[[], None]) -> object:
    """Verify again what was kept for want of a key; the folders of keys are looked at by themselves."""
    changed()
    return {"done": True}


def _size_of(store: SqliteStore) -> int:
    return sum(path.stat().st_size for path in store.path.parent.glob(f"{store.path.name}*"))


def _tell_pauses(store: SqliteStore, events: Events) -> None:
    """Let everybody who listens know what an earlier run left paused."""
    for state in store.flows():
        if state.paused:
            events.emit(FlowPaused(state.flow, *reason_of(state.paused)))
