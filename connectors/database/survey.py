"""What is possible on a table that no flow reads yet: the way of capture, what would make a better one, and the rights for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.ports import Clock
from connectors.database.dialects.base import Database
from connectors.database.settings import DatabaseFrom
from connectors.database.streams.about import About
from connectors.database.streams.choose import choose
from connectors.database.tables.pages import Pages
from connectors.database.tables.reader import TableReader
from connectors.database.tables.shape import shape_of

_RIGHTS: Final = {
    ("postgresql", ""): ("GRANT USAGE ON SCHEMA {schema} TO {account}", "GRANT SELECT ON {table} TO {account}"),
    ("postgresql", "watermark"): ("GRANT pg_read_all_stats TO {account}",),
    ("postgresql", "slot"): ("ALTER ROLE {account} REPLICATION",),
    ("mysql", ""): ("GRANT SELECT ON {table} TO {account}",),
    ("mysql", "trigger"): ("GRANT PROCESS ON *.* TO {account}",),
    ("mysql", "watermark"): ("GRANT PROCESS ON *.* TO {account}",),
    ("mysql", "binlog"): ("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {account}",),
}
"""Rights by database and mode; those without a mode are always needed. What a change log needs stands in its own statements."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The mode that is possible now and why; better ones and what is in their way; statements for the DBA."""

    mode: str
    why: str
    passed: Sequence[tuple[str, str]]
    grants: Sequence[str]


def survey(flow: str, settings: DatabaseFrom, database: Database, account: str, clock: Clock) -> Survey:
    """Look at a table as a flow with these settings would. Raises SourceUnavailable, SourceRefused."""
    session = database.connect()
    try:
        shape = shape_of(database, session, settings, ())
        about = About(flow, settings, TableReader(database, session, Pages(shape)), clock)
        chosen = choose(flow, settings, about.reader, clock)
        chosen.stream.close()
        schema = shape.table.schema or "public"
        return Survey(chosen.mode, chosen.why, chosen.passed, grants_for(database, chosen.mode, about.table, schema, account))
    finally:
        session.close()


def grants_for(database: Database, mode: str, table: str, schema: str, account: str) -> Sequence[str]:
    """Return the statements that give an account what a mode needs, and nothing more."""
    quote = database.dialect.identifier_preparer.quote_identifier
    names = {"table": table, "schema": quote(schema), "account": _account(database, account)}
    return [text.format(**names) for one in ("", mode) for text in _RIGHTS.get((database.name, one), ())]


def _account(database: Database, account: str) -> str:
    if database.name == "mysql":
        return f"'{account}'@'%'"
    return database.dialect.identifier_preparer.quote_identifier(account)
