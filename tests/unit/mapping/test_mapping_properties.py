from __future__ import annotations

import json
from dataclasses import fields as members

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.mapping.compile import compile_map
from agent.mapping.mapper import Mapped, Rejected
from agent.mapping.plain import SAFE
from agent.mapping.spec import FieldSpec, MapSpec, OnFail
from agent.model import Value

COLUMNS = ("a", "b", "c", "d")
IDS = ["11010519491231002X", "110105194912310021", "110105491231002", "1.1E+17", "91350211M0000XUF46", "91350100M000100Y43"]
DATES = ["20240229", "20230229", "00000000", "2024-02-29", "0000-00-00", "2024/2/9", "20250601091002", "1748740202123"]
WORDS = ["", " ", "1", "2", "12.50", "-0.00", "1,5", "007", "true", "否", "张三", "a\0", "\ud800", 'q"\\\n', " x ", "９"]

texts = st.one_of(st.sampled_from([*IDS, *DATES, *WORDS]), st.text(max_size=6))
integers = st.one_of(st.integers(-2, 2), st.integers(SAFE - 1, SAFE + 1), st.just(20240229))
kinds: list[st.SearchStrategy[Value]] = [
    texts,
    st.sampled_from(DATES),
    st.sampled_from(IDS),
    integers,
    st.floats(),
    st.booleans(),
    st.binary(max_size=3),
]
anything = st.one_of(st.none(), *kinds)
columns = st.one_of([st.one_of(kind, kind, kind, st.none()) for kind in kinds] + [anything, st.just("1"), st.none()])

conversions = st.sampled_from(
    [{}, {}, {"codes": {"1": "one", "2": 2, "true": None}}, {"codes": {"": "blank", "1": "one"}}, {"codes": "sex"}]
    + [{"date": pattern} for pattern in ("YYYYMMDD", "YYYY-MM-DD", "YYYY/M/D", "YYYYMMDDHHmmss", "epoch-ms")]
    + [{"decimal": 2}, {"decimal": 0}, {"integer": True}, {"boolean": True}]
)
options = st.fixed_dictionaries(
    {},
    optional={
        "trim": st.booleans(),
        "check": st.sampled_from(["cn-id", "uscc", "region", "excel-damage"]),
        "max_length": st.integers(1, 20),
        "on_fail": st.sampled_from(list(OnFail)),
    },
)
fillings = st.sampled_from([{}, {}, {"required": True}, {"default": "none"}, {"default": 0}])


@st.composite
def specs(draw: st.DrawFn) -> MapSpec:
    key = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=2, unique=True))
    extra = draw(st.lists(st.sampled_from([column for column in COLUMNS if column not in key]), max_size=3))
    drawn = []
    for number, source in enumerate((*key, *extra)):
        chosen = {**draw(conversions), **draw(options)}
        if number < len(key):
            chosen.pop("on_fail", None)
        else:
            chosen |= draw(fillings)
        drawn.append(FieldSpec(f"f{number}", source, **chosen))
    constant = [FieldSpec("constant", const=draw(st.sampled_from(["x", 1, None])))]
    return MapSpec(tuple(draw(st.permutations([*drawn, *constant]))), tuple(key), same_names=draw(st.booleans()))


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[Value, ...]]:
    count = draw(st.integers(0, 24))
    drawn = [
        draw(st.lists(draw(st.just(draw(st.sampled_from([columns, anything, *kinds])))), min_size=count, max_size=count))
        for _ in COLUMNS
    ]
    return list(zip(*drawn, strict=True))


def told(rejected: list[Rejected], offset: int = 0) -> list[object]:
    return [(bad.row + offset, bad.key, bad.error.reason, bad.error.field, bad.error.details, str(bad.error)) for bad in rejected]


def flat(mapped: Mapped, offset: int = 0) -> dict[str, list[object]]:
    plain = {member.name: list(getattr(mapped, member.name)) for member in members(mapped)}
    plain["index"] = [index + offset for index in mapped.index]
    return plain | {"rejected": told(mapped.rejected, offset), "warnings": told(mapped.warnings, offset)}


@settings(max_examples=600)
@given(specs(), tables())
def test_whole_columns_give_what_single_rows_give(spec: MapSpec, rows: list[tuple[Value, ...]]) -> None:
    """For every map and every rows: the same records, the same keys, the same errors, the same warnings."""
    mapper = compile_map(spec, COLUMNS)
    expected: dict[str, list[object]] = {member.name: [] for member in members(Mapped)}
    for number, row in enumerate(rows):
        for name, found in flat(mapper.apply_one(row), number).items():
            expected[name] += found
    assert flat(mapper.apply(rows)) == expected


@settings(max_examples=300)
@given(specs(), tables())
def test_what_survives_is_strict_json_that_any_parser_reads(spec: MapSpec, rows: list[tuple[Value, ...]]) -> None:
    """UTF-8, no white space, members in the order of the map, no NaN, no integer beyond 2^53, no U+0000."""
    mapper = compile_map(spec, COLUMNS)
    mapped = mapper.apply(rows)
    for octets in mapped.data:
        record = json.loads(octets.decode(), parse_constant=lambda name: (_ for _ in ()).throw(AssertionError(name)))
        assert tuple(record) == mapper.order
        assert all(abs(value) <= SAFE for value in record.values() if type(value) is int)
        assert "\0" not in "".join(value for value in record.values() if isinstance(value, str))
        assert b"\n" not in octets
    assert len(mapped.data) == len(mapped.keys) == len(mapped.key_json) == len(mapped.index)
    assert sorted([*mapped.index, *(bad.row for bad in mapped.rejected)]) == list(range(len(rows)))
    for key, key_json, octets in zip(mapped.keys, mapped.key_json, mapped.data, strict=True):
        assert len(json.loads(key)) == len(spec.key)
        assert json.loads(key_json).items() <= json.loads(octets).items()
        assert None not in json.loads(key_json).values()


@settings(max_examples=200)
@given(specs(), tables())
def test_the_key_of_a_delete_is_the_key_of_its_record(spec: MapSpec, rows: list[tuple[Value, ...]]) -> None:
    """Whatever survives as a record can be deleted under the same key."""
    mapper = compile_map(spec, COLUMNS)
    mapped = mapper.apply(rows)
    deleted = mapper.keys_only([rows[index] for index in mapped.index])
    assert (deleted.keys, deleted.key_json) == (mapped.keys, mapped.key_json)
