"""Code tables: what the source writes → what the message says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.mapping.plain import Column, Json, as_text
from agent.mapping.unfit import Irregular, Unfit
from agent.model import Value


class Codes:
    """Looks values up, by exactly the text a person would write for them."""

    def __init__(self, table: Mapping[str, Json]) -> None:
        self._table = dict(table)
        self._may_empty = None in self._table.values()
        self.blank_is_missing = "" not in self._table

    def one(self, value: Value) -> Json:
        """Return the entry for the value."""
        try:
            return self._table[as_text(value)]
        except KeyError:
            raise Unfit("code_unknown") from None

    def many(self, values: Column) -> Sequence[Json]:
        """Return the entries for a column of text or of integers."""
        try:
            found = list(map(self._table.__getitem__, values))
        except KeyError:
            if set(map(type, values)) != {int}:
                raise
            found = [self._table[as_text(value)] for value in values]
        if self._may_empty and None in found:
            raise Irregular
        return found
