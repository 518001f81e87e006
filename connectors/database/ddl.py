"""What the DBA has to create so that a flow can be captured exactly, and how it is taken away again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from agent.errors import SourceRefused
from agent.i18n import N_
from connectors.database.connect import database_of
from connectors.database.settings import DatabaseFrom
from connectors.database.streams.about import About
from connectors.database.streams.choose import find_way
from connectors.database.tables.pages import Pages
from connectors.database.tables.reader import TableReader
from connectors.database.tables.shape import shape_of
from connectors.wiring import Wiring


class Installed(Protocol):
    """Something in the source that capture needs."""

    def create(self) -> Sequence[str]:
        """Return the statements that set it up, without their final semicolons."""
        ...

    def drop(self) -> Sequence[str]:
        """Return the statements that take it away again."""
        ...


class Installing(Protocol):
    """What the module of a mode offers that needs something in the source."""

    def log_of(self, about: About, account: str = "") -> Installed:
        """Return what this mode needs for a flow; `account` is who reads."""
        ...


@dataclass(frozen=True, slots=True)
class Ddl:
    """Statements for a flow, in order, and the mode they serve."""

    mode: str
    create: Sequence[str]
    drop: Sequence[str]


def ddl_of(wiring: Wiring[DatabaseFrom], account: str = "") -> Ddl:
    """Return what a flow needs in its mode; with `auto` its change log. Reads the catalogue, changes nothing.

    `account` is who reads, by default that of the connection. Raises SourceUnavailable, SourceRefused: also when this mode of
    this database needs nothing.
    """
    settings, database = wiring.settings, database_of(wiring)
    best = "trigger" if settings.status is None else "status"
    mode = best if settings.mode == "auto" else settings.mode
    session = database.connect()
    try:
        reader = TableReader(database, session, Pages(shape_of(database, session, settings, wiring.columns)))
        about = About(wiring.flow, settings, reader, wiring.clock)
        way = find_way(mode, about)
        if not hasattr(way, "log_of"):
            raise SourceRefused(
                N_("mode {mode} needs nothing to be created in {database}"),
                hint=N_("only modes that see every change need that: trigger, slot"),
                mode=mode,
                database=database.name,
            )
        log = cast("Installing", way).log_of(about, account or getattr(wiring.connection, "user", ""))
        return Ddl(mode, log.create(), log.drop())
    finally:
        session.close()
