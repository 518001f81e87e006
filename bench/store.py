"""How fast the agent's store is: appends, receipts, look-ups, and how it starts with much waiting.

    python bench/store.py [--quick] [--dir FOLDER] [--json FILE]

Bodies are random octets (what zstd leaves of 500 records of 15 columns is about 30 KB and does not compress again). Beside
each append stands the raw limit of the same run: the same octets appended to a plain file and synced. Lines marked "busy"
have another Python thread computing all the time, as mapping does during a first load.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.adapters.clock import SystemClock
from agent.adapters.store import SqliteStore
from agent.adapters.store.engine import driver, engine_version
from agent.events import Events
from agent.model import Append, Counters, ExchangeMessage, LedgerRow, MessageKind, Outcome, Position, Receipt

RECORDS = 500
BODY_BYTES = 30_000
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def message(flow: str, epoch: str, sequence: int, body: bytes) -> ExchangeMessage:
    return ExchangeMessage(
        message_id=hashlib.sha256(f"{flow}{epoch}{sequence}".encode()).hexdigest()[:32],
        kind=MessageKind.RECORDS,
        type="cn.huitong.records.v1",
        flow=flow,
        epoch=epoch,
        sequence=sequence,
        body=body,
        encoding="zstd",
        digest_alg="sha-256",
        digest=hashlib.sha256(body).digest(),
        jws="x" * 330,
        kid="k" * 43,
        records=RECORDS,
        created_at=NOW,
    )


def step(flow: str, epoch: str, before: Counters, count: int, *, ledger: bool = True) -> Append:
    messages = [message(flow, epoch, before.next_sequence + i, os.urandom(BODY_BYTES)) for i in range(count)]
    rows = [
        LedgerRow(
            f'[["s","5101{ordinal:014}"]]',
            hashlib.sha256(b"%d" % ordinal).digest()[:16],
            ordinal,
            before.next_sequence + (ordinal - before.next_ordinal) // RECORDS,
        )
        for ordinal in range(before.next_ordinal, before.next_ordinal + count * RECORDS)
    ]
    after = Counters(before.next_sequence + count, before.next_ordinal + count * RECORDS)
    position = Position(f"{after.next_ordinal:020}")
    return Append(flow, epoch, "bench", before, after, position, messages, rows if ledger else (), captured=count * RECORDS)


def steps(flow: str, epoch: str, count: int, each: int) -> list[Append]:
    made: list[Append] = []
    counters = Counters()
    for _ in range(count):
        made.append(step(flow, epoch, counters, each))
        counters = made[-1].after
    return made


def receipt_for(m: ExchangeMessage, sender: str) -> Receipt:
    return Receipt(
        message_id=m.message_id,
        sender=sender,
        flow=m.flow,
        epoch=m.epoch,
        sequence=m.sequence,
        outcome=Outcome.STORED,
        stage="R3",
        code="",
        text="",
        digest_alg=m.digest_alg,
        digest=m.digest,
        stored=m.records,
        refused=(),
        hub="510000-hub",
        received_at=NOW,
        committed_at=NOW,
        audit_sequence=1,
        audit_hash="a" * 64,
        kid="h" * 43,
        body=b"r" * 700,
        jws="y" * 330,
    )


@contextmanager
def store_in(folder: Path) -> Iterator[SqliteStore]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        store = SqliteStore.open(Path(name) / "store.db", agent_id="bench", clock=SystemClock(), events=Events())
        try:
            yield store
        finally:
            store.close()


@contextmanager
def busy(*, on: bool) -> Iterator[None]:
    """Keep the interpreter busy from another thread."""
    stop = threading.Event()

    def burn() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=burn, daemon=True)
    if on:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if on:
            thread.join()


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {"p50_ms": round(statistics.median(ordered), 3), "p99_ms": round(ordered[int(len(ordered) * 0.99)], 3)}


def rss_mb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // (1 << 20)


def raw_append(folder: Path, count: int, octets: int) -> dict[str, float]:
    """Append the same octets to a plain file and sync it: what the disk gives."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        blob = os.urandom(octets)

        def work() -> None:
            file.write(blob)
            file.flush()
            os.fdatasync(file.fileno())

        return summary([timed(work) for _ in range(count)])


def single_events(folder: Path, count: int) -> dict[str, float]:
    """Append one small message with one record at a time: what a change that is captured at once costs."""
    with store_in(folder) as store:
        state = store.open_flow("bench")
        times = []
        for number in range(1, count + 1):
            one = replace(message("bench", state.epoch, number, os.urandom(700)), records=1)
            row = LedgerRow(f'[["s","{number}"]]', hashlib.sha256(b"%d" % number).digest()[:16], number, number)
            before, after = Counters(number, number), Counters(number + 1, number + 1)
            made = Append("bench", state.epoch, "bench", before, after, Position(str(number)), [one], [row], captured=1)
            times.append(timed(lambda made=made: store.append(made).result()))
        return summary(times)


