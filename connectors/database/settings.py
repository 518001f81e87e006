"""Settings of database connections and of a flow that reads a table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Final, Literal

from agent.i18n import N_
from agent.settings.base import Misfit, Raw, SettingsModel, setting, texts
from agent.settings.codes import Note
from agent.settings.schedule import Cron, one_schedule
from agent.settings.types import AbsolutePath, ColumnName, ConnectionName, DayHours, Duration, Host, Secret, TableName, lasting
from connectors.database.query import fault_of

TlsMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]


class ServerConnection(SettingsModel):
    """What connections to a database server have in common. Sessions are always opened read-only."""

    type: Literal[
        "postgres", "mysql", "mariadb", "oracle", "sqlserver", "dameng", "kingbase", "opengauss", "gaussdb", "oceanbase"
    ] = setting(N_("type of the connection"), examples=("postgres",))
    host: Host = setting(N_("host name or address"), examples=("10.1.2.3",))
    port: int = setting(N_("port"), default=0, ge=1, le=65535, examples=("5432",))
    database: str = setting(N_("name of the database"), examples=("registry",), min_length=1, max_length=128)
    user: str = setting(
        N_("account"), more=N_("Needs nothing but SELECT on the tables that flows read."), examples=("huitong_ro",), min_length=1
    )
    password: Secret | None = setting(
        N_("password, by the name of its secret"), default=None, examples=("secret:registry_password",)
    )
    tls: TlsMode = setting(
        N_("encryption of the connection"),
        default="prefer",
        more=N_("verify-ca and verify-full also check the certificate of the server."),
        examples=("verify-full",),
    )
    ca: AbsolutePath | None = setting(
        N_("certificates that may sign the server's certificate"), default=None, examples=("/etc/huitong/certs/db-ca.crt",)
    )
    connect_timeout: Annotated[Duration, lasting("1s", "5m")] = setting(
        N_("time to connect, at most"), default=timedelta(seconds=10), examples=("10s",)
    )
    statement_timeout: Annotated[Duration, lasting("1s", "1d")] = setting(
        N_("time for one statement, at most"),
        default=timedelta(minutes=2),
        more=N_("A page of a table without a fitting index can take long; give the DBA the index instead of more time."),
        examples=("2m",),
    )

    @classmethod
    def cross_check(cls, raw: Raw) -> Iterator[Misfit]:
        """Want something to check the server's certificate with."""
        if raw.get("tls") in ("verify-ca", "verify-full") and raw.get("ca") is None:
            yield Misfit("HT-C032", at=("tls",), details={"name": f"tls: {raw['tls']}", "other": "ca"})


class PostgresConnection(ServerConnection):
    """A PostgreSQL server, or one that speaks its protocol."""

    type: Literal["postgres"] = setting(N_("type of the connection"), examples=("postgres",))
    port: int = setting(N_("port"), default=5432, ge=1, le=65535, examples=("5432",))


class MysqlConnection(ServerConnection):
    """A MySQL or MariaDB server."""

    type: Literal["mysql", "mariadb"] = setting(N_("type of the connection"), examples=("mysql",))
    port: int = setting(N_("port"), default=3306, ge=1, le=65535, examples=("3306",))


class SqliteConnection(SettingsModel):
    """An SQLite file. It is opened read-only and never created."""

    type: Literal["sqlite"] = setting(N_("type of the connection"), examples=("sqlite",))
    path: AbsolutePath = setting(N_("the database file"), examples=("/data/registry.db",))
    statement_timeout: Annotated[Duration, lasting("1s", "1d")] = setting(
        N_("time for one statement, at most"), default=timedelta(minutes=2), examples=("2m",)
    )


Drift = Literal["accept-new", "freeze", "quarantine"]
Transactions = Literal["split", "whole"]
Mode = Literal[
    "auto",
    "status",
    "trigger",
    "slot",
    "binlog",
    "change-tracking",
    "flashback",
    "rowversion",
    "watermark",
    "polling",
    "compare",
]

