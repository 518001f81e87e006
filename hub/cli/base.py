"""What the hub's commands are built from.

The command line that loads them brings the rest in `ctx.obj`: how to speak (`output`) and which configuration was asked for
(`config`). Its global options work on these commands too, wherever they stand. Help texts are catalogue keys, translated when
they are shown, because the language is known only then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Protocol

import click

from agent.i18n import _
from agent.settings.files import DEFAULT_FILE as AGENT_FILE
from agent.settings.load import load
from hub.settings import DEFAULT_FILE, HubFile


class Output(Protocol):
    """How one run of the command speaks: data to stdout, talk to stderr."""

    stdout: IO[str]
    stdin: IO[str]
    json: bool

    def data(self, value: object, text: Callable[[], Iterable[str]]) -> None:
        """Write a result as JSON when asked for, otherwise as lines."""
        ...

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> None:
        """Write rows under translated headings."""
        ...

    def say(self, text: str) -> None:
        """Tell something that is not the result."""
        ...

    def confirm(self, question: str) -> bool:
        """Ask before something that cannot be taken back."""
        ...


class Session(Protocol):
    """One run of the command."""

    @property
    def output(self) -> Output:
        """How it speaks."""
        ...

    @property
    def config(self) -> Path:
        """The configuration asked for."""
        ...


@dataclass(frozen=True, slots=True)
class HubSession:
    """A session of a hub command: without --config it is about hub.yaml, whatever the default of other commands is."""

    output: Output
    config: Path

    def settings(self) -> HubFile:
        """Read the configuration. Raises SettingsError with every problem in it."""
        return load([self.config], HubFile).value

    @contextmanager
    def reader(self) -> Iterator[Any]:
        """Open the store for reading and yield a HubReader."""
        from hub.app import location_of, secrets_of  # noqa: PLC0415 - only commands that look pay for the database
        from hub.store.opening import reading  # noqa: PLC0415 - as above
        from hub.store.reading import HubReader  # noqa: PLC0415 - as above

        settings = self.settings()
        with reading(location_of(settings, secrets_of(settings, os.environ))) as store:
            yield HubReader(store)

    @contextmanager
    def registry(self) -> Iterator[Any]:
        """Open the store for writing and yield a SqlRegistry. Raises Busy while a hub runs on a SQLite store."""
        from hub.app import location_of, secrets_of  # noqa: PLC0415 - as above
        from hub.store.migrate import migrate  # noqa: PLC0415 - as above
        from hub.store.opening import open_store  # noqa: PLC0415 - as above
        from hub.store.registry import SqlRegistry  # noqa: PLC0415 - as above

        settings = self.settings()
        store = open_store(location_of(settings, secrets_of(settings, os.environ)))
        try:
            migrate(store)
            yield SqlRegistry(store)
        finally:
            store.close()


def pass_session(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hand the HubSession to a command as its first argument."""

    @click.pass_context
    def wrapped(ctx: click.Context, *args: Any, **kwargs: Any) -> Any:
        given: Session = ctx.obj
        return function(HubSession(given.output, _file(given.config)), *args, **kwargs)

    wrapped.__doc__ = function.__doc__
    return wrapped


def _file(asked: Path) -> Path:
    """Return the hub's file: sessions begin with the agent's, and a folder means the file in it."""
    if asked == AGENT_FILE:
        return DEFAULT_FILE
    return asked / DEFAULT_FILE.name if asked.is_dir() else asked


# -- click with translated help --------------------------------------------------------------------------------------


class _Translated:
    """An attribute that is set to a catalogue key and reads as its translation."""

    def __set_name__(self, _owner: type, name: str) -> None:
        self._slot = f"_{name}_key"

    def __get__(self, instance: Any, _owner: type) -> Any:
        key = getattr(instance, self._slot, None) if instance is not None else None
        return _(key) if key else key

    def __set__(self, instance: Any, value: str | None) -> None:
        setattr(instance, self._slot, value)


class _Context(click.Context):
    def make_formatter(self) -> click.HelpFormatter:
        """Measure help pages as the command line around us does."""
        return self.parent.make_formatter() if self.parent is not None else super().make_formatter()


class Option(click.Option):
    """An option with translated help and metavar."""

    help: Any = _Translated()
    metavar: Any = _Translated()


class Argument(click.Argument):
    """An argument whose metavar is translated."""

    metavar: Any = _Translated()

    def make_metavar(self, ctx: click.Context) -> str:  # noqa: ARG002 - click's interface
        """Return the metavar as it stands in the usage line."""
        shown = self.metavar or (self.name or "").upper()
        return shown if self.required else f"[{shown}]"


class Command(click.Command):
    """A command that also takes the global options of the command line it is part of."""

    context_class = _Context
    help: Any = _Translated()
    short_help: Any = _Translated()

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the help option of the command line around us: it knows -h too, and where results are written."""
        root = ctx.find_root()
        return super().get_help_option(ctx) if root is ctx else root.command.get_help_option(root)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the parts of the usage line, translated."""
        return [_(piece) for piece in super().collect_usage_pieces(ctx)]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and the global options."""
        own = super().get_params(ctx)
        root = ctx.find_root()
        if root is ctx:
            return own
        names = {"help", *(param.name for param in own)}
        return [*own, *(param for param in root.command.get_params(root) if param.name not in names)]


class Group(Command, click.Group):
    """A command with subcommands, listed in the order in which they were added."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return the names in their order."""
        return list(self.commands)


@dataclass(frozen=True, slots=True)
class Entry:
    """A subcommand that is imported only when it is used. `target` is `module:attribute`, `summary` a catalogue key."""

    name: str
    target: str
    summary: str


class LazyGroup(Group):
    """A group that knows its subcommands by name."""

    def __init__(self, name: str, entries: Sequence[Entry], **settings: Any) -> None:
        super().__init__(name, **settings)
        self._entries = {entry.name: entry for entry in entries}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return the names in their order."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        """Import a subcommand."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        module, _sep, attribute = entry.target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's interface
        """Write the subcommands without importing any."""
        with formatter.section(_("Commands")):
            formatter.write_dl([(entry.name, _(entry.summary)) for entry in self._entries.values()])


def command(name: str, text: str, **settings: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; the first line of `text`, a catalogue key, is its summary."""
    return click.command(name, cls=Command, help=text, **settings)


def group(name: str, text: str, **settings: Any) -> Callable[[Callable[..., Any]], Group]:
    """Make a function a command with subcommands."""
    return click.group(name, cls=Group, help=text, **settings)


def option(*names: str, text: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare an option; `text` and `metavar` are catalogue keys."""
    return click.option(*names, cls=Option, help=text, **settings)


def argument(name: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare an argument."""
    return click.argument(name, cls=Argument, **settings)


def operator() -> str:
    """Return who acts, for the audit chain."""
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or f"uid {os.getuid()}"
