"""Outcomes, reasons and times as hub staff read them, in the language of the context."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from agent.i18n import N_, _
from agent.model import Outcome
from agent.wire.codes import CODES
from hub.model import DepartmentState

_OUTCOMES: Final = {
    Outcome.STORED: N_("stored"),
    Outcome.PARTLY_STORED: N_("partly stored"),
    Outcome.REFUSED_FINAL: N_("refused for ever"),
    Outcome.REFUSED_RETRY: N_("refused for now"),
    Outcome.DUPLICATE: N_("known before"),
    Outcome.FORK: N_("another history"),
}
STATES: Final = {DepartmentState.ADMITTED: N_("admitted"), DepartmentState.SUSPENDED: N_("suspended")}


def outcome_text(outcome: str, code: str = "") -> str:
    """Return what became of a message, with the reason where there is one."""
    said = _(_OUTCOMES[Outcome(outcome)]) if outcome in set(Outcome) else outcome
    return f"{said} ({code}: {reason_text(code)})" if code else said


def reason_text(code: str) -> str:
    """Return what a refusal code means; the code itself when it is none."""
    known = CODES.get(code)
    return _(known.text) if known is not None else code


def local_time(at: datetime, timespec: str = "milliseconds") -> str:
    """Return a moment in the zone of this host, with its offset."""
    return at.astimezone().isoformat(sep=" ", timespec=timespec)
