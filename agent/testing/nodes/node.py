"""What all private service nodes have in common: a directory, ports, a life and a death."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, ClassVar, Final, Self

from agent.errors import HuitongError
from agent.i18n import N_
from agent.testing.nodes.guard import Guard, switch_to
from agent.testing.nodes.ports import PortClaims

_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOG_TAIL_CHARS: Final = 2_000
_COMMAND_SECS: Final = 120.0
_PAUSE_SECS: Final = 0.02  # between two attempts to connect


class NodeFailed(HuitongError):
    """A private service node is not installed, did not start or did not do as told."""

    code = "HT-T001"
    text = N_("the private {node} node failed: {why}")
    hint = N_("install what is missing with: script/bootstrap --services")


class Node(ABC):
    """One server of the distribution with its own data, on loopback ports of its own.

    Everything lives in `directory`; ports and the administrator's password are chosen once and kept there (mode 0600), so a
    second object on the same directory, in any process, can administer the node. Only the object that called `start` can
    stop, kill or pause it, and the server never outlives that object's process. Not thread-safe.
    """

    kind: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    user: str = "admin"

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory: Final = directory.resolve()
        self._claims = PortClaims()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self.ports, self.password = self._identity()

    # -- what a kind of node tells about itself --

    @abstractmethod
    def prepare(self) -> None:
        """Write configuration; create the data the first time."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the server's command line; it must stay in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """Return the server's whole environment."""
        return {"PATH": _SYSTEM_PATH, "HOME": str(self.directory), "LANG": "C.UTF-8", "TZ": "UTC"}

    @abstractmethod
    def answers(self) -> bool:
        """Make one real connection attempt and say whether the server took it."""

    def start_companions(self, guard: Guard, output: IO[bytes]) -> None:
        """Start what the server needs beside it."""

    def server_user(self) -> str | None:
        """Return the user the server runs as when that is not ours."""
        return None

    # -- life --

    @property
    def running(self) -> bool:
        """Whether this object's server process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self, deadline_secs: float = 90.0) -> None:
        """Start the server and return when it takes connections. Raises NodeFailed."""
        if self.running:
            raise self.failed("it runs already")
        self._bury()
        self._claims.hold(self.ports.values())
        self.prepare()
        self._guard = Guard()
        try:
            with self._output() as output:
                self.start_companions(self._guard, output)
                self._process = self._guard.start(
                    self.command(),
                    environment=self.environment(),
                    directory=self.directory,
                    output=output,
                    user=self.server_user(),
                )
            self.await_condition(self.answers, "it does not answer", deadline_secs)
        except BaseException:
            self.kill()
            raise

    def stop(self, deadline_secs: float = 60.0) -> None:
        """Ask the server to end, in order; what does not end is killed. Idempotent. Raises NodeFailed if it had to be killed."""
        if self._process is None:
            return
        self.resume()
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(deadline_secs)
        except subprocess.TimeoutExpired:
            raise self.failed("it did not stop when asked") from None
        finally:
            self.kill()

    def kill(self) -> None:
        """End the server and everything it started with SIGKILL, as a power cut would. Idempotent."""
        for pid in self.processes():
            _signal(pid, signal.SIGKILL)
        self._bury()

    def restart(self) -> None:
        """Stop in order and start again, on the same ports and data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): its connections stay open and say nothing."""
        for pid in self.processes():
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        for pid in self.processes():
            _signal(pid, signal.SIGCONT)

    def remove(self) -> None:
        """Kill the server if it runs, and delete its directory."""
        self.kill()
        self._claims.release()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """Return everything the server wrote to its logs."""
        return "".join(path.read_text("utf-8", "replace") for path in sorted((self.directory / "log").glob("*.log")))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._claims.release()

    # -- for the kinds --

    def failed(self, why: str) -> NodeFailed:
        """Make this node's error."""
        return NodeFailed(node=self.kind, why=why)

    def await_condition(self, condition: Callable[[], bool], complaint: str, deadline_secs: float) -> None:
        """Try `condition`, which makes a real attempt, until it holds. Raises NodeFailed at the deadline or the server's end."""
        deadline = time.monotonic() + deadline_secs
        with contextlib.ExitStack() as stack:
            exited = []
            if self._process is not None:
                exited.append(os.pidfd_open(self._process.pid))
                stack.callback(os.close, exited[0])
            while not condition():
                if select.select(exited, [], [], _PAUSE_SECS)[0]:
                    raise self.failed(f"it ended at once\n{self.log()[-_LOG_TAIL_CHARS:]}")
                if time.monotonic() > deadline:
                    raise self.failed(f"{complaint}\n{self.log()[-_LOG_TAIL_CHARS:]}")

    def program(self, name: str, *directories: str) -> str:
        """Return the absolute path of a program of the distribution. Raises NodeFailed when it is not installed."""
        found = shutil.which(name, path=":".join((*directories, _SYSTEM_PATH)))
        if found is None:
            raise self.failed(f"{name} is not installed")
        return found

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: str = "",
        extra: Mapping[str, str] | None = None,
        as_user: str | None = None,
    ) -> str:
        """Run an administrative command to its end, with `extra` in its environment, and return what it printed.

        Raises NodeFailed when it fails or takes longer than two minutes.
        """
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={**self.environment(), **(extra or {})},
            cwd=self.directory if as_user is None else "/",
            timeout=_COMMAND_SECS,
            **switch_to(as_user),
        )
        if done.returncode != 0:
            raise self.failed(f"{Path(command[0]).name}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    # -- own affairs --

    def _identity(self) -> tuple[Mapping[str, int], str]:
        path = self.directory / "node.json"
        if path.exists():
            kept = json.loads(path.read_text())
            return kept["ports"], kept["password"]
        ports = dict(zip(self.port_names, self._claims.take(len(self.port_names)), strict=True))
        password = secrets.token_hex(16)
        with open(path, "x", opener=_private) as file:
            json.dump({"kind": self.kind, "ports": ports, "password": password}, file)
        return ports, password

    def _output(self) -> IO[bytes]:
        folder = self.directory / "log"
        folder.mkdir(exist_ok=True)
        return (folder / "output.log").open("ab")

    def processes(self) -> list[int]:
        """Return our server process and all its descendants, parents first."""
        if self._process is None or self._process.poll() is not None:
            return []
        children = _children_by_parent()
        tree = [self._process.pid]
        for pid in tree:
            tree.extend(children.get(pid, ()))
        return tree

    def _bury(self) -> None:
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        self._process = None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _children_by_parent() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text("utf-8", "replace")
        except OSError:  # ended while we looked
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(entry.name))
    return children
