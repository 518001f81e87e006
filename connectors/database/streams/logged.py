"""Whether a change log with a column for each column of the table still holds what a flow reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from agent.errors import SourceRefused
from agent.i18n import N_


class ByColumn(Protocol):
    """A log of `columns` as they are after a change, and `before` as they were; and how it calls them."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns kept as they are after a change."""
        ...

    @property
    def before(self) -> Sequence[str]:
        """The columns kept as they were before it."""
        ...

    def new(self, column: str) -> str:
        """Return the column of the log that holds a value after a change."""
        ...

    def old(self, column: str) -> str:
        """Return the column of the log that holds a value before a change."""
        ...


def require_columns(flow: str, log: ByColumn, found: Iterable[object]) -> None:
    """Raise SourceRefused when a log lacks columns; `found` are those it has. One that has none is not there: told elsewhere."""
    held = {str(name) for name in found}
    missing = [name for name in log.columns if log.new(name) not in held] + [n for n in log.before if log.old(n) not in held]
    if held and missing:
        raise SourceRefused(
            N_("the change log of {flow} does not hold column {column}"),
            hint=N_("let the DBA take the log away and make it anew, with what this prints: huitong source ddl {flow}"),
            flow=flow,
            column=", ".join(dict.fromkeys(missing)),
        )
