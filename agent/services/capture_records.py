"""A batch of a source → records with identity.

Everything runs column-wise, as mapping does: parallel lists, no object for a record. The key ledger decides what is news: a row
equal to what was last captured of its key emits nothing, everything else is a new event. So A → B → A are three events,
delete → insert are two, and an overlapping re-read is none. Where the source gives no tokens, the next ordinal stands for one;
where it does, it says itself whether a change to what was there already is news (a file dropped again) or not (an update that
touches nothing the map takes).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, repeat
from typing import Any, Final, Protocol

from agent.errors import BadRecord, SettingsError, SourceRefused
from agent.mapping.compile import compile_map
from agent.mapping.mapper import Mapped, Mapper, Rejected
from agent.mapping.spec import MapSpec
from agent.model import Batch, LedgerRow, Objection, Op, Value
from agent.wire.envelope import encode_record, encode_records
from agent.wire.identity import RecordIds

HASH_BYTES: Final = 16
DELETED_HASH: Final = bytes(HASH_BYTES)

_NOTHING: Final = hashlib.sha256().digest()

Known = Callable[[Sequence[str]], Mapping[str, LedgerRow]]
"""Asks the ledger for keys."""


@dataclass(slots=True)
class MappedColumns:
    """Mapped rows, in the order of the source. `rows` are row numbers of the batch; `data` None stands for a delete."""

    rows: Sequence[int]
    keys: Sequence[str]
    key_json: Sequence[bytes]
    data: Sequence[bytes | None]
    digests: Sequence[bytes]  # SHA-256 of the data

    def only(self, chosen: Sequence[bool]) -> MappedColumns:
        """Return those that are chosen."""
        columns = (self.rows, self.keys, self.key_json, self.data, self.digests)
        rows, keys, key_json, data, digests = (list(compress(column, chosen)) for column in columns)
        return MappedColumns(rows, keys, key_json, data, digests)  # type: ignore[arg-type]


@dataclass(slots=True)
class Records:
    """What a batch gives: records as JSON octets and, parallel to them, what the ledger is to know."""

    encoded: Sequence[bytes] = ()
    rows: Sequence[int] = ()
    keys: Sequence[str] = ()
    hashes: Sequence[bytes] = ()
    deleted: Sequence[bool] = ()
    first_ordinal: int = 1
    unchanged: Sequence[str] = ()  # keys
    rejected: Sequence[Rejected] = ()
    warnings: Sequence[Rejected] = field(default_factory=tuple)


class RecordMaker:
    """Makes the records of one flow; `sender` is the agent. Belongs to the capture thread."""

    def __init__(self, sender: str, flow: str, spec: MapSpec) -> None:
        self._sender = sender
        self._flow = flow
        self._spec = spec
        self._columns: tuple[str, ...] = ()
        self._mapper: Mapper | None = None

    def make(self, batch: Batch, *, epoch: str, incarnation: str, first_ordinal: int, known: Known | None) -> Records:
        """Return the records of a batch. Raises SourceRefused when the columns of the source do not fit the map.

        `known` asks the ledger; None means that it holds none of the keys, and that no key comes twice.
        """
        if not batch.rows:
            return Records(first_ordinal=first_ordinal)
        events, mapped = self._mapped(batch)
        unchanged: Sequence[str] = ()
        compared = not batch.repeats if batch.tokens is not None else batch.walked is None or not batch.walked.again
        if compared and (known is not None or len(set(events.keys)) < len(events.keys)):
            news = _news(events, known)
            unchanged = [key for key, new in zip(events.keys, news, strict=True) if not new]
            events = events.only(news) if unchanged else events
        ids = RecordIds(self._sender, self._flow, incarnation, batch.entity)
        deleted = [data is None for data in events.data]
        return Records(
            encoded=_encode(ids, events, batch, f"{epoch}:", first_ordinal),
            rows=events.rows,
            keys=events.keys,
            hashes=_hashes(events),
            deleted=deleted,
            first_ordinal=first_ordinal,
            unchanged=unchanged,
            rejected=mapped.rejected,
            warnings=mapped.warnings,
        )

    def _mapped(self, batch: Batch) -> tuple[MappedColumns, Mapped]:
        mapper: _Maps = self._mapper_for(batch.columns)
        if batch.objection is not None:
            mapper = _PutAside(mapper, batch.objection)
        if batch.ops is not None and Op.DELETE in batch.ops:
            return _with_deletes(mapper, batch.rows, batch.ops)
        mapped = mapper.apply(batch.rows)
        return _columns_of(mapped, mapped.data), mapped

    def _mapper_for(self, columns: tuple[str, ...]) -> Mapper:
        if self._mapper is None or self._columns != columns:
            try:
                self._mapper = compile_map(self._spec, columns)
            except SettingsError as error:
                problem = next((p for p in error.problems if isinstance(p, SettingsError)), error)
                raise SourceRefused(problem.text, hint=problem.hint, **problem.details) from error
            self._columns = columns
        return self._mapper


class _Maps(Protocol):
    """What maps rows: a `Mapper`, or what stands in for one."""

    def apply(self, rows: Sequence[tuple[Value, ...]]) -> Mapped:
        """Map rows whole."""
        ...

    def keys_only(self, rows: Sequence[tuple[Value, ...]]) -> Mapped:
        """Map the keys of rows."""
        ...


@dataclass(frozen=True, slots=True)
class _PutAside:
    """Stands in for a mapper while all rows are put aside: their keys are known all the same, so that they can be tried again."""

    mapper: _Maps
    why: Objection

    def apply(self, rows: Sequence[tuple[Value, ...]]) -> Mapped:
        keyed = self.mapper.keys_only(rows)
        details: dict[str, Any] = dict(self.why.details)
        error = BadRecord(self.why.text, reason=self.why.reason, hint=self.why.hint, **details)
        refused = [Rejected(row, key, error) for row, key in zip(keyed.index, keyed.keys, strict=True)]
        return Mapped(rejected=[*keyed.rejected, *refused])

    def keys_only(self, rows: Sequence[tuple[Value, ...]]) -> Mapped:
        return self.mapper.keys_only(rows)


def _columns_of(mapped: Mapped, data: Sequence[bytes | None]) -> MappedColumns:
    digests = [_NOTHING if octets is None else hashlib.sha256(octets).digest() for octets in data]
    return MappedColumns(mapped.index, mapped.keys, mapped.key_json, data, digests)


def _with_deletes(mapper: _Maps, rows: Sequence[tuple[object, ...]], ops: Sequence[Op]) -> tuple[MappedColumns, Mapped]:
    """Map upserts whole and of deletes the key, and bring them back into the order of the source."""
    merged: list[tuple[int, str, bytes, bytes | None, bytes]] = []
    whole = Mapped()
    for op, apply in ((Op.UPSERT, mapper.apply), (Op.DELETE, mapper.keys_only)):
        places = [row for row, each in enumerate(ops) if each is op]
        mapped = apply([rows[row] for row in places])  # type: ignore[misc]
        events = _columns_of(mapped, mapped.data if op is Op.UPSERT else [None] * len(mapped.keys))
        numbers = [places[index] for index in events.rows]
        merged += zip(numbers, events.keys, events.key_json, events.data, events.digests, strict=True)
        whole.rejected += [replace(r, row=places[r.row]) for r in mapped.rejected]
        whole.warnings += [replace(w, row=places[w.row]) for w in mapped.warnings]
    merged.sort(key=lambda event: event[0])
    columns = [list(column) for column in zip(*merged, strict=True)] or [[], [], [], [], []]
    return MappedColumns(*columns), whole


def _news(events: MappedColumns, known: Known | None) -> list[bool]:
    """Return which events differ from what the ledger knows, or from the one before of the same key."""
    last = known(events.keys) if known is not None else {}
    seen = {key: row.hash for key, row in last.items()}
    news = []
    for key, now in zip(events.keys, _hashes(events), strict=True):
        new = seen.get(key) != now
        news.append(new)
        seen[key] = now
    return news


def _hashes(events: MappedColumns) -> list[bytes]:
    """Return what the ledger compares; a delete is told apart by a hash that no data has."""
    return [
        DELETED_HASH if data is None else digest[:HASH_BYTES] for data, digest in zip(events.data, events.digests, strict=True)
    ]


def _encode(ids: RecordIds, events: MappedColumns, batch: Batch, epoch: str, first_ordinal: int) -> list[bytes]:
    rows = events.rows
    if batch.tokens is not None:
        tokens = [batch.tokens[row] for row in rows]
    else:
        tokens = [f"{epoch}{ordinal}" for ordinal in range(first_ordinal, first_ordinal + len(rows))]
    times = [batch.times[row] for row in rows] if batch.times is not None else None
    hashes = [digest.hex() for digest in events.digests]
    data = [octets for octets in events.data if octets is not None]
    if len(data) == len(rows):  # nothing is deleted: all at once
        return encode_records(ids.of_many(events.keys, tokens, Op.UPSERT, hashes), Op.UPSERT, events.key_json, data, times)
    ops = [Op.DELETE if octets is None else Op.UPSERT for octets in events.data]
    record_ids = map(ids.of, events.keys, tokens, ops, hashes)
    return list(map(encode_record, record_ids, ops, events.key_json, events.data, times or repeat(None)))
