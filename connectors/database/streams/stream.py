"""What every way to follow the changes of a table has in common.

A stream reads what changed, in the order that counts, from a mark on. Marks are JSON and only their stream understands them;
one lies behind everything that was read with it. The walk through the table by key (first load, comparison, backfill) is not a
stream's business: `source` weaves the two together, with `head` as the watermark between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from agent.model import Op
from agent.model.handshake import Answer
from connectors.database.dialects.base import Row
from connectors.database.tables.reader import Page

Mark = Any
"""Where a stream has got to: None, or text, numbers, lists and objects as JSON has them."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes in order, and the mark behind all of them.

    `rows` have the columns of the flow as its statements select them; the row of a delete holds nothing but the key. `tokens`
    name the place of each change in the log and never mean two different changes; None when what was read are not changes but
    rows as they are now, of which some may have been read before. `emptied` tells that the table was truncated; no rows come
    with it.
    """

    rows: Sequence[Row]
    mark: Mark
    more: bool = False  # reading on at once will bring more
    ops: Sequence[Op] | None = None
    tokens: Sequence[str] | None = None
    times: Sequence[str | None] | None = None
    ends: Sequence[int] = ()  # numbers of the rows that are the last of their transaction, where that is known
    emptied: bool = False
    doubt: bool = False  # changes may have been missed that only a comparison finds
    suspicious: bool = False  # some rows hold text that is not valid

    @property
    def tell_something(self) -> bool:
        """Whether there is something that the host has to know."""
        return bool(self.rows) or self.emptied or self.doubt


class Stream(Protocol):
    """Follows the changes of one table. Belongs to the thread of its source; made anew for each opening of it."""

    exact: bool
    """Whether every change is seen: if not, what is read is the state of rows, and some changes may be missed."""

    def begin(self) -> Mark:
        """Return a mark from which nothing is missed that commits from now on. Raises SourceUnavailable, SourceRefused."""
        ...

    def read(self, after: Mark, limit: int) -> Changes:
        """Return what changed after a mark, at most `limit` rows; repeatable, without side effects.

        Raises SourceUnavailable, SourceRefused; SourceGone when what came after the mark cannot be told any more.
        """
        ...

    def head(self) -> Mark:
        """Return a mark behind everything that is visible now. Only exact streams have one."""
        ...

    def covers(self, mark: Mark, head: Mark) -> bool:
        """Tell whether a mark lies at or behind a head: everything visible then has been read."""
        ...

    def commit(self, mark: Mark) -> None:
        """Learn that everything up to a mark is durable: trim the log, advance the slot. Idempotent; may be skipped."""
        ...

    def close(self) -> None:
        """Let go of what the stream holds beside the session of its source. Idempotent."""
        ...


@runtime_checkable
class Answered(Protocol):
    """A stream of rows that want to know what became of them; beside `Stream`."""

    def awaiting(self, limit: int) -> tuple[Page, bool]:
        """Return the next rows that wait for an answer, all of them valid text, and whether the turn goes on."""
        ...

    def answer(self, answers: Sequence[Answer | None]) -> None:
        """Write down what became of the rows that `awaiting` returned last."""
        ...
