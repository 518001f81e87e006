"""Memory idle and with many records waiting, and how soon the first message goes out after a restart.

python -m bench.waiting [rows]    more than fit into the window: 1000 messages of 500 records
"""

from __future__ import annotations

import sys
import time

from bench.stage import fill, report, resident_mb, source, stage, wait_for, wait_ready


def main(rows: int) -> None:
    """Capture with the hub down, restart the agent on a full outbox, then let the hub drain it."""
    with stage() as world:
        fill(source(world), rows)
        world.start("agent")
        wait_for(world, "captured", rows)
        full = resident_mb(world.process_ids["agent"])
        world.stop("agent")
        world.start("hub")  # what the broker holds already fills the window: only receipts let the next message out
        world.start("agent")
        spawned = time.monotonic()
        first = wait_for(world, "sent", 1) - spawned
        wait_for(world, "stored", rows)
        drained = resident_mb(world.process_ids["agent"])
        world.stop("agent")
        world.start("agent")
        wait_ready(world)
        idle = resident_mb(world.process_ids["agent"])
    report(
        "waiting",
        {
            "records_waiting": rows,
            "resident_mb_full_outbox": full,
            "seconds_to_first_message": first,
            "resident_mb_after_draining": drained,
            "resident_mb_idle": idle,
        },
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
