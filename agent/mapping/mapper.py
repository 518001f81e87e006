"""Rows of a source to keys and record data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

import msgspec

from agent.errors import BadRecord
from agent.mapping import keys
from agent.mapping.field import Field, Findings
from agent.mapping.numbers import Decimals
from agent.mapping.plain import Column, Json
from agent.mapping.unfit import Unfit, bad_record
from agent.model import Value

Row = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row and what is wrong with it. `key` is canonical key text, None if it has none."""

    row: int
    key: str | None
    error: BadRecord


@dataclass(slots=True)
class Mapped:
    """What became of rows. `index` are the rows that survived, ascending; `keys`, `key_json` and `data` run parallel to it.

    `keys` is canonical key text; `key_json` and `data` are compact UTF-8 JSON objects, members in the order of the map.
    `rejected` and `warnings` are in the order of the rows; a rejected row has one error, the first in the order of the map,
    and no warnings.
    """

    index: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    key_json: list[bytes] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    warnings: list[Rejected] = field(default_factory=list)


class Mapper:
    """A compiled map for one set of columns. Without state: the same rows always give the same records."""

    def __init__(
        self,
        columns: Sequence[str],
        fields: Sequence[Field],
        key: Sequence[Field],
        constants: Mapping[str, Json],
        order: Sequence[str],
    ) -> None:
        """`key` are the fields of the key, in its order; `order` are the names of all fields, constants among them."""
        self.columns = tuple(columns)
        self.fields = tuple(fields)
        self.constants = dict(constants)
        self.order = tuple(order)
        self._key = tuple(key)
        self._record_json = _Encoder(order)
        key_targets = {entry.target for entry in key}
        self._key_json = _Encoder([target for target in order if target in key_targets])

    def apply(self, rows: Sequence[Row]) -> Mapped:
        """Map rows, whole columns at a time. Raises ValueError for rows that do not have the columns of the map."""
        return self._map(rows, self.fields, with_data=True)

    def apply_one(self, row: Row) -> Mapped:
        """Map one row, value by value: the definition of what `apply` does for many."""
        batch = _Batch([row], self.columns)
        for entry in self.fields:
            found = Findings()
            listed: list[Unfit] = []
            value: Json = None
            try:
                value = entry.one(row[entry.index], listed)
            except Unfit as unfit:
                found.failed[0] = unfit
            found.listed = [(0, unfit) for unfit in listed]
            batch.add(entry, [value], found)
        return self._finish(batch, with_data=True)

    def keys_only(self, rows: Sequence[Row]) -> Mapped:
        """Map the keys of deleted rows, of which nothing else need be there. `data` stays empty.

        Checks are left out: what they reject was never sent, and deleting what is not there is harmless.
        """
        return self._map(rows, [replace(entry, check=None) for entry in self._key], with_data=False)

    def _map(self, rows: Sequence[Row], fields: Sequence[Field], *, with_data: bool) -> Mapped:
        if not rows:
            return Mapped()
        batch = _Batch(rows, self.columns)
        for entry in fields:
            found = Findings()
            batch.add(entry, entry.column(batch.source[entry.index], found), found)
        return self._finish(batch, with_data=with_data)

    def _finish(self, batch: _Batch, *, with_data: bool) -> Mapped:
        batch.require_keys(self._key)
        batch.drop_failed()
        count = len(batch.index)
        data: list[bytes] = []
        if with_data:
            constants = {target: [value] * count for target, value in self.constants.items()}
            data = self._record_json.encode({**batch.values, **constants})
        return Mapped(
            index=batch.index,
            keys=keys.texts([batch.key_part_texts(entry) for entry in self._key]),
            key_json=self._key_json.encode(batch.values),
            data=data,
            rejected=[self._rejected(batch, row, *batch.failed[row]) for row in sorted(batch.failed)],
            warnings=[self._rejected(batch, *warning) for warning in batch.warnings()],
        )

    def _rejected(self, batch: _Batch, row: int, entry: Field, unfit: Unfit) -> Rejected:
        value = batch.rows[row][entry.index]
        return Rejected(row, self._key_text(batch.rows[row]), bad_record(unfit, entry.target, entry.source, value))

    def _key_text(self, row: Row) -> str | None:
        try:
            return keys.text([_part(entry, row[entry.index]) for entry in self._key])
        except (Unfit, ValueError):  # ValueError: a lone surrogate, an integer too long to be written
            return None


class _Batch:
    """Rows on their way: source columns, converted columns, and what was found."""

    def __init__(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        self.rows = rows
        self.source: list[Column] = list(zip(*rows, strict=True))
        if len(self.source) != len(columns):
            raise ValueError(f"rows of {len(self.source)} values for {len(columns)} columns")
        self.values: dict[str, Column] = {}
        self.failed: dict[int, tuple[Field, Unfit]] = {}
        self.index = list(range(len(rows)))
        self._listed: list[tuple[int, Field, Unfit]] = []

    def add(self, entry: Field, values: Column, found: Findings) -> None:
        """Take the values of a field; of several failures in a row the first counts."""
        self.values[entry.target] = values
        for row, unfit in found.failed.items():
            self.failed.setdefault(row, (entry, unfit))
        self._listed += [(row, entry, unfit) for row, unfit in found.listed]

    def require_keys(self, key: Sequence[Field]) -> None:
        """Fail the rows whose key consists of empty text."""
        if "" not in self.values[key[0].target]:
            return
        parts = zip(*(self.values[entry.target] for entry in key), strict=True)
        for row, values in enumerate(parts):
            if all(value == "" for value in values):
                self.failed.setdefault(row, (key[0], Unfit("key_missing")))

    def drop_failed(self) -> None:
        """Keep the rows that survived."""
        if not self.failed:
            return
        alive = [row not in self.failed for row in self.index]
        self.index = list(compress(self.index, alive))
        self.source = [list(compress(column, alive)) for column in self.source]
        self.values = {target: list(compress(column, alive)) for target, column in self.values.items()}

    def key_part_texts(self, entry: Field) -> list[str]:
        """Return what a key field contributes to the canonical keys."""
        if isinstance(entry.conversion, Decimals):
            return keys.decimal_texts(self.values[entry.target])
        return keys.part_texts(self.source[entry.index])

    def warnings(self) -> list[tuple[int, Field, Unfit]]:
        """Return what is to be listed of rows that survived, row by row."""
        return sorted((warning for warning in self._listed if warning[0] not in self.failed), key=lambda warning: warning[0])


def _part(entry: Field, value: Value) -> keys.Part:
    if isinstance(entry.conversion, Decimals):
        return (keys.DECIMAL, str(entry.one(value, [])))
    return keys.part(value)


class _Encoder:
    """Encodes columns to JSON objects, one for each row.

    One struct for each row, then all rows as lines in one call: three times as fast as dictionaries. JSON text has no raw
    line feed, so that the lines can be cut apart again.
    """

    def __init__(self, names: Sequence[str]) -> None:
        members = [f"member_{number}" for number in range(len(names))]
        self._names = tuple(names)
        self._struct = msgspec.defstruct("Record", members, rename=dict(zip(members, names, strict=True)), gc=False)
        self._lines = msgspec.json.Encoder().encode_lines

    def encode(self, columns: Mapping[str, Column]) -> list[bytes]:
        """Return one JSON object for each row; each name must have its column."""
        lines = self._lines(list(map(self._struct, *(columns[name] for name in self._names)))).split(b"\n")
        lines.pop()
        return lines
