"""`huitong validate`, `explain` and `schema`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import app
from agent.cli.error_index import CodePage, code_pages
from agent.i18n import use_language
from agent.model import Finding
from agent.settings.load import load
from agent.settings.schemas import file_models
from connectors import BUILTIN
from tests.unit.cli.kit import huitong
from tests.unit.settings.kit import AGENT, CONNECTION, DEED_FLOW, PERSON_FLOW, VALID, write_files

EXAMPLES = Path(__file__).parents[3] / "config" / "examples"


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Texts are compared in English."""
    use_language("en")
    yield
    use_language("en")


def test_a_valid_configuration_is_confirmed(tmp_path: Path) -> None:
    """Exit code 0 and one line that names the files and counts what is in them."""
    main = write_files(tmp_path, agent=AGENT + CONNECTION, people=PERSON_FLOW)
    result = huitong("validate", str(main))
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout == f"√ {main}, {tmp_path}/conf.d/people.yaml: flows: 1, connections: 1\n"


def test_problems_are_the_result(tmp_path: Path) -> None:
    """Exit code 78; every problem on stdout, counted at the end."""
    main = write_files(tmp_path, agent=VALID + "delivery: {window: 0}\nfoo: 1\n")
    result = huitong("validate", str(main))
    assert result.code == 78
    assert result.stdout.count("error HT-") == 2
    assert result.stdout.splitlines()[-1] == "2 errors. Nothing was changed. Exit code 78"


@pytest.mark.parametrize("option", [("--json",), ("--format", "json")])
def test_the_result_as_json(option: tuple[str, ...], tmp_path: Path) -> None:
    """The same facts for machines, in either way of asking."""
    main = write_files(tmp_path, agent=VALID + "foo: 1\n")
    facts = huitong("validate", *option, str(main)).json
    assert (facts["valid"], facts["exit_code"], facts["files"]) == (False, 78, [str(main)])
    assert [(problem["code"], problem["line"]) for problem in facts["problems"]] == [("HT-C012", 17)]


def test_the_configuration_option_is_the_default_path(tmp_path: Path) -> None:
    """Without PATH the file of --config is checked."""
    main = write_files(tmp_path, agent=VALID)
    assert huitong("validate", "--config", str(main)).code == 0
    assert huitong("--config", str(tmp_path / "missing.yaml"), "validate").code == 78


def test_several_paths_of_one_configuration_are_checked_once(tmp_path: Path) -> None:
    """What a shell expands conf.d/* to is still one configuration."""
    main = write_files(tmp_path, agent=AGENT + CONNECTION, people=PERSON_FLOW, deeds=DEED_FLOW)
    result = huitong("validate", *(str(path) for path in sorted((tmp_path / "conf.d").iterdir())), str(main))
    assert result.stdout.count("√") == 1


def test_warnings_fail_only_when_strict(tmp_path: Path) -> None:
    """An unused connection is worth a line, and an error with --strict."""
    main = write_files(tmp_path, agent=AGENT + CONNECTION + DEED_FLOW)
    result = huitong("validate", str(main))
    assert (result.code, "warning HT-C035" in result.stdout) == (0, True)
    assert huitong("validate", "--strict", str(main)).code == 78


def test_fix_corrects_and_says_what_it_did(tmp_path: Path) -> None:
    """The corrected configuration is checked again; the old file is kept."""
    main = write_files(tmp_path, agent=VALID.replace("agent:\n", "agent:\n  titel: 0123\n"))
    result = huitong("validate", "--fix", str(main))
    assert result.code == 0
    assert result.stdout.splitlines()[:3] == [
        f"corrected {main}; the old file is {main}.bak",
        "  line 3: titel → title",
        '  line 3: 0123 → "0123"',
    ]
    assert 'title: "0123"' in main.read_text("utf-8")
    assert "titel: 0123" in Path(f"{main}.bak").read_text("utf-8")


def test_fix_leaves_what_it_cannot_know(tmp_path: Path) -> None:
    """What is left over is reported as ever, without claiming that nothing was changed."""
    main = write_files(tmp_path, agent=VALID.replace("agent:\n", "agent:\n  titel: x\n") + "delivery: {window: 0}\n")
    result = huitong("validate", "--fix", str(main))
    assert result.code == 78
    assert result.stdout.splitlines()[-1] == "1 error. Exit code 78"


