"""What a YAML parser complains about, said so that an operator finds the place and the cure.

The parser reports where it noticed; the slip is often a line above. Full-width punctuation, typed with a Chinese input method,
is the commonest cause and is looked for first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from agent.i18n import N_
from agent.settings.codes import Note

_NO_SPACE: Final = re.compile(r"\s*(- )?[^\s:#'\"{\[]+(:)(?=[^\s/:])")
_OPEN_QUOTE: Final = re.compile(r"""(?:^\s*(?:- )?|:\s+|[\[{,]\s*)(?:"(?=[^"]*$)|'(?=[^']*$))""")
"""A value that begins with a quote and has no second one in its line."""
_WIDE_INDENT: Final = re.compile(r"\s*[\u3000\u00a0]")
_OPENERS: Final = {"[": "]", "{": "}"}


_At = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Slip:
    """A syntax error: its code, its place (from 1) and what to say."""

    code: str
    line: int
    column: int
    why: Note
    hints: tuple[Note, ...] = ()


def explain(error: Exception, lines: Sequence[str]) -> Slip:
    """Return what an operator must know about an exception of the YAML parser."""
    if isinstance(error, yaml.reader.ReaderError):
        return _bad_character(error, lines)
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Slip("HT-C005", 1, 1, Note(N_("it cannot be read as YAML")))
    problem = error.problem or ""
    line, column = error.problem_mark.line + 1, error.problem_mark.column + 1
    if problem.startswith("found character '\\t'"):
        return Slip("HT-C006", line, column, Note(""))
    start = (error.context_mark.line + 1, error.context_mark.column + 1) if error.context_mark else (line, column)
    first = start[0] if "simple key" in str(error.context) else _above(lines, line)
    typed_wide = _wide_indent(lines, line) or _full_width(lines, first, line, problem)
    return typed_wide or _slip(problem, (line, column), start, lines)


def _slip(problem: str, at: _At, start: _At, lines: Sequence[str]) -> Slip:
    for part, tell in _TELLERS:
        if part in problem:
            return tell(problem, at, start, lines)
    return Slip("HT-C005", *at, Note("{problem}", {"problem": problem}))


def _stray_colon(_problem: str, at: _At, _start: _At, lines: Sequence[str]) -> Slip:
    why = Note(N_("a second colon in one value; put the value in quotes, or check the indentation"))
    return _missing_space(lines, _above(lines, at[0])) or Slip("HT-C005", *at, why)


def _no_colon(_problem: str, _at: _At, start: _At, lines: Sequence[str]) -> Slip:
    why = Note(N_('this line is not of the form "field: value"'))
    return _missing_space(lines, start[0]) or Slip("HT-C005", *start, why)


def _misfitting_block(problem: str, at: _At, _start: _At, lines: Sequence[str]) -> Slip:
    if "<scalar>" in problem:
        quoted = _opened_above(lines, at[0])
        if quoted is not None:
            return quoted
        return Slip("HT-C005", *at, Note(N_("text after the closing quote; a quote inside single quotes is written twice ('')")))
    return Slip("HT-C005", *at, Note(N_("the indentation does not fit the lines above")))


def _open_bracket(_problem: str, _at: _At, start: _At, lines: Sequence[str]) -> Slip:
    why = N_('the bracket opened here is not closed by "{closer}", or a comma is missing')
    return Slip("HT-C005", *start, Note(why, {"closer": _OPENERS.get(_character(lines, start), "]")}))


def _open_quote(_problem: str, _at: _At, start: _At, _lines: Sequence[str]) -> Slip:
    return Slip("HT-C005", *start, Note(N_("the quote opened here is not closed")))


def _bad_escape(_problem: str, at: _At, _start: _At, _lines: Sequence[str]) -> Slip:
    return Slip("HT-C005", *at, Note(N_('in double quotes "\\" begins an escape; use single quotes')))


def _bad_start(_problem: str, at: _At, _start: _At, lines: Sequence[str]) -> Slip:
    why = N_('a value cannot begin with "{character}"; put it in quotes')
    return Slip("HT-C005", *at, Note(why, {"character": _character(lines, at)}))


def _no_value(_problem: str, at: _At, _start: _At, _lines: Sequence[str]) -> Slip:
    return Slip("HT-C005", *at, Note(N_("a value is missing here")))


_TELLERS: Final[tuple[tuple[str, Callable[[str, _At, _At, Sequence[str]], Slip]], ...]] = (
    ("mapping values are not allowed", _stray_colon),
    ("could not find expected ':'", _no_colon),
    ("expected <block end>", _misfitting_block),
    ("expected ',' or", _open_bracket),
    ("found unexpected end of stream", _open_quote),
    ("found unexpected document separator", _open_quote),
    ("found unknown escape", _bad_escape),
    ("cannot start any token", _bad_start),
    ("expected the node content", _no_value),
)
"""What the parser says → what we say. The first that fits."""


def _character(lines: Sequence[str], at: _At) -> str:
    return lines[at[0] - 1][at[1] - 1 : at[1]] if at[0] <= len(lines) else ""


def _missing_space(lines: Sequence[str], line: int) -> Slip | None:
    match = _NO_SPACE.match(lines[line - 1]) if 0 < line <= len(lines) else None
    if match is None:
        return None
    return Slip("HT-C005", line, match.start(2) + 1, Note(N_("the space after the colon is missing")))


def _full_width(lines: Sequence[str], first: int, last: int, problem: str) -> Slip | None:
    wanted = {"：": ":"} | ({"，": ","} if "','" in problem else {})
    for number in range(max(first, 1), min(last, len(lines)) + 1):
        for column, character in enumerate(lines[number - 1].partition(" #")[0], start=1):
            if character in wanted:
                why = Note(
                    N_('a full-width "{wide}" stands here; write "{narrow}" and a space'),
                    {"wide": character, "narrow": wanted[character]},
                )
                return Slip("HT-C005", number, column, why)
    return None


def _wide_indent(lines: Sequence[str], line: int) -> Slip | None:
    """Find a blank that only looks like one, before the text of this line or of the one above."""
    for number in (line, _above(lines, line)):
        match = _WIDE_INDENT.match(lines[number - 1]) if 0 < number <= len(lines) else None
        if match is not None:
            return Slip(
                "HT-C005", number, match.end(), Note(N_("a full-width or no-break space stands here; indent with spaces"))
            )
    return None


def _opened_above(lines: Sequence[str], line: int) -> Slip | None:
    """Find the quote above that was never closed, so that it swallowed everything up to the next one."""
    for number in range(1, min(line, len(lines)) + 1):
        match = _OPEN_QUOTE.search(lines[number - 1].partition(" #")[0])
        if match is not None:
            return Slip("HT-C005", number, match.end(), Note(N_("the quote opened here is not closed")))
    return None


def _above(lines: Sequence[str], line: int) -> int:
    """Return the line above that is neither empty nor a comment, or `line` itself."""
    for number in range(line - 1, 0, -1):
        stripped = lines[number - 1].strip() if number <= len(lines) else ""
        if stripped and not stripped.startswith("#"):
            return number
    return line


def _bad_character(error: yaml.reader.ReaderError, lines: Sequence[str]) -> Slip:
    line, left = 1, error.position
    while line <= len(lines) and left > len(lines[line - 1]):
        left -= len(lines[line - 1]) + 1
        line += 1
    code = error.character if isinstance(error.character, int) else ord(error.character[:1] or "\0")
    return Slip("HT-C005", line, left + 1, Note(N_("the character U+{code} may not be used"), {"code": f"{code:04X}"}))
