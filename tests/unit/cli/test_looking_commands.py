"""`huitong preview` and `huitong doctor`: they only look."""

from __future__ import annotations

import pytest

from agent.adapters.clock import SystemClock
from agent.cli.words import subject_of
from agent.i18n import use_language
from agent.model import Finding, Outcome
from tests.unit.cli.department import PEOPLE, Department

# -- preview ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", ["people", "tax"])
def test_a_preview_leaves_no_trace(department: Department, flow: str) -> None:
    """No store, no folder, no file, no changed octet: neither here nor at the source."""
    department.put(*PEOPLE)
    department.drop("a.csv", "凭证号,金额,日期\nA1,1.00,2026-01-01\n")
    before = department.octets()
    folders = sorted(path for path in department.place.rglob("*") if path.is_dir())
    assert department.run("preview", flow).code in (0, 3)
    assert department.octets() == before
    assert sorted(path for path in department.place.rglob("*") if path.is_dir()) == folders


def test_a_preview_beside_a_filled_store_leaves_no_trace(filled: Department) -> None:
    """Positions, ledger and outbox are what they were."""
    before = filled.octets()
    filled.run("preview", "people", "-n", "10")
    assert filled.octets() == before


def test_real_rows_are_mapped_and_masked(department: Department) -> None:
    """A good row passes, a bad one is put aside with the reason; nobody reads a person on the screen."""
    department.put(*PEOPLE)
    result = department.run("preview", "people", "--json")
    assert result.code == 3
    good, bad = result.json["records"]
    assert [field["verdict"] for field in good] == ["ok", "ok", "ok"]
    assert [field["verdict"] for field in bad] == ["ok", "ok", "error"]
    assert "YYYYMMDD" in bad[2]["error"]
    text = department.run("preview", "people").stdout
    for sfzh, name, _born in PEOPLE:
        assert sfzh not in text
        assert name not in text
    assert "Nothing was sent, nothing was moved." in text


def test_a_file_is_shown_before_it_is_complete(department: Department) -> None:
    """Its good rows and its broken ones."""
    department.drop("a.csv", "凭证号,金额,日期\nA1,1.00,2026-01-01\nA2,1\n")
    result = department.run("preview", "tax", "--json")
    assert (result.code, len(result.json["records"]), len(result.json["unreadable"])) == (3, 1, 1)


def test_an_empty_source_says_so(department: Department) -> None:
    """That is no failure."""
    result = department.run("preview", "tax")
    assert (result.code, "nothing to read now" in result.stdout) == (0, True)


def test_a_source_that_is_away_is_69(department: Department) -> None:
    """And an unknown flow is 1."""
    (department.place / "registry.db").unlink()
    away = department.run("preview", "people", "--json")
    assert (away.code, away.error["exit_code"], away.error["side"]) == (69, 69, "source")
    assert department.run("preview", "nobody").code == 1


# -- doctor ----------------------------------------------------------------------------------------------------------


def findings(department: Department) -> dict[tuple[str, str], dict[str, object]]:
    return {(one["subject"], one["of"]): one for one in department.run("doctor", "--json").json}


def test_everything_is_looked_at(filled: Department) -> None:
    """Store, engine, disk, clock, keys, trust, broker and each source, with what polling cannot see."""
    found = findings(filled)
    assert {subject for subject, _of in found} == {"agent", "store", "disk", "clock", "keys", "trust", "broker", "people", "tax"}
    assert [subject for subject, one in found.items() if not one["ok"] and not one["warning"]] == [("broker", "")]
    assert found["broker", ""]["hint"]
    text = filled.run("doctor").stdout
    assert "is found by the next comparison only" in text
    assert "failed: 1" in text


def test_an_agent_that_does_not_run_is_told(filled: Department) -> None:
    """With the way to start it; it is a warning, because the checks are also run before the first start."""
    silent = findings(filled)["agent", ""]
    assert (silent["ok"], silent["warning"], "systemctl start" in str(silent["hint"])) == (False, True, True)
    with filled.running():
        assert findings(filled)["agent", ""]["ok"]


def test_the_key_of_a_table_is_no_signing_key() -> None:
    """The same word names two things; in Chinese they are told apart."""
    use_language("zh")
    assert subject_of(Finding("people", ok=True, text="", details={"of": "key"})) == "people · 业务主键"


