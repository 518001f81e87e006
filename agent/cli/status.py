"""`huitong status`: health on one screen, root causes at its foot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from agent.adapters.clock import SystemClock
from agent.app.access import GLANCE_SECS, ask_running, reading
from agent.app.overview import FlowLine, Overview, Todo, gather
from agent.app.places import store_path
from agent.cli.base import Session, command, option, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.formatting import table
from agent.cli.validate import load_agent_settings
from agent.cli.words import explain, hint_of, reason_hint, reason_text, span, text_of
from agent.errors import Busy, Denied
from agent.i18n import N_, _
from agent.settings.agent_file import AgentFile

_STATES: Final = {
    "running": N_("running"),
    "loading": N_("first load"),
    "waiting": N_("source down"),
    "paused": N_("paused"),
    "stopped": N_("stopped"),
    "removed": N_("draining"),
}
_COLUMNS: Final = (
    N_("flow"),
    N_("state"),
    N_("read today"),
    N_("receipted today"),
    N_("no receipt yet"),
    N_("to look at"),
    N_("oldest unsettled"),
)
_WATCH_SECS: Final = 2.0
_CLEAR: Final = "\x1b[H\x1b[2J"


@command(
    "status",
    help=N_(
        "Health on one screen. Exit code 1 when something needs a person.\nAsks the running agent; with none running it reads "
        "the store. --quiet asks only whether the agent runs and makes progress, as a health check does."
    ),
)
@option("--watch", is_flag=True, help=N_("show again every two seconds, until Ctrl-C"))
@option("--quiet", is_flag=True, help=N_("show nothing, only the exit code: whether the agent runs and makes progress"))
@pass_session
def status(session: Session, watch: bool, quiet: bool) -> ExitCode:
    """Show the overview."""
    settings = load_agent_settings([session.config]).value
    if quiet:
        return ExitCode.OK if _is_alive(settings) else ExitCode.FAILED
    return _watch(session, lambda: _look(settings)) if watch else _show(session, _look(settings))


def _is_alive(settings: AgentFile) -> bool:
    try:
        overview = _ask(settings)
    except (Busy, Denied):
        return False
    return overview is not None and not any(one.kind == "stuck" for one in overview.todo)


def _ask(settings: AgentFile) -> Overview | None:
    """Return what the running agent says, None when none runs. Raises Busy when it does not answer."""
    told = ask_running(settings, "overview", within_secs=GLANCE_SECS)
    return None if told is None else msgspec.convert(told, Overview)


def _look(settings: AgentFile) -> Overview:
    """Ask the agent; without an answer read the store."""
    answering = True
    try:
        overview = _ask(settings)
        if overview is not None:
            return overview
    except Busy:
        answering = False
    now = SystemClock().now()
    if not store_path(settings).exists():
        return gather(settings, None, None, now, answering=answering)
    with reading(settings) as reader:
        return gather(settings, reader, None, now, answering=answering)


def _watch(session: Session, look: Callable[[], Overview]) -> ExitCode:
    pause = threading.Event()
    code = ExitCode.OK
    try:
        while True:
            overview = look()
            if session.output.stdout.isatty() and not session.output.json:
                session.output.stdout.write(_CLEAR)
            code = _show(session, overview)
            session.output.stdout.flush()
            pause.wait(_WATCH_SECS)
    except KeyboardInterrupt:
        return code


def _show(session: Session, overview: Overview) -> ExitCode:
    value = {**msgspec.to_builtins(overview), "healthy": overview.healthy}
    session.output.data(value, lambda: _lines(session, overview))
    return ExitCode.OK if overview.healthy else ExitCode.FAILED


def _lines(session: Session, overview: Overview) -> Iterator[str]:
    yield "  ".join(part for part in (overview.title, overview.agent, f"v{overview.version}") if part)
    yield _chain(session, overview)
    columns = [_(column) for column in _COLUMNS]
    yield from table(columns, [_cells(line) for line in overview.flows], right=range(2, len(columns)))
    yield from (_comparison(line) for line in overview.flows if line.compared is not None)
    todo = [text for one in overview.todo if (text := sentence(one))]
    if todo:
        yield _(N_("To look at ({count})")).format(count=len(todo))
        yield from (session.output.paint(" ! ", "yellow") + text for text in todo)


def _cells(line: FlowLine) -> tuple[str, ...]:
    state = _(_STATES[line.state])
    if line.state == "loading" and line.loading is not None:
        state = f"{state} {_progress(line)}"
    return (
        line.title or line.flow,
        state,
        f"{line.captured_today:,}",
        f"{line.stored_today:,}",
        f"{line.waiting:,}",
        f"{line.dead:,}",
        "–" if line.oldest_waiting_secs is None else span(line.oldest_waiting_secs),
    )


def _comparison(line: FlowLine) -> str:
    found = line.compared
    assert found is not None
    text = N_(
        "{flow}: compared with its source {span} ago: of {covered} rows {late} had been missed, {deleted} were gone, {held} wait"
    )
    numbers = {name: f"{getattr(found, name):,}" for name in ("covered", "late", "deleted", "held")}
    return _(text).format(flow=line.title or line.flow, span=span(found.secs_ago), **numbers)


def _progress(line: FlowLine) -> str:
    loading = line.loading
    if loading is None or not loading.total:
        return f"{loading.done:,}" if loading else ""
    share = f"{min(100, loading.done * 100 // loading.total)} %"
    return share if loading.eta_secs is None else _(N_("{share}, {span} left")).format(share=share, span=span(loading.eta_secs))


def _chain(session: Session, overview: Overview) -> str:
    if not overview.answering:
        return session.output.paint(_(N_("The agent does not answer; this is what its store says.")), "red")
    if not overview.running:
        text = N_("The agent is not running.  → systemctl start huitong-agent; what stopped it is in its log")
        return session.output.paint(_(text), "red")
    waiting = sum(line.waiting for line in overview.flows)
    well, ill = session.output.paint(_(N_("well")), "green"), session.output.paint(_(N_("down")), "red")
    sources = not any(line.state == "waiting" for line in overview.flows)
    last = overview.last_receipt_secs
    receipt = _(N_("none yet")) if last is None else _(N_("{span} ago")).format(span=span(last))
    return " → ".join(
        (
            _(N_("sources {state}")).format(state=well if sources else ill),
            _(N_("outbox {count}")).format(count=f"{waiting:,}"),
            _(N_("queue {state}")).format(state=well if all(overview.connected.values()) else ill),
            _(N_("hub, last receipt {when}")).format(when=receipt),
        )
    )


# -- what needs a person ---------------------------------------------------------------------------------------------

_SENTENCES: Final = {
    "silent": N_("the agent holds its store, but does not answer on its control socket  → look at its log"),
    "broker": N_("{why}  → {hint}"),
    "disk": N_("no room on the disk of {why}: capture waits, sending goes on  → free some space"),
    "stuck": N_("no progress in: {why}  → look at the log; the service manager restarts the agent"),
    "paused-operator": N_("{title} is paused: {why}  → huitong flow resume {flow} --why TEXT"),
    "paused-fork": N_("{title} is frozen: the hub has another history of it  → huitong restore --why TEXT"),
    "paused-source": N_("{title} waits for its source: {why}  → {hint}"),
    "paused-hub": N_("{title} waits for the hub: {why}  → {hint}"),
    "source": N_("the source of {title} does not answer: {why}  → {hint}"),
    "overdue": N_("{title}: messages without a receipt for too long: {count}; the hub is asked about them"),
    "dead": N_("{flow} has {count} put aside: {why}  → huitong dead list --flow {flow}"),
    "gap": N_("{flow} has gap {count} ({why})  → huitong flow gaps"),
    "certificate": N_("certificate {title} expires, days left: {count}  → ask the hub for a new one"),
    "certificate-over": N_("certificate {title} has expired  → ask the hub for a new one"),
}
_STORED_PAUSES: Final = {
    "position_lost": N_("it no longer knows the position that was reached"),
    "source_replaced": N_("it is not the source that was read before"),
    "schema_changed": N_("the columns of its table have changed"),
}
GAP_KINDS: Final = {
    "position_lost": N_("position lost"),
    "source_replaced": N_("source replaced"),
    "store_restored": N_("store restored"),
    "deletes_held": N_("deletes held back"),
    "schema_changed": N_("columns changed"),
}


def sentence(todo: Todo) -> str:
    """Say one thing that needs a person, and the command that helps; empty for what another line says already."""
    form = _SENTENCES.get(todo.kind)
    if form is None:
        return ""
    why, hint = _why(todo)
    return _(form).format(flow=todo.flow, title=todo.title, count=todo.count, why=why, hint=hint or "huitong doctor")


def _why(todo: Todo) -> tuple[str, str]:
    """Return why, and what to do, in the language of the context."""
    if todo.kind == "gap":
        return _(GAP_KINDS.get(todo.why, todo.why)), ""
    if todo.kind == "dead" and todo.fault is not None:
        field, text = todo.why.rpartition(": ")[0], explain(todo.fault)
        return f"{field}: {text}" if field else text, ""
    if todo.fault is not None:
        return text_of(todo.fault), hint_of(todo.fault)
    if todo.why in _STORED_PAUSES:
        hint = _(N_("compare with the hub, then: huitong flow resume {flow} --why TEXT"))
        if todo.why == "schema_changed":
            hint = _(N_("huitong flow gaps shows them; to accept them: huitong flow resume {flow} --why TEXT"))
        return _(_STORED_PAUSES[todo.why]), hint.format(flow=todo.flow)
    return reason_text(todo.why), reason_hint(todo.why)
