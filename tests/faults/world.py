"""A department under load, its agent, a broker and a hub: each a process of its own that may be killed at any time."""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from agent.adapters.amqp.address import BrokerAddress
from agent.adapters.amqp.admin import AmqpAdmin
from agent.testing.arming import VARIABLE, killed_at
from agent.testing.nodes.guard import Guard
from agent.testing.nodes.mariadb import MariadbNode
from agent.testing.nodes.postgres import PostgresDatabase, PostgresNode
from agent.testing.nodes.rabbitmq import RabbitmqNode
from agent.wire.topology import inbound_queue, ingress_exchange
from tests.faults.admission import introduce
from tests.faults.ledger import Audit, Books, PostgresBooks, SqliteBooks, audit, unsettled
from tests.faults.ledger_changes import check_changes, check_states
from tests.faults.movers import Movers
from tests.faults.papers import EXACT, MESSAGE_TYPE, AgentPapers, agent_yaml, hub_yaml
from tests.faults.registry import TABLES, Clerks, Habits
from tests.faults.sources import Office, database_on

ROOT: Final = Path(__file__).resolve().parents[2]
HUB: Final = "hub-1"
PATIENCE_SECS: Final = 60.0
STOP_SECS: Final = 40.0
FIRST_ROWS: Final = 300
_PAUSE_SECS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Stack:
    """What a world is built on. Without a server: SQLite."""

    source: PostgresNode | MariadbNode | None = None
    store: PostgresNode | None = None


