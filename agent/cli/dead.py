"""`huitong dead`: what needs a person. Quarantined input, records and messages the hub refused; grouped by cause."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from agent.adapters.store.reader import StoreReader
from agent.app.access import ask, open_reader
from agent.app.offline import handlers
from agent.cli.base import Session, argument, group, option, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.message import clock_text, row_as_json
from agent.cli.validate import load_agent_settings
from agent.errors import NotFound
from agent.i18n import N_, _
from agent.model import State
from agent.queries import Item, MessageQuery

_WHY = option("--why", required=True, metavar=N_("TEXT"), help=N_("reason, kept for the auditor"))
_ALL: Final = 1000
_CAUSES: Final = (N_("kind"), N_("flow"), N_("field"), N_("cause"), N_("count"), N_("first"), N_("last"))
_ITEMS: Final = (N_("id"), N_("kind"), N_("field"), N_("cause"), N_("since"))
_KINDS: Final = {"message": N_("message"), "record": N_("refused record"), "input": N_("input")}


@group("dead", N_("Dead letters: what needs a person, grouped by cause."))
def dead() -> None:
    """Group of dead letter commands."""


@dead.command("list", help=N_("List what is open: by cause, and with --flow one by one."))
@option("--flow", default="", metavar=N_("FLOW"), help=N_("list the items of this flow"))
@option("-n", "--limit", type=click.IntRange(1, _ALL), default=50, show_default=True, help=N_("how many at most"))
@pass_session
def list_dead(session: Session, flow: str, limit: int) -> None:
    """Show causes or items."""
    settings = load_agent_settings([session.config]).value
    zone = ZoneInfo(settings.agent.timezone)
    with open_reader(settings) as reader:
        cells: list[tuple[str, ...]]
        if flow:
            rows = list(_open(reader, flow, limit))
            columns: tuple[str, ...] = _ITEMS
            cells = [(row["id"], _(_KINDS[row["kind"]]), row["field"], row["text"], clock_text(row["at"], zone)) for row in rows]
        else:
            causes = reader.causes()
            rows, columns = [asdict(cause) for cause in causes], _CAUSES
            cells = [
                (_(_KINDS[c.kind]), c.flow, c.field, c.code, str(c.count), clock_text(c.first, zone), clock_text(c.last, zone))
                for c in causes
            ]
    if session.output.json:
        session.output.data(rows, list)
    else:
        session.output.table(columns, cells)


def _open(reader: StoreReader, flow: str, limit: int) -> Iterator[dict[str, Any]]:
    for item in reader.items(flow, limit=limit):
        text = said(item)
        yield {"id": item.input.item_id, "kind": "input", "field": item.input.field, "text": text, "at": item.input.observed_at}
    for refusal in reader.refusals(flow, limit=limit):
        why = refusal.refused
        yield {"id": why.record, "kind": "record", "field": why.field, "text": why.message or why.code, "at": refusal.refused_at}
    for row in reader.find(MessageQuery(flow=flow, state=State.DEAD, limit=limit)):
        if row.closed_as is None:
            yield {"id": row.message_id, "kind": "message", "field": "", "text": row.code, "at": row.settled_at}


def said(item: Item) -> str:
    """Return why input was put aside, in the language of the context."""
    text = _(item.input.text)
    try:
        return text.format_map(dict(item.input.details))
    except (KeyError, ValueError, IndexError):
        return text


@dead.command("show", help=N_("Show one item with its bytes and its reason. The bytes are personal data: mind who looks on."))
@argument("subject", metavar=N_("ID"))
@pass_session
def show(session: Session, subject: str) -> None:
    """Show one item."""
    settings = load_agent_settings([session.config]).value
    zone = ZoneInfo(settings.agent.timezone)
    with open_reader(settings) as reader:
        item, trace = reader.item(subject), reader.trace(subject)
    if item is not None:
        raw = item.input.raw.decode("utf-8", "backslashreplace")
        value = {**asdict(item.input), "raw": raw, "closed_as": item.closed_as}
        session.output.data(value, lambda: _item_lines(item, raw, zone))
    elif trace is not None:
        session.output.data(row_as_json(trace.message), lambda: [f"huitong message trace {subject}"])
    else:
        raise NotFound(what=_(N_("dead letter")), name=subject)


def _item_lines(item: Item, raw: str, zone: ZoneInfo) -> Iterator[str]:
    about = item.input
    facts = (
        (N_("flow"), about.flow),
        (N_("from"), f"{about.entity}  {about.token}"),
        (N_("since"), clock_text(about.observed_at, zone)),
        (N_("field"), about.field),
        (N_("cause"), f"{about.code} {about.reason}: {said(item)}"),
        (N_("state"), _(N_("open")) if item.closed_as is None else str(item.closed_as)),
        (N_("input"), raw),
        (N_("action"), _(N_("correct it at the source; the corrected record is then sent by itself"))),
    )
    for name, value in facts:
        if value:
            yield f"{_(name)}: {value}"


@dead.command("retry", help=N_("Try items again, after the mapping or a code table was corrected. Superseded ones are only closed."))
@argument("subjects", nargs=-1, metavar=N_("ID"))
@option("--flow", default="", metavar=N_("FLOW"), help=N_("everything that is open in this flow"))
@_WHY
@pass_session
def retry(session: Session, subjects: tuple[str, ...], flow: str, why: str) -> ExitCode:
    """Retry some items, or all of a flow."""
    return _act(session, "dead.retry", subjects, flow, why, N_("Try {count} items again?"))


@dead.command("discard", help=N_("Give items up. The hub is told; nothing of them is ever sent."))
@argument("subjects", nargs=-1, metavar=N_("ID"))
@option("--flow", default="", metavar=N_("FLOW"), help=N_("everything that is open in this flow"))
@_WHY
@pass_session
def discard(session: Session, subjects: tuple[str, ...], flow: str, why: str) -> ExitCode:
    """Discard some items, or all of a flow."""
    return _act(session, "dead.discard", subjects, flow, why, N_("Give up {count} items for ever?"))


def _act(session: Session, call: str, subjects: tuple[str, ...], flow: str, why: str, question: str) -> ExitCode:
    settings = load_agent_settings([session.config]).value
    chosen = list(subjects)
    if flow:
        with open_reader(settings) as reader:
            chosen += [row["id"] for row in _open(reader, flow, _ALL)]
    if not chosen:
        raise NotFound(what=_(N_("dead letter")), name=flow or "–")
    if not session.output.confirm(_(question).format(count=len(chosen))):
        return ExitCode.FAILED
    done = ask(settings, handlers(settings, capturing=call == "dead.retry"), call, subjects=chosen, why=why)
    counts: dict[str, int] = done if isinstance(done, dict) else {}
    session.output.data(counts, lambda: [f"{_(_RESULTS.get(name, name))}: {count}" for name, count in counts.items()])
    return ExitCode.PARTLY if counts.get("failed") else ExitCode.OK


_RESULTS: Final = {
    "retried": N_("sent"),
    "superseded": N_("closed: a later version was captured"),
    "discarded": N_("given up"),
    "failed": N_("still not right"),
}
