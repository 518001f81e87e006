"""`huitong init`: what it writes passes the loader, fits the columns that are there, and overwrites nothing."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.cli.init import flow_id
from agent.cli.validate import load_agent_settings
from agent.i18n import use_language
from tests.unit.cli.kit import Result, Terminal, huitong


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a registry as a department has it."""
    with closing(sqlite3.connect(tmp_path / "registry.db")) as db, db:
        db.execute(
            "CREATE TABLE person (sfzh TEXT PRIMARY KEY, xm TEXT, xb TEXT, mz TEXT, csrq CHAR(8), "
            "nsr NUMERIC(12, 4), gxsj TIMESTAMP, bz TEXT)"
        )
        db.execute('CREATE TABLE "odd: names" ("a,b" TEXT PRIMARY KEY, "是" TEXT, "010" TEXT, "on" TEXT)')
    return tmp_path


def init(place: Path, *arguments: str, language: str = "en", stdin: Terminal | None = None) -> Result:
    return huitong("--config", str(place / "agent.yaml"), "init", *arguments, language=language, stdin=stdin)


NEW_CONNECTION = ("--type", "sqlite", "--path")


def flows(place: Path) -> dict[str, Any]:
    return dict(load_agent_settings([place / "agent.yaml"]).value.send)


# -- agent.yaml ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_first_configuration_is_complete_and_valid(place: Path, language: str) -> None:
    """Every field of the settings is there with its meaning, in the language of the operator; the next steps are told."""
    done = init(place, language=language)
    assert done.code == 0
    settings = load_agent_settings([place / "agent.yaml"]).value
    assert (settings.agent.language, settings.send) == (language, {})
    text = (place / "agent.yaml").read_text("utf-8")
    for name in ("retention", "disk_low_water", "listen", "trust", "receipt_within", "window", "message_types", "connections"):
        assert f"{name}:" in text
    assert ("回执" in text) is (language == "zh")
    assert "huitong keys new" in done.stdout
    assert "agent.id" in done.stdout  # what is still to be filled in
    if language == "zh":
        assert "Next" not in done.stdout
        assert "Assigned by the hub" not in text


def test_what_is_known_is_filled_in(place: Path) -> None:
    """Codes, address and title from options; a trial keeps everything under one folder."""
    facts = ("--id", "510100-bdc-01", "--hub", "sc-hub", "--url", "amqps://mq.example.cn:5671/x", "--title", "不动产: 登记")
    told = init(place, *facts, "--folder", str(place / "try"), "--json").json
    assert told["file"] == str(place / "agent.yaml")
    assert not any("agent.id" in step for step in told["next"])
    settings = load_agent_settings([place / "agent.yaml"]).value
    assert (settings.agent.id, settings.hub.code, settings.agent.title) == ("510100-bdc-01", "sc-hub", "不动产: 登记")
    assert settings.agent.state_dir == place / "try" / "state"
    assert settings.agent.control_socket == place / "try" / "agent.sock"


def test_a_wrong_fact_is_told_before_anything_is_written(place: Path) -> None:
    """The same words as huitong validate, with the place in the file that would have been."""
    result = init(place, "--id", "没有这样的编号", "--json")
    assert (result.code, [p["code"] for p in result.error["problems"] if p["level"] == "error"]) == (78, ["HT-C018"])
    assert not (place / "agent.yaml").exists()


def test_nothing_is_overwritten_without_asking(place: Path) -> None:
    """A no keeps the file, a yes replaces it; without a terminal --yes is needed."""
    init(place)
    (place / "agent.yaml").write_text("# mine\n")
    assert init(place, stdin=Terminal("n\n")).code == 1
    assert init(place).code == 1
    assert (place / "agent.yaml").read_text() == "# mine\n"
    assert init(place, stdin=Terminal("y\n")).code == 0
    assert "version: 1" in (place / "agent.yaml").read_text()
    assert init(place, "--yes").code == 0


def test_it_can_be_written_to_standard_output(place: Path) -> None:
    """And then to no file."""
    assert init(place, "-o", "-").stdout.startswith("# ")
    assert not (place / "agent.yaml").exists()


# -- from a table ----------------------------------------------------------------------------------------------------


