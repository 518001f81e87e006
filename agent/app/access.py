"""How a command reaches the agent: through its control socket when it runs, otherwise in this process under the instance lock.

Reading never needs the agent: the store is opened read-only beside it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from agent.adapters import control
from agent.adapters.store.reader import StoreReader
from agent.app.parts import store_path
from agent.errors import NotFound
from agent.i18n import N_
from agent.settings.agent_file import AgentFile

_PATIENCE_SECS = 60.0

Offline = Callable[[], Iterator[Mapping[str, control.Handler]]]
"""A generator that opens the store in this process, yields its handlers, and closes it."""


@contextmanager
def open_reader(settings: AgentFile) -> Iterator[StoreReader]:
    """Open the store for reading. Raises NotFound when this agent has never run."""
    path = store_path(settings)
    if not path.exists():
        raise NotFound(
            N_("this agent has no store yet: {path}"), hint=N_("start it first: huitong run"), what="store", name=path, path=path
        )
    reader = StoreReader(path)
    try:
        yield reader
    finally:
        reader.close()


def ask_running(settings: AgentFile, call: str, **args: object) -> object | None:
    """Return the running agent's answer; None when no agent runs. Raises Busy, Denied, and what the call raises there."""
    try:
        return control.call(settings.agent.control_socket, call, args, _PATIENCE_SECS)
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def ask(settings: AgentFile, offline: Offline, call: str, **args: object) -> object:
    """Have a call done: by the running agent, or here when none runs.

    Raises Busy when an agent holds the store but its socket is silent, and whatever the call raises.
    """
    answer = ask_running(settings, call, **args)
    if answer is not None:
        return answer
    with contextmanager(offline)() as handlers:
        return handlers[call](this_user(), dict(args))


def this_user() -> control.Caller:
    """Return who runs this process."""
    uid = os.getuid()
    try:
        return control.Caller(uid, pwd.getpwuid(uid).pw_name)
    except KeyError:
        return control.Caller(uid, str(uid))


