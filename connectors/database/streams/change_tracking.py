"""SQL Server: what changed by Change Tracking.

The rule is Microsoft's and was not run against a server. Change Tracking keeps one entry for each key: the version of the
transaction that changed it last, and whether the row is gone. Versions are given out at commit, so a transaction that commits
late has a later one. Read under snapshot isolation, the entries and the rows belong to one moment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from agent.errors import SourceGone, SourceRefused
from agent.i18n import N_
from agent.model import Op, Value
from connectors.database.dialects.base import Database, Row, Session
from connectors.database.streams.about import About
from connectors.database.streams.stream import Changes, Mark, Stream
from connectors.database.tables.pages import Shape, Statement, prepare
from connectors.database.tables.table import Column, column_expression, table_expression
from connectors.database.tables.values import Place, from_json, to_json

_CURRENT: Final = "SELECT CHANGE_TRACKING_CURRENT_VERSION()"
_OLDEST: Final = "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID(:name))"


class ChangeTracking:
    """Implements Stream. A mark is {"version": everything up to it was read, "at": key}; of that version only up to the key.

    No change of a key is missed, deletes included; of several changes of one key between two reads only the last is seen. The
    key of the flow must be the primary key of the table.
    """

    exact = True

    def __init__(self, database: Database, session: Session, shape: Shape) -> None:
        self._database = database
        self._session = session
        self._shape = shape
        self._name = database.quoted(shape.table)
        self._in_text = self._name.replace(":", "\\:")  # a colon would begin a parameter
        self._first = self._statement(resumed=False)
        self._next = self._statement(resumed=True)

    def begin(self) -> Mark:
        """See Stream. Also wants everything to be in place that reading needs."""
        key = [column.name for column in self._shape.key]
        if set(key) != set(self._shape.table.primary_key):
            raise SourceRefused(
                N_("change tracking names rows by the primary key of {table}, and the key of the flow is another ({key})"),
                hint=N_("name the columns of the primary key as the key of the flow, or choose another mode of capture"),
                table=self._name,
                key=", ".join(key),
            )
        with self._database.unmoving(self._session) as unmoving:
            self._check(unmoving=unmoving)
        return self.head()

    def head(self) -> Mark:
        """See Stream."""
        return _mark(self._current())

    def read(self, after: Mark, limit: int) -> Changes:
        """See Stream. Rows that the condition of the flow leaves out are not changes."""
        version, at = int(after["version"]), from_json(after["at"])
        # Reading on within a version asks for what changed since the one before it.
        values: dict[str, Value] = {"since": version if at is None else version - 1}
        if at is not None:
            values |= {"version": version, **{f"k{index}": value for index, value in enumerate(at)}}
        with self._database.unmoving(self._session) as unmoving:
            self._check(version if at is None else version - 1, unmoving=unmoving)
            current = self._current()
            rows = self._session.page(self._first if at is None else self._next, limit=limit, **values)
        return self._changes(rows, current, limit)

    def covers(self, mark: Mark, head: Mark) -> bool:
        """See Stream."""
        reached: int = mark["version"] if mark["at"] is None else mark["version"] - 1
        return reached >= int(head["version"])

    def commit(self, mark: Mark) -> None:
        """See Stream: the server forgets changes by their age, CHANGE_RETENTION."""

    def close(self) -> None:
        """See Stream."""

    # -- inside ------------------------------------------------------------------------------------------------------

    def _current(self) -> int:
        current = self._session.value(_CURRENT)
        if current is None:
            raise self._off()
        return int(current)

    def _check(self, version: int | None = None, *, unmoving: bool) -> None:
        if not unmoving:
            raise SourceRefused(
                N_("change tracking is only exact with snapshot isolation, and the database does not allow it"),
                hint=N_("let the DBA run: ALTER DATABASE {database} SET ALLOW_SNAPSHOT_ISOLATION ON"),
                database="CURRENT",
            )
        oldest = self._session.value(_OLDEST, name=self._name)
        if oldest is None:
            raise self._off()
        if version is not None and version < int(oldest):
            raise SourceGone(position=version, why=N_("the server has forgotten the changes after it (CHANGE_RETENTION)"))

    def _off(self) -> SourceRefused:
        return SourceRefused(
            N_("change tracking is off for {table}, or the account may not see it"),
            hint=N_(
                "let the DBA run: ALTER TABLE {table} ENABLE CHANGE_TRACKING, and GRANT VIEW CHANGE TRACKING ON {table} to the "
                "account"
            ),
            table=self._name,
        )

    def _changes(self, rows: Sequence[Row], current: int, limit: int) -> Changes:
        width, keys = len(self._shape.columns), len(self._shape.key)
        versions: list[Any] = [row[0] for row in rows]
        gone = [str(row[1]) == "D" for row in rows]
        places = [tuple(row[2 + width : 2 + width + keys]) for row in rows]
        more = len(rows) == limit
        ends = [i for i, version in enumerate(versions) if (version != versions[i + 1] if i + 1 < len(rows) else not more)]
        return Changes(
            rows=[
                self._only_key(place) if deleted else tuple(row[2 : 2 + width])
                for row, place, deleted in zip(rows, places, gone, strict=True)
            ],
            mark=_mark(int(versions[-1]), places[-1]) if more else _mark(current),
            more=more,
            ops=[Op.DELETE if deleted else Op.UPSERT for deleted in gone],
            tokens=[f"{version}:{digest_of(place)}" for version, place in zip(versions, places, strict=True)],
            ends=ends,
        )

    def _only_key(self, place: Place) -> Row:
        named = dict(zip((column.name for column in self._shape.key), place, strict=True))
        return tuple([named.get(column.name) for column in self._shape.columns])

    def _statement(self, *, resumed: bool) -> Statement:
        """Select version, operation, the columns of the flow and the key of every entry, in the order of versions and keys.

        Two inner selects give every column a name of its own, and the condition of the flow its table for itself.
        """
        shape = self._shape
        key = shape.key
        entries = sa.select(
            sa.literal_column("SYS_CHANGE_VERSION").label("v"),
            sa.literal_column("SYS_CHANGE_OPERATION").label("op"),
            *(column_expression(column).label(f"e{index}") for index, column in enumerate(key)),
            *(shape.show(column).label(f"s{index}") for index, column in enumerate(key)),
        )
        entry = entries.select_from(sa.text(f"CHANGETABLE(CHANGES {self._in_text}, :since) AS ct")).subquery("e")
        where: list[sa.ColumnElement[Any]] = [] if shape.where is None else [sa.literal_column(f"({shape.where})")]
        row = (
            sa.select(
                *(shape.show(column).label(f"c{index}") for index, column in enumerate(shape.columns)),
                *(column_expression(column).label(f"k{index}") for index, column in enumerate(key)),
            )
            .select_from(table_expression(shape.table))
            .where(*where)
            .subquery("r")
        )
        same = sa.and_(*(row.c[f"k{index}"] == entry.c[f"e{index}"] for index in range(len(key))))
        places = [entry.c[f"e{index}"] for index in range(len(key))]
        chosen = (
            sa.select(
                entry.c.v,
                entry.c.op,
                *(row.c[f"c{index}"] for index in range(len(shape.columns))),
                *(entry.c[f"s{index}"] for index in range(len(key))),
            )
            .select_from(entry.outerjoin(row, same))
            .where(sa.or_(entry.c.op == sa.literal_column("'D'"), row.c.k0.is_not(None)))
            .order_by(entry.c.v, *places)
            .limit(sa.bindparam("limit", type_=sa.Integer()))
        )
        if resumed:
            version = sa.bindparam("version", type_=sa.types.NullType())
            chosen = chosen.where(sa.or_(entry.c.v > version, sa.and_(entry.c.v == version, beyond(shape, places, key))))
        return prepare(chosen, shape.dialect)


@dataclass(frozen=True, slots=True)
class Switches:
    """Implements ddl.Installed: what the DBA switches on for a table, and lets an account see; names stand as in statements."""

    table: str
    account: str
    days: int

    def create(self) -> Sequence[str]:
        """See Installed. The first two fail without harm where the database has them on already."""
        return [
            "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON",
            f"ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = {self.days} DAYS, AUTO_CLEANUP = ON)",
            f"ALTER TABLE {self.table} ENABLE CHANGE_TRACKING",
            f"GRANT SELECT ON {self.table} TO {self.account}",
            f"GRANT VIEW CHANGE TRACKING ON {self.table} TO {self.account}",
        ]

    def drop(self) -> Sequence[str]:
        """See Installed. What is on for the whole database may serve others."""
        return [f"ALTER TABLE {self.table} DISABLE CHANGE_TRACKING"]


def beyond(shape: Shape, places: Sequence[sa.ColumnElement[Any]], key: Sequence[Column]) -> sa.ColumnElement[Any]:
    """Return the condition that a key lies after the one in `k0`, `k1` …, spelt out."""
    bound = [shape.bind(column, f"k{index}") for index, column in enumerate(key)]
    condition: sa.ColumnElement[Any] = places[-1] > bound[-1]
    for place, value in zip(places[-2::-1], bound[-2::-1], strict=True):
        condition = sa.or_(place > value, sa.and_(place == value, condition))
    return condition


def _mark(version: int, at: Place | None = None) -> Mark:
    return {"version": version, "at": None if at is None else to_json(at)}


def digest_of(place: Place) -> str:
    """Return what stands for a key in a token."""
    # Keys are data of people; what stands in a token is seen in more places than a row.
    return hashlib.sha256(repr(place).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def log_of(about: About, account: str = "") -> Switches:
    """Return what a flow needs; `account` is who reads."""
    quoted = about.reader.database.dialect.identifier_preparer.quote_identifier(account)
    return Switches(about.table, quoted, max(1, about.settings.keep.days))


def obstacle(about: About) -> str:
    """See choose.Way. Asks for everything that reading needs."""
    try:
        stream_of(about).begin()
    except SourceRefused as error:
        return str(error)
    return ""


def stream_of(about: About) -> Stream:
    """See choose.Way."""
    reader = about.reader
    return ChangeTracking(reader.database, reader.session, reader.pages.shape)
