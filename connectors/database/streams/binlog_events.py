"""What stands in the events of the binary log that matter to a table: which table, which rows, which statement.

The layouts are those of MySQL 5.6 and later (versions 1 and 2 of row events) and of MariaDB.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from connectors.database.streams.binlog_values import Malformed


class Kind(IntEnum):
    """Numbers of events."""

    QUERY = 2
    STOP = 3
    ROTATE = 4
    FORMAT = 15
    XID = 16
    TABLE_MAP = 19
    INCIDENT = 26
    HEARTBEAT = 27
    GTID = 33
    ANONYMOUS = 34
    XA_PREPARE = 38
    PARTIAL_UPDATE = 39
    PAYLOAD = 40  # a whole transaction, compressed by MySQL
    HEARTBEAT_2 = 41
    MARIADB_GTID = 162
    QUERY_COMPRESSED = 165


INSERTS: Final = frozenset({23, 30, 166, 169})
UPDATES: Final = frozenset({24, 31, 167, 170})
DELETES: Final = frozenset({25, 32, 168, 171})
ROWS: Final = INSERTS | UPDATES | DELETES
_VERSION_2: Final = frozenset({30, 31, 32, 169, 170, 171})
_COMPRESSED: Final = frozenset({166, 167, 168, 169, 170, 171})

STANDALONE: Final = 1
"""Flag of a GTID of MariaDB: one statement, without an end of its own."""

_PREPARED: Final = 64
_GROUPED: Final = 2
_BLOB_LIKE: Final = frozenset({140, 242, 245, 252, 255})
_NUMBERS: Final = frozenset({1, 2, 3, 4, 5, 8, 9, 246})
_TEXTS: Final = frozenset({15, 140, 141, 252, 253, 254})
_GEOMETRY: Final = 255
_ENUM, _SET, _STRING = 247, 248, 254
_META_OCTETS: Final = {4: 1, 5: 1, 15: 2, 16: 2, 17: 1, 18: 1, 19: 1, 140: 1, 141: 2, 242: 1, 245: 1, 246: 2, 247: 2, 248: 2}
_META_OCTETS_TOO: Final = {252: 1, 253: 2, 254: 2, 255: 1}


@dataclass(frozen=True, slots=True)
class Field:
    """One column as the log describes it; None for what only `binlog_row_metadata=FULL` tells.

    `meta` holds the two numbers of the type: precision and scale, digits of the fraction, greatest length and 0.
    """

    type: int
    meta: tuple[int, int]
    name: str | None = None
    unsigned: bool | None = None
    collation: int | None = None
    members: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class TableMap:
    """Which table a number stands for in the row events that follow."""

    table_id: int
    schema: str
    table: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class RowImages:
    """Which columns the images of rows hold, one bit each, and the images. `after` differs from `before` in updates only."""

    before: int
    after: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Query:
    """A statement, with the schema that was the default, and the collation its client spoke in (0: not told)."""

    schema: str
    collation: int
    text: bytes


def packed(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length and where what follows begins."""
    first = data[at]
    if first < 251:
        return first, at + 1
    size = {252: 2, 253: 3, 254: 8}.get(first)
    if size is None:
        raise Malformed
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def map_head(body: bytes) -> tuple[int, bytes]:
    """Return number and name of the table of a table map: what tells, at no cost, whether it is ours."""
    end = 9 + body[8] + 1
    return int.from_bytes(body[:6], "little"), body[9 : end + 1 + body[end]]


def name_in_map(schema: str, table: str) -> bytes:
    """Return a name as `map_head` gives it."""
    name = table.encode()
    return schema.encode() + b"\0" + bytes((len(name) & 0xFF,)) + name


def table_map(body: bytes, *, mariadb: bool) -> TableMap:
    """Read a table map with all that it says of the columns; MariaDB gives a geometry a collation. Raises Malformed."""
    try:
        return _table_map(body, _TEXTS | {_GEOMETRY} if mariadb else _TEXTS)
    except (IndexError, ValueError) as error:
        raise Malformed from error


def _table_map(body: bytes, with_text: frozenset[int]) -> TableMap:
    at = 9 + body[8]
    schema = body[9:at].decode()
    end = at + 2 + body[at + 1]
    table = body[at + 2 : end].decode()
    count, at = packed(body, end + 1)
    types = body[at : at + count]
    size, at = packed(body, at + count)
    metas = body[at : at + size]
    at += size + (count + 7) // 8
    if len(types) < count or len(metas) < size or at > len(body):
        raise Malformed
    fields = _typed(types, metas)
    told = _told(body, at)
    return TableMap(int.from_bytes(body[:6], "little"), schema, table, _described(fields, told, with_text))


def _typed(types: bytes, metas: bytes) -> list[tuple[int, tuple[int, int]]]:
    fields, at = [], 0
    for kind in types:
        octets = _META_OCTETS.get(kind) or _META_OCTETS_TOO.get(kind, 0)
        raw = metas[at : at + octets]
        if len(raw) < octets:
            raise Malformed
        at += octets
        fields.append(_one_type(kind, raw))
    return fields


def _one_type(kind: int, raw: bytes) -> tuple[int, tuple[int, int]]:
    match kind:
        case 15 | 141:  # VARCHAR: the greatest length
            return kind, (raw[0] | raw[1] << 8, 0)
        case 254:  # the real type, into which the high bits of the length are woven
            if raw[0] in (_ENUM, _SET):
                return raw[0], (raw[1], 0)
            return (raw[0] | 0x30), (raw[1] | (raw[0] & 0x30 ^ 0x30) << 4, 0)
        case _:
            first, second = (*raw, 0, 0)[:2]
            return kind, (first, second)


