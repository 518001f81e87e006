"""Which database a connection section means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from connectors.database.settings import DatabaseFrom, MysqlConnection, PostgresConnection, ServerConnection, SqliteConnection
from connectors.wiring import Wiring

if TYPE_CHECKING:
    from agent.settings.base import SettingsModel
    from connectors.database.dialects.base import Database


def database_of(wiring: Wiring[DatabaseFrom]) -> Database:
    """Return the database a flow reads from."""
    assert wiring.connection is not None, "settings allow no flow of this kind without a connection"
    return database_for(wiring.connection, wiring.secret, wiring.time_zone, f"huitong {wiring.flow}")


def database_for(
    connection: SettingsModel, secret: Callable[[str], str], time_zone: str, application: str = "huitong"
) -> Database:
    """Return the database behind a connection section; drivers are imported only for the one that is meant.

    `application` is the name the DBA sees. Raises SecretMissing.
    """
    # Loading SQLAlchemy takes a while, and no other command should wait for it.
    match connection:
        case PostgresConnection():
            from connectors.database.dialects.postgres import PostgresDatabase  # noqa: PLC0415

            return PostgresDatabase(connection, _password(connection, secret), application, time_zone)
        case MysqlConnection():
            from connectors.database.dialects.mysql import MysqlDatabase  # noqa: PLC0415

            return MysqlDatabase(connection, _password(connection, secret), time_zone)
        case SqliteConnection():
            from connectors.database.dialects.sqlite import SqliteDatabase  # noqa: PLC0415

            return SqliteDatabase(connection, time_zone)
        case _:
            raise TypeError(f"not a database connection: {type(connection).__name__}")


def _password(connection: ServerConnection, secret: Callable[[str], str]) -> str | None:
    return secret(connection.password.name) if connection.password is not None else None
