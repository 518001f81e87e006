"""A whole hub: in this process on the memory broker and SQLite, or as processes on RabbitMQ and PostgreSQL."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import psycopg
import pytest

from agent.adapters.amqp.address import BrokerAddress
from agent.adapters.amqp.feed import AmqpFeed
from agent.adapters.amqp.sink import AmqpSink
from agent.adapters.clock import SystemClock
from agent.adapters.keys import KeyStore
from agent.model import ExchangeMessage, Outcome, Receipt
from agent.testing.nodes.postgres import PostgresDatabase
from agent.testing.nodes.rabbitmq import BrokerSpace
from agent.wire.keys import write_enrolment
from agent.wire.receipt import read_receipt
from agent.wire.signature import KeyRing
from agent.wire.topology import receipt_queue, user_name
from hub.testing import LiveHub, SampleDepartment

ROOT: Final = Path(__file__).resolve().parents[3]
PERSON: Final = "https://schemas.huitong.example/population.person/1"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveHub]:
    """A hub that is not running yet; stopped and closed at the end, without failure."""
    hub = LiveHub(tmp_path)
    yield hub
    hub.stop()
    hub.store.close()
    assert hub.failure is None


class World:
    """A hub of real processes on RabbitMQ and PostgreSQL, and departments that count for themselves."""

    def __init__(self, folder: Path, broker: BrokerSpace, database: PostgresDatabase) -> None:
        self.folder, self.broker, self.database = folder, broker, database
        self.config = folder / "hub.yaml"
        self._processes: list[subprocess.Popen[bytes]] = []
        secrets = folder / "secrets"
        secrets.mkdir(mode=0o700)
        for name, value in (
            ("hub_broker", broker.password),
            ("broker_admin", broker.password),
            ("hub_database", database.password),
        ):
            (secrets / name).write_text(value)
            (secrets / name).chmod(0o600)
        vhost = quote(broker.vhost, safe="")
        self.config.write_text(
            f"""version: 1
hub: {{code: sc-hub, keys_dir: {folder}/keys, secrets_dir: {secrets}, listen: ~, log_level: info}}
store: {{type: postgres, host: {database.host}, port: {database.port}, database: {database.database}, user: {database.user}, password: secret:hub_database}}
broker:
  url: amqp://{broker.host}:{broker.port}/{vhost}
  user: {broker.user}
  password: secret:hub_broker
  management: {{url: {broker.management_url}, user: {broker.user}, password: secret:broker_admin}}
ingest: {{lease: 3s, group: 4, prefetch: 16}}
"""
        )
        self.cli("keys", "new")
        self.ring = KeyRing([KeyStore(folder / "keys").public("sc-hub")])

    def cli(self, *arguments: str, code: int = 0) -> Any:
        """Run `huitong hub …` as an operator does and return what it printed, decoded."""
        command = [sys.executable, "-c", "from agent.cli import main; main()", "hub", *arguments]
        command += ["--config", str(self.config), "--json", "--yes", "--lang", "en"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def admit(self, name: str) -> LiveDepartment:
        """Admit a department by the command line; the key goes through a file, the password through the screen.

        Broker users belong to the whole node, which other tests share: the code gets a suffix of its own.
        """
        code = f"{name}-{token_hex(4)}"
        sample = SampleDepartment(code, "sc-hub", SystemClock(), dataschema=PERSON)
        key = self.folder / f"{code}.json"
        key.write_bytes(write_enrolment(code, [sample.public]))
        told = self.cli("admit", code, "--key", str(key), "--title", f"{code} 局")
        address = BrokerAddress.parse(self.broker.url, user=user_name(code), password=told["password"])
        return LiveDepartment(sample, address, self.ring)

    def run(self, point: str = "-", hits: int = 0) -> subprocess.Popen[bytes]:
        """Start a hub process, which may be going to die at a crash point."""
        script = Path(__file__).with_name("crashing_hub.py")
        command = [sys.executable, str(script), point, str(hits), str(self.config)]
        with (self.folder / f"hub-{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        self._processes.append(process)
        return process

    def stop(self) -> None:
        """Stop what still runs; a hub that was asked to end leaves with 0."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)  # one that a test has frozen could not hear it
        for process in self._processes:
            assert process.wait(30) in (0, -signal.SIGKILL), (self.folder / "hub-0.log").read_text()[-2000:]

    def connect(self) -> psycopg.Connection[Any]:
        """Connect to the store."""
        return psycopg.connect(str(self.database), autocommit=True)

    def check(self, department: LiveDepartment) -> None:
        """Compare both ledgers: everything sent is stored once, in order, and nothing else."""
        code = department.sample.code
        with self.connect() as connection:
            rows = connection.execute(
                "SELECT encode(m.digest, 'hex'), m.message_id FROM message m WHERE m.sender = %s AND m.outcome = 'stored'", [code]
            ).fetchall()
            assert {row[1]: row[0] for row in rows} == {m.message_id: m.digest.hex() for m in department.sent}
            stored = connection.execute(
                "SELECT r.record_id::text FROM record r JOIN flow f ON f.id = r.flow_id WHERE f.sender = %s", [code]
            ).fetchall()
            assert sorted(row[0].replace("-", "") for row in stored) == sorted(department.record_ids)
            high, ahead = connection.execute(
                "SELECT e.high_water, e.ahead FROM epoch e JOIN flow f ON f.id = e.flow_id WHERE f.sender = %s", [code]
            ).fetchone() or (0, "-")
            assert (high, ahead) == (department.sequence, "")
        assert self.cli("audit", "verify", code)["broken_at"] is None


