"""`huitong hub show`: one message, or the history of one key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from agent.errors import NotFound, SettingsError
from agent.i18n import N_, _
from hub.cli.base import HubSession, argument, command, option, pass_session
from hub.cli.words import local_time, outcome_text
from hub.store.reading import StoredMessage, StoredRecord


@command(
    "show",
    N_(
        "Show one message, or the history of one key.\nMESSAGE is a message id. With --flow and --key instead: every stored "
        "version of that key in its order, the last is current. KEY is its JSON text as stored."
    ),
)
@argument("message", required=False, metavar=N_("MESSAGE"))
@option("--department", metavar=N_("CODE"), text=N_("department that sent it"))
@option("--flow", metavar=N_("FLOW"), text=N_("flow of the department"))
@option("--key", metavar=N_("KEY"), text=N_("business key, as JSON"))
@option("--data", "with_data", is_flag=True, text=N_("show the contents of the records too"))
@pass_session
def show(
    session: HubSession, message: str | None, department: str | None, flow: str | None, key: str | None, with_data: bool
) -> int:
    """Look up one thing."""
    with session.reader() as reader:
        if message is not None:
            found = reader.message(message, department)
            session.output.data(_message_as_json(found), lambda: _message_lines(found))
            return 0
        if not (department and flow and key):
            raise SettingsError(N_("name a message, or --department, --flow and --key together"), hint="")
        records = list(reader.records(department, flow, key=key))
    if not records:
        raise NotFound(what=N_("business key"), name=key, hint=N_("write it as JSON, exactly as it is stored"))
    told = [_record_as_json(record, with_data=with_data) for record in records]
    session.output.data(told, lambda: _record_lines(records, with_data=with_data))
    return 0


def _message_as_json(found: StoredMessage) -> dict[str, object]:
    receipts = [{"id": one, "published_at": at} for one, at in found.receipts]
    return {**asdict(found), "digest": found.digest.hex(), "receipts": receipts}


def _message_lines(found: StoredMessage) -> Iterator[str]:
    counts = N_("{records}, {stored} of them stored, {known} known before")
    told = {
        N_("message"): found.message_id,
        N_("department"): found.sender,
        N_("flow"): f"{found.flow}  {found.epoch}  {found.sequence if found.sequence is not None else '–'}",
        N_("type"): found.dataschema or found.type,
        N_("outcome"): outcome_text(found.outcome, found.code),
        N_("records"): _(counts).format(records=f"{found.records:,}", stored=f"{found.stored:,}", known=f"{found.duplicates:,}"),
        N_("digest"): f"sha-256 {found.digest.hex()}",
        N_("signing key"): found.kid,
        N_("body"): _(N_("purged")) if found.size_bytes is None else f"{found.size_bytes:,} B",
        N_("received"): local_time(found.received_at),
        N_("committed"): local_time(found.committed_at),
    }
    yield from (f"{_(name)}  {value}" for name, value in told.items())
    for receipt, at in found.receipts:
        sent = local_time(at) if at is not None else _(N_("waits to be published"))
        yield f"{_(N_('receipt'))}  {receipt}  {sent}"


def _record_as_json(record: StoredRecord, *, with_data: bool) -> dict[str, object]:
    told = asdict(record)
    if not with_data:
        told.pop("data")
    return told


def _record_lines(records: list[StoredRecord], *, with_data: bool) -> Iterator[str]:
    for record in records:
        what = _(N_("deleted")) if record.deleted else _(N_("written"))
        yield f"{record.epoch}/{record.sequence}/{record.position}  {record.record_id}  {record.at or '–'}  {what}"
        if with_data and record.data is not None:
            yield f"    {record.data}"
