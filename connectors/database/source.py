"""A table as a source: a walk through it by key, woven together with the stream of its changes.

The two must not contradict each other. While a stream is exact, a page that the walk read is kept back until the stream has
passed everything that was visible when the page was read (its head); rows whose key came by in the stream meanwhile are then
taken out, because the stream told them. So no row of a walk is older than what was captured before it, and none is told twice.
A stream of states needs none of this: whatever is read later is newer, and the key ledger of the host knows what is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from agent.errors import SourceGone, SourceRefused
from agent.i18n import N_
from agent.model import START, Batch, Finding, FlowState, Position, Progress, WalkKind, WalkOrder
from agent.model.handshake import Answer
from connectors.database.alarm import Alarm, Watched
from connectors.database.batches import BatchMaker
from connectors.database.chunks import Chunks
from connectors.database.conditions import condition_of
from connectors.database.connect import database_of
from connectors.database.dialects.base import Database, Session
from connectors.database.drift import DriftGuard
from connectors.database.pace import Pace
from connectors.database.position import Belonging, Reached, Walk
from connectors.database.settings import DatabaseFrom
from connectors.database.streams.choose import Chosen, choose
from connectors.database.streams.stream import Answered, Changes, Mark
from connectors.database.tables.pages import Pages
from connectors.database.tables.reader import TableReader
from connectors.database.tables.values import Place
from connectors.database.walk import Part, Walker, walk_after
from connectors.wiring import Wiring

_MODE = "mode"
"""The fact in the memory of a flow that tells in which mode it was captured last."""

_HELD_SECS = 0.05
_NOTED_SECS = 10.0
"""How often the mark of a stream is stored that moves on although nothing of ours changes."""


@dataclass(slots=True)
class _Held:
    """A step of the walk that waits for the stream to pass its head; `touched` are keys that came by meanwhile."""

    of: Walk
    part: Part
    head: Mark
    touched: set[Place] = field(default_factory=set)


@dataclass(slots=True)
class _Open:
    """What exists while the source is open."""

    session: Session
    reader: TableReader
    chosen: Chosen
    walker: Walker
    batches: BatchMaker
    total: int | None
    fresh: bool  # nothing was ever captured of this flow
    untold: dict[str, str]  # facts that the store does not know yet


class DatabaseSource:
    """Implements ports.Source, Keyed and Walkable for one table."""

    def __init__(self, wiring: Wiring[DatabaseFrom], database: Database) -> None:
        settings, flow = wiring.settings, wiring.flow
        self._flow = flow
        self._settings = settings
        self._database = database
        self._wanted = wiring.columns
        self._clock = wiring.clock
        self._pace = Pace(settings.walk_rate, settings.walk_hours, wiring.clock, wiring.time_zone)
        self._entity = settings.entity_of(flow)
        self._belonging = Belonging(self._entity, settings.key, settings.cursor, settings.where, settings.query)
        self._drift = DriftGuard(wiring, database)
        self._alarm = Alarm()
        self._now: _Open | None = None
        self._held: _Held | None = None
        self._ahead: tuple[Mark, Mark] | None = None  # a stored mark, and how far the stream has got without any news
        self._given: tuple[Position, Batch] | None = None  # the last page of a walk, and after which position it was read
        self._begun: Reached | None = None  # where a flow begins of which nothing is stored yet
        self._noted_at = 0.0
        self._polled_at = 0.0
        self._rests = False  # a walk that waits until it may go on

    @classmethod
    def build(cls, wiring: Wiring[DatabaseFrom]) -> Self:
        """Return the source of a flow, unopened."""
        return cls(wiring, database_of(wiring))

    # -- ports.Source ------------------------------------------------------------------------------------------------

    def open(self, state: FlowState) -> str:
        """See ports.Source."""
        self.close()
        session = self._database.connect()
        try:
            incarnation = self._database.incarnation(session)
            self._drift.opened(state, incarnation)
            self._now = self._opened(session, state)
            self._polled_at = self._noted_at = self._clock.monotonic()
            self._alarm.arm()
        except BaseException:
            session.close()
            self._now = None
            raise
        return incarnation

    def wait(self, timeout_secs: float) -> bool:
        """See ports.Source. Some streams hear of news; otherwise only `wake` ends the wait early."""
        stream: object = self._now.chosen.stream if self._now is not None else None
        until_walk = self._pace.pause_secs() if self._rests else timeout_secs
        if self._held is not None:  # the stream has still to pass its head
            return self._alarm.wait(min(timeout_secs, _HELD_SECS), None) or timeout_secs > 0
        news = self._alarm.wait(min(timeout_secs, until_walk), stream if isinstance(stream, Watched) else None)
        return news or until_walk < timeout_secs

    def wake(self) -> None:
        """See ports.Source."""
        self._alarm.wake()

    def read(self, after: Position, limit: int) -> Batch:
        """See ports.Source. Rows that may still have changed unseen come again; the key ledger of the host knows them."""
        limit = min(limit, self._settings.page_rows)
        return self._drift.read(lambda: self._open.session, lambda: self._read(after, limit), self._adapt)

    def _read(self, after: Position, limit: int) -> Batch:
        reached = self._reached(after)
        if self._held is not None and self._held.of != reached.walk:
            self._held = None
        if self._given is not None and self._given[0] == after:  # the pages of a walk are repeatable too
            return self._given[1]
        self._rests = reached.walk is not None and self._held is None and self._pace.pause_secs() > 0
        if reached.walk is None or self._rests:
            return self._changes(reached, after, limit)
        if self._open.chosen.stream.exact:
            return self._woven(reached, after, limit)
        return self._in_turn(reached, limit)

    def read_keys(self, keys: Sequence[str]) -> Batch:
        """Return the rows with these keys (canonical key text) as they are now. The position of the batch means nothing."""
        page = self._open.reader.with_keys(keys)
        return self._drift.objecting(self._open.batches.of_page(page, Position("")))

    def commit(self, position: Position) -> None:
        """See ports.Source."""
        self._drift.committed(position)
        reached = self._belonging.decode(position)
        if reached is not None and reached.mode == self._open.chosen.mode:
            self._open.chosen.stream.commit(reached.mark)

    def check(self) -> Sequence[Finding]:
        """See ports.Source."""
        from connectors.database.check import check_table  # noqa: PLC0415 - only people ask

        return check_table(self._flow, self._database, self._settings, self._wanted, self._clock)

    def mode(self) -> Finding:
        """See ports.Moded."""
        return self._open.chosen.finding()

    def close(self) -> None:
        """See ports.Source."""
        if self._now is not None:
            now, self._now = self._now, None
            self._alarm.disarm()
            now.chosen.stream.close()
            now.session.close()
        self._held = self._ahead = self._begun = self._given = None

    # -- ports.Walkable ----------------------------------------------------------------------------------------------

    def wants_walk(self, after: Position) -> bool:
        """See ports.Walkable."""
        return self._open.chosen.walks and after != START and self._reached(after).walk is None

    def begin_walk(self, after: Position, order: WalkOrder) -> Position:
        """See ports.Walkable."""
        self._no_walk()
        reached = self._reached(after)
        if reached.walk is not None and not (reached.walk.kind is order.kind is WalkKind.COMPARE):
            raise SourceRefused(
                N_("the table is being read through already"),
                hint=N_("wait until that is done: huitong status"),
            )
        walk = Walk(order.kind, condition=self._condition(order), again=order.again, certain=order.certain)
        if walk.condition:
            self._reader_for(walk.condition).by_key(None, 1)  # refused now rather than on the way
        self._open.walker.changed = order.changed
        return self._belonging.encode(replace(reached, walk=walk))

    def count(self, order: WalkOrder) -> int:
        """See ports.Walkable."""
        self._no_walk()
        return self._reader_for(self._condition(order)).count()

    # -- ports.Handshake ---------------------------------------------------------------------------------------------

    def awaiting(self, limit: int) -> Batch | None:
        """See ports.Handshake."""
        stream = self._open.chosen.stream
        if not isinstance(stream, Answered):
            return None
        page, more = stream.awaiting(limit)
        return replace(self._open.batches.of_page(page, Position("")), more=more)

    def answer(self, answers: Sequence[Answer | None]) -> None:
        """See ports.Handshake."""
        stream = self._open.chosen.stream
        assert isinstance(stream, Answered), "asked before"
        stream.answer(answers)

    # -- reading -----------------------------------------------------------------------------------------------------

    def _changes(self, reached: Reached, after: Position, limit: int) -> Batch:
        """Read on in the stream alone."""
        changes = self._read_stream(reached.mark, limit)
        if changes.more or changes.tell_something:
            self._noted_at = self._clock.monotonic()
            return self._telling(changes, reached)
        self._ahead = (reached.mark, changes.mark)
        now = self._clock.monotonic()
        if changes.mark == reached.mark or now - self._noted_at < _NOTED_SECS:
            return self._nothing(reached, after)
        self._noted_at = now
        return self._nothing(reached, self._belonging.encode(replace(reached, mark=changes.mark)))

    def _woven(self, reached: Reached, after: Position, limit: int) -> Batch:
        """Read a part of the walk, and give it once the stream has passed its head."""
        assert reached.walk is not None
        held = self._held
        if held is None:
            part = self._open.walker.step(reached.walk, limit)
            held = self._held = _Held(reached.walk, part, self._open.chosen.stream.head())
        changes = self._read_stream(reached.mark, limit)
        if changes.tell_something:
            held.touched.update(map(self._open.reader.key_of, changes.rows))
            return self._telling(changes, reached)
        if changes.mark != reached.mark:
            self._ahead = (reached.mark, changes.mark)
        if not self._open.chosen.stream.covers(changes.mark, held.head):
            return self._nothing(reached, after)
        self._held = None
        page = held.part.page
        if held.touched:
            page = replace(page, rows=[row for row in page.rows if self._open.reader.key_of(row) not in held.touched])
        batch = self._batch_of_part(replace(held.part, page=page), replace(reached, mark=changes.mark))
        self._given = (after, batch)
        return batch

    def _in_turn(self, reached: Reached, limit: int) -> Batch:
        """Read changes when it is time for them, otherwise the next part of the walk."""
        assert reached.walk is not None
        stream = self._open.chosen.stream
        every = self._settings.every.total_seconds() if self._settings.every else float("inf")
        if self._clock.monotonic() - self._polled_at >= every and not self._open.chosen.walks:
            changes = self._read_stream(reached.mark, limit)
            if not changes.more:
                self._polled_at = self._clock.monotonic()
            if changes.tell_something:
                return self._telling(changes, reached)
        part = self._open.walker.step(reached.walk, limit)
        if reached.walk.kind is WalkKind.COMPARE and (settled := getattr(stream, "settled", None)):
            part = replace(part, walked=replace(part.walked, settled=settled(reached.mark, part.page.rows)))
        return self._batch_of_part(part, reached)

    def _telling(self, changes: Changes, reached: Reached) -> Batch:
        """Return the batch of changes, and begin the walk that they ask for."""
        self._ahead = None  # what is read now may lead back to the mark that was stored before
        again = walk_after(changes, reached.walk)
        if again is not None:
            self._open.walker.changed = None  # what the host knew was for another walk
        return self._batch_of(changes, Reached(reached.mode, changes.mark, again or reached.walk))

    def _read_stream(self, mark: Mark, limit: int) -> Changes:
        if self._ahead is not None and self._ahead[0] == mark:
            mark = self._ahead[1]
        changes = self._open.chosen.stream.read(mark, limit)
        if changes.doubt:  # the schema may have changed
            self._drift.hurry()
        return changes

    # -- inside ------------------------------------------------------------------------------------------------------

    def _adapt(self, state: FlowState) -> None:
        """Go on with the columns as they are now. What cannot be opened leaves everything as it was; the host then closes it."""
        session, before = self._database.connect(), self._open
        try:
            self._now = self._opened(session, state)
        except BaseException:
            session.close()
            raise
        self._now.walker.changed = before.walker.changed
        self._held = self._ahead = self._given = None
        before.chosen.stream.close()
        before.session.close()

    def _opened(self, session: Session, state: FlowState) -> _Open:
        shape = self._drift.shape(session)
        reader = TableReader(self._database, session, Pages(shape))
        total = None
        if not state.loaded and self._settings.where is None and self._settings.query is None:
            total = self._database.estimate(session, shape.table)
        chosen = choose(self._flow, self._settings, reader, self._clock, _mode_of(self._belonging, state))
        return _Open(
            session=session,
            reader=reader,
            chosen=chosen,
            walker=Walker(reader, self._reader_for, Chunks(state.memory), self._clock),
            batches=BatchMaker(self._database, shape, self._entity),
            total=total,
            fresh=state.counters.next_ordinal == 1,
            untold={} if state.memory.get(_MODE) == chosen.mode else {_MODE: chosen.mode},
        )

    def _reached(self, after: Position) -> Reached:
        """Return where reading goes on: at the beginning, or in another mode than before, with a walk through everything."""
        reached = self._belonging.decode(after)
        mode = self._open.chosen.mode
        if reached is not None and reached.mode == mode:
            return reached
        if self._begun is None:
            kind = WalkKind.LOAD if reached is None and self._open.fresh else WalkKind.COMPARE
            walk = None if self._open.chosen.by_status else Walk(kind)
            self._begun = Reached(mode, self._open.chosen.stream.begin(), walk)
        return self._begun

    def _no_walk(self) -> None:
        if self._open.chosen.by_status:
            raise SourceRefused(
                N_("there is nothing to compare in mode status: rows that the application did not hand over are not its records"),
                hint=N_("to send rows again, let the application set their status back to pending"),
            )

    def _condition(self, order: WalkOrder) -> str:
        return condition_of(order, self._open.reader.pages.shape, self._entity)

    def _reader_for(self, condition: str) -> TableReader:
        reader = self._open.reader
        if not condition:
            return reader
        shape = reader.pages.shape
        both = condition if shape.where is None else f"({shape.where}) AND ({condition})"
        return TableReader(self._database, reader.session, Pages(replace(shape, where=both)))

    def _nothing(self, reached: Reached, position: Position) -> Batch:
        return replace(self._open.batches.nothing(position), loading=self._loading(reached))

    def _batch_of(self, changes: Changes, reached: Reached) -> Batch:
        more = changes.more or (reached.walk is not None and not self._rests)
        position = self._belonging.encode(reached)
        return self._open.batches.of_changes(changes, position, more=more, loading=self._loading(reached))

    def _loading(self, reached: Reached) -> Progress | None:
        """Return how far the first load has got, None when there is none."""
        if reached.walk is None or reached.walk.kind is not WalkKind.LOAD:
            return None
        return Progress(reached.walk.done, self._estimate(reached.walk.done))

    def _batch_of_part(self, part: Part, reached: Reached) -> Batch:
        loading = None
        if part.walked.kind is WalkKind.LOAD:
            done = (reached.walk.done if reached.walk is not None else 0) + part.walked.covered
            loading = Progress(done, done if part.walked.ended else self._estimate(done))
        position = self._belonging.encode(replace(reached, walk=part.then))
        self._pace.took(part.walked.covered)
        more = part.then is not None or not self._open.chosen.walks
        batch = self._open.batches.of_page(part.page, position, more=more, loading=loading)
        facts, self._open.untold = {**self._open.untold, **self._open.walker.facts()}, {}
        return replace(batch, walked=part.walked, memory=facts)

    def _estimate(self, done: int) -> int | None:
        total = self._open.total
        return None if total is None else max(total, done + 1)

    @property
    def _open(self) -> _Open:
        assert self._now is not None, "the source is not open"
        return self._now


def _mode_of(belonging: Belonging, state: FlowState) -> str | None:
    """Return the mode in which a flow was captured before, None when that is not known."""
    try:
        reached = belonging.decode(state.position)
    except SourceGone:  # reading will tell
        return state.memory.get(_MODE)
    return reached.mode if reached is not None else state.memory.get(_MODE)
