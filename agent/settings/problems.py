"""A problem of the configuration: what is wrong, where, and what to do about it; as text with a caret, or as JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from agent.i18n import N_, _
from agent.settings.codes import Note, code_info
from agent.settings.places import SourceFile
from agent.settings.width import blank_of, display_width

Level = Literal["error", "warning"]

_CONTEXT_LINES: Final = 1
_SHOWN_ALLOWED: Final = 24
_SAY_IT_ALL: Final = {"HT-C005"}
"""Codes whose sentence says already, for each case, what to write."""


@dataclass(frozen=True, slots=True)
class Fix:
    """A correction that cannot change what was meant: replace one stretch of one line."""

    line: int
    column: int
    end_column: int
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem with its place. Lines and columns count from 1; line 0 means the file as a whole."""

    code: str
    level: Level
    file: SourceFile
    line: int
    column: int
    end_column: int
    where: str
    says: Note
    label: Note | None = None
    hints: tuple[Note, ...] = ()
    alternatives: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    fix: Fix | None = None

    @property
    def path(self) -> str:
        """The file, as it was named on the command line."""
        return self.file.path

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.level} {self.code} {self.says}"

    def as_json(self) -> dict[str, object]:
        """Return the problem for machines, its texts in the language of the context."""
        return {
            "code": self.code,
            "level": self.level,
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "end_column": self.end_column,
            "where": self.where,
            "text": self.says.localised(),
            "hints": [note.localised() for note in (*((self.label,) if self.label else ()), *self.hints)],
            "alternatives": list(self.alternatives),
            "allowed": list(self.allowed),
            "fixable": self.fix is not None,
        }


def render(problem: Problem) -> str:
    """Return the problem as an operator reads it, in the language of the context."""
    level = _(N_("error")) if problem.level == "error" else _(N_("warning"))
    head = f"{problem.path}:{problem.line}:{problem.column}: {level} {problem.code} {problem.says.localised()}"
    return "\n".join((head, *_excerpt(problem), *(f"   = {line}" for line in _footers(problem))))


def _excerpt(problem: Problem) -> list[str]:
    if not problem.file.line(problem.line):
        return []
    first = max(1, problem.line - _CONTEXT_LINES)
    digits = max(2, len(str(problem.line)))
    gutter = " " * digits + " |"
    shown = [f"{number:>{digits}} | {mask(problem.file.line(number))}".rstrip() for number in range(first, problem.line + 1)]
    line = mask(problem.file.line(problem.line))
    before, marked = line[: problem.column - 1], line[problem.column - 1 : problem.end_column - 1]
    label = problem.label.localised() if problem.label else problem.where
    caret = f"{gutter} {blank_of(before)}{'^' * max(1, display_width(marked))} {label}"
    return [gutter, *shown, caret.rstrip()]


def _footers(problem: Problem) -> list[str]:
    lines = [note.localised() for note in problem.hints]
    if problem.alternatives:
        lines.insert(0, _(N_("did you mean: {names}")).format(names=_(N_(" or ")).join(problem.alternatives)))
    if problem.allowed:
        names = ", ".join(problem.allowed[:_SHOWN_ALLOWED]) + (" …" if len(problem.allowed) > _SHOWN_ALLOWED else "")
        lines.append(_(N_("possible here: {names}")).format(names=names))
    if not lines and problem.fix is None and problem.code not in _SAY_IT_ALL:
        lines.append(_(N_("to do: {action}")).format(action=_(code_info(problem.code).fix)))
    explain = _(N_("details: {command}")).format(command=f"huitong explain {problem.code}")
    if problem.fix is not None:
        explain = _(N_("correct it: {command}")).format(command="huitong validate --fix") + "      " + explain
    return [*lines, explain]


def tally(problems: Sequence[Problem]) -> str:
    """Return the sentence that closes a list of problems."""
    errors = sum(problem.level == "error" for problem in problems)
    warnings = len(problems) - errors
    parts = []
    if errors:
        parts.append(_(N_("1 error")) if errors == 1 else _(N_("{count} errors")).format(count=errors))
    if warnings:
        parts.append(_(N_("1 warning")) if warnings == 1 else _(N_("{count} warnings")).format(count=warnings))
    return _(N_(", ")).join(parts)


_NAMED_SECRET: Final = re.compile(
    r"""((?:(?:pas+w?|pwd|secret|token|口令|密码)[^\s:{,'"]*|(?<![{,])(?<![{,] )\bkey)"""
    r"""(?:['"]\s*:\s*|:\s+))(?!secret:|\[)([^\s#][^#}]*)""",
    re.IGNORECASE,
)
_KEY_IN_BRACES: Final = re.compile(r"""((?:(?<=[{,])|(?<=[{,] ))key:\s+)(?!secret:|\[)([^\s#,}][^#,}]*)""", re.IGNORECASE)
"""A flow has a `key` too, in braces with much else: only the value is starred out, what stands after it stays to be seen."""
_CREDENTIALS: Final = re.compile(r"(://[^/@\s:]*:)([^@\s/]+)(?=@)")
_KEY_MATERIAL: Final = re.compile(r"()([A-Za-z0-9+/=]{60,})")


def mask(line: str) -> str:
    """Return a line of a file with everything that looks like a secret starred out, length kept."""
    for pattern in (_NAMED_SECRET, _KEY_IN_BRACES, _CREDENTIALS, _KEY_MATERIAL):
        line = pattern.sub(lambda match: match[1] + "*" * len(match[2]), line)
    return line
