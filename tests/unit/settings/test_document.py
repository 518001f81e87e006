"""YAML text → data and places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.settings.document import MAX_BYTES, Document, parse_document, read_document
from agent.settings.scalars import lost_zero, resolve
from tests.unit.settings.kit import VALID, problems_of


def parsed(text: str) -> Document:
    return parse_document(text, "f.yaml")


@pytest.mark.parametrize(
    "text, value",
    [
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("off", "off"),
        ("n", "n"),
        ("~", None),
        ("null", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("+7", 7),
        ("0", 0),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("2026-11-01", "2026-11-01"),
        ("2026-11-01 08:00:00", "2026-11-01 08:00:00"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("510101199001011234", 510101199001011234),
        ("１２", "１２"),
        ("=", "="),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    """Only true and false are booleans; times, dates and grouped numbers are text."""
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@pytest.mark.parametrize(
    "text, lost",
    [
        ("010", True),
        ("-07", True),
        ("00.5", True),
        ("0x1F", True),
        ("0b1", True),
        ("0", False),
        ("0.5", False),
        ("0号", False),
        ("1010", False),
    ],
)
def test_a_number_that_begins_with_zero_is_recognised(text: str, lost: bool) -> None:
    """Codes that lost their quotes are told from numbers."""
    assert lost_zero(text) is lost


def test_every_field_knows_its_place() -> None:
    """Names and values keep line and column, in block and in flow style, under Chinese text."""
    document = parsed("甲:\n  - 乙\n  - {丙: 丁, e: [1, 22]}\n")
    place = document.places[("甲", 1, "e", 1)]
    assert document.data == {"甲": ("乙", {"丙": "丁", "e": (1, 22)})}
    assert (place.value.line, place.value.column, place.value.end_column) == (3, 19, 21)
    assert (document.places[("甲", 1, "丙")].key.line, document.places[("甲", 1, "丙")].key.column) == (3, 6)


def test_names_of_fields_are_text_as_written() -> None:
    """A code table may have bare numbers, leading zeros and words like `on` and `null` on its left."""
    assert parsed("{1: a, 01: b, 1.0: c, on: d, null: e, true: f}").data == {
        "1": "a",
        "01": "b",
        "1.0": "c",
        "on": "d",
        "null": "e",
        "true": "f",
    }


def test_both_values_of_a_repeated_field_are_checked_but_the_first_counts() -> None:
    """The second value of a repeated field is read past, whatever it is."""
    document = parsed("a: 1\na: {b: [1, {c: 2}]}\nd: 3\n")
    assert document.data == {"a": 1, "d": 3}
    assert [found.misfit.code for found in document.found] == ["HT-C008"]


@pytest.mark.parametrize("text", ["\ufeffversion: 1\n", "version: 1\r\nagent: x\r\n", "version: 1", "# 注释\n---\nversion: 1\n"])
def test_ordinary_variations_are_read(text: str, tmp_path: Path) -> None:
    """A byte-order mark, Windows line ends, a missing last line end and a document marker are all fine."""
    path = tmp_path / "f.yaml"
    path.write_bytes(text.encode())
    document = read_document(path)
    assert document.found == []
    assert isinstance(document.data, dict)
    assert document.data["version"] == 1


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_has_no_data(text: str) -> None:
    """A file of comments is empty, not broken."""
    document = parsed(text)
    assert (document.data, document.found, document.complete) == (None, [], True)


def test_a_gbk_file_is_told_with_the_place_of_its_first_foreign_octet(tmp_path: Path) -> None:
    """A file saved as GBK gives one problem, at the first character that is not UTF-8."""
    path = tmp_path / "f.yaml"
    path.write_bytes("version: 1\ntitle: 成都市\n".encode("gb18030"))
    found = read_document(path).found
    assert [(one.misfit.code, one.extent.line, one.extent.column) for one in found] == [("HT-C002", 2, 8)]
    assert found[0].file.line(2) == "title: 成都市"


def test_a_file_beyond_the_limit_is_not_parsed(tmp_path: Path) -> None:
    """Size is bounded before anything is parsed."""
    path = tmp_path / "f.yaml"
    path.write_bytes(b"a" * (MAX_BYTES + 1))
    assert [found.misfit.code for found in read_document(path).found] == ["HT-C003"]


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_a_problem(name: str, tmp_path: Path) -> None:
    """A missing file and a folder are told like any other problem."""
    assert [found.misfit.code for found in read_document(tmp_path / name).found] == ["HT-C001"]


def test_a_bomb_of_aliases_is_refused_without_expanding_it() -> None:
    """Nested aliases give one problem each and no growth."""
    bomb = "a: &a [x,x]\n" + "".join(f"b{n}: &b{n} [*a,*a,*a,*a,*a,*a,*a,*a]\n" for n in range(9))
    assert {found.misfit.code for found in parsed(bomb).found} == {"HT-C007"}


def test_depth_is_bounded() -> None:
    """Ten thousand open brackets end at the limit, without recursion."""
    assert [found.misfit.code for found in parsed("[" * 10_000).found] == ["HT-C004"]


# -- any text --------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        "a",
        "b: ",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "，",
        "：",
        '"',
        "'",
        "&x ",
        "*x",
        "!t ",
        "<<: ",
        "? ",
        "|\n",
        ">-\n",
        "#",
        "---\n",
        "...\n",
        "\t",
        "010",
        "1.5",
        "true",
        "~",
        "名称",
        "\\",
        "\ud7ff",
        "\x85",
        "\u2028",
        "%YAML 1.2\n",
        "\x00",
        "\r",
        "\ufeff",
        "@",
        "`",
        "\\ud800",
        "0x",
        "9" * 30,
    ]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=40).map("".join))


@given(text=TEXTS)
@example(text='"\\UFFFFFFFF')
@example(text="? ? ?")
@example(text="%TAG ! !\n--- !a")
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_is_data_or_problems(text: str) -> None:
    """No text makes the parser fail: what cannot be read is reported, and every report has a place inside the text."""
    document = parsed(text)
    assert document.complete or document.found
    lines = len(document.file.lines)
    for found in document.found:
        assert 1 <= found.extent.line <= lines + 1
        assert found.extent.column >= 1


@given(text=TEXTS)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_beside_a_valid_file_is_checked(text: str) -> None:
    """The whole loader survives any file in conf.d, and its problems can be shown."""
    from agent.settings.problems import render

    for problem in problems_of(VALID, text):
        assert problem.code in render(problem)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(value=VALUES)
@settings(max_examples=200)
def test_json_is_read_as_itself(value: object) -> None:
    """JSON is YAML: what a JSON library writes comes back the same."""
    document = parsed(f"v: {json.dumps(value, ensure_ascii=False)}\n")
    assert document.found == []
    assert document.data == {"v": _frozen(value)}


def _frozen(value: object) -> object:
    if isinstance(value, dict):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
