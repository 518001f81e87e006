"""`huitong hub run`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from agent.adapters.clock import SystemClock
from agent.adapters.interpreter import tune
from agent.adapters.logs import EventLog
from agent.adapters.sd_notify import Notifier, Watchdog
from agent.events import Event, ProgressMade
from agent.i18n import N_
from agent.testing.arming import arm_as_asked
from hub.app import build
from hub.cli.base import HubSession, command, pass_session
from hub.health import HubHealth


@command("run", N_("Run one process of the hub.\nSeveral may run on one PostgreSQL store; they share out the departments."))
@pass_session
def run(session: HubSession) -> int:
    """Run until a signal asks for the end."""
    settings = session.settings()
    arm_as_asked(os.environ)
    clock, notifier = SystemClock(), Notifier(os.environ)
    watchdog = Watchdog(clock, notifier.watchdog_secs or 60.0)
    health = HubHealth(watchdog.stuck)
    log = EventLog(sys.stdout.buffer, clock, level=settings.hub.log_level)
    process = build(settings, os.environ, health, watchdog, _Feeder(notifier, watchdog), log)
    tune()
    try:
        runner = process.runner()

        def stop(_number: int, _frame: FrameType | None) -> None:
            notifier.stopping()
            runner.request_stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        runner.run(started=notifier.ready)
    finally:
        process.store.close()
    return 0


class _Feeder:
    """Feeds the service manager's watchdog from progress: only while every thread goes round."""

    def __init__(self, notifier: Notifier, watchdog: Watchdog) -> None:
        self._notifier = notifier
        self._watchdog = watchdog
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        if isinstance(event, ProgressMade) and event.service == "hub-maintenance" and not self._watchdog.stuck():
            with self._lock:
                self._notifier.alive()
