"""What becomes of a message, decided from the state of its flow alone. Pure; the whole of PROTOCOL 2 and 3 for the hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agent.model import Outcome
from agent.wire.codes import CODES
from hub.ingest.items import Place
from hub.model import EpochState, FlowState, Seen
from hub.sequence import MAX_RANGES

MEMOISED: Final = frozenset({Outcome.STORED, Outcome.PARTLY_STORED})
"""Outcomes that stay what they are: the same message again gets the same receipt. Everything else is judged anew."""

Occupied = Callable[[EpochState, int], bool]
"""occupied(epoch, sequence): whether a message, not a void, closed this sequence."""


class Fate(StrEnum):
    """What to do with a message."""

    STORE = "store"
    REPEAT = "repeat"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision. `freezes` says that it uncovered a second history."""

    fate: Fate
    code: str = ""
    why: str = ""
    freezes: bool = False

    @property
    def outcome(self) -> Outcome:
        """Return the outcome of a refusal."""
        return CODES[self.code].outcome


STORE: Final = Verdict(Fate.STORE)
REPEAT: Final = Verdict(Fate.REPEAT)


def refuse(code: str, why: str = "", *, freezes: bool = False) -> Verdict:
    """Return a refusal."""
    return Verdict(Fate.REFUSE, code, why, freezes)


def judge_records(place: Place, digest: bytes, flow: FlowState | None, seen: Seen | None, occupied: Occupied) -> Verdict:
    """Judge a message of records."""
    known = judge_identity(digest, seen)
    if known is not None:
        return known
    epoch = flow.epochs.get(place.epoch) if flow is not None else None
    if epoch is None:
        return refuse("unknown_epoch", place.epoch)
    return _judge_place(place, epoch, occupied)


def _judge_place(place: Place, epoch: EpochState, occupied: Occupied) -> Verdict:
    if epoch.frozen:
        return refuse("frozen", epoch.frozen)
    if epoch.closed.covers(place.sequence):
        if occupied(epoch, place.sequence):
            return refuse("fork", f"a second message with sequence {place.sequence}", freezes=True)
        return refuse("void", f"sequence {place.sequence}")
    if len(epoch.closed.ahead) >= MAX_RANGES and place.sequence > epoch.closed.high_water + 1:
        return refuse("quota", "too many gaps in the sequences")
    return STORE


def judge_identity(digest: bytes, seen: Seen | None) -> Verdict | None:
    """Judge what the message id alone decides; None when it decides nothing."""
    if seen is None:
        return None
    if seen.digest != digest:
        return refuse("conflict", f"first seen with digest {seen.digest.hex()}")
    return REPEAT if seen.outcome in MEMOISED else refuse(seen.code, "refused before")
