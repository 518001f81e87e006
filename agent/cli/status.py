"""`huitong status`: health on one screen, root causes at its foot."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Final

import click

from agent.adapters.clock import SystemClock
from agent.app.access import ask_running, open_reader
from agent.app.overview import Overview, gather
from agent.app.parts import store_path
from agent.cli.base import Session, command, option, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.formatting import table
from agent.cli.validate import load_agent_settings
from agent.i18n import N_, _
from agent.queries import Cause
from agent.settings.agent_file import AgentFile

_STATES: Final = {
    "running": N_("running"),
    "loading": N_("first load"),
    "paused": N_("paused"),
    "stopped": N_("stopped"),
    "removed": N_("draining"),
}
_COLUMNS: Final = (
    N_("flow"), N_("state"), N_("read today"), N_("receipted today"), N_("no receipt yet"), N_("to look at"), N_("oldest unsettled"),
)  # fmt: skip
_WATCH_SECS: Final = 2.0


@command("status", help=N_("Health on one screen. Exit code 1 when something needs a person."))
@option("--watch", is_flag=True, help=N_("show again every two seconds"))
@option("--quiet", is_flag=True, help=N_("show nothing, only the exit code: whether the agent runs and makes progress"))
@pass_session
def status(session: Session, watch: bool, quiet: bool) -> ExitCode:
    """Show the overview."""
    settings = load_agent_settings([session.config]).value
    if quiet:
        live = ask_running(settings, "live")
        stuck = live.get("stuck") if isinstance(live, dict) else True
        return ExitCode.FAILED if stuck else ExitCode.OK
    overview = _look(settings)
    while watch:
        click.clear()
        _show(session, overview)
        if threading.Event().wait(_WATCH_SECS):
            break
        overview = _look(settings)
    else:
        _show(session, overview)
    return ExitCode.OK if overview.healthy else ExitCode.FAILED


def _look(settings: AgentFile) -> Overview:
    live = ask_running(settings, "live")
    with ExitStack() as stack:
        reader = stack.enter_context(open_reader(settings)) if store_path(settings).exists() else None
        return gather(settings, reader, live if isinstance(live, dict) else None, SystemClock().now())


def _show(session: Session, overview: Overview) -> None:
    session.output.data({**asdict(overview), "healthy": overview.healthy}, lambda: _lines(session, overview))


def _lines(session: Session, overview: Overview) -> Iterator[str]:
    yield "  ".join(part for part in (overview.title, overview.agent, f"v{overview.version}") if part)
    yield _chain(session, overview)
    rows = [
        (
            line.title or line.flow,
            _(_STATES[line.state]),
            f"{line.captured_today:,}",
            f"{line.stored_today:,}",
            f"{line.waiting:,}",
            f"{line.dead:,}",
            "–" if line.oldest_waiting_secs is None else span(line.oldest_waiting_secs),
        )
        for line in overview.flows
    ]
    yield from table([_(column) for column in _COLUMNS], rows, right=range(2, len(_COLUMNS)))
    todo = list(_todo(overview))
    if todo:
        yield _(N_("To look at ({count})")).format(count=len(todo))
        yield from (session.output.paint(" ! ", "yellow") + text for text in todo)


def _chain(session: Session, overview: Overview) -> str:
    if not overview.running:
        return session.output.paint(_(N_("The agent is not running.")), "red")
    waiting = sum(line.waiting for line in overview.flows)
    well, ill = session.output.paint(_(N_("well")), "green"), session.output.paint(_(N_("down")), "red")
    broker = all(overview.connections.get(role, False) for role in ("publish", "consume"))
    sources = all(up for name, up in overview.connections.items() if name not in ("publish", "consume"))
    last = overview.last_receipt_secs
    receipt = _(N_("none yet")) if last is None else _(N_("{span} ago")).format(span=span(last))
    return " → ".join(
        (
            _(N_("sources {state}")).format(state=well if sources else ill),
            _(N_("outbox {count}")).format(count=f"{waiting:,}"),
            _(N_("queue {state}")).format(state=well if broker else ill),
            _(N_("hub, last receipt {when}")).format(when=receipt),
        )
    )


def _todo(overview: Overview) -> Iterator[str]:
    for alarm in overview.alarms:
        yield alarm
    for line in overview.flows:
        if line.state == "paused":
            yield _(N_("{flow} is paused: {why}  → huitong flow resume {id}")).format(
                flow=line.title or line.flow, why=line.why, id=line.flow
            )
    for cause in overview.causes:
        yield describe_cause(cause)
    if overview.gaps:
        yield _(N_("{count} gaps are open  → huitong flow gaps")).format(count=overview.gaps)


def describe_cause(cause: Cause) -> str:
    """Say one group of dead letters and the command that shows it."""
    what = ": ".join(part for part in (cause.field, cause.code) if part)
    text = N_("{flow} has {count} put aside: {what}  → huitong dead list --flow {flow}")
    return _(text).format(flow=cause.flow, count=cause.count, what=what)


def span(secs: float) -> str:
    """Return a length of time as people say it, in its largest fitting unit."""
    for size, unit in ((86_400, N_("{n} d")), (3600, N_("{n} h")), (60, N_("{n} min"))):
        if secs >= size:
            return _(unit).format(n=int(secs // size))
    return _(N_("{n} s")).format(n=max(0, int(secs)))
