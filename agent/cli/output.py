"""How the command line speaks: data to stdout, talk to stderr, either as text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Final

import click

from agent.cli.exit_codes import ExitCode, exit_code
from agent.cli.formatting import table
from agent.errors import Conflict, Disposition, HuitongError, SettingsError, Side
from agent.i18n import N_, _
from agent.settings.problems import Problem, render, tally

_SIDES: Final = {
    Side.SOURCE: N_("the source"),
    Side.AGENT: N_("this node"),
    Side.HUB: N_("the hub"),
    Side.NETWORK: N_("the network"),
}

IMPACT: Final = {
    Disposition.RETRY: N_("it is sent again by itself; nothing is lost"),
    Disposition.RECONNECT: N_("captured data is safe in the outbox; the agent tries again by itself"),
    Disposition.QUARANTINE: N_("only this item is put aside, with its reason; its neighbours go on"),
    Disposition.PAUSE: N_("this flow waits and other flows go on; captured data is safe in the outbox"),
    Disposition.FATAL: "",
}
"""What an error means for the data, in words."""


@dataclass(slots=True)
class Output:
    """Where one run of the command writes, and how."""

    stdout: IO[str]
    stderr: IO[str]
    stdin: IO[str]
    json: bool = False
    color: bool = False
    yes: bool = False

    def data(self, value: object, text: Callable[[], Iterable[str]]) -> None:
        """Write a result: `value` as JSON when asked for, otherwise the lines of `text`."""
        lines = [as_json(value, indent=2)] if self.json else text()
        for line in lines:
            print(line, file=self.stdout)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> None:
        """Write rows under translated headings; for text only, `data` is the way to offer both."""
        for line in table([_(column) for column in columns], rows, right=right):
            print(line, file=self.stdout)

    def say(self, text: str) -> None:
        """Tell the operator something that is not the result."""
        print(text, file=self.stderr)

    def paint(self, text: str, color: str) -> str:
        """Return text in a colour where colours are wanted."""
        return click.style(text, fg=color) if self.color else text

    def confirm(self, question: str) -> bool:
        """Ask before something that cannot be taken back. `--yes` answers; without a terminal there is nobody to ask."""
        if self.yes:
            return True
        if not self.stdin.isatty():
            raise Conflict(why=_(N_("it must be confirmed; repeat the command with --yes")))
        print(f"{question} [y/N] ", end="", file=self.stderr, flush=True)
        return self.stdin.readline().strip().lower() in ("y", "yes", "是")

    def error(self, error: HuitongError) -> None:
        """Write what happened, what it means, what to do and who has to do it."""
        if self.json:
            print(as_json({"error": error_as_json(error)}), file=self.stderr)
            return
        if isinstance(error, SettingsError) and error.problems:
            self.problems(error.problems)
            return
        for line in self._error_lines(error):
            print(line, file=self.stderr)

    def problems(self, problems: Sequence[object]) -> None:
        """Write problems of the configuration, each with its place, and how many they are."""
        known = [problem for problem in problems if isinstance(problem, Problem)]
        for problem in known:
            print(f"{render(problem)}\n", file=self.stderr)
        text = N_("{tally}. Nothing was changed. Exit code {code}")
        self.say(_(text).format(tally=tally(known), code=int(ExitCode.CONFIGURATION)))

    def _error_lines(self, error: HuitongError) -> Iterable[str]:
        text, hint = error.localised()
        head = _(N_("{code} {text} (to act: {side})")).format(code=error.code, text=text, side=side_name(error.side))
        yield self.paint(head, "red")
        cause = error.__cause__
        facts = (
            (N_("cause"), cause.localised()[0] if isinstance(cause, HuitongError) else ""),
            (N_("effect"), _(IMPACT[error.disposition])),
            (N_("action"), hint),
            (N_("details"), f"huitong explain {error.code}"),
        )
        for name, fact in facts:
            if fact:
                yield f" {_(name)}  {fact}"


def side_name(side: Side) -> str:
    """Return who has to act, in the language of the context."""
    return _(_SIDES[side])


def error_as_json(error: HuitongError) -> dict[str, object]:
    """Return an error for machines."""
    text, hint = error.localised()
    return {
        "code": error.code,
        "text": text,
        "hint": hint,
        "side": str(error.side),
        "exit_code": int(exit_code(error)),
        "details": {name: str(value) for name, value in error.details.items()},
    } | ({"problems": _problems_as_json(error)} if isinstance(error, SettingsError) else {})


def _problems_as_json(error: SettingsError) -> list[dict[str, object]]:
    return [problem.as_json() for problem in error.problems if isinstance(problem, Problem)]


def as_json(value: object, *, indent: int | None = None) -> str:
    """Return JSON text, Chinese as it is, everything unknown as text."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)
