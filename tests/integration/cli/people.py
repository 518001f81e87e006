"""What people do to a world with commands, and how they wait for it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections import Counter
from typing import Any

from tests.faults.registry import Habits
from tests.faults.world import ROOT, World

PROMPT = Habits(late_every=0)
"""People who work now and then, with long breaks: what they hold back over a break would be beyond every overlap window."""


def agent(world: World, *arguments: str, code: int = 0) -> Any:
    """Run a command of the agent, demand its exit code, and return what it answers as JSON."""
    done = world.huitong(*arguments, "--json")
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout) if done.stdout.strip() else None


def hub(world: World, *arguments: str) -> Any:
    """Run a command of the hub and return what it answers as JSON."""
    command = [sys.executable, "-m", "agent", "hub", "--config", str(world.hub_yaml), *arguments, "--json", "--yes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return json.loads(done.stdout) if done.stdout.strip() else None


def restart(world: World, name: str) -> None:
    """Stop a process in order and start it again."""
    assert world.stop(name) == 0, world.words(name)
    world.start(name)


def work(world: World, turns: int = 20) -> None:
    """Let the people of the department take some turns, and nobody else."""
    for _ in range(turns):
        world.clerks.work()


def keys_in_receipts(world: World) -> Counter[str]:
    """Return how many receipts each key of the hub has signed."""
    return Counter(kid for (kid,) in world.agent_books.rows("SELECT kid FROM receipt"))


def keys_in_messages(world: World) -> set[str]:
    """Return with which keys the messages at the hub were signed."""
    rows = world.hub_books.rows("SELECT jws FROM message WHERE kind = 'records'")
    return {_kid(jws) for (jws,) in rows}


def _kid(jws: str) -> str:
    head = jws.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])
