"""The delivery service on a real broker: threads, kills, full queues."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from agent.adapters.amqp.admin import AmqpAdmin
from agent.adapters.amqp.feed import AmqpFeed
from agent.adapters.amqp.sink import AmqpSink
from agent.adapters.clock import SystemClock
from agent.errors import HuitongError
from agent.events import BrokerConnected, BrokerLost, Events, FlowPaused, FlowResumed, MessageRefused
from agent.model import Append, Position, State
from agent.retry import Backoff
from agent.services.delivery import DeliveryLimits, DeliveryService
from agent.testing.memory_store import MemoryStore
from agent.testing.nodes.rabbitmq import RabbitmqNode
from agent.testing.recorder import EventRecorder
from agent.wire.parcel import parcel_of
from agent.wire.topology import inbound_queue, ingress_exchange
from tests.integration.amqp.conftest import Department, TlsNode, admit
from tests.unit.services.kit import message

pytestmark = [pytest.mark.integration, pytest.mark.faults]

QUICK = DeliveryLimits(reconnect=Backoff(0.1, 1.0), resend=Backoff(0.05, 0.2), slow=Backoff(0.2, 0.5))


class Agent:
    """A store and a running delivery service."""

    def __init__(self, department: Department, limits: DeliveryLimits = QUICK) -> None:
        self.recorder = EventRecorder()
        self.clock = SystemClock()
        self.store = MemoryStore(department.code, clock=self.clock)
        self.failed: list[BaseException] = []
        self.service = DeliveryService(
            sink=AmqpSink(department.agent, user_id=department.user, app_id="t"),
            store=self.store,
            parcel=lambda sent, tag: parcel_of(sent, department.code, tag),
            greet=list,
            events=Events(self.recorder),
            clock=self.clock,
            random=random.Random(1).random,
            limits=limits,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        self.service.start(lambda _name, error: self.failed.append(error))
        try:
            yield
        finally:
            assert self.service.stop(20)
        assert self.failed == []

    def capture(self, flow: str, count: int) -> list[str]:
        """Append messages, one transaction each, with the hint."""
        names = []
        for _ in range(count):
            state = self.store.open_flow(flow)
            first = state.counters.next_sequence
            one = message(flow, state.epoch, first, self.clock)  # type: ignore[arg-type]
            after = replace(state.counters, next_sequence=first + 1)
            self.store.append(
                Append(flow, state.epoch, "i", state.counters, after, Position(str(first)), messages=[one])
            ).result()
            self.service.wake(flow)
            names.append(one.message_id)
        return names


class Hub:
    """A consumer of the inbound queue that survives everything."""

    def __init__(self, department: Department) -> None:
        self.arrived: list[str] = []
        self._changed = threading.Condition()
        self._feed = AmqpFeed(department.hub, [inbound_queue(department.code)])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        is_open = False
        while not self._stopping.is_set():
            try:
                if not is_open:
                    self._feed.open()
                    is_open = True
                batch = self._feed.poll(0.2, 100)
                self._feed.ack([each.tag for each in batch])
            except HuitongError:
                is_open = False
                self._stopping.wait(0.1)
                continue
            with self._changed:
                self.arrived.extend(each.message_id or "" for each in batch)
                self._changed.notify_all()
        self._feed.close()

    def wait_for(self, names: set[str], timeout: float = 60.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: names <= set(self.arrived), timeout), (
                f"{len(names - set(self.arrived))} are missing"
            )

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()


def first_arrivals(arrived: list[str], flow: str) -> list[str]:
    return [name for name in dict.fromkeys(arrived) if name.startswith(f"{flow}-")]


def test_killing_the_broker_again_and_again_loses_nothing(private_rabbitmq: RabbitmqNode) -> None:
    """Two flows are captured while the broker dies and returns: all messages arrive, each flow in its order."""
    department = admit(private_rabbitmq)
    agent, hub = Agent(department), Hub(department)
    with agent.running():
        names: list[str] = []
        for _ in range(2):
            names += agent.capture("a", 150) + agent.capture("b", 150)
            private_rabbitmq.kill()
            names += agent.capture("a", 50) + agent.capture("b", 50)
            private_rabbitmq.start()
        hub.wait_for(set(names))
        agent.recorder.wait_until(lambda _: all(state is State.CONFIRMED for state in states(agent)))
    hub.close()
    for flow in "ab":
        assert first_arrivals(hub.arrived, flow) == [name for name in names if name.startswith(flow)]
    assert len(agent.recorder.of(BrokerLost)) >= 2


def states(agent: Agent) -> list[State]:
    return [record.state for record in agent.store.tables.messages.values()]


def test_a_full_queue_delays_and_loses_nothing(tls_node: TlsNode, department: Department) -> None:
    """With nobody consuming, the inbound queue fills up and refuses; once somebody does, everything arrives."""
    with AmqpAdmin(department.hub) as admin:
        admin.delete_queue(inbound_queue(department.code))
        admin.admit(department.code, inbound_bound=50)
    agent = Agent(department)
    with agent.running():
        names = agent.capture("a", 300)
        agent.recorder.wait_until(lambda _: len(agent.recorder.of(MessageRefused)) >= 3)
        hub = Hub(department)
        hub.wait_for(set(names))
        agent.recorder.wait_until(lambda _: all(state is State.CONFIRMED for state in states(agent)))
    hub.close()
    assert tls_node.node.running


def test_a_binding_taken_away_and_given_back(department: Department) -> None:
    """Without a route the flow pauses with an alarm and nothing is confirmed; with it all goes on by itself."""
    agent, hub = Agent(department), Hub(department)
    queue, exchange = inbound_queue(department.code), ingress_exchange(department.code)
    with AmqpAdmin(department.hub) as admin, agent.running():
        hub.wait_for(set(agent.capture("a", 10)))
        admin.unbind(queue, exchange)
        names = agent.capture("a", 30)
        agent.recorder.wait_for(FlowPaused)
        assert not set(names) & set(hub.arrived)
        admin.bind(queue, exchange)
        hub.wait_for(set(names))
        agent.recorder.wait_for(FlowResumed)
    hub.close()
    assert first_arrivals(hub.arrived, "a") == [f"a-{n}" for n in range(1, 41)]


def test_a_revoked_user_waits_and_returns(tls_node: TlsNode, department: Department) -> None:
    """A user deleted at the hub loses the connection and is refused; readmitted, it goes on."""
    agent, hub = Agent(department), Hub(department)
    restore = partial(tls_node.node.set_permissions, department.user, "/", "", r"^ing\.", "^rcpt")
    with agent.running():
        hub.wait_for(set(agent.capture("a", 5)))
        tls_node.node.delete_user(department.user)
        agent.recorder.wait_for(BrokerLost)
        names = agent.capture("a", 5)
        agent.recorder.wait_until(lambda _: len(agent.recorder.of(BrokerLost)) >= 2)
        tls_node.node.add_user(department.user, department.agent.password)
        restore()
        hub.wait_for(set(names))
        assert len(agent.recorder.of(BrokerConnected)) >= 2
    hub.close()
