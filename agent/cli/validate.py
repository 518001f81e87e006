"""`huitong validate`, and the one way in which every command reads agent.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from agent import app
from agent.cli.base import Session, argument, command, option, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.words import subject_of
from agent.errors import SettingsError
from agent.i18n import N_, _
from agent.mapping.suggest import suggest
from agent.model import Finding
from agent.settings.agent_file import AgentFile
from agent.settings.base import Misfit, section, texts
from agent.settings.codes import Note
from agent.settings.compose import agent_settings_model
from agent.settings.files import configuration_files
from agent.settings.fix import FixedFile, apply_fixes
from agent.settings.load import Loaded, load
from agent.settings.map_fields import places_of
from agent.settings.message_types import check_messages
from agent.settings.problems import Problem, render, tally
from connectors import BUILTIN


def load_agent_settings(paths: Sequence[Path]) -> Loaded[AgentFile]:
    """Read one configuration: agent.yaml (or its folder) with its conf.d. `validate`, `run` and all others come through here.

    Raises SettingsError with every problem of the run.
    """
    files = dict.fromkeys(file for path in paths for file in configuration_files(path))
    return load(list(files), agent_settings_model(BUILTIN), checks=[check_messages])


_OF_THIS_NODE: Final = {"secrets", "keys", "trust"}
"""Subjects of live checks that no remote side can put right."""


@dataclass(slots=True)
class Report:
    """What came out of checking some configurations."""

    files: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    loaded: list[Loaded[AgentFile]] = field(default_factory=list)
    fixed: list[FixedFile] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, files: Sequence[Path]) -> None:
        """Check one configuration."""
        self.files += files
        try:
            loaded = load_agent_settings(files[:1])
        except SettingsError as error:
            self.problems += [problem for problem in error.problems if isinstance(problem, Problem)]
        else:
            self.loaded.append(loaded)
            self.problems += loaded.warnings

    def connect(self) -> None:
        """Try what the configurations name. A column that the source does not have is a mistake with a place in a file."""
        for loaded in self.loaded:
            for finding in app.check_connections(loaded.value):
                misplaced = [] if finding.ok else list(_unknown_columns(loaded, finding))
                self.problems += misplaced
                self.findings += [] if misplaced else [finding]

    def code(self, strict: bool) -> ExitCode:
        """Return the exit code: configuration first, then what could not be reached."""
        if any(strict or problem.level == "error" for problem in self.problems):
            return ExitCode.CONFIGURATION
        unwell = {finding.subject for finding in self.findings if not finding.ok and (strict or not finding.warning)}
        if unwell & _OF_THIS_NODE:
            return ExitCode.CONFIGURATION
        return ExitCode.UNAVAILABLE if unwell else ExitCode.OK


@command(
    "validate",
    N_(
        "Check the configuration; change nothing.\nPATH is agent.yaml, its folder or a file of its conf.d; the check reads "
        "exactly what the service would read and shows every problem at once."
    ),
)
@argument("paths", nargs=-1, type=click.Path(path_type=Path, readable=False), metavar=N_("PATH"))
@option("--connect", is_flag=True, help=N_("also try every connection, read-only"))
@option("--strict", is_flag=True, help=N_("take warnings as errors"))
@option("--fix", is_flag=True, help=N_("correct unmistakable slips; the old file is kept as .bak"))
@option("--format", "form", type=click.Choice(["text", "json"]), metavar="text|json", help=N_("form of the result"))
@pass_session
def validate(session: Session, paths: tuple[Path, ...], connect: bool, strict: bool, fix: bool, form: str | None) -> ExitCode:
    """Check the configurations, and report."""
    output = session.output
    output.json = output.json or form == "json"
    configurations = list(dict.fromkeys(configuration_files(path) for path in paths or (session.config,)))
    report = _check(configurations)
    if fix and any(problem.fix for problem in report.problems):
        fixed = apply_fixes(report.problems)
        report = _check(configurations)
        report.fixed = fixed
    if connect and report.code(strict) is ExitCode.OK:
        report.connect()
    code = report.code(strict)
    output.data(_as_json(report, code), lambda: _as_text(report, code, session))
    return code


def _check(configurations: Sequence[Sequence[Path]]) -> Report:
    report = Report()
    for files in configurations:
        report.add(files)
    return report


def _unknown_columns(loaded: Loaded[AgentFile], finding: Finding) -> Iterator[Problem]:
    """Yield a problem for each place that names a column which a source turned out not to have."""
    flow = section(section(loaded.layout.data.get("send")).get(finding.subject))
    columns = texts(finding.details.get("columns"))
    for column in texts(finding.details.get("lacking")):
        suggestion, hint = suggest(column, columns)
        hints = (Note(hint, {"suggestion": suggestion, "columns": ", ".join(columns)}),)
        for place in places_of(flow, column):
            yield loaded.problem(Misfit("HT-M004", at=("send", finding.subject, *place), hints=hints, details={"name": column}))


def _as_json(report: Report, code: ExitCode) -> dict[str, object]:
    return {
        "valid": code is ExitCode.OK,
        "files": [str(path) for path in report.files],
        "problems": [problem.as_json() for problem in report.problems],
        "fixed": [
            {
                "path": str(fixed.path),
                "backup": str(fixed.backup),
                "changes": [{"line": line, "old": old, "new": new} for line, old, new in fixed.changes],
            }
            for fixed in report.fixed
        ],
        "connections": [
            {
                "subject": one.subject,
                "ok": one.ok,
                "warning": one.warning,
                "text": _said(one.text, one),
                "hint": _said(one.hint, one),
            }
            for one in report.findings
        ],
        "exit_code": int(code),
    }


def _said(text: str, finding: Finding) -> str:
    return _(text).format_map(finding.details) if finding.details else _(text)


def _as_text(report: Report, code: ExitCode, session: Session) -> Iterator[str]:
    for fixed in report.fixed:
        yield _(N_("corrected {path}; the old file is {backup}")).format(path=fixed.path, backup=fixed.backup)
        for line, old, new in fixed.changes:
            yield _(N_("  line {line}: {old} → {new}")).format(line=line, old=old, new=new)
    for problem in report.problems:
        yield f"{render(problem)}\n"
    for finding in report.findings:
        yield _finding_line(finding, session)
    wrong = {problem.path for problem in report.problems if problem.level == "error"}
    for loaded in report.loaded:
        if not wrong.isdisjoint(map(str, loaded.files)):
            continue
        yield session.output.paint("√ ", "green") + _(N_("{path}: flows: {flows}, connections: {connections}")).format(
            path=", ".join(map(str, loaded.files)), flows=len(loaded.value.send), connections=len(loaded.value.connections)
        )
    if report.problems:
        text = N_("{tally}. Exit code {code}") if report.fixed else N_("{tally}. Nothing was changed. Exit code {code}")
        yield _(text).format(tally=tally(report.problems), code=int(code))


def _finding_line(finding: Finding, session: Session) -> str:
    mark, color = ("√", "green") if finding.ok else ("!", "yellow") if finding.warning else ("×", "red")
    hint = f"\n    → {_said(finding.hint, finding)}" if finding.hint and not finding.ok else ""
    return f"{session.output.paint(mark, color)} {subject_of(finding)}: {_said(finding.text, finding)}{hint}"
