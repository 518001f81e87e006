"""`huitong run` and `huitong run-once`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from agent.app.agent import Agent, composed
from agent.app.once import Once
from agent.cli.base import Session, command, option, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.validate import load_agent_settings
from agent.i18n import N_, _
from agent.testing.arming import arm_as_asked


@command("run", help=N_("Run the agent until it is told to stop. Logs go to standard error, one JSON line each."))
@pass_session
def run(session: Session) -> None:
    """Run; SIGTERM and SIGINT drain what is on its way and end with 0."""
    settings = load_agent_settings([session.config]).value
    arm_as_asked(os.environ)
    with composed(settings, os.environ) as agent, _stopped_by_signals(agent):
        agent.run()


@command(
    "run-once",
    help=N_("Capture what is there, send it, wait for the receipts, then end. Exit code 3 when something is still without one."),
)
@option("--within", default=600.0, show_default=True, metavar=N_("SECONDS"), help=N_("how long to wait at most"))
@pass_session
def run_once(session: Session, within: float) -> ExitCode:
    """Run until everything that is there has its receipt."""
    settings = load_agent_settings([session.config]).value
    with composed(settings, os.environ, capturing=False) as agent, _stopped_by_signals(agent):
        once = Once(agent, within)
        once.run()
    for error in once.errors.values():
        session.output.error(error)
    session.output.data(
        {"without_receipt": once.left, "failed": sorted(once.errors)},
        lambda: [_(N_("{count} messages are still without a receipt")).format(count=once.left)],
    )
    return ExitCode.PARTLY if once.left or once.errors else ExitCode.OK


@contextmanager
def _stopped_by_signals(agent: Agent) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        agent.supervisor.request_stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
