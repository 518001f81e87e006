"""Changes that were decoded and not yet handed out, and the places in the log that they lie between.

A place is the end of a transaction (or the beginning of the next one, which is the same). A page that ends inside a
transaction keeps the place before it, and the number of its changes that were handed out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from agent.errors import SourceGone
from agent.i18n import N_
from agent.model import Op
from connectors.database.dialects.base import Row
from connectors.database.streams.stream import Changes, Mark

Start = tuple[str, int, int]
"""File, position, and when the file was begun."""


def gone(mark: Mark, why: str) -> SourceGone:
    """Return the error for a mark behind which nothing can be told any more."""
    text = json.dumps(mark, sort_keys=True)
    return SourceGone(position=hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8], why=why)


@dataclass(frozen=True, slots=True)
class Place:
    """The end of a transaction, and how many changes of the next one were handed out.

    `born` is when the file was begun, in seconds since 1970: a file of the same name after RESET MASTER has another.
    `prepared` are the transactions in two phases that were prepared and have not ended, and where each begins.
    """

    file: str
    pos: int
    born: int
    index: int = 0
    gtid: str = ""
    prepared: Mapping[str, Start] = field(default_factory=dict)

    @classmethod
    def decode(cls, mark: Mark) -> Self:
        """Return what a mark says. Raises SourceGone when it is none of ours."""
        try:
            prepared = {str(name): (str(at[0]), int(at[1]), int(at[2])) for name, at in mark.get("xa", {}).items()}
            place = cls(
                str(mark["file"]), int(mark["pos"]), int(mark["born"]), int(mark.get("index", 0)), mark.get("gtid", ""), prepared
            )
            _ = place.order
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise gone(mark, N_("it is not a position in a binary log")) from error
        return place

    def encode(self) -> Mark:
        """Return the mark as stored."""
        mark: dict[str, Any] = {"file": self.file, "pos": self.pos, "born": self.born, "index": self.index}
        if self.gtid:
            mark["gtid"] = self.gtid
        if self.prepared:
            mark["xa"] = {name: list(at) for name, at in self.prepared.items()}
        return mark

    @property
    def order(self) -> tuple[int, int]:
        """What places of one server are compared by."""
        return int(self.file.rpartition(".")[2]), self.pos


class Spool:
    """Changes in order. `open` tells whether the last of them belong to a transaction whose end has not been seen."""

    def __init__(self, base: Place) -> None:
        self.base = base  # before the first of the changes
        self.open = False
        self.emptied = False
        self._skip = base.index
        self._rows: list[Row] = []
        self._ops: list[Op] = []
        self._tokens: list[str] = []
        self._times: list[str] = []
        self._ends: list[tuple[int, Place]] = []  # number of changes up to the end of a transaction, and its place
        self._time = (-1, "")

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def place(self) -> Place:
        """The last end of a transaction."""
        return self._ends[-1][1] if self._ends else self.base

    def is_full(self, limit: int) -> bool:
        """Tell whether there is a page; one that may end a transaction waits to see that."""
        return len(self._rows) > limit or (len(self._rows) == limit and not self.open)

    def add(self, rows: Sequence[Row], ops: Sequence[Op], tokens: Sequence[str], when: int) -> None:
        """Take changes of the transaction that is open, less those that were handed out before."""
        if self._skip:
            past = min(self._skip, len(rows))
            self._skip -= past
            rows, ops, tokens = rows[past:], ops[past:], tokens[past:]
        if self._time[0] != when:
            self._time = (when, datetime.fromtimestamp(when, UTC).isoformat())
        self._rows += rows
        self._ops += ops
        self._tokens += tokens
        self._times += [self._time[1]] * len(rows)

    def end(self, place: Place) -> None:
        """Note that everything so far is committed, up to this place."""
        self.open = False
        self._skip = 0
        count = len(self._rows)
        if not count:
            self.base = place
        elif self._ends and self._ends[-1][0] == count:
            self._ends[-1] = (count, place)
        else:
            self._ends.append((count, place))

    def abandon(self) -> None:
        """Drop what there is of a transaction that has no end. Raises SourceGone when some of it was handed out."""
        self.open = False
        if not self._ends and self.base.index:
            raise gone(self.base.encode(), N_("a transaction that was read in part was never completed"))
        kept = self._ends[-1][0] if self._ends else 0
        for column in (self._rows, self._ops, self._tokens, self._times):
            del column[kept:]

    def take(self, limit: int, *, more: bool) -> Changes:
        """Return the first changes, and forget them."""
        count = min(limit, len(self._rows))
        before = self.base
        reached = [place for number, place in self._ends if number <= count]
        last = max((number for number, _ in self._ends if number <= count), default=0)
        if reached:
            self.base = replace(reached[-1], index=count - last)
        else:
            self.base = replace(before, index=before.index + count)
        changes = Changes(
            rows=self._rows[:count],
            mark=self.base.encode(),
            more=more or count < len(self._rows),
            ops=self._ops[:count],
            tokens=self._tokens[:count],
            times=self._times[:count],
            ends=[number - 1 for number, _ in self._ends if number <= count],
            emptied=self.emptied,
        )
        for column in (self._rows, self._ops, self._tokens, self._times):
            del column[:count]
        self._ends = [(number - count, place) for number, place in self._ends if number > count]
        self.emptied = False
        return changes