OF_QUERIES: Final = ("watermark", "polling", "compare")
"""The modes in which the result of a query can be captured."""


class StatusFrom(SettingsModel):
    """A column in which the application and the agent tell each other how far a row has got (mode status)."""

    column: ColumnName = setting(N_("column with the status of the row"), examples=("zt",))
    pending: str = setting(
        N_("status of rows that are to be sent; the application sets it"),
        default="0",
        examples=('"0"',),
        min_length=1,
        max_length=64,
    )
    sent: str = setting(
        N_("status of rows that were taken and wait for a receipt"),
        default="1",
        more=N_("Rows with this status that the agent never took are left alone, but looked at again and again."),
        examples=('"1"',),
        min_length=1,
        max_length=64,
    )
    failed: str = setting(
        N_("status of rows that were quarantined or refused"),
        default="2",
        more=N_("The application corrects the row and sets it back to pending."),
        examples=('"2"',),
        min_length=1,
        max_length=64,
    )
    stored: str = setting(
        N_("status of rows that the hub has stored, by its signed receipt"),
        default="3",
        examples=('"3"',),
        min_length=1,
        max_length=64,
    )
    message: ColumnName | None = setting(
        N_("column for the reason when a row failed"),
        default=None,
        more=N_("A text; what is too long for it is cut off. Emptied when the row has another status."),
        examples=("cwxx",),
    )
    at: ColumnName | None = setting(N_("column for the time of the last status"), default=None, examples=("ztsj",))
    language: Literal["zh", "en"] = setting(N_("language of the reason"), default="zh", examples=("zh",))

    @property
    def written(self) -> tuple[str, ...]:
        """The columns that the agent writes."""
        return tuple(name for name in (self.column, self.message, self.at) if name is not None)

    @classmethod
    def cross_check(cls, raw: Raw) -> Iterator[Misfit]:
        """Want a value of its own for each status, and a column of its own for each purpose."""
        values = {name: raw.get(name, cls.model_fields[name].default) for name in ("pending", "sent", "failed", "stored")}
        columns = {name: raw.get(name) for name in ("column", "message", "at") if raw.get(name) is not None}
        for given in (values, columns):
            names = list(given)
            for index, name in enumerate(names):
                other = next((each for each in names[:index] if given[each] == given[name]), None)
                if other is not None:
                    why = Note(N_("{name} is the same as {other}"), {"name": name, "other": other})
                    yield Misfit("HT-C038", at=(name,) if name in raw else (other,), details={"why": why})


