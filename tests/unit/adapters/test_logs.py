"""Logs are JSON lines made from events, limited in number and free of payloads."""

from __future__ import annotations

import io
import json
import logging

from agent.adapters.logs import EventLog, LibraryLog
from agent.errors import NotConnected
from agent.events import BrokerLost, MessageRefused, ServiceStarted
from agent.testing.clock import FakeClock


def lines(stream: io.BytesIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_with_its_fields() -> None:
    """Name, level, time and fields stand in the line; an error is code and text."""
    stream = io.BytesIO()
    EventLog(stream, FakeClock())(BrokerLost("publish", NotConnected(why="对端复位"), 0.5))
    (line,) = lines(stream)
    assert line["event"] == "broker_lost"
    assert line["level"] == "warning"
    assert line["error"] == {"code": "HT-N001", "text": "no connection to the message broker: 对端复位"}
    assert line["delay_secs"] == 0.5


def test_a_level_below_ours_is_not_written() -> None:
    """Debug events cost nothing at the usual level."""
    stream = io.BytesIO()
    EventLog(stream, FakeClock(), level="warning")(ServiceStarted("x"))
    assert lines(stream) == []


def test_a_flood_is_limited_and_counted_per_flow() -> None:
    """After the burst nothing is written until the window ends; then the number left out is told. Other flows are not hit."""
    stream, clock = io.BytesIO(), FakeClock()
    log = EventLog(stream, clock, burst=3, window_secs=60)
    for number in range(1000):
        log(MessageRefused("a", str(number), NotConnected(why=""), 1.0))
    log(MessageRefused("b", "x", NotConnected(why=""), 1.0))
    assert [line["flow"] for line in lines(stream)] == ["a", "a", "a", "b"]
    clock.advance(61)
    log(MessageRefused("a", "last", NotConnected(why=""), 1.0))
    assert lines(stream)[-1]["left_out"] == 997


def test_library_records_join_the_stream() -> None:
    """Warnings of libraries arrive as events; line breaks cannot forge a line."""
    stream = io.BytesIO()
    handler = LibraryLog(EventLog(stream, FakeClock()))
    logger = logging.Logger("pika.adapters")  # noqa: LOG001 - one of our own, not shared with other tests
    logger.addHandler(handler)
    logger.warning('lost\n{"event": "forged"} %s', "127.0.0.1")
    logger.info("chatter")
    (line,) = lines(stream)
    assert line["event"] == "library_message"
    assert line["library"] == "pika.adapters"