def _told(body: bytes, at: int) -> dict[int, bytes]:
    """Return what the map says beyond types, by number."""
    told = {}
    while at < len(body):
        kind = body[at]
        size, at = packed(body, at + 1)
        told[kind] = body[at : at + size]
        if len(told[kind]) < size:
            raise Malformed
        at += size
    return told


def _described(fields: list[tuple[int, tuple[int, int]]], told: dict[int, bytes], with_text: frozenset[int]) -> tuple[Field, ...]:
    numbers = [n for n, (kind, _) in enumerate(fields) if kind in _NUMBERS]
    texts = [n for n, (kind, _) in enumerate(fields) if kind in with_text]
    choices = [n for n, (kind, _) in enumerate(fields) if kind in (_ENUM, _SET)]
    signs = told.get(1)
    unsigned = {} if signs is None else {n: bool(signs[i // 8] & 0x80 >> i % 8) for i, n in enumerate(numbers)}
    collations = _collations(told, texts, 2, 3) | _collations(told, choices, 10, 11)
    names = _strings(told[4]) if 4 in told else []
    if names and len(names) != len(fields):
        raise Malformed
    members: dict[int, tuple[bytes, ...]] = {}
    for number, kind in ((5, _SET), (6, _ENUM)):
        if number in told:
            of_kind = [n for n in choices if fields[n][0] == kind]
            members |= dict(zip(of_kind, _lists(told[number]), strict=True))
    return tuple(
        Field(kind, meta, names[n].decode() if names else None, unsigned.get(n), collations.get(n), members.get(n))
        for n, (kind, meta) in enumerate(fields)
    )


def _collations(told: dict[int, bytes], columns: list[int], default: int, each: int) -> dict[int, int]:
    if each in told:
        return dict(zip(columns, _integers(told[each]), strict=True))
    if default not in told:
        return {}
    first, *pairs = _integers(told[default])
    given = dict(zip(pairs[::2], pairs[1::2], strict=True))
    return {n: given.get(i, first) for i, n in enumerate(columns)}


def _integers(raw: bytes) -> list[int]:
    found, at = [], 0
    while at < len(raw):
        number, at = packed(raw, at)
        found.append(number)
    return found


def _strings(raw: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(raw):
        size, at = packed(raw, at)
        found.append(raw[at : at + size])
        at += size
    return found


def _lists(raw: bytes) -> list[tuple[bytes, ...]]:
    found, at = [], 0
    while at < len(raw):
        count, at = packed(raw, at)
        names = []
        for _ in range(count):
            size, at = packed(raw, at)
            names.append(raw[at : at + size])
            at += size
        found.append(tuple(names))
    return found


def rows_table(body: bytes) -> int:
    """Return the number of the table that a row event belongs to."""
    return int.from_bytes(body[:6], "little")


def row_images(kind: int, body: bytes) -> RowImages:
    """Read a row event. Raises Malformed."""
    try:
        at = 8
        if kind in _VERSION_2:
            at += int.from_bytes(body[8:10], "little")
        width, at = packed(body, at)
        octets = (width + 7) // 8
        before = after = int.from_bytes(body[at : at + octets], "little")
        at += octets
        if kind in UPDATES:
            after = int.from_bytes(body[at : at + octets], "little")
            at += octets
        return RowImages(before, after, _inflated(body[at:]) if kind in _COMPRESSED else body[at:])
    except IndexError as error:
        raise Malformed from error


def _inflated(raw: bytes) -> bytes:
    """Return what MariaDB has compressed: a head with the number of octets of the length, the length, and zlib's."""
    try:
        return zlib.decompress(raw[1 + (raw[0] & 7) :])
    except zlib.error as error:
        raise Malformed from error


def query(kind: int, body: bytes) -> Query:
    """Read a statement. Raises Malformed."""
    try:
        size, variables = body[8], int.from_bytes(body[11:13], "little")
        at = 13 + variables
        schema = body[at : at + size].decode("utf-8", "replace")
        text = body[at + size + 1 :]
        if kind == Kind.QUERY_COMPRESSED:
            text = _inflated(text)
        return Query(schema, _client_collation(body[13 : 13 + variables]), text)
    except IndexError as error:
        raise Malformed from error


def _client_collation(raw: bytes) -> int:
    """Find the collation of the client among the variables of a statement; those before it are skipped."""
    sizes = {0: 4, 1: 8, 3: 4}
    at = 0
    while at < len(raw):
        code = raw[at]
        if code == 4:
            return int.from_bytes(raw[at + 1 : at + 3], "little")
        if code in sizes:
            at += 1 + sizes[code]
        elif code in (2, 6):
            at += 2 + raw[at + 1] + (code == 2)
        else:
            return 0
    return 0


@dataclass(frozen=True, slots=True)
class Gtid:
    """The beginning of a transaction of MariaDB."""

    text: str
    standalone: bool
    prepared: bool


def mariadb_gtid(server: int, body: bytes) -> Gtid:
    """Read the identity of a transaction. Raises Malformed."""
    if len(body) < 13:
        raise Malformed
    sequence, domain, flags = int.from_bytes(body[:8], "little"), int.from_bytes(body[8:12], "little"), body[12]
    return Gtid(f"{domain}-{server}-{sequence}", bool(flags & STANDALONE), bool(flags & _PREPARED))


def xa_prepared(body: bytes) -> tuple[str, bool]:
    """Return the name of a transaction in two phases as statements write it, and whether this ends it. Raises Malformed."""
    if len(body) < 13:
        raise Malformed
    number, first, second = (int.from_bytes(body[at : at + 4], "little") for at in (1, 5, 9))
    return f"{body[13 : 13 + first].hex()},{body[13 + first : 13 + first + second].hex()},{number}", bool(body[0])
