"""`huitong keys`: making, using, exporting and removing own keys; trusting and revoking keys of the hub."""

from __future__ import annotations

import json

from agent.events import TrustUnreadable
from agent.wire.keys import generate, public_of, read_enrolment, write_enrolment
from tests.unit.cli.department import CODE, HUB, Department


def own(department: Department) -> dict[str, str]:
    """Return our keys: name → signs or kept."""
    rows = department.run("keys", "list", "--json").json
    return {row["kid"]: row["state"] for row in rows if row["owner"] == CODE}


def trusted(department: Department) -> dict[str, str]:
    rows = department.run("keys", "list", "--json").json
    return {row["kid"]: row["state"] for row in rows if row["owner"] == HUB}


def hub_file(department: Department, owner: str = HUB) -> tuple[str, str]:
    """Write an enrolment file with a new key; returns its path and the name of the key."""
    key = public_of(generate(), owner)
    path = department.place / f"{key.kid}.keys"
    path.write_bytes(write_enrolment(owner, [key]))
    return str(path), key.kid


# -- own keys --------------------------------------------------------------------------------------------------------


def test_the_first_key_signs_and_a_later_one_waits(department: Department) -> None:
    """The next step is told: to the hub, by file and telephone."""
    first = department.run("keys", "new", "--json")
    assert (first.code, first.json["current"]) == (0, True)
    assert "huitong keys export" in first.stderr
    second = department.run("keys", "new", "--alg", "ES256", "--json")
    assert (second.json["alg"], second.json["current"]) == ("ES256", False)
    assert f"huitong keys use {second.json['kid']}" in second.stderr
    assert own(department) == {first.json["kid"]: "signs", second.json["kid"]: "kept"}


def test_a_rotation_ends_with_the_old_key_gone(department: Department) -> None:
    """Use the new one, then remove the old one after a yes; the one that signs cannot be removed."""
    old, new = (department.run("keys", "new", "--json").json["kid"] for _ in range(2))
    assert department.run("keys", "use", new, "--json").json == {"kid": new, "current": True}
    assert own(department) == {old: "kept", new: "signs"}
    refused = department.run("keys", "remove", new, "--yes", "--json")
    assert (refused.code, refused.error["code"]) == (1, "HT-E409")
    assert department.answer("keys", "remove", old, said="n\n").code == 1
    assert old in own(department)
    assert department.run("keys", "remove", old, "--yes").code == 0
    assert own(department) == {new: "signs"}
    assert department.run("keys", "use", old).code == 1


def test_only_public_halves_are_exported(department: Department) -> None:
    """To standard output or to a file; the hub can read it."""
    kid = department.run("keys", "new", "--json").json["kid"]
    owner, (key,) = read_enrolment(department.run("keys", "export").stdout.encode())
    assert (owner, key.kid) == (CODE, kid)
    target = department.place / "out.keys"
    assert department.run("keys", "export", "-o", str(target), "--json").json == {"file": str(target), "keys": [kid]}
    assert json.loads(target.read_text())["node"] == CODE
    assert "PRIVATE" not in target.read_text()


def test_a_private_key_that_others_may_read_is_refused(department: Department) -> None:
    """Exit code 77, with the command that corrects it."""
    kid = department.run("keys", "new", "--json").json["kid"]
    (department.place / "keys" / f"{kid}.pem").chmod(0o644)
    result = department.run("keys", "list", "--json")
    assert (result.code, result.error["exit_code"], "chmod 600" in result.error["hint"]) == (77, 77, True)


# -- keys of the hub -------------------------------------------------------------------------------------------------


def test_the_keys_of_the_hub_are_trusted_after_a_comparison(department: Department) -> None:
    """They are shown to be compared by telephone; a no trusts nothing."""
    path, kid = hub_file(department)
    asked = department.answer("keys", "trust", path, said="n\n")
    assert (asked.code, kid in asked.stderr) == (1, True)
    assert trusted(department) == {}
    assert department.run("keys", "trust", path, "--yes", "--json").json == {"owner": HUB, "keys": [kid]}
    assert trusted(department) == {kid: "active"}
    assert kid in department.run("keys", "list").stdout


def test_a_file_of_another_node_is_refused(department: Department) -> None:
    """Whatever its keys are: exit code 78."""
    path, _kid = hub_file(department, "somebody-else")
    result = department.run("keys", "trust", path, "--yes", "--json")
    assert (result.code, "somebody-else" in result.error["text"]) == (78, True)
    assert department.run("keys", "trust", str(department.config), "--yes").code == 78
    assert department.run("keys", "trust", "/nonexistent", "--yes").code == 2


def test_a_revoked_key_never_comes_back(department: Department) -> None:
    """Revoking asks; trusting the same file again changes nothing."""
    path, kid = hub_file(department)
    department.run("keys", "trust", path, "--yes")
    assert department.answer("keys", "revoke", kid, said="n\n").code == 1
    assert department.run("keys", "revoke", kid, "--yes", "--json").json == {"kid": kid, "state": "revoked"}
    department.run("keys", "trust", path, "--yes")
    assert trusted(department) == {kid: "revoked"}
    assert department.run("keys", "revoke", "nonsense", "--yes", "--json").error["code"] == "HT-E404"


def test_a_running_agent_follows_at_once(filled: Department) -> None:
    """Trusted and revoked keys count without a restart; an unreadable file raises an alarm and the known keys stay."""
    with filled.running() as running:
        ring = running.agent.trust.ring
        path, kid = hub_file(filled)
        assert kid not in ring()
        assert filled.run("keys", "trust", path, "--yes").code == 0
        assert kid in ring()
        (filled.place / "trust" / "broken.jwk").write_text("{}")
        assert kid in ring()
        running.wait_for(TrustUnreadable)
        (filled.place / "trust" / "broken.jwk").unlink()
        assert kid in ring()
