"""The fault proxy against an echo server on the loopback."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from agent.testing.proxy import Direction, FaultProxy

PATIENCE_SECS = 10.0
SILENCE_SECS = 0.2


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while octets := self.request.recv(65_536):
                self.request.sendall(octets)


class EchoServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = False


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with EchoServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with FaultProxy(server.server_address[1]) as proxy:
            yield proxy
        server.shutdown()
        thread.join()


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    with connect(proxy) as client:
        yield client


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), PATIENCE_SECS)


def receive(client: socket.socket, count: int) -> bytes:
    octets = b""
    while len(octets) < count and (more := client.recv(count - len(octets))):
        octets += more
    return octets


def is_silent(client: socket.socket) -> bool:
    client.settimeout(SILENCE_SECS)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(PATIENCE_SECS)
    return False


def test_everything_is_forwarded_both_ways(proxy: FaultProxy, client: socket.socket) -> None:
    """Without a fault, ten megabytes come back as they went."""
    sent = bytes(range(256)) * 40_000
    writer = threading.Thread(target=client.sendall, args=(sent,))
    writer.start()
    assert receive(client, len(sent)) == sent
    writer.join()
    assert proxy.connections == 1


def test_the_end_of_a_stream_is_passed_on(client: socket.socket) -> None:
    """A half-closed connection still carries the answer, then ends."""
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert receive(client, 100) == b"last words"


def test_a_black_hole_heals_without_loss(proxy: FaultProxy, client: socket.socket) -> None:
    """What was sent into a black hole arrives when it heals, on the same connection."""
    client.sendall(b"before")
    assert receive(client, 6) == b"before"
    proxy.black_hole()
    client.sendall(b"during")
    assert is_silent(client)
    proxy.heal()
    assert receive(client, 6) == b"during"


def test_a_black_hole_one_way_lets_the_other_way_pass(proxy: FaultProxy, client: socket.socket) -> None:
    """With only the answers held, the requests arrive: two at once come back after healing."""
    proxy.black_hole(Direction.DOWN)
    client.sendall(b"one")
    assert is_silent(client)
    client.sendall(b"two")
    proxy.heal()
    assert receive(client, 6) == b"onetwo"


def test_a_new_connection_into_a_black_hole_is_silent(proxy: FaultProxy) -> None:
    """A connection opened during a black hole opens, says nothing and works after healing."""
    proxy.black_hole()
    with connect(proxy) as late:
        late.sendall(b"hello")
        assert is_silent(late)
        proxy.heal()
        assert receive(late, 5) == b"hello"


@pytest.mark.parametrize("direction", [Direction.UP, Direction.DOWN])
def test_dropped_octets_never_arrive(proxy: FaultProxy, client: socket.socket, direction: Direction) -> None:
    """What is dropped stays lost after healing, and the connection lives on."""
    proxy.drop(direction)
    client.sendall(b"lost")
    assert is_silent(client)
    proxy.heal()
    client.sendall(b"kept")
    assert receive(client, 4) == b"kept"


def test_refusing_leaves_old_connections_alone(proxy: FaultProxy, client: socket.socket) -> None:
    """A refused connection is refused by the kernel; the old one works, and new ones do after healing."""
    client.sendall(b"x")
    assert receive(client, 1) == b"x"
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    client.sendall(b"y")
    assert receive(client, 1) == b"y"
    proxy.heal()
    with connect(proxy) as again:
        again.sendall(b"z")
        assert receive(again, 1) == b"z"


def test_a_reset_is_a_reset(proxy: FaultProxy, client: socket.socket) -> None:
    """Cutting with RST gives the client a connection reset; a new connection works."""
    client.sendall(b"x")
    assert receive(client, 1) == b"x"
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert proxy.connections == 0
    with connect(proxy) as again:
        again.sendall(b"z")
        assert receive(again, 1) == b"z"


def test_an_orderly_end_is_not_a_reset(proxy: FaultProxy, client: socket.socket) -> None:
    """Cutting with FIN gives the client an end of the stream, even while it has more to say."""
    client.sendall(b"x")
    assert receive(client, 1) == b"x"
    proxy.cut(reset=False)
    assert client.recv(1) == b""
    client.sendall(b"more")


@pytest.mark.parametrize("octets", [1, 7, 100_003])
@pytest.mark.parametrize("reset", [True, False])
def test_a_cut_in_mid_frame_lets_exactly_so_much_pass(proxy: FaultProxy, client: socket.socket, octets: int, reset: bool) -> None:
    """Exactly the octets before the cut arrive, then the connection ends as asked."""
    proxy.cut_after(octets, Direction.DOWN, reset=reset)
    with contextlib.suppress(OSError):
        client.sendall(b"a" * 200_000)
    arrived, end = b"", ""
    while not end:
        try:
            more = client.recv(65_536)
        except ConnectionResetError:
            end = "reset"
        else:
            arrived += more
            end = "" if more else "end"
    assert len(arrived) == octets
    assert end == ("reset" if reset else "end")


def test_a_cut_is_over_after_one_connection(proxy: FaultProxy, client: socket.socket) -> None:
    """The budget of a cut belongs to one connection; the next is forwarded whole."""
    proxy.cut_after(1, Direction.UP)
    client.sendall(b"xx")
    with pytest.raises(ConnectionResetError):
        receive(client, 2)
    with connect(proxy) as again:
        again.sendall(b"z" * 1000)
        assert receive(again, 1000) == b"z" * 1000


def test_a_cut_after_nothing_is_refused(proxy: FaultProxy) -> None:
    """A budget of zero octets would never be used up."""
    with pytest.raises(ValueError, match="cut"):
        proxy.cut_after(0, Direction.UP)


def test_delayed_octets_arrive_late_and_whole(proxy: FaultProxy, client: socket.socket) -> None:
    """A delay each way shows up in the round trip, and nothing is lost or reordered."""
    proxy.delay(0.1)
    begin = time.monotonic()
    client.sendall(b"first")
    client.sendall(b"second")
    assert receive(client, 11) == b"firstsecond"
    assert time.monotonic() - begin >= 0.2


def test_a_server_that_is_gone_resets_the_client() -> None:
    """With nothing behind the proxy, the client's connection is reset."""
    with FaultProxy(1) as proxy, pytest.raises(ConnectionResetError), connect(proxy) as client:
        client.recv(1)


def test_stopping_closes_everything_and_may_be_repeated(proxy: FaultProxy, client: socket.socket) -> None:
    """After stop, old connections are gone and new ones refused; a second stop does nothing."""
    client.sendall(b"x")
    assert receive(client, 1) == b"x"
    proxy.stop()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.stop()
