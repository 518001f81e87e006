"""First load end to end: a PostgreSQL table of 15 columns → the hub's PostgreSQL, until every signed receipt has settled.

In the same run the raw limit: COPY of the same table into another one on the same server.

    python -m bench.first_load [rows]
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path

import psycopg

from agent.cli.demo.world import World
from bench.stage import cpu_secs, fill, report, resident_mb, source, stage, wait_for


def copy_limit(conninfo: str, rows: int) -> float:
    """Return records a second of COPY from the table into a copy of it, through this process, best of two."""
    best = 0.0
    for _ in range(2):
        with psycopg.connect(conninfo) as read, psycopg.connect(conninfo) as write:
            write.execute("DROP TABLE IF EXISTS wide_copy")
            write.execute("CREATE TABLE wide_copy (LIKE wide INCLUDING INDEXES)")
            start = time.monotonic()
            with read.cursor().copy("COPY wide TO STDOUT") as out, write.cursor().copy("COPY wide_copy FROM STDIN") as into:
                for block in out:
                    into.write(block)
            write.commit()
            best = max(best, rows / (time.monotonic() - start))
    return best


def opened_at(log: Path) -> float:
    """Return the wall-clock second at which the agent opened its source."""
    for line in log.read_text().splitlines():
        if '"source_opened"' in line:
            return datetime.fromisoformat(json.loads(line)["at"]).timestamp()
    raise ValueError("the source was never opened")


def load(world: World, rows: int) -> dict[str, float]:
    """Run the load once."""
    world.start("hub")
    world.start("agent")
    spawned = time.monotonic()
    wait_for(world, "captured", rows)
    captured = time.time()
    ended = wait_for(world, "stored", rows)
    finished = time.time()
    start = opened_at(world.folder / "agent.log")
    pids = world.process_ids
    return {
        "records_per_second": rows / (finished - start),
        "capture_records_per_second": rows / (captured - start),
        "seconds_from_process_start": ended - spawned,
        "agent_cpu_us_per_record": cpu_secs(pids["agent"]) / rows * 1e6,
        "hub_cpu_us_per_record": cpu_secs(pids["hub"]) / rows * 1e6,
        "agent_resident_mb": resident_mb(pids["agent"]),
        "hub_resident_mb": resident_mb(pids["hub"]),
    }


def main(rows: int) -> None:
    """Run and report."""
    with stage() as world:
        fill(source(world), rows)
        limit = copy_limit(source(world), rows)
        figures = load(world, rows)
    share = figures["records_per_second"] / limit
    report("first_load", {"rows": rows, **figures, "copy_records_per_second": limit, "share_of_copy": round(share, 3)})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)
