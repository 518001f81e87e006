"""Settings of database connections and of a flow that reads a table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from agent.i18n import N_
from agent.settings.base import Misfit, Raw, SettingsModel, setting, texts
from agent.settings.codes import Note
from agent.settings.schedule import Cron, one_schedule
from agent.settings.types import AbsolutePath, ColumnName, ConnectionName, DayHours, Duration, Host, Secret, TableName, lasting

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


Mode = Literal["auto", "trigger", "slot", "binlog", "watermark", "polling", "compare"]


class DatabaseFrom(SettingsModel):
    """A table as a source: a first load by key, then its changes, seen in the way `mode` says."""

    connection: ConnectionName = setting(N_("name of the connection"), examples=("registry",))
    table: TableName = setting(N_("table or view, with its schema"), examples=("public.qszt",))
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
            "and MariaDB; watermark: by cursor, up to the oldest open transaction; polling: by cursor, looking back; compare: by "
            "reading everything. auto takes the best that the account and the database allow, and doctor says which."
        ),
        examples=("auto", "trigger"),
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
        more=N_("When more are gone, none is deleted; a numbered gap says so: huitong flow compare FLOW --accept-deletes."),
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
        """Exactly one schedule, and a key that names each column once."""
        yield from one_schedule(raw)
        key = texts(raw.get("key"))
        for index, column in enumerate(key):
            if column in key[:index]:
                yield Misfit(
                    "HT-C038", at=("key", index), details={"why": Note(N_("{name} stands in the list twice"), {"name": column})}
                )
