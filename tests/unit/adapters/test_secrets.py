"""Secrets by name: where they are found, what guards them, and that they never show themselves."""

from __future__ import annotations

import json
import logging
import pickle
import stat
import traceback
from pathlib import Path

import pytest

from agent.adapters.secrets import Secret, Secrets
from agent.errors import NotFound, SecretMissing, SettingsError

CANARY = "hunter2-鹦鹉"


@pytest.fixture
def stored(tmp_path: Path) -> Secrets:
    secrets = Secrets(tmp_path / "secrets", tmp_path / "credentials")
    secrets.put("db_password", CANARY.encode())
    return secrets


def test_a_secret_is_found_by_reference_and_by_name(stored: Secrets) -> None:
    """`secret:name` and `name` mean the same."""
    assert stored.get("secret:db_password").reveal() == stored.get("db_password").reveal() == CANARY
    assert stored.get("db_password").octets() == CANARY.encode()


def test_credentials_of_the_service_manager_come_first(tmp_path: Path, stored: Secrets) -> None:
    """What systemd hands over wins over the directory, whatever its mode."""
    (tmp_path / "credentials").mkdir()
    path = tmp_path / "credentials" / "db_password"
    path.write_text("other\n")
    path.chmod(0o444)
    assert stored.get("secret:db_password").reveal() == "other"
    assert [file.path for file in stored.files()] == [path]
    path.unlink()
    assert stored.get("secret:db_password").reveal() == CANARY


@pytest.mark.parametrize("octets, value", [(b"a\n", "a"), (b"a\r\n", "a"), (b"a\n\n", "a\n"), (b" a ", " a "), (b"a", "a")])
def test_one_line_break_is_removed(tmp_path: Path, octets: bytes, value: str) -> None:
    """The line break an editor leaves is not part of a secret; everything else is."""
    secrets = Secrets(tmp_path)
    secrets.put("x", octets)
    assert secrets.get("x").reveal() == value


@pytest.mark.parametrize("octets", [b"", b"\n"])
def test_an_empty_secret_is_missing(tmp_path: Path, octets: bytes) -> None:
    """A file without a value is as good as none."""
    secrets = Secrets(tmp_path)
    secrets.put("x", octets)
    with pytest.raises(SecretMissing) as caught:
        secrets.get("secret:x")
    assert "huitong secret set x" in caught.value.localised()[1]


def test_a_secret_nobody_stored_is_missing(tmp_path: Path) -> None:
    """With and without directories the error names the secret and how to store it."""
    for secrets in (Secrets(tmp_path), Secrets(None), Secrets(None, tmp_path), Secrets(tmp_path / "no", tmp_path / "none")):
        with pytest.raises(SecretMissing) as caught:
            secrets.get("secret:x")
        assert "x" in str(caught.value)


@pytest.mark.parametrize(
    "mode, fine", [(0o600, True), (0o400, True), (0o640, True), (0o440, True), (0o644, False), (0o660, False), (0o604, False)]
)
def test_a_secret_others_may_read_is_not_used(tmp_path: Path, stored: Secrets, mode: int, fine: bool) -> None:
    """Owner only, or readable by the group; anything wider is refused with the fix."""
    path = tmp_path / "secrets" / "db_password"
    path.chmod(mode)
    if fine:
        assert stored.get("db_password").reveal() == CANARY
        return
    with pytest.raises(SecretMissing) as caught:
        stored.get("db_password")
    assert f"chmod 600 {path}" in caught.value.localised()[1]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "a\n", "密码", "x" * 65, "secret:secret:x"])
def test_what_is_no_name_is_refused_without_repeating_it(tmp_path: Path, name: str) -> None:
    """Whoever writes the password itself where its name belongs does not read it back in an error."""
    for act in (Secrets(tmp_path).get, Secrets(tmp_path).remove, lambda one: Secrets(tmp_path).put(one, b"v")):
        with pytest.raises(SettingsError) as caught:
            act(name)
        assert not name.strip() or name not in str(caught.value)


def test_a_secret_does_not_show_itself(stored: Secrets) -> None:
    """Not in repr, str, format, logs, tracebacks, JSON or pickles."""
    secret = stored.get("db_password")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr([secret]), repr({"a": secret})]
    shown.append(logging.LogRecord("x", logging.INFO, "x.py", 1, "password %s %r", (secret, secret), None).getMessage())
    for dump in (pickle.dumps, json.dumps):
        with pytest.raises(TypeError) as caught:
            dump(secret)
        shown.append("".join(traceback.format_exception(caught.value)))
    with pytest.raises(SettingsError) as refused:
        Secret("x", b"\xff" + CANARY.encode()).reveal()
    shown.append("".join(traceback.format_exception(refused.value)))
    assert [text for text in shown if "hunter2" in text or "鹦鹉" in text] == []
    assert "db_password" in shown[0]


def test_stored_secrets_are_private_and_listed_by_name(tmp_path: Path, stored: Secrets) -> None:
    """Files are 0600 in a directory of 0700; the list tells names, never values."""
    assert stat.S_IMODE((tmp_path / "secrets" / "db_password").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    stored.put("another", b"v")
    assert [file.name for file in stored.files()] == ["another", "db_password"]
    assert CANARY not in repr(stored.files())


def test_a_secret_can_be_replaced_and_removed(stored: Secrets) -> None:
    """Storing again replaces; removing what is not there is an error."""
    stored.put("db_password", b"new")
    assert stored.get("db_password").reveal() == "new"
    stored.remove("db_password")
    for secrets in (stored, Secrets(None)):
        with pytest.raises(NotFound):
            secrets.remove("db_password")
    with pytest.raises(SettingsError):
        Secrets(None).put("x", b"v")
