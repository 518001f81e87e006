"""Where things stand in configuration files. Lines and columns count from 1, columns in characters."""

from __future__ import annotations

from dataclasses import dataclass

Loc = tuple[str | int, ...]
"""The way from the top of the configuration to a value: field names and list indexes."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A configuration file as it was read."""

    path: str
    lines: tuple[str, ...]

    def line(self, number: int) -> str:
        """Return a line without its end, empty when there is no such line."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""


@dataclass(frozen=True, slots=True)
class Extent:
    """A stretch of a file. `end_column` is the first column after it."""

    line: int
    column: int
    end_line: int
    end_column: int

    def on_first_line(self, file: SourceFile) -> tuple[int, int]:
        """Return (column, end column) of the part that stands on the first line; at least one column wide."""
        end = self.end_column if self.end_line == self.line else len(file.line(self.line)) + 1
        return self.column, max(end, self.column + 1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one field stands: its name and its value. `literal` is the text of an unquoted value."""

    file: SourceFile
    key: Extent
    value: Extent
    literal: str | None = None


def dotted(loc: Loc) -> str:
    """Return the way to a field as operators write it: `send.tax-csv.from.key.0`."""
    return ".".join(str(part) for part in loc)
