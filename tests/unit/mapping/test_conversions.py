from __future__ import annotations

from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mapping import dates
from agent.mapping.codes import Codes
from agent.mapping.numbers import Booleans, Decimals, Integers
from agent.mapping.plain import SAFE, Conversion, Json, Plain
from agent.mapping.unfit import REASONS, Unfit
from agent.model import Value

SHANGHAI = ZoneInfo("Asia/Shanghai")


def reason(conversion: Conversion, value: Value) -> str:
    with pytest.raises(Unfit) as caught:
        conversion.one(value)
    assert caught.value.reason in REASONS
    return caught.value.reason


# -- dates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern,value,iso",
    [
        ("YYYYMMDD", "20250601", "2025-06-01"),
        ("YYYYMMDD", 20250601, "2025-06-01"),
        ("YYYYMMDD", "20240229", "2024-02-29"),
        ("YYYYMMDD", " 20250601 ", "2025-06-01"),
        ("YYYY-MM-DD", "1899-12-31", "1899-12-31"),
        ("YYYY/M/D", "2025/6/1", "2025-06-01"),
        ("YYYY/M/D", "2025/12/31", "2025-12-31"),
        ("YYYY年M月D日", "2025年6月1日", "2025-06-01"),
        ("DD.MM.YYYY", "01.06.2025", "2025-06-01"),
        ("YYYYMM", "202506", "2025-06"),
        ("YYYY", "2025", "2025"),
        ("YYYYMMDDHHmmss", "20250601091002", "2025-06-01T09:10:02+08:00"),
        ("YYYY-MM-DD HH:mm:ss", "2025-06-01 09:10:02", "2025-06-01T09:10:02+08:00"),
        ("YYYY-MM-DD HH:mm", "2025-06-01 09:10", "2025-06-01T09:10:00+08:00"),
        ("YYYY-MM-DD HH:mm:ss.S", "2025-06-01 09:10:02.0", "2025-06-01T09:10:02.0+08:00"),
        ("YYYY-MM-DD HH:mm:ss.SSS", "2025-06-01 09:10:02.120", "2025-06-01T09:10:02.120+08:00"),
        ("YYYY-MM-DDTHH:mm:ssZ", "2025-06-01T01:10:02Z", "2025-06-01T01:10:02+00:00"),
        ("YYYY-MM-DDTHH:mm:ssZ", "2025-06-01T09:10:02-0330", "2025-06-01T09:10:02-03:30"),
        ("YYYY-MM-DD HH:mm:ss", "1988-07-01 00:00:00", "1988-07-01T00:00:00+09:00"),  # summer time
        ("YYYY-MM-DD HH:mm:ss", "1900-01-01 00:00:00", "1900-01-01T00:00:00+08:05"),  # local mean time
        ("epoch-ms", "1748740202123", "2025-06-01T09:10:02.123+08:00"),
        ("epoch-ms", 0, "1970-01-01T08:00:00.000+08:00"),
        ("epoch-ms", -1, "1970-01-01T07:59:59.999+08:00"),
        ("epoch-s", 1748740202, "2025-06-01T09:10:02+08:00"),
        ("epoch-s", 1748740202.0, "2025-06-01T09:10:02+08:00"),
        ("YYYYMMDD", "", None),
        ("YYYYMMDD", "  ", None),
        ("YYYYMMDD", "00000000", None),
        ("YYYY-MM-DD", "0000-00-00", None),
        ("YYYY-MM-DD HH:mm:ss", "0000-00-00 00:00:00", None),
        ("YYYY-MM-DD", "0000-00-00 00:00:00", None),
        ("epoch-s", "", None),
    ],
)
def test_dates_become_iso(pattern: str, value: Value, iso: str | None) -> None:
    """Every pattern gives ISO 8601 in the zone of the map; dates of zeros are missing."""
    assert dates.conversion(pattern, SHANGHAI).one(value) == iso


@pytest.mark.parametrize(
    "pattern,value,expected",
    [
        ("YYYYMMDD", "2025-06-01", "date_format"),
        ("YYYYMMDD", "2025061", "date_format"),
        ("YYYYMMDD", "２０２５０６０１", "date_format"),
        ("YYYYMMDD", "2025W221", "date_format"),
        ("YYYYMMDD", "20250230", "date_invalid"),
        ("YYYYMMDD", "20230229", "date_invalid"),
        ("YYYYMMDD", "00010101x", "date_format"),
        ("YYYYMMDD", "00000101", "date_invalid"),
        ("YYYY-MM-DD", "2020-00-00", "date_invalid"),
        ("YYYY-MM-DD", "2025-W22-1", "date_format"),
        ("YYYY-MM-DD", "2025_06_01", "date_format"),
        ("YYYY-MM-DD HH:mm:ss", "2025-06-01 24:00:00", "date_invalid"),
        ("YYYY-MM-DDTHH:mm:ssZ", "2025-06-01T09:10:02+24:00", "date_invalid"),
        ("epoch-ms", "12345678901234567", "date_invalid"),
        ("epoch-s", "1.5", "date_format"),
        ("epoch-s", float("nan"), "date_format"),
        ("YYYYMMDD", True, "date_format"),
        ("YYYYMMDD", 20250601.0, "date_format"),
        ("YYYYMMDD", b"20250601", "date_format"),
    ],
)
def test_what_is_no_date_is_unfit(pattern: str, value: Value, expected: str) -> None:
    """Wrongly written and impossible dates are told apart; week dates and full-width digits are not taken."""
    assert reason(dates.conversion(pattern, SHANGHAI), value) == expected


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "yyyy-mm-dd",
        "MM-DD",
        "YYYY-DD",
        "YYYYMMDD HH",
        "YYYY-MM-DD HH:MM:ss",
        "YYYYMMDDYYYY",
        "YYYY-MM-DDZ",
        "YYYY-MM-DD hh:mm",
        "Q",
        "epoch",
        "YY-MM-DD",
        "YYYYMMDDss",
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    """Lower-case yyyy, MM for minutes, times without minutes and the like are found before any row is read."""
    with pytest.raises(dates.NoPatternError):
        dates.conversion(pattern, SHANGHAI)


# -- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scale,value,text",
    [
        (2, "12.50", "12.50"),
        (2, "12.5", "12.50"),
        (2, "12", "12.00"),
        (2, ".5", "0.50"),
        (2, "-.5", "-0.50"),
        (2, "+0012.500", "12.50"),
        (2, "-0.00", "0.00"),
        (2, " 1 ", "1.00"),
        (0, "12.000", "12"),
        (0, "-0", "0"),
        (0, 7, "7"),
        (2, 7, "7.00"),
        (2, 12.5, "12.50"),
        (1, 0.1, "0.1"),
        (2, "123456789012345678901234567890.12", "123456789012345678901234567890.12"),
        (2, "", None),
        (2, " ", None),
    ],
)
def test_decimals_are_exact_canonical_text(scale: int, value: Value, text: str | None) -> None:
    """The digits decide; nothing goes through binary floating point."""
    assert Decimals(scale).one(value) == text


@pytest.mark.parametrize(
    "value,expected",
    [
        ("1,234.50", "decimal_grouping"),
        ("1，234.50", "decimal_grouping"),
        ("12 345", "decimal_grouping"),
        ("１２．５０", "decimal_fullwidth"),
        ("1.5E+3", "decimal_exponent"),
        ("12.505", "decimal_scale"),
        (0.1 + 0.2, "decimal_scale"),
        (1e22, "decimal_exponent"),
        (float("nan"), "decimal_format"),
        (float("inf"), "decimal_format"),
        ("NaN", "decimal_format"),
        ("5.", "decimal_format"),
        ("12元", "decimal_format"),
        ("1_000", "decimal_format"),
        ("1.0\n2.0", "decimal_format"),
        (True, "decimal_format"),
        (b"1", "decimal_format"),
    ],
)
def test_what_is_no_decimal_is_unfit(value: Value, expected: str) -> None:
    """Grouping, full-width digits, exponents and too many digits each have their own reason; nothing is rounded."""
    assert reason(Decimals(2), value) == expected


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3), st.integers(3, 6))
def test_a_decimal_keeps_its_value(number: Decimal, scale: int) -> None:
    """The text means the same number, with exactly the digits asked for."""
    text = Decimals(scale).one(f"{number:f}")
    assert isinstance(text, str)
    assert Decimal(text) == number
    assert len(text.partition(".")[2]) == scale


@pytest.mark.parametrize(
    "value,number",
    [
        ("12", 12),
        ("+7", 7),
        ("-007", -7),
        (" 5 ", 5),
        (3, 3),
        (12.0, 12),
        (str(SAFE), SAFE),
        (str(SAFE + 1), str(SAFE + 1)),
        (-SAFE - 1, str(-SAFE - 1)),
        ("", None),
    ],
)
def test_integers(value: Value, number: Json) -> None:
    """Up to 2^53 they are numbers, beyond that text."""
    assert Integers().one(value) == number


@pytest.mark.parametrize("value", ["1.0", "1e3", "１２", "1_000", "0x10", 12.5, float("inf"), True, b"1", "9" * 2000, "12a"])
def test_what_is_no_integer_is_unfit(value: Value) -> None:
    """Nothing is guessed."""
    assert reason(Integers(), value) == "integer_format"


@pytest.mark.parametrize(
    "value,meaning",
    [
        ("true", True),
        ("TRUE", True),
        ("t", True),
        ("是", True),
        ("1", True),
        (1, True),
        ("否", False),
        ("N", False),
        ("f", False),
        (0, False),
        (False, False),
        (1.0, True),
        ("", None),
    ],
)
def test_booleans(value: Value, meaning: bool | None) -> None:
    """The words and numbers that sources use."""
    assert Booleans().one(value) is meaning


@pytest.mark.parametrize("value", ["2", "maybe", 2, 0.5, b"\x01"])
def test_what_is_no_boolean_is_unfit(value: Value) -> None:
    """A third value is not forced into two."""
    assert reason(Booleans(), value) == "boolean_format"


# -- plain values and codes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value,json",
    [
        (None, None),
        ("", ""),
        (" 䶮\t\x01", " 䶮\t\x01"),
        (True, True),
        (SAFE, SAFE),
        (-SAFE, -SAFE),
        (SAFE + 1, "9007199254740992"),
        (-SAFE - 1, "-9007199254740992"),
        (1.5, 1.5),
        (b"", ""),
        (b"\xfb\xff\xfe\x01", "-__-AQ"),
    ],
)
def test_plain_values_travel_in_the_types_of_json(value: Value, json: Json) -> None:
    """NULL is not the empty text, large integers and bytes are text."""
    converted = Plain().one(value)
    assert (converted, type(converted)) == (json, type(json))


@pytest.mark.parametrize(
    "value,expected",
    [
        ("a\0b", "nul_character"),
        ("\ud83d", "lone_surrogate"),
        (float("nan"), "not_a_number"),
        (float("-inf"), "not_a_number"),
        (1 << 9000, "type_unsupported"),
        (Decimal(1), "type_unsupported"),
    ],
)
def test_what_cannot_travel_is_unfit(value: Value, expected: str) -> None:
    """What JSON or the hub's database could not hold is found here."""
    assert reason(Plain(), value) == expected


def test_codes_look_values_up_as_a_person_would_write_them() -> None:
    """1, "1" and 1.0 are the same code; so are true and "true"; what is not in the table is unfit."""
    codes = Codes({"1": "active", "true": "yes", "": "none"})
    assert [codes.one(value) for value in ("1", 1, 1.0, True, "")] == ["active", "active", "active", "yes", "none"]
    assert reason(codes, "2") == "code_unknown"
    assert reason(codes, " 1") == "code_unknown"
