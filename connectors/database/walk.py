"""A walk through a table by key, one page at a time: the first load, a comparison, a backfill.

A comparison goes from part to part (`chunks`). A part whose checksum, computed by the database, is what it was is passed over,
unless the host knows of changes in it; of the others every row is read, and the host finds out what differs from what it
captured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from agent.model import Walked, WalkKind
from agent.ports import Clock
from connectors.database.chunks import Chunks
from connectors.database.position import Walk
from connectors.database.streams.stream import Changes
from connectors.database.tables.reader import Page, TableReader

_LONG_SECS: Final = 1.0
_SHORT_SECS: Final = 0.25
_SMALLEST: Final = 50


@dataclass(frozen=True, slots=True)
class Part:
    """What one step of a walk read, and the walk after it, None when it is through."""

    page: Page
    walked: Walked
    then: Walk | None


class Walker:
    """Walks through one table. Belongs to one opening of its source; `reader_for` gives a reader with a further condition."""

    def __init__(self, reader: TableReader, reader_for: Callable[[str], TableReader], chunks: Chunks, clock: Clock) -> None:
        self._reader = reader
        self._reader_for = reader_for
        self._chunks = chunks
        self._clock = clock
        self._size = 0
        self.changed: frozenset[int] | None = None
        """Chunks in which the host knows of changes since the comparison before; None when that is not known."""

    def facts(self) -> Mapping[str, str]:
        """Return what is to be remembered of the parts since this was asked last; it belongs to the step that is given next."""
        return self._chunks.changed()

    def step(self, walk: Walk, limit: int) -> Part:
        """Read on. Raises SourceUnavailable, SourceRefused."""
        if walk.after is None and any(column.nullable for column in self._reader.pages.shape.key):
            return self._keyless(walk, limit)
        if walk.kind is WalkKind.COMPARE:
            return self._compare(walk, limit)
        reader = self._reader_for(walk.condition) if walk.condition else self._reader
        page, full = self._timed(lambda size: reader.by_key(walk.after or None, size), limit)
        return self._part(walk, page, ended=not full)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _keyless(self, walk: Walk, limit: int) -> Part:
        """Rows without a key are a page before all others."""
        page = self._reader.keyless(limit)
        return Part(page, Walked(walk.kind), replace(walk, after=()))

    def _compare(self, walk: Walk, limit: int) -> Part:
        chunk = self._chunks.get(walk.chunk)
        after = walk.after or None
        if chunk.digest is not None and self.changed is not None and walk.chunk not in self.changed:
            now = self._reader.digest(after, chunk.upto)
            if now == chunk.digest:
                return self._passed(walk, int(now.partition(":")[0]))
        with self._reader.database.unmoving(self._reader.session) as still:
            page, full = self._timed(lambda size: self._reader.by_key(after, size, chunk.upto), limit)
            upto = self._reader.key_of(page.rows[-1]) if full else chunk.upto
            digest = self._reader.digest(after, upto) if still and not page.suspicious else None
        if full and upto is not None and upto != chunk.upto:  # a part that just fills a page stays whole
            return self._part(walk, page, ended=False, chunk=self._chunks.cut(walk.chunk, upto, digest))
        self._chunks.put(walk.chunk, replace(chunk, digest=digest))
        return self._part(walk, page, ended=chunk.following is None, chunk=chunk.following)

    def _passed(self, walk: Walk, rows: int) -> Part:
        """Return the step over a part that looks as it did."""
        chunk = self._chunks.get(walk.chunk)
        walked = Walked(walk.kind, covered=rows, ended=chunk.following is None, certain=walk.certain)
        then = None
        if chunk.following is not None:
            then = replace(walk, after=chunk.upto, done=walk.done + rows, chunk=chunk.following)
        return Part(Page(()), walked, then)

    def _part(self, walk: Walk, page: Page, *, ended: bool, chunk: int | None = None) -> Part:
        rows = len(page.rows)
        compared = walk.kind is WalkKind.COMPARE
        walked = Walked(
            walk.kind,
            chunk=walk.chunk if compared else None,
            covered=rows,
            ended=ended,
            again=walk.again,
            certain=walk.certain,
        )
        if ended:
            return Part(page, walked, None)
        after = self._chunks.get(walk.chunk).upto if compared else self._reader.key_of(page.rows[-1])
        then = replace(walk, after=after, done=walk.done + rows, chunk=chunk if chunk is not None else walk.chunk)
        return Part(page, walked, then)

    def _timed(self, read: Callable[[int], Page], limit: int) -> tuple[Page, bool]:
        """Read a page and tell whether it is full. Its size, `limit` at most, follows from what reading takes."""
        size = min(self._size or limit, limit)
        begun = self._clock.monotonic()
        page = read(size)
        took = self._clock.monotonic() - begun
        if took > _LONG_SECS:
            self._size = max(_SMALLEST, size // 2)
        elif took < _SHORT_SECS:
            self._size = size * 2
        return page, len(page.rows) == size


def walk_after(changes: Changes, on: Walk | None) -> Walk | None:
    """Return the walk that changes ask for, because they cannot tell all that happened; None when they do not.

    What is on gives way: a comparison covers it. One that was accepted stays so.
    """
    if not (changes.emptied or changes.doubt):
        return None
    return Walk(WalkKind.COMPARE, certain=changes.emptied or (on is not None and on.certain))
