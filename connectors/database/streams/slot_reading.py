"""What one peek into a replication slot says of a table: pages of its changes, and the place behind each.

Nothing here talks to anyone: messages come in, and what a relation of the log means is asked of who has the catalogue.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from agent.i18n import N_
from agent.model import Op, Value
from connectors.database.position import gone
from connectors.database.streams.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    Relation,
    Truncate,
    Update,
    commit_time,
    decode,
    lsn_number,
    lsn_text,
)
from connectors.database.streams.snapshots import Snapshot
from connectors.database.streams.stream import Mark


@dataclass(frozen=True, slots=True)
class Place:
    """Up to `lsn` all transactions are read; of the one whose commit record begins at `into`, the first `index` changes.

    Transactions before `until` are passed over if the snapshot `seen` saw them.
    """

    lsn: int
    into: int = 0
    index: int = 0
    seen: str = ""
    until: int = 0

    def mark(self) -> Mark:
        """Return the place as stored; zeroes and what lies behind are left out."""
        known = asdict(self) if self.until > self.lsn else {"lsn": self.lsn, "into": self.into, "index": self.index}
        return {name: lsn_text(v) if name in ("lsn", "into", "until") else v for name, v in known.items() if v or name == "lsn"}

    @classmethod
    def of(cls, mark: Mark) -> Place:
        """Return the place of a mark. Raises SourceGone for what is none."""
        try:
            lsn, into, until = (lsn_number(mark.get(name, "0/0")) for name in ("lsn", "into", "until"))
            return cls(lsn, into, int(mark.get("index", 0)), str(mark.get("seen", "")), until)
        except (AttributeError, TypeError, ValueError) as error:
            raise gone(str(mark), N_("it is not a place in the log of PostgreSQL")) from error


def saw(snapshot: Snapshot, xid: int) -> bool:
    """Tell whether a transaction was over in a snapshot; the log has but the lower 32 bits of its number."""
    behind = (snapshot.xmax - xid) & 0xFFFFFFFF
    return 0 < behind <= 1 << 31 and snapshot.xmax - behind not in snapshot.open


Told = tuple[Any, ...]
"""A row in which values may be UNCHANGED."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a relation of the log means for a flow."""

    picks: Sequence[int]  # where the columns of the flow stand in its rows, -1 for those it does not have
    readers: Sequence[tuple[int, Callable[[str], Value]]]
    key: Sequence[int]  # where the key stands among the columns of the flow
    identified: bool  # the replica identity covers it

    def row(self, logged: list[Any]) -> Told:
        """Return the row of the flow; values that were not logged are UNCHANGED."""
        logged.append(UNCHANGED)
        row = [logged[at] for at in self.picks]
        for at, read in self.readers:
            text = row[at]
            if text is not None and text is not UNCHANGED:
                row[at] = read(text)
        return tuple(row)

    def key_of(self, row: Told) -> Told:
        """Return the values of the key."""
        return tuple(row[at] for at in self.key)

    def only_key(self, row: Told) -> Told:
        """Return the row with nothing but its key."""
        return tuple(value if at in self.key else None for at, value in enumerate(row))


@dataclass(slots=True)
class Page:
    """Changes, parallel as in Changes; `unknown` are the numbers of rows with values that were not logged."""

    rows: list[Told] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    times: list[str | None] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    emptied: bool = False

    def without(self, lost: Sequence[int]) -> None:
        """Leave rows out; a transaction that loses its last row ends with the one before."""
        kept = [n for n in range(len(self.rows)) if n not in set(lost)]
        ends, self.ends = self.ends, []
        for end in ends:
            last = bisect_right(kept, end) - 1
            if last >= 0 and (not self.ends or last > self.ends[-1]):
                self.ends.append(last)
        self.rows = [self.rows[n] for n in kept]
        self.ops = [self.ops[n] for n in kept]
        self.tokens = [self.tokens[n] for n in kept]
        self.times = [self.times[n] for n in kept]


_Change = tuple[Op | None, Told]
"""What happened to a row; None: the table was emptied."""

_CHANGES: Final = frozenset(b"IUDT")
_TRUNCATE: Final = ord("T")


