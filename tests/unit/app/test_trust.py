"""Whose signature counts: pinned and announced keys, revoked ones, and folders that change under a running agent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.adapters.keys import TrustStore
from agent.app.trust import Trust
from agent.errors import NotFound, SettingsError
from agent.events import Events, KeyAnnounced, TrustUnreadable
from agent.testing.clock import FakeClock
from agent.testing.recorder import EventRecorder
from agent.wire.control import JwkPublic
from agent.wire.keys import generate, jwk_of, public_of
from agent.wire.signature import KeyState, PublicKey

HUB = "sc-hub"


class Folders:
    """A department's two folders of trusted keys."""

    def __init__(self, place: Path) -> None:
        self.pinned, self.announced = place / "trust", place / "announced"
        self.clock, self.recorder = FakeClock(), EventRecorder()
        self.trust = self.open()

    def open(self) -> Trust:
        return Trust(
            HUB,
            pinned=TrustStore(self.pinned),
            announced=TrustStore(self.announced),
            folders=(self.pinned, self.announced),
            clock=self.clock,
            events=Events(self.recorder),
        )

    def states(self) -> dict[str, KeyState]:
        keys = self.trust.keys()
        return {known.kid: known.state for known in keys}

    def settle(self) -> None:
        """Let the folders have changed long ago."""
        for folder in (self.pinned, self.announced):
            if folder.exists():
                long_ago = self.clock.now().timestamp() - 3600
                os.utime(folder, (long_ago, long_ago))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def key(alg: str = "EdDSA") -> PublicKey:
    return public_of(generate(alg), HUB)


def announced(public: PublicKey, **more: str) -> JwkPublic:
    members = {name: value for name, value in jwk_of(public).items() if name in JwkPublic.__struct_fields__}
    return JwkPublic(**{**members, **more})


def test_pinned_keys_count_at_once(folders: Folders) -> None:
    """A ring that was read before is read again."""
    folders.settle()
    assert len(folders.trust.keys()) == 0
    one = key()
    assert one.kid not in folders.trust.ring()
    folders.trust.pin(one)
    assert one.kid in folders.trust.ring()


@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
def test_announced_keys_count_and_stay_apart(folders: Folders, alg: str) -> None:
    """Under a key we trust the hub may announce more; they are kept beside the store, not in the operators' folder."""
    one = key(alg)
    assert folders.trust.learn([announced(one)]) is True
    assert one.kid in folders.trust.ring()
    assert folders.recorder.of(KeyAnnounced) == [KeyAnnounced(HUB, one.kid)]
    assert not folders.pinned.exists()
    assert folders.trust.learn([announced(one)]) is False
    assert one.kid in folders.open().ring()


def test_an_announced_key_keeps_its_state(folders: Folders) -> None:
    """A retiring one verifies until its last message; what is unknown counts as active."""
    old, new = key(), key()
    folders.trust.learn([announced(old, state="retiring"), announced(new, state="from-the-future")])
    assert folders.states() == {old.kid: KeyState.RETIRING, new.kid: KeyState.ACTIVE}


def test_what_an_operator_revoked_the_hub_cannot_bring_back(folders: Folders) -> None:
    """Neither by announcing it again, nor by having announced it before."""
    one = key()
    folders.trust.learn([announced(one)])
    folders.trust.revoke(one.kid)
    assert folders.trust.learn([announced(one)]) is False
    assert folders.states() == {one.kid: KeyState.REVOKED}
    both = key()
    folders.trust.pin(both)
    folders.trust.learn([announced(both)])
    folders.trust.revoke(both.kid)
    assert set(folders.states().values()) == {KeyState.REVOKED}
    with pytest.raises(NotFound):
        folders.trust.revoke("nobody")


@pytest.mark.parametrize("spoilt", [{"x": "AAAA"}, {"kid": "wrong"}, {"crv": "P-521", "kty": "EC"}])
def test_a_key_that_cannot_be_used_is_told_and_nobody_dies(folders: Folders, spoilt: dict[str, str]) -> None:
    """An announcement that makes no key is an alarm; the keys known before stay."""
    good = key()
    folders.trust.pin(good)
    assert folders.trust.learn([announced(key(), **spoilt)]) is False
    assert len(folders.recorder.of(TrustUnreadable)) == 1
    assert good.kid in folders.trust.ring()


def test_a_folder_that_cannot_be_written_is_told_and_nobody_dies(folders: Folders) -> None:
    """A file stands where the folder should be."""
    folders.announced.write_text("in the way")
    assert folders.trust.learn([announced(key())]) is False
    assert len(folders.recorder.of(TrustUnreadable)) == 1


def test_a_broken_file_stops_a_start_but_not_a_running_agent(folders: Folders) -> None:
    """A start says what is wrong; a running agent raises an alarm once and goes on with the keys it knows."""
    good = key()
    folders.trust.pin(good)
    folders.settle()
    assert good.kid in folders.trust.ring()
    (folders.pinned / "broken.jwk").write_text("{}")
    folders.settle()
    os.utime(folders.pinned, (1, 1))
    for _ in range(3):
        assert good.kid in folders.trust.ring()
    assert len(folders.recorder.of(TrustUnreadable)) == 1
    with pytest.raises(SettingsError):
        folders.open().ring()


def test_an_unchanged_folder_is_not_read_again(folders: Folders) -> None:
    """Every receipt asks for the ring."""
    folders.trust.pin(key())
    folders.settle()
    assert folders.trust.ring() is folders.trust.ring()


def test_a_folder_that_just_changed_is_read_again(folders: Folders) -> None:
    """Two changes within one tick of the file system's clock look like one."""
    folders.trust.pin(key())
    now = folders.clock.now().timestamp()
    os.utime(folders.pinned, (now, now))
    assert folders.trust.ring() is not folders.trust.ring()
