"""`huitong hub …` as hub staff meet it, on a SQLite store and without a broker where none is needed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.clock import SystemClock
from agent.cli.base import Session
from agent.cli.main import run
from agent.cli.output import Output
from agent.wire.keys import write_enrolment
from hub.model import Department, DepartmentState
from hub.store.migrate import migrate
from hub.store.opening import Sqlite, open_store
from hub.store.reading import HubReader
from hub.store.registry import SqlRegistry
from hub.testing import SampleDepartment, StillHub

pytestmark = pytest.mark.integration

Huitong = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where hub.yaml, keys, secrets and store are."""
    return tmp_path


@pytest.fixture
def huitong(folder: Path) -> Huitong:
    """Run `huitong hub …` in this process; gives exit code, stdout and stderr."""

    def call(*arguments: str, answer: str = "") -> tuple[int, str, str]:
        output = Output(io.StringIO(), io.StringIO(), io.StringIO(answer), json="--json" in arguments)
        code = run(["hub", *arguments, "--config", str(folder / "hub.yaml")], Session(output))
        assert isinstance(output.stdout, io.StringIO)
        assert isinstance(output.stderr, io.StringIO)
        return code, output.stdout.getvalue(), output.stderr.getvalue()

    return call


@pytest.fixture
def made(huitong: Huitong, folder: Path) -> str:
    """An initialised hub; gives the thumbprint of its key."""
    code, out, err = huitong(
        "init", "sc-hub", "--title", "四川省交换节点", "--state", str(folder), "--secrets", str(folder / "secrets"), "--json"
    )
    assert code == 0, err
    kid: str = json.loads(out)["kid"]
    return kid


@pytest.fixture
def filled(made: str, folder: Path) -> SampleDepartment:
    """A store with a department, stored, refused and missing messages."""
    store = open_store(Sqlite(folder / "hub.db"))
    migrate(store)
    hub = StillHub(store, SystemClock())
    bdc = SampleDepartment("bdc-01", "sc-hub", SystemClock())
    hub.admit(bdc)
    hub.send(bdc, bdc.opening(), bdc.records(1, [bdc.encoded(7, 1)]), bdc.records(2, [bdc.encoded(7, 2)]), bdc.records(5))
    hub.send(bdc, SampleDepartment("bdc-01", "sc-hub", SystemClock()).records(9))
    store.close()
    assert made
    return bdc


def data(huitong: Huitong, *arguments: str, code: int = 0) -> Any:
    """Run with --json and return what it printed."""
    done, out, err = huitong(*arguments, "--json")
    assert done == code, err
    return json.loads(out)


def test_init_never_overwrites(huitong: Huitong, made: str, folder: Path) -> None:
    """hub.yaml is written once, readable by the settings, without any secret in it."""
    text = (folder / "hub.yaml").read_text()
    assert "secret:hub_broker" in text
    assert "四川省交换节点" in text
    code, _out, err = huitong("init", "sc-hub")
    assert code == 1
    assert "hub.yaml" in err
    assert (folder / "hub.yaml").read_text() == text
    assert made


@pytest.mark.parametrize(
    "arguments,reason",
    [
        (["SC_HUB"], "node code"),
        (["sc-hub", "--store", "mysql://x@y/z"], "postgres://"),
        (["sc-hub", "--store", "postgres://x:secret@y/z"], "password"),
        (["sc-hub", "--broker", "amqp://hub:secret@127.0.0.1/"], "password"),
        (["sc-hub", "--broker", "http://127.0.0.1/"], "amqp"),
    ],
)
def test_init_says_what_is_wrong(huitong: Huitong, folder: Path, arguments: list[str], reason: str) -> None:
    """A wrong argument is a configuration error, and nothing is written."""
    code, _out, err = huitong("init", *arguments)
    assert code == 78
    assert reason in err
    assert "secret@" not in err
    assert not (folder / "hub.yaml").exists()


def test_init_writes_a_postgres_section(huitong: Huitong, folder: Path) -> None:
    """The store's address becomes its section, the password the name of a secret."""
    code, _out, err = huitong(
        "init",
        "sc-hub",
        "--state",
        str(folder),
        "--store",
        "postgres://hub@db.example:6432/exchange",
        "--management",
        "http://root@127.0.0.1:15672",
    )
    assert code == 0
    text = (folder / "hub.yaml").read_text()
    assert 'url: "amqp://127.0.0.1:5672/"\n  user: "hub"' in text
    assert 'url: "http://127.0.0.1:15672"\n    user: "root"' in text
    assert 'host: "db.example"\n  port: 6432\n  database: "exchange"\n  user: "hub"\n  password: secret:hub_database' in text
    for name in ("hub_database", "hub_broker", "broker_admin"):
        assert name in err


