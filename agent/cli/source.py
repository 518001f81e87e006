"""`huitong source`: what a source database needs so that a flow can be captured exactly."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from agent.cli.base import Session, argument, group, option, pass_session
from agent.cli.validate import load_agent_settings
from agent.errors import NotFound
from agent.i18n import N_, _


@group("source", N_("Prepare source databases."))
def source() -> None:
    """Group of source commands."""


@source.command(
    "ddl",
    help=N_(
        "Print the statements that a DBA runs so that a flow sees every change: a change log with its triggers, or a replication "
        "slot.\nRuns nothing and changes nothing. With --drop those that take it away again."
    ),
)
@argument("name", metavar=N_("FLOW"))
@option("--drop", is_flag=True, help=N_("the statements that take it away again"))
@option("--account", default="", metavar=N_("NAME"), help=N_("who reads; by default the account of the connection"))
@pass_session
def ddl(session: Session, name: str, account: str, drop: bool) -> None:
    """Print statements."""
    from agent.adapters.clock import SystemClock  # noqa: PLC0415 - drivers; help pages do without
    from agent.app.flows import Surroundings, installation_of, plan_flows  # noqa: PLC0415
    from agent.app.places import secrets_of  # noqa: PLC0415
    from agent.events import Events  # noqa: PLC0415

    settings = load_agent_settings([session.config]).value
    plan = plan_flows(settings).get(name)
    if plan is None:
        raise NotFound(N_("there is no flow named {flow}"), hint=N_("list them: huitong flow list"), flow=name)
    around = Surroundings(settings, SystemClock(), Events(), secrets_of(settings, os.environ))
    found: Any = installation_of(plan, around, account)
    statements = found.drop if drop else found.create
    session.output.data(
        {"flow": name, "mode": found.mode, "statements": list(statements)}, lambda: _lines(name, found.mode, statements)
    )


def _lines(flow: str, mode: str, statements: Sequence[str]) -> Iterator[str]:
    one = N_(
        "-- flow {flow}, mode {mode}: read it, then let an owner of the table run it in one session (transaction, where possible)"
    )
    each = N_("-- flow {flow}, mode {mode}: read it, then let an owner of the table run it, statement by statement")
    yield _(each if mode == "slot" else one).format(flow=flow, mode=mode)
    for statement in statements:
        yield f"{statement};"
