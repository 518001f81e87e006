"""The rejects file of a drop: rows that were not accepted, with their reasons, rendered from what the store holds.

It is written when the file is archived, from the quarantine, which is durable; so it is complete whatever happened in between,
and writing it again gives the same octets.
"""

from __future__ import annotations

import contextvars
import json
from collections.abc import Iterable, Iterator, Sequence

from agent.errors import UnreadableRecord
from agent.formats.csv_writer import rejected_row, rejects_header, unreadable_row
from agent.i18n import _, use_language
from agent.model import Quarantined


def token_of(ordinal: int, row: int) -> str:
    """Return the token of a row: drop ordinal and row number, as a spreadsheet counts."""
    return f"{ordinal}:{row}"


def token_prefix(ordinal: int) -> str:
    """Return how the tokens of all rows of a drop begin."""
    return f"{ordinal}:"


def row_of(token: str) -> int:
    """Return the row number in a token."""
    return int(token.rpartition(":")[2])


def render(
    items: Sequence[Quarantined], columns: Sequence[str], *, delimiter: str, encoding: str, language: str
) -> Iterator[bytes]:
    """Return the parts of a rejects file, rows in the order of the file."""
    context = contextvars.copy_context()
    context.run(use_language, language)
    yield rejects_header(columns, delimiter)
    for item in sorted(items, key=lambda item: row_of(item.token)):
        number, said = row_of(item.token), context.run(explain, item)
        if item.code == UnreadableRecord.code:
            yield unreadable_row(len(columns), item.raw, number, item.reason, said, encoding=encoding, delimiter=delimiter)
        else:
            row = json.loads(item.raw)
            values = [str(row.get(name, "")) for name in columns]
            yield rejected_row(values, number, item.reason, said, delimiter)


def explain(item: Quarantined) -> str:
    """Return why an item was not accepted, in the language of the context."""
    try:
        return _(item.text).format_map(dict(item.details))
    except (KeyError, IndexError, ValueError):  # details of an older version
        return _(item.text)


def of_rows(items: Iterable[Quarantined]) -> list[Quarantined]:
    """Return the items that are rows; row 0 stands for a whole file."""
    return [item for item in items if row_of(item.token) > 0]
