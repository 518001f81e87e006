"""A department, its agent, a broker and a hub as they are in life: own folders, own processes.

Everything is set up with the product's own commands, as its people would do it.
"""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from agent.cli.demo.registry import PostgresRegistry, Registry, SqliteRegistry
from agent.errors import HuitongError
from agent.i18n import N_, language
from agent.testing.nodes.ports import PortClaims
from agent.testing.nodes.postgres import PostgresDatabase, PostgresNode
from agent.testing.nodes.rabbitmq import RabbitmqNode

AGENT: Final = "510100-demo-01"
HUB: Final = "demo-hub"
_STOP_SECS: Final = 40.0


class DemoFailed(HuitongError):
    """A step of the demo did not work."""

    code = "HT-T010"
    text = N_("the demo stopped: {why}")
    hint = N_("its logs say more; remove the folder afterwards: {folder}")


@dataclass(frozen=True, slots=True)
class Broker:
    """A virtual host and who administers it."""

    url: str  # without account
    user: str
    password: str
    management: str


class World:
    """Everything the demo runs. Use as a context manager: whatever was started is stopped.

    `flows` is the `send:` part of the department's configuration; `{place}` in it is the department's folder.
    """

    def __init__(self, folder: Path, *, postgres: bool, environment: Mapping[str, str], flows: str | None = None) -> None:
        self.folder = folder
        self._postgres = postgres
        self._flows = flows or DEMO_FLOWS
        self._environment = dict(environment)
        self._stack = ExitStack()
        self._ports = PortClaims()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.registry: Registry
        self.hub_database: PostgresDatabase | None = None
        self.agent_port, self.hub_port = self._ports.take(2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop every process and every server. Idempotent."""
        for name in ("agent", "hub"):
            self.stop(name)
        self._stack.close()
        self._ports.release()

    # -- places ------------------------------------------------------------------------------------------------------

    @property
    def agent_yaml(self) -> Path:
        """The department's configuration."""
        return self.folder / "department" / "agent.yaml"

    @property
    def hub_yaml(self) -> Path:
        """The hub's configuration."""
        return self.folder / "hub" / "hub.yaml"

    @property
    def drop(self) -> Path:
        """The department's drop folder."""
        return self.folder / "department" / "drop"

    # -- set-up ------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Start broker and databases, then set up hub and department as their people would."""
        for part in ("hub", "department/drop", "department/secrets", "hub/secrets"):
            (self.folder / part).mkdir(parents=True, mode=0o700)
        broker = self._start_broker()
        self._make_registry()
        self._write_hub(broker)
        self._write_agent(broker)
        self._introduce()

    def _start_broker(self) -> Broker:
        given = self._environment.get("HUITONG_AMQP_URL", "")
        if given:
            parts = urlsplit(given)
            management = self._environment.get("HUITONG_MANAGEMENT_URL", f"http://{parts.hostname}:15672")
            bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
            return Broker(bare, unquote(parts.username or "guest"), unquote(parts.password or "guest"), management)
        node = self._stack.enter_context(RabbitmqNode(self.folder / "broker"))
        space = node.add_vhost("exchange")
        return Broker(f"amqp://{space.host}:{space.port}/exchange", space.user, space.password, space.management_url)

    def _make_registry(self) -> None:
        if not self._postgres:
            self.registry = SqliteRegistry(self.folder / "department" / "registry.db")
            return
        node = self._stack.enter_context(PostgresNode(self.folder / "postgres"))
        self.hub_database, source = node.add_database("hub"), node.add_database("registry")
        self._source = source
        self.registry = PostgresRegistry(str(source))

    def _write_hub(self, broker: Broker) -> None:
        hub = self.folder / "hub"
        self._secret("hub", "hub_broker", broker.password)
        store = f"  type: sqlite\n  path: {hub / 'hub.db'}"
        if self.hub_database is not None:
            self._secret("hub", "hub_database", self.hub_database.password)
            store = _postgres_section(self.hub_database, "postgres", "hub_database")
        self.hub_yaml.write_text(
            f"version: 1\nhub:\n  code: {HUB}\n  title: 演示中心\n  language: {language()}\n  keys_dir: {hub / 'keys'}\n"
            f"  secrets_dir: {hub / 'secrets'}\n  listen: 127.0.0.1:{self.hub_port}\nstore:\n{store}\n"
            f"broker:\n  url: {broker.url}\n  user: {broker.user}\n  password: secret:hub_broker\n"
            f"  management: {{url: '{broker.management}', user: {broker.user}, password: secret:hub_broker}}\n",
            encoding="utf-8",
        )

    def _write_agent(self, broker: Broker) -> None:
        place = self.folder / "department"
        registry = f"    type: sqlite\n    path: {place / 'registry.db'}"
        if self._postgres:
            self._secret("department", "registry_password", self._source.password)
            registry = _indented(_postgres_section(self._source, "postgres", "registry_password"))
        text = (_AGENT_YAML + self._flows).format(
            agent=AGENT, hub=HUB, place=place, language=language(), port=self.agent_port, url=broker.url, registry=registry
        )
        self.agent_yaml.write_text(text, encoding="utf-8")

    def _introduce(self) -> None:
        """Exchange keys and admit the department; its password comes from the hub."""
        self.hub("keys", "new")
        self.hub("keys", "export", "-o", str(self.folder / "hub.keys"))
        self.agent("keys", "new")
        self.agent("keys", "export", "-o", str(self.folder / "department.keys"))
        self.agent("keys", "trust", str(self.folder / "hub.keys"), "--yes")
        keys = str(self.folder / "department.keys")
        admitted = self.hub("admit", AGENT, "--key", keys, "--title", "演示部门", "--new-password", "--yes")
        self.agent("secret", "set", "hub_password", stdin=admitted["password"])

    def _secret(self, owner: str, name: str, value: str) -> None:
        path = self.folder / owner / "secrets" / name
        path.touch(mode=0o600)
        path.write_text(value)

    # -- commands and processes --------------------------------------------------------------------------------------

    def agent(self, *arguments: str, stdin: str = "") -> Any:
        """Run a command of the agent and return what it answers in JSON."""
        return self._run(["--config", str(self.agent_yaml), *arguments], stdin)

    def hub(self, *arguments: str) -> Any:
        """Run a command of the hub and return what it answers in JSON."""
        return self._run(["hub", "--config", str(self.hub_yaml), *arguments], "")

    def _run(self, arguments: Sequence[str], stdin: str) -> Any:
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "agent", *arguments, "--json", "--lang", language()],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=self._environment,
        )
        try:
            return json.loads(done.stdout) if done.stdout.strip() else {}
        except ValueError:
            return {}
        finally:
            if done.returncode not in (0, 1, 3) or (done.returncode and not done.stdout.strip()):
                raise self.failed(f"huitong {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")

    def start(self, name: str) -> None:
        """Start the process `agent` or `hub`; its log goes to a file."""
        config = self.agent_yaml if name == "agent" else self.hub_yaml
        arguments = [*(["hub"] if name == "hub" else []), "--config", str(config), "run"]
        log = (self.folder / f"{name}.log").open("ab")
        self._processes[name] = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "agent", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=self._environment,
            start_new_session=True,
        )
        log.close()

    def stop(self, name: str) -> None:
        """Ask a process to end and wait for it."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def require_running(self) -> None:
        """Raise DemoFailed when a process has ended by itself."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                tail = (self.folder / f"{name}.log").read_text(errors="replace")[-1500:]
                raise self.failed(f"{name} ended with {process.returncode}\n{tail}")

    def revive(self) -> list[tuple[str, int]]:
        """Start again what has ended, and return it as (name, process id)."""
        ended = [name for name, process in self._processes.items() if process.poll() is not None]
        for name in ended:
            self.start(name)
        return [(name, self._processes[name].pid) for name in ended]

    def failed(self, why: str) -> DemoFailed:
        """Return the error with its place."""
        return DemoFailed(why=why, folder=self.folder)

    def drop_file(self, name: str, content: bytes) -> None:
        """Put a complete file into the drop folder, as a careful program does."""
        token = secrets.token_hex(4)
        partial = self.drop / f".{token}.part"
        partial.write_bytes(content)
        partial.rename(self.drop / name)
        (self.drop / f"{name}.ok").touch()

    @property
    def process_ids(self) -> dict[str, int]:
        """The processes that run."""
        return {name: process.pid for name, process in self._processes.items()}


