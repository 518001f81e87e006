"""A RabbitMQ with TLS and a small limit on messages, and departments on it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from agent.adapters.amqp.address import BrokerAddress
from agent.adapters.amqp.admin import AmqpAdmin
from agent.testing.nodes.certificates import CertificateAuthority
from agent.testing.nodes.rabbitmq import RabbitmqNode
from agent.wire.topology import read_permission, user_name, write_permission

MAX_MESSAGE_BYTES = 1_000_000


@dataclass(frozen=True)
class TlsNode:
    """The node and the authority that certified it."""

    node: RabbitmqNode
    authority: CertificateAuthority


@pytest.fixture(scope="session")
def tls_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsNode]:
    """A node that speaks TLS, demands client certificates there, and takes messages of at most a megabyte."""
    directory = tmp_path_factory.mktemp("tls")
    authority = CertificateAuthority(directory / "authority")
    settings = {"max_message_size": str(MAX_MESSAGE_BYTES)}
    node = RabbitmqNode(directory / "node", tls=authority.server(), settings=settings)
    node.start()
    yield TlsNode(node, authority)
    node.remove()


@dataclass(frozen=True)
class Department:
    """A department admitted on a node: `agent` is its own address, `hub` one with every right."""

    code: str
    agent: BrokerAddress
    hub: BrokerAddress

    @property
    def user(self) -> str:
        return user_name(self.code)

    def patient(self, **limits: float) -> BrokerAddress:
        """Return the agent's address with other time limits."""
        return replace(self.agent, **limits)


def admit(node: RabbitmqNode, vhost: str = "/") -> Department:
    """Admit a department with the rights of PROTOCOL 4."""
    code = f"d-{secrets.token_hex(4)}"
    hub = BrokerAddress.parse(node.space(vhost).url)
    with AmqpAdmin(hub) as admin:
        admin.admit(code, inbound_bound=1000)
    password = secrets.token_hex(8)
    node.add_user(user_name(code), password)
    node.set_permissions(user_name(code), vhost, "", write_permission(code), read_permission(code))
    return Department(code, replace(hub, user=user_name(code), password=password), hub)


@pytest.fixture
def department(tls_node: TlsNode) -> Department:
    """A fresh department on the node with TLS."""
    return admit(tls_node.node)
