"""A TCP proxy that breaks connections on purpose.

It stands between a client and a server on the loopback and can hold, discard, delay or cut what flows, in one direction or
both, and refuse new connections. One thread owns every socket; a fault is in force when the method that asked for it returns.
"""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, Flag
from typing import Final, Self

from agent.testing.nodes.ports import LOOPBACK, PortClaims

_CHUNK_BYTES: Final = 65_536
_BUFFER_BYTES: Final = 1_048_576
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close sends RST


class Direction(Flag):
    """Which way octets flow."""

    UP = 1  # client → server
    DOWN = 2  # server → client
    BOTH = UP | DOWN


class Treatment(Enum):
    """What happens to octets of one direction."""

    FORWARD = "forward"
    HOLD = "hold"  # a black hole that may heal: nothing is read, everything arrives later
    DISCARD = "discard"  # read and lost, while the connection lives


@dataclass(slots=True)
class _Rule:
    """What holds for one direction, on all connections."""

    treatment: Treatment = Treatment.FORWARD
    delay_secs: float = 0.0
    budget: int | None = None  # octets that may still pass before a cut
    reset: bool = True  # how the cut is made


@dataclass(slots=True)
class _Stream:
    """One direction of one connection."""

    source: socket.socket
    sink: socket.socket
    rule: _Rule
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)  # (due, octets); an empty chunk is the end
    waiting_bytes: int = 0
    at_end: bool = False  # the source said everything
    ended: bool = False  # … and the sink was told

    def wants_read(self) -> bool:
        return not self.at_end and self.rule.treatment is not Treatment.HOLD and self.waiting_bytes < _BUFFER_BYTES

    def due(self) -> float | None:
        """Return when the next chunk may go, on the monotonic clock; None when there is nothing to send."""
        return self.waiting[0][0] if self.waiting and self.rule.treatment is not Treatment.HOLD else None

    def read(self, now: float) -> None:
        chunk = self.source.recv(_CHUNK_BYTES)
        self.at_end = not chunk
        if self.rule.treatment is Treatment.FORWARD or self.at_end:
            self.waiting.append((now + self.rule.delay_secs, chunk))
            self.waiting_bytes += len(chunk)

    def write(self) -> bool:
        """Send the first chunk, as far as it goes; True when this used up the budget of a cut."""
        due, chunk = self.waiting[0]
        if not chunk:
            self.waiting.popleft()
            self.sink.shutdown(socket.SHUT_WR)
            self.ended = True
            return False
        budget = self.rule.budget
        sent = self.sink.send(chunk if budget is None else chunk[:budget])
        self.waiting_bytes -= sent
        if sent < len(chunk):
            self.waiting[0] = (due, chunk[sent:])
        else:
            self.waiting.popleft()
        if budget is None:
            return False
        self.rule.budget = budget - sent
        return self.rule.budget == 0


@dataclass(slots=True, eq=False)
class _Pair:
    """One connection: the client's socket, the server's, and the two streams between."""

    client: socket.socket
    server: socket.socket
    streams: tuple[_Stream, _Stream]

    @property
    def done(self) -> bool:
        return all(stream.ended for stream in self.streams)

    def finish(self) -> None:
        """Tell both sides that this is the end (FIN); what they still say is discarded until they close too."""
        for stream in self.streams:
            if not stream.ended:
                stream.waiting.clear()
                stream.waiting_bytes = 0
                stream.rule = _Rule(Treatment.DISCARD)
                with contextlib.suppress(OSError):
                    stream.sink.shutdown(socket.SHUT_WR)
                stream.ended = stream.at_end

    def close(self, *, reset: bool) -> None:
        for end in (self.client, self.server):
            if reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.close()


