"""What the command tells the shell. Never 0 with an item failed."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from agent.errors import Busy, Denied, Forbidden, NotConnected, Refused, SettingsError, SourceUnavailable


class ExitCode(IntEnum):
    """Exit codes of `huitong`; the numbers from 64 up are those of sysexits.h."""

    OK = 0
    FAILED = 1  # the operation failed, or something is not well
    USAGE = 2
    PARTLY = 3  # some items done, some not
    CHANGES = 4  # `plan --exit-code` found changes
    UNAVAILABLE = 69  # a remote system cannot be reached
    BUSY = 75  # try again later
    DENIED = 77
    CONFIGURATION = 78
    INTERRUPTED = 130


_BY_ERROR: Final[tuple[tuple[type[BaseException], ExitCode], ...]] = (
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (SettingsError, ExitCode.CONFIGURATION),
    (Busy, ExitCode.BUSY),
    (Refused, ExitCode.BUSY),
    (Denied, ExitCode.DENIED),
    (Forbidden, ExitCode.DENIED),
    (PermissionError, ExitCode.DENIED),
    (NotConnected, ExitCode.UNAVAILABLE),
    (SourceUnavailable, ExitCode.UNAVAILABLE),
)


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code of an error."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.FAILED)
