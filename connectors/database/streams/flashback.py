"""Oracle: what changed, from the versions of rows that the undo tablespace still holds.

`VERSIONS BETWEEN SCN` gives every committed version of a row with the number (SCN) of its commit and what was done. Nothing is
written at the source. How far back it reaches is up to undo_retention. The rule is Oracle's and was not run against a server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa

from agent.errors import SourceGone, SourceRefused
from agent.i18n import N_
from agent.model import Op, Value
from connectors.database.dialects.base import Database, Row, Session
from connectors.database.streams.about import About
from connectors.database.streams.change_tracking import beyond, digest_of
from connectors.database.streams.stream import Changes, Mark, Stream
from connectors.database.tables.pages import Shape, Statement, prepare
from connectors.database.tables.table import column_expression
from connectors.database.tables.values import Place, from_json, to_json

_NOW: Final = ("SELECT dbms_flashback.get_system_change_number FROM dual", "SELECT current_scn FROM v$database")

_GONE: Final = frozenset({"ORA-01555", "ORA-08180", "ORA-08181", "ORA-08186", "ORA-30052", "ORA-01466", "ORA-22924"})
"""Undo overwritten, no such snapshot, a lower limit before what is kept, or the table was altered since."""

_RETENTION: Final = "SELECT value FROM v$parameter WHERE name = 'undo_retention'"
_LONG_SECS: Final = 86_400

_RANKS: Final = {"D": 0, "I": 1, "U": 2}


class Flashback:
    """Implements Stream. A mark is {"scn": everything up to it was read, "at": [key …, rank]}; of that SCN only up to there.

    Every committed version is seen, deletes included; of several changes of a row in one transaction only the last. A row
    whose key is changed comes under its new key, and only a comparison finds that the old one is gone.
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
        """See Stream. Also tries whether the account may ask for versions of the table."""
        now = self._now()
        with self._still_there(now):  # `read` asks nothing while nothing can have changed
            self._session.page(self._first, limit=1, since=now, now=now)
        return _mark(now)

    def head(self) -> Mark:
        """See Stream."""
        return _mark(self._now())

    def read(self, after: Mark, limit: int) -> Changes:
        """See Stream."""
        scn, at = int(after["scn"]), from_json(after["at"])
        now = self._now()
        if at is None and now <= scn:
            return Changes((), after)
        values: dict[str, Value] = {"since": scn + 1 if at is None else scn, "now": now}
        if at is not None:
            values |= {"scn": scn, "rank": at[-1], **{f"k{index}": value for index, value in enumerate(at[:-1])}}
        with self._still_there(scn):
            rows = self._session.page(self._first if at is None else self._next, limit=limit, **values)
        return self._changes(rows, now, limit)

    def covers(self, mark: Mark, head: Mark) -> bool:
        """See Stream."""
        reached: int = mark["scn"] if mark["at"] is None else mark["scn"] - 1
        return reached >= int(head["scn"])

    def commit(self, mark: Mark) -> None:
        """See Stream: the server forgets versions by their age."""

    def close(self) -> None:
        """See Stream."""

    # -- inside ------------------------------------------------------------------------------------------------------

    def _now(self) -> int:
        for asked in _NOW:
            try:
                return int(self._session.value(asked))
            except SourceRefused:
                continue
        raise SourceRefused(
            N_("the account may not ask for the system change number"),
            hint=N_("let the DBA run: GRANT EXECUTE ON DBMS_FLASHBACK to the account"),
        )

    @contextmanager
    def _still_there(self, scn: int) -> Iterator[None]:
        try:
            yield
        except SourceRefused as error:
            number = error.details.get("number")
            if number in _GONE:
                raise SourceGone(position=scn, why=N_("Oracle no longer holds the versions after it (undo_retention)")) from error
            if number == "ORA-01031":
                raise SourceRefused(
                    N_("the account may not ask for earlier versions of {table}"),
                    hint=N_("let the DBA run: GRANT FLASHBACK ON {table} to the account"),
                    table=self._name,
                ) from error
            raise

    def _changes(self, rows: Sequence[Row], now: int, limit: int) -> Changes:
        width, keys = len(self._shape.columns), len(self._shape.key)
        numbers = [_whole(row[0]) for row in rows]
        places = [tuple(row[2 + width : 2 + width + keys]) for row in rows]
        ops = [str(row[1]) for row in rows]
        more = len(rows) == limit
        mark = _mark(now)
        if more:
            mark = _mark(numbers[-1], (*places[-1], _RANKS[ops[-1]]))
        return Changes(
            rows=[
                self._only_key(place) if op == "D" else tuple(row[2 : 2 + width])
                for row, place, op in zip(rows, places, ops, strict=True)
            ],
            mark=mark,
            more=more,
            ops=[Op.DELETE if op == "D" else Op.UPSERT for op in ops],
            tokens=[f"{n}:{op}:{digest_of(place)}" for n, op, place in zip(numbers, ops, places, strict=True)],
            ends=[i for i, n in enumerate(numbers) if (n != numbers[i + 1] if i + 1 < len(rows) else not more)],
        )

    def _only_key(self, place: Place) -> Row:
        named = dict(zip((column.name for column in self._shape.key), place, strict=True))
        return tuple([named.get(column.name) for column in self._shape.columns])

    def _statement(self, *, resumed: bool) -> Statement:
        """Select SCN, operation, the columns of the flow and the key of every version, in the order of commits and keys.

        Within one commit the delete of a key comes before its insertion.
        """
        shape = self._shape
        scn: sa.ColumnElement[Any] = sa.literal_column("versions_startscn")
        operation: sa.ColumnElement[Any] = sa.literal_column("versions_operation")
        rank: sa.ColumnElement[Any] = sa.func.decode(
            operation, *(sa.literal_column(part) for op, n in _RANKS.items() for part in (f"'{op}'", str(n)))
        )
        keys = [column_expression(column) for column in shape.key]
        # The upper limit of what is asked for is one moment, and the lower one keeps out what only existed before.
        span = sa.text(f"{self._in_text} VERSIONS BETWEEN SCN :since AND :now")
        conditions = [scn >= sa.bindparam("since", type_=sa.types.NullType())]
        if shape.where is not None:
            conditions.append(sa.or_(operation == sa.literal_column("'D'"), sa.literal_column(f"({shape.where})")))
        if resumed:
            at, ranked = (sa.bindparam(name, type_=sa.types.NullType()) for name in ("scn", "rank"))
            same_key = [
                key == shape.bind(column, f"k{index}") for index, (key, column) in enumerate(zip(keys, shape.key, strict=True))
            ]
            later = sa.or_(beyond(shape, keys, shape.key), sa.and_(*same_key, rank > ranked))
            conditions.append(sa.or_(scn > at, sa.and_(scn == at, later)))
        chosen = (
            sa.select(
                scn.label("ht_scn"),
                operation.label("ht_op"),
                *(shape.show(column).label(f"ht_c{index}") for index, column in enumerate(shape.columns)),
                *(shape.show(column).label(f"ht_k{index}") for index, column in enumerate(shape.key)),
            )
            .select_from(span)
            .where(*conditions)
            .order_by(scn, *keys, rank)
            .limit(sa.bindparam("limit", type_=sa.Integer()))
        )
        return prepare(chosen, shape.dialect)


def _whole(value: Any) -> int:
    return int(value)  # NUMBER without a precision comes as text


def _mark(scn: int, at: Place | None = None) -> Mark:
    return {"scn": scn, "at": None if at is None else to_json(at)}


def obstacle(about: About) -> str:
    """See choose.Way. Auto wants to know that undo reaches back a day: every longer interruption would lose the place."""
    try:
        kept = int(about.reader.session.value(_RETENTION) or 0)
    except SourceRefused:
        kept = 0
    if kept < _LONG_SECS:
        return N_("nothing says that Oracle keeps versions of rows for a day (undo_retention, seen with SELECT on V_$PARAMETER)")
    try:
        stream_of(about).begin()
    except (SourceRefused, SourceGone) as error:
        return str(error)
    return ""


def stream_of(about: About) -> Stream:
    """See choose.Way. Who asks for this mode answers for undo_retention."""
    reader = about.reader
    return Flashback(reader.database, reader.session, reader.pages.shape)
