"""Where one row of a CSV file ends and the next begins, and what is a row at all.

The rules, which do not depend on how the file was cut into chunks:

- A line ends at a line feed. A row is one line, or several when a quoted field contains line feeds (RFC 4180).
- A row whose quoting is broken, or still open after `max_row_bytes`, `max_row_lines` or at the end of the file, gives up its
  first line only, and reading goes on at the next line: a forgotten quotation mark never costs the rest of the file.
- A row that is well quoted, but has the wrong number of fields, a NUL or bytes that do not decode, is put aside whole.
- Rows without any content (empty lines, delimiters only) are passed over. They count in the row numbers, which are those a
  spreadsheet shows.

The `csv` module splits the text. `parse` lets it run over many lines at once; from the first suspicious row on it goes row by
row and decides each by the rules. Both ways give the same rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from agent.formats.encodings import Encoding
from agent.i18n import N_

if TYPE_CHECKING:
    from _csv import Reader

RAW_BYTES_KEPT: Final = 1 << 16
"""Of a longer row only the beginning is kept with its `BadRow`."""

Fields = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place between two rows: the byte offset at which row number `row` begins. The first row of a file is 1."""

    offset: int
    row: int


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read: its place, its bytes without the line end, and why.

    `reason` is a stable word; `text` is a catalogue key whose fields are in `details`. Contents are in `raw` only.
    """

    mark: Mark
    raw: bytes
    reason: str
    text: str
    details: dict[str, object]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a row has to look like."""

    encoding: Encoding
    delimiter: str
    max_row_bytes: int
    max_row_lines: int
    width: int = 0
    trailing: bool = False  # the header ends with a delimiter, and so may the rows


@dataclass(slots=True)
class Parsed:
    """Good rows in order with their places, the bad ones, and where reading goes on."""

    end: Mark
    rows: list[Fields] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    replaced: int = 0  # private use code points that were given their real ones

    def admit(self, fields: Fields, mark: Mark, raw: bytes, layout: Layout) -> None:
        """Put a well quoted row where it belongs; a row without content belongs nowhere."""
        if layout.trailing and len(fields) == layout.width + 1 and not fields[-1]:
            fields = fields[:-1]
        if not any(fields):
            return
        if len(fields) != layout.width:
            self.bad.append(bad_row(mark, raw, "field_count", found=len(fields), expected=layout.width))
            return
        self.rows.append(fields)
        self.offsets.append(mark.offset)
        self.numbers.append(mark.row)


_TEXTS: Final = {
    "row_too_long": N_("row {row}: {size} bytes, {limit} are the limit"),
    "field_too_long": N_("row {row}: a field with more than {limit} characters"),
    "undecodable": N_("row {row}: bytes that are not {encoding}"),
    "nul_character": N_("row {row}: a NUL character"),
    "field_count": N_("row {row}: {found} fields instead of {expected}"),
    "unclosed_quote": N_("row {row}: a quotation mark that is never closed"),
    "bad_quote": N_("row {row}: text behind a closing quotation mark"),
    "bare_cr": N_("row {row}: a carriage return without a line feed"),
    "malformed": N_("row {row}: not a row of a CSV file"),
}


def bad_row(mark: Mark, raw: bytes, reason: str, **details: object) -> BadRow:
    """Return a `BadRow` with the text that belongs to the reason."""
    kept = raw.removesuffix(b"\n").removesuffix(b"\r")[:RAW_BYTES_KEPT]
    return BadRow(mark, kept, reason, _TEXTS[reason], {"row": mark.row, **details})


def parse(octets: bytes, start: Mark, layout: Layout, *, final: bool) -> Parsed:
    """Return the complete rows at the beginning of `octets`; `final` says that nothing follows.

    What stays over, from `end.offset` on, is an incomplete row: it comes again with more bytes behind it.
    """
    cut = len(octets) if final else octets.rfind(b"\n") + 1
    parsed = _parse_at_once(octets[:cut], start, layout)
    if parsed.end.offset < start.offset + cut:
        rest = Lines(octets[parsed.end.offset - start.offset :], final=final)
        _parse_one_by_one(rest, layout, parsed)
    return parsed


# -- many lines at once ----------------------------------------------------------------------------------------------


def _parse_at_once(octets: bytes, start: Mark, layout: Layout) -> Parsed:
    """Return the rows up to the first that has to be looked at more closely."""
    nothing = Parsed(start)
    if not octets or b"\0" in octets:
        return nothing
    try:
        text, replaced = layout.encoding.decode(octets)
    except UnicodeDecodeError:
        return nothing
    lines = octets.removesuffix(b"\n").split(b"\n")
    rows, firsts = _split_quoted(text, layout) if '"' in text else _split_plain(text, layout)
    if replaced and firsts[-1] < len(lines):
        return nothing  # nobody knows yet how many of them are in complete rows
    begins = list(accumulate((len(line) + 1 for line in lines), initial=start.offset))
    begins[-1] = start.offset + len(octets)  # behind the last line there may be no line feed
    places = [begins[first] for first in firsts]
    if len(rows) and not _within_limits(places, firsts, layout):
        return nothing
    parsed = Parsed(Mark(places[-1], start.row + len(rows)), replaced=replaced)
    _admit_all(parsed, rows, places, start, octets, layout)
    return parsed


def _split_plain(text: str, layout: Layout) -> tuple[list[Fields], Sequence[int]]:
    try:
        rows = list(map(tuple, _reader(text.removesuffix("\n").split("\n"), layout)))
    except csv.Error:
        return [], (0,)
    return rows, range(len(rows) + 1)


