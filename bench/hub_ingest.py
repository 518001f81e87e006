"""How fast a hub takes messages in, beside what PostgreSQL's COPY can do with the same rows in the same run.

    python bench/hub_ingest.py [--messages 400] [--records 500] [--broker] [--json FILE] [--profile]

Messages of 15 fields are signed and compressed beforehand. Measured is the whole of ingest: verify, decompress, strict JSON,
COPY rows, judge, one transaction for up to 16 messages with bodies, receipts signed and stored, audit chain, commit, ack.
Without --broker the messages come from a feed in memory and receipts stay in the store; with it they wait in a quorum queue of
a private RabbitMQ and every receipt is published and confirmed. The clock stops at the last ack, with a broker at the last
confirmed receipt.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import random
import resource
import secrets
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psycopg

from agent.adapters.amqp.address import BrokerAddress
from agent.adapters.amqp.admin import AmqpAdmin
from agent.adapters.amqp.feed import AmqpFeed
from agent.adapters.amqp.sink import AmqpSink
from agent.adapters.clock import SystemClock
from agent.events import Event, Events
from agent.model import ExchangeMessage, Op
from agent.ports import Delivered
from agent.testing.nodes.postgres import PostgresNode
from agent.testing.nodes.rabbitmq import RabbitmqNode
from agent.wire.compression import decompress
from agent.wire.envelope import Limits, encode_record, open_body
from hub.events import GroupStored, ReceiptsPublished
from hub.ingest.flusher import Flusher
from hub.ingest.handoff import Handoff
from hub.ingest.intake import Intake, QueueFeed
from hub.ingest.storer import Storer
from hub.model import RecordBatch
from hub.publisher import Publisher
from hub.runner import Runner
from hub.store import copying
from hub.store.migrate import migrate
from hub.store.opening import open_store
from hub.store.postgres import Postgres
from hub.testing import SampleDepartment, StillHub

FIELDS = (
    ("unit_no", lambda n, r: f"5101{n:010d}"),
    ("owner", lambda n, r: r.choice("赵钱孙李周吴郑王䶮") + r.choice("伟芳娜敏静丽强磊军洋")),
    ("owner_id", lambda n, r: f"51010219{r.randrange(5000, 9999)}{r.randrange(101, 1231):04d}{r.randrange(1000):03d}X"),
    ("kind", lambda n, r: r.choice("123")),
    ("cert_no", lambda n, r: f"川(2024){r.randrange(10**7):07d}"),
    ("address", lambda n, r: f"武侯区天府大道{r.randrange(3000)}号"),
    ("area", lambda n, r: f"{r.randrange(2000, 20000) / 100:.2f}"),
    ("use", lambda n, r: r.choice(("10", "20", "30"))),
    ("status", lambda n, r: r.choice(("active", "cancelled"))),
    ("date", lambda n, r: f"20{r.randrange(10, 26)}-{r.randrange(1, 13):02d}-{r.randrange(1, 29):02d}"),
    ("price", lambda n, r: f"{r.randrange(10**6, 10**8) / 100:.2f}"),
    ("region", lambda n, r: "510107"),
    ("phone", lambda n, r: f"138{r.randrange(10**8):08d}"),
    ("floor", lambda n, r: r.randrange(40)),
    ("note", lambda n, r: None),
)


SERVER = {"shared_buffers": "'256MB'", "max_wal_size": "'4GB'", "wal_compression": "on", "wal_buffers": "'16MB'"}
"""What docs/hub.md recommends, scaled to a small machine; fsync stays on."""


class StillFeed:
    """A feed in memory that knows when everything was acked."""

    def __init__(self, messages: Sequence[Delivered]) -> None:
        self._messages = deque(messages)
        self._left = len(messages)
        self.empty = threading.Event()  # everything was acked
        self._woken = threading.Event()
        self._prefetch = 128
        self.out = 0

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def consume(self, queue: str, prefetch: int | None = None) -> None:
        """There is one queue."""

    def cancel(self, queue: str) -> None:
        """There is one queue."""

    def widen(self, queue: str) -> None:
        """Do nothing: it is wide from the beginning."""

    def poll(self, timeout_secs: float, limit: int) -> Sequence[Delivered]:
        """Return what a broker with a prefetch of 128 would have sent."""
        count = min(limit, len(self._messages), self._prefetch - self.out)
        if not count and limit:
            self._woken.wait(timeout_secs)
            self._woken.clear()
        self.out += max(count, 0)
        return [self._messages.popleft() for _ in range(count)]

    def ack(self, tags: Sequence[int]) -> None:
        """Count."""
        self.out -= len(tags)
        self._left -= len(tags)
        if self._left == 0:
            self.empty.set()

    def wake(self) -> None:
        """End the wait."""
        self._woken.set()


class Duty:
    """One department, for ever."""

    departments = frozenset({"bdc-01"})

    def reconsider(self) -> None:
        """Nothing changes."""


class Progress:
    """Listens: sizes of groups, and when every receipt was published."""

    def __init__(self, messages: int) -> None:
        self._left = messages
        self.published = threading.Event()
        self.groups: list[int] = []

    def __call__(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, GroupStored):
            self.groups.append(event.messages)
        elif isinstance(event, ReceiptsPublished):
            self._left -= event.posts
            if self._left <= 0:
                self.published.set()


def make_messages(department: SampleDepartment, messages: int, records: int, first: int) -> list[ExchangeMessage]:
    rng = random.Random(first)
    made = []
    for sequence in range(first, first + messages):
        rows = []
        for index in range(records):
            number = sequence * records + index
            data = json.dumps(
                {name: make(number, rng) for name, make in FIELDS}, ensure_ascii=False, separators=(",", ":")
            ).encode()
            key = b'{"unit_no":"5101%010d"}' % number
            rows.append(encode_record(secrets.token_hex(16), Op.UPSERT, key, data))
        made.append(department.records(sequence, rows))
    return made


def workers(hub: StillHub, feed: QueueFeed, finish: Progress, sink: AmqpSink | None) -> list[object]:
    clock, events = SystemClock(), Events(finish)
    hub.ingest._events = events  # noqa: SLF001 - the clock of the benchmark
    handoff = Handoff(32, 128 << 20)
    publisher = None
    if sink is not None:
        publisher = Publisher(
            store=hub.store, sink=sink, departments=lambda: Duty.departments, events=events, clock=clock, random=random.random
        )
    intake = Intake(
        feed=lambda: feed, preparer=hub.preparer, handoff=handoff, duties=Duty(), probe=hub.store.probe, events=events,
        clock=clock, random=random.random,
    )  # fmt: skip

    def committed() -> None:
        intake.wake()
        if publisher is not None:
            publisher.wake()

    flusher = Flusher(handoff, hub.store.flush, committed=committed)
    storer = Storer(handoff, hub.ingest, dict, group_messages=16, committed=committed, flusher=flusher)
    return [*([publisher] if publisher else []), flusher, storer, intake]


def postgres_cpu(location: Postgres) -> float:
    """Return the CPU seconds that the server's processes, ended ones included, have used."""
    kwargs = {"host": location.host, "port": location.port, "dbname": location.database, "user": location.user}
    with psycopg.connect(**kwargs, password=location.password) as connection:
        backend = connection.info.backend_pid
        parent = Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1]
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == parent:
            ticks += sum(map(int, fields[11:13]))
        elif path.parent.name == parent:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def calibrate() -> float:
    """Return CPU seconds for a fixed piece of work, so that runs on different or busy machines compare."""
    begun = time.process_time()
    total = 0
    for number in range(5_000_000):
        total += number
    return time.process_time() - begun


