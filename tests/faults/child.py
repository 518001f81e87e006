"""`huitong` in a world that is a little different: a clock that steps, a broker that is given up sooner.

Run as `python -m tests.faults.child huitong-arguments…`. What is different stands in the environment: WORLD_CLOCK names a
file that holds the seconds by which the wall clock is off; WORLD_HEARTBEAT_SECS is how often a connection must say something.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from agent.adapters.amqp.address import BrokerAddress
from agent.adapters.clock import SystemClock
from agent.cli import main


def step_clock(offset: Path) -> None:
    """Add what a file says to the wall clock; the monotonic clock never steps."""
    true_time: Callable[[SystemClock], datetime] = SystemClock.now

    def now(clock: SystemClock) -> datetime:
        return true_time(clock) + timedelta(seconds=float(offset.read_text()))

    SystemClock.now = now  # type: ignore[method-assign]


def set_clock(offset: Path, secs: float) -> None:
    """Write the file of `step_clock` in one piece: a child reads it at any moment, and half a file would end it."""
    draft = offset.with_suffix(".new")
    draft.write_text(str(secs))
    draft.rename(offset)


def beat_faster(secs: int) -> None:
    """Give a silent broker up after seconds instead of half a minute."""
    parse = BrokerAddress.parse

    def quick(url: str, **options: object) -> BrokerAddress:
        address = parse(url, **options)  # type: ignore[arg-type]
        return replace(address, heartbeat_secs=secs, silent_secs=2.0 * secs, connect_secs=2.0 * secs)

    BrokerAddress.parse = quick  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    if "WORLD_CLOCK" in os.environ:
        step_clock(Path(os.environ["WORLD_CLOCK"]))
    if "WORLD_HEARTBEAT_SECS" in os.environ:
        beat_faster(int(os.environ["WORLD_HEARTBEAT_SECS"]))
    main()