@pytest.mark.parametrize("subject, code", [("secrets", 78), ("keys", 78), ("trust", 78), ("broker", 69), ("people", 69)])
def test_what_this_node_lacks_is_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subject: str, code: int) -> None:
    """A missing secret or key is not out of reach: trying again later changes nothing."""
    monkeypatch.setattr(app, "check_connections", lambda _settings: [Finding(subject, False, "missing")])
    assert huitong("validate", "--connect", str(write_files(tmp_path, agent=VALID))).code == code


def test_connect_tries_what_a_valid_configuration_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings are listed with their fix; something out of reach is exit code 69."""
    findings = [
        Finding("registry", True, "can be read"),
        Finding("hub", False, "{why}", "call {who}", {"why": "refused", "who": "the hub"}),
    ]
    monkeypatch.setattr(app, "check_connections", lambda _settings: findings)
    main = write_files(tmp_path, agent=VALID)
    result = huitong("validate", "--connect", str(main))
    assert result.code == 69
    assert result.stdout.splitlines()[:3] == ["√ registry: can be read", "× hub: refused", "    → call the hub"]
    assert huitong("validate", "--connect", "--json", str(main)).json["connections"][1]["text"] == "refused"


def test_connect_does_not_try_a_wrong_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is contacted before the files are right."""

    def unexpected(_settings: object) -> list[Finding]:
        raise AssertionError

    monkeypatch.setattr(app, "check_connections", unexpected)
    assert huitong("validate", "--connect", str(write_files(tmp_path, agent=VALID + "foo: 1\n"))).code == 78


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path) -> None:
    """Every example passes the loader of its kind without a warning."""
    if path.name == "hub.yaml":
        assert load([path], file_models(BUILTIN)["hub"]).warnings == ()
    else:
        assert huitong("validate", "--strict", str(path)).code == 0


# -- explain ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["HT-C012", "ht-c012", "C012"])
def test_a_code_is_explained(topic: str) -> None:
    """What it means, why it comes up, what to do and whose turn it is."""
    lines = huitong("explain", topic).stdout.splitlines()
    assert lines[0] == 'HT-C012 there is no field named "…" (to act: this node)'
    assert [line.split()[0] for line in lines[1:]] == ["cause", "effect", "action"]


@pytest.mark.parametrize("page", code_pages().values(), ids=lambda page: page.code)
def test_every_code_has_a_whole_page(page: CodePage) -> None:
    """No code is without cause, effect and action."""
    assert all((page.text, page.cause, page.impact, page.action))


def test_a_field_is_explained() -> None:
    """Title, meaning, type, range, default and an example, for every section that has it."""
    text = huitong("explain", "send.tax-csv.from.every").stdout
    assert "send.*.from.every  (database)" in text
    assert "range: 10ms … 7d" in text
    facts = huitong("explain", "--json", "hub.receipt_within").json
    assert (facts[0]["path"], facts[0]["default"]) == ("hub.receipt_within", "10m")


def test_a_section_lists_its_fields() -> None:
    """One level down, not deeper."""
    assert "fields: version, agent" not in huitong("explain", "delivery").stdout
    assert "fields: batch_records, batch_bytes, window, unsettled, compression_level" in huitong("explain", "delivery").stdout


def test_a_message_type_is_explained() -> None:
    """Its fields, in the language of the reader."""
    assert "voucher_no  number of the tax voucher  (text, required, ≤ 40)" in huitong("explain", "tax.deed@1").stdout
    assert "voucher_no  完税凭证号" in huitong("explain", "tax.deed@1", language="zh").stdout
    assert huitong("explain", "--json", "tax.deed@1").json["code"] == "tax.deed"


@pytest.mark.parametrize(
    "topic, guess", [("HT-C999", ""), ("encodng", "encoding"), ("tax.dead@1", "tax.deed@1"), ("hub.ulr", "hub.url")]
)
def test_an_unknown_topic_is_answered_with_the_nearest(topic: str, guess: str) -> None:
    """Exit code 1 and a suggestion where there is one."""
    result = huitong("explain", topic)
    assert (result.code, result.stdout) == (1, "")
    assert guess in result.stderr


# -- schema ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["agent", "hub", "message-type"])
def test_a_schema_is_printed(name: str) -> None:
    """It is JSON with or without --json, and the same as the file that is shipped."""
    shipped = json.loads((EXAMPLES.parent / "schema" / f"{name}.schema.json").read_text("utf-8"))
    assert huitong("schema", name).json == huitong("schema", name, "--json").json == shipped
