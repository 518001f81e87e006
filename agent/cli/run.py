"""`huitong run` and `huitong run-once`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from agent.cli.base import Session, command, option, pass_session
from agent.cli.exit_codes import ExitCode, exit_code
from agent.cli.validate import load_agent_settings
from agent.i18n import N_, _
from agent.testing.arming import arm_as_asked

if TYPE_CHECKING:
    from agent.app.agent import Agent
    from agent.app.once import Once


@command(
    "run",
    help=N_(
        "Run the agent until it is told to stop.\nLogs go to standard error, one JSON line each. SIGTERM and Ctrl-C let what is "
        "on its way come home, then end with 0."
    ),
)
@pass_session
def run(session: Session) -> None:
    """Run; SIGTERM and SIGINT drain what is on its way and end with 0."""
    from agent.adapters.interpreter import tune  # noqa: PLC0415 - as below
    from agent.app.agent import composed, observe  # noqa: PLC0415 - the whole agent; help pages do without

    settings = load_agent_settings([session.config]).value
    arm_as_asked(os.environ)
    observers = observe(sys.stderr.buffer, settings.agent.log_level)
    with composed(settings, os.environ, observers) as agent, _stopped_by_signals(agent.supervisor.request_stop):
        tune()
        agent.run()


@command(
    "run-once",
    help=N_(
        "Capture what is there, send it, wait for the receipts, then end.\nExit code 3 when something is still without a "
        "receipt or a flow could not be read; 69 when the message broker could not be reached at all."
    ),
)
@option(
    "--within",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    metavar=N_("SECONDS"),
    help=N_("how long to wait for receipts, at most"),
)
@pass_session
def run_once(session: Session, within: float) -> ExitCode:
    """Run until everything that is there has its receipt."""
    from agent.app.agent import composed, observe  # noqa: PLC0415 - as above
    from agent.app.once import Once  # noqa: PLC0415 - as above

    settings = load_agent_settings([session.config]).value
    once = Once(within)
    observers = observe(sys.stderr.buffer, "error", once)
    with (
        composed(settings, os.environ, observers, capturing=False) as agent,
        _stopped_by_signals(lambda: _give_up(agent, once)),
    ):
        once.run(agent)
    for error in once.errors.values():
        session.output.error(error)
    session.output.data(
        {
            "records": once.records,
            "quarantined": once.quarantined,
            "without_receipt": once.left,
            "failed": sorted(once.errors),
        },
        lambda: _lines(once),
    )
    return _code(once, connected=observers.witness.links()["publish"] is None, flows=len(agent.captures))


def _lines(once: Once) -> Iterator[str]:
    yield _(N_("captured {records} records, {quarantined} put aside")).format(records=once.records, quarantined=once.quarantined)
    yield _(N_("messages still without a receipt: {count}")).format(count=once.left)


def _code(once: Once, *, connected: bool, flows: int) -> ExitCode:
    if once.left and not connected:
        return ExitCode.UNAVAILABLE
    if once.errors and len(once.errors) == flows:
        return exit_code(next(iter(once.errors.values())))
    return ExitCode.PARTLY if once.left or once.errors else ExitCode.OK


def _give_up(agent: Agent, once: Once) -> None:
    once.stop()
    agent.supervisor.request_stop()


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
