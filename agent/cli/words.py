"""Times, spans, faults and reasons as people read them, in the language of the context."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from agent.app.witness import Fault
from agent.i18n import N_, _, spoken
from agent.model import Finding

_SUBJECTS: Final = {
    "agent": N_("agent"),
    "store": N_("store"),
    "disk": N_("disk"),
    "clock": N_("clock"),
    "certificates": N_("certificates"),
    "secrets": N_("secrets"),
    "keys": N_("own keys"),
    "trust": N_("keys of the hub"),
    "broker": N_("message broker"),
}
_PARTS: Final = {"key": N_("business key")}
"""Parts of a source whose name means something else elsewhere."""


class Told(Protocol):
    """Something with a text, a hint and their details, as catalogue keys: a fault, a finding, an outcome."""

    @property
    def text(self) -> str:
        """The catalogue key of what happened."""
        ...

    @property
    def hint(self) -> str:
        """The catalogue key of what to do, empty when there is nothing."""
        ...

    @property
    def details(self) -> Mapping[str, object]:
        """What fills the fields of both."""
        ...


def say(text: str, details: Mapping[str, object]) -> str:
    """Return a text with its fields filled; one whose details do not fit is shown as it is."""
    translated = _(text)
    try:
        return translated.format_map(spoken(details)) if details else translated
    except (KeyError, ValueError, IndexError):
        return translated


def text_of(told: Told) -> str:
    """Return what happened."""
    return say(told.text, told.details)


def hint_of(told: Told) -> str:
    """Return what to do, empty when there is nothing."""
    return say(told.hint, told.details)


def explain(fault: Fault) -> str:
    """Return what a fault says; one without a text of its own is a refusal code of the hub."""
    return text_of(fault) if fault.text else reason_text(fault.code)


def clock_text(moment: datetime | None, zone: ZoneInfo) -> str:
    """Return a moment in the agent's zone with its offset, a dash for none."""
    return moment.astimezone(zone).isoformat(sep=" ", timespec="milliseconds") if moment else "–"


def span(secs: float) -> str:
    """Return a length of time as people say it, in its largest fitting unit."""
    for size, unit in ((86_400, N_("{n} d")), (3600, N_("{n} h")), (60, N_("{n} min"))):
        if secs >= size:
            return _(unit).format(n=int(secs // size))
    return _(N_("{n} s")).format(n=max(0, int(secs)))


def reason_text(code: str) -> str:
    """Return what a refusal code of the hub means; the code itself when it is none."""
    from agent.wire.codes import CODES  # noqa: PLC0415 - only screens with refusals need them

    known = CODES.get(code)
    return _(known.text) if known is not None else code


def reason_hint(code: str) -> str:
    """Return what to do about a refusal code of the hub, empty when it is none."""
    from agent.wire.codes import CODES  # noqa: PLC0415 - as above

    known = CODES.get(code)
    return _(known.hint) if known is not None else ""


def subject_of(finding: Finding) -> str:
    """Return what a finding is about, in the language of the context."""
    subject = _(_SUBJECTS[finding.subject]) if finding.subject in _SUBJECTS else finding.subject
    of = str(finding.details.get("of", ""))
    return f"{subject} · {_(_PARTS.get(of, of))}" if of else subject
