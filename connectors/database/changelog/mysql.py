"""The change log of one flow in MySQL and MariaDB.

A value is logged as text, or as octets where it is no text: whatever the table comes to hold, and whatever the session of the
application has set (zone, character set), fits and stays what it is. Moments are logged as seconds since 1970, because text
would depend on the zone of that session. What sql_mode does to values (strictness, padding) is decided where the triggers are
created, for the server keeps it with them: there is none. Changes that foreign keys bring about fire no trigger, nor does
TRUNCATE; a function that belongs to the log tells what only its definer may see: the triggers, and such foreign keys.

Whoever creates the log needs CREATE, CREATE ROUTINE, TRIGGER, SELECT, INSERT and DELETE in the database, with GRANT OPTION,
and PROCESS with GRANT OPTION; with a binary log also SUPER or log_bin_trust_function_creators = 1. The triggers run in that
account's name: it must stay as long as they do.
"""

# ruff: noqa: S608 - what is composed are names of the catalogue and of this package, quoted

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent.i18n import N_
from connectors.database.changelog.names import stem_of

REGISTRY: Final = "huitong_logs"
NO_LOG: Final = N_("there is no change log (huitong source ddl)")
NO_TRIGGERS: Final = N_("the triggers that fill the change log are missing, or are not those that the settings ask for")

COLUMNS: Final = """
SELECT COLUMN_NAME, LOWER(DATA_TYPE), LOWER(COLUMN_TYPE), COALESCE(NUMERIC_PRECISION, 0), COALESCE(NUMERIC_SCALE, 0),
COALESCE(DATETIME_PRECISION, 0), COALESCE(CHARACTER_SET_NAME, ''), COALESCE(COLLATION_NAME, '')
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s
"""
VARIABLES: Final = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('auto_increment_increment', 'wsrep_on', 'read_only', \
'group_replication_group_name', 'group_replication_single_primary_mode')"
MOST_COLUMNS: Final = 190
"""Half a page of InnoDB (16 KB) has room for the beginnings of so many long values; with more, inserting could fail."""

_LONGEST: Final = 64
_OCTETS: Final = frozenset(
    {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector", "geometry", "point", "linestring", "polygon"}
    | {"multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection"}
)
"""Types whose values are no text."""

_REGISTRY: Final = """\
CREATE TABLE IF NOT EXISTS {registry} (
  name varchar(64) CHARACTER SET utf8mb4 PRIMARY KEY,
  id char(36) CHARACTER SET ascii NOT NULL
) ENGINE=InnoDB"""

_TABLE: Final = """\
CREATE TABLE {log} (
  seq bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  op char(1) CHARACTER SET ascii NOT NULL{columns}
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4"""

_STATE: Final = """\
CREATE FUNCTION {state}() RETURNS text CHARACTER SET utf8mb4 READS SQL DATA SQL SECURITY DEFINER
RETURN CONCAT((SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS
    WHERE CONSTRAINT_SCHEMA = {schema} AND TABLE_NAME = {table}
    AND (DELETE_RULE NOT IN ('RESTRICT', 'NO ACTION') OR UPDATE_RULE NOT IN ('RESTRICT', 'NO ACTION'))),
  COALESCE((SELECT GROUP_CONCAT(CONCAT(';', MD5(ACTION_STATEMENT), ',',
      MD5(CONCAT_WS('|', CREATED, DEFINER, SQL_MODE, CHARACTER_SET_CLIENT))) ORDER BY TRIGGER_NAME SEPARATOR '')
    FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {schema} AND EVENT_OBJECT_TABLE = {table}
    AND ACTION_TIMING = 'AFTER' AND TRIGGER_NAME IN ({triggers})), ''))"""


_WHOLE: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})
_TEXT: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"})


