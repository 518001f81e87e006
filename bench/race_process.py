"""A side of the race as a process: what it reports, when, and how much memory it takes.

A side gets one line of JSON on its standard input and runs until that is closed. For every batch it has handed over it writes a
line to the pipe whose number is its argument: monotonic second, events so far, events refused so far. The monotonic clock of
Linux is the same for all processes, so these seconds compare with ours.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_SAMPLE_SECS = 0.2
_END_SECS = 20.0
_LOG_TAIL_CHARS = 2000
_ROOT = Path(__file__).resolve().parents[1]


class RaceVoid(Exception):
    """The race means nothing: a side failed, or it lost, repeated or refused events."""


class Side:
    """A running side. Leaves its files in `folder`; `environment` is added to ours; `end` must be called."""

    def __init__(self, command: Sequence[str], order: Mapping[str, object], folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        self._log = folder / "output.log"
        self._times: list[float] = []
        self._totals: list[int] = []
        self._refused = 0
        self._news = threading.Condition()
        self._ended = threading.Event()
        self._sampled_kb = 0
        self.started_at = time.monotonic()
        self._process, reports = _spawn(command, folder, self._log, environment)
        self._threads = [threading.Thread(target=self._listen, args=(reports,)), threading.Thread(target=self._sample)]
        for thread in self._threads:
            thread.start()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(dict(order)).encode() + b"\n")
        self._process.stdin.flush()

    # -- what it has done --

    def wait_for(self, total: int, stalled_secs: float = 90.0) -> float:
        """Wait until so many events were handed over in all; return the monotonic second of that.

        Raises RaceVoid when the process ends, or when nothing has come for so long.
        """
        waiting_since = time.monotonic()
        with self._news:
            while not self._totals or self._totals[-1] < total:
                if self._process.poll() is not None:
                    raise RaceVoid(f"the process ended\n{self._log.read_text(errors='replace')[-_LOG_TAIL_CHARS:]}")
                last = max(waiting_since, self._times[-1] if self._times else 0.0)
                if time.monotonic() - last > stalled_secs:
                    seen = self._totals[-1] if self._totals else 0
                    raise RaceVoid(f"{seen} of {total} events, and nothing more for {stalled_secs:.0f} s")
                self._news.wait(1.0)
        return self.reached_at(total)

    def reached_at(self, total: int) -> float:
        """Return the monotonic second at which the event with that number, from 1 on, was handed over."""
        return self._times[bisect_left(self._totals, total)]

    def first(self) -> tuple[float, int]:
        """Return second and size of the first batch."""
        return self._times[0], self._totals[0]

    def require_exactly(self, total: int, quiet_secs: float = 1.0) -> None:
        """Wait a while and see whether the number of events is still this one. Raises RaceVoid."""
        self._ended.wait(quiet_secs)
        seen = self._totals[-1] if self._totals else 0
        if seen != total or self._refused:
            raise RaceVoid(f"{seen} events instead of {total}, {self._refused} refused")

    def peak_mb(self) -> float:
        """Return the greatest resident memory so far, of the process and its descendants together."""
        with suppress(OSError, StopIteration):
            status = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
            own = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
            self._sampled_kb = max(self._sampled_kb, own)
        return self._sampled_kb / 1024

    # -- what is done with it --

    def freeze(self) -> None:
        """Stop the process where it is."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> float:
        """Let it go on; return the monotonic second."""
        at = time.monotonic()
        self._signal(signal.SIGCONT)
        return at

    def end(self) -> None:
        """End the process and all its descendants. Idempotent."""
        self._signal(signal.SIGCONT)
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECS)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._ended.set()
        for thread in self._threads:
            thread.join()

    # -- own affairs --

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            for pid in descendants(self._process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _listen(self, reports: IO[str]) -> None:
        with reports:
            for line in reports:
                at, total, refused = line.split()
                with self._news:
                    self._times.append(float(at))
                    self._totals.append(int(total))
                    self._refused = int(refused)
                    self._news.notify_all()

    def _sample(self) -> None:
        page_kb = os.sysconf("SC_PAGE_SIZE") // 1024
        while not self._ended.wait(_SAMPLE_SECS):
            pages = sum(_resident_pages(pid) for pid in descendants(self._process.pid))
            self._sampled_kb = max(self._sampled_kb, pages * page_kb)


def _spawn(
    command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], IO[str]]:
    read_end, write_end = os.pipe()
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, str(write_end)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(_ROOT), **environment},
                pass_fds=(write_end,),
            )
    finally:
        os.close(write_end)
    return process, os.fdopen(read_end, encoding="ascii")


def descendants(pid: int) -> list[int]:
    """Return a process and all that come from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it may end while we look
                parent = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    tree = [pid]
    for member in tree:
        tree.extend(children.get(member, ()))
    return tree


def _resident_pages(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return 0
