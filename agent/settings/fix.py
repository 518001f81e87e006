"""Applies the corrections that cannot change what was meant, keeping the old file beside the new one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import Denied
from agent.settings.problems import Fix, Problem


@dataclass(frozen=True, slots=True)
class FixedFile:
    """A file that was rewritten: where the old one is, and what was changed as (line, old, new)."""

    path: Path
    backup: Path
    changes: tuple[tuple[int, str, str], ...]


def apply_fixes(problems: Iterable[Problem]) -> list[FixedFile]:
    """Rewrite every file that has a problem with a safe correction. Raises Denied when a file cannot be written."""
    wanted: dict[str, list[Fix]] = defaultdict(list)
    for problem in problems:
        if problem.fix is not None:
            wanted[problem.path].append(problem.fix)
    return [_rewrite(Path(path), fixes) for path, fixes in wanted.items()]


def _rewrite(path: Path, fixes: Sequence[Fix]) -> FixedFile:
    text = path.read_bytes().decode("utf-8")
    lead = "\ufeff" if text.startswith("\ufeff") else ""
    lines = text.removeprefix(lead).splitlines(keepends=True)
    changes = []
    for fix in sorted(set(fixes), key=lambda one: (one.line, one.column), reverse=True):
        line = lines[fix.line - 1]
        changes.append((fix.line, line[fix.column - 1 : fix.end_column - 1], fix.text))
        lines[fix.line - 1] = line[: fix.column - 1] + fix.text + line[fix.end_column - 1 :]
    backup = _free_name(path)
    try:
        shutil.copy2(path, backup)
        _replace(path, (lead + "".join(lines)).encode())
    except PermissionError as error:
        raise Denied(path=path) from error
    return FixedFile(path, backup, tuple(reversed(changes)))


def _free_name(path: Path) -> Path:
    """Return a name for the old file; an earlier backup is never overwritten."""
    candidates = (path.with_name(f"{path.name}.bak{number or ''}") for number in range(1000))
    return next(name for name in candidates if not name.exists())


def _replace(path: Path, octets: bytes) -> None:
    """Put new content in place of a file at one stroke, owner and mode kept."""
    status = path.stat()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(octets)
            stream.flush()
            os.fsync(stream.fileno())
        new = Path(name)
        new.chmod(status.st_mode & 0o7777)
        if os.geteuid() == 0:
            os.chown(name, status.st_uid, status.st_gid)
        new.replace(path)
    except BaseException:
        Path(name).unlink()
        raise
