"""Metrics follow events and the outbox."""

from __future__ import annotations

from datetime import timedelta

from agent import events
from agent.adapters.metrics import AgentMetrics
from agent.model import Depth, State
from agent.queries import Cause, CauseKind
from agent.testing.clock import FakeClock


def test_events_are_counted_by_flow_and_outcome() -> None:
    """Captured, confirmed and settled messages and records appear under the documented names."""
    metrics = AgentMetrics(FakeClock())
    metrics(events.FlowCaptured("person", rows=10, records=8, unchanged=1, messages=2, quarantined=1, body_bytes=100))
    metrics(events.MessagesConfirmed("person", 2, 8))
    metrics(events.ReceiptSettled("person", "m1", "stored", 8, 0.25))
    text = metrics.render().decode()
    assert 'huitong_messages_total{direction="send",flow="person",outcome="captured"} 2.0' in text
    assert 'huitong_records_total{direction="send",flow="person",outcome="stored"} 8.0' in text
    assert 'huitong_records_total{direction="send",flow="person",outcome="quarantined"} 1.0' in text
    assert 'huitong_receipt_latency_seconds_sum{flow="person"} 0.25' in text
    assert "huitong_build_info" in text


def test_the_outbox_is_read_when_scraped() -> None:
    """Depth, age and dead letters are those of the moment of the scrape."""
    clock = FakeClock()
    metrics = AgentMetrics(clock)
    born = clock.now()
    depth = Depth("person", {State.PENDING: 3, State.CONFIRMED: 4, State.DEAD: 1}, {}, 5, born, None)
    causes = [
        Cause(CauseKind.INPUT, "person", "check_digit", "id_number", 3, born, born),
        Cause(CauseKind.RECORD, "person", "check_digit", "owner", 2, born, born),
        Cause(CauseKind.MESSAGE, "person", "malformed", "", 1, born, born),
    ]
    metrics.watch_outbox(lambda: [depth], lambda: causes, lambda: 4096)
    clock.advance(90)
    text = metrics.render().decode()
    assert 'huitong_outbox_messages{flow="person"} 7.0' in text
    assert 'huitong_outbox_oldest_age_seconds{flow="person"} 90.0' in text
    assert 'huitong_dead_letters{cause="check_digit",flow="person"} 5.0' in text
    assert 'huitong_dead_letters{cause="malformed",flow="person"} 1.0' in text
    assert "huitong_state_bytes 4096.0" in text
    assert clock.now() - born == timedelta(seconds=90)