class Reading:
    """Makes pages of the messages of one peek: the changes of one table, from a place on, up to `reach`.

    A transaction that `visible` did not see ends it.
    """

    def __init__(
        self,
        messages: Iterator[bytes],
        encoding: str,
        know: Callable[[Relation], Known | None],
        place: Place,
        visible: Snapshot,
        reach: int,
    ) -> None:
        self._messages = messages
        self._encoding = encoding
        self._know = know
        self._place = place
        self._visible = visible
        self._reach = reach
        self._known: dict[bytes, Known] = {}
        self._start = place
        self._seen = Snapshot.of(place.seen) if place.seen else None
        self._sought = place.into
        self._passing = True
        self._done = 0  # so many changes of the transaction were read before
        self._events = self._read()
        self._ahead: _Change | Commit | None = None
        self._begin = Begin(0, 0, 0)
        self._index = 0  # of the change read last, in its transaction
        self.held = False  # it ended before its reach
        self.finished = False

    def page(self, limit: int) -> tuple[Page, Place]:
        """Return the next changes, at most `limit`, and the place behind them. An emptying comes before all rows of a page."""
        page, time, prefix = Page(), "", ""
        lsn, into, index = self._place.lsn, self._place.into, self._place.index
        begun = None
        while (event := self._ahead or next(self._events, None)) is not None:
            self._ahead = None
            if isinstance(event, Commit):
                page.ends += [len(page.rows) - 1] if page.rows and begun is self._begin else []
                lsn, into, index = event.end_lsn, 0, 0
                continue
            op, row = event
            if page.rows if op is None else len(page.rows) >= limit:
                self._ahead = event
                break
            if begun is not self._begin:
                begun = self._begin
                time, prefix = commit_time(begun.committed), lsn_text(begun.final_lsn)
            self._append(page, op, row, time, f"{prefix}:{self._index}")
            into, index = self._begin.final_lsn, self._index
        else:
            self.finished = True
            lsn = lsn if into else max(lsn, self._reach)
        self._place = replace(self._place, lsn=lsn, into=into, index=index)
        return page, self._place

    @staticmethod
    def _append(page: Page, op: Op | None, row: Told, time: str, token: str) -> None:
        if op is None:
            page.emptied = True
            return
        if UNCHANGED in row:
            page.unknown.append(len(page.rows))
        page.rows.append(row)
        page.ops.append(op)
        page.tokens.append(token)
        page.times.append(time)

    def _read(self) -> Iterator[_Change | Commit]:
        """Yield what happened behind the place. Transactions that are passed over are not even decoded."""
        for data in self._messages:
            if data[0] in _CHANGES:
                yield from self._fresh(() if self._passing else self._changes(data))
                continue
            message = decode(data, self._encoding)
            if isinstance(message, Begin):
                if not saw(self._visible, message.xid):
                    self.held, self._reach = True, message.final_lsn
                    return
                self._enter(message)
            elif isinstance(message, Commit) and not self._passing:
                yield message
            elif isinstance(message, Relation):
                self._meet(data[1:5], message)
        if self._sought:
            raise Lost

    def _fresh(self, changes: Sequence[_Change]) -> Iterator[_Change]:
        for change in changes:
            self._index += 1
            if self._index > self._done:
                yield change

    def _enter(self, begin: Begin) -> None:
        start = self._start
        if self._sought and begin.final_lsn > self._sought:
            raise Lost
        self._begin, self._index = begin, 0
        self._passing = begin.final_lsn < start.lsn
        if self._seen is not None and begin.final_lsn < start.until:
            self._passing |= saw(self._seen, begin.xid)
        self._done = start.index if begin.final_lsn == self._sought else 0
        self._sought = self._sought if begin.final_lsn < self._sought else 0

    def _meet(self, oid: bytes, relation: Relation) -> None:
        known = self._know(relation)
        if known is None:
            self._known.pop(oid, None)
        else:
            self._known[oid] = known

    def _changes(self, data: bytes) -> Sequence[_Change]:
        known = self._known.get(data[1:5])
        if known is None and data[0] != _TRUNCATE:
            return ()
        message = decode(data, self._encoding)
        if isinstance(message, Insert) and known is not None:
            return ((Op.UPSERT, known.row(message.new)),)
        if isinstance(message, Update) and known is not None:
            return _updated(known, message)
        if isinstance(message, Delete) and known is not None:
            return ((Op.DELETE, known.only_key(_identified(known, known.row(message.old)))),)
        if isinstance(message, Truncate) and any(oid.to_bytes(4, "big") in self._known for oid in message.relations):
            return ((None, ()),)
        return ()


class Lost(ValueError):
    """The transaction that reading stopped in is not in the log."""


class Unidentified(ValueError):
    """A row was changed or deleted, but its key was not logged."""


def _updated(known: Known, update: Update) -> Sequence[_Change]:
    new = known.row(update.new)
    if update.old is None:
        return ((Op.UPSERT, _identified(known, new)),)
    old = known.row(update.old)
    told = tuple(
        was if now is UNCHANGED and (update.whole or at in known.key) else now
        for at, (was, now) in enumerate(zip(old, new, strict=True))
    )
    _identified(known, told)
    if known.key_of(old) == known.key_of(told):
        return ((Op.UPSERT, told),)
    return (Op.DELETE, known.only_key(old)), (Op.UPSERT, told)


def _identified(known: Known, row: Told) -> Told:
    if not known.identified or UNCHANGED in known.key_of(row):
        raise Unidentified
    return row
