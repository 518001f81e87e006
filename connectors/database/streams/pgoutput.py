"""What PostgreSQL's output plugin pgoutput says, protocol version 1: octets to messages, and its texts to values.

Nothing here talks to anyone. The layout is that of "Logical Replication Message Formats" in the manual of PostgreSQL. Texts
are in the encoding of the server and in the form its session settings give them; `reader_of` turns them into what a statement
of the same session would have returned through the driver.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

from psycopg import postgres

from agent.model import Value


class Unchanged(Enum):
    """The marker of a long value that an update left alone and did not log; it is not NULL."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED

Text = str | None | Unchanged
"""A value as it is logged: its text, NULL, or not told. Octets that are no text come as surrogate escapes."""


class Begin(NamedTuple):
    """The messages that follow are a transaction. Its changes come after all those that committed before it."""

    final_lsn: int  # where its commit record begins
    committed: int  # microseconds since 2000-01-01 UTC
    xid: int  # 32 bits, of the top-level transaction


class Commit(NamedTuple):
    """The transaction is complete."""

    final_lsn: int
    end_lsn: int  # behind its commit record
    committed: int


class Origin(NamedTuple):
    """The transaction was replicated from elsewhere."""

    lsn: int
    name: str


class RelationColumn(NamedTuple):
    """A column as it was when the changes that follow were made."""

    name: str
    identity: bool  # part of the replica identity
    type_oid: int
    modifier: int


class Relation(NamedTuple):
    """What the changes that follow mean by a relation number."""

    oid: int
    schema: str
    name: str
    replica_identity: str  # d, n, f, i
    columns: tuple[RelationColumn, ...]


class Type(NamedTuple):
    """The name of a type that is not built in."""

    oid: int
    schema: str
    name: str


class Insert(NamedTuple):
    """A new row."""

    relation: int
    new: list[Text]


class Update(NamedTuple):
    """A changed row. `old` is None unless the identity changed (`whole` False) or all old values are logged (`whole` True)."""

    relation: int
    old: list[Text] | None
    whole: bool
    new: list[Text]


class Delete(NamedTuple):
    """A deleted row: all of its values (`whole`), or those of its replica identity and NULL elsewhere."""

    relation: int
    old: list[Text]
    whole: bool


class Truncate(NamedTuple):
    """Relations were emptied."""

    relations: tuple[int, ...]
    cascade: bool
    restart_identity: bool


