"""Whose signature counts: the hub's keys that operators pinned, and those it announced itself under one of them.

The running agent follows changes of both folders without a restart. What it cannot read, it does not believe and does not die
of either: the keys it knew stay, and the alarm is raised.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from agent.adapters.keys import TrustStore
from agent.errors import HuitongError, NotFound
from agent.events import Events, KeyAnnounced, TrustUnreadable
from agent.i18n import N_
from agent.ports import Clock
from agent.wire.control import JwkPublic
from agent.wire.keys import public_from_jwk
from agent.wire.signature import KeyRing, KeyState, PublicKey

_SETTLED: Final = timedelta(seconds=1)
"""A folder that changed less than this ago may change again without its time of change moving on."""


class Trust:
    """The keys of one hub. Callable from any thread."""

    def __init__(
        self,
        hub: str,
        *,
        pinned: TrustStore,
        announced: TrustStore,
        folders: Sequence[Path],
        clock: Clock,
        events: Events,
    ) -> None:
        self._hub, self._pinned, self._announced, self._folders = hub, pinned, announced, folders
        self._clock, self._events = clock, events
        self._lock = threading.Lock()
        self._ring: KeyRing | None = None
        self._seen: tuple[int, ...] | None = None

    def keys(self) -> Sequence[PublicKey]:
        """Return every key; what operators decided about one counts. Raises SettingsError, Denied."""
        known = {key.kid: key for key in (*self._announced.keys(), *self._pinned.keys())}
        return list(known.values())

    def ring(self) -> KeyRing:
        """Return the keys, ready to verify; read again when a folder has changed. Raises SettingsError, Denied at first."""
        with self._lock:
            stamp = self._stamp()
            if self._ring is None:
                self._ring, self._seen = KeyRing(self.keys()), self._settled(stamp)
            elif stamp != self._seen:
                self._ring, self._seen = self._renewed(self._ring), self._settled(stamp)
            return self._ring

    def learn(self, announced: Iterable[JwkPublic]) -> bool:
        """Believe keys that a verified hello announces; returns whether one of them is new."""
        try:
            known = {key.kid for key in self.keys()}
            new = [_public(key, self._hub) for key in announced if key.kid not in known]
            for key in new:
                self._announced.pin(key)
                self._events.emit(KeyAnnounced(self._hub, key.kid))
        except HuitongError as error:
            self._events.emit(TrustUnreadable(error))
            return False
        return bool(new)

    def pin(self, key: PublicKey) -> None:
        """Believe a key that an operator compared with the hub. Raises Conflict, Denied, StoreError."""
        self._pinned.pin(key)

    def revoke(self, kid: str) -> None:
        """Never believe this key again. Raises NotFound, Denied, StoreError."""
        found = False
        for store in (self._pinned, self._announced):
            with suppress(NotFound):
                store.set_state(kid, KeyState.REVOKED)
                found = True
        if not found:
            raise NotFound(N_("no key of the hub is named {kid}"), hint=N_("list them: huitong keys list"), kid=kid)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _renewed(self, ring: KeyRing) -> KeyRing:
        try:
            return KeyRing(self.keys())
        except HuitongError as error:
            self._events.emit(TrustUnreadable(error))
            return ring

    def _stamp(self) -> tuple[int, ...]:
        return tuple(folder.stat().st_mtime_ns if folder.exists() else 0 for folder in self._folders)

    def _settled(self, stamp: tuple[int, ...]) -> tuple[int, ...] | None:
        newest = datetime.fromtimestamp(max(stamp) / 1e9, UTC)
        return stamp if self._clock.now() - newest >= _SETTLED else None


def _public(key: JwkPublic, hub: str) -> PublicKey:
    members = {"kty": key.kty, "crv": key.crv, "x": key.x, "kid": key.kid, "alg": key.alg} | ({"y": key.y} if key.y else {})
    return public_from_jwk(members, hub, KeyState.RETIRING if key.state == KeyState.RETIRING else KeyState.ACTIVE)
