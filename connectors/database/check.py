"""What doctor finds about a table: reads it as the flow would and says what polling it cannot see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from agent.errors import HuitongError
from agent.i18n import N_
from agent.model import Finding
from agent.ports import Clock
from connectors.database.changelog.postgres import PostgresLog
from connectors.database.dialects.base import Database, Session
from connectors.database.settings import DatabaseFrom
from connectors.database.streams.about import About
from connectors.database.streams.choose import choose, find_way
from connectors.database.survey import grants_for
from connectors.database.tables.pages import Pages
from connectors.database.tables.reader import TableReader
from connectors.database.tables.shape import shape_of
from connectors.database.tables.table import Table, ValueKind

_DENIED: Final = re.compile(r"permission denied|command denied|access denied", re.IGNORECASE)


def check_table(flow: str, database: Database, settings: DatabaseFrom, wanted: Sequence[str], clock: Clock) -> Sequence[Finding]:
    """Connect, look at the table and read one row of it. Findings end at the first that makes the others pointless."""
    findings: list[Finding] = []
    subject = N_("connection")
    try:
        session = database.connect()
    except HuitongError as error:
        return [_failed(subject, error)]
    try:
        findings.append(Finding(subject, ok=True, text=N_("connected, read-only")))
        subject = N_("table")
        pages = Pages(shape_of(database, session, settings, wanted))
        session.page(pages.load(resumed=False), limit=1)
        findings.append(Finding(subject, ok=True, text=N_("{table} can be read"), details={"table": settings.entity_of(flow)}))
        subject = N_("privileges")
        findings += _privileges(database, session, pages.shape.table, settings)
        subject = N_("key")
        findings += _key(session, pages, settings)
        subject = N_("capture")
        findings += _mode(About(flow, settings, TableReader(database, session, pages), clock))
    except HuitongError as error:
        findings.append(_denied(subject, error, flow, database, settings) or _failed(subject, error))
    finally:
        session.close()
    return findings


def _denied(subject: str, error: HuitongError, flow: str, database: Database, settings: DatabaseFrom) -> Finding | None:
    """Return the finding for a right that is missing, with what gives it; None when that is not what is wrong."""
    if settings.table is None or "grant" in error.details or not _DENIED.search(str(error)):
        return None
    quote = database.dialect.identifier_preparer.quote_identifier
    schema, _dot, table = settings.table.rpartition(".")
    names = [quote(schema), quote(table)] if schema else [quote(table)]
    grants = [*grants_for(database, settings.mode, ".".join(names), schema or "public", database.account)]
    if settings.mode in ("auto", "trigger") and database.name == "postgresql":
        grants += PostgresLog(flow, ".".join(names), database.account).grants()
    hint = N_("let the DBA run: {grants}") if grants else error.hint
    return Finding(subject, ok=False, text=error.text, hint=hint, details={**error.details, "grants": "; ".join(grants)})


def _failed(subject: str, error: HuitongError) -> Finding:
    return Finding(subject, ok=False, text=error.text, hint=error.hint, details=error.details)


def _warning(subject: str, text: str, hint: str, **details: object) -> Finding:
    return Finding(subject, ok=False, text=text, hint=hint, details=details, warning=True)


def _privileges(database: Database, session: Session, table: Table, settings: DatabaseFrom) -> Iterator[Finding]:
    if table.query is None and database.may_write(session, table):
        yield _warning(
            N_("privileges"),
            N_("the account may also change this table"),
            N_("nothing but SELECT is needed: ask the DBA for an account that can do no more")
            if settings.status is None
            else N_("nothing but SELECT, and UPDATE on the columns of the status, is needed: ask the DBA for such an account"),
        )


def _key(session: Session, pages: Pages, settings: DatabaseFrom) -> Iterator[Finding]:
    shape = pages.shape
    names = ", ".join(settings.key)
    nullable = [column for column in shape.key if column.nullable]
    if nullable and session.page(pages.any_null(tuple(nullable))):
        yield _warning(
            N_("key"),
            N_("some rows have no value in the key ({key})"),
            N_("they are quarantined: fill them, or name columns that are always filled"),
            key=names,
        )
    if shape.table.is_unique(settings.key):
        yield Finding(N_("key"), ok=True, text=N_("the database keeps the key ({key}) unique"), details={"key": names})
    elif shape.table.query is not None:
        yield _warning(
            N_("key"),
            N_("whether the key ({key}) is unique in the result of the query is only seen when it is read"),
            N_("make sure that no join gives two rows for one key: then the flow stops"),
            key=names,
        )
    else:
        yield _warning(
            N_("key"),
            N_("nothing in the database keeps the key ({key}) unique"),
            N_("add a unique index, or make sure of it: when two rows share a key the flow stops"),
            key=names,
        )


def _mode(about: About) -> Iterator[Finding]:
    """Say which mode it is, why, and what that mode cannot see."""
    chosen = choose(about.flow, about.settings, about.reader, about.clock)
    try:
        own = getattr(find_way(chosen.mode, about), "findings", None)
        if own is not None:
            yield from own(about, chosen.stream)
        else:
            chosen.stream.read(chosen.stream.begin(), 1)
        for mode, obstacle in chosen.passed:
            yield Finding(
                N_("capture"), ok=True, text=N_("{mode} is not possible: {why}"), details={"mode": mode, "why": obstacle}
            )
        yield chosen.finding()
        if chosen.mode in ("polling", "watermark"):
            yield from _cursor(about.reader.database, about.reader.session, about.reader.pages, about.settings)
        elif chosen.mode == "compare" and about.settings.mode == "auto" and about.settings.query is not None:
            yield _warning(
                N_("cursor"),
                N_("without a cursor the query is run and all its rows are compared every time"),
                N_("name a column of the result that grows with every change of a row"),
            )
        elif chosen.mode == "compare" and about.settings.mode == "auto":
            yield _warning(
                N_("cursor"),
                N_("without a cursor the whole table is read and compared on every run"),
                N_(
                    "name a column that the database sets at every change, or let the DBA create a change log: huitong source ddl"
                ),
            )
    finally:
        chosen.stream.close()


def _cursor(database: Database, session: Session, pages: Pages, settings: DatabaseFrom) -> Iterator[Finding]:
    cursor = pages.cursor
    session.page(pages.poll(low=False, resumed=False, inclusive=True), limit=1)
    yield from _cursor_values(database, session, pages)
    if settings.mode in ("auto", "polling"):
        yield Finding(
            N_("cursor"),
            ok=True,
            text=N_(
                "a row that becomes visible more than {secs} s after a newer one was read is found by the next comparison only"
            ),
            hint=N_("make overlap longer than the longest writing transaction"),
            details={"cursor": cursor.name, "secs": f"{settings.overlap.total_seconds():g}"},
        )


def _cursor_values(database: Database, session: Session, pages: Pages) -> Iterator[Finding]:
    cursor = pages.cursor
    if pages.shape.table.query is None and not pages.shape.table.is_indexed(cursor.name):
        yield _warning(
            N_("cursor"),
            N_("no index begins with {cursor}: every poll reads the whole table"),
            N_("ask the DBA for an index on the cursor, followed by the key"),
            cursor=cursor.name,
        )
    if cursor.nullable and session.page(pages.any_null((cursor,))):
        yield _warning(
            N_("cursor"),
            N_("some rows have no value in {cursor}: they are read once, in the first load, and changes to them are not noticed"),
            N_("let the database fill it for every row, by a default and a trigger"),
            cursor=cursor.name,
        )
    if cursor.kind not in (ValueKind.INSTANT, ValueKind.TIMESTAMP, ValueKind.DATE, ValueKind.INTEGER, ValueKind.DECIMAL):
        yield _warning(
            N_("cursor"),
            N_("{cursor} is neither a time nor a number: whether it grows with every change cannot be checked"),
            N_("a single wrong, great value would hide all changes with smaller ones"),
            cursor=cursor.name,
        )
    newest = session.page(pages.greatest_cursor(0))
    value = newest[0][0] if newest else None
    now = database.present(session, cursor, value)
    if isinstance(value, str) and now is not None and value > now:
        yield _warning(
            N_("cursor"),
            N_("{cursor} lies in the future for some rows: they are read again at every poll until then"),
            N_("correct the values; if all are hours ahead, the time zone of the agent is not that of the data"),
            cursor=cursor.name,
        )
