"""A replication slot on its server: what has to be created, what the catalogue says of it, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.errors import HuitongError, SourceRefused
from agent.i18n import N_
from agent.model import Finding
from connectors.database.changelog.names import quote_text, stem_of
from connectors.database.changelog.postgres import quoted
from connectors.database.dialects.base import Database, Session
from connectors.database.streams.pgoutput import lsn_number
from connectors.database.tables.pages import Shape

ENCODINGS: Final = {"UTF8": "utf-8", "SQL_ASCII": "utf-8", "EUC_CN": "gb2312", "LATIN1": "latin-1"}
"""Encodings of databases whose log can be read, by the name Python gives them."""

_STATUS: Final = """
SELECT json_build_object('flushed', (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                          ELSE pg_current_wal_flush_lsn() END)::text,
    'plugin', s.plugin, 'here', s.database = current_database(), 'wal', s.wal_status, 'confirmed', s.confirmed_flush_lsn::text)
FROM (VALUES (1)) AS one LEFT JOIN pg_catalog.pg_replication_slots AS s ON s.slot_name = :slot"""

_TABLE: Final = """
SELECT json_build_object('schema', n.nspname, 'name', c.relname, 'encoding', getdatabaseencoding(),
    'complete', (SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate
                 FROM pg_catalog.pg_publication WHERE pubname = :pub),
    'published', (SELECT to_json(p) FROM pg_catalog.pg_publication_tables AS p
                  WHERE p.pubname = :pub AND p.schemaname = n.nspname AND p.tablename = c.relname),
    'identity', (SELECT json_agg(a.attname) FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0
                 AND (c.relreplident = 'f' OR EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid
                      AND a.attnum = ANY (i.indkey) AND CASE c.relreplident WHEN 'd' THEN i.indisprimary
                                                        WHEN 'i' THEN i.indisreplident ELSE false END))))
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(:name)"""

_RETENTION: Final = """
SELECT json_build_object('status', wal_status, 'retained', pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END, restart_lsn)::bigint,
    'bound', (SELECT setting::bigint * 1048576 FROM pg_catalog.pg_settings
              WHERE name = 'max_slot_wal_keep_size' AND setting::bigint >= 0))
