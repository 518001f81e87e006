"""Named crash points.

The names are those of the crash matrix (docs/failure-modes.md). In production nothing is armed and a call costs one
comparison; a fault test arms a hook that kills the process, so that recovery is shown at exactly this point.
"""

from __future__ import annotations

from collections.abc import Callable

POINTS = frozenset(
    {
        "C01",  # after the source was read, before the transaction
        "C02",  # inside the append transaction
        "C03",  # after its commit, before anybody is told
        "C04",  # first load complete, before polling starts
        "C05",  # the overlap window was read again and had something new among what is known: a late commit
        "C06",  # file: after the commit, before the archive rename
        "C07",  # file: after the rename, before the directory is synced
        "C08",  # bytes on the socket, no confirm yet
        "C09",  # confirm received, state not written
        "C10",  # return received, confirm not yet
        "C11",  # connection lost with a window of unconfirmed messages
        "C12",  # hub: delivered, before the transaction
        "C13",  # hub: committed, before the ack
        "C14",  # hub: acked, receipt not yet published
        "C15",  # hub: receipt published, not marked
        "C16",  # agent: receipt received, before the commit
        "C17",  # agent: receipt committed, before the ack
        "C18",  # purge in the middle of a batch
    }
)

_hook: Callable[[str], None] | None = None


def arm(hook: Callable[[str], None] | None) -> None:
    """Call `hook(name)` at every point from now on; None disarms."""
    global _hook  # noqa: PLW0603 - a crash point is a property of the process
    _hook = hook


def failpoint(name: str) -> None:
    """Mark a crash point."""
    if _hook is not None:
        _hook(name)
