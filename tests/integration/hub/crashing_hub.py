"""Runs `huitong hub run` and dies by SIGKILL at a crash point. Started by the crash tests, never by pytest.

Arguments: POINT HITS CONFIG; with 0 hits it never dies.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from agent import failpoints
from agent.cli import main

point, hits, config = sys.argv[1], int(sys.argv[2]), sys.argv[3]
left = [hits]


def die(name: str) -> None:
    """Count the passes of our point and die at the last one."""
    if name == point:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)


failpoints.arm(die)
main(["hub", "run", "--config", config])
