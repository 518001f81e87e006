"""Prometheus metrics of the exchange node, fed by events and, when scraped, by the state of its flows.

Labels are departments and flows, outcomes and codes: never a message id, a key or a person's data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent import __version__
from agent.errors import HuitongError
from agent.events import BrokerConnected, BrokerLost, Event
from hub.events import (
    ForkSeen,
    GroupStored,
    LeasesChanged,
    MessageRefused,
    MessageRepeated,
    MessageStored,
    ReceiptsPublished,
    StoreFound,
    StoreLost,
)
from hub.store.reading import FlowStatus

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class HubMetrics:
    """Event listener and renderer of `/metrics`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        r = self.registry
        self._messages = Counter("huitong_hub_messages_total", "Messages judged.", ["department", "flow", "outcome"], registry=r)
        self._records = Counter("huitong_hub_records_total", "Records by fate.", ["department", "flow", "fate"], registry=r)
        self._refused = Counter("huitong_hub_refusals_total", "Messages refused.", ["department", "code"], registry=r)
        self._forks = Counter("huitong_hub_forks_total", "Second histories seen.", ["department", "flow"], registry=r)
        self._posts = Counter("huitong_hub_posts_published_total", "Receipts and answers published.", registry=r)
        self._latency = Histogram(
            "huitong_hub_commit_latency_seconds", "From the arrival of a message to its commit.", buckets=_BUCKETS, registry=r
        )
        self._group = Histogram(
            "huitong_hub_group_messages", "Messages in a transaction.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=r
        )
        self._store = Gauge("huitong_hub_store_up", "1 while the store can be used.", registry=r)
        self._broker = Gauge("huitong_hub_broker_up", "1 while the connection is open.", ["role"], registry=r)
        self._leases = Gauge("huitong_hub_departments", "Departments this process works for.", registry=r)
        Gauge("huitong_build_info", "Version of this program.", ["version"], registry=r).labels(__version__).set(1)
        self._store.set(1)

    def __call__(self, event: Event) -> None:
        """Count an event."""
        match event:
            case MessageStored():
                self._count_stored(event)
            case MessageRepeated(department=department, flow=flow):
                self._messages.labels(department, flow, "repeated").inc()
            case MessageRefused(department=department, flow=flow, outcome=outcome, code=code):
                self._messages.labels(department, flow, outcome).inc()
                self._refused.labels(department, code).inc()
            case ForkSeen(department=department, flow=flow):
                self._forks.labels(department, flow).inc()
            case _:
                self._count_work(event)

    def _count_stored(self, event: MessageStored) -> None:
        self._messages.labels(event.department, event.flow, "partly_stored" if event.refused else "stored").inc()
        for fate, count in (("stored", event.records), ("duplicate", event.duplicates), ("refused", event.refused)):
            if count:
                self._records.labels(event.department, event.flow, fate).inc(count)
        self._latency.observe(event.latency_secs)

    def _count_work(self, event: Event) -> None:
        match event:
            case GroupStored(messages=messages):
                self._group.observe(messages)
            case ReceiptsPublished(posts=posts):
                self._posts.inc(posts)
            case StoreLost():
                self._store.set(0)
            case StoreFound():
                self._store.set(1)
            case BrokerConnected(role=role):
                self._broker.labels(role).set(1)
            case BrokerLost(role=role):
                self._broker.labels(role).set(0)
            case LeasesChanged(taken=taken, lost=lost):
                self._leases.inc(len(taken) - len(lost))
            case _:
                pass

    def watch(self, flows: Callable[[], Sequence[FlowStatus]]) -> None:
        """Show the state of every flow too, asked for at each scrape."""
        self.registry.register(_FlowCollector(flows))

    def render(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self.registry)


class _FlowCollector(Collector):
    """High water, gaps and freezes of flows, read when scraped."""

    def __init__(self, flows: Callable[[], Sequence[FlowStatus]]) -> None:
        self._flows = flows

    def describe(self) -> list[Metric]:
        """Nothing is asked of the store when this is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; without the store there are none."""
        labels = ["department", "flow"]
        high = GaugeMetricFamily("huitong_hub_high_water", "Closed sequences without a hole.", labels=labels)
        gaps = GaugeMetricFamily("huitong_hub_missing_sequences", "Sequences that are missing below later ones.", labels=labels)
        frozen = GaugeMetricFamily("huitong_hub_flow_frozen", "1 while a flow is frozen by a fork.", labels=labels)
        stored = GaugeMetricFamily("huitong_hub_last_stored_timestamp_seconds", "When a message was last stored.", labels=labels)
        try:
            flows = self._flows()
        except HuitongError:
            flows = ()  # huitong_hub_store_up tells why
        for one in flows:
            names = [one.department, one.flow]
            high.add_metric(names, one.closed.high_water)
            gaps.add_metric(names, one.closed.missing())
            frozen.add_metric(names, 1 if one.frozen else 0)
            if one.stored_at is not None:
                stored.add_metric(names, one.stored_at.timestamp())
        yield from (high, gaps, frozen, stored)