@dataclass(frozen=True, slots=True)
class Held:
    """A column of the table, as information_schema.COLUMNS tells (COLUMNS): `fraction` are digits of seconds."""

    type: str
    full_type: str
    precision: int = 0
    scale: int = 0
    fraction: int = 0
    charset: str = ""
    collation: str = ""

    @property
    def log_type(self) -> str:
        """The type of the column of the log: never narrower than that of the table, whatever that will be."""
        return "longblob" if self.type in _OCTETS else "longtext CHARACTER SET utf8mb4"

    def logged(self, value: str) -> str:
        """Return what is logged, from a value in a trigger."""
        match self.type:
            case "timestamp":
                # MariaDB takes the zero date for NULL here; what is left of its text is empty, and that of NULL is NULL.
                return f"COALESCE(UNIX_TIMESTAMP({value}), LEFT({value}, 0))"
            case "bit":
                return f"{value} + 0"
            case _:
                return value

    def restored(self, logged: str) -> str:  # noqa: C901, PLR0911 - one per type
        """Return the value of the table, in its type as far as there is a cast, from what was logged.

        The session must be in UTC, with sql_mode ALLOW_INVALID_DATES: otherwise dates that only that mode allows become NULL.
        """
        filled = "zerofill" in self.full_type
        if self.type in _WHOLE:
            return f"CAST({logged} AS {'UNSIGNED' if 'unsigned' in self.full_type else 'SIGNED'})"
        match self.type:
            case "bit" | "year":
                return f"CAST({logged} AS UNSIGNED)"
            case "decimal" if not filled:
                return f"CAST({logged} AS DECIMAL({self.precision}, {self.scale}))"
            case "float" | "double":
                return f"({logged} + 0e0)"
            case "date":
                return f"CAST({logged} AS DATE)"
            case "datetime" | "time":
                return f"CAST({logged} AS {self.type.upper()}({self.fraction}))"
            case "timestamp":
                moment = f"FROM_UNIXTIME(CAST({logged} AS DECIMAL(18, 6)))"
                zero = "'0000-00-00 00:00:00'"
                return f"CAST(CASE WHEN {logged} + 0 = 0 THEN {zero} ELSE {moment} END AS DATETIME({self.fraction}))"
            case type_ if type_ in _TEXT and self.charset and self.collation:
                return f"CONVERT({logged} USING {self.charset}) COLLATE {self.collation}"
            case _:
                return logged


