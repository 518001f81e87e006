"""Keys on disk: the node's own private keys, and the public keys of the nodes it trusts.

A rotation never has a gap: make a new key, let the hub register it, then use it; the old one stays known as retiring until
its last message is closed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from agent.adapters.private_files import make_private_directory, read_guarded, sync_directory, write_whole
from agent.errors import Conflict, Denied, NotFound, SettingsError
from agent.i18n import N_
from agent.wire.keys import generate, jwk_of, load_signer, public_from_jwk, public_of, write_enrolment
from agent.wire.signature import KeyRing, KeyState, PublicKey, Signer

_ONLY_OWNER: Final = 0o077
_ONLY_OWNER_WRITES: Final = 0o022
_PRIVATE_HINT: Final = N_("only its owner may read a private key; correct it with: chmod 600 {path}")
_TRUST_HINT: Final = N_("only its owner may change a trusted key; correct it with: chmod 644 {path}")


@dataclass(frozen=True, slots=True)
class OwnKey:
    """One of the node's own keys."""

    kid: str
    alg: str
    current: bool
    created_at: datetime


def _new_key(alg: str) -> bytes:
    """Make a key. One in 64 would have a thumbprint that begins with a dash, which no command would take for a name."""
    while load_signer(pem := generate(alg)).kid.startswith("-"):
        continue
    return pem


class KeyStore:
    """The node's own private keys: `<kid>.pem` with mode 0600, and `current`, which names the one that signs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def new(self, alg: str = "EdDSA") -> OwnKey:
        """Make a key; the first one is used at once, a later one after `use`. Raises Denied, StoreError, SettingsError."""
        pem = _new_key(alg)
        kid = load_signer(pem).kid
        make_private_directory(self._directory)
        write_whole(self._path(kid), pem, 0o600)
        if self._current() is None:
            self.use(kid)
        return self._own(self._path(kid), self._current())

    def use(self, kid: str) -> None:
        """Sign with this key from now on. Raises NotFound."""
        self._read(kid)
        write_whole(self._directory / "current", kid.encode() + b"\n", 0o600)

    def list(self) -> Sequence[OwnKey]:
        """Return the keys, oldest first."""
        current = self._current()
        keys = [self._own(path, current) for path in self._directory.glob("*.pem")]
        return sorted(keys, key=lambda key: (key.created_at, key.kid))

    def signer(self) -> Signer:
        """Return the signer of the current key. Raises SettingsError when there is none, Denied when others may read it."""
        return load_signer(self._read(self._require_current()))

    def public(self, owner: str, kid: str | None = None) -> PublicKey:
        """Return the public half of a key, of the current one unless named. Raises NotFound, Denied, SettingsError."""
        return public_of(self._read(kid or self._require_current()), owner)

    def enrolment(self, owner: str) -> bytes:
        """Return what the next node needs to know us: the public halves of all keys, as the text of an enrolment file."""
        return write_enrolment(owner, [public_of(self._read(key.kid), owner) for key in self.list()])

    def remove(self, kid: str) -> None:
        """Delete a key that no longer signs. Raises NotFound, Conflict."""
        if kid == self._current():
            raise Conflict(hint=N_("first use another key: huitong keys use"), why=f"{kid} is the key that signs")
        self._read(kid)
        self._path(kid).unlink()
        sync_directory(self._directory)

    def _path(self, kid: str) -> Path:
        return self._directory / f"{Path(kid).name}.pem"

    def _read(self, kid: str) -> bytes:
        try:
            pem = read_guarded(self._path(kid), _ONLY_OWNER, Denied(hint=_PRIVATE_HINT, path=str(self._path(kid))))
        except FileNotFoundError:
            raise NotFound(hint=N_("list the keys with: huitong keys list"), what=N_("key"), name=kid) from None
        if load_signer(pem).kid != kid:
            raise SettingsError(N_("{path} holds another key than its name says"), path=str(self._path(kid)))
        return pem

    def _own(self, path: Path, current: str | None) -> OwnKey:
        signer = load_signer(self._read(path.stem))
        made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return OwnKey(kid=signer.kid, alg=signer.alg, current=signer.kid == current, created_at=made)

    def _current(self) -> str | None:
        path = self._directory / "current"
        try:
            return _read_trusted(path).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return None

    def _require_current(self) -> str:
        kid = self._current()
        if kid is None:
            raise SettingsError(N_("this node has no signing key"), hint=N_("make one with: huitong keys new"))
        return kid


class TrustStore:
    """Pinned public keys of other nodes, one JWK file each with the members `owner` and `state` added."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keys(self) -> Sequence[PublicKey]:
        """Return every pinned key. Raises SettingsError for a file that holds none, Denied when others may change one."""
        return [self._load(path) for path in sorted(self._directory.glob("*.jwk"))]

    def ring(self, allowed: Iterable[str] = ("EdDSA", "ES256")) -> KeyRing:
        """Return the pinned keys, ready to verify."""
        return KeyRing(self.keys(), allowed)

    def pin(self, key: PublicKey) -> None:
        """Trust a key; pinning it again changes nothing, not even its state. Raises Conflict when it belongs to another node."""
        known = {other.kid: other for other in self.keys()}.get(key.kid)
        if known is not None and known.owner != key.owner:
            raise Conflict(why=f"key {key.kid} belongs to {known.owner}")
        if known is None:
            self._save(key)

    def set_state(self, kid: str, state: KeyState) -> None:
        """Store that a key is active, retiring or revoked. Raises NotFound; Conflict for what was revoked once."""
        known = {key.kid: key for key in self.keys()}.get(kid)
        if known is None:
            raise NotFound(what=N_("key"), name=kid)
        if known.state is KeyState.REVOKED and state is not KeyState.REVOKED:
            raise Conflict(why=f"key {kid} is revoked; a revoked key never comes back")
        self._save(replace(known, state=state))

    def _save(self, key: PublicKey) -> None:
        make_private_directory(self._directory)
        members = {**jwk_of(key), "owner": key.owner, "state": key.state.value}
        write_whole(self._directory / f"{key.kid}.jwk", json.dumps(members, indent=2).encode() + b"\n", 0o644)

    def _load(self, path: Path) -> PublicKey:
        octets = _read_trusted(path)
        try:
            members = json.loads(octets)
            key = public_from_jwk(members, str(members["owner"]), KeyState(members["state"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SettingsError) as error:
            raise SettingsError(
                N_("{path} is not a pinned key"),
                hint=N_("delete it and pin the key again: huitong keys trust"),
                path=str(path),
            ) from error
        return key


def _read_trusted(path: Path) -> bytes:
    return read_guarded(path, _ONLY_OWNER_WRITES, Denied(hint=_TRUST_HINT, path=str(path)))
