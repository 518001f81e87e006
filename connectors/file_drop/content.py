"""One file that is being read: looked at whole first, then read row by row from the same descriptor.

The digest is taken before the first row is read. Rows are given out only while the file still is the one that was digested
(size and time of last change, asked of the open descriptor after each page), so that a file which is written to in place never
gives half of its old content and half of its new. Replacing the name by another file does not matter to an open descriptor.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from agent.formats.csv_reader import CsvOptions, CsvReader, Header
from agent.formats.csv_rows import BadRow, Fields, Mark
from agent.formats.csv_writer import REASON_COLUMNS
from agent.formats.encodings import Encoding, detect_encoding
from agent.formats.errors import BadFile
from connectors.file_drop.position import Identity

_BLOCK_BYTES: Final = 1 << 20
_LOOK_BYTES: Final = 1 << 17
"""What is looked at together; trying an encoding takes many times as much memory."""

HEAD_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Layout:
    """How the files of a flow are written; no encoding means that each file is looked at."""

    encoding: Encoding | None
    delimiter: str
    header_row: int

    def options(self, encoding: Encoding) -> CsvOptions:
        """Return the options for a file in this encoding."""
        return CsvOptions(encoding=encoding, delimiter=self.delimiter, header_row=self.header_row)


class Changed(Exception):
    """The file is not the one that was looked at any more."""


@dataclass
class Page:
    """Rows of a file with their row numbers, the bad ones among them, and where the next page begins."""

    rows: list[Fields] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    end: Mark = field(default=Mark(0, 0))
    more: bool = True


class Content:
    """The content of one file. Raises OSError when the disk does."""

    def __init__(self, stream: io.FileIO, layout: Layout) -> None:
        self._stream = stream
        self._layout = layout
        self.identity = Identity.of(os.fstat(stream.fileno()))
        self.digest = ""
        self.encoding = layout.encoding or Encoding.UTF_8
        self._reader: CsvReader | None = None
        self._cut = 0

    @classmethod
    def of(cls, descriptor: int, layout: Layout) -> Self:
        """Take over an open descriptor."""
        return cls(io.FileIO(descriptor, "rb"), layout)

    def look(self) -> BadFile | None:
        """Read it all: digest and encoding. Returns what is wrong with it as a whole. Raises Changed."""
        hashing = _Hashing(self._stream)
        wrong = None
        if self._layout.encoding is None:
            try:
                self.encoding = detect_encoding(hashing).encoding
            except BadFile as error:
                wrong = error
        hashing.finish()
        self.digest = hashing.hexdigest()
        if hashing.size_bytes != self.identity.size_bytes:
            raise Changed
        self.must_be_unchanged()
        return wrong

    def look_at_head(self) -> None:
        """Find out the encoding from the first megabyte only; for people who want to see some rows. Raises BadFile."""
        if self._layout.encoding is None:
            self._stream.seek(0)
            head = self._stream.read(_BLOCK_BYTES) or b""
            whole = head[: head.rfind(b"\n") + 1] or head  # a character cut in the middle says nothing about the encoding
            self.encoding = detect_encoding(io.BytesIO(whole)).encoding

    def start(self, at: Mark | None, encoding: Encoding | None = None) -> Header:
        """Stand before the row at `at`, or before the first one. Raises BadFile when there is no usable header."""
        options = self._layout.options(encoding or self.encoding)
        self._stream.seek(0)
        header = CsvReader(self._stream, options).header
        start = at or header.end
        self._stream.seek(start.offset)
        self._reader = CsvReader(self._stream, options, header=header, start=start)
        # A rejects file that was corrected and dropped again has our own columns behind the original ones.
        self._cut = len(header.columns) if header.columns[-len(REASON_COLUMNS) :] == REASON_COLUMNS else 0
        return header

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the rows of `page`."""
        header = self.header.columns
        return header[: -len(REASON_COLUMNS)] if self._cut else header

    @property
    def header(self) -> Header:
        """The header as it stands in the file."""
        assert self._reader is not None, "start first"
        return self._reader.header

    def page(self, limit: int) -> Page:
        """Return the next rows, at most `limit`. Raises Changed, and then nothing of the page may be used."""
        assert self._reader is not None, "start first"
        page = Page()
        while page.more and len(page.rows) < limit:
            block = self._reader.read(limit - len(page.rows))
            page.rows += block.rows
            page.numbers += block.numbers
            page.bad += block.bad
            page.end = block.end
            page.more = block.more
        self.must_be_unchanged()
        if self._cut:
            page.rows = [row[: self._cut - len(REASON_COLUMNS)] for row in page.rows]
        return page

    def head(self) -> bytes:
        """Return the beginning of the file, for people who have to find out what it is."""
        self._stream.seek(0)
        return self._stream.read(HEAD_BYTES) or b""

    def must_be_unchanged(self) -> None:
        """Raise Changed unless the open file still is what was looked at."""
        if Identity.of(os.fstat(self._stream.fileno())) != self.identity:
            raise Changed

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        self._stream.close()


class _Hashing:
    """A stream that digests what passes through it."""

    def __init__(self, stream: io.FileIO) -> None:
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int, /) -> bytes:
        """Return the next octets."""
        octets = self._stream.read(min(size, _LOOK_BYTES)) or b""
        self._sha256.update(octets)
        self.size_bytes += len(octets)
        return octets

    def finish(self) -> None:
        """Read what nobody asked for."""
        while self.read(_BLOCK_BYTES):
            pass

    def hexdigest(self) -> str:
        """Return the SHA-256 of everything read."""
        return self._sha256.hexdigest()


def missing(columns: Sequence[str], header: Sequence[str]) -> list[str]:
    """Return the columns that the header lacks."""
    return [name for name in columns if name not in header]
