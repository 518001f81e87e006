"""`huitong restore`: go on after the store was put back from a copy, or after a fork."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from agent.app.access import this_user
from agent.cli.base import Session, command, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.flow import WHY
from agent.cli.validate import load_agent_settings
from agent.errors import Busy
from agent.i18n import N_, _
from agent.queries import Operator

if TYPE_CHECKING:
    from agent.model import Gap
    from agent.services.restore import Restored
    from agent.settings.agent_file import AgentFile


@command(
    "restore",
    help=N_(
        "Go on after the store was put back from a copy, or after the hub reported a fork.\nThe agent must be stopped. Every "
        "flow begins a new epoch and gets a numbered gap; messages without a receipt are put in line again with the same record "
        "ids, and frozen flows go on. Repeat the command if it was interrupted: it continues."
    ),
)
@WHY
@pass_session
def restore(session: Session, why: str) -> ExitCode:
    """Begin a new epoch, or finish the one that was begun."""
    settings = load_agent_settings([session.config]).value
    question = _(N_("Is it certain that no other agent runs with the identity {agent}, here or elsewhere?"))
    if not session.output.confirm(question.format(agent=settings.agent.id)):
        return ExitCode.FAILED
    done, continued, gaps = _restore(settings, Operator(this_user().name, why))
    value = {
        "continued": continued,
        "flows": [asdict(one) for one in done],
        "gaps": [{"flow": gap.flow, "number": gap.number, "kind": gap.kind} for gap in gaps],
    }
    session.output.data(value, lambda: _lines(done, gaps, continued=continued))
    return ExitCode.OK


def _restore(settings: AgentFile, by: Operator) -> tuple[Sequence[Restored], bool, Sequence[Gap]]:
    from agent.app.composer import Composer  # noqa: PLC0415 - the parts of an agent; help pages do without
    from agent.app.places import open_store  # noqa: PLC0415 - as above
    from agent.events import Events  # noqa: PLC0415 - as above

    try:
        store = open_store(settings, Events())
    except Busy as error:
        raise Busy(
            error.text, hint=N_("stop the agent first: systemctl stop huitong-agent"), **{"path": "", **error.details}
        ) from error
    try:
        parts = Composer(settings, os.environ, Events(), store)
        try:
            work = parts.restore()
            continued = work.unfinished() is not None
            done = work.run(by)
            return done, continued, [gap for gap in parts.reader.gaps() if gap.kind == "store_restored"]
        finally:
            parts.reader.close()
    finally:
        store.close()


def _lines(done: Sequence[Restored], gaps: Sequence[Gap], *, continued: bool) -> Iterator[str]:
    if continued:
        yield _(N_("The restore that was interrupted is finished."))
    numbers = {gap.flow: gap.number for gap in gaps}
    for one in done:
        text = N_("{flow}: new epoch {epoch}; {messages} messages with {records} records are in line again; gap {number}")
        yield _(text).format(
            flow=one.flow, epoch=one.epoch[:8], messages=one.messages, records=one.records, number=numbers.get(one.flow, "–")
        )
        if one.thawed:
            yield _(N_("  it was frozen and goes on")).format(flow=one.flow)
    if not done and not continued:
        yield _(N_("The store knows no flow yet; there is nothing to restore."))
        return
    yield _(N_("Next:"))
    yield _(N_("  1. start the agent; what was captured after the copy was made is read from the sources again"))
    yield _(N_("  2. when nothing waits any more (huitong status), compare each flow with the hub"))
    yield _(N_("  3. then close its gap: huitong flow close-gap FLOW NUMBER --why TEXT"))
