"""A process group that ends with us, even when we end by SIGKILL.

The leader of the group is a shell that reads from a pipe which only we hold. The kernel closes the pipe when our process
ends, however it ends; the shell sees the end of the file and kills its whole group, itself included.
"""

from __future__ import annotations

import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TypedDict


class Guard:
    """Starts processes that cannot outlive this one. They are also out of reach of the terminal's Ctrl-C."""

    def __init__(self) -> None:
        self._leader = subprocess.Popen(
            ["/bin/sh", "-c", "read -r _; kill -KILL 0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
            env={},
        )
        self._members: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        output: IO[bytes],
        user: str | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `command` in the group, its output to `output`, as `user` if one is given (only root can)."""
        member = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            cwd=directory,
            process_group=self._leader.pid,
            **switch_to(user),
        )
        self._members.append(member)
        return member

    def close(self) -> None:
        """Kill what is left of the group and wait for its end. Idempotent."""
        stdin = self._leader.stdin
        if stdin is not None and not stdin.closed:
            stdin.close()
        for process in self._members:
            process.wait()
        if self._leader.wait() != -signal.SIGKILL:
            raise RuntimeError("the guard of a process group ended before its time")


class Switch(TypedDict, total=False):
    """Arguments of `subprocess` that change the user of a process."""

    user: int
    group: int
    extra_groups: list[int]


def switch_to(user: str | None) -> Switch:
    """Return what makes a process run as `user` and in no group but the user's own; nothing for None."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
