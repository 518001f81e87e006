"""Every help page, of every command, in both languages: nothing is left in English where Chinese was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from agent.cli.main import COMMANDS, cli
from agent.i18n import _, use_language
from tests.unit.cli.kit import huitong

NO_WORDS = re.compile(
    r"[^A-Za-z]*|[A-Z]{2,5}|[a-z_|]+\|[a-z_|]+|EdDSA\|ES256|agent\|hub\|message-type|[\w.*@/:\[\]-]*[/@.][\w.*@/:\[\]-]*"
)
"""Metavars and defaults that are no words: abbreviations, lists of values, names of files and types."""


def every_command() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield each command with the words that call it, groups included, from the top down."""
    context = click.Context(cli)

    def walk(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        yield words, command
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield from walk((*words, name), found)

    yield from walk((), cli)


ALL = list(every_command())
COMMAND = pytest.mark.parametrize("words, command", ALL, ids=[" ".join(words) or "huitong" for words, _command in ALL])


def keys_of(command: click.Command) -> Iterator[str]:
    """Yield every catalogue key that the help page of a command shows."""
    for slot in ("_help_key", "_short_help_key", "_epilog_key"):
        yield getattr(command, slot, None) or ""
    for parameter in command.params:
        yield getattr(parameter, "_help_key", None) or ""
        yield getattr(parameter, "_metavar_key", None) or ""


def test_every_command_of_the_product_is_walked() -> None:
    """The walk reaches the subcommands, the hub's included."""
    words = {words for words, _command in ALL}
    assert {(entry.name,) for entry in COMMANDS} <= words
    assert {("message", "trace"), ("dead", "retry"), ("flow", "close-gap"), ("hub", "admit"), ("keys", "remove")} <= words
    assert len(words) > 50


@COMMAND
@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_help_page_is_shown(words: tuple[str, ...], command: click.Command, language: str) -> None:
    """Exit code 0, a usage line, a description, and no field left unfilled."""
    result = huitong(*words, "--help", language=language)
    assert (result.code, result.stderr) == (0, "")
    assert {"zh": "用法", "en": "Usage"}[language] in result.stdout
    assert "{" not in result.stdout
    assert command.help


@COMMAND
def test_a_help_page_has_no_english_left(words: tuple[str, ...], command: click.Command) -> None:
    """Every text of ours on it has a Chinese of its own."""
    use_language("zh")
    untranslated = [key for key in keys_of(command) if key and _(key) == key and not NO_WORDS.fullmatch(key)]
    assert untranslated == [], " ".join(words)


@COMMAND
def test_a_help_page_describes_every_option(words: tuple[str, ...], command: click.Command) -> None:
    """No option stands there without a word, and no default metavar of click's shows a Python type."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, (words, parameter.name)
    page = huitong(*words, "--help", language="en").stdout
    assert re.search(r"\b(FLOAT|INTEGER|DATETIME)\b", page) is None