def test_a_table_becomes_a_flow_of_a_message_type(place: Path) -> None:
    """Key, cursor and a map with the conversions that the types ask for; what was not used is named."""
    init(place)
    done = init(
        place,
        "--from-table",
        "registry/person",
        *NEW_CONNECTION,
        str(place / "registry.db"),
        "--message",
        "population.person@1",
        "--json",
    )
    assert done.json["file"] == str(place / "conf.d" / "person.yaml")
    flow = flows(place)["person"]
    assert (flow.message, flow.from_.key, flow.from_.cursor) == ("population.person@1", ("sfzh",), "gxsj")
    assert {target: getattr(form, "from_", form) for target, form in flow.map.items()} == {
        "id_number": "sfzh",
        "name": "xm",
        "sex": "xb",
        "ethnicity": "mz",
        "born_on": "csrq",
        "updated_at": "gxsj",
    }
    assert (flow.map["born_on"].date, flow.map["sex"].codes) == ("YYYYMMDD", "sex")
    text = (place / "conf.d" / "person.yaml").read_text("utf-8")
    assert "columns that are not used: nsr, bz" in text
    assert huitong("validate", str(place / "agent.yaml")).code == 0


def test_a_known_connection_is_used_and_every_column_listed(place: Path) -> None:
    """Without a message type each column stands under its own name, whatever it is called."""
    init(place)
    init(place, "--from-table", "registry/person", *NEW_CONNECTION, str(place / "registry.db"), "--flow", "p-1")
    done = init(place, "--from-table", "registry/odd: names", "--flow", "odd")
    assert done.code == 0, done.stderr
    flow = flows(place)["odd"]
    assert flow.from_.key == ("a,b",)
    assert dict(flow.map) == {"a,b": "a,b", "是": "是", "010": "010", "on": "on"}
    assert flow.from_.cursor is None
    assert "connections:" not in (place / "conf.d" / "odd.yaml").read_text()


def test_a_required_field_without_a_column_is_left_to_the_operator(place: Path) -> None:
    """The file is valid, the place is marked, and doctor names the column that is not there."""
    init(place)
    with closing(sqlite3.connect(place / "registry.db")) as db, db:
        db.execute("CREATE TABLE deed (wspzh TEXT PRIMARY KEY, jkrq DATE)")
    connection = (*NEW_CONNECTION, str(place / "registry.db"))
    done = init(place, "--from-table", "registry/deed", *connection, "--message", "tax.deed@1", "--json")
    assert (done.code, done.json["missing"], done.json["key"]) == (0, ["amount"], ["wspzh"])
    assert "amount" in done.stderr
    assert flows(place)["deed"].map["amount"] == "FILL-IN"
    doctor = huitong("--config", str(place / "agent.yaml"), "doctor", "--json")
    assert any("FILL-IN" in one["text"] for one in doctor.json)


def test_a_table_that_has_nothing_of_a_message_is_told(place: Path) -> None:
    """No column looks like a field: nothing is invented."""
    init(place)
    with closing(sqlite3.connect(place / "registry.db")) as db, db:
        db.execute("CREATE TABLE other (x1 TEXT PRIMARY KEY, x2 TEXT)")
    connection = (*NEW_CONNECTION, str(place / "registry.db"))
    result = init(place, "--from-table", "registry/other", *connection, "--message", "tax.deed@1", "--json")
    assert (result.code, "--message" in result.error["hint"]) == (78, True)
    assert not (place / "conf.d").exists()


def test_a_flow_needs_no_agent_yaml_when_the_connection_is_described(place: Path) -> None:
    """A department may begin with its table."""
    done = init(place, "--from-table", "registry/person", *NEW_CONNECTION, str(place / "registry.db"), "-o", "-")
    assert done.code == 0
    assert "connections:" in done.stdout
    assert "sfzh: sfzh" in done.stdout


