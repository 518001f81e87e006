"""Files dropped into a folder as a source.

A file becomes a *drop* when it is complete: it takes an ordinal, is digested whole and read row by row; tokens of its rows are
drop ordinal and row number. Files are taken in natural order of their names, scan by scan. What was read is archived by
`commit`, after the host made it durable.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Self

import msgspec

from agent.errors import SourceGone, SourceUnavailable
from agent.events import FileChanged, FileRefused
from agent.formats.csv_rows import BadRow, Mark
from agent.formats.encodings import Encoding
from agent.formats.errors import BadFile
from agent.i18n import N_
from agent.model import Batch, Finding, FlowState, Position, Unreadable
from connectors.file_drop.content import Changed, Content, Layout, missing
from connectors.file_drop.finish import Finisher
from connectors.file_drop.folder import Folder, shown
from connectors.file_drop.ledger import DropLedger
from connectors.file_drop.position import READ, REPEATED, Drop, decode, encode
from connectors.file_drop.rejects import token_of
from connectors.file_drop.settings import FileDropFrom
from connectors.file_drop.watch import Watch
from connectors.wiring import Wiring


class FileDropSource:
    """Implements ports.Source for one folder."""

    def __init__(self, wiring: Wiring[FileDropFrom]) -> None:
        settings = wiring.settings
        self._flow = wiring.flow
        self._events = wiring.events
        self._settings = settings
        self._wanted = tuple(dict.fromkeys((*wiring.columns, *settings.key)))
        encoding = None if settings.encoding == "auto" else Encoding.named(settings.encoding)
        self._layout = Layout(encoding, settings.delimiter, settings.header_row)
        self._folder = Folder(
            settings.folder,
            settings.pattern,
            ready=settings.ready,
            ready_suffix=settings.ready_suffix,
            stable_for=settings.stable_for,
            clock=wiring.clock,
            refused=lambda name, reason: self._events.emit(FileRefused(self._flow, name, reason)),
        )
        self._finisher = Finisher(
            wiring.flow, settings, self._layout, self._folder, wiring.rejected, wiring.events, wiring.language
        )
        self._news = threading.Event()
        self._watch = Watch(settings.folder, self._news.set)
        self._drops = DropLedger({})
        self._found: deque[str] = deque()
        self._reached: Position | None = None  # the position returned last
        self._given_up = 0  # ordinal of a drop whose file changed while it was read
        self._just_opened = False
        self._content: Content | None = None
        self._tip: Position | None = None  # up to where `_content` has been read

    @classmethod
    def build(cls, wiring: Wiring[FileDropFrom]) -> Self:
        """Return the source of a flow, unopened."""
        return cls(wiring)

    # -- ports.Source ------------------------------------------------------------------------------------------------

    def open(self, state: FlowState) -> str:
        """See ports.Source. Creates the folders for files that were read."""
        self.close()
        next(self._folder.all_names(), None)  # raises what is wrong with the folder
        self._finisher.prepare()
        self._drops = DropLedger(state.memory, keep=self._settings.then == "keep")
        self._just_opened = True
        self._watch.keep()
        return f"folder:{self._settings.folder}"

    def wait(self, timeout_secs: float) -> bool:
        """See ports.Source. Also returns when a file that is watched for stability may have become complete."""
        due_secs = self._folder.due_secs()
        due = due_secs is not None and due_secs <= timeout_secs
        woken = self._news.wait(due_secs if due else timeout_secs)
        self._news.clear()
        return woken or due

    def wake(self) -> None:
        """See ports.Source."""
        self._news.set()

    def read(self, after: Position, limit: int) -> Batch:
        """See ports.Source."""
        reached = decode(after)
        if after != self._reached:
            self._drops.continue_from(reached.ordinal if reached is not None else 0)
            self._found.clear()
        try:
            if reached is not None and not reached.ended and reached.ordinal != self._given_up:
                batch = self._read_on(after, reached, limit)
            else:
                batch = self._next_drop(after, limit)
        except OSError as error:
            raise SourceUnavailable(
                N_("a file in {path} cannot be read: {why}"), path=str(self._settings.folder), why=error.strerror or str(error)
            ) from error
        self._reached = batch.position
        return batch

    def commit(self, position: Position) -> None:
        """See ports.Source: what was read to its end is put away, beside the rows that were not accepted."""
        reached = decode(position)
        if reached is None:
            return
        for drop in self._drops.commit(reached.ordinal if reached.ended else reached.ordinal - 1):
            self._finisher.finish(drop)
        if self._just_opened:  # a crash may have left several half put away, and no scan finds one whose ready file is gone
            self._just_opened = False
            for drop in self._drops.done():
                self._finisher.finish(drop)

    def check(self) -> Sequence[Finding]:
        """See ports.Source."""
        from connectors.file_drop.check import check_folder  # noqa: PLC0415 - only people ask

        return check_folder(self._settings, self._layout, self._folder, self._wanted)

    def sample(self, limit: int) -> Batch:
        """See ports.Sampled: opening makes folders, and a file is only read when it is complete."""
        from connectors.file_drop.check import sample_folder  # noqa: PLC0415 - only people ask

        return sample_folder(self._settings, self._layout, self._folder, limit)

    def close(self) -> None:
        """See ports.Source."""
        self._watch.stop()
        self._leave_content()
        self._found.clear()
        self._reached = None
        self._given_up = 0

    # -- which file --------------------------------------------------------------------------------------------------

    def _next_drop(self, after: Position, limit: int) -> Batch:
        for name in self._complete_files():
            batch = self._begin(name, self._drops.next_ordinal(), limit)
            if batch is not None:
                return batch
            self._leave_content()
        return Batch(entity=self._settings.pattern, columns=(), rows=(), position=after, tokens=())

    def _complete_files(self) -> Iterator[str]:
        if not self._found:
            self._watch.keep()
            self._found.extend(name for name in self._folder.scan() if not self._drops.is_done(name, self._folder.status(name)))
        while self._found:
            yield self._found.popleft()

    def _begin(self, name: str, ordinal: int, limit: int) -> Batch | None:
        """Look at a file and return its first page; None when there is nothing to be had of it now."""
        try:
            content = self._open(name)
            if content is None:
                return None
            wrong = content.look()
            drop = Drop(ordinal, name, content.identity, content.digest, encoding=content.encoding.value)
            twin = self._drops.repeats(name, content.digest, content.identity)
            if twin is not None:
                ended = REPEATED if twin.ended == READ else twin.ended  # refused, and not put away because of a crash
                return self._end(msgspec.structs.replace(drop, ended=ended, twin=twin.ordinal))
            return self._first_page(content, drop, wrong, limit)
        except (Changed, FileNotFoundError):  # not complete after all, or gone: a later scan tells
            return None

    def _first_page(self, content: Content, drop: Drop, wrong: BadFile | None, limit: int) -> Batch:
        try:
            if wrong is not None:
                raise wrong
            content.start(None)
            self._require_columns(content)
            return self._page(content, drop, limit)
        except BadFile as error:
            return self._refuse_whole(drop, content, error)

    def _read_on(self, after: Position, drop: Drop, limit: int) -> Batch:
        """Read on in a drop, also after a restart. A file that is another one by now is given up, and read as a new drop."""
        try:
            if self._content is None or after != self._tip:
                self._resume(drop)
            assert self._content is not None
            return self._page(self._content, drop, limit)
        except FileNotFoundError as error:
            raise SourceGone(
                N_("the file {position} disappeared before it was read to its end"), position=shown(drop.name), flow=self._flow
            ) from error
        except Changed:
            self._given_up = drop.ordinal
            self._leave_content()
            self._events.emit(FileChanged(self._flow, shown(drop.name), drop.rows))
            return self._next_drop(after, limit)

    def _resume(self, drop: Drop) -> None:
        content = self._open(drop.name)
        if content is None:
            raise Changed
        content.look()
        if content.digest != drop.digest:
            raise Changed
        content.start(Mark(drop.offset, drop.row), Encoding(drop.encoding))

    def _open(self, name: str) -> Content | None:
        self._leave_content()
        descriptor = self._folder.open(name)
        self._content = Content.of(descriptor, self._layout) if descriptor is not None else None
        return self._content

    def _leave_content(self) -> None:
        if self._content is not None:
            self._content.close()
        self._content = self._tip = None

    # -- batches -----------------------------------------------------------------------------------------------------

    def _page(self, content: Content, drop: Drop, limit: int) -> Batch:
        page = content.page(limit)
        reached = msgspec.structs.replace(
            drop,
            identity=content.identity,
            offset=page.end.offset,
            row=page.end.row,
            rows=drop.rows + len(page.rows),
            ended="" if page.more else READ,
        )
        memory = self._drops.begin(drop.ordinal) if drop.row == 0 else {}
        if reached.ended:
            memory |= self._remember(reached)
        batch = Batch(
            entity=self._settings.pattern,
            columns=content.columns,
            rows=page.rows,
            position=encode(reached),
            tokens=[token_of(drop.ordinal, number) for number in page.numbers],
            unreadable=[_unreadable(drop, bad, content.header.text) for bad in page.bad],
            memory=memory,
            more=True,
        )
        self._tip = batch.position if not reached.ended else None
        return batch

    def _refuse_whole(self, drop: Drop, content: Content, wrong: BadFile) -> Batch:
        details = {**wrong.details, "file": shown(drop.name)}
        item = Unreadable(token_of(drop.ordinal, 0), content.head(), wrong.reason, wrong.text, details)
        return self._end(msgspec.structs.replace(drop, ended=wrong.reason), [item])

    def _end(self, drop: Drop, unreadable: Sequence[Unreadable] = ()) -> Batch:
        """Return the batch of a drop that has no rows: repeated, or refused whole."""
        return Batch(
            entity=self._settings.pattern,
            columns=(),
            rows=(),
            position=encode(drop),
            tokens=(),
            unreadable=unreadable,
            memory={**self._drops.begin(drop.ordinal), **self._remember(drop)},
            more=True,
        )

    def _remember(self, drop: Drop) -> dict[str, str]:
        self._leave_content()
        return self._drops.end(drop)

    def _require_columns(self, content: Content) -> None:
        lacking = missing(self._wanted, content.columns)
        if lacking:
            raise BadFile(
                N_("the file has no column {column}"),
                reason="missing_column",
                hint=N_("correct the header, or the key and map of the flow"),
                column=", ".join(lacking),
            )


def _unreadable(drop: Drop, bad: BadRow, header: str) -> Unreadable:
    details = {**bad.details, "file": shown(drop.name)}
    return Unreadable(token_of(drop.ordinal, bad.mark.row), bad.raw, bad.reason, bad.text, details, header)
