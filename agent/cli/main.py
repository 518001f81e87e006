"""The command `huitong`: finds the subcommand, runs it, says what went wrong and leaves with the right exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Final, NoReturn

import click

from agent.cli.base import Group, Session, speak
from agent.cli.exit_codes import ExitCode, exit_code
from agent.cli.output import Output, as_json
from agent.errors import Denied, HuitongError, NotFound
from agent.i18n import LANGUAGES, N_, language_from_locale
from agent.i18n import _ as translate
from agent.settings.suggest import near


@dataclass(frozen=True, slots=True)
class Entry:
    """A subcommand that is imported only when it is used. `target` is `module:attribute`."""

    name: str
    target: str
    summary: str


COMMANDS: Final = (
    Entry("init", "agent.cli.init:init", N_("write a first configuration, also from a live table or a CSV file")),
    Entry("validate", "agent.cli.validate:validate", N_("check the configuration; change nothing")),
    Entry("explain", "agent.cli.explain:explain", N_("explain a field, an error code or a message type, offline")),
    Entry("preview", "agent.cli.preview:preview", N_("read real records, map and show them; without any effect")),
    Entry("run", "agent.cli.run:run", N_("run the agent")),
    Entry("run-once", "agent.cli.run:run_once", N_("capture and send what is there, then end")),
    Entry("status", "agent.cli.status:status", N_("health on one screen")),
    Entry("doctor", "agent.cli.doctor:doctor", N_("checks one by one, each with its fix")),
    Entry("flow", "agent.cli.flow:flow", N_("list, pause, resume, compare and backfill flows")),
    Entry("source", "agent.cli.source:source", N_("print what a DBA has to create for a flow")),
    Entry("message", "agent.cli.message:message", N_("find, trace and resend messages")),
    Entry("dead", "agent.cli.dead:dead", N_("dead letters and quarantined records")),
    Entry("keys", "agent.cli.keys:keys", N_("signing keys")),
    Entry("secret", "agent.cli.secret:secret", N_("store and list secrets")),
    Entry("restore", "agent.cli.restore:restore", N_("go on after the store was put back from a copy")),
    Entry("hub", "hub.cli:hub", N_("the exchange node")),
    Entry("demo", "agent.cli.demo:demo", N_("a complete demonstration on this machine")),
    Entry("schema", "agent.cli.schema:schema", N_("JSON Schema of the configuration, for editors")),
    Entry("version", "agent.cli.version:version", N_("version of this installation")),
)


class Root(Group):
    """The top command; knows its subcommands by name without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return the names of all subcommands."""
        return [entry.name for entry in COMMANDS]

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:  # noqa: ARG002 - click's interface
        """Return (name, summary) of every subcommand, without importing any."""
        return [(entry.name, translate(entry.summary)) for entry in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        """Import a subcommand. Raises NotFound when this installation does not have it."""
        entry = next((entry for entry in COMMANDS if entry.name == cmd_name), None)
        return _import(entry) if entry else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the subcommand that the arguments name; a misspelt one is answered with the nearest names."""
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx):
            raise click.NoSuchCommand(name, possibilities=near(name, self.list_commands(ctx)), ctx=ctx)
        return super().resolve_command(ctx, args)


def _import(entry: Entry) -> click.Command:
    module, _, attribute = entry.target.partition(":")
    if not _exists(module):
        hint = N_("this installation does not have it; look at huitong version")
        raise NotFound(hint=hint, what=N_("command"), name=entry.name)
    command: click.Command = getattr(import_module(module), attribute)
    return command


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


cli = Root(
    "huitong",
    help=N_("Huitong 汇通 reports a department's data to its exchange node, and proves that it arrived."),
    epilog=N_("huitong COMMAND --help says more about a command."),
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command with the arguments of the process and leave."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    environment = dict(os.environ)
    speak(asked_language(given) or language_from_locale(environment))
    color = sys.stderr.isatty() and "NO_COLOR" not in environment
    output = Output(sys.stdout, sys.stderr, sys.stdin, json="--json" in before_dashes(given), color=color)
    try:
        code = run(given, Session(output))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    sys.exit(code)


def run(arguments: Sequence[str], session: Session) -> int:
    """Run one command and return its exit code; what an operator can act on is told, anything else is a defect and raised."""
    try:
        with cli.make_context("huitong", list(arguments), obj=session) as context:
            return int(cli.invoke(context) or ExitCode.OK)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        return _usage(error, session.output)
    except (click.Abort, KeyboardInterrupt):
        session.output.say("")
        return ExitCode.INTERRUPTED
    except (HuitongError, PermissionError) as error:
        told = Denied(path=error.filename) if isinstance(error, PermissionError) else error
        session.output.error(told)
        return exit_code(told)


def _usage(error: click.ClickException, output: Output) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        output.say(error.message)
    elif output.json:
        output.say(as_json({"error": {"text": error.format_message(), "exit_code": int(ExitCode.USAGE)}}))
    else:
        error.show(file=output.stderr)
    return ExitCode.USAGE


def asked_language(arguments: Sequence[str]) -> str | None:
    """Return the language that `--lang` asks for; needed before click reads the arguments, for its own messages."""
    given = before_dashes(arguments)
    for at, argument in enumerate(given):
        value = given[at + 1] if argument == "--lang" and at + 1 < len(given) else argument.removeprefix("--lang=")
        if argument.startswith("--lang") and value in LANGUAGES:
            return value
    return None


def before_dashes(arguments: Sequence[str]) -> Sequence[str]:
    """Return the arguments up to `--`, after which nothing is an option."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments
