from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mapping import dates
from agent.mapping.codes import Codes
from agent.mapping.numbers import Booleans, Decimals, Integers
from agent.mapping.plain import SAFE, Conversion, Plain, Suspicious, as_text
from agent.model import Value

SHANGHAI = ZoneInfo("Asia/Shanghai")
CONVERSIONS = [
    Plain(),
    Codes({"1": "a", "2": 2, "x": None, "20240229": True}),
    Codes({"": "blank", "1": "one"}),
    Decimals(0),
    Decimals(2),
    Integers(),
    Booleans(),
    *(dates.conversion(pattern, SHANGHAI) for pattern in ("YYYYMMDD", "YYYY-MM-DD", "YYYY/M/D", "YYYYMMDDHHmmss", "epoch-ms")),
]

words = st.sampled_from(
    [
        "1",
        "2",
        "x",
        "true",
        "否",
        "12.50",
        "-0.00",
        "-0.50",
        "1.0\n2.0",
        "007",
        "20240229",
        "20230229",
        "2024-02-29",
        "2023-02-29",
        "0000-00-00",
        "00000000",
        "00000101",
        "2024/2/9",
        "20250601091002",
        "2025-W22-1",
        "2025W221",
        "１２",
        "a\0",
        "\ud800",
        " 1",
        "1748740202123",
        "9" * 30,
        "NaN",
        "张三",
    ]
)
texts = st.one_of(
    words,
    st.text(max_size=12),
    st.from_regex(r"[0-9]{8}", fullmatch=True),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", fullmatch=True),
    st.from_regex(r"-?[0-9]{1,4}\.[0-9]{2}", fullmatch=True),
)
integers = st.one_of(st.integers(-3, 3), st.integers(), st.integers(SAFE - 2, SAFE + 2), st.just(20240229))
present = st.one_of(texts.filter(bool), integers, st.floats(), st.booleans(), st.binary(max_size=6))
columns = st.one_of(
    st.lists(texts.filter(bool), max_size=12),
    st.lists(words, max_size=12),
    st.lists(integers, max_size=12),
    st.lists(st.floats(), max_size=6),
    st.lists(present, max_size=12),
)


@pytest.mark.parametrize("conversion", CONVERSIONS, ids=lambda conversion: type(conversion).__name__)
@given(values=columns)
def test_a_column_at_once_gives_what_each_value_gives(conversion: Conversion, values: list[Value]) -> None:
    """Either the column comes out exactly as value by value, or it is left to look at its values one by one."""
    try:
        at_once = list(conversion.many(values))
    except Suspicious:
        return
    one_by_one = [conversion.one(value) for value in values]
    assert None not in one_by_one
    assert [(type(value), value) for value in at_once] == [(type(value), value) for value in one_by_one]


@pytest.mark.parametrize(
    "conversion,values",
    [
        (Plain(), ["a", "张", ""]),
        (Plain(), ["a", None]),
        (Plain(), [1, None]),
        (Plain(), [1.5, 0.0, None]),
        (Plain(), [b"x", None]),
        (Plain(), [True, None]),
        (Codes({"1": "a"}), ["1", "1"]),
        (Codes({"1": "a"}), [1, 1]),
        (Decimals(2), ["12.50", "-3.10", "0.00"]),
        (Decimals(0), ["12", "0"]),
        (Integers(), ["12", "007"]),
        (Integers(), [12, -7]),
        (Booleans(), ["1", "是"]),
        (dates.conversion("YYYYMMDD", SHANGHAI), ["20250601", "20240229"]),
        (dates.conversion("YYYY-MM-DD", SHANGHAI), ["2025-06-01", "2024-02-29"]),
        (dates.conversion("YYYY/M/D", SHANGHAI), ["2025/6/1"]),
        (dates.conversion("epoch-s", SHANGHAI), [0, 1]),
    ],
)
def test_ordinary_columns_are_converted_at_once(conversion: Conversion, values: list[Value]) -> None:
    """What is ordinary never takes the slow way."""
    assert list(conversion.many(values)) == [conversion.one(value) for value in values]


@given(present)
def test_every_value_has_a_text(value: Value) -> None:
    """Checks and code tables can look at anything."""
    assert isinstance(as_text(value), str)