class DatabaseFrom(SettingsModel):
    """A table, or what a query gives, as a source: a first load by key, then its changes, seen in the way `mode` says."""

    connection: ConnectionName = setting(N_("name of the connection"), examples=("registry",))
    table: TableName | None = setting(
        N_("table or view, with its schema"), default=None, more=N_("Either this or query."), examples=("public.qszt",)
    )
    query: str | None = setting(
        N_("SELECT whose result is read as if it were a table"),
        default=None,
        more=N_(
            "Either this or table. In the SQL of the source: joins, computed columns, WITH; every column of the result needs a "
            "name of its own (AS). key, cursor, columns, where and the map name columns of the result. Only the modes watermark, "
            "polling and compare are possible. When the text changes, the position is lost and everything is compared."
        ),
        examples=('"SELECT q.bdcdyh, q.qlrmc, d.mj FROM qszt q JOIN dy d ON d.bdcdyh = q.bdcdyh"',),
        min_length=1,
        max_length=20_000,
    )
    entity: TableName | None = setting(
        N_("name by which the rows of a query are known"),
        default=None,
        more=N_(
            "Part of the identity of every record: rows sent under another name are other records. By default the name of the "
            "flow; the name of the table when a query takes the place of one."
        ),
        examples=("public.qszt",),
    )
    key: tuple[ColumnName, ...] = setting(
        N_("columns of the business key"),
        more=N_("Together they name one record for ever; they must be mapped, must not be NULL and should have an index."),
        examples=("[bdcdyh]",),
        min_length=1,
        max_length=16,
    )
    cursor: ColumnName | None = setting(
        N_("column that grows with each change"),
        default=None,
        more=N_(
            "A modification time or a version number, set by the database, with an index. Without one the whole table is "
            "read and compared on every run."
        ),
        examples=("updated_at",),
    )
    mode: Mode = setting(
        N_("how changes are seen"),
        default="auto",
        more=N_(
            "trigger: a change log that triggers fill (huitong source ddl); slot: the log of PostgreSQL; binlog: that of MySQL "
            "and MariaDB; change-tracking, rowversion: those of SQL Server; flashback: the versions of rows that Oracle keeps; "
            "watermark: by cursor, up to the oldest open transaction; polling: by cursor, looking back; compare: by reading "
            "everything; status: by a column that the application sets (see status). auto takes the best that the account and "
            "the database allow, and doctor says which."
        ),
        examples=("auto", "trigger"),
    )
    status: StatusFrom | None = setting(
        N_("status column through which the application hands rows over"),
        default=None,
        more=N_(
            "Rows with the status pending are sent, and how far they have got is written back: sent, stored by the hub, or "
            "failed. The account needs UPDATE on these columns and on nothing else. Each flow needs a status column of its own. "
            "For mode status, which auto then chooses."
        ),
        examples=("{column: zt, message: cwxx}",),
    )
    keep: Annotated[Duration, lasting("0s", "90d")] = setting(
        N_("how long entries stay in the change log after they were captured"),
        default=timedelta(days=7),
        more=N_("At least as long as the agent may be put back to a backup."),
        examples=("7d",),
    )
    notify: bool = setting(
        N_("let the triggers of PostgreSQL announce each write, so that it is captured at once"),
        default=False,
        more=N_(
            "Only with mode trigger. Transactions that write to the table can then not be prepared for a two-phase commit, and "
            "they commit one after the other."
        ),
        examples=("true",),
    )
    every: Annotated[Duration, lasting("10ms", "7d")] | None = setting(
        N_("time between two polls"), default=None, more=N_("Either this or cron."), examples=("30s",)
    )
    cron: Cron | None = setting(
        N_("when to poll, as a cron expression"),
        default=None,
        more=N_("Minute, hour, day of month, month, day of week (mon-sun), in the time zone of the agent. Either this or every."),
        examples=('"0 2 * * *"',),
    )
    audit: Cron | None = setting(
        N_("when the table is compared with what was captured, as a cron expression"),
        default="0 3 * * sun",
        more=N_(
            "Finds what capture missed, in every mode, and rows that are gone. Where the database can compute checksums, only "
            "parts that changed are read. null for never."
        ),
        examples=('"0 3 * * sun"', "null"),
    )
    walk_rate: int | None = setting(
        N_("rows a second that the first load, a comparison or a backfill reads, at most"),
        default=None,
        ge=1,
        more=N_("Changes are not slowed down by it."),
        examples=("2000",),
    )
    walk_hours: DayHours | None = setting(
        N_("hours in which the first load, a comparison or a backfill reads"),
        default=None,
        more=N_("Outside of them only changes are read. In the time zone of the agent."),
        examples=('"22:00-06:00"',),
    )
    most_deletes: int = setting(
        N_("share of all rows, in percent, that a comparison may delete without asking"),
        default=20,
        ge=0,
        le=100,
        more=N_(
            "When more are gone, none is deleted; a numbered gap says so: huitong flow compare FLOW --accept-deletes --why TEXT."
        ),
        examples=("20",),
    )
    overlap: Annotated[Duration, lasting("0s", "7d")] = setting(
        N_("how far polls look back"),
        default=timedelta(minutes=10),
        more=N_(
            "Rows whose transaction commits late carry an earlier cursor value. What was sent already is recognised and "
            "not sent again. Make it longer than the longest writing transaction. On busy tables not every poll looks back "
            "so far."
        ),
        examples=("10m",),
    )
    page_rows: int = setting(
        N_("rows read at a time"), default=2000, ge=10, le=100_000, more=N_("Bounds the memory of a poll."), examples=("2000",)
    )
    columns: tuple[ColumnName, ...] = setting(
        N_("columns to read"),
        default=(),
        more=N_("Only needed to read columns that no line of the map names; by default exactly what the map needs."),
        examples=("[bdcdyh, qlrmc]",),
    )
    drift: Drift = setting(
        N_("what happens when the columns of the table change"),
        default="accept-new",
        more=N_(
            "accept-new: new columns and wider types pass, and a map of same names takes new columns from then on; anything else "
            "stops the flow. freeze: any change stops it. quarantine: new columns pass; after another change rows are put aside. "
            "A stopped flow goes on where it was after huitong flow resume, which accepts the change; with quarantine, pause the "
            "flow, resume it, then huitong dead retry. The columns are looked at when the source is opened and once a minute."
        ),
        examples=("accept-new", "freeze"),
    )
    transactions: Transactions = setting(
        N_("whether a message may hold records of several transactions of the source"),
        default="split",
        more=N_(
            "split: messages are filled without regard to transactions. whole: the records of one transaction travel in messages "
            "of their own; several in a row when they do not fit into one. Only for modes that know transactions: the change log "
            "of PostgreSQL, slot, binlog. Costs more and smaller messages."
        ),
        examples=("split", "whole"),
    )
    where: str | None = setting(
        N_("condition on the rows, in the SQL of the source"),
        default=None,
        more=N_("A row that stops to fulfil it is not reported as deleted."),
        examples=('"zt <> 9"',),
        min_length=1,
        max_length=2000,
    )

    @classmethod
    def cross_check(cls, raw: Raw) -> Iterator[Misfit]:
        """Exactly one schedule, a table or a query, and a key that names each column once."""
        yield from one_schedule(raw)
        mode = raw.get("mode", "auto")
        if mode == "status" and raw.get("status") is None:
            yield Misfit("HT-C032", at=("mode",), details={"name": "mode: status", "other": "status"})
        if raw.get("status") is not None and mode not in ("auto", "status"):
            yield Misfit("HT-C033", at=("mode",), details={"name": f"mode: {mode}", "other": "status"})
        if raw.get("status") is not None and raw.get("query") is not None:
            yield Misfit("HT-C033", at=("status",), on_key=True, details={"name": "query", "other": "status"})
        yield from _table_or_query(raw)
        key = texts(raw.get("key"))
        for index, column in enumerate(key):
            if column in key[:index]:
                yield Misfit(
                    "HT-C038", at=("key", index), details={"why": Note(N_("{name} stands in the list twice"), {"name": column})}
                )

    def entity_of(self, flow: str) -> str:
        """Return what the rows of a flow belong to; not the text of a query, which may change while the records stay the same."""
        return self.table or self.entity or flow


def _table_or_query(raw: Raw) -> Iterator[Misfit]:
    """Yield what is wrong with where rows come from: a table or a query, and what goes with a query only."""
    table, query, mode = raw.get("table"), raw.get("query"), raw.get("mode", "auto")
    if (table is None) == (query is None):
        both = query is not None
        yield Misfit("HT-C023", at=("query",) if both else (), on_key=both, details={"names": "table, query"})
    if query is None and raw.get("entity") is not None:
        yield Misfit("HT-C032", at=("entity",), on_key=True, details={"name": "entity", "other": "query"})
    if not isinstance(query, str) or not query:
        return
    if raw.get("status") is not None:
        yield Misfit("HT-C033", at=("status",), on_key=True, details={"name": "status", "other": "query"})
    if why := fault_of(query):
        yield Misfit("HT-C038", at=("query",), details={"why": Note(why)})
    if mode not in ("auto", *OF_QUERIES):
        why = N_("mode {mode} needs a table: a query has no triggers and no log of its own")
        yield Misfit("HT-C038", at=("mode",), details={"why": Note(why, {"mode": mode})})
