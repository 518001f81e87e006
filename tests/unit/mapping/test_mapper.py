from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest

from agent.mapping.compile import compile_map
from agent.mapping.mapper import Mapped, Mapper
from agent.mapping.spec import FieldSpec, MapSpec, OnFail
from agent.model import Value

OWNERSHIP = MapSpec(
    fields=(
        FieldSpec("unit_no", "bdcdyh"),
        FieldSpec("owner_name", "qlrmc"),
        FieldSpec("owner_id", "qlrzjh", check="cn-id"),
        FieldSpec("status", "zt", codes={"1": "active", "2": "cancelled"}),
        FieldSpec("registered_on", "djsj", date="YYYYMMDD"),
        FieldSpec("region", const="510100"),
    ),
    key=("bdcdyh",),
)
COLUMNS = ("bdcdyh", "qlrmc", "qlrzjh", "zt", "djsj")
GOOD = ("5101-1", "张䶮", "11010519491231002X", "1", "20250601")


def mapper_of(*fields: FieldSpec, columns: str = "k a b", key: str = "k") -> Mapper:
    return compile_map(MapSpec((FieldSpec("k", "k"), *fields), tuple(key.split())), columns.split())


def only(mapped: Mapped) -> tuple[str, str]:
    """Return reason and field of the one rejected row."""
    (rejected,) = mapped.rejected
    return rejected.error.reason, rejected.error.field


def test_the_example_of_the_operators_guide() -> None:
    """Renaming, checking, translating and dating, in the order of the map, as compact JSON."""
    mapped = compile_map(OWNERSHIP, COLUMNS).apply([GOOD])
    assert mapped.data == [
        '{"unit_no":"5101-1","owner_name":"张䶮","owner_id":"11010519491231002X","status":"active","registered_on":"2025-06-01","region":"510100"}'.encode()
    ]
    assert mapped.key_json == [b'{"unit_no":"5101-1"}']
    assert mapped.keys == ['[["s","5101-1"]]']
    assert mapped.index == [0]
    assert not mapped.rejected
    assert not mapped.warnings


def test_a_bad_record_is_isolated_and_its_neighbours_are_unchanged() -> None:
    """One row is put aside with field, reason and key; the others are exactly what they are without it."""
    mapper = compile_map(OWNERSHIP, COLUMNS)
    rows: list[tuple[Value, ...]] = [(f"5101-{number}", *GOOD[1:]) for number in range(50)]
    clean = mapper.apply(rows)
    rows[17] = ("5101-17", "张", "110105194912310021", "1", "20250601")
    rows[30] = ("5101-30", "张", "11010519491231002X", "9", "2025-6-1")
    mapped = mapper.apply(rows)
    assert mapped.index == [number for number in range(50) if number not in (17, 30)]
    assert mapped.data == [data for number, data in enumerate(clean.data) if number not in (17, 30)]
    assert [(bad.row, bad.key, bad.error.reason, bad.error.field) for bad in mapped.rejected] == [
        (17, '[["s","5101-17"]]', "cn_id_check_digit", "owner_id"),
        (30, '[["s","5101-30"]]', "code_unknown", "status"),
    ]


def test_errors_show_the_shape_of_a_value_and_never_the_value() -> None:
    """Personal data do not leave the record; digits, letters and width can still be told."""
    secrets = ("110105194912310021", "张三丰", "１２３", "zhang@example")
    mapper = mapper_of(FieldSpec("a", "a", check="cn-id"), FieldSpec("b", "b", codes={"1": 1}))
    rows = [(str(number), None, secret) for number, secret in enumerate(secrets)] + [("9", secrets[0], "1")]
    shown = repr([(bad.error.details, str(bad.error), bad.error.localised()) for bad in mapper.apply(rows).rejected])
    assert len(mapper.apply(rows).rejected) == 5
    assert not any(secret in shown for secret in secrets)
    assert "文文文" in shown
    assert "９９９" in shown
    assert "aaaaa@aaaaaaa" in shown


