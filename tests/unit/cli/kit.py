"""Runs a command in this process and keeps what it said."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

from agent.cli.base import Session, speak
from agent.cli.main import run
from agent.cli.output import Output


class Terminal(io.StringIO):
    """A standard input with somebody at it."""

    def isatty(self) -> bool:
        """Return that there is."""
        return True


@dataclass(frozen=True)
class Result:
    """What a command said and how it left."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The result, parsed."""
        return json.loads(self.stdout)

    @property
    def error(self) -> Any:
        """The error, parsed."""
        return json.loads(self.stderr)["error"]


def huitong(*arguments: str, language: str = "en", stdin: io.StringIO | None = None) -> Result:
    """Run `huitong` with these arguments."""
    speak(language)
    output = Output(io.StringIO(), io.StringIO(), stdin or io.StringIO(), json="--json" in arguments)
    code = run(arguments, Session(output))
    assert isinstance(output.stdout, io.StringIO)
    assert isinstance(output.stderr, io.StringIO)
    return Result(code, output.stdout.getvalue(), output.stderr.getvalue())