@dataclass(frozen=True, slots=True)
class MysqlLog:
    """Names and statements of one log. `account` is who reads, as it stands in GRANT.

    Of a change the `columns` are kept as they are after it, and `before` as they were: the key, and with a condition all.
    `types` tells of each of them what it is.
    """

    flow: str
    schema: str
    table: str
    columns: Sequence[str]
    before: Sequence[str]
    types: Mapping[str, Held]
    account: str = ""
    mariadb: bool = False

    @property
    def name(self) -> str:
        """The bare name of the log table, also what the registry calls the log."""
        return f"huitong_log_{stem_of(self.flow)}"

    @property
    def log(self) -> str:
        """The log table, as it stands in statements."""
        return self._qualified(self.name)

    @property
    def registry(self) -> str:
        """The table of all logs, as it stands in statements."""
        return self._qualified(REGISTRY)

    @property
    def state(self) -> str:
        """The function that tells what the triggers are, as it stands in statements."""
        return self._qualified(f"{self.name}_state")

    @property
    def triggers(self) -> Sequence[str]:
        """The bare names of the triggers, sorted: delete, insert, update."""
        return tuple(f"{self.name}_{op}" for op in "diu")

    def create(self) -> Sequence[str]:
        """Return the statements that set the log up, to be run in one session."""
        return (
            "SET NAMES utf8mb4",
            # Waiting for the lock of a busy table, CREATE TRIGGER would hold up everybody behind it: better to give up.
            "SET SESSION sql_mode = '', lock_wait_timeout = 10",
            _REGISTRY.format(registry=self.registry),
            _TABLE.format(log=self.log, columns=self._columns()),
            f"INSERT INTO {self.registry} VALUES ({literal(self.name)}, UUID())",
            _STATE.format(
                state=self.state,
                schema=literal(self.schema),
                table=literal(self.table),
                triggers=", ".join(map(literal, self.triggers)),
            ),
            *self.trigger_statements(),
            *self.grants(),
            "SET SESSION sql_mode = DEFAULT, lock_wait_timeout = DEFAULT",
        )

    def trigger_statements(self) -> Sequence[str]:
        """Return the statements that create the triggers."""
        create = "CREATE OR REPLACE TRIGGER" if self.mariadb else "CREATE TRIGGER"
        return tuple(
            f"{create} {self._qualified(name)} AFTER {event} ON {self._qualified(self.table)} FOR EACH ROW\n{body}"
            for name, event, body in zip(self.triggers, ("DELETE", "INSERT", "UPDATE"), self.bodies(), strict=True)
        )

    def bodies(self) -> Sequence[str]:
        """Return what the triggers do, in the order of their names."""
        new_names = "".join(f", {quoted(self.new(c))}" for c in self.columns)
        old_names = "".join(f", {quoted(self.old(c))}" for c in self.before)
        new_values = "".join(f", {self._logged('NEW', c)}" for c in self.columns)
        old_values = "".join(f", {self._logged('OLD', c)}" for c in self.before)
        return (
            f"INSERT INTO {self.log} (op{old_names}) VALUES ('D'{old_values})",
            f"INSERT INTO {self.log} (op{new_names}) VALUES ('I'{new_values})",
            f"INSERT INTO {self.log} (op{new_names}{old_names}) VALUES ('U'{new_values}{old_values})",
        )

    def grants(self) -> Sequence[str]:
        """Return what the reading account needs: reading, dropping what was read, and seeing how long transactions last."""
        return (
            f"GRANT SELECT ON {self._qualified(self.table)} TO {self.account}",
            f"GRANT SELECT, DELETE ON {self.log} TO {self.account}",
            f"GRANT SELECT ON {self.registry} TO {self.account}",
            f"GRANT EXECUTE ON FUNCTION {self.state} TO {self.account}",
            f"GRANT PROCESS ON *.* TO {self.account}",
        )

    def problem(self, state: str) -> str:
        """Return what is wrong with the triggers, by what the state function says (an English text); empty when nothing is."""
        cascades, *triggers = state.split(";")
        wanted = [hashlib.md5(body.encode(), usedforsecurity=False).hexdigest() for body in self.bodies()]
        if [trigger.partition(",")[0] for trigger in triggers] != wanted:
            return NO_TRIGGERS
        return (
            "" if cascades == "0" else N_("foreign keys of the table change or delete rows by themselves: no trigger sees that")
        )

    def drop(self) -> Sequence[str]:
        """Return the statements that take everything away again; privileges for the whole server stay."""
        return (
            "SET SESSION lock_wait_timeout = 10",
            *(f"DROP TRIGGER IF EXISTS {self._qualified(name)}" for name in self.triggers),
            f"DROP FUNCTION IF EXISTS {self.state}",
            f"DROP TABLE IF EXISTS {self.log}",
            f"DELETE FROM {self.registry} WHERE name = {literal(self.name)}",
        )

    @staticmethod
    def new(column: str) -> str:
        """Return the column of the log that holds a value after a change."""
        return _short(f"n:{column}")

    @staticmethod
    def old(column: str) -> str:
        """Return the column of the log that holds a value before a change."""
        return _short(f"o:{column}")

    # -- inside ------------------------------------------------------------------------------------------------------

    def _qualified(self, name: str) -> str:
        return f"{quoted(self.schema)}.{quoted(name)}"

    def _columns(self) -> str:
        held = [(self.new(c), c) for c in self.columns] + [(self.old(c), c) for c in self.before]
        return "".join(f",\n  {quoted(name)} {self.types[column].log_type}" for name, column in held)

    def _logged(self, row: str, column: str) -> str:
        return self.types[column].logged(f"{row}.{quoted(column)}")


def problem_of_server(variables: Mapping[str, str]) -> str:
    """Return why transactions of this server do not tell what becomes of the numbers of a log, empty when they do (VARIABLES)."""
    several = variables.get("group_replication_group_name") and variables.get("group_replication_single_primary_mode") == "OFF"
    if several or variables.get("wsrep_on") == "ON":
        return N_("several servers of a cluster write, and the transactions of one tell nothing about those of the others")
    if variables.get("auto_increment_increment") != "1":
        return N_("the server leaves out numbers (auto_increment_increment), so another server may give them out")
    if variables.get("read_only") not in ("OFF", None):
        return N_("the server is read-only, so changes come from another one, whose transactions are not seen here")
    return ""


def grantee(account: str, current: str) -> str:
    """Return an account as GRANT names it; who is connected, `user@host`, tells the host part of the user's own account."""
    user, _, host = (account if "@" in account else current).rpartition("@")
    if account and "@" not in account and user != account:
        user, host = account, "%"
    return f"{quoted(user.strip('`'))}@{quoted(host.strip('`'))}"


def quoted(name: str) -> str:
    """Return an identifier as it stands in statements."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """Return text as a literal; the sql_mode must not have NO_BACKSLASH_ESCAPES."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _short(name: str) -> str:
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 13]}:{hashlib.sha256(name.encode()).hexdigest()[:12]}"