def test_keys_are_made_listed_used_and_exported(huitong: Huitong, made: str, folder: Path) -> None:
    """A second key is announced until it is used; the export holds both, and no private part."""
    second = data(huitong, "keys", "new", "--alg", "ES256")
    assert second["current"] is False
    listed = data(huitong, "keys", "list")
    assert [(key["kid"], key["state"]) for key in listed] == [(made, "signs"), (second["kid"], "announced")]
    assert huitong("keys", "use", second["kid"])[0] == 0
    code, out, _err = huitong("keys", "export")
    assert code == 0
    exported = json.loads(out)
    assert exported["node"] == "sc-hub"
    assert {key["kid"] for key in exported["keys"]} == {made, second["kid"]}
    assert "d" not in exported["keys"][0]
    assert huitong("keys", "export", "-o", str(folder / "hub.json"))[0] == 0


def test_a_departments_keys_are_pinned_retired_and_revoked(huitong: Huitong, filled: SampleDepartment, folder: Path) -> None:
    """Keys of a department come from its enrolment file and only move towards revoked."""
    other = SampleDepartment("bdc-01", "sc-hub", SystemClock())
    path = folder / "bdc.json"
    path.write_bytes(write_enrolment("bdc-01", [other.public]))
    assert huitong("keys", "add", "bdc-01", str(path), "--yes")[0] == 0
    assert huitong("keys", "add", "tax-02", str(path), "--yes")[0] == 1
    assert huitong("keys", "retire", filled.public.kid)[0] == 0
    assert huitong("keys", "revoke", other.public.kid, "--yes")[0] == 0
    states = {key["kid"]: key["state"] for key in data(huitong, "keys", "list", "--department", "bdc-01")}
    assert states == {filled.public.kid: "retiring", other.public.kid: "revoked"}
    assert huitong("keys", "retire", other.public.kid)[0] == 1
    assert huitong("keys", "retire", "nokey")[0] == 1


@pytest.mark.parametrize(
    "content", [b"", b"not json", b"[]", b'{"node":"bdc-01","keys":[]}', b'{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}']
)
def test_a_bad_key_file_is_refused(huitong: Huitong, filled: SampleDepartment, folder: Path, content: bytes) -> None:
    """What holds no public key of the department is told as such, with what to ask for."""
    path = folder / "bad.json"
    path.write_bytes(content)
    code, _out, err = huitong("keys", "add", filled.code, str(path), "--yes")
    assert code == 1
    assert "HT-H011" in err
    assert huitong("keys", "add", filled.code, str(folder / "missing.json"), "--yes")[0] == 1


def test_pinning_needs_a_yes(huitong: Huitong, filled: SampleDepartment, folder: Path) -> None:
    """Without a terminal and without --yes nothing is pinned."""
    path = folder / "bdc.json"
    path.write_bytes(write_enrolment("bdc-01", [SampleDepartment("bdc-01", "sc-hub", SystemClock()).public]))
    assert huitong("keys", "add", "bdc-01", str(path))[0] == 1
    assert len(data(huitong, "keys", "list", "--department", filled.code)) == 1


def test_status_shows_flows_and_what_to_look_at(huitong: Huitong, filled: SampleDepartment) -> None:
    """High water, gaps and refusals; exit code 1 while something needs a person."""
    told = data(huitong, "status", code=1)
    (department,) = told["departments"]
    (flow,) = department["flows"]
    assert (flow["flow"], flow["high_water"], flow["gaps"], flow["missing"]) == ("people", 2, [[3, 4]], 2)
    assert department["refused_today"] == 1
    assert any("3–4" in line for line in told["to_look_at"])
    code, out, _err = huitong("status", "--department", filled.code)
    assert code == 1
    assert "people" in out
    code, _out, err = huitong("status", "--department", "nobody")
    assert (code, "there is no department named nobody" in err) == (1, True)


def test_renewing_a_department_keeps_its_title(made: str, folder: Path) -> None:
    """Repeating `admit` without --title and --contact, for a new password say, does not wipe them out."""
    store = open_store(Sqlite(folder / "hub.db"))
    registry, now = SqlRegistry(store), SystemClock().now()
    first = Department("bdc-01", "不动产登记中心", "张工", DepartmentState.ADMITTED, now)
    assert registry.admit(first, None, "root")
    assert not registry.admit(Department("bdc-01", "", "李工", DepartmentState.ADMITTED, now), None, "root")
    (known,) = HubReader(store).departments(now)
    assert (known.title, known.contact) == ("不动产登记中心", "李工")
    store.close()
    assert made


