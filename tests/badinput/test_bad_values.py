"""Values of databases that cannot travel, or only look as if they could not: from the source to the hub, neighbours unharmed."""

from __future__ import annotations

import datetime as dt
import decimal
import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.mapping.spec import FieldSpec, MapSpec
from agent.testing.scripted_source import ScriptedSource
from connectors.database.settings import DatabaseFrom, SqliteConnection
from connectors.database.source import DatabaseSource
from connectors.wiring import Wiring
from tests.badinput.kit import explained
from tests.planted.ledgers import require
from tests.planted.line import FLOW, Line, line

pytestmark = pytest.mark.timeout(60)

NAN, INF = float("nan"), float("inf")


class Arrives:
    """The value arrives, as this."""

    def __init__(self, value: object) -> None:
        self.value = value


def noise(count: int) -> str:
    """Return text that does not compress."""
    return "".join(map(chr, random.Random(3).choices(range(0x4E00, 0x9FFF), k=count)))


PLAIN: dict[str, tuple[Any, str | Arrives]] = {
    "NaN": (NAN, "not_a_number"),
    "infinity": (INF, "not_a_number"),
    "minus infinity": (-INF, "not_a_number"),
    "a float that is no decimal": (0.1 + 0.2, Arrives(0.1 + 0.2)),
    "the smallest float": (5e-324, Arrives(5e-324)),
    "the largest float": (1.7976931348623157e308, Arrives(1.7976931348623157e308)),
    "minus zero": (-0.0, Arrives(-0.0)),
    "NUL": ("a\0b", "nul_character"),
    "only NUL": ("\0", "nul_character"),
    "half a character": ("a\ud800b", "lone_surrogate"),
    "the other half": ("\udfff", "lone_surrogate"),
    "halves the wrong way round": ("\udc00\ud800", "lone_surrogate"),
    "an undecodable octet": ("a\udcffb", "lone_surrogate"),
    "control characters": ("\x01\x02\x1b[31m\x7f\x9f", Arrives("\x01\x02\x1b[31m\x7f\x9f")),
    "line ends of all kinds": ("a\r\nb\rc\nd\u2028e\x85f", Arrives("a\r\nb\rc\nd\u2028e\x85f")),
    "quotes and backslashes": ('"\\"\\u0000\\', Arrives('"\\"\\u0000\\')),
    "text turned round": ("\u202eabc\u2066", Arrives("\u202eabc\u2066")),
    "a non-character": ("\ufffe\uffff\U0010ffff", Arrives("\ufffe\uffff\U0010ffff")),
    "private use": ("\ue863\U000f0000", Arrives("\ue863\U000f0000")),
    "an emoji of many": ("👨‍👩‍👧‍👦🏳️‍🌈", Arrives("👨‍👩‍👧‍👦🏳️‍🌈")),
    "a thousand accents": ("e" + "\u0301" * 1000, Arrives("e" + "\u0301" * 1000)),
    "a byte order mark": ("\ufeffx", Arrives("\ufeffx")),
    "markup": ("<img src=x onerror=alert(1)>", Arrives("<img src=x onerror=alert(1)>")),
    "a formula": ("=HYPERLINK(1)", Arrives("=HYPERLINK(1)")),
    "SQL": ("'; DROP TABLE record; --", Arrives("'; DROP TABLE record; --")),
    "braces": ("{0.__class__}%s${x}", Arrives("{0.__class__}%s${x}")),
    "JSON": ('{"id":"x"}', Arrives('{"id":"x"}')),
    "empty text": ("", Arrives("")),
    "spaces": ("  \u3000 ", Arrives("  \u3000 ")),
    "NULL": (None, Arrives(None)),
    "2^53 - 1": (2**53 - 1, Arrives(2**53 - 1)),
    "2^53": (2**53, Arrives(str(2**53))),
    "-2^53": (-(2**53), Arrives(str(-(2**53)))),
    "-2^63": (-(2**63), Arrives(str(-(2**63)))),
    "2^64": (2**64, Arrives(str(2**64))),
    "2 000 digits": (10**2000, Arrives(str(10**2000))),
    "5 000 digits": (10**5000, "type_unsupported"),
    "octets": (b"\x00\xff\xfe", Arrives("AP_-")),
    "no octets": (b"", Arrives("")),
    "a decimal object": (decimal.Decimal("1.10"), "type_unsupported"),
    "a date object": (dt.date(2026, 2, 28), "type_unsupported"),
    "a list": ([1, 2], "type_unsupported"),
    "a mapping": ({"a": 1}, "type_unsupported"),
    "a complex number": (1j, "type_unsupported"),
    "ten million characters": ("甲" * 10_000_000, Arrives("甲" * 10_000_000)),
    "more than a message carries": (noise(5_000_000), "record_too_large"),
    "a million commas": ("," * 1_900_000, Arrives("," * 1_900_000)),
    "more values than the hub counts": ("[" * 3_000_000, "record_too_large"),
}

