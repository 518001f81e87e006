"""`huitong preview`: real records, mapped and shown; nothing is sent, nothing moves."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from agent.cli.base import Session, argument, command, option, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.formatting import table
from agent.cli.validate import load_agent_settings
from agent.cli.words import say, text_of
from agent.i18n import N_, _
from agent.standards.judgement import Severity

if TYPE_CHECKING:
    from agent.app.preview import Preview
    from agent.mapping.explain import Explained


@command(
    "preview",
    help=N_(
        "Read real records of a flow, map and show them.\nSends nothing, moves nothing; personal data is masked. Exit code 3 "
        "when one of them would be put aside."
    ),
)
@argument("flow", metavar=N_("FLOW"))
@option(
    "-n", "count", type=click.IntRange(1, 100), default=3, show_default=True, metavar=N_("NUMBER"), help=N_("how many records")
)
@pass_session
def preview(session: Session, flow: str, count: int) -> ExitCode:
    """Show some rows."""
    from agent.adapters.logs import silence_libraries  # noqa: PLC0415 - as below
    from agent.app.preview import preview as look  # noqa: PLC0415 - connectors and maps; help pages do without

    silence_libraries()
    settings = load_agent_settings([session.config]).value
    found = look(settings, os.environ, flow, count)
    session.output.data(_as_json(found), lambda: _lines(session, found))
    bad = any(_failed(row) for row in found.rows) or bool(found.batch.unreadable)
    return ExitCode.PARTLY if bad else ExitCode.OK


def _failed(row: Sequence[Explained]) -> bool:
    return any(field.severity is Severity.ERROR for field in row)


def _as_json(found: Preview) -> dict[str, object]:
    return {
        "flow": found.plan.flow,
        "message": found.plan.section.message,
        "mode": found.mode.details["mode"] if found.mode is not None else "",
        "records": [
            [
                {
                    "target": field.target,
                    "value": field.value,
                    "column": field.column,
                    "source": field.source,
                    "verdict": str(field.severity),
                    "error": field.error.localised()[0] if field.error else "",
                }
                for field in row
            ]
            for row in found.rows
        ],
        "unreadable": [
            {"place": one.token, "reason": one.reason, "text": say(one.text, one.details)} for one in found.batch.unreadable
        ],
    }


def _lines(session: Session, found: Preview) -> Iterator[str]:
    for row in found.rows:
        verdict = _(N_("put aside")) if _failed(row) else _(N_("passes"))
        yield f"{found.plan.section.message}  {session.output.paint(verdict, 'red' if _failed(row) else 'green')}"
        cells = [
            (
                f"  {field.target}",
                _value(field.value),
                f"← {field.column}" if field.column else "",
                _value(field.source),
                _said(field),
            )
            for field in row
        ]
        yield from table(("", "", "", "", ""), cells)
    for one in found.batch.unreadable:
        yield f"{one.token}  {one.reason}: {say(one.text, one.details)}"
    if not found.rows and not found.batch.unreadable:
        yield _(N_("The source has nothing to read now."))
    if found.mode is not None:
        yield text_of(found.mode)
    yield _(N_("Nothing was sent, nothing was moved."))


def _value(value: str | None) -> str:
    return "NULL" if value is None else value


def _said(field: Explained) -> str:
    return f"! {field.error.localised()[0]}" if field.error else ""