def appends(folder: Path, count: int, each: int, *, in_flight: int = 1, competed: bool = False) -> dict[str, float]:
    with store_in(folder) as store, busy(on=competed):
        epoch = store.open_flow("bench").epoch
        made = steps("bench", epoch, count, each)
        times, pending = [], []
        start = time.perf_counter()
        for one in made:
            begun = time.perf_counter()
            pending.append(store.append(one))
            if len(pending) >= in_flight:
                pending.pop(0).result()
                times.append((time.perf_counter() - begun) * 1e3)
        for future in pending:
            future.result()
        total = time.perf_counter() - start
        return {**summary(times), "records_per_s": round(count * each * RECORDS / total)}


def lookups(folder: Path, count: int) -> dict[str, dict[str, float]]:
    with store_in(folder) as store:
        epoch = store.open_flow("bench").epoch
        made = steps("bench", epoch, count, 4)
        for one in made:
            store.append(one).result()
        hit = [row.key for row in made[0].ledger]
        miss = [key + "x" for key in hit]
        messages = [m for one in made for m in one.messages]
        results = {
            "known, 2000 keys, all there": summary([timed(lambda: store.known("bench", hit)) for _ in range(20)]),
            "known, 2000 keys, none there": summary([timed(lambda: store.known("bench", miss)) for _ in range(20)]),
            "pending, 50 messages": summary([timed(lambda: store.pending("bench", 0, 50)) for _ in range(20)]),
            "depth": summary([timed(store.depth) for _ in range(20)]),
        }
        receipts = [receipt_for(m, "bench") for m in messages]
        batches = [receipts[i : i + 50] for i in range(0, len(receipts), 50)]
        results["settle, 50 receipts"] = summary([timed(lambda b=batch: store.settle(b).result()) for batch in batches])
        later = SystemClock().now() + timedelta(days=1)
        results["purge, 100 bodies"] = summary([timed(lambda: store.purge(later, 100).result()) for _ in batches])
        return results


def much_waiting(folder: Path, messages: int) -> dict[str, float]:
    """Fill an outbox with small messages, then start on it."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path = Path(name) / "store.db"
        store = SqliteStore.open(path, agent_id="bench", clock=SystemClock(), events=Events())
        epoch = store.open_flow("bench").epoch
        counters = Counters()
        futures = []
        while counters.next_sequence <= messages:
            last = min(messages, counters.next_sequence + 999)
            batch = [replace(message("bench", epoch, s, b"%d" % s), records=1) for s in range(counters.next_sequence, last + 1)]
            after = Counters(last + 1, last + 1)
            futures.append(store.append(Append("bench", epoch, "bench", counters, after, Position(str(last)), batch)))
            counters = after
            while len(futures) > 4:
                futures.pop(0).result()
        store.close()
        size, before = path.stat().st_size, rss_mb()
        opened: list[SqliteStore] = []

        def start() -> None:
            opened.append(SqliteStore.open(path, agent_id="bench", clock=SystemClock(), events=Events()))

        result = {
            "messages": messages,
            "store_mb": size >> 20,
            "open_ms": timed(start),
            "first_page_ms": timed(lambda: opened[0].pending("bench", 0, 50)),
            "depth_ms": timed(opened[0].depth),
        }
        result["rss_growth_mb"] = rss_mb() - before
        opened[0].close()
        return {key: round(value, 2) for key, value in result.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to be measured")
    parser.add_argument("--json", type=Path, help="write the results there too")
    options = parser.parse_args()
    scale = 1 if options.quick else 5
    folder: Path = options.dir
    four = 4 * BODY_BYTES
    results: dict[str, object] = {
        "engine": f"{driver().__name__} {'.'.join(map(str, engine_version()))}",
        "raw: append 120 KB to a file and sync": raw_append(folder, 40 * scale, four),
        "append 4 messages, 2000 ledger rows": appends(folder, 40 * scale, 4),
        "append 4 messages, 2000 ledger rows, 3 in flight": appends(folder, 40 * scale, 4, in_flight=3),
        "append 4 messages, 2000 ledger rows, busy": appends(folder, 10 * scale, 4, competed=True),
    }
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    results["append 4 messages, 2000 ledger rows, busy, switch interval 0.5 ms"] = appends(folder, 20 * scale, 4, competed=True)
    sys.setswitchinterval(interval)
    results["raw: append 30 KB to a file and sync"] = raw_append(folder, 100 * scale, BODY_BYTES)
    results["append 1 message, 500 ledger rows"] = appends(folder, 100 * scale, 1)
    results["raw: append 1 KB to a file and sync"] = raw_append(folder, 100 * scale, 1000)
    results["append 1 message, 1 ledger row"] = single_events(folder, 100 * scale)
    results.update(lookups(folder, 25 * scale))
    results["much waiting"] = much_waiting(folder, 40_000 * scale)
    results["resident MB at the end"] = rss_mb()
    for name, value in results.items():
        print(f"{name:66} {value}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
