"""Single events at 200 a second: from the commit at the source to the commit at the hub, polling every 20 ms.

python -m bench.latency [events] [rate]
"""

from __future__ import annotations

import json
import sys
import threading
import time

import psycopg

from agent.cli.demo.world import World
from bench.stage import fill, median, percentile, report, source, stage, wait_for

RATE = 200
FIRST = 1000

_INSERT = """
INSERT INTO wide SELECT id_number, name, sex, ethnicity, born, marital, education, phone, address, region, income, note,
  registered, %(seq)s, clock_timestamp() FROM wide WHERE seq = 1
"""
_COMMITTED = """
SELECT r.key::text, extract(epoch FROM m.committed_at) FROM record r JOIN message m
  ON m.flow_id = r.flow_id AND m.epoch_ordinal = r.epoch_ordinal AND m.sequence = r.sequence
"""


def write(conninfo: str, events: int, rate: int = RATE) -> dict[int, float]:
    """Insert rows one by one at the rate; return seq → wall-clock second of its commit."""
    committed: dict[int, float] = {}
    pause, start = threading.Event(), time.monotonic()
    with psycopg.connect(conninfo, autocommit=True) as db:
        for number in range(events):
            pause.wait(max(0.0, start + number / rate - time.monotonic()))
            db.execute(_INSERT, {"seq": FIRST + 1 + number})
            committed[FIRST + 1 + number] = time.time()
    return committed


def arrived(world: World) -> dict[int, float]:
    """Return seq → wall-clock second of the hub's commit."""
    with psycopg.connect(str(world.hub_database)) as db:
        return {int(json.loads(key)["number"]): float(at) for key, at in db.execute(_COMMITTED).fetchall()}


def main(events: int, rate: int = RATE) -> None:
    """Run and report."""
    with stage(every="20ms") as world:
        fill(source(world), FIRST)
        world.start("hub")
        world.start("agent")
        wait_for(world, "stored", FIRST)
        committed = write(source(world), events, rate)
        wait_for(world, "stored", FIRST + events)
        at_hub = arrived(world)
    delays = [(at_hub[seq] - at) * 1000 for seq, at in committed.items()]
    figures = {f"p{share:g}_ms": percentile(delays, share / 100) for share in (50, 90, 99)}
    report("latency", {"events": events, "rate": rate, **figures, "median_ms": median(delays), "max_ms": max(delays)})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3] or [4000]))
