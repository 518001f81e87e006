"""`huitong hub types`."""

from __future__ import annotations

from agent.i18n import N_, _
from hub.app import types_of
from hub.cli.base import HubSession, group, pass_session


@group("types", N_("Message types."))
def types() -> None:
    """Group of commands about message types."""


@types.command("list", help=N_("List the message types this hub takes."))
@pass_session
def list_types(session: HubSession) -> int:
    """Show types."""
    known = list(types_of(session.settings()))
    if session.output.json:
        rows = [
            {"name": one.name, "title": one.title, "fields": one.fields, "dataschema": one.dataschema, "checked": bool(one.rules)}
            for one in known
        ]
        session.output.data(rows, list)
        return 0
    columns = (N_("type"), N_("title"), N_("fields"), N_("checked here"), N_("schema"))
    rows_text = [(one.name, one.title, str(one.fields), _(N_("yes")) if one.rules else "–", one.dataschema) for one in known]
    session.output.table(columns, rows_text, right=(2,))
    return 0
