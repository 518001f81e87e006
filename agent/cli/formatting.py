"""Help pages and text in columns that fit although Chinese characters are two columns wide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Final

import click

from agent.settings.width import display_width

_UNIT: Final = re.compile(
    r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\u3000-\u303f][，。；：、！？）》」”’]*|[^\s\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\u3000-\u303f]+|\s+"
)


def fold(text: str, width: int) -> list[str]:
    """Return `text` in lines of at most `width` columns, broken at spaces and between Chinese characters."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for unit in _UNIT.findall(paragraph):
            if display_width(line) + display_width(unit.rstrip()) > width and line:
                lines.append(line.rstrip())
                line = ""
            line += unit if line or not unit.isspace() else ""
        lines.append(line.rstrip())
    return lines


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return `text` filled up to `width` columns."""
    blank = " " * (width - display_width(text))
    return blank + text if right else text + blank


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Return rows under their headings, column by column as wide as needed; `right` are numbers of columns of figures."""
    grid = [columns, *rows] if any(columns) else list(rows)
    widths = [max((display_width(row[at]) for row in grid), default=0) for at in range(len(columns))]
    figures = frozenset(right)
    return ["  ".join(pad(cell, widths[at], right=at in figures) for at, cell in enumerate(row)).rstrip() for row in grid]


class Formatter(click.HelpFormatter):
    """Help pages measured in columns instead of characters."""

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        indent = " " * self.current_indent
        self.write("".join(f"{indent}{line}".rstrip() + "\n" for line in fold(text, self.width - self.current_indent)))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write terms and their explanations side by side."""
        rows = list(rows)
        first = min(max(display_width(term) for term, _ in rows), col_max) + col_spacing
        indent = " " * self.current_indent
        for term, meaning in rows:
            lines = fold(meaning, max(self.width - first - self.current_indent, 20))
            fits = display_width(term) <= first - col_spacing
            terms = [term] if fits else [term, ""]
            meanings = lines if fits else ["", *lines]
            for left, right in zip_longest(terms, meanings, fillvalue=""):
                self.write(f"{indent}{pad(left, first)}{right}".rstrip() + "\n")
