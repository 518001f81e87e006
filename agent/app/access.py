"""How a command reaches the agent: through its control socket when it runs, otherwise in this process under the instance lock.

Reading never needs the agent: the store is opened read-only beside it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

from agent.adapters import control
from agent.app.places import open_reader, store_path
from agent.errors import (
    Busy,
    Conflict,
    Denied,
    HuitongError,
    NotFound,
    SourceRefused,
    SourceUnavailable,
    StoreError,
    StoreFull,
)
from agent.i18n import N_

if TYPE_CHECKING:
    from agent.adapters.store.reader import StoreReader
    from agent.settings.agent_file import AgentFile

PATIENCE_SECS: Final = 60.0
GLANCE_SECS: Final = 5.0
"""How long a question may take that the agent answers from memory."""

Offline = Callable[[], AbstractContextManager[Mapping[str, control.Handler]]]
"""Opens the store in this process, gives its handlers, and closes it."""


@contextmanager
def reading(settings: AgentFile) -> Iterator[StoreReader]:
    """Open the store for reading. Raises NotFound when this agent has never run, Denied, StoreError."""
    reader = open_reader(settings)
    try:
        yield reader
    finally:
        reader.close()


def ask_running(
    settings: AgentFile, call: str, args: Mapping[str, object] | None = None, *, within_secs: float = PATIENCE_SECS
) -> object | None:
    """Return the running agent's answer; None when no agent runs. Raises Busy, Denied, and what the call raises there."""
    try:
        return control.call(settings.agent.control_socket, call, args or {}, within_secs)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except control.RemoteError as error:
        raise _as_here(error) from None


def ask(settings: AgentFile, offline: Offline, call: str, **args: object) -> object:
    """Have a call done: by the running agent, or here when none runs.

    Raises Busy when an agent holds the store but its socket is silent, and whatever the call raises.
    """
    answer = ask_running(settings, call, args)
    if answer is not None:
        return answer
    try:
        with offline() as handlers:
            return handlers[call](this_user(), dict(args))
    except Busy as error:
        raise Busy(
            N_("an agent is at work on {path}, but does not listen on {socket}"),
            hint=N_("it is starting or ending: try again; else compare agent.control_socket with the running agent's"),
            path=store_path(settings).parent,
            socket=settings.agent.control_socket,
        ) from error


_RAISED_HERE: Final = (Busy, Conflict, Denied, NotFound, SourceRefused, SourceUnavailable, StoreError, StoreFull)
_KINDS: Final = {kind.code: kind for kind in _RAISED_HERE}


def _as_here(error: control.RemoteError) -> HuitongError:
    """Return what the call would have raised in this process, so that exit codes and whose turn it is are the same."""
    kind = _KINDS.get(error.code)
    return kind(error.text, hint=error.hint, **error.details) if kind is not None else error


def this_user() -> control.Caller:
    """Return who runs this process; behind sudo, who called it."""
    uid = os.getuid()
    name = os.environ.get("SUDO_USER", "") if uid == 0 else ""
    try:
        return control.Caller(uid, name or pwd.getpwuid(uid).pw_name)
    except KeyError:
        return control.Caller(uid, str(uid))
