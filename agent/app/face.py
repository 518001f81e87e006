"""What the agent shows to the outside: to the service manager, and to the command line over the control socket."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from agent.adapters.control import ControlServer
from agent.adapters.sd_notify import Notifier
from agent.services.service import Failed

_FEEDS_PER_LIMIT: Final = 4
"""How often the watchdog is fed within the time the service manager waits."""


class Face:
    """A `service.Managed`, started last and stopped first: who asks finds an agent that works."""

    name = "face"

    def __init__(self, server: ControlServer, notifier: Notifier, stuck: Callable[[], object]) -> None:
        self._server, self._notifier, self._stuck = server, notifier, stuck
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="watchdog", daemon=True)

    def start(self, failed: Failed) -> None:  # noqa: ARG002 - nothing here can die alone
        """Listen and say ready. Raises Denied, SettingsError."""
        self._server.start()
        if self._notifier.watchdog_secs is not None:
            self._thread.start()
        self._notifier.ready()

    def stop(self, within_secs: float) -> bool:  # noqa: ARG002 - it takes no time
        """Say that we leave, and stop listening. Idempotent."""
        self._notifier.stopping()
        self._ended.set()
        self._server.stop()
        return True

    def _feed(self) -> None:
        """Feed the watchdog only while every service makes progress."""
        every = (self._notifier.watchdog_secs or 60.0) / _FEEDS_PER_LIMIT
        while not self._ended.wait(every):
            if not self._stuck():
                self._notifier.alive()
