"""What a comparison did not find any more is asked for once more, and deleted: a page at a time between two rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent.model import Batch
from agent.ports import Keyed, Source
from agent.services.capture_flow import OpenFlow
from agent.services.capture_walk import Walks


class Sweeper:
    """Belongs to the capture thread. `read_keys` asks the source in its own thread."""

    def __init__(self, walks: Walks, *, read_keys: Callable[[Keyed, Sequence[str]], Batch]) -> None:
        self._walks = walks
        self._read_keys = read_keys
        self._since = 0  # passes that were complete when something was found to be gone

    def advance(self, flow: OpenFlow, source: Source, passes: int) -> bool:
        """Do the next step. False means that a pass of capture has to be completed first; `passes` counts those that were."""
        flow.harvest(wait=True)  # the ledger answers for what is committed, and the end of the walk may still be under way
        if self._walks.waiting:
            if passes <= self._since:
                return False
            step = flow.translate_again(self._walks.deletes())
            flow.make_durable(step)
            self._walks.deleted(len(step.emitted))
            return True
        keys = self._walks.to_ask()
        if not keys:
            flow.remember(self._walks.ended())
            return True
        assert isinstance(source, Keyed), "what can be walked through can look up keys"
        found = self._read_keys(source, keys)
        there = flow.translate_again(found)
        present = [*there.emitted, *there.unchanged, *(item.key for item in there.put_aside if item.key is not None)]
        if self._walks.absent(keys, found, present):
            self._since = passes + 1  # the one that is on may have read already what is still to come
        return True
