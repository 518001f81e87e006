"""CSV files as rows with places: streaming, resumable between any two rows, never stopped by a broken one.

    reader = CsvReader(stream, CsvOptions(encoding=Encoding.GB18030))
    while block := reader.read(2000):
        store(block.rows, block.bad, block.end)

To go on later: read the header again, move the stream to the stored mark, and hand both to a new reader.

    header = CsvReader(stream, options).header
    stream.seek(mark.offset)
    reader = CsvReader(stream, options, header=header, start=mark)

Which rows there are, their numbers and their places are laid down in `agent.formats.csv_rows`. All values are text; a CSV
file has no NULL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from agent.formats.csv_rows import RAW_BYTES_KEPT, BadRow, Fields, Layout, Lines, Mark, Parsed, bad_row, parse
from agent.formats.encodings import UTF_8_BOM, ByteStream, Encoding
from agent.formats.errors import BadFile
from agent.i18n import N_

_NO_DELIMITER: Final = '"\r\n\0\ufeff'


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """How a file is to be read. Raises ValueError for a delimiter that cannot be one.

    `header_row` is the line of the column names; lines above it are titles. Rows larger than `max_row_bytes`, or with a
    quoted field over more than `max_row_lines` lines, are put aside.
    """

    encoding: Encoding = Encoding.UTF_8
    delimiter: str = ","
    header_row: int = 1
    max_row_bytes: int = 1 << 20
    max_row_lines: int = 1000
    chunk_bytes: int = 1 << 18

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in _NO_DELIMITER:
            raise ValueError(f"not a delimiter: {self.delimiter!r}")


@dataclass(frozen=True, slots=True)
class Header:
    """The column names and what else the head of the file says.

    `encoding` is UTF-8 if the file has its byte order mark, whatever the options say. `text` is the line itself.
    """

    columns: Fields
    encoding: Encoding
    trailing: bool  # ends with a delimiter
    text: str
    end: Mark


@dataclass(slots=True)
class CsvBlock:
    """Rows in the order of the file, with parallel `offsets` (bytes) and `numbers`, the bad rows among them, and the end.

    A reader that starts at `end`, or at the offset and number of any row, gives exactly the rows from there on.
    """

    rows: list[Fields]
    offsets: list[int]
    numbers: list[int]
    bad: list[BadRow]
    end: Mark
    replaced: int = 0
    more: bool = field(default=True)

    def __bool__(self) -> bool:
        """Tell whether there is anything in it, or may be in the next."""
        return self.more or bool(self.rows or self.bad)


class CsvReader:
    """Reads one file from one stream. Raises BadFile when there is no usable header.

    Without `header` the stream stands at the beginning of the file and the header is read from it. With one, the stream
    stands at `start` (default: the first row).
    """

    def __init__(
        self, stream: ByteStream, options: CsvOptions, *, header: Header | None = None, start: Mark | None = None
    ) -> None:
        self._stream = stream
        self._options = options
        self._buffer = b""
        self._ended = False
        self.header = header if header is not None else self._read_header()
        self._layout = self._layout_of(self.header.encoding, len(self.header.columns), trailing=self.header.trailing)
        self._at = start or self.header.end
        self._parsed = Parsed(self._at)
        self._given = 0  # rows of it

    def read(self, limit: int) -> CsvBlock:
        """Return the next rows, at most `limit` good ones; falsy at the end of the file. A block may be short, even empty."""
        if self._given == len(self._parsed.rows) and not self._parsed.bad:
            self._parsed = self._parse_chunk()
            self._given = 0
        return self._slice(limit)

    def _slice(self, limit: int) -> CsvBlock:
        parsed, first = self._parsed, self._given
        last = min(first + limit, len(parsed.rows))
        whole = last == len(parsed.rows)
        end = parsed.end if whole else Mark(parsed.offsets[last], parsed.numbers[last])
        bad = [row for row in parsed.bad if row.mark.offset < end.offset]
        parsed.bad = parsed.bad[len(bad) :]
        self._given = last
        replaced, parsed.replaced = parsed.replaced, 0
        return CsvBlock(
            parsed.rows[first:last],
            parsed.offsets[first:last],
            parsed.numbers[first:last],
            bad,
            end,
            replaced,
            more=not (whole and self._ended and not self._buffer),
        )

    # -- chunks ------------------------------------------------------------------------------------------------------

    def _parse_chunk(self) -> Parsed:
        if not self._buffer or not self._ended:
            self._pull()
        parsed = parse(self._buffer, self._at, self._layout, final=self._ended)
        self._buffer = self._buffer[parsed.end.offset - self._at.offset :]
        self._at = parsed.end
        if len(self._buffer) > self._options.max_row_bytes and b"\n" not in self._buffer:
            self._skip_long_line(parsed)
        return parsed

    def _pull(self) -> None:
        chunk = self._stream.read(self._options.chunk_bytes)
        self._ended = not chunk
        self._buffer += chunk

    def _skip_long_line(self, parsed: Parsed) -> None:
        """Let a line without end go by in bounded memory, keeping its beginning."""
        kept = b""
        size = 0
        while (found := self._buffer.find(b"\n")) < 0 and not self._ended:
            kept += self._buffer[: RAW_BYTES_KEPT + 1 - len(kept)]
            size += len(self._buffer)
            self._buffer = b""
            self._pull()
        content = found if found >= 0 else len(self._buffer)
        kept += self._buffer[: min(content, RAW_BYTES_KEPT + 1 - len(kept))]
        size += content
        mark = self._at
        parsed.bad.append(bad_row(mark, kept, "row_too_long", size=size, limit=self._options.max_row_bytes))
        self._at = parsed.end = Mark(mark.offset + size + (found >= 0), mark.row + 1)
        self._buffer = self._buffer[content + 1 :]

    # -- the header --------------------------------------------------------------------------------------------------

    def _read_header(self) -> Header:
        while len(self._buffer) < len(UTF_8_BOM) and not self._ended:
            self._pull()
        if not self._buffer:
            raise BadFile(N_("the file is empty"), reason="empty_file")
        encoding, offset = self._options.encoding, 0
        if self._buffer.startswith(UTF_8_BOM):
            encoding, offset = Encoding.UTF_8, len(UTF_8_BOM)
            self._buffer = self._buffer[offset:]
        for row in range(1, self._options.header_row):
            offset += self._drop_line(row)
        mark = Mark(offset, self._options.header_row)
        octets, fields = self._first_row(mark, self._layout_of(encoding, 0))
        columns, trailing = _column_names(fields)
        self._buffer = self._buffer[len(octets) :]
        text = encoding.decode(octets)[0].removeprefix("\ufeff").rstrip("\r\n")
        return Header(columns, encoding, trailing, text, Mark(offset + len(octets), mark.row + 1))

    def _first_row(self, mark: Mark, layout: Layout) -> tuple[bytes, Fields]:
        while True:
            source = Lines(self._buffer, final=self._ended)
            taken = source.take_row(0, mark, layout) if source.lines else None
            if taken is not None and taken.bad is not None:
                raise _unusable(taken.bad)
            if taken is not None and taken.fields is not None:
                return b"".join(source.lines[: taken.lines]), taken.fields
            if self._ended or len(self._buffer) > layout.max_row_bytes:
                raise BadFile(N_("row {row}, which should hold the column names, is missing"), reason="no_header", row=mark.row)
            self._pull()

    def _drop_line(self, row: int) -> int:
        while (end := self._buffer.find(b"\n") + 1) == 0:
            if self._ended or len(self._buffer) > self._options.max_row_bytes:
                raise BadFile(N_("the file ends at row {row}, before its column names"), reason="no_header", row=row)
            self._pull()
        self._buffer = self._buffer[end:]
        return end

    def _layout_of(self, encoding: Encoding, width: int, *, trailing: bool = False) -> Layout:
        options = self._options
        return Layout(encoding, options.delimiter, options.max_row_bytes, options.max_row_lines, width, trailing)


def _unusable(header: BadRow) -> BadFile:
    return BadFile(header.text, reason=header.reason, hint=None, **header.details)


def _column_names(fields: Fields) -> tuple[Fields, bool]:
    """Return the names, and whether the header ends with a delimiter."""
    if fields:
        fields = (fields[0].removeprefix("\ufeff"), *fields[1:])
    trailing = len(fields) > 1 and not fields[-1]
    names = fields[:-1] if trailing else fields
    if not names:
        raise BadFile(N_("the first row is empty; it should hold the column names"), reason="no_header")
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise BadFile(N_("column {number} has no name"), reason="unnamed_column", number=number)
        if name in seen:
            raise BadFile(N_("two columns are named {column}"), reason="duplicate_column", column=name)
        seen.add(name)
    return names, trailing
