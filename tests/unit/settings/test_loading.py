"""Files → one configuration: merging, all problems at once, and what is told when a file cannot be read to its end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import SettingsError
from agent.settings.base import Misfit
from agent.settings.files import configuration_files
from agent.settings.load import load
from connectors.database.settings import DatabaseFrom
from tests.unit.settings.kit import (
    AGENT,
    CONNECTION,
    DEED_FLOW,
    MODEL,
    PERSON_FLOW,
    VALID,
    codes,
    load_text,
    problems_of,
    write_files,
)


def test_a_valid_configuration_becomes_a_model() -> None:
    """Values have their types, defaults are filled in, and nothing can be changed afterwards."""
    value = load_text(VALID).value
    source = value.send["people"].from_
    assert isinstance(source, DatabaseFrom)
    assert (source.key, source.every, source.overlap) == (("id_number",), timedelta(seconds=30), timedelta(minutes=10))
    assert (value.broker_user, value.send["people"].message_version) == ("agent.demo-dept", 1)
    with pytest.raises(ValueError, match="frozen"):
        value.agent.id = "other"


def test_flows_of_other_files_are_added() -> None:
    """A file of conf.d adds a flow that uses a connection of the main file."""
    value = load_text(AGENT + CONNECTION, PERSON_FLOW, DEED_FLOW).value
    assert sorted(value.send) == ["deeds", "people"]


@pytest.mark.parametrize("part", ["", "# nothing yet\n", "send:\n", "connections:\n"])
def test_an_empty_file_in_conf_d_is_fine(part: str) -> None:
    """A file that is commented out changes nothing."""
    assert problems_of(VALID, part) == []


def test_the_same_flow_in_two_files_names_both_places() -> None:
    """The second definition is marked; the text says where the first is."""
    (problem,) = problems_of(VALID, PERSON_FLOW)
    assert (problem.code, problem.path, problem.line, problem.column) == ("HT-C027", "conf.d/1.yaml", 2, 3)
    assert "agent.yaml:13:3" in str(problem.says)


def test_only_connections_and_flows_may_stand_in_conf_d() -> None:
    """Every other section of a part is a problem of its own."""
    problems = problems_of(VALID, "agent: {id: x}\nhub: {}\nversion: 1\nfoo: 1\n")
    assert [(problem.code, problem.line) for problem in problems] == [("HT-C028", line) for line in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    "part, code", [("just text\n", "HT-C010"), ("send: [a]\n", "HT-C013"), ("send: {people: {}}\nsend: {}\n", "HT-C008")]
)
def test_a_part_of_the_wrong_shape_is_told_in_its_own_file(part: str, code: str) -> None:
    """The place is in the file of conf.d, not in the main file."""
    problem = next(problem for problem in problems_of(VALID.replace("people", "persons"), part) if problem.code == code)
    assert problem.path == "conf.d/1.yaml"


def test_all_problems_of_all_files_come_at_once_and_in_order() -> None:
    """Syntax, unknown fields, types, ranges and cross checks of several files in one run, sorted by file and place."""
    main = AGENT.replace("demo-dept", "Demo") + CONNECTION + "delivery: {window: 0, batsch: 1}\n"
    first = (
        "send:\n  a:\n    message: tax.deed@9\n    from: {connection: other, table: t, key: [x], every: 30}\n    map: {y: z}\n"
    )
    problems = problems_of(main, first, "send: [\n", "agent: {}\n")
    assert [(problem.path, problem.code) for problem in problems] == [
        ("agent.yaml", "HT-C018"),
        ("agent.yaml", "HT-C015"),
        ("agent.yaml", "HT-C012"),
        ("conf.d/1.yaml", "HT-M001"),
        ("conf.d/1.yaml", "HT-M005"),
        ("conf.d/1.yaml", "HT-C016"),
        ("conf.d/2.yaml", "HT-C005"),
        ("conf.d/3.yaml", "HT-C028"),
    ]


def test_an_unreadable_file_does_not_cause_complaints_about_what_it_may_hold() -> None:
    """When the file with the connections breaks off, flows are not said to name unknown ones, nor sections to be missing."""
    assert codes(problems_of("version: [\n", PERSON_FLOW)) == ["HT-C005"]
    assert codes(problems_of(AGENT, PERSON_FLOW, "connections: {\n")) == ["HT-C005"]


def test_a_value_that_was_reported_is_not_reported_again() -> None:
    """A leading zero where a number belongs is one problem, not two."""
    assert codes(problems_of(VALID + "delivery: {window: 010}\n")) == ["HT-C009"]


def test_a_misspelt_required_field_is_not_missing_as_well() -> None:
    """The unknown name is reported; that the field is therefore missing is not."""
    assert codes(problems_of(AGENT.replace("  id:", "  idd:") + CONNECTION + PERSON_FLOW)) == ["HT-C012"]


def test_a_warning_does_not_keep_the_agent_from_starting() -> None:
    """Settings come back with their warnings beside them."""
    loaded = load_text(AGENT + CONNECTION + DEED_FLOW)
    assert codes(loaded.warnings) == ["HT-C035"]
    assert loaded.warnings[0].level == "warning"


def test_what_is_found_later_gets_its_place_too() -> None:
    """A column that the source does not have is marked in the map, although only the database knows."""
    loaded = load_text(VALID)
    problem = loaded.problem(Misfit("HT-M004", at=("send", "people", "map", "name"), details={"name": "name"}))
    assert (problem.line, problem.column, problem.end_column, problem.where) == (16, 39, 43, "send.people.map.name")


def test_what_has_no_place_of_its_own_is_marked_at_the_nearest_section() -> None:
    """A field that is not written down is marked at the name of its section."""
    loaded = load_text(VALID)
    problem = loaded.problem(Misfit("HT-C038", at=("hub", "user"), details={"why": "x"}))
    assert (problem.line, problem.column, problem.end_column) == (4, 1, 4)


@pytest.mark.parametrize(
    "field, where",
    [("    every: 30s\n", "send.people.from"), ("      title: x\n", "send.people")],
)
def test_a_field_at_the_wrong_indentation_is_answered_with_its_section(field: str, where: str) -> None:
    """The hint names the section above or below that has a field of this name."""
    block = (
        "    from:\n      connection: registry\n      table: person\n      key: [id_number]\n      cursor: u\n      every: 1s\n"
    )
    flow = "send:\n  people:\n    message: population.person@1\n    map: {id_number: id_number, name: name}\n" + block + field
    (problem,) = problems_of(AGENT + CONNECTION + flow)
    assert problem.code == "HT-C012"
    assert f"is a field of {where}" in str(problem.hints[0])
    assert problem.fix is None


@pytest.mark.parametrize(
    "line, quoted",
    [
        ("title: 2025", '"2025"'),
        ("title: true", '"true"'),
        ("title: 1.10", '"1.10"'),
        ("title: 510101199001011234", '"510101199001011234"'),
    ],
)
def test_text_that_looks_like_something_else_is_answered_with_quotes(line: str, quoted: str) -> None:
    """The suggestion repeats the digits exactly as they were written."""
    (problem,) = problems_of(AGENT.replace("demo-dept", f"demo-dept\n  {line}") + CONNECTION + PERSON_FLOW)
    assert problem.alternatives == (quoted,)
    assert problem.fix is not None
    assert problem.fix.text == quoted


def test_full_width_characters_are_pointed_out() -> None:
    """What a Chinese input method left behind is hard to see; the hint lists it."""
    (problem,) = problems_of(AGENT.replace("demo-dept", "“demo-dept”") + CONNECTION + PERSON_FLOW)
    assert problem.code == "HT-C018"
    assert "“ ”" in str(problem.hints[-1])


# -- files -----------------------------------------------------------------------------------------------------------


def test_main_file_folder_and_part_mean_the_same_configuration(tmp_path: Path) -> None:
    """Whatever is named, the files are those that the service reads, in a fixed order."""
    main = write_files(tmp_path, agent=AGENT, tax="", bank="")
    (tmp_path / "conf.d" / "old.yaml.bak").write_text("x")
    (tmp_path / "conf.d" / ".swap.yaml").write_text("x")
    (tmp_path / "conf.d" / "more.yml").write_text("")
    expected = (main, *(tmp_path / "conf.d" / name for name in ("bank.yaml", "more.yml", "tax.yaml")))
    assert configuration_files(main) == expected
    assert configuration_files(tmp_path) == expected
    assert configuration_files(tmp_path / "conf.d" / "tax.yaml") == expected


def test_files_are_read_from_disk(tmp_path: Path) -> None:
    """Loading names the files it read, and a problem names its file as it was given."""
    main = write_files(tmp_path, agent=AGENT + CONNECTION, people=PERSON_FLOW)
    files = configuration_files(main)
    assert load(files, MODEL).files == files
    (tmp_path / "conf.d" / "people.yaml").write_text(PERSON_FLOW.replace("every: 30s", "every: 30"))
    with pytest.raises(SettingsError) as caught:
        load(files, MODEL)
    assert [str(problem).partition(" ")[0] for problem in caught.value.problems] == [f"{tmp_path}/conf.d/people.yaml:4:94:"]


def test_a_missing_main_file_is_one_problem(tmp_path: Path) -> None:
    """The default path on a fresh machine gives one clear sentence."""
    with pytest.raises(SettingsError) as caught:
        load([tmp_path / "agent.yaml"], MODEL)
    assert codes(caught.value.problems) == ["HT-C001"]  # type: ignore[arg-type]
