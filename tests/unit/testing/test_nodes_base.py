"""What all private nodes share, shown with a small server of our own."""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from agent.testing.nodes.certificates import CertificateAuthority
from agent.testing.nodes.desk import ServiceDesk, ask_for
from agent.testing.nodes.guard import Guard
from agent.testing.nodes.node import Node, NodeFailed
from agent.testing.nodes.ports import PortClaims, ask

SERVER = """
import os, signal, socket, subprocess, sys
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "broken" in sys.argv:
    sys.exit("this server is broken")
child = subprocess.Popen(["/bin/sh", "-c", "read -r _"], stdin=subprocess.PIPE)
print("child", child.pid, flush=True)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"" if "mute" in sys.argv else b"hello")
"""


class SmallNode(Node):
    kind = "small"
    port_names = ("greeting",)
    manner = ""

    def prepare(self) -> None:
        (self.directory / "server.py").write_text(SERVER)

    def command(self) -> Sequence[str]:
        return [sys.executable, "-I", "server.py", str(self.ports["greeting"]), self.manner]

    def answers(self) -> bool:
        return ask(self.ports["greeting"], timeout_secs=0.5) == b"hello"


class BrokenNode(SmallNode):
    manner = "broken"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SmallNode]:
    node = SmallNode(tmp_path / "node")
    yield node
    node.remove()


