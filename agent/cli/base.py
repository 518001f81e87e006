"""What every command is built from: click with translated help, and options that work before and after the command's name.

Help texts are catalogue keys; they are translated when they are shown, because the language is known only then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from agent import i18n
from agent.cli.formatting import Formatter
from agent.cli.output import Output
from agent.i18n import LANGUAGES, N_, _
from agent.settings.files import DEFAULT_FILE


def speak(language: str) -> None:
    """Choose the language of this run: of our own texts and of click's."""
    i18n.use_language(language)
    for module in (click.core, click.decorators, click.exceptions, click.formatting, click.parser, click.termui, click.types):
        # click asks the gettext of the standard library, which knows only the language of the environment
        vars(module)["_"] = _word
        vars(module)["ngettext"] = _one_or_many


def _word(text: str) -> str:
    return i18n._(text.expandtabs(4))


def _one_or_many(one: str, many: str, count: int) -> str:
    return i18n._(one if count == 1 else many)


@dataclass(slots=True)
class Session:
    """One run of the command: how it speaks and which configuration it is about."""

    output: Output
    config: Path = DEFAULT_FILE


pass_session = click.make_pass_decorator(Session)
"""Hands the Session to a command as its first argument."""


class _Translated:
    """An attribute holding a catalogue key that reads as its translation."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._slot = f"_{name}_key"

    def __get__(self, instance: Any, owner: type) -> Any:
        key = None if instance is None else getattr(instance, self._slot, None)
        return _(key) if key else key

    def __set__(self, instance: Any, value: str | None) -> None:
        setattr(instance, self._slot, value)


class Context(click.Context):
    """Measures help pages in columns."""

    formatter_class = Formatter


class Option(click.Option):
    """An option with translated help and metavar."""

    help: Any = _Translated()
    metavar: Any = _Translated()


class Argument(click.Argument):
    """An argument with translated help and metavar."""

    help: Any = _Translated()
    metavar: Any = _Translated()

    def make_metavar(self, ctx: click.Context) -> str:  # noqa: ARG002 - click's interface
        """Return the metavar as it stands in the usage line."""
        shown = self.metavar or self.name.upper()
        return (shown if self.required else f"[{shown}]") + ("..." if self.nargs != 1 else "")


class Command(click.Command):
    """A command that also takes the global options and shows its help translated."""

    context_class = Context
    help: Any = _Translated()
    short_help: Any = _Translated()
    epilog: Any = _Translated()

    def get_help_option(self, ctx: click.Context) -> click.Option | None:  # noqa: ARG002 - click's interface
        """Return the help option; its text is translated when it is shown."""
        if self._help_option is None:
            self._help_option = Option(
                ["-h", "--help"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_help,
                help="Show this message and exit.",
            )
        return self._help_option

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and the global options."""
        return [*super().get_params(ctx), *global_options()]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the parts of the usage line, translated."""
        return [_(piece) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then the global ones under a heading of their own."""
        own = [record for param in click.Command.get_params(self, ctx) if (record := _record(param, ctx))]
        with formatter.section(_(N_("Options"))):
            formatter.write_dl(own)
        self._format_commands(ctx, formatter)
        with formatter.section(_(N_("Global options"))):
            formatter.write_dl([record for param in global_options() if (record := _record(param, ctx))])

    def _format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands; a plain command has none."""


class Group(Command, click.Group):
    """A command with subcommands."""

    command_class = Command
    group_class = type

    def _format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Return (name, short help) of every subcommand, translated."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return [(name, found.short_help or _first_line(found.help)) for name, found in commands if found and not found.hidden]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands in the order in which they were added."""
        with formatter.section(_(N_("Commands"))):
            formatter.write_dl(self.summaries(ctx))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return the names in the order in which they were added."""
        return list(self.commands)


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def _record(param: click.Parameter, ctx: click.Context) -> tuple[str, str] | None:
    return None if isinstance(param, click.Argument) else param.get_help_record(ctx)


def command(name: str, help: str, **settings: Any) -> Callable[[Callable[..., Any]], Command]:  # noqa: A002 - click's word
    """Make a function a command. `help` is a catalogue key whose first line is the summary."""
    return click.command(name, cls=Command, help=help, **settings)


def group(name: str, help: str, **settings: Any) -> Callable[[Callable[..., Any]], Group]:  # noqa: A002 - click's word
    """Make a function a command with subcommands; add them with `.add_command`."""
    return click.group(name, cls=Group, help=help, **settings)


def option(*names: str, help: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # noqa: A002
    """Declare an option; `help` and `metavar` are catalogue keys."""
    return click.option(*names, cls=Option, help=help, **settings)


def argument(name: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare an argument; `help` and `metavar` are catalogue keys."""
    return click.argument(name, cls=Argument, **settings)


# -- options of every command ----------------------------------------------------------------------------------------


def _show_help(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        session = ctx.find_object(Session)
        click.echo(ctx.get_help(), file=session.output.stdout if session else None)
        ctx.exit()


def _set_language(_ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value:
        speak(value)


def _set_flag(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        output = ctx.ensure_object(Session).output
        match param.name:
            case "json":
                output.json = True
            case "no_color":
                output.color = False
            case _:
                output.yes = True


def _set_config(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).config = value


_GLOBAL_OPTIONS: list[click.Parameter] = [
    Option(
        ["--config"],
        type=click.Path(path_type=Path, readable=False),  # what cannot be read is said by the command, with its exit code
        metavar=N_("FILE"),
        expose_value=False,
        callback=_set_config,
        help=N_("configuration file; default agent.yaml, for the hub hub.yaml, in /etc/huitong"),
    ),
    Option(
        ["--lang"],
        type=click.Choice(LANGUAGES),
        metavar="zh|en",
        expose_value=False,
        callback=_set_language,
        is_eager=True,
        help=N_("language; default from the locale"),
    ),
    Option(["--json"], is_flag=True, expose_value=False, callback=_set_flag, help=N_("results and errors as JSON")),
    Option(["--no-color"], is_flag=True, expose_value=False, callback=_set_flag, help=N_("no colours")),
    Option(["--yes"], is_flag=True, expose_value=False, callback=_set_flag, help=N_("answer every question with yes")),
]


def global_options() -> list[click.Parameter]:
    """Return the options that every command takes."""
    return _GLOBAL_OPTIONS
