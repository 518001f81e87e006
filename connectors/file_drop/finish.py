"""What becomes of a drop when all of it is durable: rejected rows written down, the file put away, the people told."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from agent.events import Events, FileArchived, FileRefused, FileRepeated
from agent.formats.encodings import Encoding
from agent.i18n import use_language
from agent.model import Quarantined
from connectors.file_drop.content import Content, Layout
from connectors.file_drop.filing import Cabinet
from connectors.file_drop.folder import Folder, shown
from connectors.file_drop.position import READ, REPEATED, Drop
from connectors.file_drop.rejects import explain, of_rows, render, token_prefix
from connectors.file_drop.settings import FileDropFrom

Rejected = Callable[[str], Iterable[Quarantined]]


class Finisher:
    """Finishes drops; doing it again is harmless, and so is being interrupted.

    The rejects file is written before the file is put away, so a file that is not in the folder any more needs nothing.
    """

    def __init__(
        self, flow: str, settings: FileDropFrom, layout: Layout, folder: Folder, rejected: Rejected, events: Events, language: str
    ) -> None:
        self._flow = flow
        self._keep = settings.then == "keep"
        self._layout = layout
        self._folder = folder
        self._rejected = rejected
        self._events = events
        self._language = language
        self._cabinet = Cabinet(settings.folder, settings.archive_folder, settings.rejected_folder)

    def prepare(self) -> None:
        """Create the folders that are missing. Raises SourceRefused."""
        self._cabinet.prepare(archive=not self._keep)

    def finish(self, drop: Drop) -> None:
        """Put a drop away that was read to its end, repeated or refused. Raises SourceRefused, SourceUnavailable."""
        if self._folder.status(drop.name) != drop.identity:
            return
        if drop.ended in (READ, REPEATED):
            self._put_away(drop)
        elif self._cabinet.reject(drop.name, drop.identity, drop.ordinal, self._companions(drop), self._reason(drop)):
            self._events.emit(FileRefused(self._flow, shown(drop.name), drop.ended))

    def _put_away(self, drop: Drop) -> None:
        rejected = self._write_rejects(drop)
        if not self._keep and not self._cabinet.archive(drop.name, drop.identity, drop.ordinal, self._companions(drop)):
            return
        if drop.ended == REPEATED:
            self._events.emit(FileRepeated(self._flow, shown(drop.name)))
        else:
            self._events.emit(FileArchived(self._flow, shown(drop.name), drop.identity.size_bytes, drop.rows, rejected))

    def _write_rejects(self, drop: Drop) -> int:
        """Write the rejects file, if there is anything to write; returns how many rows are in it."""
        ordinal = drop.twin or drop.ordinal
        items = of_rows(self._rejected(token_prefix(ordinal)))
        descriptor = self._folder.open(drop.name) if items else None
        if descriptor is None:
            return len(items)
        content = Content.of(descriptor, self._layout)
        try:
            content.start(None, Encoding(drop.encoding))
            parts = render(
                items,
                content.columns,
                delimiter=self._layout.delimiter,
                encoding=content.header.encoding.value,
                language=self._language,
            )
            self._cabinet.write(f"{drop.name}.rejected.csv", ordinal, parts)
        finally:
            content.close()
        return len(items)

    def _reason(self, drop: Drop) -> bytes:
        context = contextvars.copy_context()
        context.run(use_language, self._language)
        items = self._rejected(token_prefix(drop.twin or drop.ordinal))
        lines = [context.run(explain, item) for item in items] or [drop.ended]
        return ("\ufeff" + "".join(f"{line}\r\n" for line in lines)).encode()

    def _companions(self, drop: Drop) -> Sequence[Path]:
        return self._folder.ready_files(drop.name)
