"""Events and library messages as JSON lines, one per event, without payloads.

The field names are `at`, `level`, `event` and the event's own fields. What repeats without end is rate-limited per event and
flow, and the number left out is told, so that an hour of the same error costs kilobytes.
"""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import BinaryIO, Final

import orjson
import structlog

from agent.errors import HuitongError
from agent.events import Event
from agent.ports import Clock

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class EventLog:
    """Listener that writes each event as one JSON line."""

    def __init__(
        self, stream: BinaryIO, clock: Clock, *, level: str = "info", burst: int = 20, window_secs: float = 60.0
    ) -> None:
        self._level = LEVELS[level]
        self._limiter = _Limiter(clock, burst, window_secs)
        self._clock = clock
        self._logger = structlog.wrap_logger(
            structlog.BytesLogger(stream),
            processors=[structlog.processors.JSONRenderer(serializer=orjson.dumps)],
            wrapper_class=structlog.BoundLoggerBase,
            cache_logger_on_first_use=True,
        )

    def __call__(self, event: Event) -> None:
        """Write the event, unless its level is below ours or it floods."""
        if LEVELS[event.level] < self._level:
            return
        name = _snake(type(event).__name__)
        values = {field.name: _plain(getattr(event, field.name)) for field in fields(event)}
        self.line(event.level, name, f"{name}/{values.get('flow', '')}", values)

    def line(self, level: str, name: str, group: str, values: dict[str, object]) -> None:
        """Write one line, counted against the limit of its group."""
        allowed, left_out = self._limiter.allow(group)
        if not allowed:
            return
        if left_out:
            values = {**values, "left_out": left_out}
        self._logger._proxy_to_logger(  # noqa: SLF001 - structlog's documented way to build a wrapper
            "msg", name, **{"at": self._clock.now().isoformat(timespec="milliseconds"), "level": level, **values}
        )


class LibraryLog(logging.Handler):
    """Brings the log records of libraries (pika, apscheduler) into the same stream."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one record; its text can hold addresses and error words, never payloads."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        group = f"library/{record.name}/{record.lineno}"
        self._log.line(level, "library_message", group, {"library": record.name, "text": record.getMessage()[:500]})


def hear_libraries(log: EventLog) -> None:
    """Bring warnings of all libraries into the log, once for the process.

    What pika says of connections comes as events of ours already, translated and without its tracebacks. That apscheduler left
    out a tick is no news: the one before has not come to its end, and does what both would do.
    """
    root = logging.getLogger()
    root.handlers = [LibraryLog(log)]
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def silence_libraries() -> None:
    """Let libraries say nothing: for commands, which tell people what happened in their own words."""
    logging.getLogger().handlers = [logging.NullHandler()]


class _Limiter:
    def __init__(self, clock: Clock, burst: int, window_secs: float) -> None:
        self._clock = clock
        self._burst = burst
        self._window = window_secs
        self._groups: dict[str, tuple[float, int]] = {}

    def allow(self, group: str) -> tuple[bool, int]:
        now = self._clock.monotonic()
        start, count = self._groups.get(group, (now, 0))
        if now - start >= self._window:
            self._groups[group] = (now, 1)
            return True, max(0, count - self._burst)
        self._groups[group] = (start, count + 1)
        return count < self._burst, 0


def _plain(value: object) -> object:
    if isinstance(value, HuitongError):
        return {"code": value.code, "text": str(value)}
    if isinstance(value, BaseException):
        return {"code": type(value).__name__, "text": str(value)[:500]}
    return value


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
