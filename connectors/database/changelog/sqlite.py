"""The change log of one flow in SQLite.

A column of the log takes any value as it is, because it has no type; so the log holds exactly what the table holds. Only the
columns of the flow are logged: a column that is renamed or dropped has to leave the triggers first.
"""

# ruff: noqa: S608 - what is composed are names of the catalogue and of this package, quoted

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from connectors.database.changelog.names import quote_text, stem_of

REGISTRY = "huitong_logs"

_TABLE = """\
CREATE TABLE {log} (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f', 'now')),
  op TEXT NOT NULL{columns}
)"""


@dataclass(frozen=True, slots=True)
class SqliteLog:
    """Names and statements of one log. `table` is the bare name of the table.

    Of a change the `columns` are kept as they are after it, and `before` as they were: the key, and with a condition all.
    `others` are further sets of columns that are unique: a row that is inserted or updated with OR REPLACE may remove another
    one that shares them, and no trigger sees that. So it is noted that this may happen (R), and a comparison finds out.
    """

    flow: str
    table: str
    columns: Sequence[str]
    before: Sequence[str]
    key: Sequence[str] = ()
    others: Sequence[Sequence[str]] = ()

    @property
    def log(self) -> str:
        """The name of the log table."""
        return f"huitong_log_{stem_of(self.flow)}"

    @property
    def triggers(self) -> Sequence[str]:
        """The names of the triggers: insert, update, delete, and two for each further set of unique columns."""
        replaced = [f"{self.log}_{op}{number}" for number in range(len(self.others)) for op in "rs"]
        return (*(f"{self.log}_{op}" for op in "iud"), *replaced)

    def create(self) -> Sequence[str]:
        """Return the statements that set the log up, to be run in one transaction."""
        log, registry = quoted(self.log), quoted(REGISTRY)
        columns = "".join(f",\n  {quoted(name)}" for name in [*map(self.new, self.columns), *map(self.old, self.before)])
        return (
            f"CREATE TABLE IF NOT EXISTS {registry} (name TEXT PRIMARY KEY, id TEXT NOT NULL)",
            _TABLE.format(log=log, columns=columns),
            f"INSERT INTO {registry} VALUES ({quote_text(self.log)}, lower(hex(randomblob(16))))",
            *self.trigger_statements(),
        )

    def trigger_statements(self) -> Sequence[str]:
        """Return the statements that create the triggers, in the form in which SQLite keeps them."""
        new_names = ", ".join(quoted(self.new(c)) for c in self.columns)
        old_names = ", ".join(quoted(self.old(c)) for c in self.before)
        new_values = ", ".join(f"NEW.{quoted(c)}" for c in self.columns)
        old_values = ", ".join(f"OLD.{quoted(c)}" for c in self.before)
        inserts = (
            ("INSERT", f"(op, {new_names}) VALUES ('I', {new_values})"),
            ("UPDATE", f"(op, {new_names}, {old_names}) VALUES ('U', {new_values}, {old_values})"),
            ("DELETE", f"(op, {old_names}) VALUES ('D', {old_values})"),
        )
        rows = [(f"AFTER {event}", "", insert) for event, insert in inserts]
        return tuple(
            f"CREATE TRIGGER {quoted(name)} {event} ON {quoted(self.table)}{when}\n"
            f"BEGIN\n  INSERT INTO {quoted(self.log)} {insert};\nEND"
            for name, (event, when, insert) in zip(self.triggers, [*rows, *self._replaced()], strict=True)
        )

    def _replaced(self) -> Iterator[tuple[str, str, str]]:
        """Yield event, condition and entry for what may remove another row."""
        for columns in self.others:
            shared = " AND ".join(f"{quoted(c)} = NEW.{quoted(c)}" for c in columns)
            same = " AND ".join(f"{quoted(c)} IS NEW.{quoted(c)}" for c in self.key)
            when = f"\nWHEN EXISTS (SELECT 1 FROM {quoted(self.table)} WHERE {shared} AND NOT ({same}))"
            yield "BEFORE INSERT", when, "(op) VALUES ('R')"
            yield f"BEFORE UPDATE OF {', '.join(map(quoted, columns))}", when, "(op) VALUES ('R')"

    def drop(self) -> Sequence[str]:
        """Return the statements that take everything away again."""
        return (
            *(f"DROP TRIGGER IF EXISTS {quoted(name)}" for name in self.triggers),
            f"DROP TABLE IF EXISTS {quoted(self.log)}",
            f"DELETE FROM {quoted(REGISTRY)} WHERE name = {quote_text(self.log)}",
        )

    @staticmethod
    def new(column: str) -> str:
        """Return the column of the log that holds a value after a change."""
        return f"n:{column}"

    @staticmethod
    def old(column: str) -> str:
        """Return the column of the log that holds a value before a change."""
        return f"o:{column}"


def quoted(name: str) -> str:
    """Return an identifier as it stands in statements."""
    return '"' + name.replace('"', '""') + '"'
