"""What `huitong init` proposes: initials, matches, keys, and YAML that means what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.app.pinyin import initials
from agent.app.propose import Column, Described, likeness, match, propose
from agent.app.starter import Facts, agent_text, block_scalar, scalar
from agent.settings.agent_file import AgentFile
from agent.settings.document import parse_document
from agent.settings.message_types import load_message_types
from agent.settings.reference import field_docs

TYPES = load_message_types()
PERSON, DEED = TYPES["population.person@1"], TYPES["tax.deed@1"]


@pytest.mark.parametrize(
    "word, short",
    [
        ("姓名", "xm"),
        ("公民身份号码", "gmsfhm"),
        ("出生日期", "csrq"),
        ("统一社会信用代码", "tyshxydm"),
        ("行政区划代码", "xzqhdm"),
        ("金额（元）", "jey"),
        ("ＩＤ号", "idh"),
        ("A1 甲", "a1j"),
        ("䶮", ""),
        ("啊座", "az"),
        ("", ""),
    ],
)
def test_initials_are_those_departments_use(word: str, short: str) -> None:
    """By the order of GB 2312; what is not in its first level is left out."""
    assert initials(word) == short


# -- matching --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field, column",
    [
        ("id_number", Column("ID_NUMBER")),
        ("id_number", Column("c1", comment="公民身份号码")),
        ("id_number", Column("c1", comment="公民身份号码（18位）")),
        ("id_number", Column("sfzh")),
        ("id_number", Column("gmsfhm")),
        ("name", Column("xm")),
        ("name", Column("c2", comment="申请人姓名")),
        ("born_on", Column("CSRQ")),
        ("region", Column("xzqh")),
        ("updated_at", Column("update_at")),
    ],
    ids=str,
)
def test_a_column_is_recognised_as_people_would(field: str, column: Column) -> None:
    """By name, comment, initials, habit, and by near misses."""
    assert match([column], PERSON) == {field: column}


@pytest.mark.parametrize("column", [Column("x"), Column("c9"), Column("bz", comment="备注"), Column("id"), Column("")], ids=str)
def test_what_is_none_of_them_is_left_alone(column: Column) -> None:
    """A wrong guess costs more than none."""
    assert match([column], PERSON) == {}


def test_the_best_pair_wins_and_each_column_once() -> None:
    """An exact name beats a title that only contains the word."""
    exact, loose = Column("name"), Column("c", comment="曾用姓名")
    assert match([loose, exact], PERSON)["name"] == exact
    assert likeness("name", PERSON.fields["name"], exact) > likeness("name", PERSON.fields["name"], loose)


def test_a_proposal_carries_what_the_types_ask_for() -> None:
    """National code lists, dates as the column writes them, the scale of the column, and the key of the table."""
    described = Described(
        "person",
        (
            Column("sfzh", "varchar(18)"),
            Column("xb", "char(1)"),
            Column("csrq", "char(8)"),
            Column("income", "numeric(14, 3)"),
            Column("bz", "text", "备注"),
        ),
        key=("sfzh",),
    )
    made = propose(described, PERSON, "zh")
    assert {line.target: dict(line.options) for line in made.lines if line.column} == {
        "id_number": {},
        "sex": {"codes": "sex"},
        "born_on": {"date": "YYYYMMDD"},
        "income": {"decimal": "3"},
    }
    assert (made.key, made.guessed_key, made.missing) == (("sfzh",), False, ("name",))
    assert [column.name for column in made.spare] == ["bz"]


@pytest.mark.parametrize(
    "type_, pattern",
    [("date", "YYYY-MM-DD"), ("timestamp", "YYYY-MM-DDTHH:mm:ss"), ("datetime", "YYYY-MM-DDTHH:mm:ss"), ("", "YYYY-MM-DD")],
)
def test_dates_are_written_as_the_column_type_writes_them(type_: str, pattern: str) -> None:
    """Canonical text of the source, for columns that are no text."""
    made = propose(Described("t", (Column("paid_on", type_),)), DEED, "en")
    assert next(line for line in made.lines if line.target == "paid_on").options == (("date", pattern),)


def test_a_key_that_is_not_mapped_is_replaced_by_a_guess() -> None:
    """A surrogate key means nothing to the hub; the guess says that it is one."""
    described = Described("t", (Column("row_key"), Column("完税凭证号"), Column("金额")), key=("row_key",))
    made = propose(described, DEED, "zh")
    assert (made.key, made.guessed_key) == (("完税凭证号",), True)
    nothing = propose(Described("t", (Column("q"),)), DEED, "zh")
    assert (nothing.key, nothing.missing) == ((), ("voucher_no", "amount", "paid_on"))


# -- YAML ------------------------------------------------------------------------------------------------------------

AWKWARD = [
    "010",
    "1",
    "1.5",
    "true",
    "no",
    "~",
    "null",
    "",
    " a",
    "a ",
    "a: b",
    "a:b",
    "a #b",
    "#a",
    "- a",
    "-",
    "?",
    "? a",
    "*a",
    "&a",
]
AWKWARD += [
    "!a",
    "%a",
    "@a",
    "`a",
    "[a]",
    "{a}",
    "a,b",
    "'a'",
    '"a"',
    "a\nb",
    "a\tb",
    "|",
    ">",
    "金额（元）",
    "金额(元)",
    "是",
    "0x1F",
    "=",
    "<<",
]
AWKWARD += ["2026-01-01", "1:30", "/data/*.csv", "amqps://h:5671/x", "secret:x", "\ufeffa", "a\u2028b", "a\u00a0b", "---", "..."]


@pytest.mark.parametrize("text", AWKWARD, ids=repr)
def test_awkward_text_survives_yaml(text: str) -> None:
    """In a block, in a list and in braces, as a value and as a name."""
    document = parse_document(f"a: {block_scalar(text)}\nb: [{scalar(text)}, {scalar(text)}]\nc: {{x: {scalar(text)}}}\n", "test")
    assert document.found == []
    assert document.data == {"a": text, "b": (text, text), "c": {"x": text}}
    if text not in ("", "<<"):  # no column is called that, and the loader refuses both as names
        assert parse_document(f"{scalar(text)}: 1\n", "test").data == {text: 1}


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_any_text_survives_yaml(text: str) -> None:
    """Whatever a column is called."""
    document = parse_document(f"a: {block_scalar(text)}\nb: [{scalar(text)}]\n", "test")
    assert (document.found, document.data) == ([], {"a": text, "b": (text,)})


def test_a_starter_names_every_field_of_agent_and_hub() -> None:
    """Nothing an operator may set is missing from it."""
    text = agent_text(Facts("en"))
    for doc in field_docs(AgentFile):
        section, _dot, name = doc.path.partition(".")
        if section in ("agent", "hub", "delivery") and name:
            assert f"{name}:" in text, doc.path
