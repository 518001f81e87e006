"""`huitong doctor`: checks one by one, each with its fix."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from agent.cli.base import Session, command, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.validate import load_agent_settings
from agent.cli.words import hint_of, subject_of, text_of
from agent.i18n import N_, _
from agent.model import Finding


@command(
    "doctor",
    help=N_(
        "Check store, disk, clock, keys, secrets, broker and every source as its flow would read it.\nChanges nothing. Each "
        "finding comes with its fix; exit code 1 when one of them is in the way."
    ),
)
@pass_session
def doctor(session: Session) -> ExitCode:
    """Run all checks."""
    from agent.adapters.logs import silence_libraries  # noqa: PLC0415 - as below
    from agent.app.checks import check_all  # noqa: PLC0415 - drivers and the broker client; help pages do without

    silence_libraries()
    settings = load_agent_settings([session.config]).value
    findings = check_all(settings, os.environ)
    session.output.data([_as_json(one) for one in findings], lambda: _lines(session, findings))
    return ExitCode.FAILED if any(not one.ok and not one.warning for one in findings) else ExitCode.OK


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "subject": finding.subject,
        "of": str(finding.details.get("of", "")),
        "ok": finding.ok,
        "warning": finding.warning and not finding.ok,
        "text": text_of(finding),
        "hint": "" if finding.ok else hint_of(finding),
    }


def _lines(session: Session, findings: Sequence[Finding]) -> Iterator[str]:
    for one in findings:
        mark, color = ("√", "green") if one.ok else ("!", "yellow") if one.warning else ("×", "red")
        yield f"{session.output.paint(mark, color)} {subject_of(one)}: {text_of(one)}"
        if one.hint and not one.ok:
            yield f"    → {hint_of(one)}"
    bad = sum(not one.ok and not one.warning for one in findings)
    doubtful = sum(not one.ok and one.warning for one in findings)
    yield _(N_("checks: {count}, failed: {bad}, warnings: {doubtful}")).format(count=len(findings), bad=bad, doubtful=doubtful)
