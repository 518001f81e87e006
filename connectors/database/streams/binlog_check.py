"""What a server must be set to for its binary log to be followed, and what doctor finds about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from agent.errors import HuitongError, SourceRefused
from agent.i18n import N_
from agent.model import Finding
from connectors.database.dialects.base import Database, Session
from connectors.database.streams.stream import Mark, Stream

_SUBJECT: Final = N_("binary log")
_WANTED: Final = (("log_bin", ("1", "ON")), ("binlog_format", ("ROW",)), ("binlog_row_image", ("FULL",)))
_CASCADES: Final = re.compile(r"FOREIGN KEY[^\n]* ON (?:DELETE|UPDATE) (?:CASCADE|SET NULL|SET DEFAULT)")


def require_rows(database: Database, session: Session) -> None:
    """Make sure that the server logs rows, and all of them. Raises SourceRefused with what the DBA has to set."""
    for name, good in _WANTED:
        value = _variable(database, session, name)
        if value is None or value.upper() in good:
            continue
        if name == "log_bin":
            raise SourceRefused(
                N_("the server keeps no binary log"),
                hint=N_("ask the DBA for these lines in my.cnf and a restart: log_bin, server_id, binlog_format=ROW"),
            )
        raise SourceRefused(
            N_("the binary log does not hold whole rows: {name} is {value}"),
            hint=N_(
                "ask the DBA for: SET GLOBAL {name} = '{good}'; the same line in my.cnf; and new connections of applications"
            ),
            name=name,
            value=value,
            good=good[0],
        )


def log_status(database: Database, session: Session) -> Sequence[Any]:
    """Return (file, position, only these databases, without these) of the end of the log. Raises SourceRefused."""
    rows = _show(database, session, "SHOW BINARY LOG STATUS" if _is_new_mysql(database) else "SHOW MASTER STATUS")
    if not rows:
        raise SourceRefused(
            N_("the server keeps no binary log"),
            hint=N_("ask the DBA for these lines in my.cnf and a restart: log_bin, server_id, binlog_format=ROW"),
        )
    row: Sequence[Any] = rows[0]
    return row


def grants(database: Database) -> str:
    """Return what the account needs beside SELECT, as a statement for the DBA."""
    monitor = "BINLOG MONITOR" if _is_mariadb(database) and _version(database) >= (10, 5) else "REPLICATION CLIENT"
    return f"GRANT REPLICATION SLAVE, {monitor} ON *.* TO"


def check_binlog(
    database: Database, session: Session, stream: Stream, table: tuple[str, str], mark: Mark = None
) -> Iterator[Finding]:
    """Look at the log of a (schema, table) as the flow would read it, and at what it cannot show. `mark`: where the flow is."""
    try:
        stream.begin()
    except HuitongError as error:
        said = str(error.details.get("why", ""))
        if "denied" in said.casefold():
            yield Finding(
                _SUBJECT,
                ok=False,
                text=N_("the account may not read the binary log"),
                hint=N_("ask the DBA for: {grants} '{user}'@'...'"),
                details={"grants": grants(database), "user": _account(session)},
            )
        else:
            yield Finding(_SUBJECT, ok=False, text=error.text, hint=error.hint, details=error.details)
        return
    finally:
        stream.close()
    yield Finding(_SUBJECT, ok=True, text=N_("the binary log can be read, with whole rows"))
    yield from _metadata(database, session)
    yield from _kept(database, session, mark)
    yield from _unseen(database, session, *table)


def _metadata(database: Database, session: Session) -> Iterator[Finding]:
    value = _variable(database, session, "binlog_row_metadata")
    if value is None or value.upper() != "FULL":
        yield _warning(
            N_("the log does not name the columns: after a change of the table what was logged before it may be unreadable"),
            N_(
                "ask the DBA for: SET GLOBAL binlog_row_metadata = 'FULL' (MySQL 8.0.1, MariaDB 10.5) and the same line in my.cnf"
            ),
        )


def _kept(database: Database, session: Session, mark: Mark) -> Iterator[Finding]:
    seconds = float(_variable(database, session, "binlog_expire_logs_seconds") or 0)
    seconds = seconds or 86_400 * float(_variable(database, session, "expire_logs_days") or 0)
    if seconds:
        yield Finding(
            _SUBJECT,
            ok=seconds >= 86_400,
            text=N_("the server deletes its binary log after {hours} h: a flow that stands still longer has a gap"),
            hint=N_("ask the DBA for at least three days: binlog_expire_logs_seconds = 259200 (expire_logs_days = 3)"),
            details={"hours": f"{seconds / 3600:g}"},
            warning=True,
        )
    files = [str(row[0]) for row in _show(database, session, "SHOW BINARY LOGS")]
    if not isinstance(mark, dict) or not files:
        return
    if mark.get("file") not in files:
        yield Finding(
            _SUBJECT,
            ok=False,
            text=N_("the server has deleted the binary log that the flow has to read next"),
            hint=N_("compare the table, then resume the flow"),
        )
    elif mark["file"] == files[0] and len(files) > 1:
        yield _warning(
            N_("the flow reads the oldest file of the binary log: the next one that the server deletes makes a gap"),
            N_("let the flow run, or ask the DBA to keep the log longer"),
        )


def _unseen(database: Database, session: Session, schema: str, table: str) -> Iterator[Finding]:
    # information_schema hides foreign keys from accounts with nothing but SELECT.
    quoted = database.dialect.identifier_preparer.quote_identifier
    shown = _show(database, session, f"SHOW CREATE TABLE {quoted(schema)}.{quoted(table)}")
    if shown and _CASCADES.search(str(shown[0][1])):
        yield _warning(
            N_("foreign keys change rows of this table when others are changed or deleted; the binary log does not show that"),
            N_("run compare on a schedule, or let the application make these changes itself"),
        )


def _warning(text: str, hint: str) -> Finding:
    return Finding(_SUBJECT, ok=False, text=text, hint=hint, warning=True)


def _variable(database: Database, session: Session, name: str) -> str | None:
    rows = _show(database, session, f"SHOW GLOBAL VARIABLES LIKE '{name}'")
    return str(rows[0][1]) if rows else None


def _account(session: Session) -> str:
    return str(session.value("SELECT CURRENT_USER()")).partition("@")[0]


def _show(database: Database, session: Session, sql: str) -> list[Sequence[Any]]:
    with database.translated():
        session.cursor.execute(sql)
        return list(session.cursor.fetchall())
    raise AssertionError("unreachable")  # mypy: the context never swallows


def _is_mariadb(database: Database) -> bool:
    return bool(getattr(database.dialect, "is_mariadb", False))


def _version(database: Database) -> tuple[int, ...]:
    found = getattr(database.dialect, "server_version_info", None) or ()
    return tuple(part for part in found if isinstance(part, int))


def _is_new_mysql(database: Database) -> bool:
    return not _is_mariadb(database) and _version(database) >= (8, 2)
