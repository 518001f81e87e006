"""What can be wrong with a file as a whole; what is wrong with one row is a `BadRow`."""

from __future__ import annotations

from agent.errors import Disposition, HuitongError, Side
from agent.i18n import N_


class BadFile(HuitongError):
    """No row of this file can be read; `reason` is a stable word for grouping."""

    code = "HT-F001"
    side = Side.SOURCE
    disposition = Disposition.QUARANTINE
    text = N_("the file cannot be read: {why}")
    hint = N_("correct the file and drop it again")

    def __init__(self, text: str | None = None, /, *, reason: str, hint: str | None = None, **details: object) -> None:
        super().__init__(text, hint=hint, **details)
        self.reason = reason
