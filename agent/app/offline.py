"""The acts of the desk without a running agent: the same composition in this process, under the instance lock."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final

from agent.adapters.control import Handler
from agent.app.access import Offline
from agent.app.agent import composed
from agent.app.calls import desk_calls
from agent.settings.agent_file import AgentFile

_STOP_SECS: Final = 10.0


def handlers(settings: AgentFile, *, capturing: bool = False) -> Offline:
    """Return what opens the store in this process and yields the handlers; sending is left to the agent when it starts.

    With `capturing` the flows run meanwhile, for acts that need them to look at their source.
    """

    def opened() -> Iterator[Mapping[str, Handler]]:
        with composed(settings, os.environ) as agent:
            running = list(agent.captures.values()) if capturing else []
            for capture in running:
                capture.start(lambda _name, _error: None)
            try:
                yield desk_calls(agent.desk)
            finally:
                for capture in running:
                    capture.stop(_STOP_SECS)

    return opened
