"""A batch of a source → records with identity.

Rows are mapped whole columns at a time. Where the source gives no tokens, the key ledger decides: a row equal to what was last
captured of its key emits nothing, everything else is a new event with the next ordinal. So A → B → A are three events,
delete → insert are two, and an overlapping re-read is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from agent.errors import SettingsError, SourceRefused
from agent.mapping.compile import compile_map
from agent.mapping.mapper import Mapped, Mapper, Rejected
from agent.mapping.spec import MapSpec
from agent.model import Batch, LedgerRow, Op
from agent.wire.envelope import encode_record
from agent.wire.identity import NO_DATA_HASH, RecordIds

HASH_BYTES: Final = 16
DELETED_HASH: Final = bytes(HASH_BYTES)

Known = Callable[[Sequence[str]], Mapping[str, LedgerRow]]
"""Asks the ledger for keys."""


@dataclass(slots=True)
class Records:
    """What a batch gives. `encoded`, `keys`, `hashes`, `deleted` and `ordinals` are parallel, in the order of the source."""

    encoded: list[bytes] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    deleted: list[bool] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # in the batch
    first_ordinal: int = 1
    unchanged: list[str] = field(default_factory=list)  # keys
    rejected: Sequence[Rejected] = ()
    warnings: Sequence[Rejected] = ()


class RecordMaker:
    """Makes the records of one flow; `sender` is the agent. Belongs to the capture thread."""

    def __init__(self, sender: str, flow: str, spec: MapSpec) -> None:
        self._sender = sender
        self._flow = flow
        self._spec = spec
        self._columns: tuple[str, ...] = ()
        self._mapper: Mapper | None = None

    def make(
        self, batch: Batch, *, epoch: str, incarnation: str, first_ordinal: int, known: Known | None
    ) -> Records:
        """Return the records of a batch. Raises SourceRefused when the columns of the source do not fit the map.

        `known` asks the ledger; None means that it holds none of the keys, and that no key comes twice.
        """
        if not batch.rows:
            return Records(first_ordinal=first_ordinal)
        mapped, ops = self._mapped(batch)
        made = Records(first_ordinal=first_ordinal, rejected=mapped.rejected, warnings=mapped.warnings)
        digests = [hashlib.sha256(data).digest() for data in mapped.data]
        chosen = self._chosen(batch, mapped, ops, digests, known, made)
        ids = RecordIds(self._sender, self._flow, incarnation, batch.entity)
        times, tokens = batch.times, batch.tokens
        ordinal = first_ordinal
        for at in chosen:
            row, op, key = mapped.index[at], ops[at], mapped.keys[at]
            deleted = op is Op.DELETE and not mapped.data[at]
            token = tokens[row] if tokens is not None else f"{epoch}:{ordinal}"
            record_id = ids.of(key, token, op, NO_DATA_HASH if deleted else digests[at].hex())
            data = None if deleted else mapped.data[at]
            made.encoded.append(encode_record(record_id, op, mapped.key_json[at], data, times[row] if times else None))
            made.keys.append(key)
            made.rows.append(row)
            made.deleted.append(op is Op.DELETE)
            made.hashes.append(DELETED_HASH if deleted else digests[at][:HASH_BYTES])
            ordinal += 1
        return made

    # -- mapping -----------------------------------------------------------------------------------------------------

    def _mapped(self, batch: Batch) -> tuple[Mapped, Sequence[Op]]:
        mapper = self._mapper_for(batch.columns)
        if batch.ops is None or Op.DELETE not in batch.ops:
            mapped = mapper.apply(batch.rows)
            return mapped, [Op.UPSERT] * len(mapped.keys)
        return _with_deletes(mapper, batch, batch.ops)

    def _mapper_for(self, columns: tuple[str, ...]) -> Mapper:
        if self._mapper is None or self._columns != columns:
            try:
                self._mapper = compile_map(self._spec, columns)
            except SettingsError as error:
                problem = next((p for p in error.problems if isinstance(p, SettingsError)), error)
                raise SourceRefused(problem.text, hint=problem.hint, **problem.details) from error
            self._columns = columns
        return self._mapper

    # -- the ledger --------------------------------------------------------------------------------------------------

    def _chosen(
        self,
        batch: Batch,
        mapped: Mapped,
        ops: Sequence[Op],
        digests: Sequence[bytes],
        known: Known | None,
        made: Records,
    ) -> Sequence[int]:
        """Return which of the mapped rows are events."""
        if batch.tokens is not None or (known is None and len(set(mapped.keys)) == len(mapped.keys)):
            return range(len(mapped.keys))
        last = dict(known(mapped.keys)) if known is not None else {}
        seen = {key: (row.hash, row.deleted) for key, row in last.items()}
        chosen = []
        for at, key in enumerate(mapped.keys):
            deleted = ops[at] is Op.DELETE
            now = (DELETED_HASH if deleted and not mapped.data[at] else digests[at][:HASH_BYTES], deleted)
            if seen.get(key) == now:
                made.unchanged.append(key)
            else:
                seen[key] = now
                chosen.append(at)
        return chosen


def _with_deletes(mapper: Mapper, batch: Batch, ops: Sequence[Op]) -> tuple[Mapped, Sequence[Op]]:
    """Map upserts whole and of deletes the key, and put them back into the order of the source."""
    parts = []
    for op, apply in ((Op.UPSERT, mapper.apply), (Op.DELETE, mapper.keys_only)):
        places = [row for row, each in enumerate(ops) if each is op]
        mapped = apply([batch.rows[row] for row in places])
        data = mapped.data or [b""] * len(mapped.keys)
        columns = zip((places[i] for i in mapped.index), mapped.keys, mapped.key_json, data, [op] * len(data), strict=True)
        rejected = [replace(r, row=places[r.row]) for r in mapped.rejected]
        parts.append((list(columns), rejected, [replace(w, row=places[w.row]) for w in mapped.warnings]))
    rows = sorted((row for columns, _, _ in parts for row in columns), key=lambda row: row[0])
    whole = Mapped(
        index=[row[0] for row in rows],
        keys=[row[1] for row in rows],
        key_json=[row[2] for row in rows],
        data=[row[3] for row in rows],
        rejected=sorted((r for _, rejected, _ in parts for r in rejected), key=lambda r: r.row),
        warnings=[w for _, _, warnings in parts for w in warnings],
    )
    return whole, [row[4] for row in rows]