CONVERTED: dict[str, tuple[dict[str, Any], Any, str | Arrives]] = {
    "NaN as a decimal": ({"decimal": 2}, NAN, "decimal_format"),
    "infinity as a decimal": ({"decimal": 2}, "Infinity", "decimal_format"),
    "NaN in words": ({"decimal": 2}, "NaN", "decimal_format"),
    "an exponent": ({"decimal": 2}, "1e5", "decimal_exponent"),
    "thousands": ({"decimal": 2}, "1,000.00", "decimal_grouping"),
    "full-width digits": ({"decimal": 2}, "１２.３４", "decimal_fullwidth"),
    "too many digits": ({"decimal": 2}, "0.125", "decimal_scale"),
    "two points": ({"decimal": 2}, "1.2.3", "decimal_format"),
    "a currency": ({"decimal": 2}, "¥100", "decimal_format"),
    "minus alone": ({"decimal": 2}, "-", "decimal_format"),
    "octets as a decimal": ({"decimal": 2}, b"1.00", "decimal_format"),
    "yes as a decimal": ({"decimal": 2}, True, "decimal_format"),
    "forty digits": ({"decimal": 2}, "9" * 40 + ".99", Arrives("9" * 40 + ".99")),
    "ten thousand digits": ({"decimal": 0}, "1" * 10_000, Arrives("1" * 10_000)),
    "minus nothing": ({"decimal": 2}, "-0.00", Arrives("0.00")),
    "hexadecimal as an integer": ({"integer": True}, "0x1F", "integer_format"),
    "a fraction as an integer": ({"integer": True}, "1.5", "integer_format"),
    "an underscore as an integer": ({"integer": True}, "1_000", "integer_format"),
    "Arabic digits as an integer": ({"integer": True}, "٣", "integer_format"),
    "NaN as an integer": ({"integer": True}, NAN, "integer_format"),
    "two thousand digits as an integer": ({"integer": True}, "1" * 2000, "integer_format"),
    "perhaps as a boolean": ({"boolean": True}, "maybe", "boolean_format"),
    "two as a boolean": ({"boolean": True}, 2, "boolean_format"),
    "NaN as a boolean": ({"boolean": True}, NAN, "boolean_format"),
    "the 30th of February": ({"date": "YYYY-MM-DD"}, "2026-02-30", "date_invalid"),
    "the 29th of February in an ordinary year": ({"date": "YYYYMMDD"}, "20230229", "date_invalid"),
    "month 13": ({"date": "YYYYMMDD"}, "20261301", "date_invalid"),
    "the year 10000": ({"date": "YYYY-MM-DD"}, "10000-01-01", "date_format"),
    "the year 0": ({"date": "YYYY-MM-DD"}, "0000-01-01", "date_invalid"),
    "a date of zeros": ({"date": "YYYY-MM-DD"}, "0000-00-00", Arrives(None)),
    "a date in words": ({"date": "YYYY-MM-DD"}, "昨天", "date_format"),
    "a date in full-width": ({"date": "YYYY-MM-DD"}, "２０２６-01-01", "date_format"),
    "a date before Christ": ({"date": "YYYY-MM-DD"}, "-0044-03-15", "date_format"),
    "infinity as a date": ({"date": "YYYY-MM-DD"}, "infinity", "date_format"),
    "octets as a date": ({"date": "YYYYMMDD"}, b"20260101", "date_format"),
    "an epoch beyond all calendars": ({"date": "epoch-s"}, 10**15, "date_invalid"),
    "an epoch with a fraction": ({"date": "epoch-s"}, "1.5", "date_format"),
    "hour 25": ({"date": "YYYY-MM-DD HH:mm:ss"}, "2026-01-01 25:00:00", "date_invalid"),
    "a code nobody knows": ({"codes": {"1": "a"}}, "9", "code_unknown"),
    "a code with a space": ({"codes": {"1": "a"}}, "1 ", "code_unknown"),
    "NaN as a code": ({"codes": {"1": "a"}}, NAN, "code_unknown"),
    "NULL where a value must be": ({"required": True}, None, "required"),
    "nothing where a value must be": ({"required": True}, "", "required"),
    "too long": ({"max_length": 3}, "甲乙丙丁", "too_long"),
    "NUL where the length counts": ({"max_length": 3}, "\0", "nul_character"),
    "an identity number that is none": ({"check": "cn-id"}, "510104199013013X", "cn_id_shape"),
    "an identity number with a wrong digit": ({"check": "cn-id"}, "11010519491231002Y", "cn_id_shape"),
    "a credit code that is none": ({"check": "uscc"}, "91510100MA6C+++++", "uscc_shape"),
}

