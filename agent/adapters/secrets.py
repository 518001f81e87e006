"""Secrets by name: from the service manager's credentials, else from files only we may read.

A secret is never in the settings, in an argument, in the environment, in a log or in the text of an error. It is held as a
`Secret`, which shows its name wherever it is printed; only `reveal` and `octets` give the value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

from agent.adapters.private_files import make_private_directory, read_guarded, write_whole
from agent.errors import Denied, NotFound, SecretMissing, SettingsError
from agent.i18n import N_

PREFIX: Final = "secret:"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)

_OTHERS_AND_GROUP_WRITE: Final = 0o037  # leaves 0600 and 0640
_HINT: Final = N_("only its owner, and at most its group, may read a secret; correct it with: chmod 600 {path}")


class Secret:
    """A value that does not show itself: not in text, not in a traceback, not pickled."""

    __slots__ = ("_octets", "name")

    def __init__(self, name: str, octets: bytes) -> None:
        self.name = name
        self._octets = octets

    def reveal(self) -> str:
        """Return the value as text. Raises SettingsError when it is not UTF-8."""
        try:
            return self._octets.decode()
        except UnicodeDecodeError:
            # Without the cause: it would carry the octets.
            raise SettingsError(N_("the secret {name} is not text in UTF-8"), name=self.name) from None

    def octets(self) -> bytes:
        """Return the value as octets."""
        return self._octets

    def __repr__(self) -> str:
        return f"Secret({self.name})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


@dataclass(frozen=True, slots=True)
class SecretFile:
    """Where a secret is kept and since when; never what it is."""

    name: str
    path: Path
    modified_at: datetime


class Secrets:
    """Finds secrets: first in `credentials` ($CREDENTIALS_DIRECTORY, guarded by the service manager), then in `directory`."""

    def __init__(self, directory: Path | None, credentials: Path | None = None) -> None:
        self._directory = directory
        self._credentials = credentials

    def get(self, reference: str) -> Secret:
        """Return the secret behind `secret:name` or `name`, one trailing line break removed.

        Raises SecretMissing when there is none, it is empty, or others may read its file; Denied when we may not read it.
        """
        name = secret_name(reference)
        octets = self._from_credentials(name)
        if octets is None:
            octets = self._from_directory(name)
        octets = octets.removesuffix(b"\n").removesuffix(b"\r") if octets else b""
        if not octets:
            raise SecretMissing(name=name)
        return Secret(name, octets)

    def path(self, reference: str) -> Path:
        """Return the file of a secret, for libraries that read only files. Raises as `get`."""
        name = self.get(reference).name
        return next(file.path for file in self.files() if file.name == name)

    def put(self, name: str, value: bytes) -> None:
        """Store a secret, mode 0600. Raises SettingsError (no directory, not a name), Denied, StoreError."""
        if self._directory is None:
            raise SettingsError(N_("there is no directory for secrets"))
        path = self._directory / secret_name(name)
        make_private_directory(self._directory)
        write_whole(path, value, 0o600)

    def remove(self, name: str) -> None:
        """Delete a stored secret. Raises NotFound, Denied."""
        name = secret_name(name)
        if self._directory is None:
            raise NotFound(what=N_("secret"), name=name)
        try:
            (self._directory / name).unlink()
        except FileNotFoundError:
            raise NotFound(what=N_("secret"), name=name) from None
        except PermissionError as error:
            raise Denied(path=str(self._directory)) from error

    def files(self) -> Sequence[SecretFile]:
        """Return which secrets there are, by name; of two with one name the one that counts."""
        found: dict[str, SecretFile] = {}
        for directory in (self._directory, self._credentials):
            for path in directory.iterdir() if directory is not None and directory.is_dir() else ():
                if NAME.fullmatch(path.name) and path.is_file():
                    found[path.name] = SecretFile(path.name, path, datetime.fromtimestamp(path.stat().st_mtime, UTC))
        return sorted(found.values(), key=lambda file: file.name)

    def _from_credentials(self, name: str) -> bytes | None:
        if self._credentials is None:
            return None
        try:
            return (self._credentials / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Denied(path=str(self._credentials / name)) from error

    def _from_directory(self, name: str) -> bytes | None:
        if self._directory is None:
            return None
        path = self._directory / name
        unguarded = SecretMissing(N_("others may read the secret {name}"), hint=_HINT, name=name, path=str(path))
        try:
            return read_guarded(path, _OTHERS_AND_GROUP_WRITE, unguarded)
        except FileNotFoundError:
            return None


def secret_name(reference: str) -> str:
    """Return the name in `secret:name` or `name`. Raises SettingsError; the text is not repeated, it may be a password."""
    name = reference.removeprefix(PREFIX)
    if not NAME.fullmatch(name):
        raise SettingsError(
            N_("this is not the name of a secret"),
            hint=N_("write secret:NAME; store the value with: huitong secret set NAME"),
        )
    return name
