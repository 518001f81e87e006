"""`huitong dead`: what needs a person. Quarantined input, records and messages the hub refused; grouped by cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import click
import msgspec

from agent.app.access import ask, reading
from agent.app.offline import handlers
from agent.app.overview import fault_of
from agent.app.witness import Fault
from agent.cli.base import Session, argument, group, option, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.flow import WHY, require_flow
from agent.cli.message import CLOSED, show_trace
from agent.cli.validate import load_agent_settings
from agent.cli.words import clock_text, explain, hint_of, reason_hint, reason_text, say, text_of
from agent.errors import NotFound
from agent.i18n import N_, _
from agent.model import State
from agent.queries import Cause, CauseKind, Item, MessageQuery, Refusal
from agent.services.dead_letters import Outcome

if TYPE_CHECKING:
    from agent.adapters.store.reader import StoreReader

_ALL: Final = 1000
_PAGE: Final = 500
_SHOWN: Final = 20
_CAUSES: Final = (N_("kind"), N_("flow"), N_("field"), N_("cause"), N_("count"), N_("first"), N_("last"))
_ITEMS: Final = (N_("id"), N_("kind"), N_("field"), N_("cause"), N_("since"))
_KINDS: Final = {CauseKind.MESSAGE: N_("message"), CauseKind.RECORD: N_("refused record"), CauseKind.INPUT: N_("input")}
_RESULTS: Final = {
    "retried": N_("sent"),
    "superseded": N_("closed: a later version was captured"),
    "discarded": N_("given up"),
    "failed": N_("still open"),
}


@group("dead", N_("Dead letters: what needs a person, grouped by cause."))
def dead() -> None:
    """Group of dead letter commands."""


# -- looking ---------------------------------------------------------------------------------------------------------


@dead.command("list", help=N_("List what is open: by cause, and with --flow one by one."))
@option("--flow", default="", metavar=N_("FLOW"), help=N_("list the items of this flow"))
@option(
    "-n",
    "--limit",
    type=click.IntRange(1, _ALL),
    default=50,
    show_default=True,
    metavar=N_("NUMBER"),
    help=N_("how many at most"),
)
@pass_session
def list_dead(session: Session, flow: str, limit: int) -> None:
    """Show causes or items."""
    settings = load_agent_settings([session.config]).value
    zone = ZoneInfo(settings.agent.timezone)
    with reading(settings) as reader:
        if flow:
            require_flow(settings, reader, flow)
            letters = list(_letters(reader, flow, limit))
            cells = [
                (letter["id"], _(_KINDS[letter["kind"]]), letter["field"], letter["text"], clock_text(letter["at"], zone))
                for letter in letters
            ]
            _show_rows(session, letters, _ITEMS, cells)
        else:
            causes = [(cause, fault_of(cause, reader)) for cause in reader.causes()]
            lines: Sequence[Sequence[str]] = [_cause_cells(cause, _shared(cause, fault), zone) for cause, fault in causes]
            _show_rows(session, [{**asdict(cause), "text": explain(fault)} for cause, fault in causes], _CAUSES, lines)


def _shared(cause: Cause, fault: Fault) -> str:
    """Return what a group has in common, or what its first member says, marked as an example."""
    text = explain(fault)
    return _(N_("for example: {text}")).format(text=text) if fault.details and cause.count > 1 else text


def _show_rows(session: Session, rows: list[dict[str, Any]], columns: tuple[str, ...], cells: Sequence[Sequence[str]]) -> None:
    if session.output.json:
        session.output.data(rows, list)
    elif not rows:
        session.output.say(_(N_("Nothing is open.")))
    else:
        session.output.table(columns, cells, right=(4,) if columns is _CAUSES else ())


def _cause_cells(cause: Cause, text: str, zone: ZoneInfo) -> tuple[str, ...]:
    times = (clock_text(cause.first, zone), clock_text(cause.last, zone))
    return (_(_KINDS[cause.kind]), cause.flow, cause.field, text, str(cause.count), *times)


def _letters(reader: StoreReader, flow: str, limit: int) -> Iterator[dict[str, Any]]:
    """Yield the open dead letters of a flow, at most `limit` of each kind."""
    for item in reader.items(flow, limit=limit):
        text = say(item.input.text, item.input.details)
        yield _letter(item.input.item_id, CauseKind.INPUT, item.input.field, text, item.input.observed_at)
    for refusal in reader.refusals(flow, limit=limit):
        why = refusal.refused
        yield _letter(why.record, CauseKind.RECORD, why.field, why.message or reason_text(why.code), refusal.refused_at)
    for row in reader.find(MessageQuery(flow=flow, state=State.DEAD, limit=limit)):
        if row.closed_as is None:
            yield _letter(row.message_id, CauseKind.MESSAGE, "", reason_text(row.code), row.settled_at)


def _letter(subject: str, kind: CauseKind, field: str, text: str, at: object) -> dict[str, Any]:
    return {"id": subject, "kind": kind, "field": field, "text": text, "at": at}


@dead.command("show", help=N_("Show one item with its bytes and its reason. The bytes are personal data: mind who looks on."))
@argument("subject", metavar=N_("ID"))
@pass_session
def show(session: Session, subject: str) -> None:
    """Show one item."""
    settings = load_agent_settings([session.config]).value
    zone = ZoneInfo(settings.agent.timezone)
    with reading(settings) as reader:
        item, refusals, trace = reader.item(subject), reader.refused(subject), reader.trace(subject)
    if item is not None:
        raw = item.input.raw.decode("utf-8", "backslashreplace")
        value = {**asdict(item.input), "raw": raw, "closed_as": item.closed_as}
        session.output.data(value, lambda: _item_lines(item, raw, zone))
    elif refusals:
        session.output.data([asdict(refusal) for refusal in refusals], lambda: _refusal_lines(refusals[-1], zone))
    elif trace is not None:
        show_trace(session, trace, zone)
    else:
        raise _unknown(subject)


def _unknown(subject: str) -> NotFound:
    text = N_("there is no dead letter with the id {id}")
    return NotFound(text, hint=N_("list them: huitong dead list --flow FLOW"), id=subject)


def _item_lines(item: Item, raw: str, zone: ZoneInfo) -> Iterator[str]:
    about = item.input
    yield from _facts(
        (N_("flow"), about.flow),
        (N_("from"), f"{about.entity}  {about.token}"),
        (N_("since"), clock_text(about.observed_at, zone)),
        (N_("field"), about.field),
        (N_("cause"), f"{about.code} {about.reason}: {say(about.text, about.details)}"),
        (N_("state"), _(CLOSED[item.closed_as]) if item.closed_as else _(N_("open"))),
        (N_("input"), raw),
        (N_("action"), "" if item.closed_as else _(N_("correct it at the source; the corrected record is then sent by itself"))),
    )


def _refusal_lines(refusal: Refusal, zone: ZoneInfo) -> Iterator[str]:
    why = refusal.refused
    again = _(N_("or send it again as it is: huitong dead retry {id} --why TEXT")).format(id=why.record)
    yield from _facts(
        (N_("flow"), refusal.flow),
        (N_("message"), refusal.message_id),
        (N_("since"), clock_text(refusal.refused_at, zone)),
        (N_("field"), why.field),
        (N_("cause"), f"{why.code}: {why.message or reason_text(why.code)}"),
        (N_("state"), _(CLOSED[refusal.closed_as]) if refusal.closed_as else _(N_("open"))),
        (N_("action"), "" if refusal.closed_as else f"{reason_hint(why.code) or _(N_('correct it at the source'))}; {again}"),
    )


def _facts(*facts: tuple[str, str]) -> Iterator[str]:
    return (f"{_(name)}: {value}" for name, value in facts if value)


# -- acting ----------------------------------------------------------------------------------------------------------


@dead.command(
    "retry",
    help=N_(
        "Try items again, after the map, a code table or the hub was corrected.\nInput is read and translated again. What the "
        "hub refused is sent again in a new message with the same record ids, unless a later version of its key was captured; "
        "then the item is only closed."
    ),
)
@argument("subjects", nargs=-1, metavar=N_("ID"))
@option("--flow", default="", metavar=N_("FLOW"), help=N_("everything that is open in this flow"))
@WHY
@pass_session
def retry(session: Session, subjects: tuple[str, ...], flow: str, why: str) -> ExitCode:
    """Retry some items, or all of a flow."""
    return _act(session, "dead.retry", subjects, flow, why, N_("Items to try again: {count}. Go on?"))


@dead.command(
    "discard",
    help=N_(
        "Give items up for ever.\nThe sequence of a message that the hub does not have yet is voided there; nothing of it is "
        "ever sent. Asks first."
    ),
)
@argument("subjects", nargs=-1, metavar=N_("ID"))
@option("--flow", default="", metavar=N_("FLOW"), help=N_("everything that is open in this flow"))
@WHY
@pass_session
def discard(session: Session, subjects: tuple[str, ...], flow: str, why: str) -> ExitCode:
    """Discard some items, or all of a flow."""
    return _act(session, "dead.discard", subjects, flow, why, N_("Items to give up for ever: {count}. Go on?"))


def _act(session: Session, call: str, subjects: tuple[str, ...], flow: str, why: str, question: str) -> ExitCode:
    if not subjects and not flow:
        raise click.UsageError(_(N_("name the items, or a flow with --flow")))
    settings = load_agent_settings([session.config]).value
    chosen = list(dict.fromkeys(subjects))
    if flow:
        with reading(settings) as reader:
            chosen += [letter["id"] for letter in _letters(reader, flow, _ALL)]
    if not chosen:
        raise NotFound(N_("nothing is open in flow {flow}"), flow=flow)
    if not session.output.confirm(_(question).format(count=len(chosen))):
        return ExitCode.FAILED
    outcomes: dict[str, Outcome] = {}
    for start in range(0, len(chosen), _PAGE):
        told = ask(settings, handlers(settings), call, subjects=chosen[start : start + _PAGE], why=why)
        outcomes |= msgspec.convert(told, dict[str, Outcome])
    session.output.data({subject: asdict(outcome) for subject, outcome in outcomes.items()}, lambda: _outcome_lines(outcomes))
    done = sum(outcome.done for outcome in outcomes.values())
    return ExitCode.OK if done == len(chosen) else ExitCode.PARTLY if done else ExitCode.FAILED


def _outcome_lines(outcomes: dict[str, Outcome]) -> Iterator[str]:
    counts = Counter(outcome.how for outcome in outcomes.values())
    yield from (f"{_(_RESULTS[how])}: {count}" for how, count in counts.items())
    failed = [(subject, outcome) for subject, outcome in outcomes.items() if not outcome.done]
    for subject, outcome in failed[:_SHOWN]:
        yield "  " + "  → ".join(part for part in (f"{subject}  {text_of(outcome)}", hint_of(outcome)) if part)
    if len(failed) > _SHOWN:
        yield _(N_("  … and {count} more")).format(count=len(failed) - _SHOWN)