def test_what_is_missing_is_told_once_with_its_fix(department: Department) -> None:
    """No key, no trust, no secret: three findings, and none for what follows from them."""
    (department.place / "secrets" / "hub_password").unlink()
    found = findings(department)
    assert found["keys", ""]["hint"] == "make one with: huitong keys new"
    assert "huitong keys trust FILE" in str(found["trust", ""]["hint"])
    assert "huitong secret set hub_password" in str(found["secrets", ""]["hint"])
    assert ("broker", "") not in found
    assert not (department.place / "state").exists()


def test_little_room_is_told_before_capture_pauses(department: Department) -> None:
    """Below the mark it is a failure; the numbers are readable."""
    text = department.config.read_text().replace("disk_low_water: 16MiB", "disk_low_water: 100TiB")
    department.config.write_text(text)
    disk = findings(department)["disk", ""]
    assert (disk["ok"], disk["warning"]) == (False, False)
    assert "below 100.0 TiB capture pauses" in str(disk["text"])


def test_a_damaged_store_leads_to_restore(filled: Department) -> None:
    """A page of the file was overwritten: put the last good copy back."""
    path = filled.place / "state" / "outbox.db"
    octets = bytearray(path.read_bytes())
    octets[8192:12288] = b"\xff" * 4096
    path.write_bytes(octets)
    store = [one for one in filled.run("doctor", "--json").json if one["subject"] == "store" and not one["ok"]]
    assert store
    assert any("huitong restore" in one["hint"] or "disk" in one["hint"] for one in store)


def test_a_store_of_another_agent_is_told(filled: Department) -> None:
    """The configuration was copied from somewhere."""
    filled.config.write_text(filled.config.read_text().replace("510100-test-01", "510100-test-02"))
    assert "510100-test-01" in " ".join(str(one["text"]) for one in filled.run("doctor", "--json").json)


def test_clocks_that_differ_are_told(filled: Department) -> None:
    """The hub's receipt was written long after it arrived: one of the clocks is wrong."""
    from datetime import timedelta

    (message,) = filled.messages("people")
    ahead = SystemClock().now() + timedelta(hours=2)
    filled.judge(message, Outcome.STORED, received_at=ahead, committed_at=ahead)
    clock = findings(filled)["clock", ""]
    assert (clock["ok"], clock["warning"]) == (False, True)
    assert "ahead of ours" in str(clock["text"])


def test_doctor_is_shown_in_chinese(looked_at: Department) -> None:
    """Subjects and findings."""
    text = looked_at.run("doctor", language="zh").stdout
    assert "项检查" in text
    for word in ("nothing speaks", "can be read", "message broker"):
        assert word not in text


# -- validate --connect ----------------------------------------------------------------------------------------------


def test_a_column_the_source_lacks_is_shown_where_it_is_named(department: Department) -> None:
    """Each place with line, column, caret and the likeliest column; it is a mistake of the configuration, so 78."""
    text = department.config.read_text("utf-8")
    for wrong, right in (("cursor: gxsjj", "cursor: gxsj"), ("from: XM", "from: xm"), ("from: 金额（元）", "from: 金额")):
        text = text.replace(right, wrong)
    department.config.write_text(text, "utf-8")
    department.drop("a.csv", "凭证号,金额(元),日期\nA1,1.00,2026-01-01\n")
    result = department.with_keys().run("validate", "--connect")
    assert result.code == 78
    lines = text.splitlines()
    for named, likeliest in (("gxsjj", "gxsj"), ("XM", "xm"), ("金额（元）", "金额(元)")):
        row = next(number for number, line in enumerate(lines, 1) if named in line)
        assert f"agent.yaml:{row}:{lines[row - 1].index(named) + 1}: error HT-M004" in result.stdout
        assert f"did you mean {likeliest}?" in result.stdout
    assert result.stdout.count("HT-M004") == 2 * 3  # each is named once, with its reference
    assert f"√ {department.config}" not in result.stdout
    assert "table person can be read" not in result.stdout
    problems = department.run("validate", "--connect", "--json").json
    assert [one["code"] for one in problems["problems"]] == ["HT-M004"] * 3
    assert problems["exit_code"] == 78