def test_null_and_empty_text_stay_apart() -> None:
    """In a plain field both travel as they are."""
    mapped = mapper_of(FieldSpec("a", "a"), FieldSpec("b", "b")).apply([("1", None, "")])
    assert mapped.data == [b'{"k":"1","a":null,"b":""}']


def test_blank_is_missing_where_it_can_mean_nothing_else() -> None:
    """A date, number or code that is not there is null; so is one of spaces."""
    fields = (FieldSpec("a", "a", date="YYYYMMDD"), FieldSpec("b", "b", decimal=2))
    assert mapper_of(*fields).apply([("1", "", " ")]).data == [b'{"k":"1","a":null,"b":null}']


@pytest.mark.parametrize("value", [None, "", "00000000", "  "])
def test_required_dates_must_be_there(value: Value) -> None:
    """NULL, empty, spaces and zeros are all missing."""
    assert only(mapper_of(FieldSpec("a", "a", date="YYYYMMDD", required=True)).apply([("1", value, None)])) == ("required", "a")


def test_required_text_must_not_be_empty() -> None:
    """Spaces count only when they are trimmed."""
    rows: list[tuple[Value, ...]] = [("1", "", None), ("2", None, None), ("3", " ", None), ("4", 0, None)]
    assert mapper_of(FieldSpec("a", "a", required=True)).apply(rows).index == [2, 3]
    assert mapper_of(FieldSpec("a", "a", required=True, trim=True)).apply(rows).index == [3]


def test_default_stands_for_what_is_missing() -> None:
    """NULL and empty text are filled, other values stay."""
    rows: list[tuple[Value, ...]] = [("1", "", None), ("2", None, None), ("3", "x", None), ("4", 0, None)]
    data = mapper_of(FieldSpec("a", "a", default="未知")).apply(rows).data
    assert [msgspec.json.decode(record)["a"] for record in data] == ["未知", "未知", "x", 0]


def test_trim_takes_white_space_of_every_width() -> None:
    """The ideographic space is white space, too."""
    assert mapper_of(FieldSpec("a", "a", trim=True)).apply([("1", "　张三 \t", None)]).data == ['{"k":"1","a":"张三"}'.encode()]


def test_max_length_counts_characters() -> None:
    """What is too long is put aside, never cut."""
    mapper = mapper_of(FieldSpec("a", "a", max_length=3))
    mapped = mapper.apply(
        [("1", "张三丰", None), ("2", "张三丰x", None), ("3", None, None), ("4", 12345, None), ("5", False, None)]
    )
    assert [bad.row for bad in mapped.rejected] == [1, 3, 4]
    assert mapped.rejected[0].error.details["length"] == 4


def test_a_built_in_code_list_translates_names_and_codes() -> None:
    """The national list is named, not copied."""
    mapper = mapper_of(FieldSpec("a", "a", codes="ethnicity"))
    mapped = mapper.apply([("1", "汉族", None), ("2", "汉", None), ("3", "01", None), ("4", "火星", None), ("5", "", None)])
    assert [msgspec.json.decode(record)["a"] for record in mapped.data] == ["01", "01", "01", None]
    assert only(mapped) == ("code_unknown", "a")


def test_a_code_for_empty_text_is_used() -> None:
    """Where the table has the empty text, it is a value; NULL still is missing."""
    mapped = mapper_of(FieldSpec("a", "a", codes={"": "none", "1": "one"})).apply([("1", "", None), ("2", None, None)])
    assert mapped.data == [b'{"k":"1","a":"none"}', b'{"k":"2","a":null}']


# -- severities ------------------------------------------------------------------------------------------------------


def test_a_warning_is_kept_and_listed() -> None:
    """The record goes out unchanged, and a person is told."""
    mapper = mapper_of(FieldSpec("a", "a", check="uscc"))
    mapped = mapper.apply([("1", "91350211M0000XUF46", None), ("2", "91350100M000100Y43", None)])
    assert mapped.index == [0, 1]
    assert [(warning.row, warning.key, warning.error.reason) for warning in mapped.warnings] == [
        (0, '[["s","1"]]', "uscc_check_outer")
    ]