def _postgres_section(database: PostgresDatabase, kind: str, secret: str) -> str:
    return (
        f"  type: {kind}\n  host: {database.host}\n  port: {database.port}\n  database: {database.database}\n"
        f"  user: {database.user}\n  password: secret:{secret}"
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


_AGENT_YAML: Final = """\
version: 1

agent:
  id: {agent}
  title: 演示部门前置机
  language: {language}
  state_dir: {place}/state
  keys_dir: {place}/keys
  secrets_dir: {place}/secrets
  control_socket: {place}/agent.sock
  listen: 127.0.0.1:{port}
  disk_low_water: 64MiB

hub:
  code: {hub}
  url: {url}
  password: secret:hub_password
  trust: {place}/trust

connections:
  registry:
{registry}

"""

DEMO_FLOWS: Final = """\
send:
  people:
    title: 人口基本信息
    message: population.person@1
    from: {{connection: registry, table: person, key: [sfzh], mode: trigger, every: 500ms}}
    map:                                 # 左：标准字段    右：源列
      id_number: {{from: sfzh, check: cn-id}}
      name: xm
      sex: {{from: xb, codes: sex}}
      ethnicity: {{from: mz, codes: ethnicity}}
      born_on: {{from: csrq, date: YYYYMMDD}}
      address: dz
      region: xzqh
      income: {{from: nsr, decimal: 2}}

  companies:
    title: 企业登记信息
    message: enterprise.registration@1
    from: {{connection: registry, table: company, key: [tyshxydm], mode: trigger, every: 500ms}}
    map:
      uscc: {{from: tyshxydm, check: uscc}}
      name: mc
      legal_representative: fddbr
      capital: {{from: zczb, decimal: 4}}
      established_on: {{from: clrq, date: YYYY-MM-DD}}
      address: dz
      scope: jyfw
      status: {{from: zt, codes: {{"1": active, "2": revoked, "3": cancelled}}}}

  tax:
    title: 契税完税清单
    message: tax.deed@1
    from: {{files: "{place}/drop/*.csv", ready: ok-file, encoding: gb18030, key: [完税凭证号], every: 1s}}
    map:
      voucher_no: 完税凭证号
      payer_name: 纳税人名称
      payer_id: 纳税人识别号
      amount: {{from: 金额(元), decimal: 2}}
      paid_on: {{from: 缴款日期, date: YYYY-MM-DD}}
"""
