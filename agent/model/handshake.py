"""What a source that keeps states of its rows asks about them, and what it is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from agent.model.outbox import State
from agent.model.receipts import RefusedRecord


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the last version of a key has got to.

    `state` is that of the message which carries it now, None when that was stored so long ago that it is forgotten. `epoch` is
    the one of the message that carried it first. `refused` are all records of the message that the hub did not store.
    """

    hash: bytes  # as in the ledger
    ordinal: int
    deleted: bool
    epoch: str
    state: State | None
    code: str = ""
    text: str = ""  # what the hub said of the whole message
    refused: Sequence[RefusedRecord] = ()


class Fate(StrEnum):
    """What became of a row that was handed over."""

    STORED = "stored"
    FAILED = "failed"
    AGAIN = "again"  # nothing is known of it any more, because the store was put back from a copy: hand it over again


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source is told of one row; `text` is an English catalogue key with fields from `details`, empty when stored.

    `field` is the field of the record that is wrong, where it is one.
    """

    fate: Fate
    text: str = ""
    details: Mapping[str, object] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    field: str = ""
