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
from connectors.database.settings import OF_QUERIES, DatabaseFrom
from connectors.database.streams.about import About
from connectors.database.streams.stream import Stream
from connectors.database.tables.reader import TableReader

EXACT: Final = ("trigger", "slot", "binlog", "change-tracking", "flashback")

_ANY: Final = "*"
_MODULES: Final = {
    ("trigger", "postgresql"): "log_postgres",
    ("slot", "postgresql"): "slot",
    ("trigger", "sqlite"): "log_sqlite",
    ("trigger", "mysql"): "log_mysql",
    ("binlog", "mysql"): "binlog",
    ("change-tracking", "mssql"): "change_tracking",
    ("flashback", "oracle"): "flashback",
    ("rowversion", "mssql"): "rowversion",
    ("watermark", "postgresql"): "watermark",
    ("watermark", "mysql"): "watermark",
    ("status", "postgresql"): "status",
    ("status", "mysql"): "status",
    ("status", "sqlite"): "status",
    ("polling", _ANY): "polling",
    ("compare", _ANY): "nothing",
}
"""Where a mode is at home, by database."""

LIMITS: Final = {
    "trigger": N_("Every change is seen, deletes too, in the order per key."),
    "slot": N_("Every change is seen, deletes too, in the order of the commits."),
    "binlog": N_("Every change is seen, deletes too, in the order of the commits."),
    "change-tracking": N_(
        "No change of a key is missed, deletes too; of several changes of one key between two reads only the last is seen. Made "
        "after Microsoft's documents and never run against a server."
    ),
    "flashback": N_(
        "Every change that was committed is seen, deletes too, unless an interruption is longer than what undo holds: then "
        "everything has to be compared. Made after Oracle's documents and never run against a server."
    ),
    "rowversion": N_(
        "No change is missed, but deletes are found only by the comparison, and states between two polls are not seen; a long "
        "transaction anywhere in the database delays what came after it. Made after Microsoft's documents and never run against "
        "a server."
    ),
    "watermark": N_(
        "No row is missed if the database itself sets the cursor; states between two polls are not seen, and deletes only by the "
        "comparison."
    ),
    "polling": N_(
        "A row that commits later than the overlap is found only by the comparison, and so are deletes; states between two polls "
        "are not seen."
    ),
    "status": N_(
        "Rows are sent when the application sets their status to pending, and their status tells how far they got; what it "
        "changes without that, and deletes, are not seen. There is no first load and no comparison."
    ),
    "compare": N_("Every run reads the table and finds what changed, deletes too; states between two runs are not seen."),
}
"""What a mode promises, and what it cannot see."""

_BY_WORTH: Final = (
    *("trigger", "slot", "binlog", "change-tracking", "flashback"),
    *("rowversion", "watermark", "polling", "compare"),
)

_NO_LOG: Final = N_("no change log was written for this database")
_FOREIGN_LOG: Final = N_("the change log uses what only PostgreSQL and its driver have, and was never tried on this database")
_FOREIGN_SLOT: Final = N_("the log of this database is decoded in the vendor's own way, which is not supported")
_UNSEEN: Final = N_("how this database shows open transactions was never tried")

_NEVER: Final = {
    ("trigger", "kingbase"): _FOREIGN_LOG,
    ("trigger", "opengauss"): _FOREIGN_LOG,
    ("trigger", "oceanbase"): N_("the change log was written for MySQL and MariaDB, and never tried on OceanBase"),
    ("trigger", "mssql"): _NO_LOG,
    ("trigger", "oracle"): _NO_LOG,
    ("trigger", "dameng"): _NO_LOG,
    ("slot", "kingbase"): _FOREIGN_SLOT,
    ("slot", "opengauss"): _FOREIGN_SLOT,
    ("binlog", "oceanbase"): N_("OceanBase writes no such log; the vendor's service that imitates one was never tried"),
    **{("watermark", name): _UNSEEN for name in ("kingbase", "opengauss", "oceanbase", "mssql", "oracle", "dameng")},
}
"""Why a mode that a relative of a database has is not possible there: polling and comparing are."""


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

    @property
    def by_status(self) -> bool:
        """Whether the application hands rows over, so that there is nothing to walk through."""
        return self.mode == "status"


def choose(flow: str, settings: DatabaseFrom, reader: TableReader, clock: Clock, before: str | None = None) -> Chosen:
    """Return the stream of a flow. Raises SourceRefused when what the settings ask for is not to be had.

    `before` is the mode in which the flow was captured so far.
    """
    about = About(flow, settings, reader, clock)
    if settings.mode != "auto":
        return Chosen(settings.mode, N_("the settings say so"), find_way(settings.mode, about).stream_of(about))
    if settings.status is not None:  # whoever agreed on one with the application wants nothing else, and no fall-back
        return Chosen("status", N_("a status column is set"), find_way("status", about).stream_of(about))
    if before in EXACT:
        why = N_("as before: auto never falls back to a lesser way by itself")
        return Chosen(before, why, find_way(before, about).stream_of(about))
    passed: list[tuple[str, str]] = []
    for mode in _BY_WORTH:
        barrier = _barrier(mode, about)
        way = None if barrier else _find(mode, about)
        obstacle = way.obstacle(about) if way is not None else barrier
        if way is not None and not obstacle:
            return Chosen(mode, N_("it is the best that is possible here"), way.stream_of(about), tuple(passed))
        if obstacle:
            passed.append((mode, obstacle))
    raise AssertionError("comparing is always possible")


def find_way(mode: str, about: About) -> Way:
    """Return what a mode is for a database. Raises SourceRefused when there is no such mode for it."""
    barrier = _barrier(mode, about)
    if barrier:
        raise SourceRefused(barrier, hint=N_("choose another mode, or auto"))
    way = _find(mode, about)
    if way is None:
        raise SourceRefused(
            N_("mode {mode} does not exist for {database}"),
            hint=N_("choose another mode, or auto"),
            mode=mode,
            database=about.reader.database.name,
        )
    return way


def _barrier(mode: str, about: About) -> str:
    """Return what rules a mode out whatever the account may do (an English text), empty when nothing is known."""
    of = (mode, about.reader.database.name)
    if about.reader.pages.shape.table.query is not None and mode not in OF_QUERIES and of in _MODULES:
        return N_("a query has no triggers and no log of its own")
    return _NEVER.get(of, "")


def _find(mode: str, about: About) -> Way | None:
    name = _MODULES.get((mode, about.reader.database.name)) or _MODULES.get((mode, _ANY))
    # Only the mode that is used is loaded: some bring a driver or a decoder of their own.
    return None if name is None else cast("Way", import_module(f"connectors.database.streams.{name}"))