def ingest(hub: StillHub, feed: QueueFeed, total: int, sink: AmqpSink | None) -> tuple[float, float, list[int]]:
    """Return (seconds, CPU seconds of this process, group sizes)."""
    finish = Progress(total)
    done = feed.empty if isinstance(feed, StillFeed) else finish.published
    runner = Runner(workers(hub, feed, finish, sink), Events(), SystemClock())  # type: ignore[arg-type]
    cpu, begun = time.process_time(), time.perf_counter()
    thread = threading.Thread(target=runner.run)
    thread.start()
    if not done.wait(600):
        raise SystemExit("not done within 600 s")
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    runner.request_stop()
    thread.join()
    return took, cpu, finish.groups


def raw_copy(location: Postgres, messages: Sequence[ExchangeMessage], *, index: bool) -> float:
    """Return seconds for COPY of the same rows, prebuilt, in transactions of 16 messages, with or without the unique index."""
    kwargs = {"host": location.host, "port": location.port, "dbname": location.database, "user": location.user}
    batches = []
    for number, message in enumerate(messages):
        envelope = open_body(message.body, message.encoding, Limits())
        packed = copying.pack(list(envelope.records), range(len(envelope.records)))
        batches.append(copying.rows(RecordBatch(1, 1, number + 1, packed)))
    with psycopg.connect(**kwargs, password=location.password) as connection:
        connection.execute("DROP TABLE IF EXISTS raw; CREATE TABLE raw (LIKE record)")
        if index:
            connection.execute("ALTER TABLE raw ADD PRIMARY KEY (flow_id, record_id)")
        connection.commit()
        begun = time.perf_counter()
        for at in range(0, len(batches), 16):
            with connection.cursor().copy(copying.STATEMENT.replace("COPY record", "COPY raw")) as copy:
                copy.write(copying.START)
                for rows in batches[at : at + 16]:
                    copy.write(rows)
                copy.write(copying.END)
            connection.commit()
        took = time.perf_counter() - begun
        connection.execute("DROP TABLE raw")
    return took


