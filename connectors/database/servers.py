"""Settings of connections to the servers of other vendors. None of them was run against a live server."""

from __future__ import annotations

from typing import Literal

from agent.i18n import N_
from agent.settings.base import setting
from connectors.database.settings import MysqlConnection, ServerConnection


class OracleConnection(ServerConnection):
    """An Oracle database, version 12.1 or later."""

    type: Literal["oracle"] = setting(N_("type of the connection"), examples=("oracle",))
    port: int = setting(N_("port"), default=1521, ge=1, le=65535, examples=("1521",))
    database: str = setting(
        N_("service name"),
        more=N_("What the listener calls the database, for example of a pluggable one; not a SID."),
        examples=("REGPDB",),
        min_length=1,
        max_length=128,
    )
    tls: Literal["disable", "require", "verify-ca", "verify-full"] = setting(
        N_("encryption of the connection"),
        default="disable",
        more=N_("Anything but disable needs the TCPS port of the listener, often 2484."),
        examples=("verify-full",),
    )


class SqlServerConnection(ServerConnection):
    """A Microsoft SQL Server."""

    type: Literal["sqlserver"] = setting(N_("type of the connection"), examples=("sqlserver",))
    port: int = setting(N_("port"), default=1433, ge=1, le=65535, examples=("1433",))
    tls: Literal["disable", "prefer", "require"] = setting(
        N_("encryption of the connection"),
        default="prefer",
        more=N_("The driver cannot check the certificate of the server."),
        examples=("require",),
    )


class DamengConnection(ServerConnection):
    """A Dameng (DM8) server."""

    type: Literal["dameng"] = setting(N_("type of the connection"), examples=("dameng",))
    port: int = setting(N_("port"), default=5236, ge=1, le=65535, examples=("5236",))
    database: str = setting(
        N_("schema of tables that are named without one"),
        default="",
        more=N_("A server holds one database. When empty, the schema of the account."),
        examples=("REGISTRY",),
        max_length=128,
    )
    tls: Literal["disable"] = setting(
        N_("encryption of the connection"),
        default="disable",
        more=N_("Not supported for this type; where the network is not trusted, use a tunnel."),
        examples=("disable",),
    )


class KingbaseConnection(ServerConnection):
    """A KingbaseES server."""

    type: Literal["kingbase"] = setting(N_("type of the connection"), examples=("kingbase",))
    port: int = setting(N_("port"), default=54321, ge=1, le=65535, examples=("54321",))


class OpengaussConnection(ServerConnection):
    """An openGauss or GaussDB server."""

    type: Literal["opengauss", "gaussdb"] = setting(N_("type of the connection"), examples=("opengauss",))
    port: int = setting(N_("port"), default=5432, ge=1, le=65535, examples=("5432",))


class OceanbaseConnection(MysqlConnection):
    """An OceanBase tenant in MySQL mode, reached directly or through OBProxy."""

    type: Literal["oceanbase"] = setting(  # type: ignore[assignment]  # it is spoken to as MySQL, and is a type of its own
        N_("type of the connection"), examples=("oceanbase",)
    )
    port: int = setting(N_("port"), default=2881, ge=1, le=65535, examples=("2883",))
    user: str = setting(
        N_("account"),
        more=N_("With its tenant, and behind OBProxy its cluster too: user@tenant#cluster. Needs nothing but SELECT."),
        examples=('"huitong_ro@registry"',),
        min_length=1,
    )
