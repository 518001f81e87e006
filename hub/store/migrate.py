"""Bringing a database to the schema of this release."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text

from hub.store.sql import SqlStore


def migrate(store: SqlStore) -> None:
    """Apply what is missing, in one transaction. A schema newer than this release is left alone: migrations only add."""
    from alembic import command  # noqa: PLC0415 - a third of a second that only a start pays for
    from alembic.config import Config  # noqa: PLC0415 - as above
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    with store.transaction() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(7306641961)"))  # processes that start together
        current = _revision(connection)
        if current is None or current in known:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - as above

    return MigrationContext.configure(connection).get_current_revision()