def ends(pid: int) -> bool:
    """Whether a process that is not our child ends soon."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(watch) as file:
        return bool(select.select([file], [], [], 5.0)[0])


def test_a_node_lives_and_dies(node: SmallNode) -> None:
    """A started node answers, a stopped one does not, and stopping twice is harmless."""
    assert not node.running
    node.start()
    assert node.running
    assert node.answers()
    node.stop()
    assert not node.running
    assert not node.answers()
    node.stop()


def test_a_restarted_node_keeps_its_port(node: SmallNode) -> None:
    """Clients find a restarted node where it was."""
    node.start()
    port = node.ports["greeting"]
    node.restart()
    assert ask(port) == b"hello"


def test_killing_takes_the_children_too(node: SmallNode) -> None:
    """After kill, neither the server nor what it started is there."""
    node.start()
    server, child = node.processes()
    node.kill()
    assert ends(server)
    assert ends(child)
    assert not node.running


def test_a_frozen_node_is_silent_until_it_goes_on(node: SmallNode) -> None:
    """Pause keeps connections open and mute; resume brings the answers; a frozen node can be stopped."""
    node.start()
    node.pause()
    assert not node.answers()
    node.resume()
    assert node.answers()
    node.pause()
    node.stop()
    assert not node.running


def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    """What a server said before it ended stands in the error."""
    node = BrokenNode(tmp_path / "node")
    with pytest.raises(NodeFailed) as failure:
        node.start()
    assert "this server is broken" in str(failure.value)
    assert not node.running
    node.remove()


def test_a_server_that_never_answers_is_given_up(node: SmallNode) -> None:
    """At the deadline the server is killed and the error says so."""
    node.manner = "mute"
    with pytest.raises(NodeFailed) as failure:
        node.start(deadline_secs=0.5)
    assert "does not answer" in str(failure.value)
    assert not node.running


def test_a_server_that_will_not_stop_is_killed(node: SmallNode) -> None:
    """A server that ignores the signal to stop is killed, and that is an error."""
    node.manner = "deaf"
    node.start()
    server = node.processes()[0]
    with pytest.raises(NodeFailed) as failure:
        node.stop(deadline_secs=0.3)
    assert "did not stop" in str(failure.value)
    assert ends(server)


def test_two_objects_on_one_directory_agree(node: SmallNode, tmp_path: Path) -> None:
    """A second object reads ports and password of the first, from a file only we can read; only the owner can kill."""
    node.start()
    other = SmallNode(tmp_path / "node")
    assert (other.ports, other.password) == (node.ports, node.password)
    assert stat.S_IMODE((tmp_path / "node" / "node.json").stat().st_mode) == 0o600
    assert other.answers()
    other.kill()
    assert node.answers()


def test_a_failed_command_is_quoted(node: SmallNode) -> None:
    """The error of an administrative command names the program and what it said."""
    assert node.run(["/bin/sh", "-c", "echo out"]) == "out\n"
    with pytest.raises(NodeFailed) as failure:
        node.run(["/bin/sh", "-c", "echo wrong >&2; exit 3"])
    assert "sh: wrong" in str(failure.value)


def test_nothing_outlives_a_closed_guard(tmp_path: Path) -> None:
    """Closing a guard kills every process of its group, and may be repeated."""
    guard = Guard()
    with (tmp_path / "output").open("wb") as output:
        process = guard.start(["/bin/sh", "-c", "kill -STOP $$"], environment={}, directory=tmp_path, output=output)
    guard.close()
    assert process.returncode == -signal.SIGKILL
    guard.close()


def test_a_claimed_port_is_not_given_twice() -> None:
    """Ports are distinct, free, below those of outgoing connections, and ours until released."""
    first, second = PortClaims(), PortClaims()
    ports = first.take(200) + second.take(200)
    assert len(set(ports)) == 400
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(ports) < lowest_outgoing
    with socket.socket(socket.AF_UNIX) as rival, pytest.raises(OSError, match="in use"):
        rival.bind(f"\0huitong-port-{ports[0]}")
    first.release()
    with socket.socket(socket.AF_UNIX) as rival:
        rival.bind(f"\0huitong-port-{ports[0]}")
    second.release()


def test_everybody_gets_the_same_node() -> None:
    """Many askers at once have the node started once; closing the desk ends it and removes its directory."""
    desk = ServiceDesk({"small": SmallNode})
    answers: list[Path] = []
    try:
        askers = [threading.Thread(target=lambda: answers.append(ask_for("small", desk.address))) for _ in range(4)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert answers == [desk.directory / "small"] * 4
        node = SmallNode(answers[0])
        assert node.answers()
        assert node.log().count("child") == 1
    finally:
        desk.close()
    assert not node.answers()
    assert not desk.directory.exists()


def test_a_service_that_does_not_start_is_an_error_for_everybody() -> None:
    """Whoever asks for a broken service gets its error, each time, and nobody hangs."""
    desk = ServiceDesk({"small": BrokenNode})
    try:
        for _ in range(2):
            with pytest.raises(NodeFailed) as failure:
                ask_for("small", desk.address)
            assert "this server is broken" in str(failure.value)
    finally:
        desk.close()


def test_what_a_killed_run_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new desk removes the directory of a run that is gone, and leaves that of a living one alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = ServiceDesk({})
    dead = tmp_path / "huitong-test-dead"
    dead.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead / "desk"))
    try:
        ServiceDesk({}).close()
        assert not dead.exists()
        assert living.directory.exists()
    finally:
        living.close()


def test_certificates_are_believed_by_those_who_know_the_authority(tmp_path: Path) -> None:
    """Client and server of one authority shake hands; the client's name is its common name."""
    authority = CertificateAuthority(tmp_path)
    server, client = authority.server(), authority.client("agent.a")
    assert stat.S_IMODE(server.key.stat().st_mode) == 0o600
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=server.authority)
    context.load_cert_chain(server.certificate, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    near, far = socket.socketpair()
    names: list[str] = []

    def serve() -> None:
        with context.wrap_socket(far, server_side=True) as accepted:
            certificate = accepted.getpeercert() or {}
            names.extend(str(part[0][1]) for part in certificate["subject"])  # type: ignore[misc]
            accepted.send(b"!")

    thread = threading.Thread(target=serve)
    thread.start()
    with client.context().wrap_socket(near, server_hostname="localhost") as connected:
        assert connected.recv(1) == b"!"
    thread.join()
    assert names == ["agent.a"]