class LiveDepartment:
    """A department that publishes like an agent and keeps every receipt it gets."""

    def __init__(self, sample: SampleDepartment, address: BrokerAddress, ring: KeyRing) -> None:
        self.sample, self._address, self._ring = sample, address, ring
        self.sent: list[ExchangeMessage] = []
        self.record_ids: list[str] = []
        self.receipts: dict[str, Receipt] = {}
        self.sequence = 0

    def send(self, *messages: ExchangeMessage) -> None:
        """Publish and wait for the broker's confirms."""
        sink = AmqpSink(self._address, user_id=user_name(self.sample.code), app_id="huitong/test")
        sink.open()
        sink.send([self.sample.parcel(message) for message in messages])
        left = len(messages)
        while left:
            for outcome in sink.poll(10.0):
                assert outcome.error is None
                left -= 1
        sink.close()
        self.sent += messages

    def open(self) -> None:
        """Open the epoch."""
        self.send(self.sample.opening())

    def send_records(self, messages: int, records: int = 20) -> None:
        """Publish that many messages of fresh records."""
        made = []
        for _ in range(messages):
            self.sequence += 1
            rows = [self.sample.encoded(self.sequence * 1000 + n) for n in range(records)]
            self.record_ids += [json.loads(row)["id"] for row in rows]
            made.append(self.sample.records(self.sequence, rows))
        self.send(*made)

    def hear(self, timeout_secs: float = 40.0, refused: Mapping[str, str] = MappingProxyType({})) -> None:
        """Take receipts until every message sent has one; each must be verified, stored, and the same when it comes again.

        `refused` names the messages that must come back for now, with the code.
        """
        feed = AmqpFeed(self._address, [receipt_queue(self.sample.code)])
        feed.open()
        deadline = SystemClock().monotonic() + timeout_secs
        digests = {message.message_id: message.digest for message in self.sent}
        told: set[str] = set()
        while digests.keys() - self.receipts.keys() - told or told != refused.keys():
            assert SystemClock().monotonic() < deadline, f"{len(self.receipts)} of {len(digests)} receipts came"
            for one in feed.poll(0.5, 100):
                receipt = read_receipt(
                    one.body, one.encoding, str(one.headers["jws"]), self._ring, str(one.message_id), self.sample.code
                )
                feed.ack([one.tag])
                if receipt.outcome is Outcome.REFUSED_RETRY:
                    assert refused[receipt.message_id] == receipt.code
                    told.add(receipt.message_id)
                    continue
                assert receipt.outcome is Outcome.STORED
                assert receipt.digest == digests[receipt.message_id]
                assert self.receipts.setdefault(receipt.message_id, receipt) == receipt
        feed.close()


@pytest.fixture
def world(tmp_path: Path, broker: BrokerSpace, pg_database: PostgresDatabase) -> Iterator[World]:
    """A configured hub without departments; no process runs yet."""
    world = World(tmp_path, broker, pg_database)
    yield world
    world.stop()
