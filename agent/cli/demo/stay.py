"""The demonstration after its end: what to try, until somebody asks for the end."""

from __future__ import annotations

import shlex
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.cli.base import Session
from agent.cli.demo.world import World
from agent.i18n import N_, _

_LOOK_SECS: Final = 1.0


def stay(session: Session, world: World) -> None:
    """Say what to try; start again what was killed, as the service manager would; come back at Ctrl-C."""
    for line in suggestions(world, program()):
        session.output.say(line)
    pause = threading.Event()
    with suppress(KeyboardInterrupt):
        while not pause.wait(_LOOK_SECS):
            for name, process_id in world.revive():
                text = N_("{name} had ended and was started again, as the service manager would do; its process is now {pid}")
                session.output.say(_(text).format(name=name, pid=process_id))
    session.output.say(_(N_("Stopping everything …")))


def suggestions(world: World, huitong: str) -> Iterator[str]:
    """Yield lines to read and commands to paste."""
    agent, hub = f"{huitong} --config {shlex.quote(str(world.agent_yaml))}", shlex.quote(str(world.hub_yaml))
    yield _(N_("Everything keeps running until Ctrl-C, which also removes it. To try, in another terminal:"))
    yield f"  {agent} status --watch"
    yield f"  {agent} dead list --flow tax"
    yield f"  {agent} message find --flow people -n 5"
    yield f"  {agent} preview companies -n 1"
    yield f"  {huitong} hub --config {hub} status"
    yield f"  ls {shlex.quote(str(world.drop / 'rejected'))}"
    yield f"  kill -9 {world.process_ids.get('agent')}   # {_(N_('the agent is started again; nothing is lost'))}"
    yield _(N_("After this line, the commands that huitong itself suggests work as they stand:"))
    yield f"  alias huitong={shlex.quote(agent)}"


def program() -> str:
    """Return how this program is called from a shell."""
    called = Path(sys.argv[0])
    if called.name != "huitong":
        return f"{shlex.quote(sys.executable)} -m agent"
    known = shutil.which("huitong")
    return "huitong" if known and Path(known).resolve() == called.resolve() else shlex.quote(str(called.absolute()))
