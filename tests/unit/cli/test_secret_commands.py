"""`huitong secret`: values go in and never come out."""

from __future__ import annotations

import io
import stat

import pytest

from tests.unit.cli.department import Department

CANARY = "s3cret-汇通"


def test_a_value_is_read_from_standard_input(department: Department) -> None:
    """Stored for us alone, without the line break at its end, and shown nowhere."""
    done = department.run("secret", "set", "hub_password", "--json", stdin=io.StringIO(f"{CANARY}\n"))
    assert (done.code, done.json) == (0, {"name": "hub_password", "used": True})
    path = department.place / "secrets" / "hub_password"
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (CANARY, 0o600)
    for command in (("list",), ("list", "--json"), ("check",), ("check", "--json")):
        result = department.run("secret", *command)
        assert CANARY not in result.stdout + result.stderr
    assert CANARY not in done.stdout + done.stderr


def test_a_name_nobody_uses_is_stored_with_a_remark(department: Department) -> None:
    """The configuration may follow; a misspelling is noticed."""
    done = department.run("secret", "set", "hub_pasword", stdin=io.StringIO("x"))
    assert (done.code, "secret:hub_pasword" in done.stderr) == (0, True)


@pytest.mark.parametrize("name, value, code", [("hub_password", "", 78), ("../evil", "x", 78), ("hub_password", "\n", 78)])
def test_nonsense_is_not_stored(department: Department, name: str, value: str, code: int) -> None:
    """Neither an empty value nor a name that is a path."""
    before = department.octets()
    assert department.run("secret", "set", name, stdin=io.StringIO(value)).code == code
    assert department.octets() == before


def test_a_value_is_never_an_argument(department: Department) -> None:
    """There is no place for it on the command line, where every user of the machine could read it."""
    assert department.run("secret", "set", "hub_password", CANARY).code == 2


def test_each_secret_is_checked(department: Department) -> None:
    """A missing one and one that others may read are told with the fix."""
    assert department.run("secret", "check").code == 0
    path = department.place / "secrets" / "hub_password"
    path.chmod(0o644)
    open_to_others = department.run("secret", "check")
    assert (open_to_others.code, "chmod 600" in open_to_others.stdout) == (1, True)
    path.unlink()
    (missing,) = department.run("secret", "check", "--json").json
    assert (missing["name"], missing["ok"]) == ("hub_password", False)
    assert "huitong secret set hub_password" in missing["fault"]


def test_a_secret_is_deleted_after_a_yes(department: Department) -> None:
    """And only once."""
    assert department.answer("secret", "remove", "hub_password", said="no\n").code == 1
    assert [row["name"] for row in department.run("secret", "list", "--json").json] == ["hub_password"]
    assert department.run("secret", "remove", "hub_password", "--yes", "--json").json == {"name": "hub_password", "removed": True}
    gone = department.run("secret", "remove", "hub_password", "--yes", "--json")
    assert (gone.code, gone.error["code"]) == (1, "HT-E404")
