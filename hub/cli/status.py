"""`huitong hub status`: departments and flows on one screen, what needs a person at its foot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from agent.adapters.clock import SystemClock
from agent.errors import NotFound
from agent.i18n import N_, _
from hub.cli.base import HubSession, command, option, pass_session
from hub.cli.words import STATES
from hub.model import DepartmentState
from hub.store.reading import DepartmentStatus, FlowStatus

LATE: Final = timedelta(minutes=5)
_COLUMNS: Final = (
    N_("department"),
    N_("flow"),
    N_("high water"),
    N_("missing"),
    N_("records"),
    N_("last stored"),
    N_("last receipt"),
    N_("refused today"),
)


@command("status", N_("Departments and flows on one screen. Exit code 1 when something needs a person."))
@option("--department", metavar=N_("CODE"), text=N_("only this department"))
@pass_session
def status(session: HubSession, department: str | None) -> int:
    """Show the state of the hub as its store knows it."""
    now = SystemClock().now()
    midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    with session.reader() as reader:
        found = [one for one in reader.departments(midnight) if department in (None, one.code)]
    if department is not None and not found:
        raise NotFound(what=N_("department"), name=department, hint=N_("list them: huitong hub status"))
    todo = list(_todo(found, now))
    if session.output.json:
        session.output.data({"departments": [_as_json(one, now) for one in found], "to_look_at": todo}, list)
    elif not found:
        session.output.say(_(N_("No department is admitted yet.  → huitong hub admit CODE --key FILE")))
    else:
        rows = [_row(one, flow, now) for one in found for flow in (one.flows or (None,))]
        session.output.table(_COLUMNS, rows, right=range(2, len(_COLUMNS)))
        if todo:
            session.output.data(
                None, lambda: [_("To look at ({count})").format(count=len(todo)), *(f" ! {line}" for line in todo)]
            )
    return 1 if todo else 0


def _row(one: DepartmentStatus, flow: FlowStatus | None, now: datetime) -> tuple[str, ...]:
    name = f"{one.title} {one.code}".strip()
    if one.state != DepartmentState.ADMITTED:
        name += f" ({_(STATES[DepartmentState(one.state)])})"
    receipt, refused = _ago(one.last_receipt, now), f"{one.refused:,}"
    if flow is None:
        return name, "–", "–", "–", "–", "–", receipt, refused
    missing = _("frozen") if flow.frozen else f"{flow.closed.missing():,}"
    numbers = f"{flow.closed.high_water:,}", missing, f"{flow.records:,}"
    return name, flow.flow, *numbers, _ago(flow.stored_at, now), receipt, refused


def _ago(at: datetime | None, now: datetime) -> str:
    if at is None:
        return _("never")
    secs = max(0, int((now - at).total_seconds()))
    for size, unit in ((86_400, N_("{n} d ago")), (3600, N_("{n} h ago")), (60, N_("{n} min ago"))):
        if secs >= size:
            return _(unit).format(n=secs // size)
    return _(N_("{n} s ago")).format(n=secs)


def _todo(found: Sequence[DepartmentStatus], now: datetime) -> Iterator[str]:
    for one in found:
        if one.oldest_due is not None and now - one.oldest_due > LATE:
            yield _(N_("{code}: receipts that wait to be published: {count}; does the hub run?")).format(
                code=one.code, count=one.due
            )
        for flow in one.flows:
            names = {"code": one.code, "flow": flow.flow}
            if flow.frozen:
                yield _(
                    N_("{code}/{flow} is frozen by a fork ({why}); the department must run huitong restore --why TEXT")
                ).format(**names, why=flow.frozen)
            if flow.closed.ahead:
                ranges = ", ".join(f"{first}–{last}" for first, last in list(flow.closed.gaps())[:3])
                yield _(N_("{code}/{flow} lacks sequences {ranges}")).format(**names, ranges=ranges)
        if one.refused:
            text = N_("{code}: {count} refused today  → huitong hub quarantine list --department {code}")
            yield _(text).format(code=one.code, count=one.refused)


def _as_json(one: DepartmentStatus, now: datetime) -> dict[str, object]:
    return {
        "code": one.code,
        "title": one.title,
        "contact": one.contact,
        "state": one.state,
        "worker": one.worker,
        "receipts_due": one.due,
        "last_receipt_at": one.last_receipt,
        "refused_today": one.refused,
        "flows": [_flow_as_json(flow, now) for flow in one.flows],
    }


def _flow_as_json(flow: FlowStatus, now: datetime) -> dict[str, object]:
    return {
        "flow": flow.flow,
        "epoch": flow.epoch,
        "epoch_ordinal": flow.ordinal,
        "high_water": flow.closed.high_water,
        "gaps": list(flow.closed.gaps()),
        "missing": flow.closed.missing(),
        "frozen": flow.frozen,
        "messages": flow.messages,
        "records": flow.records,
        "duplicates": flow.duplicates,
        "repeats": flow.repeats,
        "last_stored_at": flow.stored_at,
        "lag_secs": None if flow.stored_at is None else (now - flow.stored_at).total_seconds(),
    }