def _split_quoted(text: str, layout: Layout) -> tuple[list[Fields], Sequence[int]]:
    """Return the rows and the index of the line each begins at, the line behind the last row included."""
    rows: list[Fields] = []
    firsts = [0]
    reader = _reader(io.StringIO(text, newline="\n"), layout)
    try:
        for row in reader:
            rows.append(tuple(row))
            firsts.append(reader.line_num)
    except csv.Error:
        pass  # the row at firsts[-1] is incomplete or broken; the caller looks at it alone
    return rows, firsts


def _within_limits(places: Sequence[int], firsts: Sequence[int], layout: Layout) -> bool:
    size = max(map(int.__sub__, places[1:], places))
    count = 1 if isinstance(firsts, range) else max(map(int.__sub__, firsts[1:], firsts))
    return size <= layout.max_row_bytes and count <= layout.max_row_lines


def _admit_all(parsed: Parsed, rows: list[Fields], places: list[int], start: Mark, octets: bytes, layout: Layout) -> None:
    if {layout.width}.issuperset(map(len, rows)) and ("",) * layout.width not in rows:
        parsed.rows = rows
        parsed.offsets = places[:-1]
        parsed.numbers = list(range(start.row, start.row + len(rows)))
        return
    for index, row in enumerate(rows):
        raw = octets[places[index] - start.offset : places[index + 1] - start.offset]
        parsed.admit(row, Mark(places[index], start.row + index), raw, layout)


# -- row by row ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Taken:
    """One row taken from the lines: its fields, or what is wrong with it. `lines` 0: more bytes are needed."""

    lines: int
    fields: Fields | None = None
    bad: BadRow | None = None
    replaced: int = 0


class Lines:
    """Octets cut into lines. `tail_bytes` is the length of an unfinished last line, None when nothing can follow."""

    def __init__(self, octets: bytes, *, final: bool) -> None:
        pieces = octets.split(b"\n")
        last = pieces.pop()
        self.lines = [piece + b"\n" for piece in pieces]
        self.tail_bytes = None if final else len(last)
        if final and last:
            self.lines.append(last)

    def take_row(self, first: int, mark: Mark, layout: Layout) -> Taken:
        """Take the row that begins at line `first`."""
        line = self.lines[first]
        size = len(line.removesuffix(b"\n"))
        if size > layout.max_row_bytes:
            return Taken(1, bad=bad_row(mark, line, "row_too_long", size=size, limit=layout.max_row_bytes))
        window = _Window(self, first, layout)
        reader = _reader(window, layout)
        try:
            fields = tuple(next(reader))
        except csv.Error as error:
            if window.may_grow:
                return Taken(0)
            return Taken(1, bad=_misquoted(mark, line, window, error, layout))
        raw = b"".join(self.lines[first : first + reader.line_num])
        if window.undecodable:
            return Taken(reader.line_num, bad=bad_row(mark, raw, "undecodable", encoding=layout.encoding.value))
        if b"\0" in raw:
            return Taken(reader.line_num, bad=bad_row(mark, raw, "nul_character"))
        return Taken(reader.line_num, fields, replaced=window.replaced)


class _Window:
    """The lines that one row may take, decoded one by one as the `csv` module asks for them."""

    def __init__(self, source: Lines, first: int, layout: Layout) -> None:
        self._source = source
        self._first = first
        self._layout = layout
        self._size = 0
        self.taken = 0
        self.ran_out = False  # asked for more lines than the row may take, or than there are
        self.may_grow = False  # ran out, but more bytes could help
        self.undecodable = 0  # lines
        self.replaced = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        layout = self._layout
        position = self._first + self.taken
        there_is = position < len(self._source.lines)
        line = self._source.lines[position] if there_is else b""
        size = len(line.removesuffix(b"\n")) if there_is else self._source.tail_bytes
        fits = size is not None and self._size + size <= layout.max_row_bytes and self.taken < layout.max_row_lines
        if not there_is or not fits:
            self.ran_out = True
            self.may_grow = fits
            raise StopIteration
        self.taken += 1
        self._size += len(line)
        return self._decode(line)

    def _decode(self, line: bytes) -> str:
        try:
            text, replaced = self._layout.encoding.decode(line)
        except UnicodeDecodeError:
            self.undecodable += 1
            return line.decode(self._layout.encoding.value, "replace")  # to find the end of the row, for nothing else
        self.replaced += replaced
        return text


def _parse_one_by_one(source: Lines, layout: Layout, parsed: Parsed) -> None:
    at = 0
    while at < len(source.lines):
        mark = parsed.end
        taken = source.take_row(at, mark, layout)
        if not taken.lines:
            return
        raw = b"".join(source.lines[at : at + taken.lines])
        parsed.end = Mark(mark.offset + len(raw), mark.row + 1)
        parsed.replaced += taken.replaced
        at += taken.lines
        if taken.bad is not None:
            parsed.bad.append(taken.bad)
        if taken.fields is not None:
            parsed.admit(taken.fields, mark, raw, layout)


def _misquoted(mark: Mark, line: bytes, window: _Window, error: csv.Error, layout: Layout) -> BadRow:
    if window.undecodable:
        return bad_row(mark, line, "undecodable", encoding=layout.encoding.value)
    if window.ran_out:
        return bad_row(mark, line, "unclosed_quote")
    message = str(error)
    if "field larger" in message:
        return bad_row(mark, line, "field_too_long", limit=csv.field_size_limit())
    if "new-line character" in message:
        return bad_row(mark, line, "bare_cr")
    return bad_row(mark, line, "bad_quote" if "expected after" in message else "malformed")


def _reader(lines: Iterator[str] | Sequence[str], layout: Layout) -> Reader:
    return csv.reader(lines, delimiter=layout.delimiter, strict=True)
