"""A source in a thread of its own.

A source may take its time (a page of a large table, the digest of a large file); the service that reads it must stay able to
stop, to pause and to answer. So every call is made by one thread, in order, and its result is asked for with a timeout. The
next page is read here while the one before is being translated (`capture` asks for it early).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from agent.ports import Source

T = TypeVar("T")

ROUND_SECS: Final = 1.0
"""How long a service that reads a source may be deaf to everything else."""

_Job = tuple[Callable[..., Any], tuple[Any, ...], "Future[Any]"]


class SourceThread:
    """Calls a source. `ask` and `stop` are for the one thread that owns this; `wake` for all."""

    def __init__(self, source: Source, name: str) -> None:
        self.source = source
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """Let the thread make a call when those before it are done; its error is the future's."""
        if self._thread is None:
            # A daemon: a source that hangs must not keep the process alive.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._jobs.put((call, arguments, future))
        return future

    def wake(self) -> None:
        """Make a wait in progress, or the next one, return at once."""
        self.source.wake()

    def stop(self, within_secs: float) -> bool:
        """Close the source after the calls in progress and end the thread; False when that takes longer."""
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        self._jobs.put((self.source.close, (), Future()))
        self._jobs.put(None)
        self.wake()
        thread.join(within_secs)
        return not thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, arguments, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call(*arguments))
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
                future.set_exception(error)


def arrived(future: Future[T]) -> T | None:
    """Return a result, None when it takes longer than a round may."""
    try:
        return future.result(ROUND_SECS)
    except TimeoutError:
        if future.done():
            raise
        return None
