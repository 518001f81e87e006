"""Python's own knobs, set once for a process that runs for months: agent and hub alike."""

from __future__ import annotations

import gc
import sys
from typing import Final

SWITCH_INTERVAL_SECS: Final = 0.0005
"""How long a thread that computes may hold up one that has something to send: a tenth of the default."""

YOUNG_OBJECTS: Final = 50_000
"""So many new containers before the collector looks at them. A page of rows makes thousands of tuples, and none of them is
garbage in a cycle: with the default of 700 the collector would walk over them several times a page."""


def tune() -> None:
    """Take what is loaded by now out of the collector's sight, and let it look less often."""
    sys.setswitchinterval(SWITCH_INTERVAL_SECS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
