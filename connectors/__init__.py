"""The kinds of source this product can read. Each is named here and imported only when a flow uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of source. Targets are `module:Class`.

    `connections` are the types it can read through; `selector` are the fields of a `from:` block that only this kind has.
    """

    name: str
    settings: str
    source: str
    selector: tuple[str, ...]
    ddl: str = ""  # what gives the statements a DBA has to run; empty for sources that need none
    connections: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


BUILTIN: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "database": Kind(
            name="database",
            settings="connectors.database.settings:DatabaseFrom",
            source="connectors.database.source:DatabaseSource",
            selector=("table", "query", "cursor"),
            ddl="connectors.database.ddl:ddl_of",
            connections={
                "postgres": "connectors.database.settings:PostgresConnection",
                "mysql": "connectors.database.settings:MysqlConnection",
                "mariadb": "connectors.database.settings:MysqlConnection",
                "sqlite": "connectors.database.settings:SqliteConnection",
                "oracle": "connectors.database.servers:OracleConnection",
                "sqlserver": "connectors.database.servers:SqlServerConnection",
                "dameng": "connectors.database.servers:DamengConnection",
                "kingbase": "connectors.database.servers:KingbaseConnection",
                "opengauss": "connectors.database.servers:OpengaussConnection",
                "gaussdb": "connectors.database.servers:OpengaussConnection",
                "oceanbase": "connectors.database.servers:OceanbaseConnection",
            },
        ),
        "file_drop": Kind(
            name="file_drop",
            settings="connectors.file_drop.settings:FileDropFrom",
            source="connectors.file_drop.source:FileDropSource",
            selector=("files", "ready"),
        ),
    }
)