def test_show_finds_a_message_and_a_key(huitong: Huitong, filled: SampleDepartment) -> None:
    """A message with its receipts; a key with its versions in order, contents only when asked for."""
    history = data(huitong, "show", "--department", "bdc-01", "--flow", "people", "--key", '{"id":"7"}', "--data")
    assert [(row["sequence"], json.loads(row["data"])["value"]) for row in history] == [(1, 1), (2, 2)]
    without = data(huitong, "show", "--department", "bdc-01", "--flow", "people", "--key", '{"id":"7"}')
    assert "data" not in without[0]
    (quarantined,) = data(huitong, "quarantine", "list")
    assert huitong("show", quarantined["message_id"])[0] == 1
    assert huitong("show", "--flow", "people")[0] == 78
    assert huitong("show", "--department", "bdc-01", "--flow", "people", "--key", "{}")[0] == 1
    code, out, _err = huitong("show", "--department", "bdc-01", "--flow", "people", "--key", '{"id":"7"}', "--data")
    assert code == 0
    assert "张三7" in out
    code, _out, err = huitong("show", "nothing", "--lang", "zh")
    assert (code, "没有名为 nothing 的报文" in err) == (1, True)
    assert filled.code


def test_quarantine_lists_and_writes_octets(huitong: Huitong, filled: SampleDepartment, folder: Path) -> None:
    """A refused message with its reason; its octets go to a file on request, never to the screen."""
    (entry,) = data(huitong, "quarantine", "list", "--department", filled.code)
    assert (entry["code"], entry["times"]) == ("unknown_key", 1)
    shown = data(huitong, "quarantine", "show", str(entry["number"]), "--raw", str(folder / "raw"))
    assert "raw" not in shown
    assert (folder / "raw").stat().st_size == entry["size_bytes"]
    assert huitong("quarantine", "show", "999")[0] == 1
    assert "unknown_key 签名密钥未登记" in huitong("quarantine", "list", "--lang", "zh")[1]
    assert "Nothing was refused." in huitong("quarantine", "list", "--department", "nobody", "--lang", "en")[2]


def test_audit_verifies_and_shows_tampering(huitong: Huitong, filled: SampleDepartment, folder: Path) -> None:
    """The chain holds until somebody changes an entry."""
    assert data(huitong, "audit", "verify", filled.code)["broken_at"] is None
    lines = huitong("audit", "export", filled.code)[1].splitlines()
    assert json.loads(lines[-1])["sequence"] == len(lines)
    store = open_store(Sqlite(folder / "hub.db"))
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE audit SET entry = replace(entry, 'stored', 'sTored') WHERE sequence = 4")
    store.close()
    assert data(huitong, "audit", "verify", filled.code, code=1)["broken_at"] == 4
    assert huitong("audit", "verify", "nobody")[0] == 1


def test_writing_commands_wait_for_no_running_hub(huitong: Huitong, filled: SampleDepartment, folder: Path) -> None:
    """While a process holds a SQLite store, looking works and changing says busy."""
    store = open_store(Sqlite(folder / "hub.db"))
    assert huitong("status")[0] == 1
    assert huitong("suspend", filled.code, "--yes")[0] == 75
    store.close()
    assert huitong("suspend", filled.code, "--yes")[0] == 0
    assert data(huitong, "status", code=1)["departments"][0]["state"] == "suspended"
    assert huitong("suspend", filled.code, "--lift")[0] == 0
    code, _out, err = huitong("suspend", "nobody")
    assert (code, "nobody" in err, "?" in err) == (1, True, False)  # not asked about what does not exist


def test_validate_needs_no_network(huitong: Huitong, made: str, folder: Path) -> None:
    """A missing secret is a configuration error; with it everything a start needs is there."""
    code, _out, err = huitong("validate")
    assert code == 78
    assert "hub_broker" in err
    (folder / "secrets").mkdir(mode=0o700)
    (folder / "secrets" / "hub_broker").write_text("x")
    (folder / "secrets" / "hub_broker").chmod(0o600)
    assert data(huitong, "validate")["kid"] == made
    config = folder / "hub.yaml"
    config.write_text(config.read_text().replace("type: sqlite", "type: sqlit"))
    code, _out, err = huitong("validate")
    assert code == 78
    assert "sqlite" in err


def test_types_are_listed(huitong: Huitong, made: str) -> None:
    """The shipped types and their schemas."""
    assert {row["name"] for row in data(huitong, "types", "list")} >= {"population.person@1", "realestate.ownership@2"}
    assert "population.person@1" in huitong("types", "list")[1]
    assert made


def test_admit_prints_commands_for_the_administrator(huitong: Huitong, made: str) -> None:
    """Without a management interface the exact commands are printed; the rights allow this department and nothing else."""
    lines = data(huitong, "admit", "bdc-01", "--print")["commands"]
    assert lines[0] == "rabbitmqctl add_user agent.bdc-01"
    assert r"'^$' '^ing\.bdc-01$' '^(rcpt|out)\.bdc-01$'" in lines[1]
    assert "clear_password agent.bdc-01" in "\n".join(data(huitong, "admit", "bdc-01", "--print", "--certificate")["commands"])
    assert huitong("admit", "Bad Code", "--print")[0] == 78
    assert made


def test_help_is_there_for_every_command(huitong: Huitong) -> None:
    """Each command explains itself, without configuration."""
    from hub.cli import COMMANDS

    for entry in COMMANDS:
        code, out, err = huitong(entry.name, "--help")
        assert (code, err) == (0, "") or "Usage" in out + err
