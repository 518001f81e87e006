"""One pika connection, driven by the thread that calls.

pika's I/O loop offers its steps one by one (`poll`, `process_timeouts`), and this is all a caller needs who wants to wait for
this connection and nothing else: no second thread, no lock, heartbeats served whenever somebody waits. `wake` alone may be
called from other threads, because `add_callback_threadsafe` is all pika allows them.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from agent.adapters.amqp.address import BrokerAddress
from agent.adapters.amqp.lenient import LenientConnection
from agent.adapters.amqp.translate import channel_error, connect_error, lost_error
from agent.errors import HuitongError, NotConnected
from agent.i18n import N_

ANSWER_SECS = 15.0
CLOSE_SECS = 1.0


class _Loop(IOLoop):
    """pika's loop, which also knows the sockets it serves, to cut them when the peer does not answer a close."""

    def __init__(self) -> None:
        super().__init__()
        self.wake_queued = False  # of this very loop: a wake that a closed one took along must not be waited for
        self._sockets: set[int] = set()

    def add_handler(self, fd: int, handler: Callable[[int, int], None], events: int) -> None:
        self._sockets.add(fd)
        super().add_handler(fd, handler, events)

    def remove_handler(self, fd: int) -> None:
        self._sockets.discard(fd)
        super().remove_handler(fd)

    def cut(self) -> None:
        """Shut the sockets down: pika reads the end of the stream and cleans up by itself."""
        for number in self._sockets:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as twin:
                twin.shutdown(socket.SHUT_RDWR)


class Connection:
    """Opens, serves and closes one connection. After it was lost, `open` may be called again."""

    def __init__(self, address: BrokerAddress) -> None:
        self.address = address
        self.lost: HuitongError | None = NotConnected(why="not open")
        self._loop: _Loop | None = None
        self._pika: SelectConnection | None = None
        self._woken = False

    @property
    def server_properties(self) -> Mapping[str, object]:
        """What the broker says of itself: product, version, capabilities."""
        return cast("Mapping[str, object]", self._connected().server_properties or {})

    def open(self) -> None:
        """Connect to the first host that answers. Raises NotConnected, Forbidden."""
        self.close()
        loop = _Loop()
        loop.activate_poller()
        results: list[object] = []
        LenientConnection.create_connection(self.address.parameters(), on_done=results.append, custom_ioloop=loop)
        try:
            while not results:
                loop.poll()
                loop.process_timeouts()
        except BaseException:
            loop.close()
            raise
        result = results[0]
        if not isinstance(result, SelectConnection):
            loop.close()
            error = cast("BaseException", result)
            raise connect_error(error, self.address.node, tls=self.address.tls is not None) from error
        result.add_on_close_callback(self._on_closed)
        self._loop, self._pika, self.lost = loop, result, None

    def serve(self, timeout_secs: float, ready: Callable[[], bool]) -> None:
        """Do I/O until `ready`, a `wake`, the loss of the connection (see `lost`) or the end of the time."""
        self._serve(timeout_secs, lambda: self._woken or ready())
        self._woken = False

    def wake(self) -> None:
        """Make a `serve` in progress, or the next one, return. Any thread."""
        loop = self._loop
        # One wake on its way is enough for everybody: whoever finds it there has done what it wakes for before it arrives.
        if loop is not None and not loop.wake_queued:
            loop.wake_queued = True
            loop.add_callback_threadsafe(partial(self._on_wake, loop))

    def channel(self) -> OpenChannel:
        """Open a channel. Raises NotConnected."""
        opened: list[object] = []
        raw = self._connected().channel(on_open_callback=opened.append)
        channel = OpenChannel(self, raw)
        channel.wait(lambda: bool(opened))
        return channel

    def wait(self, ready: Callable[[], bool]) -> None:
        """Do I/O until `ready`. Raises NotConnected after 15 s, or what ended the connection."""
        self._serve(ANSWER_SECS, ready)
        if self.lost is not None:
            raise self.lost
        if not ready():
            raise NotConnected(N_("no answer from the message broker within {secs} seconds"), secs=round(ANSWER_SECS))

    def close(self) -> None:
        """Close in order, or within a second without. Idempotent."""
        if self._loop is None or self._pika is None:
            return
        if self._alive():
            self._pika.close()
            self._serve(CLOSE_SECS, lambda: False)
        if self._alive():
            self._loop.cut()
            self._serve(CLOSE_SECS, lambda: False)
        self._loop.close()
        self._loop = self._pika = None
        self.lost = NotConnected(why="closed")

    def _alive(self) -> bool:
        return self.lost is None

    def _connected(self) -> SelectConnection:
        if self.lost is not None:
            raise self.lost
        assert self._pika is not None
        return self._pika

    def _serve(self, timeout_secs: float, ready: Callable[[], bool]) -> None:
        loop = self._loop
        if loop is None or self.lost is not None:
            return
        expired: list[bool] = []
        timer = loop.call_later(timeout_secs, lambda: expired.append(True))
        try:
            while True:
                loop.poll()
                loop.process_timeouts()
                if not self._alive() or ready() or expired:
                    break
        except (AMQPError, OSError) as error:
            self.lost = lost_error(error, self.address.node)
        finally:
            loop.remove_timeout(timer)

    def _on_closed(self, _connection: object, error: BaseException) -> None:
        self.lost = lost_error(error, self.address.node)

    def _on_wake(self, loop: _Loop) -> None:
        loop.wake_queued = False
        self._woken = True


class OpenChannel:
    """A channel and, once the broker closed it, why."""

    def __init__(self, connection: Connection, raw: Channel) -> None:
        self.raw = raw
        self.reason: ChannelClosedByBroker | None = None
        self._connection = connection
        raw.add_on_close_callback(self._on_closed)

    @property
    def error(self) -> HuitongError | None:
        """Why the broker closed the channel, None while it is open or when the connection went with it."""
        return None if self.reason is None else channel_error(self.reason, self._connection.address.node)

    def ask(self, method: Callable[..., object], **arguments: object) -> Any:
        """Call a method of the channel and return the frame that answers it. Raises what closed channel or connection."""
        answers: list[object] = []
        method(**arguments, callback=answers.append)
        self.wait(lambda: bool(answers))
        return answers[0]

    def wait(self, ready: Callable[[], bool]) -> None:
        """Do I/O until `ready`. Raises what closed channel or connection."""
        self._connection.wait(lambda: self.reason is not None or ready())
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Close the channel: what was delivered on it and not acked is delivered again."""
        # Never basic_cancel alone: between it and the answer pika rejects what still arrives.
        if self.raw.is_open:
            self.raw.close()
            self._connection.wait(lambda: self.raw.is_closed)

    def _on_closed(self, _channel: object, error: BaseException) -> None:
        if isinstance(error, ChannelClosedByBroker):
            self.reason = error
