"""`huitong doctor`: checks one by one, each with its fix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.app.live import check_connections
from agent.cli.base import Session, command, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.validate import load_agent_settings
from agent.i18n import N_, _
from agent.model import Finding


@command("doctor", help=N_("Check keys, broker, store and every source as its flow would read it. Changes nothing."))
@pass_session
def doctor(session: Session) -> ExitCode:
    """Run all checks."""
    settings = load_agent_settings([session.config]).value
    findings = check_connections(settings)
    session.output.data(
        [{"subject": f.subject, "ok": f.ok, "warning": f.warning, "text": said(f, f.text), "hint": said(f, f.hint)} for f in findings],
        lambda: _lines(session, findings),
    )
    return ExitCode.FAILED if any(not one.ok and not one.warning for one in findings) else ExitCode.OK


def said(finding: Finding, text: str) -> str:
    """Return one text of a finding in the language of the context."""
    return _(text).format_map(dict(finding.details)) if text and finding.details else _(text)


def _lines(session: Session, findings: Sequence[Finding]) -> Iterator[str]:
    for one in findings:
        mark, color = ("√", "green") if one.ok else ("!", "yellow") if one.warning else ("×", "red")
        yield f"{session.output.paint(mark, color)} {one.subject}: {said(one, one.text)}"
        if one.hint and not one.ok:
            yield f"    → {said(one, one.hint)}"
    bad = sum(not one.ok and not one.warning for one in findings)
    doubtful = sum(not one.ok and one.warning for one in findings)
    yield _(N_("{count} checks, {bad} failed, {doubtful} warnings")).format(count=len(findings), bad=bad, doubtful=doubtful)
