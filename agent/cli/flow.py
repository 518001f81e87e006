"""`huitong flow`: list, pause and resume flows, and the gaps that somebody has to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import click

from agent.app.access import ask, reading
from agent.app.offline import handlers
from agent.app.overview import reason_of
from agent.cli.base import Session, argument, group, option, pass_session
from agent.cli.status import GAP_KINDS
from agent.cli.validate import load_agent_settings
from agent.cli.words import clock_text, say
from agent.errors import NotFound
from agent.i18n import N_, _
from agent.settings.agent_file import AgentFile
from agent.settings.suggest import near

if TYPE_CHECKING:
    from agent.adapters.store.reader import StoreReader

WHY = option("--why", required=True, metavar=N_("TEXT"), help=N_("reason, kept for the auditor"))
_COLUMNS: Final = (N_("flow"), N_("name"), N_("message type"), N_("state"), N_("next sequence"), N_("epoch"))
_GAPS: Final = (N_("flow"), N_("number"), N_("kind"), N_("since"), N_("closed at"), N_("text"))


@group("flow", N_("List, pause, resume, compare and backfill flows."))
def flow() -> None:
    """Group of flow commands."""


@flow.command("list", help=N_("List the configured flows and what the store knows of them."))
@pass_session
def list_flows(session: Session) -> None:
    """Show flows."""
    rows = _flows(load_agent_settings([session.config]).value)
    if session.output.json:
        session.output.data(rows, list)
        return
    cells = [
        (
            row["flow"],
            row["title"],
            row["message"],
            _state(row),
            str(row["next_sequence"]),
            row["epoch"][:8],
        )
        for row in rows
    ]
    session.output.table(_COLUMNS, cells, right=(4,))


def require_flow(settings: AgentFile, reader: StoreReader, name: str) -> None:
    """Raise NotFound when no flow has this name, neither in the configuration nor in the store."""
    known = {*settings.send, *(state.flow for state in reader.flows())}
    if name not in known:
        guesses = near(name, known)
        hint = N_("did you mean: {names}") if guesses else N_("list them: huitong flow list")
        names = _(N_(" or ")).join(guesses)
        raise NotFound(N_("there is no flow named {flow}"), hint=hint, flow=name, names=names)


def _state(row: Mapping[str, Any]) -> str:
    if row["paused"]:
        _by, why = reason_of(row["paused"])
        return _(N_("paused: {why}")).format(why=why)
    return _(N_("runs")) if row["configured"] else _(N_("draining"))


def _flows(settings: AgentFile) -> list[dict[str, Any]]:
    try:
        with reading(settings) as reader:
            states = {state.flow: state for state in reader.flows()}
    except NotFound:
        states = {}
    rows = []
    for name in dict.fromkeys((*settings.send, *states)):
        section, state = settings.send.get(name), states.get(name)
        rows.append(
            {
                "flow": name,
                "title": section.title if section else "",
                "message": section.message if section else "",
                "configured": section is not None,
                "paused": state.paused if state else "",
                "next_sequence": state.counters.next_sequence if state else 1,
                "epoch": state.epoch if state else "",
            }
        )
    return rows


@flow.command(
    "pause", help=N_("Stop capturing and sending a flow until it is resumed. Nothing is lost: the source is the buffer.")
)
@argument("name", metavar=N_("FLOW"))
@WHY
@pass_session
def pause(session: Session, name: str, why: str) -> None:
    """Pause one flow."""
    settings = load_agent_settings([session.config]).value
    ask(settings, handlers(settings), "flow.pause", flow=name, why=why)
    session.output.data({"flow": name, "paused": True}, lambda: [_(N_("{flow} is paused")).format(flow=name)])


@flow.command("resume", help=N_("Go on with a paused flow."))
@argument("name", metavar=N_("FLOW"))
@WHY
@pass_session
def resume(session: Session, name: str, why: str) -> None:
    """Resume one flow."""
    settings = load_agent_settings([session.config]).value
    ask(settings, handlers(settings), "flow.resume", flow=name, why=why)
    session.output.data({"flow": name, "paused": False}, lambda: [_(N_("{flow} goes on")).format(flow=name)])


@flow.command(
    "run-once",
    help=N_(
        "Look at the source of a flow now, without waiting for its schedule.\nWithout a running agent it captures what there is "
        "and leaves the sending to the agent."
    ),
)
@argument("name", metavar=N_("FLOW"))
@pass_session
def run_once(session: Session, name: str) -> None:
    """Tick one flow, or drain it here."""
    settings = load_agent_settings([session.config]).value
    done: Any = ask(settings, handlers(settings), "flow.run", flow=name)
    if "records" in done:
        text = N_("{flow}: captured {records} records, {unchanged} unchanged, {quarantined} put aside")
        session.output.data({"flow": name, **done}, lambda: [_(text).format(flow=name, **done)])
    else:
        session.output.data({"flow": name, "asked": True}, lambda: [_(N_("{flow} looks at its source now")).format(flow=name)])


@flow.command(
    "compare",
    help=N_(
        "Compare the source of a flow with what was captured of it, while its changes flow on.\nWhat was missed is sent, and "
        "what is gone is deleted; when too much is gone, nothing is, until somebody accepts it."
    ),
)
@argument("name", metavar=N_("FLOW"))
@option("--accept-deletes", is_flag=True, help=N_("delete whatever is gone, however much it is"))
@WHY
@pass_session
def compare(session: Session, name: str, why: str, accept_deletes: bool) -> None:
    """Begin a comparison."""
    settings = load_agent_settings([session.config]).value
    ask(settings, handlers(settings), "flow.compare", flow=name, why=why, accept_deletes=accept_deletes)
    text = N_("{flow} is being compared; the result will stand in: huitong status")
    session.output.data({"flow": name, "begun": True}, lambda: [_(text).format(flow=name)])


@flow.command(
    "backfill",
    help=N_(
        "Read part of a source again, while its changes flow on, and send what differs from what was sent last.\nWith --dry-run "
        "only the rows are counted."
    ),
)
@argument("name", metavar=N_("FLOW"))
@option("--where", "condition", default="", metavar="SQL", help=N_("rows for which this holds, in the SQL of the source"))
@option("--since", default="", metavar=N_("TIME"), help=N_("rows whose cursor has this value or a greater one"))
@option("--until", default="", metavar=N_("TIME"), help=N_("rows whose cursor has this value or a smaller one"))
@option("--from-key", "first", default="", metavar=N_("KEY"), help=N_("rows whose key has this value or a greater one"))
@option("--to-key", "last", default="", metavar=N_("KEY"), help=N_("rows whose key has this value or a smaller one"))
@option("--again", is_flag=True, help=N_("send also what is equal to what was sent last, as a new version"))
@option("--dry-run", is_flag=True, help=N_("count the rows and do nothing"))
@option("--why", default="", metavar=N_("TEXT"), help=N_("reason, kept for the auditor"))
@pass_session
def backfill(session: Session, /, name: str, why: str, dry_run: bool, **chosen: Any) -> None:
    """Begin a backfill, or count what it would read."""
    settings = load_agent_settings([session.config]).value
    if not any(value for key, value in chosen.items() if key != "again"):
        raise click.UsageError(_(N_("say which rows: --where, --since, --until, --from-key or --to-key")))
    if not why and not dry_run:
        raise click.UsageError(_(N_("say why: --why TEXT")))
    if dry_run:
        found: Any = ask(settings, handlers(settings), "flow.count", flow=name, **chosen)
        session.output.data({"flow": name, **found}, lambda: [_(N_("{flow}: {rows} rows")).format(flow=name, **found)])
        return
    ask(settings, handlers(settings), "flow.backfill", flow=name, why=why, **chosen)
    session.output.data({"flow": name, "begun": True}, lambda: [_(N_("{flow} is read again")).format(flow=name)])


@flow.command("gaps", help=N_("List what lies outside the promise: numbered gaps, with the reason."))
@option("--all", "everything", is_flag=True, help=N_("also those that were closed"))
@pass_session
def gaps(session: Session, everything: bool) -> None:
    """Show gaps."""
    settings = load_agent_settings([session.config]).value
    zone = ZoneInfo(settings.agent.timezone)
    with reading(settings) as reader:
        found = reader.gaps(closed=everything)
    if session.output.json:
        session.output.data([asdict(gap) for gap in found], list)
        return
    if not found:
        session.output.say(_(N_("There is no gap.")))
        return
    cells = [
        (
            gap.flow,
            str(gap.number),
            _(GAP_KINDS.get(gap.kind, gap.kind)),
            clock_text(gap.opened_at, zone),
            clock_text(gap.closed_at, zone),
            say(gap.text, gap.details),
        )
        for gap in found
    ]
    session.output.table(_GAPS, cells, right=(1,))


@flow.command("close-gap", help=N_("Note that a gap was dealt with, for example by a comparison with the hub."))
@argument("name", metavar=N_("FLOW"))
@argument("number", type=int, metavar=N_("NUMBER"))
@WHY
@pass_session
def close_gap(session: Session, name: str, number: int, why: str) -> None:
    """Close one gap."""
    settings = load_agent_settings([session.config]).value
    ask(settings, handlers(settings), "gap.close", flow=name, number=number, why=why)
    text = N_("gap {number} of {flow} is closed")
    session.output.data({"flow": name, "number": number, "closed": True}, lambda: [_(text).format(flow=name, number=number)])