@dataclass(slots=True)
class Tally:
    """What was done to a world, and what came of it."""

    kills: int = 0
    faults: int = 0
    records: int = 0
    lost: int = 0
    twice: int = 0

    def add(self, found: Audit) -> None:
        """Count the result of an audit."""
        self.records += found.records
        self.lost += len(found.lost)
        self.twice += len(found.twice)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a world is set up."""

    stack: Stack = Stack()
    rows: int = FIRST_ROWS
    habits: Habits = Habits()
    papers: AgentPapers = AgentPapers()
    seed: int = 1
    state_dir: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)  # see tests.faults.child
    agent_port: int | None = None  # of a proxy before the broker


class World:
    """Use as a context manager; whatever was started ends with it, and with the process that runs the test."""

    def __init__(self, folder: Path, broker: RabbitmqNode, tally: Tally, plan: Plan) -> None:
        self.folder, self.broker, self.tally, self.plan = folder, broker, tally, plan
        self.code = f"d-{secrets.token_hex(4)}"
        self.vhost = self.code
        self.drop = folder / "drop"
        self.state_dir = plan.state_dir or folder / "state"
        self._stack = ExitStack()
        self._guard = Guard()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._began: dict[str, int] = {}  # where the log of a process begins
        self.environment = dict(plan.environment)
        self._store: PostgresDatabase | None = None
        self._build()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clerks.go_home() if self.clerks.is_alive() else None
        self._guard.close()
        self._stack.close()

    # -- set-up ------------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        for part in (self.drop, self.folder / "hub-secrets", self.folder / "secrets", self.folder / "types"):
            part.mkdir(parents=True, mode=0o700)
        (self.folder / "types" / "thing.yaml").write_text(MESSAGE_TYPE, encoding="utf-8")
        plan, mode = self.plan, self.plan.papers.mode
        self._office = Office(self.folder, self.code, plan.stack.source, self._stack)
        if plan.stack.store is not None:
            self._store = database_on(plan.stack.store, f"{self.code}-store", self._stack)
        self.registry = self._office.registry
        self.registry.create(plan.rows)
        self._office.open(mode)
        people = Clerks if mode == "polling" else Movers
        self.clerks = people(self.registry, self.drop, plan.rows, plan.seed, plan.habits)
        self.space = self.broker.add_vhost(self.vhost)
        self._stack.callback(self._forget_vhost)
        self._write_papers()
        password = introduce(self.folder, self.hub_yaml, self.code, HUB, self.space)
        _secret(self.folder / "secrets" / "hub_password", password)
        self._office.prepare(mode, self.huitong)

    def _forget_vhost(self) -> None:
        self.broker.delete_vhost(self.vhost)
        self.broker.delete_user(f"agent.{self.code}")

    def _write_papers(self) -> None:
        _secret(self.folder / "hub-secrets" / "broker", self.space.password)
        if self._store is not None:
            _secret(self.folder / "hub-secrets" / "store", self._store.password)
        where = self._office.where
        if where is not None:
            _secret(self.folder / "secrets" / "source", where.password)
        self.hub_yaml.write_text(hub_yaml(self.folder, HUB, self.space, self._store), encoding="utf-8")
        port = self.plan.agent_port or self.space.port
        url = f"amqp://127.0.0.1:{port}/{self.vhost}"
        text = agent_yaml(self.folder, self.code, HUB, url, where, self.state_dir, self.plan.papers)
        self.agent_yaml.write_text(text, encoding="utf-8")

    # -- places ------------------------------------------------------------------------------------------------------

    @property
    def agent_yaml(self) -> Path:
        """The department's configuration."""
        return self.folder / "agent.yaml"

    @property
    def hub_yaml(self) -> Path:
        """The hub's configuration."""
        return self.folder / "hub.yaml"

    @property
    def hub_books(self) -> Books:
        """The hub's store."""
        return SqliteBooks(self.folder / "hub.db") if self._store is None else PostgresBooks(self._store)

    @property
    def agent_books(self) -> Books:
        """The agent's store."""
        return SqliteBooks(self.state_dir / "outbox.db")

    def clone(self) -> Books:
        """Copy the agent, which is stopped, with everything it has: `start("twin")` runs the clone. Return its store."""
        shutil.copytree(self.state_dir, self.folder / "twin")
        text = self.agent_yaml.read_text("utf-8").replace(f"state_dir: {self.state_dir}", f"state_dir: {self.folder}/twin")
        (self.folder / "twin.yaml").write_text(text.replace(f"{self.folder}/s\n", f"{self.folder}/t\n"), "utf-8")
        return SqliteBooks(self.folder / "twin" / "outbox.db")

    # -- processes ---------------------------------------------------------------------------------------------------

    def start(self, name: str, *, die_at: str = "") -> None:
        """Start `agent` or `hub` (`hub-2` for one more); `die_at` is a crash point and a hit, as in `C07:3`."""
        assert self._processes.get(name) is None, f"{name} runs already"
        agents = {"agent": self.agent_yaml, "twin": self.folder / "twin.yaml"}
        arguments = ["--config", str(agents[name]), "run"] if name in agents else ["hub", "--config", str(self.hub_yaml), "run"]
        with self._log(name).open("ab") as log:
            self._began[name] = log.tell()
            self._processes[name] = self._guard.start(
                [*self.command(), *arguments], environment=self._environment(die_at), directory=ROOT, output=log
            )

    def command(self) -> Sequence[str]:
        """Return what runs `huitong` in this world."""
        return [sys.executable, "-m", "tests.faults.child" if self.environment else "agent"]

    def huitong(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the agent to its end."""
        command = [*self.command(), "--config", str(self.agent_yaml), "--lang", "en", *arguments]
        told = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
        return subprocess.run(command, check=False, env=self._environment(), cwd=ROOT, timeout=60, **told)

    def kill(self, name: str) -> None:
        """End a process with SIGKILL, now."""
        process = self._processes.pop(name)
        assert process.poll() is None, self.words(name)
        process.kill()
        process.wait()
        self.tally.kills += 1

    def await_death(self, name: str, point: str) -> None:
        """Wait until a process has killed itself at a crash point; any other end is a failure."""
        process = self._processes[name]
        self._wait(lambda: process.poll() is not None, f"{name} does not come to {point}", alive=())
        del self._processes[name]
        assert process.returncode == -signal.SIGKILL, f"{name} ended with {process.returncode}\n{self.words(name)}"
        said = self._log(name).read_bytes()[self._began[name] :]  # other threads may have had the last word
        assert killed_at(point).encode() in said, f"{name} died elsewhere\n{self.words(name)}"
        self.tally.kills += 1

    def await_end(self, name: str) -> int:
        """Wait until a process has ended by itself and return its exit code."""
        process = self._processes[name]
        self._wait(lambda: process.poll() is not None, f"{name} does not end", alive=())
        del self._processes[name]
        return process.returncode

    def stop(self, name: str) -> int:
        """Ask a process to end, once it is up and hears us, and return its exit code."""
        self._wait(lambda: self._log(name).stat().st_size > self._began[name], f"{name} does not come up", alive=[name])
        self._processes[name].terminate()
        return self.await_end(name)

    def pid(self, name: str) -> int:
        """Return a process id."""
        return self._processes[name].pid

    def words(self, name: str) -> str:
        """Return the last words of a process."""
        return self._log(name).read_text(errors="replace")[-3000:]

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        """Return what a process logged of one kind."""
        return [line for line in self._lines(name) if line.get("event") == event]

    def alarms(self, code: str) -> list[dict[str, Any]]:
        """Return what the agent logged with an error code."""
        return [line for line in self._lines("agent") if code in json.dumps(line)]

    def settled(self) -> bool:
        """Whether no message waits for its receipt."""
        return self.agent_books.rows("SELECT count(*) FROM message WHERE state IN ('pending', 'confirmed')") == [(0,)]

    def captured(self) -> int:
        """Return how many messages were captured."""
        return int(self.agent_books.rows("SELECT sum(next_sequence - 1) FROM flow")[0][0])

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        log = self._log(name)
        for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
            with suppress(ValueError):
                yield json.loads(line)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _environment(self, die_at: str = "") -> dict[str, str]:
        base = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
        return {**base, **self.environment, **({VARIABLE: die_at} if die_at else {})}

    # -- the broker --------------------------------------------------------------------------------------------------

    def unbind(self) -> None:
        """Take the way from the department's exchange to its queue away."""
        with AmqpAdmin(BrokerAddress.parse(self.space.url)) as admin:
            admin.unbind(inbound_queue(self.code), ingress_exchange(self.code))
        self.tally.faults += 1

    def bind(self) -> None:
        """Give it back."""
        with AmqpAdmin(BrokerAddress.parse(self.space.url)) as admin:
            admin.bind(inbound_queue(self.code), ingress_exchange(self.code))

    # -- waiting -----------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], bool], what: str, patience_secs: float = PATIENCE_SECS) -> None:
        """Wait until something holds; fail when time runs out or a process ends by itself."""
        self._wait(condition, what, alive=tuple(self._processes), patience_secs=patience_secs)

    def _wait(
        self,
        condition: Callable[[], bool],
        what: str,
        alive: Sequence[str],
        patience_secs: float = PATIENCE_SECS,
        progress: Callable[[], object] = lambda: None,
    ) -> None:
        """Wait with a patience that begins anew whenever `progress` has changed."""
        deadline, reached = time.monotonic() + patience_secs, progress()
        with ExitStack() as stack:
            ends = {os.pidfd_open(self._processes[name].pid): name for name in alive}
            stack.callback(lambda: [os.close(end) for end in ends])
            while not condition():
                ended = select.select(list(ends), [], [], _PAUSE_SECS)[0]
                if ended:
                    name = ends[ended[0]]
                    raise AssertionError(f"{name} ended by itself while waiting: {what}\n{self.words(name)}")
                if (now_reached := progress()) != reached:
                    deadline, reached = time.monotonic() + patience_secs, now_reached
                assert time.monotonic() < deadline, "\n".join([what, *(self.words(name) for name in self._processes)])

    def stored(self) -> int:
        """Return how many records the hub has."""
        return int(self.hub_books.rows("SELECT count(*) FROM record")[0][0])

    def await_more(self, records: int = 50) -> None:
        """Wait until so many more records are stored than now: the load goes through."""
        before = self.stored()
        self.until(lambda: self.stored() >= before + records, f"{records} more records at the hub")

    def await_loaded(self) -> None:
        """Wait until the first load of every table is complete, and note what it can have seen."""
        self.until(lambda: bool(self.events("agent", "source_opened")), "the agent has a store")
        loaded = f"SELECT count(*) FROM flow WHERE loaded AND name IN {tuple(TABLES)}"
        self.until(lambda: self.agent_books.rows(loaded) == [(len(TABLES),)], "the first load is complete")
        if isinstance(self.clerks, Movers):
            self.clerks.journal.note_loaded()

    def compare(self) -> None:
        """Let every table be compared with what was captured of it, and wait until that is done."""
        before = len(self.events("agent", "walk_completed"))
        for flow in TABLES:
            told = self.huitong("flow", "compare", flow, "--why", "test")
            assert told.returncode == 0, told.stderr
        self.until(lambda: len(self.events("agent", "walk_completed")) >= before + len(TABLES), "the comparison is through")

    # -- the proof ---------------------------------------------------------------------------------------------------

    def audit(self) -> Audit:
        """Compare source, agent and hub."""
        clerks = self.clerks
        if not isinstance(clerks, Movers):
            return audit(self.registry, clerks.diary, self.hub_books, self.agent_books, self.drop)
        found = Audit()
        if self.plan.papers.mode in EXACT:
            check_changes(found, clerks.journal, self.hub_books)
        else:
            check_states(found, self.registry, clerks.journal, self.hub_books)
        found.unsettled += unsettled(self.agent_books, self.hub_books, self.drop)
        return found

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Add to a failure what is missing just then."""
        try:
            yield
        except AssertionError as error:
            found = self.audit()
            self.tally.add(found)
            raise AssertionError(f"settled: {self.settled()}\n{found}\n{error}") from None

    def prove(self, patience_secs: float = PATIENCE_SECS) -> Audit:
        """Let everybody go home, everything arrive, stop the processes in order, and demand exact equality."""
        if self.clerks.is_alive():
            self.clerks.go_home()
        latest = [Audit()]

        def exact() -> bool:
            if not self.settled():  # cheaper to ask
                return False
            latest[0] = self.audit()
            return latest[0].exact

        with self.explained():
            # However much has piled up: as long as it goes on arriving there is nothing to complain of.
            self._wait(exact, "everything arrives", tuple(self._processes), patience_secs, progress=self.stored)
        for name in list(self._processes):
            assert self.stop(name) == 0, self.words(name)
        found = self.audit()
        self.tally.add(found)
        assert found.exact, str(found)
        return found


def _secret(path: Path, value: str) -> None:
    path.touch(mode=0o600)
    path.write_text(value)


def pause(secs: float) -> None:
    """Let time pass where time itself is what the test is about: how long a fault lasts."""
    threading.Event().wait(secs)