FROM pg_catalog.pg_replication_slots WHERE slot_name = :slot"""

_RIGHT: Final = "SELECT rolreplication OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"


def status(session: Session, slot: str) -> dict[str, Any]:
    """Return how far the log of the server is written, and the slot: all of its values are None if there is none."""
    found: dict[str, Any] = session.value(_STATUS, slot=slot)
    return found


def fault(found: dict[str, Any], lsn: int | None) -> str:
    """Return why a slot cannot be read from a place on (None: from where it is), empty when it can. `found` is its status."""
    if found["plugin"] != "pgoutput" or not found["here"]:
        return N_("there is no replication slot of this name for pgoutput in this database")
    if found["wal"] == "lost" or found["confirmed"] is None:
        return N_("the replication slot is invalid, the server threw the log away")
    if lsn is not None and lsn_number(found["confirmed"]) > lsn:
        return N_("the replication slot was advanced, or made again, by someone else")
    if lsn is not None and lsn_number(found["flushed"]) < lsn:
        return N_("the log of the server ends before it, as after a restore or a failover")
    return ""


def right_missing(session: Session) -> str:
    """Return what the account may not do, empty when it may read slots."""
    return "" if session.value(_RIGHT) else N_("the account may not read replication slots")


def codec_of(encoding: str) -> str:
    """Return how the log of a database is encoded, as Python calls it. Raises SourceRefused."""
    if encoding not in ENCODINGS:
        raise SourceRefused(N_("the log of a database in the encoding {encoding} cannot be read"), encoding=encoding)
    return ENCODINGS[encoding]


def published(database: Database, session: Session, shape: Shape, publication: str) -> dict[str, Any]:
    """Return what the catalogue says of the table. Raises SourceRefused when the log does not tell what the flow needs."""
    table = database.quoted(shape.table)
    found: dict[str, Any] | None = session.value(_TABLE, name=table, pub=publication)
    told = found["published"] if found is not None else None
    if found is None or told is None or not found["complete"]:
        raise SourceRefused(
            N_("publication {publication} does not tell all changes of {table}"),
            hint=N_("CREATE PUBLICATION {publication} FOR TABLE {table} WITH (publish_via_partition_root = true)"),
            publication=publication,
            table=table,
        )
    if (shape.where is None) != (told.get("rowfilter") is None):
        raise SourceRefused(
            N_("publication {publication} and the flow do not have the same condition on the rows"),
            hint=N_("the log cannot be asked with a condition: give the publication the same (from PostgreSQL 15 on), or none"),
            publication=publication,
        )
    missing = [c.name for c in shape.columns if told.get("attnames") is not None and c.name not in told["attnames"]]
    if missing:
        raise SourceRefused(
            N_("publication {publication} or table {table} has no column {column}"),
            hint=N_("publish all columns, or correct the map"),
            publication=publication,
            table=table,
            column=", ".join(missing),
        )
    if not {column.name for column in shape.key} <= set(found["identity"] or ()):
        raise unidentified(database, shape)
    return found


def unidentified(database: Database, shape: Shape) -> SourceRefused:
    """Return the error for a table whose log does not tell the key of rows that are changed or deleted."""
    return SourceRefused(
        N_("the log of {table} does not hold the key ({key}) of rows that are changed or deleted"),
        hint=N_("ALTER TABLE {table} REPLICA IDENTITY USING INDEX (a unique index on the key), or REPLICA IDENTITY FULL"),
        table=database.quoted(shape.table),
        key=", ".join(column.name for column in shape.key),
    )


def identifies(database: Database, session: Session, shape: Shape) -> bool:
    """Tell whether the replica identity is enough: it covers the key, and every column if a condition may name any."""
    found: dict[str, Any] | None = session.value(_TABLE, name=database.quoted(shape.table), pub="")
    wanted = {column.name for column in shape.key} if shape.where is None else set(shape.table.columns)
    return found is not None and wanted <= set(found["identity"] or ())


# -- what the operator creates ---------------------------------------------------------------------------------------


def database_number(session: Session) -> int:
    """Return the number of the database: names of slots are shared by all databases of a server."""
    return int(session.value("SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()"))


def slot_of(flow: str, database: int) -> str:
    """Return the name of slot and publication, different for any two flows of any two databases of a server."""
    # Flows have no underscore in their names, slots no hyphen.
    return f"huitong_{stem_of(flow).replace('-', '_')}_{database}"


@dataclass(frozen=True, slots=True)
class SlotLog:
    """What a flow needs. `table` stands as in statements; `where` is its condition; `identify`: its log holds too little."""

    flow: str
    database: int
    table: str
    account: str
    where: str | None = None
    identify: bool = False

    @property
    def name(self) -> str:
        """The name of slot and publication."""
        return slot_of(self.flow, self.database)

    def create(self) -> Sequence[str]:
        """Return the statements that set it up, each to be run by itself: no slot can be made where something was written.

        A table that is published without a sufficient replica identity could not be changed any more: so that comes first.
        """
        account = quoted(self.account)
        published = self.table if self.where is None else f"{self.table} WHERE ({self.where})"
        return (
            *((f"ALTER TABLE {self.table} REPLICA IDENTITY FULL",) if self.identify else ()),
            f"ALTER ROLE {account} REPLICATION",
            f"GRANT SELECT ON {self.table} TO {account}",
            *slot_ddl(self.name, self.name, published),
        )

    def drop(self) -> Sequence[str]:
        """Return the statements that take it away again. The account and the replica identity may serve others: they stay."""
        return slot_drop_ddl(self.name, self.name)


def slot_ddl(slot: str, publication: str, table_sql: str) -> Sequence[str]:
    """Return the statements that make publication and slot, in this order: the slot reads the catalogue as of its own making.

    `table_sql` is the quoted name of the table, and may be followed by a condition, `t WHERE (…)`.
    """
    return (
        f"CREATE PUBLICATION {quoted(publication)} FOR TABLE {table_sql} WITH (publish_via_partition_root = true)",
        f"SELECT pg_create_logical_replication_slot({quote_text(slot)}, 'pgoutput')",
    )


def slot_drop_ddl(slot: str, publication: str) -> Sequence[str]:
    """Return the statements that undo `slot_ddl`, also when it was run in part."""
    found = f"FROM pg_catalog.pg_replication_slots WHERE slot_name = {quote_text(slot)}"
    return (
        f"SELECT pg_drop_replication_slot(slot_name) {found}",
        f"DROP PUBLICATION IF EXISTS {quoted(publication)}",
    )


# -- what it costs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Retention:
    """Octets of log that a slot keeps, the most it may (None: no bound), and the state of that log: reserved, …, lost."""

    retained: int
    bound: int | None
    status: str


def retention(session: Session, slot: str) -> Retention | None:
    """Return what a slot keeps, None if there is no such slot. Raises SourceUnavailable, SourceRefused."""
    found = session.value(_RETENTION, slot=slot)
    return None if found is None else Retention(found["retained"] or 0, found["bound"], found["status"] or "lost")


def check_slot(database: Database, session: Session, shape: Shape, slot: str, publication: str) -> Sequence[Finding]:
    """Return what doctor says of a slot: whether it tells what the flow needs, and what it costs the server."""
    subject = N_("change log")
    try:
        published(database, session, shape, publication)
        kept = retention(session, slot)
    except HuitongError as error:
        return [Finding(subject, ok=False, text=error.text, hint=error.hint, details=error.details)]
    findings = [] if kept is None else [_kept(subject, kept, slot)]
    if kept is None or kept.status == "lost":
        text = N_("there is no valid replication slot {slot}")
        findings = [Finding(subject, ok=False, text=text, hint=N_("huitong source ddl"), details={"slot": slot})]
    missing = right_missing(session)
    if missing:
        findings.append(Finding(subject, ok=False, text=missing, hint=N_("ALTER ROLE … REPLICATION")))
    return findings


def _kept(subject: str, kept: Retention, slot: str) -> Finding:
    details: dict[str, object] = {"slot": slot, "retained": kept.retained, "bound": kept.bound, "status": kept.status}
    if kept.bound is None:
        text = N_("slot {slot} keeps {retained} bytes of log, and nothing bounds that: it can fill the disk of the server")
        hint = N_("ALTER SYSTEM SET max_slot_wal_keep_size = '10GB', then reload")
        return Finding(subject, ok=False, text=text, hint=hint, details=details, warning=True)
    ok = kept.status in ("reserved", "extended") and 2 * kept.retained < kept.bound
    hint = "" if ok else N_("let the flow run, or allow more: at the bound the slot is lost and the table must be compared")
    return Finding(subject, ok=ok, text=N_("slot {slot} keeps {retained} of {bound} bytes of log"), hint=hint, details=details)
