"""The limiter, health, metrics, maintenance and message types."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from agent.errors import BadMessage
from agent.events import BrokerConnected, BrokerLost, Events, ServiceFailed, ServiceStarted
from agent.testing.clock import FakeClock
from agent.testing.recorder import EventRecorder
from hub.errors import StoreUnavailable
from hub.events import ForkSeen, GapSeen, GroupStored, LeasesChanged, MessageRefused, MessageStored, StoreFound, StoreLost
from hub.health import HubHealth
from hub.ingest.limiter import RefusalLimiter
from hub.maintenance import Hole, Maintenance, Retention
from hub.metrics import HubMetrics
from hub.sequence import Closed
from hub.store.reading import FlowStatus
from hub.types import KnownType, MessageTypes


def test_the_limiter_fills_up_again() -> None:
    """A burst, then as many as the rate allows, never more than the burst."""
    clock = FakeClock()
    limiter = RefusalLimiter(clock, burst=3, per_minute=60)
    assert [limiter.allow("a", "x") for _ in range(5)] == [True, True, True, False, False]
    assert limiter.allow("a", "y")
    assert limiter.allow("b", "x")
    clock.advance(2)
    assert [limiter.allow("a", "x") for _ in range(3)] == [True, True, False]
    clock.advance(3600)
    assert [limiter.allow("a", "x") for _ in range(4)] == [True, True, True, False]


def test_types_tell_unknown_from_newer() -> None:
    """A schema of a known type in another version is an unknown version, anything else an unknown type."""
    types = MessageTypes([KnownType("a.b@1", "https://x.invalid/a.b/1", "", 1)])
    assert types.require("https://x.invalid/a.b/1").name == "a.b@1"
    for schema, reason in (("https://x.invalid/a.b/2", "unknown_version"), ("https://x.invalid/c/1", "unknown_type")):
        with pytest.raises(BadMessage) as caught:
            types.require(schema)
        assert caught.value.reason == reason


def test_health_knows_threads_store_and_broker() -> None:
    """Alive while every thread is; ready once store and broker answered, not while one of them is lost."""
    stuck: list[str] = []
    health = HubHealth(lambda: stuck)
    health(ServiceStarted("hub-store"))
    assert health.alive()[0]
    assert not health.ready()[0]
    for event in (StoreFound(), BrokerConnected("publish")):
        health(event)
    assert health.ready()[0]
    health(LeasesChanged(("bdc-01",), ()))
    assert not health.ready()[0]
    health(BrokerConnected("consume"))
    assert health.ready() == (True, health.ready()[1])
    health(BrokerLost("consume", RuntimeError("gone"), 1.0))
    assert not health.ready()[0]
    health(BrokerConnected("consume"))
    health(StoreLost(StoreUnavailable(why="down"), 1.0))
    assert health.ready()[1]["store"] != "open"
    assert health.alive()[0]
    stuck.append("hub-store")
    assert not health.alive()[0]
    stuck.clear()
    health(ServiceFailed("hub-store", RuntimeError("x")))
    assert not health.alive()[0]


def status(missing: bool, frozen: str = "") -> FlowStatus:
    closed = Closed(5, ((9, 12),)) if missing else Closed(12)
    return FlowStatus("bdc-01", "people", "e1", 1, closed, frozen, 1, 2, 3, 4, datetime(2026, 1, 1, tzinfo=UTC))


def test_metrics_count_and_show_flows() -> None:
    """Counters follow events, gauges the state of flows when scraped; a store that is away only empties the gauges."""
    metrics = HubMetrics()
    answers: list[object] = [[status(missing=True, frozen="fork")]]

    def flows() -> Sequence[FlowStatus]:
        answer = answers[-1]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]

    metrics.watch(flows)
    for event in (
        MessageStored("bdc-01", "people", "m", records=500, refused=2, duplicates=1, latency_secs=0.01),
        MessageRefused("bdc-01", "people", "m", "refused_final", "malformed", receipted=True),
        ForkSeen("bdc-01", "people", "e1", "why"),
        GroupStored(4, 500, 1000, 0.1),
        StoreLost(StoreUnavailable(why="x"), 1.0),
        LeasesChanged(("bdc-01", "tax-02"), ()),
    ):
        metrics(event)
    text = metrics.render().decode()
    for line in (
        'huitong_hub_messages_total{department="bdc-01",flow="people",outcome="partly_stored"} 1.0',
        'huitong_hub_records_total{department="bdc-01",fate="stored",flow="people"} 500.0',
        'huitong_hub_records_total{department="bdc-01",fate="duplicate",flow="people"} 1.0',
        'huitong_hub_refusals_total{code="malformed",department="bdc-01"} 1.0',
        'huitong_hub_missing_sequences{department="bdc-01",flow="people"} 3.0',
        'huitong_hub_flow_frozen{department="bdc-01",flow="people"} 1.0',
        "huitong_hub_store_up 0.0",
        "huitong_hub_departments 2.0",
    ):
        assert line in text
    answers.append(StoreUnavailable(why="down"))
    assert "missing_sequences{" not in metrics.render().decode()


class Shelf:
    """A store that remembers what it was asked to purge."""

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []

    def purge(self, **limits: object) -> int:
        self.asked.append(limits)
        return 0


def test_maintenance_tells_of_gaps_that_stay() -> None:
    """A gap is told once it has stayed, once an hour after that, and not when it closed in time."""
    clock, recorder, shelf = FakeClock(), EventRecorder(), Shelf()
    holes = [Hole("bdc-01", "people", "e1", 6, 3), Hole("bdc-01", "cars", "e1", 2, 1)]
    kept = timedelta(days=1)
    maintenance = Maintenance(
        store=shelf,  # type: ignore[arg-type]
        holes=lambda: list(holes),
        retention=Retention(kept, kept * 2, kept * 3),
        events=Events(recorder),
        clock=clock,
        gap_after_secs=600,
        every_secs=60,
    )
    maintenance.run_once()
    assert recorder.of(GapSeen) == []
    holes.pop()
    clock.advance(601)
    maintenance.run_once()
    assert recorder.of(GapSeen) == [GapSeen("bdc-01", "people", "e1", 3, 6)]
    clock.advance(61)
    maintenance.run_once()
    assert len(recorder.of(GapSeen)) == 1
    clock.advance(3600)
    maintenance.run_once()
    assert len(recorder.of(GapSeen)) == 2
    assert shelf.asked[-1]["bodies_before"] == clock.now() - kept
    assert shelf.asked[-1]["quarantine_before"] == clock.now() - 3 * kept