class FaultProxy:
    """Forwards 127.0.0.1:`port` to a server, until told otherwise. `start` and `stop` it, or use it as a context manager."""

    def __init__(self, target_port: int, target_host: str = LOOPBACK) -> None:
        self._target = (target_host, target_port)
        self._claims = PortClaims()
        self.port: Final = self._claims.take(1)[0]
        self._rules = {Direction.UP: _Rule(), Direction.DOWN: _Rule()}
        self._listener: socket.socket | None = None
        self._pairs: list[_Pair] = []
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._bell, self._ear = socket.socketpair()
        self._stopping = False
        self._thread = threading.Thread(target=self._pump, name=f"fault-proxy-{self.port}")

    # -- orders, from any thread --

    def start(self) -> None:
        """Listen."""
        self._listener = self._listen()
        self._thread.start()

    def stop(self) -> None:
        """Close everything and end the thread. Idempotent."""
        if self._thread.is_alive():
            self._order(self._end)
            self._thread.join()
        self._bell.close()
        self._ear.close()
        self._claims.release()

    def heal(self) -> None:
        """Forward everything again, held octets first, and accept connections."""
        self._order(self._heal)

    def black_hole(self, direction: Direction = Direction.BOTH) -> None:
        """Let nothing pass that way, on old and new connections, without closing any; `heal` lets what was held arrive."""
        self._order(lambda: self._treat(direction, Treatment.HOLD))

    def drop(self, direction: Direction = Direction.BOTH) -> None:
        """Lose everything that comes that way, without closing any connection."""
        self._order(lambda: self._treat(direction, Treatment.DISCARD))

    def delay(self, secs: float, direction: Direction = Direction.BOTH) -> None:
        """Let everything that comes from now on arrive so much later."""

        def act() -> None:
            for rule in self._chosen(direction):
                rule.delay_secs = secs

        self._order(act)

    def refuse(self) -> None:
        """Refuse new connections; the old ones live on."""
        self._order(self._close_listener)

    def cut(self, *, reset: bool = True) -> None:
        """End every connection now, by RST or, with `reset` False, by FIN."""
        self._order(lambda: self._cut_all(reset=reset))

    def cut_after(self, octets: int, direction: Direction, *, reset: bool = True) -> None:
        """Let exactly so many more octets pass that way, then end the connection that carried the last of them."""

        def act() -> None:
            for rule in self._chosen(direction):
                rule.budget, rule.reset = octets, reset

        if octets < 1:
            raise ValueError("a cut after nothing is `cut`")
        self._order(act)

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._pairs)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _order(self, act: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.put((act, done))
        self._bell.send(b"!")
        done.wait()

    # -- in the pump's thread --

    def _pump(self) -> None:
        while not self._stopping:
            readable, writable = self._await()
            if self._listener is not None and self._listener.fileno() in readable:
                self._accept(self._listener)
            for pair in list(self._pairs):
                self._serve(pair, readable, writable)
            if self._ear.fileno() in readable:
                self._ear.recv(4096)
                self._obey()

    def _await(self) -> tuple[set[int], set[int]]:
        """Wait until something can be done; a socket nobody wants anything of is not even watched."""
        now = time.monotonic()
        poll = select.poll()
        poll.register(self._ear, select.POLLIN)
        if self._listener is not None:
            poll.register(self._listener, select.POLLIN)
        masks: dict[int, int] = {}
        wake = float("inf")
        for stream in (stream for pair in self._pairs for stream in pair.streams):
            if stream.wants_read():
                masks[stream.source.fileno()] = masks.get(stream.source.fileno(), 0) | select.POLLIN
            due = stream.due()
            if due is not None and due <= now:
                masks[stream.sink.fileno()] = masks.get(stream.sink.fileno(), 0) | select.POLLOUT
            elif due is not None:
                wake = min(wake, due)
        for descriptor, mask in masks.items():
            poll.register(descriptor, mask)
        events = poll.poll(None if wake == float("inf") else max(0.0, wake - now) * 1000 + 1)
        trouble = select.POLLERR | select.POLLHUP
        return (
            {descriptor for descriptor, event in events if event & (select.POLLIN | trouble)},
            {descriptor for descriptor, event in events if event & (select.POLLOUT | trouble)},
        )

    def _serve(self, pair: _Pair, readable: set[int], writable: set[int]) -> None:
        now = time.monotonic()
        try:
            for stream in pair.streams:
                if stream.source.fileno() in readable and stream.wants_read():
                    stream.read(now)
                due = stream.due()
                if due is not None and due <= now and stream.sink.fileno() in writable and stream.write():
                    self._cut_one(pair, stream.rule)
                    return
        except BlockingIOError:
            return
        except OSError:
            self._drop_pair(pair, reset=True)
            return
        if pair.done:
            self._drop_pair(pair, reset=False)

    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.connect_ex(self._target)
        up = _Stream(client, server, self._rules[Direction.UP])
        down = _Stream(server, client, self._rules[Direction.DOWN])
        self._pairs.append(_Pair(client, server, (up, down)))

    def _obey(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                act, done = self._orders.get_nowait()
                act()
                done.set()

    def _chosen(self, direction: Direction) -> list[_Rule]:
        return [rule for way, rule in self._rules.items() if way in direction]

    def _treat(self, direction: Direction, treatment: Treatment) -> None:
        for rule in self._chosen(direction):
            rule.treatment = treatment

    def _heal(self) -> None:
        for rule in self._rules.values():
            rule.treatment, rule.delay_secs, rule.budget = Treatment.FORWARD, 0.0, None
        if self._listener is None:
            self._listener = self._listen()

    def _cut_all(self, *, reset: bool) -> None:
        for pair in list(self._pairs):
            if reset:
                self._drop_pair(pair, reset=True)
            else:
                pair.finish()

    def _cut_one(self, pair: _Pair, rule: _Rule) -> None:
        rule.budget = None
        if rule.reset:
            self._drop_pair(pair, reset=True)
        else:
            pair.finish()

    def _drop_pair(self, pair: _Pair, *, reset: bool) -> None:
        self._pairs.remove(pair)
        pair.close(reset=reset)

    def _listen(self) -> socket.socket:
        listener = socket.create_server((LOOPBACK, self.port))
        listener.setblocking(False)
        return listener

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _end(self) -> None:
        self._stopping = True
        self._close_listener()
        self._cut_all(reset=True)
