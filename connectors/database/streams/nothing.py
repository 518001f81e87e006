"""No stream at all: what changed is found by walking through the table and comparing it with what was captured."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.database.dialects.base import Row
from connectors.database.streams.about import About
from connectors.database.streams.stream import Changes, Mark, Stream


class NoStream:
    """Implements Stream for tables that tell nothing about their changes."""

    exact = False

    def begin(self) -> Mark:
        """See Stream."""
        return None

    def read(self, after: Mark, limit: int) -> Changes:  # noqa: ARG002 - there is never anything
        """See Stream."""
        return Changes(rows=(), mark=after)

    def head(self) -> Mark:
        """See Stream."""
        return None

    def covers(self, mark: Mark, head: Mark) -> bool:  # noqa: ARG002 - there is nothing to wait for
        """See Stream."""
        return True

    def commit(self, mark: Mark) -> None:
        """See Stream: nothing is kept for us."""

    def close(self) -> None:
        """See Stream."""

    def settled(self, _mark: Mark, rows: Sequence[Row]) -> Sequence[bool]:
        """Tell that nothing had its chance before: only walks find changes here, so none of them is late."""
        return [False] * len(rows)


def obstacle(_about: About) -> str:
    """See choose.Way."""
    return ""


def stream_of(_about: About) -> Stream:
    """See choose.Way."""
    return NoStream()
