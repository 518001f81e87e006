"""Definitions of message types, and flows checked against them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import SettingsError
from agent.settings.document import parse_document
from agent.settings.load import assemble
from agent.settings.message_types import MessageTypeFile, load_message_types, shipped_folder
from agent.settings.problems import Problem
from tests.unit.settings.kit import AGENT, CONNECTION, PERSON_FLOW, codes, problems_of

SHIPPED = ("enterprise.registration@1", "population.person@1", "realestate.ownership@2", "tax.deed@1")

DEFINITION = """\
code: {code}
version: 1
title: {{zh: 试验, en: trial}}
resource: 307001/000001
dataschema: https://schemas.example/trial/1
fields:
  id_number: {{title: {{zh: 号, en: number}}, type: text, required: true}}
"""


def test_the_shipped_definitions_load() -> None:
    """Each is complete, and its file is named after it."""
    known = load_message_types()
    assert tuple(sorted(known)) == SHIPPED
    assert {path.stem for path in shipped_folder().glob("*.yaml")} == {name.replace("@", "-") for name in SHIPPED}


def test_a_definition_names_its_required_fields_and_codes() -> None:
    """Codes are a table, also when the definition names a national list."""
    person = load_message_types()["population.person@1"]
    assert person.required == ("id_number", "name")
    assert person.fields["sex"].code_table() == {"0": "未知的性别", "1": "男", "2": "女", "9": "未说明的性别"}
    assert person.fields["status"].code_table() == {"active": "正常", "moved": "迁出", "deceased": "死亡"}
    assert person.fields["name"].code_table() is None


def test_definitions_of_the_operator_come_first(tmp_path: Path) -> None:
    """A folder adds types, and replaces a shipped one of the same name and version."""
    (tmp_path / "new.yaml").write_text(DEFINITION.format(code="trial.thing"), "utf-8")
    (tmp_path / "person.yaml").write_text(DEFINITION.format(code="population.person"), "utf-8")
    known = load_message_types(tmp_path)
    assert tuple(sorted(known)) == tuple(sorted((*SHIPPED, "trial.thing@1")))
    assert tuple(known["population.person@1"].fields) == ("id_number",)


def test_every_wrong_definition_is_told(tmp_path: Path) -> None:
    """Problems of all files of the folder come together."""
    (tmp_path / "a.yaml").write_text(DEFINITION.format(code="NoDots"), "utf-8")
    (tmp_path / "b.yaml").write_text(DEFINITION.format(code="a.b").replace("type: text", "type: string"), "utf-8")
    with pytest.raises(SettingsError) as caught:
        load_message_types(tmp_path)
    assert [(problem.path, problem.code) for problem in caught.value.problems if isinstance(problem, Problem)] == [
        (str(tmp_path / "a.yaml"), "HT-C018"),
        (str(tmp_path / "b.yaml"), "HT-C014"),
    ]


@pytest.mark.parametrize(
    "old, new, code",
    [
        ("type: text", "type: code", "HT-C032"),
        ("type: text", "type: text, codes: {a: 甲}", "HT-C032"),
        ("type: text", "type: code, codes: {}", "HT-C015"),
        ("type: text", "type: code, codes: [a]", "HT-C013"),
        ("type: text", "type: code, codes: genders", "HT-C014"),
        ("type: text", "type: text, max_length: 0", "HT-C015"),
        ("zh: 号, ", "", "HT-C011"),
        ("resource: 307001/000001", "resource: 307001", "HT-C013"),
        ("resource: 307001/000001", "resource: 007001/1", "HT-C018"),
        ("dataschema: https://schemas.example/trial/1", "dataschema: trial", "HT-C018"),
        ("version: 1", "version: 0", "HT-C015"),
        ("id_number:", "idNumber:", "HT-C018"),
        ("fields:", "fields: {}\nother:", "HT-C012"),
    ],
)
def test_a_definition_is_checked_like_any_other_file(old: str, new: str, code: str) -> None:
    """Types, codes, titles, resource code and URI."""
    text = DEFINITION.format(code="trial.thing").replace(old, new)
    with pytest.raises(SettingsError) as caught:
        assemble([parse_document(text, "t.yaml")], MessageTypeFile)
    assert code in codes(problem for problem in caught.value.problems if isinstance(problem, Problem))


def test_a_flow_may_use_a_definition_of_the_operator(tmp_path: Path) -> None:
    """The folder named by message_types is read, and problems in it are problems of the configuration."""
    text = AGENT + CONNECTION + PERSON_FLOW.replace("population.person@1", "trial.thing@1").replace(", name: name", "")
    with_folder = text + f"message_types: {tmp_path}\n"
    assert codes(problems_of(with_folder)) == ["HT-M001"]
    (tmp_path / "t.yaml").write_text(DEFINITION.format(code="trial.thing"), "utf-8")
    assert codes(problems_of(with_folder)) == []
    (tmp_path / "u.yaml").write_text("code: [\n", "utf-8")
    assert [(problem.code, problem.path) for problem in problems_of(with_folder)] == [("HT-C005", str(tmp_path / "u.yaml"))]


def test_a_missing_folder_of_definitions_is_told_at_its_place() -> None:
    """The path is marked in agent.yaml."""
    (problem,) = problems_of(AGENT + CONNECTION + PERSON_FLOW + "message_types: /no/such/folder\n")
    assert (problem.code, problem.where) == ("HT-C001", "message_types")


def test_swapped_sides_of_a_map_are_recognised() -> None:
    """When the right side names a field of the message, the hint says that the two are swapped."""
    problems = problems_of(AGENT + CONNECTION + PERSON_FLOW.replace("name: name}", "name: name, xm: address}"))
    assert codes(problems) == ["HT-M002"]
    assert "swapped" in str(problems[0].hints[0])


def test_same_names_need_no_check() -> None:
    """Which columns there are is known only at the source."""
    flow = PERSON_FLOW.replace("{id_number: id_number, name: name}", "same-names")
    assert problems_of(AGENT + CONNECTION + flow) == []
