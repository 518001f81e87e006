"""Messages of pgoutput are read as the manual lays them out, and anything else is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.database.streams.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Origin,
    Relation,
    RelationColumn,
    Truncate,
    Type,
    Update,
    commit_time,
    decode,
    lsn_number,
    lsn_text,
    reader_of,
)


def row(*values: object, encoding: str = "utf-8") -> bytes:
    """Return a row: texts, None for NULL, UNCHANGED."""
    parts = [struct.pack(">H", len(values))]
    for value in values:
        if isinstance(value, str):
            octets = value.encode(encoding, "surrogateescape")
            parts.append(b"t" + struct.pack(">I", len(octets)) + octets)
        else:
            parts.append(b"n" if value is None else b"u")
    return b"".join(parts)


NUMBER = struct.pack(">I", 16385)
MESSAGES: dict[str, tuple[bytes, object]] = {
    "begin": (b"B" + struct.pack(">QqI", 0x116B3748, 5, 4_000_000_000), Begin(0x116B3748, 5, 4_000_000_000)),
    "commit": (b"C\0" + struct.pack(">QQq", 1 << 40, (1 << 40) + 8, -1), Commit(1 << 40, (1 << 40) + 8, -1)),
    "origin": (b"O" + struct.pack(">Q", 7) + b"pg_7\0", Origin(7, "pg_7")),
    "relation": (
        b"R"
        + NUMBER
        + "库\0表\0d\0\2".encode()
        + b"\1id\0"
        + struct.pack(">Ii", 23, -1)
        + b"\0v\0"
        + struct.pack(">Ii", 1043, 13),
        Relation(16385, "库", "表", "d", (RelationColumn("id", True, 23, -1), RelationColumn("v", False, 1043, 13))),
    ),
    "relation of the catalogue": (b"R" + NUMBER + b"\0t\0n\0\0", Relation(16385, "pg_catalog", "t", "n", ())),
    "type": (b"Y" + NUMBER + b"public\0mood\0", Type(16385, "public", "mood")),
    "insert": (b"I" + NUMBER + b"N" + row("1", "", None, "字"), Insert(16385, ["1", "", None, "字"])),
    "insert of nothing": (b"I" + NUMBER + b"N" + row(), Insert(16385, [])),
    "update": (b"U" + NUMBER + b"N" + row("1", UNCHANGED), Update(16385, None, False, ["1", UNCHANGED])),
    "update of the key": (
        b"U" + NUMBER + b"K" + row("1", None) + b"N" + row("2", "x"),
        Update(16385, ["1", None], False, ["2", "x"]),
    ),
    "update, whole": (b"U" + NUMBER + b"O" + row("1", "a") + b"N" + row("1", "b"), Update(16385, ["1", "a"], True, ["1", "b"])),
    "delete": (b"D" + NUMBER + b"K" + row("1", None), Delete(16385, ["1", None], False)),
    "delete, whole": (b"D" + NUMBER + b"O" + row("1", "a"), Delete(16385, ["1", "a"], True)),
    "truncate": (b"T\0\0\0\2\3" + NUMBER + struct.pack(">I", 9), Truncate((16385, 9), True, True)),
    "message": (b"M\1" + struct.pack(">Q", 9) + b"huitong\0\0\0\0\2\0\xff", Message(True, 9, "huitong", b"\0\xff")),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_each_kind_of_message_is_read(name: str) -> None:
    """Every field is where the manual says it is."""
    data, message = MESSAGES[name]
    decoded = decode(data)
    assert decoded == message
    assert type(decoded) is type(message)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_that_is_cut_or_goes_on_is_refused(name: str) -> None:
    """A message is read whole or not at all, wherever it is cut, and nothing may follow it."""
    data, _ = MESSAGES[name]
    for size in range(len(data)):
        with pytest.raises(ValueError):
            decode(data[:size])
    with pytest.raises(ValueError, match="whose content needs"):
        decode(data + b"\0")


@pytest.mark.parametrize(
    "data",
    [
        b"S\0\0\0\1\0",
        b"\xff",
        b"I" + NUMBER + b"K" + row("1"),
        b"I" + NUMBER + b"N\0\1b\0\0\0\1x",
        b"I" + NUMBER + b"N\0\1t\xff\xff\xff\xffx",
        b"U" + NUMBER + b"X" + row("1"),
        b"U" + NUMBER + b"K" + row("1") + b"X" + row("1"),
        b"D" + NUMBER + b"N" + row("1"),
        b"T\x7f\0\0\0\0",
        b"R" + NUMBER + b"\xff\0t\0d\0\0",
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    """Kinds of other protocol versions, rows of the wrong kind, sizes beyond the end: a ValueError, nothing else."""
    with pytest.raises(ValueError, match="pgoutput"):
        decode(data)


@given(st.binary(max_size=60))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    """Whatever comes, decoding returns or raises ValueError."""
    for kind in b"BCDIMORTUY":
        try:
            decode(bytes((kind,)) + data)
        except ValueError as error:
            assert "pgoutput" in str(error)  # noqa: PT017 - either is right


@given(st.lists(st.one_of(st.none(), st.just(UNCHANGED), st.text(st.characters(exclude_categories=("Cs",))))))
def test_texts_come_as_they_were(values: list[Any]) -> None:
    """Text, the empty text, NULL and what was not logged stay apart."""
    assert decode(b"I" + NUMBER + b"N" + row(*values)) == Insert(16385, values)


def test_text_in_other_encodings_and_none() -> None:
    """The encoding is that of the server; octets that are no text become surrogate escapes and are lost neither."""
    assert decode(b"I" + NUMBER + b"N" + row("张三", encoding="gb2312"), "gb2312") == Insert(16385, ["张三"])
    assert decode(b"I" + NUMBER + b"N" + row("a\udcd5\udcc5", "字")) == Insert(16385, ["a\udcd5\udcc5", "字"])


def test_long_values_have_their_size() -> None:
    """Sizes have four octets."""
    assert decode(b"I" + NUMBER + b"N" + row("x" * 70_000, "y")) == Insert(16385, ["x" * 70_000, "y"])


def test_places_and_times_have_one_form() -> None:
    """A place in the log is two hexadecimal halves; a commit has microseconds and UTC."""
    assert lsn_text(0x1_0000_00AB) == "1/AB"
    assert lsn_number("1/AB") == 0x1_0000_00AB
    assert lsn_number(lsn_text(2**64 - 1)) == 2**64 - 1
    with pytest.raises(ValueError):
        lsn_number("1")
    assert commit_time(0) == "2000-01-01T00:00:00.000000+00:00"
    assert commit_time(848_564_645_123_456) == "2026-11-21T08:24:05.123456+00:00"
    assert commit_time(-1) == "1999-12-31T23:59:59.999999+00:00"


@pytest.mark.parametrize(
    "type_oid, base, text, value",
    [
        (16, None, "t", True),
        (16, None, "f", False),
        (17, None, r"\x00ff", b"\x00\xff"),
        (20, None, "9007199254740993", 9007199254740993),
        (701, None, "0.1", 0.1),
        (701, None, "-Infinity", float("-inf")),
        (1042, None, "ab   ", "ab"),
        (1114, None, "2026-11-21 08:00:00.5", "2026-11-21T08:00:00.5"),
        (114, None, ' {"a": null}\n', '{"a": null}'),
        (114, None, " null ", None),
        (3802, None, "null", None),
        (1184, None, "2026-11-21 08:00:00+00", "2026-11-21T08:00:00+00:00"),
        (1184, None, "-infinity", "-infinity"),
        (790, None, "-$1,234.50", "-1234.50"),
        (70_000, 23, "7", 7),
    ],
)
def test_values_are_those_of_a_statement(type_oid: int, base: int | None, text: str, value: object) -> None:
    """The text of a type becomes what the first load reads; the integration tests compare all types with a server."""
    read: Callable[[str], object] | None = reader_of(type_oid, base)
    assert read is not None
    assert repr(read(text)) == repr(value)


@pytest.mark.parametrize("type_oid, base", [(25, None), (1700, None), (16_500, None), (16_501, 1184), (16_502, 1042)])
def test_other_values_are_their_text(type_oid: int, base: int | None) -> None:
    """Text, decimals, JSON, types of extensions, and domains whose base a statement does not rewrite."""
    assert reader_of(type_oid, base) is None
