"""Getting through to the broker, or saying why not."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.adapters.amqp.address import BrokerAddress, Tls
from agent.adapters.amqp.connection import Connection
from agent.adapters.amqp.sink import AmqpSink
from agent.errors import Forbidden, HuitongError, NotConnected
from agent.testing.nodes.certificates import CertificateAuthority, ClientTls
from agent.wire.topology import ingress_exchange
from tests.contract.broker.worlds import outcomes, parcel
from tests.integration.amqp.conftest import Department, TlsNode

pytestmark = pytest.mark.integration


def error_of(address: BrokerAddress) -> HuitongError:
    """Return what opening raises."""
    connection = Connection(address)
    with pytest.raises(HuitongError) as caught:
        connection.open()
    connection.close()
    return caught.value


def secured(tls_node: TlsNode, client: ClientTls | None, *, host: str = "localhost", ca: Path | None = None) -> BrokerAddress:
    """Return an address of the TLS port, for login by certificate."""
    tls = Tls(ca or tls_node.authority.certificate, client and client.certificate, client and client.key)
    return BrokerAddress(hosts=((host, tls_node.node.ports["amqps"]),), user="agent.x", tls=tls, connect_secs=5.0)


def test_wrong_credentials_are_forbidden(department: Department) -> None:
    """Password, user and virtual host: each wrong one is told as such, without the password."""
    for wrong in ({"password": "wr0ng"}, {"user": "agent.nobody"}, {"vhost": "nowhere"}):
        error = error_of(replace(department.agent, **wrong))
        assert isinstance(error, Forbidden)
        assert "wr0ng" not in str(error)
        assert "huitong hub admit" in error.localised()[1]


def test_a_port_where_nobody_listens_is_not_connected(department: Department) -> None:
    """The text is that of the operating system, not an empty one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        error = error_of(replace(department.agent, hosts=(free.getsockname(),)))
    assert isinstance(error, NotConnected)
    assert "refused" in str(error).lower()


def test_a_name_that_is_none_is_not_connected(department: Department) -> None:
    """A host name that cannot be looked up is told as any other failure to connect."""
    error = error_of(replace(department.agent, hosts=(("x" * 64 + ".example", 5672),)))
    assert isinstance(error, NotConnected)


def test_a_silent_host_is_given_up(department: Department) -> None:
    """Who accepts and says nothing is left after the time to connect."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        error = error_of(replace(department.agent, hosts=(silent.getsockname(),), connect_secs=0.5))
    assert isinstance(error, NotConnected)


def test_the_next_host_is_tried(department: Department) -> None:
    """The first host that answers is taken."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = replace(department.agent, hosts=(free.getsockname(), *department.agent.hosts))
        sink = AmqpSink(address, user_id=department.user, app_id="t")
        sink.open()
    sink.send([parcel(1, exchange=ingress_exchange(department.code))])
    assert outcomes(sink, 1)[0].error is None
    sink.close()


def test_a_client_certificate_logs_in(tls_node: TlsNode, department: Department) -> None:
    """TLS with the common name as user, no password; the broker vouches for that user."""
    address = secured(tls_node, tls_node.authority.client(department.user))
    sink = AmqpSink(replace(address, user=department.user), user_id=department.user, app_id="t")
    sink.open()
    sink.send([parcel(1, exchange=ingress_exchange(department.code))])
    assert outcomes(sink, 1)[0].error is None
    sink.close()


def no_certificate(_authority: CertificateAuthority) -> ClientTls | None:
    return None


def expired(authority: CertificateAuthority) -> ClientTls | None:
    return authority.client("agent.old", not_after=datetime(2021, 1, 1, tzinfo=UTC))


def not_admitted(authority: CertificateAuthority) -> ClientTls | None:
    return authority.client("agent.nobody")


@pytest.mark.parametrize("client", [no_certificate, expired, not_admitted])
def test_a_client_the_broker_does_not_accept_is_forbidden(
    tls_node: TlsNode, client: Callable[[CertificateAuthority], ClientTls | None]
) -> None:
    """No certificate, an expired one, one of a user who is not admitted."""
    assert isinstance(error_of(secured(tls_node, client(tls_node.authority))), Forbidden)


def test_a_broker_we_cannot_verify_is_not_spoken_to(tls_node: TlsNode, tmp_path: Path) -> None:
    """Another authority, or another host name than certified: NotConnected, and the hint names the setting."""
    stranger = CertificateAuthority(tmp_path / "stranger")
    client = tls_node.authority.client("agent.x")
    wrong_authority = secured(tls_node, client, ca=stranger.certificate)
    wrong_name = secured(tls_node, client, host="127.1")  # another spelling of the address, not the name certified
    for address in (wrong_authority, wrong_name):
        error = error_of(address)
        assert isinstance(error, NotConnected)
        assert "does not verify" in str(error)
        assert "hub.ca" in error.hint


def test_plain_and_tls_mixed_up_is_not_connected(tls_node: TlsNode, department: Department) -> None:
    """Plain AMQP to the TLS port and TLS to the plain port both say that scheme and port do not fit."""
    ports = tls_node.node.ports
    plain = error_of(replace(department.agent, hosts=(("127.0.0.1", ports["amqps"]),)))
    secure = error_of(
        replace(secured(tls_node, None), hosts=(("localhost", ports["amqp"]),)),
    )
    assert isinstance(plain, NotConnected)
    assert isinstance(secure, NotConnected)
    assert "amqps://" in plain.hint


def test_the_password_is_in_no_log(department: Department, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at the level at which the library logs everything it does."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="pika")
    sink = AmqpSink(department.agent, user_id=department.user, app_id="t")
    sink.open()
    sink.close()
    error_of(replace(department.agent, password="wr0ng-password"))
    assert len(caplog.records) > 50
    assert department.agent.password not in caplog.text
    assert "wr0ng-password" not in caplog.text


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_nothing_is_left_open(department: Department) -> None:
    """Connecting, failing to connect and closing leave no descriptor behind."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = replace(department.agent, hosts=(free.getsockname(),))
        sink = AmqpSink(department.agent, user_id=department.user, app_id="t")
        sink.open()
        sink.close()
        before = open_files()
        for _ in range(10):
            sink.open()
            sink.close()
            error_of(nobody)
        assert open_files() <= before
