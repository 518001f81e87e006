"""From a table map to functions that read its rows.

What `binlog_row_metadata=FULL` tells stands above the catalogue, because it is from the time of the change; the catalogue adds
what the log never tells. Without it the catalogue has to do, and is believed only while number and types of its columns are
those of the log.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agent.errors import SourceRefused
from agent.i18n import N_
from agent.model import Value
from connectors.database.dialects.base import Database, Row, Session
from connectors.database.streams import binlog_values as values
from connectors.database.streams.binlog_events import Field, TableMap
from connectors.database.streams.binlog_image import Images, read_whole
from connectors.database.streams.binlog_json import json_text
from connectors.database.streams.binlog_values import Fixed, Malformed, Part, Prefixed, Remembered, ToText

_BINARY: Final = "binary"
_CODECS: Final = {
    "utf8mb4": "utf-8",
    "utf8mb3": "utf-8",
    "utf8": "utf-8",
    "ascii": "ascii",
    "latin1": "cp1252",
    "gbk": "gbk",
    "gb2312": "gb2312",
    "gb18030": "gbk",  # the part of it with two octets; what has four is no GBK
    "ucs2": "utf-16-be",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
}
"""Character sets that Python reads as the server does; what it cannot read, and all others, the server converts itself."""

_INTEGERS: Final = {1: 1, 2: 2, 9: 3, 3: 4, 8: 8}
_OCTETS: Final = {4: 4, 5: 8, 7: 4, 8: 8, 9: 3, 10: 3, 11: 3, 12: 8, 13: 1, 14: 3, 1: 1, 2: 2, 3: 4}
_TYPES: Final[Mapping[str, tuple[int, ...]]] = {
    "tinyint": (1,),
    "smallint": (2,),
    "mediumint": (9,),
    "int": (3,),
    "bigint": (8,),
    "decimal": (246,),
    "float": (4,),
    "double": (5,),
    "bit": (16,),
    "year": (13,),
    "date": (10, 14),
    "datetime": (18, 12),
    "timestamp": (17, 7),
    "time": (19, 11),
    "char": (254,),
    "binary": (254,),
    "uuid": (254,),
    "inet6": (254,),
    "inet4": (254,),
    "varchar": (15, 141),
    "varbinary": (15, 141),
    "json": (245,),
    "enum": (247,),
    "set": (248,),
    "vector": (242, 15),
    **dict.fromkeys(("tinyblob", "blob", "mediumblob", "longblob", "tinytext", "text", "mediumtext", "longtext"), (252, 140)),
}
_GEOMETRY: Final = (255,)
_PACKED: Final[Mapping[str, ToText]] = {
    "uuid": values.uuid_text,
    "inet6": values.address_text(16),
    "inet4": values.address_text(4),
}
_MEMBER: Final = re.compile(r"'((?:[^']|'')*)'")
_CATALOGUE: Final = (
    "SELECT column_name, data_type, column_type, character_set_name, numeric_precision, numeric_scale, datetime_precision, "
    "character_octet_length FROM information_schema.columns WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position"
)


class CannotTell(Exception):
    """What a row means cannot be told from the log; the text is a catalogue key."""


@dataclass(frozen=True, slots=True)
class Known:
    """A column as the catalogue has it now."""

    name: str
    type: str
    declared: str
    charset: str | None
    precision: int | None
    scale: int | None
    fraction: int | None
    octets: int | None

    @property
    def zerofill(self) -> bool:
        """Whether numbers are shown with zeros in front."""
        return "zerofill" in self.declared

    @property
    def shown_scale(self) -> int | None:
        """Digits behind the point of FLOAT(m, d) and DOUBLE(m, d)."""
        return self.scale if self.type in ("float", "double") and "(" in self.declared else None

    def fits(self, logged: Field) -> bool:
        """Tell whether the log can be about this column."""
        if logged.type not in _TYPES.get(self.type, _GEOMETRY):
            return False
        match logged.type:
            case 246:
                return logged.meta == (self.precision, self.scale)
            case 15 | 254:
                return self.type in _PACKED or self.octets is None or logged.meta[0] == self.octets
            case 17 | 18 | 19:
                return logged.meta[0] == self.fraction
            case _:
                return True


class Catalogue:
    """What the catalogue of the server says of one table, and of character sets. Belongs to the thread of its session."""

    def __init__(self, database: Database, session: Session, schema: str, table: str) -> None:
        self._database, self._session = database, session
        self._schema, self._table = schema, table
        self._charsets: dict[int, str] = {}
        self.mariadb = bool(getattr(database.dialect, "is_mariadb", False))

    def columns(self) -> Sequence[Known]:
        """Return the columns of the table as they are now. Raises SourceUnavailable, SourceRefused."""
        return [Known(*row) for row in self._rows(_CATALOGUE, self._schema, self._table)]

    def charset(self, collation: int) -> str:
        """Return the character set of a collation, empty if nothing is known of it."""
        if not self._charsets:
            rows = self._rows("SELECT id, character_set_name FROM information_schema.collations")
            with contextlib.suppress(SourceRefused):  # only MariaDB from 10.10 on has the number here too
                sql = "SELECT id, character_set_name FROM information_schema.collation_character_set_applicability"
                rows = [*rows, *self._rows(sql)]
            self._charsets = {int(number): str(name) for number, name in rows if number is not None and name is not None}
        return self._charsets.get(collation, "")

    def to_text(self, charset: str) -> ToText:
        """Return what makes text of the octets of a character set."""
        codec = _CODECS.get(charset)
        asked = Remembered(lambda raw: self._convert(raw, charset))
        if codec is None:
            return asked.__getitem__

        def decode(raw: bytes) -> Value:
            try:
                return raw.decode(codec)
            except UnicodeDecodeError:
                return asked[raw]

        return decode

    def _convert(self, raw: bytes, charset: str) -> str:
        if not re.fullmatch(r"\w+", charset):
            raise Malformed
        found = self._rows(f"SELECT CONVERT(%s USING {charset})", raw)[0][0]
        return raw.decode(errors="replace") if found is None else str(found)

    def _rows(self, sql: str, *bound: object) -> Sequence[Any]:
        with self._database.translated():
            self._session.cursor.execute(sql, bound or None)
            return list(self._session.cursor.fetchall())


@dataclass(frozen=True)
class Reading:
    """How to read the rows of one table map: `wanted` names the columns of the flow, `key` which of them are the key."""

    wanted: tuple[str, ...]
    key: tuple[str, ...]
    names: tuple[str, ...]
    parts: tuple[Part, ...]
    images: dict[tuple[int, bool], Images] = field(default_factory=dict)

    def rows(self, present: int, data: bytes) -> list[Row]:
        """Return the rows of an event that has one image of each. Raises Malformed, CannotTell."""
        return self._image(present, key_only=False).all(data)

    def keys(self, present: int, data: bytes) -> list[Row]:
        """Return the keys of the rows of an event that has one image of each. Raises Malformed, CannotTell."""
        return self._image(present, key_only=True).all(data)

    def pairs(self, before: int, after: int, data: bytes) -> list[tuple[Row, Row]]:
        """Return (key as it was, row as it is) of the rows of an update. Raises Malformed, CannotTell."""
        old, new = self._image(before, key_only=True), self._image(after, key_only=False)

        def pair(data: bytes, at: int) -> tuple[tuple[Row, Row], int]:
            was, at = old.one(data, at)
            row, at = new.one(data, at)
            return (was, row), at

        def slowly(data: bytes, at: int) -> tuple[tuple[Row, Row], int]:
            was, at = old.slowly(data, at)
            row, at = new.slowly(data, at)
            return (was, row), at

        return read_whole(data, pair, slowly)

    def _image(self, present: int, *, key_only: bool) -> Images:
        found = self.images.get((present, key_only))
        if found is None:
            columns = [n for n in range(len(self.names)) if present >> n & 1]
            inside = [self.names[n] for n in columns]
            kept = self.key if key_only else self.wanted
            if not set(kept) <= set(inside):
                raise CannotTell(N_("the log does not hold all columns of the rows (binlog_row_image other than FULL)"))
            found = Images([self.parts[n] for n in columns], [inside.index(name) for name in kept])
            self.images[present, key_only] = found
        return found


def reading_of(table: TableMap, catalogue: Catalogue, wanted: tuple[str, ...], key: tuple[str, ...]) -> Reading:
    """Return how to read the rows of a table. Raises CannotTell, SourceRefused, SourceUnavailable."""
    columns = catalogue.columns()
    by_name = {column.name: column for column in columns}
    logged = table.fields
    known: list[Known | None]
    if logged and logged[0].name is not None:
        names = tuple(column.name or "" for column in logged)
        known = [found if found is not None and found.fits(f) else None for f in logged for found in (by_name.get(f.name or ""),)]
    else:
        if len(columns) != len(logged) or not all(column.fits(f) for column, f in zip(columns, logged, strict=True)):
            raise CannotTell(N_("the table was changed since, and the log does not name the columns (binlog_row_metadata=FULL)"))
        names = tuple(column.name for column in columns)
        known = list(columns)
    _require(wanted, names, by_name, table.table)
    parts = tuple(
        _part(f, column, catalogue) if name in set(wanted) else _skipped(f)
        for name, f, column in zip(names, logged, known, strict=True)
    )
    return Reading(wanted, key, names, parts)


def _require(wanted: Sequence[str], names: Sequence[str], now: Mapping[str, Known], table: str) -> None:
    missing = [name for name in wanted if name not in names]
    if not missing:
        return
    lacking = [name for name in missing if name not in now]
    if now and lacking:
        raise SourceRefused(
            N_("table {table} has no column {column}"),
            hint=N_("names are taken as they stand in the source, case included"),
            table=table,
            column=", ".join(lacking),
            lacking=lacking,
            columns=list(now),
        )
    raise CannotTell(N_("a column that is read did not exist yet, or had another name, when the rows were changed"))


def _skipped(logged: Field) -> Part:
    kind, meta = logged.type, logged.meta
    if kind in _OCTETS:
        return values.octets(_OCTETS[kind])
    match kind:
        case 246:
            return values.octets(values.decimal_size(*meta))
        case 16:
            return values.octets(meta[1] + bool(meta[0]))
        case 17 | 18 | 19:
            return values.octets({17: 4, 18: 5, 19: 3}[kind] + values.fraction_size(meta[0]))
        case 247 | 248:
            return values.octets(meta[0])
        case _:
            return Prefixed(_prefix(logged))


def _prefix(logged: Field) -> int:
    """Return how many octets the length in front of a value has."""
    if logged.type in (15, 141, 253, 254):
        return 1 if logged.meta[0] < 256 else 2
    if logged.type not in (140, 242, 245, 252, 255) or not 1 <= logged.meta[0] <= 4:
        raise Malformed
    return logged.meta[0]


def _part(logged: Field, known: Known | None, catalogue: Catalogue) -> Part:
    kind = logged.type
    if kind in _TIMES:
        return _time(logged, known)
    if kind in (247, 248):
        return _choice(logged, known, catalogue)
    if kind == 245:
        return Prefixed(_prefix(logged), json_text)
    return _number(logged, known) or _text(logged, known, catalogue)


def _number(logged: Field, known: Known | None) -> Part | None:
    kind, meta = logged.type, logged.meta
    if kind in _INTEGERS:
        unsigned = logged.unsigned if logged.unsigned is not None else known is not None and "unsigned" in known.declared
        return values.integer(_INTEGERS[kind], unsigned=unsigned)
    if kind in (4, 5):
        return values.real(4 if kind == 4 else 8, known.shown_scale if known is not None else None)
    if kind == 246:
        return values.decimal(*meta, zerofill=known is not None and known.zerofill)
    if kind == 16:
        return values.bits(meta[1] + bool(meta[0]))
    return values.year() if kind == 13 else None


_TIMES: Final[Mapping[int, Callable[[int], Part]]] = {
    7: lambda _: values.instant(0, old=True),
    10: lambda _: values.day(),
    11: lambda _: values.old_span(),
    12: lambda _: values.old_moment(),
    14: lambda _: values.day(),
    17: values.instant,
    18: values.moment,
    19: values.span,
}


def _time(logged: Field, known: Known | None) -> Part:
    if logged.type in (7, 11, 12) and known is not None and known.fraction:
        raise SourceRefused(
            N_("column {column} is kept in the old format of times, whose length the log does not tell"),
            hint=N_("ask the DBA to rebuild the table: SET GLOBAL mysql56_temporal_format=ON; ALTER TABLE ... FORCE"),
            column=known.name,
        )
    return _TIMES[logged.type](logged.meta[0])


def _text(logged: Field, known: Known | None, catalogue: Catalogue) -> Prefixed:
    prefix = _prefix(logged)
    if known is not None and known.type in _PACKED:
        return Prefixed(prefix, _PACKED[known.type])
    charset = _charset(logged, known, catalogue)
    if charset == _BINARY:
        if known is None and logged.type == 254 and logged.meta[0] in (4, 16):
            raise CannotTell(N_("whether a column was BINARY, UUID or an address is not known any more"))
        to_text = values.padded(logged.meta[0]) if logged.type == 254 else bytes
    else:
        to_text = catalogue.to_text(charset)
    if logged.type in (140, 141):
        return Prefixed(prefix, values.inflated(to_text))
    return Prefixed(prefix, to_text, bytes.decode if _CODECS.get(charset) == "utf-8" else None)


def _charset(logged: Field, known: Known | None, catalogue: Catalogue) -> str:
    if logged.type in (242, 255):
        return _BINARY
    found = catalogue.charset(logged.collation) if logged.collation is not None else ""
    if found:
        return found
    if known is None:
        raise CannotTell(N_("the character set of a column is not known any more"))
    return known.charset or _BINARY


def _choice(logged: Field, known: Known | None, catalogue: Catalogue) -> Fixed:
    charset = _charset(logged, known, catalogue)
    to_text = bytes if charset == _BINARY else catalogue.to_text(charset)
    if logged.members is not None:
        members = [to_text(raw) for raw in logged.members]
    elif known is not None:
        members = [text.replace("''", "'") for text in _MEMBER.findall(known.declared)]
    else:
        raise CannotTell(N_("the members of an ENUM or SET are not known any more"))
    if logged.type == 247:
        return values.chosen(logged.meta[0], members)
    return values.several(logged.meta[0], [str(member) for member in members])
