"""Which schema a store has, and bringing it up to the one this program knows.

Schemas are numbered. Migrations only add, so a program works on a schema newer than its own as long as the newer schema's
`schema_floor` (the oldest program that may use it, kept in `meta`) allows it: swapping binaries back is always possible
within that floor, and the store itself is never taken back.

A new store is made from `snapshot.sql`, which is what all migrations together lead to (a test compares them). So the
migration libraries, which take some 30 MB, are loaded only by the one start that has something to migrate.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from agent.adapters.store import engine
from agent.errors import StoreError
from agent.i18n import N_

SCHEMA: Final = 1
"""The newest schema this program knows. Migration files are numbered up to it, and a test holds the two together."""

SNAPSHOT: Final = Path(__file__).with_name("snapshot.sql")


def bring_up(path: Path) -> None:
    """Create or migrate the store at `path`, in one transaction; the caller holds the instance lock.

    Raises StoreError when the file is something else, or was made by a program too new for this one.
    """
    with closing(engine.open_writer(path)) as connection, engine.translated(path):
        found, floor = version_of(connection, path)
    if floor > SCHEMA:
        raise StoreError(
            N_("the store {path} has schema {found}, this program knows {known}"),
            hint=N_("install the version that made it, or a newer one; a store is never taken back"),
            path=path,
            found=found,
            known=SCHEMA,
        )
    if found == 0:
        create(path)
    elif found < SCHEMA:
        migrate(path)


def version_of(connection: sqlite3.Connection, path: Path) -> tuple[int, int]:
    """Return (schema, floor); (0, 0) for an empty file. Raises StoreError for a database that is not a store."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return 0, 0
    if not {"alembic_version", "meta"} <= tables:
        raise StoreError(N_("{path} is a database, but not a Huitong store"), path=path)
    (found,) = connection.execute("SELECT max(version_num) FROM alembic_version").fetchone()
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema_floor'").fetchone()
    return int(found or 0), int(row[0]) if row else 0


def create(path: Path) -> None:
    """Make a new store in one transaction. Raises StoreError, StoreFull."""
    script = SNAPSHOT.read_text("utf-8")
    with closing(engine.open_writer(path)) as connection, engine.translated(path):
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nCOMMIT;")


def snapshot_of(connection: sqlite3.Connection) -> str:
    """Return what `snapshot.sql` has to be, from a store that was migrated from nothing."""
    objects = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid").fetchall()
    revision, floor = version_of(connection, SNAPSHOT)
    rows = (
        f"INSERT INTO alembic_version (version_num) VALUES ('{revision:04}')",  # noqa: S608 - a number
        f"INSERT INTO meta (name, value) VALUES ('schema_floor', '{floor}')",  # noqa: S608 - a number
    )
    statements = [_tidy(sql) for (sql,) in objects] + list(rows)
    return "".join(f"{statement};\n" for statement in statements)


def _tidy(sql: str) -> str:
    lines = [line.rstrip().replace("\t", "    ") for line in sql.splitlines() if line.strip()]
    return "\n".join(lines).replace("\n)\n ", "\n) ").replace("ROWID,\n", "ROWID,")


def migrate(path: Path) -> None:
    """Run the missing migrations in one transaction: a crash in the middle leaves the schema as it was.

    Raises StoreError, StoreFull.
    """
    # Imported here: a store that is up to date, which is nearly every start, never pays for them.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import create_engine, event, pool  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    database = create_engine(
        "sqlite://", module=engine.driver(), creator=lambda: engine.open_writer(path), poolclass=pool.NullPool
    )
    # The driver is in autocommit mode and knows nothing of transactions around DDL; so each begins explicitly.
    event.listen(database, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with database.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        raise engine.translate(error.orig if isinstance(error.orig, Exception) else error, path) from error
