"""A department in a folder: a registry in SQLite, a drop folder, keys and secrets; its broker is down."""

from __future__ import annotations

import io
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from agent.app.agent import Agent, composed, observe
from agent.app.places import open_store, store_path
from agent.cli.validate import load_agent_settings
from agent.events import Event, Events
from agent.model import ExchangeMessage, MessageKind, Outcome, Receipt
from agent.settings.agent_file import AgentFile
from agent.testing.recorder import EventRecorder
from agent.wire.keys import generate, public_of, write_enrolment
from tests.contract.store.makers import receipt_for
from tests.unit.cli.kit import Result, Terminal, huitong

CODE = "510100-test-01"
HUB = "510000-hub"

AGENT_YAML = """\
version: 1
agent:
  id: {code}
  title: 测试前置机
  language: zh
  state_dir: {place}/state
  keys_dir: {place}/keys
  secrets_dir: {place}/secrets
  control_socket: {place}/agent.sock
  listen: ~
  disk_low_water: 16MiB
hub:
  code: {hub}
  url: amqp://127.0.0.1:1/exchange
  password: secret:hub_password
  trust: {place}/trust
connections:
  registry: {{type: sqlite, path: {place}/registry.db}}
send:
  people:
    title: 人口
    message: population.person@1
    from: {{connection: registry, table: person, key: [sfzh], cursor: gxsj, every: 1h}}
    map:
      id_number: sfzh
      name: {{from: xm, required: true}}
      born_on: {{from: csrq, date: YYYYMMDD}}
  tax:
    title: 契税
    message: tax.deed@1
    from: {{files: "{place}/drop/*.csv", ready: rename, key: [凭证号], every: 1h}}
    map:
      voucher_no: 凭证号
      amount: {{from: 金额, decimal: 2}}
      paid_on: {{from: 日期, date: YYYY-MM-DD}}
"""

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def citizen(number: int) -> str:
    """Return a citizen id with the right check character (GB 11643)."""
    digits = f"11010119900307{number:03}"
    return digits + "10X98765432"[sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, digits, strict=True)) % 11]


PEOPLE = ((citizen(1), "张三", "19900307"), (citizen(2), "李四", "1990"))
"""One good, one with a date that is none."""


class Department:
    """One department; commands run in this process."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.config = place / "agent.yaml"
        (place / "drop").mkdir()
        (place / "secrets").mkdir(mode=0o700)
        self.config.write_text(AGENT_YAML.format(code=CODE, hub=HUB, place=place), encoding="utf-8")
        self.secret("hub_password", "pw")
        with self.registry() as db:
            db.execute("CREATE TABLE person (sfzh TEXT PRIMARY KEY, xm TEXT, csrq TEXT, gxsj INTEGER NOT NULL)")
        self._version = 0

    # -- setting it up -----------------------------------------------------------------------------------------------

    def secret(self, name: str, value: str) -> None:
        path = self.place / "secrets" / name
        path.touch(mode=0o600)
        path.write_text(value)

    @contextmanager
    def registry(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.place / "registry.db")) as db, db:
            yield db

    def put(self, *people: Sequence[str | None]) -> None:
        """Let people appear or change."""
        with self.registry() as db:
            for sfzh, xm, csrq in people:
                self._version += 1
                db.execute("INSERT OR REPLACE INTO person VALUES (?, ?, ?, ?)", (sfzh, xm, csrq, self._version))

    def drop(self, name: str, text: str) -> None:
        (self.place / "drop" / name).write_text(text, encoding="utf-8")

    def with_keys(self) -> Department:
        """Make a signing key and trust a key of the hub."""
        assert self.run("keys", "new").code == 0
        self.hub_pem = generate()
        enrolment = self.place / "hub.keys"
        enrolment.write_bytes(write_enrolment(HUB, [public_of(self.hub_pem, HUB)]))
        assert self.run("keys", "trust", str(enrolment), "--yes").code == 0
        return self

    def filled(self) -> Department:
        """Capture two people and four tax lines, one of them bad."""
        self.with_keys()
        self.put(*PEOPLE)
        self.drop("a.csv", "凭证号,金额,日期\nA1,1.00,2026-01-01\nA2,甲,2026-01-02\nA3,3,2026-01-03\n")
        for flow in ("people", "tax"):
            done = self.run("flow", "run-once", flow)
            assert done.code == 0, done.stderr
        return self

    # -- commands ----------------------------------------------------------------------------------------------------

    def run(self, *arguments: str, language: str = "en", stdin: io.StringIO | None = None) -> Result:
        return huitong("--config", str(self.config), *arguments, language=language, stdin=stdin)

    def answer(self, *arguments: str, said: str = "y\n") -> Result:
        """Run a command with somebody at the terminal."""
        return self.run(*arguments, stdin=Terminal(said))

    @property
    def settings(self) -> AgentFile:
        return load_agent_settings([self.config]).value

    # -- what the hub would do ---------------------------------------------------------------------------------------

    def messages(self, flow: str) -> list[ExchangeMessage]:
        """Return the records that wait, in order."""
        with self.store() as store:
            found = [entry.message for entry in store.pending(flow, 0, 1000)]
        return [message for message in found if message.kind is MessageKind.RECORDS]

    @contextmanager
    def store(self) -> Iterator[Any]:
        store = open_store(self.settings, Events())
        try:
            yield store
        finally:
            store.close()

    def judge(self, message: ExchangeMessage, outcome: Outcome = Outcome.STORED, **more: Any) -> None:
        """Let a receipt arrive."""
        receipt: Receipt = receipt_for(message, outcome, sender=CODE, **more)
        with self.store() as store:
            (settled,) = store.settle([receipt]).result()
            assert str(settled.verdict) == "moved"

    def confirm(self, flow: str) -> None:
        """Let the broker take what waits."""
        with self.store() as store:
            store.confirm([entry.entry_id for entry in store.pending(flow, 0, 1000)])

    def octets(self) -> dict[str, bytes]:
        """Return every file of the department but the store's log and lock, to see that nothing changed."""
        volatile = {"huitong.lock", f"{store_path(self.settings).name}-shm"}
        return {
            str(path.relative_to(self.place)): path.read_bytes()
            for path in sorted(self.place.rglob("*"))
            if path.is_file() and path.name not in volatile
        }

    # -- a running agent ---------------------------------------------------------------------------------------------

    @contextmanager
    def running(self, *listeners: EventRecorder) -> Iterator[Running]:
        """Run the agent in threads of this process; its broker is down."""
        recorder = EventRecorder()
        observers = observe(io.BytesIO(), "error", recorder, *listeners)
        with composed(self.settings, {}, observers) as agent:
            running = Running(agent, recorder)
            with running:
                yield running


class Running:
    """An agent in threads of this process."""

    def __init__(self, agent: Agent, recorder: EventRecorder) -> None:
        self.agent, self.recorder = agent, recorder
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._started.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self.agent.supervisor.request_stop()
        self._thread.join(40)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error

    def wait_for(self, kind: type[Event], count: int = 1) -> None:
        self.recorder.wait_until(lambda events: sum(isinstance(event, kind) for event in events) >= count, timeout=20)

    def _run(self) -> None:
        try:
            self.agent.run(self._started.set)
        except BaseException as error:  # noqa: BLE001 - shown by the test that waits for it
            self._error = error
        finally:
            self._started.set()