@pytest.mark.parametrize(
    "arguments, code",
    [
        (("--from-table", "registry"), 2),
        (("--from-table", "registry/person", "--from-csv", "x.csv"), 2),
        (("--from-table", "registry/person"), 1),
        (("--from-table", "registry/nobody", *NEW_CONNECTION, "{place}/registry.db"), 1),
        (("--from-table", "registry/person", *NEW_CONNECTION, "{place}/none.db"), 69),
        (("--from-table", "registry/person", *NEW_CONNECTION, "relative.db"), 78),
        (("--from-table", "registry/person", *NEW_CONNECTION, "{place}/registry.db", "--message", "no.such@1"), 78),
        (("--from-csv", "{place}/none.csv"), 1),
        (("--type", "db2"), 2),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else str(value),
)
def test_what_cannot_be_done_is_told_and_nothing_is_written(place: Path, arguments: tuple[str, ...], code: int) -> None:
    """Wrong usage, unknown connections and tables, sources that are away, fields that are wrong."""
    init(place)
    before = sorted(place.rglob("*"))
    result = init(place, *(argument.format(place=place) for argument in arguments), "--json")
    assert (result.code, result.stdout) == (code, "")
    assert json.loads(result.stderr)["error"]["exit_code"] == code
    assert sorted(place.rglob("*")) == before


def test_a_second_flow_of_the_same_name_is_refused(place: Path) -> None:
    """Another file in conf.d has it already."""
    init(place)
    table = ("--from-table", "registry/person", *NEW_CONNECTION, str(place / "registry.db"))
    assert init(place, *table).code == 0
    again = init(place, "--from-table", "registry/person", "-o", str(place / "conf.d" / "other.yaml"), "--json")
    assert (again.code, "HT-C027" in [problem["code"] for problem in again.error["problems"]]) == (78, True)
    assert not (place / "conf.d" / "other.yaml").exists()
    for repeat in (table, table[:2]):  # its own file may be written again, also by one who does not describe the connection
        assert init(place, *repeat, "--yes").code == 0
        assert list(flows(place)) == ["person"]


# -- from a CSV file -------------------------------------------------------------------------------------------------

HEADER = "完税凭证号,纳税人名称,金额（元）,缴款日期,备注"
LINE = "A1,张三,1.00,2026-01-01,䶮"


@pytest.mark.parametrize(
    "encoding, bom, shown", [("utf-8", b"", "utf-8"), ("utf-8", b"\xef\xbb\xbf", "utf-8"), ("gb18030", b"", "gb18030")]
)
def test_a_file_becomes_a_flow(place: Path, encoding: str, bom: bytes, shown: str) -> None:
    """Whatever it is encoded in; key and fields by the titles of the message type."""
    init(place)
    drop = place / "drop"
    drop.mkdir()
    (drop / "契税.csv").write_bytes(bom + f"{HEADER}\r\n{LINE}\r\n".encode(encoding))
    done = init(place, "--from-csv", str(drop / "契税.csv"), "--message", "tax.deed@1", "--json")
    assert (done.code, done.json["flow"], done.json["missing"]) == (0, "qs", [])
    flow = flows(place)["qs"]
    assert (flow.from_.files, flow.from_.encoding, flow.from_.key) == (f"{drop}/*.csv", shown, ("完税凭证号",))
    assert (flow.map["amount"].from_, flow.map["amount"].decimal) == ("金额（元）", 2)
    assert "columns that are not used: 备注" in (place / "conf.d" / "qs.yaml").read_text("utf-8")


def test_a_file_without_a_message_type_keeps_its_names(place: Path) -> None:
    """same-names, with the columns as a comment; a semicolon is noticed."""
    init(place)
    (place / "list.csv").write_text("编号;名称\n1;甲\n", encoding="utf-8")
    done = init(place, "--from-csv", str(place / "list.csv"))
    assert done.code == 0
    flow = flows(place)["list"]
    assert (flow.map, flow.from_.delimiter, flow.from_.key) == ("same-names", ";", ("编号",))


def test_a_file_that_is_no_table_is_told(place: Path) -> None:
    """Empty, or UTF-16."""
    init(place)
    (place / "empty.csv").write_bytes(b"")
    (place / "wide.csv").write_bytes("编号,名称\n".encode("utf-16"))
    for name in ("empty.csv", "wide.csv"):
        result = init(place, "--from-csv", str(place / name), "--json")
        assert (result.code, result.error["code"]) == (1, "HT-F001")


@pytest.mark.parametrize(
    "name, flow",
    [("public.QSZT", "qszt"), ("契税清单", "qsqd"), ("Tax_List 2026", "tax-list-2026"), ("2026", "flow-2026"), ("䶮", "flow")],
)
def test_a_flow_is_named_after_what_it_reads(name: str, flow: str) -> None:
    """Latin as it is, Chinese by its initials, always a valid id."""
    assert flow_id(name) == flow


def test_the_proposal_is_explained_in_chinese(place: Path) -> None:
    """Comments in the file and the next steps."""
    use_language("zh")
    init(place, language="zh")
    done = init(place, "--from-table", "registry/person", *NEW_CONNECTION, str(place / "registry.db"), language="zh")
    text = (place / "conf.d" / "person.yaml").read_text("utf-8")
    assert done.code == 0
    for word in ("Check every line", "left the field", "Next"):
        assert word not in text + done.stdout


def test_a_flow_written_elsewhere_is_to_be_moved(place: Path) -> None:
    """Only files in conf.d are read: the first of the next steps says so, and says it only where it is so."""
    arguments = ("--from-table", "registry/person", *NEW_CONNECTION, str(place / "registry.db"), "--json")
    init(place)
    (place / "conf.d").mkdir()
    assert str(place / "conf.d") in init(place, *arguments, "-o", str(place / "person.yaml")).json["next"][0]
    steps = init(place, *arguments, "-o", str(place / "conf.d" / "person.yaml")).json["next"]
    assert not any("not read" in step for step in steps)
