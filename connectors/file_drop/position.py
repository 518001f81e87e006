"""Where a folder source has got to: which drop, and where in it.

A drop is one file with one content. Every file that is dealt with takes the next ordinal, also one that repeats an earlier
drop or cannot be read, so that what is committed says exactly which files may be filed away.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec

from agent.errors import SourceGone
from agent.i18n import N_
from agent.model import START, Position

READ: Final = "read"
REPEATED: Final = "repeated"
"""What became of a drop, where it is not the reason for which the whole file was refused."""


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """What tells that a file is the one that was looked at, without reading it again."""

    inode: int
    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """Return the identity in a stat result."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


class Drop(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place in a drop. `offset` and `row` are those of the next row; `ended` is set when there is none."""

    ordinal: int
    name: str
    identity: Identity
    digest: str  # SHA-256 of the whole content, hex
    encoding: str = ""
    offset: int = 0
    row: int = 0
    rows: int = 0  # read so far
    ended: str = ""  # READ, REPEATED, or why the whole file was refused
    twin: int = 0  # of a repeated drop: the ordinal of the first


_DECODER: Final = msgspec.json.Decoder(Drop)


def encode(drop: Drop) -> Position:
    """Return the position as stored."""
    return Position(msgspec.json.encode(drop).decode())


def decode(position: Position) -> Drop | None:
    """Return what a stored position says, None for START. Raises SourceGone for what is no position of a folder."""
    if position == START:
        return None
    try:
        return _DECODER.decode(position)
    except msgspec.MsgspecError as error:
        raise SourceGone(position=position[:40], why=N_("it is not a position of a folder")) from error
