"""`huitong hub quarantine`: refused messages, with their octets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from agent.errors import Conflict
from agent.i18n import N_, _
from hub.cli.base import HubSession, argument, group, option, pass_session
from hub.cli.words import local_time, outcome_text, reason_text
from hub.store.reading import QuarantinedMessage


@group("quarantine", N_("Refused messages."))
def quarantine() -> None:
    """Group of quarantine commands."""


@quarantine.command("list", help=N_("List refused messages, the latest first."))
@option("--department", metavar=N_("CODE"), text=N_("only of this department"))
@option(
    "-n",
    "--limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    metavar=N_("NUMBER"),
    text=N_("how many at most"),
)
@pass_session
def list_quarantine(session: HubSession, department: str | None, limit: int) -> int:
    """Show refused messages."""
    with session.reader() as reader:
        found = reader.quarantined(department, limit)
    if session.output.json:
        session.output.data([_as_json(one) for one in found], list)
        return 0
    if not found:
        session.output.say(_(N_("Nothing was refused.")))
        return 0
    columns = (N_("number"), N_("department"), N_("message"), N_("reason"), N_("times"), N_("size"), N_("last"))
    session.output.table(columns, [_row(one) for one in found], right=(0, 4, 5))
    return 0


@quarantine.command("show", help=N_("Show one refused message; --raw writes its octets to a file."))
@argument("number", type=int, metavar=N_("NUMBER"))
@option("--raw", "target", type=click.Path(path_type=Path, dir_okay=False), metavar=N_("FILE"), text=N_("file to write"))
@pass_session
def show(session: HubSession, number: int, target: Path | None) -> int:
    """Show one entry."""
    with session.reader() as reader:
        found = reader.quarantine(number)
    if target is not None:
        if found.raw is None:
            raise Conflict(why=_(N_("its octets were purged by age")))
        target.write_bytes(found.raw)
    session.output.data(_as_json(found), lambda: _lines(found))
    return 0


def _row(one: QuarantinedMessage) -> tuple[str, ...]:
    last = local_time(one.last_at, "seconds")
    return (
        str(one.number),
        one.department,
        one.message_id or "–",
        f"{one.code} {reason_text(one.code)}",
        str(one.times),
        f"{one.size_bytes:,}",
        last,
    )


def _as_json(one: QuarantinedMessage) -> dict[str, object]:
    told = asdict(one)
    told.pop("raw")
    return told


def _lines(one: QuarantinedMessage) -> Iterator[str]:
    told = {
        N_("number"): str(one.number),
        N_("department"): one.department,
        N_("claims to be from"): one.claimed_sender or "–",
        N_("exchange"): one.exchange,
        N_("broker user"): one.user_id or "–",
        N_("message"): one.message_id or "–",
        N_("outcome"): outcome_text(one.outcome, one.code),
        N_("reason"): one.text,
        N_("size"): f"{one.size_bytes:,} B" + ("" if one.raw is not None else _(N_(", octets purged"))),
        N_("times"): f"{one.times}  {local_time(one.first_at, 'seconds')} … {local_time(one.last_at, 'seconds')}",
        N_("headers"): one.headers,
    }
    yield from (f"{_(name)}  {value}" for name, value in told.items())
