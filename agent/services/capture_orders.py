"""What operators order from a flow: input translated again, refused records sent again.

Orders are given by any thread and carried out by the capture thread between two rounds, because it alone gives sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TypeVar

from agent.errors import Conflict, SourceRefused
from agent.i18n import N_
from agent.model import Batch, WalkOrder
from agent.ports import Keyed, Source, Walkable
from agent.queries import Closed
from agent.services import capture_again, capture_retry
from agent.services.capture_again import Letter
from agent.services.capture_flow import OpenFlow
from agent.services.capture_plan import CapturePlan, Quarantine

T = TypeVar("T")

Outcome = Mapping[str, Closed | None]
"""Per item or letter how it was closed, None when it is still not right."""


class Orders:
    """The orders of one flow. `give_*` are for any thread, `serve` is for the capture thread.

    `running` returns the open flow or raises Conflict, `read_keys` asks the source in its own thread, `begin_walk`
    lets the source begin a walk, `count_rows` asks how many rows it would read.
    """

    def __init__(
        self,
        plan: CapturePlan,
        source: Source,
        quarantine: Quarantine,
        *,
        running: Callable[[], OpenFlow],
        read_keys: Callable[[Keyed, Sequence[str]], Batch],
        begin_walk: Callable[[OpenFlow, Walkable, WalkOrder], None],
        count_rows: Callable[[Walkable, WalkOrder], int],
    ) -> None:
        self._plan, self._source, self._quarantine = plan, source, quarantine
        self._running, self._read_keys = running, read_keys
        self._begin_walk, self._count_rows = begin_walk, count_rows
        self._waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def give_retry(self, item_ids: Sequence[str]) -> Future[Outcome]:
        """Order that quarantined items are tried again."""
        return self._give(lambda: self._retry(item_ids))

    def give_again(self, letters: Sequence[Letter]) -> Future[Outcome]:
        """Order that what the hub refused for ever is sent again."""
        return self._give(lambda: self._again(letters))

    def give_walk(self, order: WalkOrder) -> Future[None]:
        """Order a walk."""
        return self._give(lambda: self._walk(order))

    def give_count(self, order: WalkOrder) -> Future[int]:
        """Order that the rows of a walk are counted."""
        return self._give(lambda: self._count(order))

    def serve(self) -> None:
        """Carry out what is waiting. Raises what is wrong with more than the order."""
        while True:
            try:
                order = self._waiting.get_nowait()
            except Empty:
                return
            order()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _walk(self, order: WalkOrder) -> None:
        flow = self._running()
        self._walked_through(lambda source: self._begin_walk(flow, source, order))

    def _count(self, order: WalkOrder) -> int:
        self._running()
        return self._walked_through(lambda source: self._count_rows(source, order))

    def _walked_through(self, act: Callable[[Walkable], T]) -> T:
        if not isinstance(self._source, Walkable):
            raise Conflict(
                N_("this source cannot be compared with what was captured"),
                hint=N_("only tables can; drop the files again instead"),
            )
        try:
            return act(self._source)
        except SourceRefused as error:  # of the order, not of the flow
            raise Conflict(error.text, hint=error.hint, **error.details) from error

    def _give(self, act: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def order() -> None:
            try:
                future.set_result(act())
            except BaseException as error:
                future.set_exception(error)
                if not isinstance(error, Conflict):
                    raise

        self._waiting.put(order)
        return future

    def _retry(self, item_ids: Sequence[str]) -> Outcome:
        flow, source = self._running(), self._source
        if not isinstance(source, Keyed):
            raise Conflict(
                N_("this source cannot look up single records"),
                hint=N_("correct the rows in the rejects file and drop it again"),
            )
        found = [item for item in map(self._quarantine.item, item_ids) if item is not None and item.input.flow == self._plan.flow]
        before = {item.input.item_id: item.closed_as for item in found}  # capture may have come first
        items = [item.input for item in found if item.closed_as is None]
        step = flow.translate_again(self._read_keys(source, capture_retry.keys_of(items)))
        outcome = capture_retry.judge(items, step)
        flow.make_durable(capture_retry.closing(step, outcome))
        return {item_id: outcome.get(item_id, before.get(item_id)) for item_id in item_ids}

    def _again(self, letters: Sequence[Letter]) -> Outcome:
        flow, source = self._running(), self._source
        keys = capture_again.keys_of(letters)
        reread = None
        if isinstance(source, Keyed) and keys:
            reread = flow.translate_again(self._read_keys(source, keys))
            flow.make_durable(reread)
        rows = flow.known(keys)
        wanted = capture_again.still_latest(letters, rows, reread)
        step = flow.repeat(wanted, rows, self._plan.limits)
        outcome = capture_again.judge(letters, step.emitted, wanted)
        flow.make_durable(capture_retry.closing(step, outcome))
        return outcome
