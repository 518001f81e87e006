"""Keys are exchanged without a gap: overlapping validity at both ends, under load, with a real hub."""

from __future__ import annotations

import pytest

from tests.integration.cli.conftest import MakeWorld
from tests.integration.cli.people import PROMPT, agent, hub, keys_in_messages, keys_in_receipts, restart, work

pytestmark = pytest.mark.integration


def test_the_agent_changes_its_key_under_load(make_world: MakeWorld) -> None:
    """Make, register, use, retire, remove: at every step both keys that may be on their way verify; nothing is lost or twice."""
    world = make_world()
    world.start("hub")
    world.clerks.start()
    world.start("agent")
    world.await_more(world.plan.rows)
    (old,) = (key["kid"] for key in agent(world, "keys", "list") if key["state"] == "signs")

    new = agent(world, "keys", "new")["kid"]
    agent(world, "keys", "export", "-o", str(world.folder / "own.keys"))
    assert world.stop("hub") == 0  # on SQLite the hub's commands wait for its process
    hub(world, "keys", "add", world.code, str(world.folder / "own.keys"))
    world.start("hub")
    world.await_more(20)
    assert keys_in_messages(world) == {old}

    agent(world, "keys", "use", new)
    world.await_more(20)
    assert keys_in_messages(world) == {old}  # from the next start on
    restart(world, "agent")
    world.await_more(20)
    assert keys_in_messages(world) == {old, new}

    assert world.stop("hub") == 0
    hub(world, "keys", "retire", old)
    world.start("hub")
    world.await_more(20)
    agent(world, "keys", "remove", old, "--yes")
    assert {key["kid"]: key["state"] for key in agent(world, "keys", "list") if key["owner"] == world.code} == {new: "signs"}
    world.prove()


def test_what_waits_under_a_revoked_key_is_signed_anew(make_world: MakeWorld) -> None:
    """The old key was lost while the hub was away: what was captured under it travels octet for octet under the new one."""
    world = make_world(habits=PROMPT)
    world.start("hub")
    world.start("agent")
    world.await_more(world.plan.rows)
    world.until(world.settled, "the first load has its receipts")
    assert world.stop("hub") == 0
    work(world)
    world.until(lambda: not world.settled(), "something waits")
    (old,) = (key["kid"] for key in agent(world, "keys", "list") if key["state"] == "signs")
    new = agent(world, "keys", "new")["kid"]
    agent(world, "keys", "export", "-o", str(world.folder / "own.keys"))
    hub(world, "keys", "add", world.code, str(world.folder / "own.keys"))
    hub(world, "keys", "revoke", old)
    agent(world, "keys", "use", new)
    restart(world, "agent")
    world.start("hub")
    world.until(world.settled, "everything is receipted")
    assert keys_in_messages(world) == {old, new}
    world.prove()


def test_the_hub_changes_its_key_and_announces_it(make_world: MakeWorld) -> None:
    """A key that the hub announces under the old one is trusted at once, apart from what operators pinned; receipts go on."""
    world = make_world()
    world.start("hub")
    world.clerks.start()
    world.start("agent")
    world.await_more(world.plan.rows)
    world.until(lambda: bool(keys_in_receipts(world)), "the first receipts")
    (old,) = keys_in_receipts(world)

    assert world.stop("hub") == 0
    new = hub(world, "keys", "new")["kid"]
    world.start("hub")
    restart(world, "agent")  # a hello is said on each new connection
    world.until(lambda: any(event["kid"] == new for event in world.events("agent", "key_announced")), "the key is announced")
    trusted = {key["kid"]: key["state"] for key in agent(world, "keys", "list") if key["owner"] != world.code}
    assert trusted == {old: "active", new: "active"}
    assert [path.stem for path in (world.folder / "trust").glob("*.jwk")] == [old]

    assert world.stop("hub") == 0
    hub(world, "keys", "use", new)
    world.start("hub")
    world.until(lambda: keys_in_receipts(world)[new] > 5, "receipts under the new key")
    assert not world.events("agent", "receipt_rejected")
    agent(world, "keys", "revoke", old, "--yes")
    world.await_more(20)
    world.prove()
