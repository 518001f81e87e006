"""Settings of a flow that reads files dropped into a folder."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

from agent.i18n import N_
from agent.settings.base import Misfit, Raw, SettingsModel, setting, texts
from agent.settings.codes import Note
from agent.settings.types import AbsolutePath, ColumnName, Duration, Spelled, lasting, need_text, parse_path

_WILD = frozenset("*?[")


def parse_glob(value: object) -> str:
    """Return an absolute glob whose last part names files; no wildcard in the folders above it."""
    text = need_text(value)
    path = parse_path(text)
    if text.endswith("/") or _WILD & set(str(path.parent)):
        why = Note(N_("wildcards are possible in the file name only, as in /data/drop/*.csv"))
        raise Misfit("HT-C018", details={"value": text, "what": Note(N_("file pattern"))}, hints=(why,)).error()
    return text


def superset(encoding: str) -> str:
    """Return the encoding to read with: GB18030 contains GBK and reads the names that GBK breaks on."""
    return "gb18030" if encoding == "gbk" else encoding


Glob = Annotated[str, Spelled(N_("absolute file pattern"), parse_glob, r"/.*")]


class FileDropFrom(SettingsModel):
    """Files in a folder as a source. A file is archived only after its records are safe, and never deleted on failure."""

    files: Glob = setting(N_("which files, as an absolute pattern"), examples=("/data/drop/deed/*.csv",))
    key: tuple[ColumnName, ...] = setting(
        N_("columns of the business key"),
        more=N_("Together they name one record for ever; they must be mapped and filled in every row."),
        examples=("[完税凭证号]",),
        min_length=1,
        max_length=16,
    )
    ready: Literal["ok-file", "stable", "rename"] = setting(
        N_("how a file shows that it is complete"),
        default="stable",
        more=N_(
            "ok-file: a second file with the same name and the ready_suffix stands beside it. stable: size and time do not "
            "change for stable_for. rename: the writer uses another name and renames at the end."
        ),
        examples=("ok-file",),
    )
    ready_suffix: str = setting(
        N_("suffix of the file that says ready"),
        default=".ok",
        more=N_("Put in place of the file's own suffix or after it: deed.csv is ready when deed.ok or deed.csv.ok exists."),
        examples=(".ok",),
        min_length=2,
        max_length=16,
    )
    stable_for: Annotated[Duration, lasting("1s", "1h")] = setting(
        N_("how long size and time must not change"),
        default=timedelta(seconds=10),
        more=N_("For ready: stable."),
        examples=("10s",),
    )
    every: Annotated[Duration, lasting("100ms", "1d")] = setting(
        N_("time between two scans of the folder"),
        default=timedelta(seconds=5),
        more=N_("New files are usually noticed at once; the scan is what makes sure."),
        examples=("5s",),
    )
    encoding: Annotated[Literal["auto", "utf-8", "gb18030", "gbk"], AfterValidator(superset)] = setting(
        N_("character encoding"),
        default="auto",
        more=N_("auto: UTF-8 (with or without BOM), otherwise GB18030. gbk is read as gb18030, which contains it."),
        examples=("gb18030",),
    )
    delimiter: str = setting(
        N_("character between two fields"),
        default=",",
        more=N_('A tab is written "\\t".'),
        examples=('";"',),
        min_length=1,
        max_length=1,
    )
    header_row: int = setting(
        N_("line that holds the column names"),
        default=1,
        ge=1,
        le=100,
        more=N_("Lines above it are titles and are skipped."),
        examples=("1",),
    )
    then: Literal["archive", "keep"] = setting(
        N_("what becomes of a file that was read"),
        default="archive",
        more=N_("archive: moved to archive_to. keep: left in place and recognised by its content."),
        examples=("archive",),
    )
    archive_to: AbsolutePath | None = setting(
        N_("folder for files that were read"),
        default=None,
        more=N_("Default: the folder archive beside the files. Must be on the same file system."),
        examples=("/data/drop/deed/archive",),
    )
    rejected_to: AbsolutePath | None = setting(
        N_("folder for rows that were not accepted, each with its reason"),
        default=None,
        more=N_("Default: the folder rejected beside the files. The files can be corrected and dropped again."),
        examples=("/data/drop/deed/rejected",),
    )

    @classmethod
    def cross_check(cls, raw: Raw) -> Iterator[Misfit]:
        """Folders must differ, and options must belong to the choice that uses them."""
        if raw.get("then") == "keep" and raw.get("archive_to") is not None:
            yield Misfit("HT-C033", at=("archive_to",), on_key=True, details={"name": "archive_to", "other": "then: keep"})
        yield from _folder_misfits(raw)
        key = texts(raw.get("key"))
        for index, column in enumerate(key):
            if column in key[:index]:
                yield Misfit(
                    "HT-C038", at=("key", index), details={"why": Note(N_("{name} stands in the list twice"), {"name": column})}
                )

    @property
    def folder(self) -> Path:
        """The folder that is watched."""
        return Path(self.files).parent

    @property
    def pattern(self) -> str:
        """The pattern of the file names in the folder."""
        return Path(self.files).name

    @property
    def archive_folder(self) -> Path:
        """Where files that were read go."""
        return self.archive_to or self.folder / "archive"

    @property
    def rejected_folder(self) -> Path:
        """Where rows that were not accepted go."""
        return self.rejected_to or self.folder / "rejected"


def _folder_misfits(raw: Raw) -> Iterator[Misfit]:
    files = raw.get("files")
    watched = str(Path(files).parent) if isinstance(files, str) else None
    for name in ("archive_to", "rejected_to"):
        folder = raw.get(name)
        if isinstance(folder, str) and watched is not None and str(Path(folder)) == watched:
            why = Note(N_("{name} is the folder that is watched: the files in it would be read again"), {"name": name})
            yield Misfit("HT-C038", at=(name,), details={"why": why})