class Message(NamedTuple):
    """What pg_logical_emit_message wrote."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes


Decoded = Begin | Commit | Origin | Relation | Type | Insert | Update | Delete | Truncate | Message

_BEGIN: Final = struct.Struct(">xQqI")
_COMMIT: Final = struct.Struct(">xBQQq")
_NUMBER: Final = struct.Struct(">I").unpack_from
_KIND_AND_SIZE: Final = struct.Struct(">BI").unpack_from
_COUNT: Final = struct.Struct(">H").unpack_from
_LONG: Final = struct.Struct(">Q").unpack_from
_COLUMN: Final = struct.Struct(">Ii")


def decode(data: bytes, encoding: str = "utf-8") -> Decoded:
    """Return the message. Raises ValueError that says what is wrong with it."""
    try:
        read = _READ[data[0]]
    except IndexError:
        raise ValueError("an empty message of pgoutput") from None
    except KeyError:
        raise ValueError(f"a message of pgoutput of unknown kind {data[:1]!r}") from None
    try:
        message, end = read(data, encoding)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"a message {data[:1]!r} of pgoutput that ends too early or is garbled: {error}") from error
    if end != len(data):
        raise ValueError(f"a message {data[:1]!r} of pgoutput of {len(data)} octets whose content needs {end}")
    return message


def lsn_text(lsn: int) -> str:
    """Return a place in the log as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def lsn_number(text: str) -> int:
    """Return a place in the log as a number. Raises ValueError."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) | int(low, 16)


_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


def commit_time(committed: int) -> str:
    """Return the time of a commit as canonical text with microseconds, in UTC."""
    return (_EPOCH + timedelta(microseconds=committed)).isoformat(timespec="microseconds")


# -- values ----------------------------------------------------------------------------------------------------------


def reader_of(type_oid: int, base_oid: int | None = None) -> Callable[[str], Value] | None:
    """Return what makes a value of the text of a type, None where the text is the value.

    `base_oid` is the type a domain rests on. Statements load a domain as its base, but do not rewrite its text.
    """
    if base_oid is not None:
        return _LOADED.get(base_oid)
    return _LOADED.get(type_oid) or _SHOWN.get(type_oid) or (_array if type_oid in _ARRAYS else None)


def _boolean(text: str) -> bool:
    return text == "t"


def _octets(text: str) -> bytes:
    return bytes.fromhex(text[2:])  # bytea_output = hex


def _char(text: str) -> str:
    return text.rstrip(" ")


def _timestamp(text: str) -> str:
    return text.replace(" ", "T")


def _instant(text: str) -> str:
    return text if text.endswith("y") else text.replace(" ", "T") + ":00"  # (-)infinity; the session is in UTC


def _money(text: str) -> str:
    return text.replace("$", "").replace(",", "")  # lc_monetary = C


def _document(text: str) -> str | None:
    bare = text.strip(" \t\n\r")
    return None if bare == "null" else bare


def _array(text: str) -> str:
    return text.partition("=")[2] if text.startswith("[") else text


_LOADED: Final[Mapping[int, Callable[[str], Value]]] = {
    16: _boolean,
    17: _octets,
    20: int,
    21: int,
    23: int,
    26: int,
    700: float,
    701: float,
}
"""Types that become Python values, by number: bool, bytea, int8, int2, int4, oid, float4, float8."""

_SHOWN: Final[Mapping[int, Callable[[str], Value]]] = {
    114: _document,
    790: _money,
    1042: _char,
    1114: _timestamp,
    1184: _instant,
    3802: _document,
}
"""Types whose text is rewritten: json, money, char(n), timestamp, timestamptz, jsonb."""

_ARRAYS: Final = frozenset(info.array_oid for info in postgres.types if info.array_oid)


# -- the kinds of messages -------------------------------------------------------------------------------------------


def _begin(data: bytes, _encoding: str) -> tuple[Decoded, int]:
    return Begin(*_BEGIN.unpack_from(data)), _BEGIN.size


def _commit(data: bytes, _encoding: str) -> tuple[Decoded, int]:
    _, final_lsn, end_lsn, committed = _COMMIT.unpack_from(data)
    return Commit(final_lsn, end_lsn, committed), _COMMIT.size


def _origin(data: bytes, encoding: str) -> tuple[Decoded, int]:
    name, end = _name(data, 9, encoding)
    return Origin(_LONG(data, 1)[0], name), end


def _relation(data: bytes, encoding: str) -> tuple[Decoded, int]:
    schema, at = _name(data, 5, encoding)
    name, at = _name(data, at, encoding)
    identity = chr(data[at])
    (count,) = _COUNT(data, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        flags = data[at]
        column, at = _name(data, at + 1, encoding)
        columns.append(RelationColumn(column, bool(flags & 1), *_COLUMN.unpack_from(data, at)))
        at += _COLUMN.size
    return Relation(_NUMBER(data, 1)[0], schema or "pg_catalog", name, identity, tuple(columns)), at


def _type(data: bytes, encoding: str) -> tuple[Decoded, int]:
    schema, at = _name(data, 5, encoding)
    name, at = _name(data, at, encoding)
    return Type(_NUMBER(data, 1)[0], schema or "pg_catalog", name), at


def _insert(data: bytes, encoding: str) -> tuple[Decoded, int]:
    _expect(data, 5, b"N")
    new, at = _values(data, 6, encoding)
    return Insert(_NUMBER(data, 1)[0], new), at


def _update(data: bytes, encoding: str) -> tuple[Decoded, int]:
    old, at, part = None, 5, data[5]
    if part in b"KO":
        old, at = _values(data, 6, encoding)
    _expect(data, at, b"N")
    new, at = _values(data, at + 1, encoding)
    return Update(_NUMBER(data, 1)[0], old, part == 0x4F, new), at


def _delete(data: bytes, encoding: str) -> tuple[Decoded, int]:
    _expect(data, 5, b"KO")
    old, at = _values(data, 6, encoding)
    return Delete(_NUMBER(data, 1)[0], old, data[5] == 0x4F), at


def _truncate(data: bytes, _encoding: str) -> tuple[Decoded, int]:
    (count,) = _NUMBER(data, 1)
    options = data[5]
    end = 6 + 4 * count
    if end > len(data):
        raise IndexError(f"{count} relations")
    return Truncate(tuple(_NUMBER(data, at)[0] for at in range(6, end, 4)), bool(options & 1), bool(options & 2)), end


def _message(data: bytes, encoding: str) -> tuple[Decoded, int]:
    prefix, at = _name(data, 10, encoding)
    (size,) = _NUMBER(data, at)
    end = at + 4 + size
    return Message(bool(data[1] & 1), _LONG(data, 2)[0], prefix, data[at + 4 : end]), end


_READ: Final[Mapping[int, Callable[[bytes, str], tuple[Decoded, int]]]] = {
    ord("B"): _begin,
    ord("C"): _commit,
    ord("D"): _delete,
    ord("I"): _insert,
    ord("M"): _message,
    ord("O"): _origin,
    ord("R"): _relation,
    ord("T"): _truncate,
    ord("U"): _update,
    ord("Y"): _type,
}


def _expect(data: bytes, at: int, kinds: bytes) -> None:
    if data[at] not in kinds:
        raise IndexError(f"a row of kind {data[at : at + 1]!r}")


def _name(data: bytes, at: int, encoding: str) -> tuple[str, int]:
    end = data.find(0, at)
    if end < 0:
        raise IndexError("a name without an end")
    return data[at:end].decode(encoding), end + 1


def _values(data: bytes, at: int, encoding: str, errors: str = "strict") -> tuple[list[Text], int]:
    """Return the values of a row and where it ends. The speed of the stream is that of this loop."""
    first = at
    (count,) = _COUNT(data, at)
    at += 2
    values: list[Text] = []
    append = values.append
    padded = data + b"\0\0\0\0"  # so that kind and size can be read in one go for a last value without a size
    try:
        for _ in range(count):
            kind, size = _KIND_AND_SIZE(padded, at)
            if kind == 0x74:  # t
                at += 5
                append(data[at : (at := at + size)].decode(encoding, errors))
            elif kind == 0x6E:  # n
                at += 1
                append(None)
            elif kind == 0x75:  # u
                at += 1
                append(UNCHANGED)
            else:
                raise IndexError(f"a value of kind {data[at : at + 1]!r}")
    except UnicodeDecodeError:
        if errors != "strict":
            raise
        return _values(data, first, encoding, "surrogateescape")
    return values, at