KEYS: dict[str, tuple[Any, str | None]] = {
    "NULL": (None, "key_missing"),
    "empty": ("", "key_missing"),
    "NaN": (NAN, "not_a_number"),
    "infinity": (INF, "not_a_number"),
    "NUL": ("\0", "nul_character"),
    "half a character": ("\ud800", "lone_surrogate"),
    "5 000 digits": (10**5000, "type_unsupported"),
    "octets": (b"\xff", None),
    "a float": (1.5, None),
    "yes": (True, None),
    "a negative number": (-7, None),
    "spaces": ("  ", None),
    "100 000 characters": ("k" * 100_000, None),
    "quotes": ('"\\', None),
}


def spec(**options: Any) -> MapSpec:
    return MapSpec(fields=(FieldSpec("id", "id"), FieldSpec("value", "value", **options)), key=("id",))


def transport(
    folder: Path, blank: Path, options: Mapping[str, Any], rows: Sequence[tuple[Any, ...]], reasons: Sequence[str]
) -> None:
    """Let rows go their way, and compare; `rows` are (key, value, value as it arrives), three dots for one that must not."""
    source = ScriptedSource(("id", "value"))
    with line(folder, source, spec=spec(**options), like=blank) as own:
        source.put(*((key, value) for key, value, _ in rows))
        own.capture()
        own.capture()
        own.settle()
        expected = {key: [{"id": key, "value": said}] for key, _, said in rows if said is not ...}
        require(own, {k if not isinstance(k, bytes) else "_w": v for k, v in expected.items()}, put_aside=reasons)
        for item in own.reader.items(FLOW, limit=10):
            explained(item.input)


@pytest.mark.parametrize("name", PLAIN)
def test_a_value_travels_or_is_put_aside(name: str, tmp_path: Path, blank: Path) -> None:
    """What no JSON can carry is put aside with its reason and shape; everything else arrives exactly as it was."""
    value, fate = PLAIN[name]
    bad = ("bad", value, fate.value if isinstance(fate, Arrives) else ...)
    transport(tmp_path, blank, {}, [("a", "甲", "甲"), bad, ("z", "乙", "乙")], [] if isinstance(fate, Arrives) else [fate])


GOOD: dict[str, tuple[Any, Any]] = {
    "decimal": ("1.50", "1.50"),
    "integer": ("7", 7),
    "boolean": ("是", True),
    "codes": ("1", "a"),
    "required": ("甲", "甲"),
    "max_length": ("甲", "甲"),
    "check": (None, None),
}
DATES = {"YYYY-MM-DD": "2026-01-31", "YYYYMMDD": "20260131", "epoch-s": "0", "YYYY-MM-DD HH:mm:ss": "2026-01-31 08:00:00"}
SHOWN = {"epoch-s": "1970-01-01T08:00:00+08:00", "YYYY-MM-DD HH:mm:ss": "2026-01-31T08:00:00+08:00"}


@pytest.mark.parametrize("name", CONVERTED)
def test_a_value_that_does_not_convert_is_put_aside(name: str, tmp_path: Path, blank: Path) -> None:
    """A conversion or check that fails puts its record aside, also in the middle of a column that is converted at once."""
    options, value, fate = CONVERTED[name]
    ((kind, setting),) = options.items()
    good = (DATES[setting], SHOWN.get(setting, "2026-01-31")) if kind == "date" else GOOD[kind]
    if kind == "decimal":
        good = ("1.50", "1.50") if setting else ("2", "2")
    bad = ("bad", value, fate.value if isinstance(fate, Arrives) else ...)
    rows = [(f"a{n}", *good) for n in range(20)] + [bad] + [(f"z{n}", *good) for n in range(20)]
    transport(tmp_path, blank, options, rows, [] if isinstance(fate, Arrives) else [fate])


