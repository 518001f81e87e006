"""The top command: finding, refusing, telling, leaving."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from agent import __version__, errors
from agent.adapters.store.engine import engine_version
from agent.cli.base import Session, command, pass_session
from agent.cli.exit_codes import ExitCode, exit_code
from agent.cli.main import COMMANDS, Entry, asked_language, before_dashes, cli
from agent.errors import HuitongError
from agent.i18n import use_language
from tests.unit.cli.kit import Result, Terminal, huitong
from tests.unit.settings.kit import VALID, problems_of

MAIN = sys.modules["agent.cli.main"]  # the attribute `main` of the package is the function


@contextmanager
def extra_command(act: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the top command one more subcommand, `try-it`, that does what it is told."""

    @command("try-it", "Try it.")
    @pass_session
    def try_it(session: Session) -> object:
        if isinstance(act, BaseException):
            raise act
        return act(session) if callable(act) else act

    with monkeypatch.context() as patch:
        patch.setattr(MAIN, "COMMANDS", (*COMMANDS, Entry("try-it", "nowhere:it", "Try it.")))
        patch.setattr(MAIN, "_import", lambda _entry: try_it)
        yield


def attempt(act: object, *arguments: str, monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO | None = None) -> Result:
    with extra_command(act, monkeypatch):
        return huitong("try-it", *arguments, stdin=stdin)


# -- finding a command -----------------------------------------------------------------------------------------------


def test_version_is_told() -> None:
    """As text and as JSON."""
    assert huitong("version").stdout.splitlines()[0] == f"huitong {__version__}"
    assert huitong("version", "--json").json["huitong"] == __version__


def test_version_names_the_sqlite_that_holds_the_store() -> None:
    """Not that of the standard library, which may be another: doctor and version agree."""
    assert huitong("version", "--json").json["sqlite"] == ".".join(map(str, engine_version()))


def test_an_unreadable_configuration_is_told_by_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With our code and exit code, not as wrong usage of the command line."""
    file = tmp_path / "agent.yaml"
    file.write_text("version: 1\n")
    monkeypatch.setattr(os, "access", lambda *_args, **_more: False)  # what click asks; root may read everything
    assert "HT-C011" in huitong("status", "--config", str(file)).stderr


def test_version_needs_none_of_the_heavy_libraries() -> None:
    """The commands that people type most start without models, databases and brokers."""
    program = (
        "import sys; from agent.cli.main import main\n"
        "try: main(['--lang', 'en', 'version'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'pydantic', 'yaml', 'sqlalchemy', 'pika', 'cryptography', 'rich', 'apscheduler'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"


def test_every_command_of_the_handbook_is_listed() -> None:
    """The help names all commands, each with its summary, without importing one."""
    text = huitong("--help").stdout
    for entry in COMMANDS:
        assert entry.name in text
        assert entry.summary in " ".join(text.split())


def test_a_command_that_is_not_installed_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing module gives a sentence, as text and as JSON."""
    monkeypatch.setattr(MAIN, "COMMANDS", (Entry("gone", "agent.cli.gone:gone", "gone"), Entry("far", "no.such:far", "far")))
    assert huitong("gone").code == huitong("far").code == ExitCode.FAILED
    assert "there is no command named gone" in huitong("gone").stderr
    assert huitong("--json", "gone").error["code"] == "HT-E404"


def test_a_misspelt_command_is_answered_with_the_nearest() -> None:
    """The exit code is that of wrong usage."""
    result = huitong("validte")
    assert (result.code, result.stdout) == (ExitCode.USAGE, "")
    assert "'validate'" in result.stderr


def test_without_a_command_the_help_is_shown() -> None:
    """As talk, not as a result."""
    result = huitong()
    assert result.code == ExitCode.USAGE
    assert "Commands:" in result.stderr


@pytest.mark.parametrize(
    "arguments", [("version", "--no-such"), ("--no-such",), ("explain",), ("version", "extra"), ("schema", "other")]
)
def test_wrong_usage_is_told_with_the_way_to_help(arguments: tuple[str, ...]) -> None:
    """Exit code 2, nothing on stdout; as JSON when JSON was asked for."""
    result = huitong(*arguments)
    assert (result.code, result.stdout) == (ExitCode.USAGE, "")
    assert "--help" in result.stderr
    assert huitong("--json", *arguments).error["exit_code"] == ExitCode.USAGE


@pytest.mark.parametrize("arguments", [("--json", "version"), ("version", "--json")])
def test_global_options_work_before_and_after_the_command(arguments: tuple[str, ...]) -> None:
    """Both places mean the same."""
    assert huitong(*arguments).json


# -- leaving ---------------------------------------------------------------------------------------------------------


def every_error() -> Iterator[type[HuitongError]]:
    waiting = [HuitongError]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            if kind.__module__ == errors.__name__:
                yield kind
                waiting.append(kind)


EXIT_CODES = {
    "SettingsError": 78,
    "SecretMissing": 78,
    "Busy": 75,
    "Refused": 75,
    "Denied": 77,
    "Forbidden": 77,
    "NotConnected": 69,
    "SourceUnavailable": 69,
}


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_has_its_exit_code(kind: type[HuitongError]) -> None:
    """Configuration 78, busy 75, permission 77, remote 69, everything else 1."""
    fields = {"reason": "x"} if "reason" in kind.__init__.__annotations__ else {}
    assert exit_code(kind(**fields)) == EXIT_CODES.get(kind.__name__, 1)


