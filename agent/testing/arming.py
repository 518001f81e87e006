"""Arming a crash point in a whole process: for fault tests, never for production.

`HUITONG_FAILPOINT=C07:3` lets the process kill itself with SIGKILL when it comes to the crash point C07 for the third time,
as a power cut would end it there. Without the variable nothing is armed and nothing is paid.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Final

from agent.errors import SettingsError
from agent.failpoints import POINTS, arm
from agent.i18n import N_

VARIABLE: Final = "HUITONG_FAILPOINT"
_ASKED: Final = re.compile(r"(C[0-9]{2})(?::([1-9][0-9]{0,8}))?")


def arm_as_asked(environment: Mapping[str, str]) -> None:
    """Arm the crash point that the environment names, if it names one. Raises SettingsError for what is none."""
    asked = environment.get(VARIABLE)
    if asked is not None:
        arm(_Fuse(*parse(asked), _die).burn)


def parse(asked: str) -> tuple[str, int]:
    """Return (crash point, hit) of `C07:3`; without a number the first hit. Raises SettingsError."""
    found = _ASKED.fullmatch(asked)
    if found is None or found[1] not in POINTS:
        raise SettingsError(
            N_("{variable} names no crash point: {asked}"),
            hint=N_("this variable is for fault tests only; unset it"),
            variable=VARIABLE,
            asked=asked,
        )
    return found[1], int(found[2] or 1)


class _Fuse:
    """Counts the hits of one point, from all threads; the one that is asked for ends it."""

    def __init__(self, name: str, hit: int, end: Callable[[str], None]) -> None:
        self._name = name
        self._left = hit
        self._end = end
        self._lock = threading.Lock()

    def burn(self, name: str) -> None:
        """Count a hit."""
        if name != self._name:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._end(name)


def _die(name: str) -> None:
    # Written past every buffer: the test that armed us looks for it, to know that it was this point and no other death.
    os.write(2, f"{killed_at(name)}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(name: str) -> str:
    """Return the line a process writes to standard error when it kills itself."""
    return f"{VARIABLE} reached {name}"
