"""What doctor finds about a folder: reads the head of one file as the flow would."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.errors import HuitongError, SourceRefused, SourceUnavailable
from agent.formats.errors import BadFile
from agent.i18n import N_
from agent.model import START, Batch, Finding, Unreadable
from connectors.file_drop.content import Changed, Content, Layout, missing
from connectors.file_drop.folder import Folder, natural_key, shown
from connectors.file_drop.settings import FileDropFrom


def check_folder(settings: FileDropFrom, layout: Layout, folder: Folder, wanted: Sequence[str]) -> Sequence[Finding]:
    """Look at the folder, at those beside it and at the head of the first file. Changes nothing."""
    try:
        first = min(folder.all_names(), key=natural_key, default=None)
    except HuitongError as error:
        return [_failed(N_("folder"), error)]
    findings = [Finding(N_("folder"), ok=True, text=N_("{path} can be read"), details={"path": str(settings.folder)})]
    targets = [settings.rejected_folder] if settings.then == "keep" else [settings.archive_folder, settings.rejected_folder]
    for target in targets:
        findings += _target(settings.folder, target, moves=settings.then != "keep")
    findings += _first_file(first, folder, layout, wanted)
    return findings


def sample_folder(settings: FileDropFrom, layout: Layout, folder: Folder, limit: int) -> Batch:
    """Return the first rows of the first file, complete or not. Changes nothing. Raises SourceRefused, SourceUnavailable."""
    name = min(folder.all_names(), key=natural_key, default=None)
    descriptor = folder.open(name) if name is not None else None
    if name is None or descriptor is None:
        return Batch(entity=settings.pattern, columns=(), rows=(), position=START, tokens=())
    content = Content.of(descriptor, layout)
    try:
        content.look_at_head()
        content.start(None)
        page = content.page(limit)
        bad = [Unreadable(f"{shown(name)}:{row.mark.row}", row.raw, row.reason, row.text, row.details) for row in page.bad]
        tokens = [f"{shown(name)}:{number}" for number in page.numbers]
        return Batch(settings.pattern, content.columns, page.rows, START, tokens=tokens, unreadable=bad)
    except BadFile as error:
        raise SourceRefused(error.text, hint=error.hint, **error.details) from error
    except Changed:
        raise SourceUnavailable(N_("{file} is being written now"), file=shown(name)) from None
    finally:
        content.close()


def _failed(subject: str, error: HuitongError) -> Finding:
    return Finding(subject, ok=False, text=error.text, hint=error.hint, details=error.details)


def _target(folder: Path, target: Path, *, moves: bool) -> Iterator[Finding]:
    existing = next(path for path in (target, *target.parents) if path.exists())
    details = {"path": str(target), "folder": str(folder)}
    if not os.access(existing, os.W_OK | os.X_OK):
        yield Finding(
            N_("folders"),
            ok=False,
            text=N_("nothing can be put into {path}"),
            hint=N_("give the user huitong the right to write there"),
            details=details,
        )
    elif moves and existing.stat().st_dev != folder.stat().st_dev:
        yield Finding(
            N_("folders"),
            ok=False,
            text=N_("{path} is on another file system than {folder}"),
            hint=N_("files are moved by renaming, which works within one file system only: choose another folder"),
            details=details,
        )
    elif moves and not os.access(folder, os.W_OK | os.X_OK):
        yield Finding(
            N_("folders"),
            ok=False,
            text=N_("files cannot be moved out of {folder}"),
            hint=N_("give the user huitong the right to write there, or use: then: keep"),
            details=details,
        )
    else:
        yield Finding(N_("folders"), ok=True, text=N_("files can be put into {path}"), details=details)


def _first_file(name: str | None, folder: Folder, layout: Layout, wanted: Sequence[str]) -> Iterator[Finding]:
    if name is None:
        yield Finding(N_("file"), ok=True, text=N_("there is no file to look at now"))
        return
    try:
        descriptor = folder.open(name)
    except (FileNotFoundError, HuitongError):
        descriptor = None
    if descriptor is None:
        text = N_("{file} cannot be opened")
        yield Finding(N_("file"), ok=False, text=text, hint=N_("check its owner and mode"), details={"file": shown(name)})
        return
    content = Content.of(descriptor, layout)
    try:
        yield _header(name, content, wanted)
    except BadFile as error:
        yield _failed(N_("file"), error)
    except Changed:
        yield Finding(N_("file"), ok=True, text=N_("{file} is being written now"), details={"file": shown(name)})
    finally:
        content.close()


def _header(name: str, content: Content, wanted: Sequence[str]) -> Finding:
    wrong = content.look()
    if wrong is not None:
        return _failed(N_("file"), wrong)
    content.start(None)
    lacking = missing(wanted, content.columns)
    if lacking:
        text = N_("{file} has no column {column}")
        hint = N_("compare the header of the file with the key and the map of the flow")
        facts = {"file": shown(name), "column": ", ".join(lacking), "lacking": lacking, "columns": list(content.columns)}
        return Finding(N_("file"), ok=False, text=text, hint=hint, details=facts)
    details = {"file": shown(name), "encoding": content.encoding.value, "columns": len(content.columns)}
    return Finding(N_("file"), ok=True, text=N_("{file}: {encoding}, {columns} columns"), details=details)
