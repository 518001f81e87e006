"""Prometheus metrics of the agent, fed by events and, at scrape time, by the depth of the outbox.

No label ever holds a message id, a key or a person's data. Names and units follow the Prometheus naming practice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent import __version__, events
from agent.model import Depth, State
from agent.ports import Clock
from agent.queries import Cause

_LATENCY_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600)
_WAITING = (State.PENDING, State.CONFIRMED)


class AgentMetrics:
    """Event listener and renderer of `/metrics`."""

    def __init__(self, clock: Clock) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._clock = clock
        self._messages = Counter(
            "huitong_messages_total", "Exchange messages by outcome.", ["flow", "direction", "outcome"], registry=self.registry
        )
        self._records = Counter(
            "huitong_records_total", "Records by outcome.", ["flow", "direction", "outcome"], registry=self.registry
        )
        self._latency = Histogram(
            "huitong_receipt_latency_seconds",
            "From the append to the outbox to the settled receipt.",
            ["flow"],
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._connected = Gauge("huitong_broker_connected", "1 while the connection is open.", ["role"], registry=self.registry)
        self._paused = Gauge("huitong_flow_paused", "1 while the flow is paused.", ["flow"], registry=self.registry)
        self._gaps = Counter("huitong_gaps_total", "Numbered gaps opened.", ["flow", "kind"], registry=self.registry)
        self._rejected = Counter("huitong_receipts_rejected_total", "Receipts that did not verify.", registry=self.registry)
        self._source_up = Gauge("huitong_source_up", "1 while the source answers.", ["flow"], registry=self.registry)
        Gauge("huitong_build_info", "Always 1.", ["version"], registry=self.registry).labels(__version__).set(1)

    def __call__(self, event: events.Event) -> None:
        """Count one event."""
        match event:
            case events.FlowCaptured():
                self._count(event.flow, "captured", event.messages, event.records)
                self._records.labels(event.flow, "send", "unchanged").inc(event.unchanged)
                self._records.labels(event.flow, "send", "quarantined").inc(event.quarantined)
            case events.MessagesSent() | events.MessagesConfirmed():
                outcome = "sent" if isinstance(event, events.MessagesSent) else "confirmed"
                self._count(event.flow, outcome, event.messages, event.records)
            case events.MessageRefused():
                self._count(event.flow, "nacked", 1, 0)
            case events.ReceiptSettled():
                self._count(event.flow, event.outcome, 1, event.records)
                self._latency.labels(event.flow).observe(event.latency_secs)
            case events.ReceiptRejected():
                self._rejected.inc()
            case events.GapOpened():
                self._gaps.labels(event.flow, event.kind).inc()
            case _:
                self._state(event)

    def _state(self, event: events.Event) -> None:
        match event:
            case events.BrokerConnected():
                self._connected.labels(event.role).set(1)
            case events.BrokerLost():
                self._connected.labels(event.role).set(0)
            case events.FlowPaused():
                self._paused.labels(event.flow).set(1)
            case events.FlowResumed():
                self._paused.labels(event.flow).set(0)
            case events.SourceOpened():
                self._source_up.labels(event.flow).set(1)
            case events.SourceLost():
                self._source_up.labels(event.flow).set(0)
            case _:
                pass

    def _count(self, flow: str, outcome: str, messages: int, records: int) -> None:
        self._messages.labels(flow, "send", outcome).inc(messages)
        self._records.labels(flow, "send", outcome).inc(records)

    def watch_outbox(
        self, depth: Callable[[], Sequence[Depth]], causes: Callable[[], Sequence[Cause]], state_bytes: Callable[[], int]
    ) -> None:
        """Read the outbox and its open dead letters at every scrape."""
        self.registry.register(_OutboxCollector(depth, causes, state_bytes, self._clock))

    def watch_certificates(self, expiries: Iterable[tuple[str, datetime]]) -> None:
        """Publish when each certificate expires."""
        gauge = Gauge(
            "huitong_certificate_expiry_timestamp_seconds", "Expiry of a certificate.", ["name"], registry=self.registry
        )
        for name, expiry in expiries:
            gauge.labels(name).set(expiry.timestamp())

    def render(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self.registry)


class _OutboxCollector(Collector):
    def __init__(
        self,
        depth: Callable[[], Sequence[Depth]],
        causes: Callable[[], Sequence[Cause]],
        state_bytes: Callable[[], int],
        clock: Clock,
    ) -> None:
        self._depth = depth
        self._causes = causes
        self._state_bytes = state_bytes
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Say nothing at registration, so that the store is not read before the first scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        waiting = GaugeMetricFamily("huitong_outbox_messages", "Messages without a stored receipt.", labels=["flow"])
        age = GaugeMetricFamily("huitong_outbox_oldest_age_seconds", "Age of the oldest of these.", labels=["flow"])
        dead = GaugeMetricFamily("huitong_dead_letters", "What needs a person, by cause.", labels=["flow", "cause"])
        now = self._clock.now()
        for depth in self._depth():
            waiting.add_metric([depth.flow], sum(depth.messages.get(state, 0) for state in _WAITING))
            oldest = min((at for at in (depth.oldest_pending, depth.oldest_confirmed) if at), default=None)
            age.add_metric([depth.flow], max(0.0, (now - oldest).total_seconds()) if oldest else 0.0)
        for (flow, code), count in self._open_letters().items():
            dead.add_metric([flow, code], count)
        yield from (waiting, age, dead)
        yield GaugeMetricFamily("huitong_state_bytes", "Size of the local store.", value=self._state_bytes())

    def _open_letters(self) -> dict[tuple[str, str], int]:
        counts: dict[tuple[str, str], int] = {}
        for cause in self._causes():
            counts[cause.flow, cause.code] = counts.get((cause.flow, cause.code), 0) + cause.count
        return counts