def test_a_rejected_record_has_no_warnings() -> None:
    """What is put aside is told once."""
    mapper = mapper_of(FieldSpec("a", "a", check="uscc"), FieldSpec("b", "b", decimal=2))
    mapped = mapper.apply([("1", "91350211M0000XUF46", "x")])
    assert only(mapped) == ("decimal_format", "b")
    assert not mapped.warnings


@pytest.mark.parametrize(
    "field,value,on_fail,expected",
    [
        (FieldSpec("a", "a", check="cn-id"), "bad", OnFail.WARN, "bad"),
        (FieldSpec("a", "a", check="cn-id"), "bad", OnFail.EMPTY, None),
        (FieldSpec("a", "a", check="cn-id", default="none"), "bad", OnFail.EMPTY, "none"),
        (FieldSpec("a", "a", decimal=2), "1,5", OnFail.WARN, "1,5"),
        (FieldSpec("a", "a", decimal=2), "1,5", OnFail.EMPTY, None),
        (FieldSpec("a", "a", codes={"1": "x"}), 7, OnFail.WARN, 7),
        (FieldSpec("a", "a", max_length=1), "xy", OnFail.WARN, "xy"),
        (FieldSpec("a", "a"), "x\0", OnFail.EMPTY, None),
    ],
)
def test_on_fail_keeps_the_record_and_lists_it(field: FieldSpec, value: Value, on_fail: OnFail, expected: Value) -> None:
    """The value is sent as it is, or left out; either way somebody is told."""
    mapped = mapper_of(replace(field, on_fail=on_fail)).apply([("1", value, None)])
    assert msgspec.json.decode(mapped.data[0])["a"] == expected
    assert len(mapped.warnings) == 1


def test_on_fail_softens_neither_required_nor_what_cannot_travel() -> None:
    """A required value that is missing or was emptied, and a NUL sent "as it is", still put the record aside."""
    rows: list[tuple[Value, ...]] = [("1", None, None), ("2", "bad", None), ("3", "a\0", None)]
    for on_fail in (OnFail.WARN, OnFail.EMPTY):
        mapped = mapper_of(FieldSpec("a", "a", check="cn-id", required=True, on_fail=on_fail)).apply(rows)
        assert 0 in [bad.row for bad in mapped.rejected]
        assert 2 in [bad.row for bad in mapped.rejected]
    assert [bad.error.reason for bad in mapped.rejected] == ["required", "cn_id_shape", "cn_id_shape"]


# -- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value,text",
    [
        ("5101", '["s","5101"]'),
        ('a"\\\n', '["s","a\\"\\\\\\n"]'),
        ("张", '["s","张"]'),
        (7, '["i","7"]'),
        (1 << 60, f'["i","{1 << 60}"]'),
        (True, '["o","true"]'),
        (b"\xff", '["b","_w"]'),
        (1.5, '["f","1.5"]'),
    ],
)
def test_canonical_key_text_has_the_type_of_the_source(value: Value, text: str) -> None:
    """7 and "7" are different keys."""
    assert mapper_of().apply([(value, None, None)]).keys == [f"[{text}]"]


def test_a_decimal_key_is_canonical() -> None:
    """1.5 and 1.50 are the same key."""
    mapper = compile_map(MapSpec((FieldSpec("k", "k", decimal=2),), ("k",)), ["k"])
    assert mapper.apply([("1.5",), ("1.50",)]).keys == ['[["n","1.50"]]'] * 2


