"""Reading the address of the broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.adapters.amqp.address import BrokerAddress, Tls
from agent.errors import NotConnected, SettingsError


def test_an_address_is_read_whole() -> None:
    """Hosts in order with their ports, the virtual host decoded, the user for every host."""
    address = BrokerAddress.parse("amqps://mq1.example,mq2.example:5999,[::1]/province%2Fone", user="agent.d1", password="s3cret")
    assert address.hosts == (("mq1.example", 5671), ("mq2.example", 5999), ("::1", 5671))
    assert (address.vhost, address.user, address.node) == ("province/one", "agent.d1", "d1")
    assert address.tls == Tls()


@pytest.mark.parametrize(
    "url, expected",
    [
        ("amqp://localhost", ((("localhost", 5672),), "/", "", "")),
        ("amqp://localhost/", ((("localhost", 5672),), "/", "", "")),
        ("amqp://guest:gu%40est@127.0.0.1:5673/x", ((("127.0.0.1", 5673),), "x", "guest", "gu@est")),
    ],
)
def test_what_an_address_leaves_out_has_a_default(url: str, expected: tuple[object, ...]) -> None:
    """Port by scheme, the default virtual host, credentials in the URL where somebody put them."""
    address = BrokerAddress.parse(url)
    assert (address.hosts, address.vhost, address.user, address.password) == expected
    assert address.tls is None


def test_arguments_win_over_the_url() -> None:
    """A secret resolved by name replaces what stands in the URL."""
    address = BrokerAddress.parse("amqp://a:b@h/", user="c", password="d")
    assert (address.user, address.password) == ("c", "d")


@pytest.mark.parametrize("url", ["", "mq.example", "http://h/", "amqp://", "amqp://h:port/", "amqp://u:s3cret@/", "amqp://h,,g/"])
def test_a_wrong_address_is_a_settings_error_that_keeps_the_password(url: str) -> None:
    """The error says what is missing and never quotes the URL."""
    with pytest.raises(SettingsError) as caught:
        BrokerAddress.parse(url)
    assert "s3cret" not in str(caught.value)


def test_the_password_is_in_no_repr() -> None:
    """Neither ours nor that of what we hand to the library."""
    address = BrokerAddress.parse("amqp://h/", user="u", password="s3cret")
    assert "s3cret" not in repr(address)
    assert "s3cret" not in repr(address.parameters())


def test_without_a_password_the_certificate_logs_in() -> None:
    """SASL EXTERNAL, where the broker takes the name from the certificate."""
    (parameters,) = BrokerAddress.parse("amqp://h/", user="agent.d1").parameters()
    assert parameters.credentials.TYPE == "EXTERNAL"


def test_every_time_limit_is_set() -> None:
    """Nothing is left to defaults that wait for ever."""
    (parameters,) = BrokerAddress.parse("amqp://h/", user="u", password="p").parameters()
    assert parameters.heartbeat == 10
    assert parameters.blocked_connection_timeout == 60.0
    assert (parameters.stack_timeout, parameters.socket_timeout) == (15.0, 15.0)
    assert parameters.tcp_options == {"TCP_USER_TIMEOUT": 20_000}
    assert parameters.connection_attempts == 1


def test_a_certificate_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error names the files, and is one that heals by itself when they appear."""
    address = BrokerAddress.parse("amqps://h/", tls=Tls(ca=tmp_path / "ca.pem"))
    with pytest.raises(NotConnected, match=r"ca\.pem"):
        address.parameters()