def table(results: dict[str, object]) -> None:
    print(f"{'':44}{'records/s':>12}")
    for name in ("ingest", "copy_indexed", "copy_bare"):
        best = results[name]["records_per_sec"]  # type: ignore[index]
        print(f"{name:44}{best:>12,.0f}")
    for name in (
        "share_of_copy_indexed",
        "cpu_us_per_record",
        "calibration_secs",
        "max_rss_mib",
        "bytes_per_record",
        "median_group",
    ):
        print(f"{name:44}{results[name]!s:>12}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=400, help="messages in each round")
    parser.add_argument("--records", type=int, default=500, help="records in a message")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds, after one to warm up")
    parser.add_argument("--broker", action="store_true", help="through a private RabbitMQ, receipts published")
    parser.add_argument("--profile", action="store_true", help="profile preparing and storing in one thread, then end")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="huitong-bench-") as folder:
        run(options, Path(folder))


def run(options: argparse.Namespace, folder: Path) -> None:
    postgres = PostgresNode(folder / "postgres", settings=SERVER)
    rabbitmq = RabbitmqNode(folder / "rabbitmq")
    try:
        postgres.start()
        if options.broker:
            rabbitmq.start()
        measure(options, postgres, rabbitmq)
    finally:
        rabbitmq.remove()
        postgres.remove()


def measure(options: argparse.Namespace, postgres: PostgresNode, rabbitmq: RabbitmqNode) -> None:
    database = postgres.add_database("hub")
    location = Postgres(database.host, database.port, database.database, database.user, database.password)
    store = open_store(location)
    migrate(store)
    clock = SystemClock()
    hub = StillHub(store, clock)
    department = SampleDepartment("bdc-01", hub.code, clock)
    hub.admit(department)
    hub.send(department, department.opening())
    trust = hub.trust()
    hub.preparer._trust = lambda: trust  # noqa: SLF001 - the roster of a running hub keeps it in memory too
    records = options.messages * options.records
    rates, copies, bare, cpus, groups = [], [], [], [], []
    for turn in range(options.rounds + 1):
        messages = make_messages(department, options.messages, options.records, 1 + turn * options.messages)
        if options.profile and turn:
            profile(hub, department, messages)
            return
        copied, plain = raw_copy(location, messages, index=True), raw_copy(location, messages, index=False)
        if options.broker:
            feed, sink = through_broker(rabbitmq, department, messages)
        else:
            feed, sink = StillFeed([department.delivered(one) for one in messages]), None
        server = postgres_cpu(location)
        took, cpu, sizes = ingest(hub, feed, len(messages), sink)
        server = postgres_cpu(location) - server
        print(f"round {turn}: ingest {records / took:,.0f}/s, COPY {records / copied:,.0f}/s, bare {records / plain:,.0f}/s")
        if turn:
            rates.append(records / took)
            copies.append(records / copied)
            bare.append(records / plain)
            cpus.append((cpu / records * 1e6, server / records * 1e6))
            groups += sizes
    size = sum(len(decompress(one.body, one.encoding, 1 << 30)) for one in messages) / records
    results = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),  # noqa: TID251 - a program, not the product
        "messages": options.messages,
        "records_per_message": options.records,
        "broker": options.broker,
        "ingest": {"records_per_sec": max(rates), "rounds": rates},
        "copy_indexed": {"records_per_sec": max(copies), "rounds": copies},
        "copy_bare": {"records_per_sec": max(bare), "rounds": bare},
        "share_of_copy_indexed": round(max(rates) / max(copies), 2),
        "cpu_us_per_record": "hub {:.2f}, postgres {:.2f}".format(*min(cpus)),
        "calibration_secs": round(min(calibrate() for _ in range(3)), 3),
        "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "bytes_per_record": round(size),
        "median_group": sorted(groups)[len(groups) // 2],
    }
    table(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    store.close()


def through_broker(
    rabbitmq: RabbitmqNode, department: SampleDepartment, messages: Sequence[ExchangeMessage]
) -> tuple[AmqpFeed, AmqpSink]:
    """Put the messages into the department's queue; return the hub's feed and sink."""
    space = rabbitmq.space("/")
    address = BrokerAddress.parse(space.url)
    with AmqpAdmin(address) as admin:
        admin.admit(department.code)
        admin.delete_queue(f"rcpt.{department.code}")
        admin.admit(department.code)
    rabbitmq.add_user("agent.bdc-01", "x")
    rabbitmq.set_permissions("agent.bdc-01", "/", ".*", ".*", ".*")
    sender = AmqpSink(replace(address, user="agent.bdc-01", password="x"), user_id="agent.bdc-01", app_id="bench")
    sender.open()
    sender.send([department.parcel(one) for one in messages])
    left = len(messages)
    while left:
        left -= len(sender.poll(1.0))
    sender.close()
    return AmqpFeed(address, prefetch=64), AmqpSink(address, user_id=space.user, app_id="bench")


def profile(hub: StillHub, department: SampleDepartment, messages: Sequence[ExchangeMessage]) -> None:
    """Show where one thread spends its time when it does everything."""
    profiler = cProfile.Profile()
    deliveries = [department.delivered(one) for one in messages]
    profiler.enable()
    for at in range(0, len(deliveries), 16):
        hub.take(*deliveries[at : at + 16])
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
