"""Admission against a real broker: topology, user, rights, one-time password, repeatable at any time."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest

from agent.adapters.amqp.address import BrokerAddress
from agent.adapters.amqp.sink import AmqpSink
from agent.adapters.clock import SystemClock
from agent.errors import Forbidden, NotConnected, Unroutable
from agent.wire.keys import write_enrolment
from agent.wire.topology import user_name
from hub.errors import BrokerRefused
from hub.management import Management
from hub.testing import SampleDepartment

if TYPE_CHECKING:
    from agent.testing.nodes.rabbitmq import BrokerSpace
    from tests.integration.hub.conftest import World

pytestmark = pytest.mark.integration


def ask(world: World, path: str) -> Any:
    """Ask the management interface."""
    token = base64.b64encode(f"{world.broker.user}:{world.broker.password}".encode()).decode()
    with urlopen(Request(world.broker.management_url + path, headers={"Authorization": f"Basic {token}"}), timeout=10) as answer:
        return json.loads(answer.read())


def test_admission_can_be_repeated(world: World) -> None:
    """The second time nothing is new, no password is shown and the first one still works; --new-password gives another."""
    department = world.admit("bdc")
    code = department.sample.code
    key = world.folder / f"{code}.json"
    again = world.cli("admit", code, "--key", str(key))
    assert (again["new"], again["password"], again["commands"]) == (False, "", [])
    department.open()
    changed = world.cli("admit", code, "--new-password")
    assert changed["password"]
    address = BrokerAddress.parse(world.broker.url, user=user_name(code), password="wrong")
    with pytest.raises(Forbidden):
        AmqpSink(address, user_id=user_name(code), app_id="x").open()


def test_rights_are_exactly_those_of_the_protocol(world: World) -> None:
    """Configure nothing, write the own exchange, read the own queues; no tags; connections are limited."""
    code = world.admit("bdc").sample.code
    (rights,) = ask(world, f"/api/users/agent.{code}/permissions")
    assert (rights["configure"], rights["write"], rights["read"]) == ("^$", rf"^ing\.{code}$", rf"^(rcpt|out)\.{code}$")
    user = ask(world, f"/api/users/agent.{code}")
    assert not user["tags"]
    assert user["limits"] == {"max-connections": 8, "max-channels": 32}


def test_a_certificate_user_has_no_password(world: World) -> None:
    """With --certificate the user exists and no password opens it."""
    code = "cert-" + world.broker.vhost[-8:]
    sample = SampleDepartment(code, "sc-hub", SystemClock())
    (world.folder / "key.json").write_bytes(write_enrolment(code, [sample.public]))
    told = world.cli("admit", code, "--key", str(world.folder / "key.json"), "--certificate")
    assert (told["new"], told["password"]) == (True, "")
    address = BrokerAddress.parse(world.broker.url, user=user_name(code), password="x")
    with pytest.raises((Forbidden, NotConnected)):
        AmqpSink(address, user_id=user_name(code), app_id="x").open()


def test_before_admission_there_is_no_way_in(world: World) -> None:
    """An exchange exists only for admitted departments."""
    first = world.admit("bdc")
    sink = AmqpSink(first._address, user_id=first._address.user, app_id="x")
    sink.open()
    other = SampleDepartment("tax-02", "sc-hub", SystemClock())
    sink.send([other.parcel(other.opening())])
    (outcome,) = sink.poll(10.0)
    sink.close()
    assert isinstance(outcome.error, (Unroutable, Forbidden))


def test_the_management_interface_says_no(broker: BrokerSpace) -> None:
    """A wrong password and a closed port are told as they are, without the password."""
    wrong = Management(broker.management_url, broker.user, "wrong-password")
    with pytest.raises(BrokerRefused) as caught:
        wrong.user_exists("bdc-01")
    assert "401" in str(caught.value)
    assert "wrong-password" not in str(caught.value)
    with pytest.raises(BrokerRefused):
        Management("http://127.0.0.1:9", "x", "y").user_exists("bdc-01")


def test_this_broker_needs_no_policy(world: World) -> None:
    """RabbitMQ 3.x has no default delivery limit: admission leaves its policies alone."""
    world.admit("bdc")
    assert ask(world, f"/api/policies/{world.broker.vhost}") == []
