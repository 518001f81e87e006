"""What sources deliver: changes in batches, positions, walks, findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NewType

Position = NewType("Position", str)
"""Where a source has got to. Only its source understands it; everybody else stores it and compares for equality."""

START: Final = Position("")
"""The position before anything was read."""

Value = None | bool | int | float | str | bytes
"""What a source delivers for a column. Decimals, dates, times and zoned timestamps are canonical text: a decimal never was a
float, a date is `YYYY-MM-DD`, a timestamp `YYYY-MM-DDThh:mm:ss[.ffffff][±hh:mm]`. None is NULL and never the empty string."""


SHAPE_OFFERED: Final = "shape:offered"
SHAPE_ACCEPTED: Final = "shape:accepted"
"""Names of facts in the memory of a flow. A source whose columns changed offers what they are now; whoever resumes the flow
after a pause in which that was known has accepted it."""


class Op(StrEnum):
    """What happened to a record. A first load is upserts."""

    UPSERT = "upsert"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Input that never became a record: a broken CSV line, a value the driver cannot decode."""

    token: str
    raw: bytes
    reason: str  # stable word, see docs/errors.md
    text: str  # English catalogue key of the explanation
    details: Mapping[str, object] = field(default_factory=dict)
    columns: str = ""  # what the raw bytes are, for the operator: the header line of the file


@dataclass(frozen=True, slots=True)
class Objection:
    """Why all rows of a batch are to be put aside, although they could be read: a stable word, a catalogue key, details."""

    reason: str
    text: str
    hint: str = ""
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a first load has got. `total` is an estimate, None when unknown."""

    done: int
    total: int | None


class WalkKind(StrEnum):
    """Why a source is read from one end to the other, by key, while changes flow on."""

    LOAD = "load"  # for the first time
    COMPARE = "compare"  # to find what capture missed, deletes included
    BACKFILL = "backfill"  # some of it, because an operator asks


@dataclass(frozen=True, slots=True)
class WalkOrder:
    """A walk that a source is to begin.

    A backfill takes the rows for which `condition` holds, in the terms of the source, whose cursor lies in `since` to `until`,
    and whose key (its first column) in `first` to `last`, all ends included, as texts. With `again` also what is equal to what
    was sent last is sent.
    `certain` tells that rows are known to have gone. `changed` are the chunks in which changes were captured since the
    comparison before; None when that is not known, and then every row is read. `routine`: one of many, of which nothing is told
    unless it finds something.
    """

    kind: WalkKind
    condition: str = ""
    since: str = ""
    until: str = ""
    first: str = ""
    last: str = ""
    again: bool = False
    certain: bool = False
    changed: frozenset[int] | None = None
    routine: bool = False


@dataclass(frozen=True, slots=True)
class Walked:
    """What a batch is to a walk.

    `chunk` numbers a part of a source whose rows now are exactly those of the batch; None when they are not all of any part.
    `covered` counts the rows that this part of the walk accounts for, read or found unchanged without reading. `settled`,
    parallel to the rows, tells which of them capture had its chance to see; None means all.
    """

    kind: WalkKind
    chunk: int | None = None
    covered: int = 0
    ended: bool = False  # the walk is through
    settled: Sequence[bool] | None = None
    again: bool = False  # send also what is equal to what was sent last
    certain: bool = False  # rows are known to have gone: nobody has to be asked


@dataclass(frozen=True, slots=True)
class Batch:
    """Ordered changes of one entity and the position that covers all of them.

    Rows are columnar in spirit: `columns` names the members of every row, and `ops`, `tokens`, `times` (where given) run
    parallel to `rows`. `tokens` None means that the source has no log position and identity comes from the key ledger.
    `memory` are facts the source wants to remember (file digests, for example); they are stored in the same transaction
    as the position and given back at the next open. `ends` are the numbers of rows that are the last of their transaction at the
    source, ascending, where that is known. With an `objection` every row is put aside for that reason; deletes, which are
    nothing but a key, pass.
    """

    entity: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Value, ...]]
    position: Position
    ops: Sequence[Op] | None = None
    tokens: Sequence[str] | None = None
    times: Sequence[str | None] | None = None
    unreadable: Sequence[Unreadable] = ()
    memory: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    more: bool = False  # reading on at once will bring more
    repeats: bool = True  # with tokens: a change to what the record was already is news too
    loading: Progress | None = None  # set until the first load is through
    walked: Walked | None = None  # set when the rows were read by a walk, in which no key comes twice
    ends: Sequence[int] = ()
    objection: Objection | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check: what was looked at, whether it is well, and what to do if not."""

    subject: str
    ok: bool
    text: str
    hint: str = ""
    details: Mapping[str, object] = field(default_factory=dict)
    warning: bool = False  # not well, but not in the way either
