"""The acts of the desk without a running agent: on the store, in this process, under the instance lock.

Sending is left to the agent when it starts. A flow that an act needs runs meanwhile, and no other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from agent.app.access import Offline

if TYPE_CHECKING:
    from concurrent.futures import Future

    from agent.adapters.control import Handler
    from agent.app.composer import Composer
    from agent.model import WalkOrder
    from agent.queries import Closed
    from agent.services.capture import CaptureService
    from agent.services.capture_again import Letter
    from agent.settings.agent_file import AgentFile

_STOP_SECS: Final = 10.0


def handlers(settings: AgentFile) -> Offline:
    """Return what opens the store in this process and gives the handlers."""

    @contextmanager
    def opened() -> Iterator[Mapping[str, Handler]]:
        # Loading the parts of an agent takes a while, and only a command without a running agent needs them.
        from agent.adapters.logs import silence_libraries  # noqa: PLC0415
        from agent.app.calls import desk_calls  # noqa: PLC0415
        from agent.app.composer import Composer  # noqa: PLC0415
        from agent.app.places import open_store  # noqa: PLC0415
        from agent.events import Events  # noqa: PLC0415

        silence_libraries()
        events = Events()
        with ExitStack() as stack:
            store = open_store(settings, events)
            stack.callback(store.close)
            parts = Composer(settings, os.environ, events, store)
            stack.callback(parts.reader.close)
            parts.restore().finish()
            flows = {flow: _Flow(flow, parts) for flow in settings.send}
            for flow in flows.values():
                stack.callback(flow.stop)
            desk = parts.desk(flows, _Nobody())

            def capture_now(_caller: object, args: dict[str, object]) -> object:
                name = str(args["flow"])
                desk.run(name)
                return flows[name].drain()

            yield {**desk_calls(desk), "flow.run": capture_now}

    return opened


class _Flow:
    """A flow that runs only when somebody needs it; `desk.Capturing`."""

    def __init__(self, flow: str, parts: Composer) -> None:
        self._flow, self._parts = flow, parts
        self._service: CaptureService | None = None

    def tick(self) -> None:
        """Do nothing: nobody waits for it to look."""

    def retry(self, item_ids: Sequence[str]) -> Future[Mapping[str, Closed | None]]:
        """See Capturing."""
        return self._running().retry(item_ids)

    def again(self, letters: Sequence[Letter]) -> Future[Mapping[str, Closed | None]]:
        """See Capturing."""
        return self._running().again(letters)

    def walk(self, order: WalkOrder) -> Future[None]:
        """See Capturing. What begins here goes on when the agent runs."""
        return self._running().walk(order)

    def count(self, order: WalkOrder) -> Future[int]:
        """See Capturing."""
        return self._running().count(order)

    def drain(self) -> dict[str, int]:
        """Capture what there is; returns what was made durable. Raises what is in the way."""
        captured = self._parts.capture(self._flow, lambda _flow: None).drain()
        return {"records": captured.records, "unchanged": captured.unchanged, "quarantined": captured.quarantined}

    def stop(self) -> None:
        """End what was started."""
        if self._service is not None:
            self._service.stop(_STOP_SECS)

    def _running(self) -> CaptureService:
        if self._service is None:
            self._service = self._parts.capture(self._flow, lambda _flow: None)
            self._service.start(lambda _name, _error: None)  # whoever waits for it is told what happened
        return self._service


class _Nobody:
    """Delivery, when none runs."""

    def look_again(self) -> None:
        """There is nobody to look."""

    def reopened(self, message_ids: Sequence[str]) -> None:
        """There is nobody to tell."""

    def settled(self, message_ids: Sequence[str]) -> None:
        """There is nobody to tell."""
