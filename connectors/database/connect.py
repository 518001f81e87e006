"""Which database a connection section means."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from agent.errors import SettingsError
from agent.i18n import N_
from connectors.database.servers import (
    DamengConnection,
    KingbaseConnection,
    OceanbaseConnection,
    OpengaussConnection,
    OracleConnection,
    SqlServerConnection,
)
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

    `application` is the name the DBA sees. Raises SecretMissing; SettingsError when the driver is not installed.
    """
    # Loading SQLAlchemy takes a while, and no other command should wait for it.
    match connection:
        case PostgresConnection():
            from connectors.database.dialects.postgres import PostgresDatabase  # noqa: PLC0415

            return PostgresDatabase(connection, _password(connection, secret), application, time_zone)
        case MysqlConnection():
            return _mysql(connection, _password(connection, secret), time_zone)
        case SqliteConnection():
            from connectors.database.dialects.sqlite import SqliteDatabase  # noqa: PLC0415

            return SqliteDatabase(connection, time_zone)
        case ServerConnection():
            return _by_extra(connection, _password(connection, secret), application, time_zone)
        case _:
            raise TypeError(f"not a database connection: {type(connection).__name__}")


def _mysql(connection: MysqlConnection, password: str | None, time_zone: str) -> Database:
    load_driver("pymysql", "PyMySQL", "mysql")
    if isinstance(connection, OceanbaseConnection):
        from connectors.database.dialects.oceanbase import OceanbaseDatabase  # noqa: PLC0415

        return OceanbaseDatabase(connection, password, time_zone)
    from connectors.database.dialects.mysql import MysqlDatabase  # noqa: PLC0415

    return MysqlDatabase(connection, password, time_zone)


def _by_extra(connection: ServerConnection, password: str | None, application: str, time_zone: str) -> Database:
    """Return a database whose driver is handed to it: these modules can be imported without."""
    match connection:
        case OracleConnection():
            from connectors.database.dialects.oracle import OracleDatabase  # noqa: PLC0415

            driver = load_driver("oracledb", "oracledb", "oracle")
            return OracleDatabase(connection, password, application, time_zone, driver)
        case SqlServerConnection():
            from connectors.database.dialects.sqlserver import SqlServerDatabase  # noqa: PLC0415

            driver = load_driver("pymssql", "pymssql", "sqlserver")
            return SqlServerDatabase(connection, password, application, time_zone, driver)
        case DamengConnection():
            from connectors.database.dialects.dameng import DamengDatabase  # noqa: PLC0415

            driver = load_driver("dmPython", "dmPython", "dameng")
            return DamengDatabase(connection, password, application, time_zone, driver)
        case KingbaseConnection():
            from connectors.database.dialects.kingbase import KingbaseDatabase  # noqa: PLC0415

            driver = load_driver("ksycopg2", "ksycopg2", "kingbase")
            return KingbaseDatabase(connection, password, application, time_zone, driver)
        case OpengaussConnection():
            from connectors.database.dialects.opengauss import OpengaussDatabase  # noqa: PLC0415

            driver = load_driver("psycopg2", "psycopg2", "opengauss")
            return OpengaussDatabase(connection, password, application, time_zone, driver)
        case _:
            raise TypeError(f"not a database connection: {type(connection).__name__}")


def load_driver(module: str, package: str, extra: str) -> Any:
    """Return the module of a driver that is an optional part of the product.

    Raises SettingsError when it is not installed or cannot be loaded.
    """
    try:
        return import_module(module)
    except ImportError as error:  # not only its absence: a library of the vendor that it needs may be lacking
        raise SettingsError(
            N_("the driver {package} of this database cannot be loaded: {why}"),
            hint=N_("install it into the environment of the agent: pip install 'huitong[{extra}]'"),
            package=package,
            extra=extra,
            why=str(error).partition("\n")[0],
        ) from error


def _password(connection: ServerConnection, secret: Callable[[str], str]) -> str | None:
    return secret(connection.password.name) if connection.password is not None else None
