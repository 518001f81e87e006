"""`huitong message`: find messages, follow one through every hop, ask for one to be sent again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from agent.app.access import ask, reading
from agent.app.offline import handlers
from agent.cli.base import Session, argument, group, option, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.flow import WHY, require_flow
from agent.cli.validate import load_agent_settings
from agent.cli.words import clock_text, reason_text
from agent.errors import NotFound
from agent.i18n import N_, _
from agent.model import State
from agent.queries import MessageQuery, MessageRow, ReceiptRow, Trace

STATES: Final = {
    State.PENDING: N_("waiting to be sent"),
    State.CONFIRMED: N_("sent, no receipt yet"),
    State.STORED: N_("stored at the hub"),
    State.PARTLY_STORED: N_("partly stored at the hub"),
    State.DEAD: N_("dead"),
}
OUTCOMES: Final = {
    "stored": N_("stored"),
    "partly_stored": N_("partly stored"),
    "refused_final": N_("refused for ever"),
    "refused_retry": N_("refused for now"),
    "duplicate": N_("stored before"),
    "fork": N_("another history"),
}
_COLUMNS: Final = (N_("message"), N_("flow"), N_("sequence"), N_("records"), N_("state"), N_("captured at"), N_("receipt at"))
_WHEN = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])


@group("message", N_("Find, trace and resend messages."))
def message() -> None:
    """Group of message commands."""


@message.command(
    "find", help=N_("Find messages, newest first, by flow, business key, state and time. Exit code 1 when there is none.")
)
@option("--flow", default="", metavar=N_("FLOW"), help=N_("only of this flow"))
@option("--key", default="", metavar=N_("KEY"), help=N_("the last message that carried the record with this business key"))
@option("--state", type=click.Choice([state.value for state in State]), metavar="|".join(State), help=N_("only in this state"))
@option("--code", default="", metavar=N_("CODE"), help=N_("only with this refusal code"))
@option("--since", type=_WHEN, metavar=N_("TIME"), help=N_("captured at or after this time"))
@option("--until", type=_WHEN, metavar=N_("TIME"), help=N_("captured before this time"))
@option(
    "-n",
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    metavar=N_("NUMBER"),
    help=N_("how many at most"),
)
@pass_session
def find(
    session: Session,
    flow: str,
    key: str,
    state: str | None,
    code: str,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> ExitCode:
    """Search the store."""
    settings = load_agent_settings([session.config]).value
    zone = ZoneInfo(settings.agent.timezone)
    query = MessageQuery(
        flow=flow,
        key=key,
        state=State(state) if state else None,
        code=code,
        since=since.replace(tzinfo=zone) if since else None,
        until=until.replace(tzinfo=zone) if until else None,
        limit=limit,
    )
    with reading(settings) as reader:
        if flow:
            require_flow(settings, reader, flow)
        found = reader.find(query)
    if session.output.json:
        session.output.data([row_as_json(row) for row in found], list)
    elif not found:
        session.output.say(_(N_("No message is like this.")))
    else:
        session.output.table(_COLUMNS, [_cells(row, zone) for row in found], right=(2, 3))
    return ExitCode.OK if found else ExitCode.FAILED


def row_as_json(row: MessageRow) -> dict[str, Any]:
    """Return a message for machines."""
    return {**asdict(row), "digest": row.digest.hex()}


def state_of(row: MessageRow) -> str:
    """Return the state of a message, and how it was dealt with when it was dead."""
    state = _(STATES[row.state])
    return state if row.closed_as is None else f"{state} ({_(CLOSED[row.closed_as])})"


CLOSED: Final = {
    "retried": N_("sent again"),
    "superseded": N_("superseded"),
    "discarded": N_("given up"),
}


def _cells(row: MessageRow, zone: ZoneInfo) -> tuple[str, ...]:
    return (
        row.message_id,
        row.flow,
        str(row.sequence or "–"),
        str(row.records),
        state_of(row),
        clock_text(row.created_at, zone),
        clock_text(row.settled_at, zone),
    )


@message.command("trace", help=N_("Follow one message: every hop with its time, the receipt, refused records."))
@argument("message_id", metavar=N_("MESSAGE"))
@pass_session
def trace(session: Session, message_id: str) -> None:
    """Show one message."""
    settings = load_agent_settings([session.config]).value
    with reading(settings) as reader:
        found = reader.trace(message_id)
    if found is None:
        raise NotFound(
            N_("there is no message with the id {id}"),
            hint=N_("find it by flow, key or time: huitong message find"),
            id=message_id,
        )
    show_trace(session, found, ZoneInfo(settings.agent.timezone))


def show_trace(session: Session, found: Trace, zone: ZoneInfo) -> None:
    """Show everything known of one message."""
    value = {
        "message": row_as_json(found.message),
        "receipts": [{**asdict(receipt), "body": receipt.body.decode("utf-8", "replace")} for receipt in found.receipts],
        "refused": [asdict(refused) for refused in found.refused],
        "supersedes": list(found.supersedes),
    }
    session.output.data(value, lambda: _trace_lines(found, zone))


def _trace_lines(found: Trace, zone: ZoneInfo) -> Iterator[str]:
    row = found.message
    yield f"{row.message_id}  {state_of(row)}"
    size = _(N_("{size} bytes, {alg} {digest}")).format(size=row.size_bytes, alg=row.digest_alg, digest=row.digest.hex())
    facts = (
        (N_("flow"), row.flow),
        (N_("epoch, sequence"), f"{row.epoch}  {row.sequence}"),
        (N_("records"), str(row.records)),
        (N_("body"), size),
        (N_("signed with"), row.kid),
        (N_("superseded by"), row.superseded_by),
    )
    yield from (f"  {_(name)}: {value}" for name, value in facts if value)
    yield from (f"  {clock_text(at, zone):<30} {_(name)}" for name, at in _hops(found))
    for receipt in found.receipts:
        yield _(N_("  receipt of {hub}: {said}; audit chain {sequence}")).format(
            hub=receipt.hub, said=_said(receipt), sequence=receipt.audit_sequence
        )
    for one in found.refused:
        refused, closed = one.refused, f" ({_(CLOSED[one.closed_as])})" if one.closed_as else ""
        yield _(N_("  refused record {record}: {field} {reason}{closed}")).format(
            record=refused.record, field=refused.field, reason=refused.message or reason_text(refused.code), closed=closed
        )
    yield from (
        _(N_("  carries the records of {message}, from before a restore")).format(message=old) for old in found.supersedes
    )


def _hops(found: Trace) -> Iterator[tuple[str, datetime | None]]:
    row, last = found.message, found.receipts[-1:]
    yield N_("captured, durable in the outbox (R0)"), row.created_at
    yield N_("confirmed by the queue (R1)"), row.confirmed_at
    yield from ((N_("received by the hub"), receipt.received_at) for receipt in last)
    yield from ((N_("stored by the hub (R3)"), receipt.committed_at) for receipt in last if receipt.stage == "R3")
    if row.closed_as is None or last:
        yield N_("receipt verified and settled"), row.settled_at
    else:
        yield N_("closed"), row.settled_at
    if row.purged_at:
        yield N_("body dropped by age"), row.purged_at


def _said(receipt: ReceiptRow) -> str:
    outcome = _(OUTCOMES.get(receipt.outcome, receipt.outcome))
    return " ".join(part for part in (receipt.stage, outcome, receipt.code, receipt.text) if part)


@message.command("resend", help=N_("Send messages again that have no receipt: same id, same octets, harmless to repeat."))
@argument("message_ids", nargs=-1, required=True, metavar=N_("MESSAGE"))
@WHY
@pass_session
def resend(session: Session, message_ids: tuple[str, ...], why: str) -> ExitCode:
    """Put confirmed messages back in line."""
    settings = load_agent_settings([session.config]).value
    moved = ask(settings, handlers(settings), "message.resend", message_ids=list(message_ids), why=why)
    session.output.data({"resent": moved}, lambda: [_(N_("messages sent again: {count}")).format(count=moved)])
    if moved == len(message_ids):
        return ExitCode.OK
    session.output.say(_(N_("The others are unknown, already waiting, or have their receipt: huitong message trace ID")))
    return ExitCode.PARTLY if moved else ExitCode.FAILED
