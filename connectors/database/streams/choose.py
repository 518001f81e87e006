"""Which way of following changes a flow uses: what its settings ask for, or the best that is at hand.

A flow that was captured exactly never falls back to a lesser way by itself: when what it needs is gone, that is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Final, Protocol, cast

from agent.errors import SourceRefused
from agent.i18n import N_
from agent.model import Finding
from agent.ports import Clock
from connectors.database.settings import DatabaseFrom
from connectors.database.streams.about import About
from connectors.database.streams.stream import Stream
from connectors.database.tables.reader import TableReader

EXACT: Final = ("trigger", "slot", "binlog")

_ANY: Final = "*"
_MODULES: Final = {
    ("trigger", "postgresql"): "log_postgres",
    ("slot", "postgresql"): "slot",
    ("trigger", "sqlite"): "log_sqlite",
    ("trigger", "mysql"): "log_mysql",
    ("binlog", "mysql"): "binlog",
    ("watermark", "postgresql"): "watermark",
    ("watermark", "mysql"): "watermark",
    ("polling", _ANY): "polling",
    ("compare", _ANY): "nothing",
}
"""Where a mode is at home, by database."""

LIMITS: Final = {
    "trigger": N_("Every change is seen, deletes too, in the order per key."),
    "slot": N_("Every change is seen, deletes too, in the order of the commits."),
    "binlog": N_("Every change is seen, deletes too, in the order of the commits."),
    "watermark": N_(
        "No row is missed if the database itself sets the cursor; states between two polls are not seen, and deletes only by the "
        "comparison."
    ),
    "polling": N_(
        "A row that commits later than the overlap is found only by the comparison, and so are deletes; states between two polls "
        "are not seen."
    ),
    "compare": N_("Every run reads the table and finds what changed, deletes too; states between two runs are not seen."),
}
"""What a mode promises, and what it cannot see."""

_BY_WORTH: Final = ("trigger", "slot", "binlog", "watermark", "polling", "compare")


class Way(Protocol):
    """What a module of a mode offers."""

    def obstacle(self, about: About) -> str:
        """Return what is in the way of this mode (an English text), empty when nothing is."""
        ...

    def stream_of(self, about: About) -> Stream:
        """Return the stream. Raises SourceRefused, SourceUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """The stream of a flow, its mode, and why (an English text). `walks`: every run reads the whole table.

    `passed` are better modes that were not taken, and what was in the way.
    """

    mode: str
    why: str
    stream: Stream
    passed: tuple[tuple[str, str], ...] = ()

    def finding(self) -> Finding:
        """Say the mode, why it is, and what it promises and cannot see."""
        details = {"mode": self.mode, "why": self.why, "limits": LIMITS[self.mode]}
        return Finding(N_("capture"), ok=True, text=N_("mode {mode}, because {why}. {limits}"), details=details)

    @property
    def walks(self) -> bool:
        """Whether every run reads the whole table."""
        return self.mode == "compare"


def choose(flow: str, settings: DatabaseFrom, reader: TableReader, clock: Clock, before: str | None = None) -> Chosen:
    """Return the stream of a flow. Raises SourceRefused when what the settings ask for is not to be had.

    `before` is the mode in which the flow was captured so far.
    """
    about = About(flow, settings, reader, clock)
    if settings.mode != "auto":
        return Chosen(settings.mode, N_("the settings say so"), find_way(settings.mode, about).stream_of(about))
    if before in EXACT:
        why = N_("as before: auto never falls back to a lesser way by itself")
        return Chosen(before, why, find_way(before, about).stream_of(about))
    passed: list[tuple[str, str]] = []
    for mode in _BY_WORTH:
        way = _find(mode, about)
        if way is None:
            continue
        obstacle = way.obstacle(about)
        if not obstacle:
            return Chosen(mode, N_("it is the best that is possible here"), way.stream_of(about), tuple(passed))
        passed.append((mode, obstacle))
    raise AssertionError("comparing is always possible")


def find_way(mode: str, about: About) -> Way:
    """Return what a mode is for a database. Raises SourceRefused when there is no such mode for it."""
    way = _find(mode, about)
    if way is None:
        raise SourceRefused(
            N_("mode {mode} does not exist for {database}"),
            hint=N_("choose another mode, or auto"),
            mode=mode,
            database=about.reader.database.name,
        )
    return way


def _find(mode: str, about: About) -> Way | None:
    name = _MODULES.get((mode, about.reader.database.name)) or _MODULES.get((mode, _ANY))
    # Only the mode that is used is loaded: some bring a driver or a decoder of their own.
    return None if name is None else cast("Way", import_module(f"connectors.database.streams.{name}"))
