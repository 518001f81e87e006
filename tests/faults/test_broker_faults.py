"""The broker dies, freezes, starts again, has no route, no room or no right for us: captured data waits and arrives, once."""

from __future__ import annotations

import pytest

from agent.errors import Forbidden, Refused, Unroutable
from agent.testing.proxy import FaultProxy
from agent.wire.topology import inbound_queue, read_permission, user_name, write_permission
from tests.faults.conftest import MakeWorld
from tests.faults.world import World, pause

pytestmark = [pytest.mark.faults, pytest.mark.integration]


def begin(world: World, *, hub: bool = True) -> World:
    """Put people, agent and hub to work, and see it go through."""
    if hub:
        world.start("hub")
    world.clerks.start()
    world.start("agent")
    if hub:
        world.await_more(world.plan.rows)
    return world


# -- the broker comes and goes ---------------------------------------------------------------------------------------


def test_the_broker_dies_and_is_restarted(make_breakable: MakeWorld, long_run: bool) -> None:
    """Killed under load, then restarted in order: agent and hub come back by themselves, and what was in doubt is stored once."""
    world = make_breakable()
    world.broker.sync_declarations()
    begin(world)
    for _ in range(5 if long_run else 1):
        world.broker.kill()
        world.tally.kills += 1
        world.broker.start()
        world.await_more()
        world.broker.restart()
        world.tally.faults += 1
        world.await_more()
    world.prove()
    assert world.events("agent", "broker_lost")


def test_the_broker_freezes(make_breakable: MakeWorld) -> None:
    """SIGSTOP leaves connections open and silent: the agent notices by heartbeat, captures on, and sends when it thaws."""
    world = begin(make_breakable(environment={"WORLD_HEARTBEAT_SECS": "1"}))
    freeze(world, within_secs=20)


@pytest.mark.long
def test_the_broker_freezes_for_long(make_breakable: MakeWorld) -> None:
    """The same with the heartbeat that ships: a frozen broker is noticed within half a minute, and thaws after 45 seconds."""
    world = begin(make_breakable())
    freeze(world, within_secs=35, at_least_secs=45)


def freeze(world: World, *, within_secs: float, at_least_secs: float = 0) -> None:
    """Freeze the broker until the agent has noticed, and at least so long; what is captured meanwhile arrives."""
    world.broker.pause()
    world.tally.faults += 1
    try:
        captured = world.captured()
        world.until(lambda: bool(world.events("agent", "broker_lost")), "the agent notices", within_secs)
        world.until(lambda: world.captured() > captured + 10, "capture goes on")
        pause(max(0.0, at_least_secs - within_secs))
    finally:
        world.broker.resume()
    world.await_more()
    world.prove()


def test_the_agent_starts_without_a_broker(make_world: MakeWorld) -> None:
    """Started with no broker in reach, the agent captures; when it is reached, everything is sent."""
    with FaultProxy(make_world.broker.ports["amqp"]) as proxy:
        proxy.refuse()
        world = begin(make_world(agent_port=proxy.port), hub=False)
        world.tally.faults += 1
        world.until(lambda: bool(world.events("agent", "broker_lost")), "there is no broker")
        world.until(lambda: world.captured() > 70, "capture without a broker")
        assert world.agent_books.rows("SELECT DISTINCT state FROM message") == [("pending",)]
        proxy.heal()
        world.start("hub")
        world.await_more()
        world.prove()


# -- the broker refuses ----------------------------------------------------------------------------------------------


def test_a_queue_without_a_binding(make_world: MakeWorld) -> None:
    """Without a route every message comes back: none counts as sent, the alarm names the hub, and bound again all arrives."""
    world = begin(make_world())
    world.unbind()
    world.until(lambda: bool(world.alarms(Unroutable.code)), "the alarm")
    assert any(event["by"] == "hub" for event in world.events("agent", "flow_paused"))
    world.until(lambda: confirmed(world) == 0, "receipts of what had been sent")
    sent, captured = sent_messages(world), world.captured()
    world.until(lambda: world.captured() > captured + 10, "capture goes on")
    assert (sent_messages(world), confirmed(world)) == (sent, 0)
    world.bind()
    world.await_more()
    assert world.events("agent", "flow_resumed")
    world.prove()


def test_a_full_queue(make_world: MakeWorld) -> None:
    """A queue that is full refuses: the agent waits, sends again from the lowest refused message, and the order holds."""
    world = make_world()
    policy = f"/api/policies/{world.vhost}/small"
    bound = {"pattern": f"^{inbound_queue(world.code)}$", "definition": {"max-length": 5}, "apply-to": "queues"}
    world.broker.manage("PUT", policy, bound)
    world.tally.faults += 1
    begin(world, hub=False)
    world.until(lambda: bool(world.alarms(Refused.code)), "the alarm")
    world.start("hub")
    world.await_more(world.plan.rows)
    world.broker.manage("DELETE", policy)
    world.prove()


def test_rights_are_taken_and_given_back(make_world: MakeWorld) -> None:
    """Without the right to write the agent raises the alarm and tries slowly; with it again everything is sent."""
    world = begin(make_world())
    user = user_name(world.code)
    world.broker.set_permissions(user, world.vhost, "^$", "^$", read_permission(world.code))
    drop_connections(world, user)
    world.tally.faults += 1
    world.until(lambda: bool(world.alarms(Forbidden.code)), "the alarm")
    captured = world.captured()
    world.until(lambda: world.captured() > captured + 10, "capture goes on")
    world.broker.set_permissions(user, world.vhost, "^$", write_permission(world.code), read_permission(world.code))
    world.await_more()
    world.prove()


def test_the_account_is_deleted_and_created_again(make_world: MakeWorld) -> None:
    """A deleted account closes both connections; with the account back, under the same password, the agent comes back."""
    world = begin(make_world())
    user = user_name(world.code)
    world.broker.delete_user(user)
    world.tally.faults += 1
    world.until(lambda: bool(world.alarms(Forbidden.code)), "the alarm")
    world.broker.add_user(user, (world.folder / "secrets" / "hub_password").read_text())
    world.broker.set_permissions(user, world.vhost, "^$", write_permission(world.code), read_permission(world.code))
    world.await_more()
    world.prove()


def confirmed(world: World) -> int:
    """Return how many messages are at the broker and without a receipt, as far as the agent knows."""
    return int(world.agent_books.rows("SELECT count(*) FROM message WHERE state = 'confirmed'")[0][0])


def sent_messages(world: World) -> int:
    """Return how many messages ever left."""
    return int(world.agent_books.rows("SELECT count(*) FROM message WHERE state <> 'pending'")[0][0])


def drop_connections(world: World, user: str) -> None:
    """Close a user's connections: the broker looks at rights only when a channel is new."""

    def listed() -> list[str]:
        return [one["name"] for one in world.broker.manage("GET", "/api/connections") if one["user"] == user]

    world.until(lambda: len(listed()) >= 2, "the management interface knows the connections")  # it learns every few seconds
    for name in listed():
        world.broker.manage("DELETE", f"/api/connections/{name.replace(' ', '%20').replace('>', '%3E')}")
