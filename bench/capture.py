"""Capture alone: a PostgreSQL table of 15 columns → signed, compressed messages, durable in the outbox.

    python bench/capture.py [--rows 400000] [--page-rows 2000] [--in-flight 4] [--json FILE] [--profile]

The clock runs from the first read to the commit of the last step, fsync on. Beside it, in the same run: COPY of the table out
of PostgreSQL into nothing (the raw limit) and the source alone (reading without translating). Best of three rounds each.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psycopg

from agent.adapters.clock import SystemClock
from agent.adapters.store import SqliteStore
from agent.events import Events
from agent.mapping.spec import FieldSpec, MapSpec
from agent.model import START, Counters, FlowState
from agent.services.capture import CapturePlan, CaptureService
from agent.testing.nodes.postgres import PostgresDatabase, PostgresNode
from agent.wire.envelope import MessageWriter
from agent.wire.keys import generate, load_signer
from connectors.database.settings import DatabaseFrom, PostgresConnection
from connectors.database.source import DatabaseSource
from connectors.wiring import Wiring

ROUNDS = 3
TABLE = """
CREATE TABLE wide (bdcdyh varchar(40) PRIMARY KEY, qlrmc text, qlrzjh char(18), zt smallint, djsj varchar(8), je numeric(14, 2),
  zl text, bz text, mj numeric(10, 2), yt varchar(20), xh bigint, qx char(6), jg text, csrq date, gxsj timestamptz NOT NULL)
"""
FILL = """
INSERT INTO wide SELECT '510107001001GB' || lpad(g::text, 8, '0') || 'F00010001', '张䶮' || g, p.id || c.ch, 1 + g % 2,
  to_char(date '1990-01-01' + (g % 10000)::int, 'YYYYMMDD'), g * 1.37, '四川省成都市武侯区人民南路四段' || g % 999 || '号',
  CASE g % 3 WHEN 0 THEN '备注' END, g % 20000 / 100.0, '城镇住宅', g, '510107', '成都市规划和自然资源局',
  date '1950-01-01' + (g % 20000)::int, timestamptz '2026-01-01' + g * interval '10 ms'
FROM generate_series(1, {rows}) g,
  LATERAL (SELECT '5101071960' || lpad((1 + g % 12)::text, 2, '0') || lpad((1 + g % 28)::text, 2, '0')
                  || lpad((g % 1000)::text, 3, '0') AS id) p,
  LATERAL (SELECT substr('10X98765432', 1 + (SELECT sum(substr(p.id, i::int, 1)::int * w) % 11 FROM unnest(
                  ARRAY[7,9,10,5,8,4,2,1,6,3,7,9,10,5,8,4,2]) WITH ORDINALITY AS k(w, i))::int, 1) AS ch) c