def test_a_key_of_several_columns_keeps_their_order() -> None:
    """The text follows the key of the flow, the JSON follows the map and has the values as they are sent."""
    spec = MapSpec((FieldSpec("x", "a", codes={"1": "one"}), FieldSpec("y", "k")), ("k", "a"))
    mapped = compile_map(spec, ["k", "a", "b"]).apply([(7, "1", None)])
    assert mapped.keys == ['[["i","7"],["s","1"]]']
    assert mapped.key_json == [b'{"x":"one","y":7}']


@pytest.mark.parametrize("row", [(None, "x", ""), ("x", None, ""), ("", "", "")])
def test_a_key_must_be_there(row: tuple[Value, ...]) -> None:
    """NULL in any part, or nothing in all parts, is no key; an empty part beside another is."""
    mapper = compile_map(MapSpec((FieldSpec("k", "k"), FieldSpec("a", "a")), ("k", "a")), ["k", "a", "b"])
    reason, field = only(mapper.apply([row]))
    assert reason == "key_missing"
    assert field in ("k", "a")
    assert mapper.apply([("x", "", "")]).index == [0]


def test_a_key_that_becomes_empty_is_missing() -> None:
    """A key date of zeros cannot name a record."""
    mapper = compile_map(MapSpec((FieldSpec("k", "k", date="YYYYMMDD"),), ("k",)), ["k"])
    assert only(mapper.apply([("00000000",)])) == ("key_missing", "k")


def test_deletes_need_their_keys_only() -> None:
    """Other columns may be anything; checks and other fields are not asked."""
    mapper = compile_map(OWNERSHIP, COLUMNS)
    mapped = mapper.keys_only([("5101-1", None, None, None, None), (None, None, None, None, None)])
    assert mapped.keys == ['[["s","5101-1"]]']
    assert mapped.key_json == [b'{"unit_no":"5101-1"}']
    assert mapped.data == []
    assert only(mapped) == ("key_missing", "unit_no")


def test_the_key_of_a_delete_is_that_of_its_record() -> None:
    """Identity does not depend on the operation."""
    mapper = mapper_of(columns="k a", key="k")
    rows: list[tuple[Value, ...]] = [("x", 1), (7, 2), (b"y", 3)]
    assert mapper.keys_only(rows).keys == mapper.apply(rows).keys
    assert mapper.keys_only(rows).key_json == mapper.apply(rows).key_json


# -- odds and ends ---------------------------------------------------------------------------------------------------


def test_no_rows_give_no_records() -> None:
    """An empty batch is not special."""
    assert compile_map(OWNERSHIP, COLUMNS).apply([]) == Mapped()


def test_all_rows_may_be_bad() -> None:
    """Nothing survives, everything is told."""
    mapped = mapper_of().apply([(None, 1, 1)] * 100)
    assert (mapped.index, mapped.data, mapped.keys) == ([], [], [])
    assert len(mapped.rejected) == 100


@pytest.mark.parametrize("rows", [[("1", "2")], [("1", "2", "3", "4")], [("1", "2", "3"), ("1",)]])
def test_rows_of_another_width_are_a_bug_of_the_source(rows: list[tuple[Value, ...]]) -> None:
    """Values never slide into the neighbouring column."""
    with pytest.raises(ValueError):
        mapper_of().apply(rows)


def test_same_names_send_every_column() -> None:
    """Columns that no field reads keep their names, behind the fields."""
    spec = MapSpec((FieldSpec("key", "k"),), ("k",), same_names=True)
    assert compile_map(spec, ["a", "k", "金额"]).apply([(1, "x", "2")]).data == ['{"key":"x","a":1,"金额":"2"}'.encode()]
    assert spec.columns() == ()
    assert OWNERSHIP.columns() == COLUMNS


def test_field_names_are_any_text() -> None:
    """Names in any language, with any punctuation that JSON does not escape."""
    name = "金额(元)/'€ 𠮷"
    mapped = compile_map(MapSpec((FieldSpec(name, "k"),), ("k",)), ["k"]).apply([("x",)])
    assert json.loads(mapped.data[0]) == {name: "x"}
    assert json.loads(mapped.key_json[0]) == {name: "x"}
