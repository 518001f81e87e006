"""The change log of one flow in PostgreSQL.

Whole rows are logged as JSON, which no change of the table can break, and turned back into rows of the table's own type when
they are read. An entry carries the transaction it belongs to (the top-level one, also in a savepoint), by which it is read.
"""

# ruff: noqa: S608 - what is composed are names of the catalogue and of this package, quoted

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.database.changelog.names import REGISTRY, quote_text, stem_of

SCHEMA = "huitong"

_FUNCTION = """\
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO {log} (op, new) VALUES ('I', pg_catalog.row_to_json(NEW));
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO {log} (op, old, new) VALUES ('U', pg_catalog.row_to_json(OLD), pg_catalog.row_to_json(NEW));
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO {log} (op, old) VALUES ('D', pg_catalog.row_to_json(OLD));
  ELSE
    INSERT INTO {log} (op) VALUES ('T');
  END IF;
  RETURN NULL;
END"""

_TABLE = """\
CREATE TABLE {log} (
  seq bigint GENERATED ALWAYS AS IDENTITY,
  txid bigint NOT NULL DEFAULT txid_current(),
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  op "char" NOT NULL,
  old json,
  new json,
  PRIMARY KEY (txid, seq)
)"""

_FUNCTION_OF = """\
CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'iso_8601' SET extra_float_digits = 1 SET lc_monetary = 'C' AS $huitong$
{body}
$huitong$"""

_TELL = """\
CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS $huitong$
BEGIN
  PERFORM pg_catalog.pg_notify({channel}, '');
  RETURN NULL;
END
$huitong$"""


@dataclass(frozen=True, slots=True)
class PostgresLog:
    """Names and statements of one log. `table` is the source table as it stands in statements, `account` who reads.

    With `notify` each statement that writes to the table is announced, so that nobody has to ask. That is not for every
    database: transactions that announce something cannot be prepared for a two-phase commit, and they commit one by one.
    """

    flow: str
    table: str
    account: str
    notify: bool = False

    @property
    def log(self) -> str:
        """The log table, as it stands in statements."""
        return f'{SCHEMA}."log_{stem_of(self.flow)}"'

    @property
    def name(self) -> str:
        """What the registry calls the log."""
        return f"log_{stem_of(self.flow)}"

    @property
    def channel(self) -> str:
        """The channel on which a statement that wrote to the table is announced."""
        return f"huitong_{stem_of(self.flow)}"

    @property
    def trigger(self) -> str:
        """The name of the trigger for rows, unquoted; that for TRUNCATE ends with `_t`."""
        return f"huitong_{stem_of(self.flow)}"

    @property
    def body(self) -> str:
        """The body of the trigger function."""
        return _FUNCTION.format(log=self.log)

    def create(self) -> Sequence[str]:
        """Return the statements that set the log up, to be run by an owner of the table in one transaction."""
        registry = f"{SCHEMA}.{REGISTRY}"
        return (
            f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
            f"CREATE TABLE IF NOT EXISTS {registry} (name text PRIMARY KEY, id text NOT NULL, made_at timestamptz NOT NULL)",
            _TABLE.format(log=self.log),
            f"INSERT INTO {registry} VALUES ({quote_text(self.name)}, md5(random()::text || clock_timestamp()::text), now())",
            _FUNCTION_OF.format(function=self._function("log"), body=self.body),
            self._trigger("", "INSERT OR UPDATE OR DELETE", "ROW", "log"),
            self._trigger("_t", "TRUNCATE", "STATEMENT", "log"),
            *self._notification(),
            f"REVOKE ALL ON {self.log} FROM PUBLIC",
            *self.grants(),
            f"GRANT SELECT ON {self.table} TO {quoted(self.account)}",
        )

    def grants(self) -> Sequence[str]:
        """Return what the reading account needs: it may read the log and drop what was read, and nothing else."""
        account = quoted(self.account)
        return (
            f"GRANT USAGE ON SCHEMA {SCHEMA} TO {account}",
            f"GRANT SELECT ON {SCHEMA}.{REGISTRY} TO {account}",
            f"GRANT SELECT, DELETE ON {self.log} TO {account}",
        )

    def drop(self) -> Sequence[str]:
        """Return the statements that take everything away again."""
        return (
            *(f"DROP TRIGGER IF EXISTS {quoted(self.trigger + end)} ON {self.table}" for end in ("", "_t", "_n")),
            *(f"DROP FUNCTION IF EXISTS {self._function(does)}" for does in ("log", "tell")),
            f"DROP TABLE IF EXISTS {self.log}",
            f"DELETE FROM {SCHEMA}.{REGISTRY} WHERE name = {quote_text(self.name)}",
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _notification(self) -> Sequence[str]:
        if not self.notify:
            return ()
        function = _TELL.format(function=self._function("tell"), channel=quote_text(self.channel))
        return (function, self._trigger("_n", "INSERT OR UPDATE OR DELETE OR TRUNCATE", "STATEMENT", "tell"))

    def _function(self, does: str) -> str:
        return f'{SCHEMA}."{does}_{stem_of(self.flow)}"()'

    def _trigger(self, end: str, events: str, each: str, does: str) -> str:
        name = quoted(self.trigger + end)
        head = f"CREATE TRIGGER {name} AFTER {events} ON {self.table}\n"
        return f"{head}  FOR EACH {each} EXECUTE PROCEDURE {self._function(does)}"


def quoted(name: str) -> str:
    """Return an identifier as it stands in statements."""
    return '"' + name.replace('"', '""') + '"'