"""
SPEC = MapSpec(
    fields=(
        FieldSpec("unit_no", "bdcdyh", required=True),
        FieldSpec("owner_name", "qlrmc"),
        FieldSpec("owner_id", "qlrzjh", check="cn-id"),
        FieldSpec("status", "zt", codes={"1": "active", "2": "cancelled"}),
        FieldSpec("registered_on", "djsj", date="YYYYMMDD"),
        FieldSpec("amount", "je", decimal=2),
        FieldSpec("address", "zl"),
        FieldSpec("remark", "bz"),
        FieldSpec("area", "mj"),
        FieldSpec("purpose", "yt"),
        FieldSpec("serial", "xh"),
        FieldSpec("district", "qx"),
        FieldSpec("authority", "jg"),
        FieldSpec("born_on", "csrq"),
        FieldSpec("updated_at", "gxsj"),
    ),
    key=("bdcdyh",),
)


def source(database: PostgresDatabase, page_rows: int) -> DatabaseSource:
    connection = PostgresConnection.of(
        type="postgres",
        host=database.host,
        port=database.port,
        database=database.database,
        user=database.user,
        password="secret:database",
        tls="disable",
    )
    settings = DatabaseFrom.of(
        connection="c", table="wide", key=("bdcdyh",), cursor="gxsj", every="5s", overlap="1s", page_rows=page_rows
    )
    columns, clock = SPEC.columns(), SystemClock()
    return DatabaseSource.build(
        Wiring("wide", settings, clock, Events(), "Asia/Shanghai", "zh", connection, columns, lambda _name: database.password)
    )


def read_alone(database: PostgresDatabase, page_rows: int) -> int:
    """Read the table as capture does, and nothing more; returns the rows."""
    reader = source(database, page_rows)
    reader.open(FlowState("wide", "e", "", START, Counters(), {}))
    position, rows = START, 0
    while True:
        batch = reader.read(position, page_rows)
        if batch.loading is None:
            reader.close()
            return rows
        position, rows = batch.position, rows + len(batch.rows)


def copy_out(database: PostgresDatabase) -> None:
    """Copy the table into nothing."""
    with psycopg.connect(database) as connection, connection.cursor().copy("COPY wide TO STDOUT") as blocks:
        for _ in blocks:
            pass


def capture(database: PostgresDatabase, folder: Path, options: argparse.Namespace) -> int:
    """Capture the table into a new outbox; returns the records."""
    clock, events, signer = SystemClock(), Events(), load_signer(generate())
    store = SqliteStore.open(folder / "outbox.db", agent_id="bench", clock=clock, events=events)
    service = CaptureService(
        CapturePlan("wide", "bench", SPEC, page_rows=options.page_rows, in_flight=options.in_flight),
        source=source(database, options.page_rows),
        log=store,
        ledger=store,
        writer_for=lambda epoch: MessageWriter(
            sender="bench",
            receiver="51",
            flow="wide",
            epoch=epoch,
            subject="wide",
            dataschema="urn:bench:wide:1",
            signer=signer,
            clock=clock,
            random_bytes=os.urandom,
        ),
        events=events,
        clock=clock,
        random=lambda: 0.0,
    )
    try:
        return service.drain().records
    finally:
        store.close()


def best(act: Callable[[], object], rows: int) -> dict[str, float]:
    """Return records a second of wall clock and microseconds of our CPU a record, of the fastest round."""
    rounds = []
    for _ in range(ROUNDS):
        started, used = time.perf_counter(), time.process_time()
        act()
        rounds.append((time.perf_counter() - started, time.process_time() - used))
    wall, cpu = min(rounds)
    return {"per_second": round(rows / wall), "cpu_us": round(cpu / rows * 1e6, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--page-rows", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="huitong-bench-"))
    node = PostgresNode(folder / "postgres", settings={"shared_buffers": "'256MB'", "max_wal_size": "'2GB'"})
    try:
        with node:
            database = node.add_database("bench")
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(TABLE)
                connection.execute(FILL.format(rows=options.rows))
                connection.execute("CREATE INDEX ON wide (gxsj, bdcdyh)")
                connection.execute("VACUUM ANALYZE wide")
            measure(database, folder, options)
    finally:
        node.remove()
        shutil.rmtree(folder, ignore_errors=True)


def measure(database: PostgresDatabase, folder: Path, options: argparse.Namespace) -> None:
    numbers = iter(range(1000))

    def captured() -> None:
        place = folder / f"outbox{next(numbers)}"
        place.mkdir()
        found = capture(database, place, options)
        assert found == options.rows, f"{found} records"
        shutil.rmtree(place)

    if options.profile:
        profiler = cProfile.Profile()
        profiler.runcall(captured)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)
        return
    rows = options.rows
    results = {
        "copy_out": best(lambda: copy_out(database), rows),
        "source_alone": best(lambda: read_alone(database, options.page_rows), rows),
        "capture_to_outbox": best(captured, rows),
        "resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    for name, value in results.items():
        print(f"{name:20} {value}")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