@pytest.mark.parametrize("name", KEYS)
def test_a_key_names_a_record_or_puts_it_aside(name: str, tmp_path: Path, blank: Path) -> None:
    """A record without a usable key is put aside; an odd key is a key."""
    key, reason = KEYS[name]
    rows = [("a", "甲", "甲"), (key, "丙", ... if reason else "丙"), ("z", "乙", "乙")]
    if isinstance(key, bytes):
        with line(tmp_path, ScriptedSource(("id", "value")), spec=spec(), like=blank) as own:
            own.script.put(("a", "甲"), (key, "丙"))
            own.capture()
            own.settle()
            require(own, {"a": [{"id": "a", "value": "甲"}], "_w": [{"id": "_w", "value": "丙"}]})
        return
    transport(tmp_path, blank, {}, rows, [reason] if reason else [])


# -- a real table ----------------------------------------------------------------------------------------------------

Row = tuple[Any, Any, Any]  # key, value, version, as SQL expressions

TABLES: dict[str, tuple[Sequence[Row], Mapping[object, Any], Sequence[str]]] = {
    "text that is not UTF-8": ([("'b'", "cast(x'ff61' as text)", "2")], {}, ["undecodable"]),
    "text cut inside a character": ([("'b'", "cast(x'e5bc' as text)", "2")], {}, ["undecodable"]),
    "a key that is not UTF-8": ([("cast(x'6bff' as text)", "'x'", "2")], {}, ["undecodable"]),
    "NUL in text": ([("'b'", "'a' || char(0) || 'b'", "2")], {}, ["nul_character"]),
    "infinity": ([("'b'", "9e999", "2")], {}, ["not_a_number"]),
    "minus infinity": ([("'b'", "-9e999", "2")], {}, ["not_a_number"]),
    "a blob where text belongs": ([("'b'", "x'00ff'", "2")], {"b": "AP8"}, []),
    "a number where text belongs": ([("'b'", "7.5", "2")], {"b": 7.5}, []),
    "the least integer": ([("'b'", "-9223372036854775808", "2")], {"b": "-9223372036854775808"}, []),
    "a key that is NULL": ([("NULL", "'x'", "2")], {}, ["key_missing"]),
    "a key that is empty": ([("''", "'x'", "2")], {}, ["key_missing"]),
    "a version that is NULL": ([("'b'", "'x'", "NULL")], {"b": "x"}, []),
    "a version from the far future": ([("'b'", "'x'", "9223372036854775807")], {"b": "x"}, []),
    "a version below zero": ([("'b'", "'x'", "-5")], {"b": "x"}, []),
    "a blob of twenty megabytes": ([("'b'", "zeroblob(20000000)", "2")], {"b": "A" * 26_666_667}, []),
    "all of it at once": (
        [("'b'", "9e999", "2"), ("NULL", "'x'", "2"), ("'c'", "cast(x'ff' as text)", "2"), ("'d'", "'ok'", "2")],
        {"d": "ok"},
        ["not_a_number", "key_missing", "undecodable"],
    ),
}


def table(path: Path) -> Callable[[Line], DatabaseSource]:
    """Return how to build a source of a SQLite table."""

    def build(own: Line) -> DatabaseSource:
        settings = DatabaseFrom.of(connection="c", table="thing", key=("id",), cursor="v", every="1s", page_rows=10)
        connection = SqliteConnection.of(type="sqlite", path=str(path))
        wiring = Wiring(FLOW, settings, own.clock, own.events, "Asia/Shanghai", connection=connection, columns=("id", "value"))
        return DatabaseSource.build(wiring)

    return build


@pytest.mark.parametrize("name", TABLES)
def test_a_row_of_a_table_travels_or_is_put_aside(name: str, tmp_path: Path, blank: Path) -> None:
    """Rows that SQLite holds and nobody else would: neighbours arrive, later changes too, the bad ones are kept with a reason."""
    rows, arrive, reasons = TABLES[name]
    db = sqlite3.connect(tmp_path / "source.db", isolation_level=None)
    db.execute("CREATE TABLE thing (id TEXT, value, v INTEGER, UNIQUE (id))")
    db.execute("INSERT INTO thing VALUES ('a', '甲', 1), ('z', '乙', 3)")
    for row in rows:
        db.execute(f"INSERT INTO thing VALUES ({', '.join(row)})")
    with line(tmp_path, table(tmp_path / "source.db"), spec=spec(), like=blank) as own:
        own.capture()
        db.execute("UPDATE thing SET value = '丁', v = 4 WHERE id = 'a'")
        own.capture()
        own.capture()
        own.settle()
        expected = {"a": ["甲", "丁"], "z": ["乙"], **{key: [value] for key, value in arrive.items()}}
        history = {key: [{"id": key, "value": value} for value in values] for key, values in expected.items()}
        require(own, history, put_aside=reasons)
        for item in own.reader.items(FLOW, limit=10):
            explained(item.input)
    db.close()