@pytest.mark.parametrize("answer, code", [(None, 0), (ExitCode.PARTLY, 3), (4, 4)])
def test_a_command_returns_its_exit_code(answer: object, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing means that all is well."""
    assert attempt(lambda _session: answer, monkeypatch=monkeypatch).code == code


def test_an_error_is_told_with_cause_effect_and_action(monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback; whose turn it is, what it means for the data, what to do and where to read more."""
    error = errors.NotConnected(why="refused by 10.0.0.1:5671")
    error.__cause__ = errors.Denied(path="/etc/huitong/certs/agent.key")
    result = attempt(error, monkeypatch=monkeypatch)
    assert (result.code, result.stdout) == (69, "")
    assert result.stderr.splitlines() == [
        "HT-N001 no connection to the message broker: refused by 10.0.0.1:5671 (to act: the network)",
        " cause  no permission: /etc/huitong/certs/agent.key",
        " effect  captured data is safe in the outbox; the agent tries again by itself",
        " action  what is captured waits safely in the outbox, what was sent at the broker; check network and address",
        " details  huitong explain HT-N001",
    ]


def test_an_error_is_told_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr, in one line, with code, side and exit code."""
    result = attempt(errors.Busy(path="/var/lib/huitong"), "--json", monkeypatch=monkeypatch)
    assert (result.code, result.stdout, result.stderr.count("\n")) == (75, "", 1)
    assert result.error == {
        "code": "HT-S002",
        "text": "another Huitong process is at work on this store: /var/lib/huitong",
        "hint": "stop it, or ask it: huitong status",
        "side": "agent",
        "exit_code": 75,
        "details": {"path": "/var/lib/huitong"},
    }


def test_problems_of_the_configuration_are_shown_by_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that cannot read its configuration shows each problem with its place."""
    problems = problems_of(VALID.replace("  id:", "  idd:"))
    result = attempt(errors.SettingsError(problems=tuple(problems)), monkeypatch=monkeypatch)
    assert result.code == 78
    assert "agent.yaml:3:3: error HT-C012" in result.stderr
    assert result.stderr.splitlines()[-1] == "1 error. Nothing was changed. Exit code 78"
    as_json = attempt(errors.SettingsError(problems=tuple(problems)), "--json", monkeypatch=monkeypatch)
    assert [problem["code"] for problem in as_json.error["problems"]] == ["HT-C012"]


@pytest.mark.parametrize(
    "error, code",
    [(KeyboardInterrupt(), 130), (click.Abort(), 130), (PermissionError(13, "no", "/x"), 77), (click.exceptions.Exit(3), 3)],
)
def test_interruptions_and_refusals_of_the_system_have_their_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is 130; a file that may not be read is 77."""
    assert attempt(error, monkeypatch=monkeypatch).code == code


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that is none of ours goes up with its traceback."""
    with pytest.raises(ZeroDivisionError):
        attempt(ZeroDivisionError(), monkeypatch=monkeypatch)


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """`huitong … | head -1` ends quietly with 0."""
    program = "import sys; from agent.cli.main import main; main(['--lang', 'en', 'explain', 'HT-C012'])"
    with subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


# -- talking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer, agreed", [("y\n", True), ("YES\n", True), ("是\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_a_question_is_asked_at_a_terminal(answer: str, agreed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a clear yes counts."""
    result = attempt(lambda session: int(session.output.confirm("Really?")), monkeypatch=monkeypatch, stdin=Terminal(answer))
    assert result.code == int(agreed)
    assert "Really?" in result.stderr


def test_a_question_without_a_terminal_needs_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script is told to say --yes, and with it nothing is asked."""
    refused = attempt(lambda session: int(session.output.confirm("Really?")), monkeypatch=monkeypatch)
    assert (refused.code, "--yes" in refused.stderr) == (1, True)
    agreed = attempt(lambda session: 5 if session.output.confirm("Really?") else 6, "--yes", monkeypatch=monkeypatch)
    assert (agreed.code, agreed.stderr) == (5, "")


@pytest.mark.parametrize(
    "arguments, language",
    [
        (["--lang", "zh", "x"], "zh"),
        (["x", "--lang=en"], "en"),
        (["--lang", "fr"], None),
        (["--lang"], None),
        (["x", "--", "--lang", "zh"], None),
        ([], None),
    ],
)
def test_the_language_is_known_before_the_arguments_are_read(arguments: list[str], language: str | None) -> None:
    """`--lang` anywhere before `--` counts, in both spellings."""
    assert asked_language(arguments) == language
    assert before_dashes(["a", "--", "b"]) == ["a"]


def test_the_top_command_is_the_entry_point() -> None:
    """`agent.cli:main` of the package is callable, whatever was imported before."""
    from agent.cli import main

    assert callable(main)
    assert cli.name == "huitong"


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Texts are compared in English."""
    use_language("en")
    yield
    use_language("en")
