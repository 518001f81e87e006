from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mapping.compile import compile_map
from agent.mapping.explain import Explained, explain_row
from agent.mapping.masking import mask
from agent.mapping.shape import shape
from agent.mapping.spec import FieldSpec, MapSpec
from agent.model import Value
from agent.standards.judgement import Severity

SPEC = MapSpec(
    fields=(
        FieldSpec("unit_no", "bdcdyh"),
        FieldSpec("owner_id", "qlrzjh", check="cn-id"),
        FieldSpec("status", "zt", codes={"1": "active"}),
        FieldSpec("amount", "je", decimal=2),
        FieldSpec("region", const="510100"),
    ),
    key=("bdcdyh",),
)
MAPPER = compile_map(SPEC, ["bdcdyh", "qlrzjh", "zt", "je"])


def test_a_row_is_explained_field_by_field_with_masked_values() -> None:
    """Codes and constants are shown, what may be personal is masked, NULL is None."""
    explained = explain_row(MAPPER, ("510100000001", "11010519491231002X", "1", None))
    assert explained == [
        Explained("unit_no", "5101******01", "bdcdyh", "5101******01"),
        Explained("owner_id", "110105********002X", "qlrzjh", "110105********002X"),
        Explained("status", "active", "zt", "1"),
        Explained("amount", None, "je", None),
        Explained("region", "510100", "", None),
    ]


def test_what_is_wrong_stands_at_its_field() -> None:
    """All fields are explained, not only the first bad one."""
    explained = explain_row(MAPPER, ("1", "110105491231002", "9", "1,5"))
    assert [(field.severity, field.error and field.error.reason) for field in explained] == [
        (Severity.OK, None),
        (Severity.WARN, "cn_id_15_digits"),
        (Severity.ERROR, "code_unknown"),
        (Severity.ERROR, "decimal_grouping"),
        (Severity.OK, None),
    ]


@pytest.mark.parametrize(
    "text,masked",
    [
        ("", ""),
        ("1", "1"),
        ("张三", "张*"),
        ("欧阳修", "欧**"),
        ("13800138000", "138*******0"),
        ("x" * 40, "xxxxxx" + "*" * 30 + "xxxx"),
    ],
)
def test_masking_keeps_a_little(text: str, masked: str) -> None:
    """Enough to recognise, too little to read."""
    assert mask(text) == masked


@given(st.text(min_size=2, max_size=60))
def test_masking_hides_at_least_half(text: str) -> None:
    """The length stays, half of the characters or more do not."""
    masked = mask(text)
    assert len(masked) == len(text)
    assert sum(1 for before, after in zip(text, masked, strict=True) if after == "*" or before != after) * 2 >= len(text)


@pytest.mark.parametrize(
    "value,looks",
    [
        (None, "NULL"),
        (True, "boolean"),
        (b"abc", "bytes(3)"),
        (-12.5, "-99.9"),
        (1 << 9000, "integer(9001 bits)"),
        ("1,234.50元", "9,999.99文"),
        ("Ab 张　９Ｚ", "Aa 文　９Ａ"),
        ("བོད", "文文文"),
        ("a\0b", "a�a"),
        ("x" * 50, "a" * 40 + "…(50)"),
    ],
)
def test_the_shape_of_a_value(value: Value, looks: str) -> None:
    """Digits, letters, width and punctuation can be told, the value cannot."""
    assert shape(value) == looks


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=30))
def test_a_shape_never_holds_a_letter_or_digit_of_the_value(text: str) -> None:
    """Only stand-ins appear."""
    assert set(shape(text)) <= set("9Aa９Ａ文")
