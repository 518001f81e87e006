"""Keys on disk: rotation without a gap, file modes, pinned keys of others."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from agent.adapters import keys
from agent.adapters.keys import KeyStore, TrustStore
from agent.errors import Conflict, Denied, NotFound, SettingsError
from agent.wire.keys import generate, load_signer, public_of, read_enrolment
from agent.wire.signature import KeyState


def made(*, dashed: bool) -> bytes:
    """Make keys until one has a thumbprint that begins with a dash, or until one has not."""
    while load_signer(pem := generate()).kid.startswith("-") is not dashed:
        continue
    return pem


def test_a_new_store_has_no_key(tmp_path: Path) -> None:
    """Without a key the error says how to make one."""
    store = KeyStore(tmp_path / "keys")
    assert store.list() == []
    with pytest.raises(SettingsError) as caught:
        store.signer()
    assert "huitong keys new" in caught.value.hint
    with pytest.raises(SettingsError):
        store.public("d-1")


@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
def test_the_first_key_signs_at_once(tmp_path: Path, alg: str) -> None:
    """The first key is the current one; its file and directory are for the owner only."""
    store = KeyStore(tmp_path / "keys")
    key = store.new(alg)
    assert (key.current, key.alg) == (True, alg)
    assert store.signer().kid == key.kid == store.public("d-1").kid
    assert stat.S_IMODE((tmp_path / "keys" / f"{key.kid}.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_a_thumbprint_can_be_typed_after_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are made until one does not look like an option: `keys use -Rjd…` would be wrong usage."""
    pems = iter([made(dashed=True), made(dashed=False)])
    monkeypatch.setattr(keys, "generate", lambda _alg: next(pems))
    assert not KeyStore(tmp_path).new().kid.startswith("-")


def test_a_rotation_has_no_gap(tmp_path: Path) -> None:
    """A later key signs only once it is used; the old one stays known until it is removed."""
    store = KeyStore(tmp_path)
    old, new = store.new(), store.new("ES256")
    assert store.signer().kid == old.kid
    assert {key.kid for key in read_enrolment(store.enrolment("d-1"))[1]} == {old.kid, new.kid}
    with pytest.raises(Conflict):
        store.remove(old.kid)
    store.use(new.kid)
    assert KeyStore(tmp_path).signer().kid == new.kid
    assert {key.kid: key.current for key in store.list()} == {old.kid: False, new.kid: True}
    store.remove(old.kid)
    assert [key.kid for key in store.list()] == [new.kid]
    with pytest.raises(NotFound):
        store.use(old.kid)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o644, 0o777])
def test_a_private_key_others_may_read_is_not_used(tmp_path: Path, mode: int) -> None:
    """A mode that lets group or world in is refused with the command that corrects it."""
    store = KeyStore(tmp_path)
    path = tmp_path / f"{store.new().kid}.pem"
    path.chmod(mode)
    with pytest.raises(Denied) as caught:
        store.signer()
    assert f"chmod 600 {path}" in caught.value.localised()[1]
    path.chmod(0o600)
    assert store.signer().kid == path.stem


def test_a_private_key_is_not_followed_elsewhere(tmp_path: Path) -> None:
    """A symbolic link in the place of a key is not a key."""
    store = KeyStore(tmp_path / "keys")
    path = tmp_path / "keys" / f"{store.new().kid}.pem"
    path.rename(tmp_path / "elsewhere.pem")
    path.symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(Denied):
        store.signer()


def test_a_file_that_holds_another_key_is_not_used(tmp_path: Path) -> None:
    """A key under another key's name is refused."""
    store = KeyStore(tmp_path)
    first, second = store.new(), store.new()
    (tmp_path / f"{second.kid}.pem").replace(tmp_path / f"{first.kid}.pem")
    with pytest.raises(SettingsError):
        store.signer()


def test_a_name_cannot_leave_the_directory(tmp_path: Path) -> None:
    """A key is looked for in its directory, whatever its name says."""
    store = KeyStore(tmp_path / "keys")
    store.new()
    (tmp_path / "outside.pem").write_bytes(generate())
    with pytest.raises(NotFound):
        store.use("../outside")


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Writing leaves no temporary files, also when it fails."""
    store = KeyStore(tmp_path)
    key = store.new()
    store.use(key.kid)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{key.kid}.pem", "current"])
    (tmp_path / "current").unlink()
    (tmp_path / "current").mkdir()
    with pytest.raises(Exception, match="current"):
        store.use(key.kid)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{key.kid}.pem", "current"])


# -- the keys of others ----------------------------------------------------------------------------------------------


def test_pinned_keys_make_a_ring(tmp_path: Path) -> None:
    """Pinned keys are found again after a restart, in their states."""
    trust = TrustStore(tmp_path / "trust")
    assert trust.keys() == []
    first, second = public_of(generate(), "hub-1"), public_of(generate("ES256"), "hub-1")
    trust.pin(first)
    trust.pin(second)
    trust.set_state(first.kid, KeyState.RETIRING)
    again = TrustStore(tmp_path / "trust")
    states = [(key.kid, key.state) for key in again.keys()]  # noqa: SIM118 - not a dictionary
    assert dict(states) == {first.kid: KeyState.RETIRING, second.kid: KeyState.ACTIVE}
    assert first.kid in again.ring()


def test_pinning_again_changes_nothing(tmp_path: Path) -> None:
    """A revoked key is not brought back by pinning it again, nor by setting its state."""
    trust = TrustStore(tmp_path)
    key = public_of(generate(), "hub-1")
    trust.pin(key)
    trust.set_state(key.kid, KeyState.REVOKED)
    trust.pin(key)
    assert [one.state for one in list(trust.keys())] == [KeyState.REVOKED]
    with pytest.raises(Conflict):
        trust.set_state(key.kid, KeyState.ACTIVE)
    with pytest.raises(NotFound):
        trust.set_state("unknown", KeyState.ACTIVE)


def test_a_key_belongs_to_one_node(tmp_path: Path) -> None:
    """A key pinned for one node cannot be pinned for another."""
    pem = generate()
    trust = TrustStore(tmp_path)
    trust.pin(public_of(pem, "hub-1"))
    with pytest.raises(Conflict):
        trust.pin(public_of(pem, "hub-2"))


def test_a_pinned_key_others_may_change_is_not_trusted(tmp_path: Path) -> None:
    """A file that group or world may write could hold anybody's key."""
    trust = TrustStore(tmp_path)
    key = public_of(generate(), "hub-1")
    trust.pin(key)
    path = tmp_path / f"{key.kid}.jwk"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.chmod(0o664)
    with pytest.raises(Denied) as caught:
        trust.keys()
    assert f"chmod 644 {path}" in caught.value.localised()[1]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"owner":"hub-1"}', '{"owner":"hub-1","state":"maybe","kty":"OKP"}'])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    """A file that holds no key stops the start, and the error names it."""
    (tmp_path / "x.jwk").write_text(text)
    with pytest.raises(SettingsError) as caught:
        TrustStore(tmp_path).keys()
    assert "x.jwk" in str(caught.value)


def test_a_key_whose_name_was_edited_is_not_trusted(tmp_path: Path) -> None:
    """The members of a pinned key must make the thumbprint it is named by."""
    trust = TrustStore(tmp_path)
    key, other = public_of(generate(), "hub-1"), public_of(generate(), "hub-1")
    trust.pin(key)
    path = tmp_path / f"{key.kid}.jwk"
    path.write_text(json.dumps({**json.loads(path.read_text()), "kid": other.kid}))
    with pytest.raises(SettingsError):
        trust.ring()
