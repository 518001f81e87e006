"""Columns of a table that change while a flow reads it: what differs from what the flow knew, and what its policy makes of it.

What the columns were is a fact in the memory of the flow. It is compared whenever the source is opened, and from time to time
between two readings. What is accepted becomes the new fact; what is not stops the flow, or has its rows put aside, until an
operator resumes the flow: whoever resumes a flow after a pause in which the new columns were known accepts them (see
`agent.services.capture_gap`). Reading then goes on where it was.

Only names and types are looked at, and only they are told. A renamed column is one that went and one that came.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from sqlalchemy import exc
from sqlalchemy.engine import Dialect

from agent.errors import SourceChanged, SourceGone, SourceRefused
from agent.events import SchemaChanged
from agent.i18n import N_
from agent.model import SHAPE_ACCEPTED, SHAPE_OFFERED, START, Batch, Counters, FlowState, Objection, Position
from connectors.database.dialects.base import Database, Session
from connectors.database.settings import DatabaseFrom
from connectors.database.settings import Drift as Policy
from connectors.database.tables.pages import Shape
from connectors.database.tables.shape import columns_of, shape_of
from connectors.database.tables.table import Column, ValueKind
from connectors.wiring import Wiring

FACT: Final = "shape"
"""The name of the fact."""

REASON: Final = "schema_changed"

_LOOK_SECS: Final = 60.0
"""How often the columns are looked at while the source is open."""

Known = Mapping[str, tuple[str, str]]
"""Columns by name: the kind of their values, and their type as SQL has it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What became of columns. `changed` have values of another kind now, `retyped` another type with values of the same kind."""

    added: Mapping[str, str]
    removed: Mapping[str, str]
    changed: Mapping[str, tuple[str, str]]
    retyped: Mapping[str, tuple[str, str]]

    @classmethod
    def between(cls, before: Known, now: Known) -> Difference:
        """Return what changed."""
        both = {name: (before[name], now[name]) for name in before if name in now and before[name] != now[name]}
        types = {name: (old[1], new[1]) for name, (old, new) in both.items()}
        other = {name for name, (old, new) in both.items() if old[0] != new[0]}
        return cls(
            added={name: type_ for name, (_, type_) in now.items() if name not in before},
            removed={name: type_ for name, (_, type_) in before.items() if name not in now},
            changed={name: pair for name, pair in types.items() if name in other},
            retyped={name: pair for name, pair in types.items() if name not in other},
        )

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self.added or self.removed or self.changed or self.retyped)

    def __str__(self) -> str:
        """Return it in signs, which need no translation."""
        return ", ".join(
            [f"+ {name} {type_}" for name, type_ in self.added.items()]
            + [f"- {name} {type_}" for name, type_ in self.removed.items()]
            + [f"{name}: {old} → {new}" for name, (old, new) in {**self.changed, **self.retyped}.items()]
        )

    def passes(self, policy: Policy) -> bool:
        """Tell whether a policy lets reading go on as if nothing had happened."""
        if policy == "freeze" or self.removed or self.changed:
            return not self
        return policy == "accept-new" or not self.retyped


def known_of(columns: Mapping[str, Column], dialect: Dialect) -> Known:
    """Return what is remembered of columns."""
    return {name: (column.kind.value, _type_of(column, dialect)) for name, column in columns.items()}


def _type_of(column: Column, dialect: Dialect) -> str:
    if column.kind is ValueKind.OTHER:
        return str(column.type)
    try:
        return str(column.type.compile(dialect=dialect))
    except exc.CompileError:
        return str(column.type)


class DriftGuard:
    """What one flow knows of the columns of its table. Belongs to the thread of its source."""

    def __init__(self, wiring: Wiring[DatabaseFrom], database: Database) -> None:
        settings = wiring.settings
        self._settings, self._database = settings, database
        self._flow, self._table = wiring.flow, settings.entity_of(wiring.flow)
        self._wanted = wiring.columns
        self._clock = wiring.clock
        self._emit = wiring.events.emit
        # With other values in these neither the identity of a row nor a place in the table is what it was.
        self._vital = frozenset([*settings.key, *([settings.cursor] if settings.cursor is not None else [])])
        self._state = FlowState(wiring.flow, "", "", START, Counters(), {})
        self._fact = ""  # the columns that count as known
        self._seen = ""  # those that reading is adapted to
        self._objection: Objection | None = None
        self._facts: dict[str, str] = {}  # to be stored
        self._under = Position("")  # with this position
        self._looked_at = float("-inf")

    # -- what its source calls ---------------------------------------------------------------------------------------

    def opened(self, state: FlowState, incarnation: str) -> None:
        """Take up what the store knows. What is known of another table or database means nothing."""
        self._state = state
        known = self._stored(FACT)
        same = state.incarnation in ("", incarnation) and known and json.loads(known)["table"] == self._table
        self._fact = known if same else ""
        self._seen, self._objection, self._facts = "", None, {}

    def shape(self, session: Session) -> Shape:
        """Return what is read of the table, if it may be. Raises SourceRefused; SourceChanged when the flow has to stop."""
        try:
            shape = shape_of(self._database, session, self._settings, self._wanted)
        except SourceRefused as error:
            if "lacking" not in error.details:
                raise
            raise self._explained(error, self._known(columns_of(self._database, session, self._settings))) from error
        self._judge(self._known(shape.table.columns))
        return shape

    def read(self, session: Callable[[], Session], read: Callable[[], Batch], adapt: Callable[[FlowState], None]) -> Batch:
        """Read; before that, if it is time, look at the columns, and `adapt` to what they are now.

        What fails may fail because the columns are not what they were.
        """
        if self._clock.monotonic() - self._looked_at >= _LOOK_SECS and self._differs(session()):
            adapt(self._state)
        try:
            batch = read()
        except (SourceRefused, SourceGone):
            if not self._differs(session()):
                raise
            adapt(self._state)
            batch = read()
        return self._noting(self.objecting(batch))

    def hurry(self) -> None:
        """Have the columns looked at before the next reading."""
        self._looked_at = float("-inf")

    def objecting(self, batch: Batch) -> Batch:
        """Return a batch whose rows are put aside, if they have to be."""
        return batch if self._objection is None or not batch.rows else replace(batch, objection=self._objection)

    def committed(self, position: Position) -> None:
        """Learn that what came with a position is durable."""
        if position == self._under:
            self._facts = {}

    # -- inside ------------------------------------------------------------------------------------------------------

    def _differs(self, session: Session) -> bool:
        """Look whether the columns are not those that reading is adapted to."""
        self._looked_at = self._clock.monotonic()
        return self._write(self._known(columns_of(self._database, session, self._settings))) != self._seen

    def _judge(self, now: Known) -> None:
        self._looked_at = self._clock.monotonic()
        text = self._write(now)
        difference = self._difference(now)
        if not difference:
            self._keep(text)
        elif text == self._stored(SHAPE_ACCEPTED) or difference.passes(self._settings.drift):
            self._tell("accepted", difference, text)
            self._keep(text)
        elif self._settings.drift == "quarantine" and not self._vital & set(difference.changed):
            self._put_aside(difference, text)
        else:
            raise SourceChanged(flow=self._flow, table=self._table, difference=str(difference), shape=text)
        self._seen = text

    def _explained(self, error: SourceRefused, now: Known) -> SourceRefused:
        """Return a refusal (a column is missing) that also tells what changed."""
        difference = self._difference(now)
        if not difference:
            return error
        hint = N_("the columns of the table have changed: {difference}; let the map follow, or let the DBA undo it")
        return SourceRefused(error.text, hint=hint, **{**error.details, "difference": str(difference)})

    def _noting(self, batch: Batch) -> Batch:
        """Return a batch with the facts that are to be stored, until they are."""
        if self._facts:
            self._under = batch.position
            batch = replace(batch, memory={**batch.memory, **self._facts})
        if batch.memory:
            self._state = replace(self._state, memory={**self._state.memory, **batch.memory})
        self._state = replace(self._state, position=batch.position)
        return batch

    def _known(self, columns: Mapping[str, Column]) -> Known:
        return known_of(columns, self._database.dialect)

    def _difference(self, now: Known) -> Difference:
        before = {name: (kind, type_) for name, (kind, type_) in json.loads(self._fact)["columns"].items()} if self._fact else now
        return Difference.between(before, now)

    def _write(self, now: Known) -> str:
        # In the order of the names: where a column stands in the table means nothing.
        return json.dumps({"table": self._table, "columns": now}, ensure_ascii=False, separators=(",", ":"), sort_keys=True)

    def _tell(self, outcome: Literal["accepted", "quarantined"], difference: Difference, text: str) -> None:
        if text != self._seen:
            self._emit(SchemaChanged(self._flow, self._table, str(difference), outcome))

    def _keep(self, text: str) -> None:
        self._fact, self._objection = text, None
        stale = {name: "" for name in (SHAPE_OFFERED, SHAPE_ACCEPTED) if self._stored(name)}
        self._facts |= stale | ({FACT: text} if self._stored(FACT) != text else {})

    def _put_aside(self, difference: Difference, text: str) -> None:
        self._tell("quarantined", difference, text)
        self._objection = Objection(
            REASON,
            N_("the columns of {table} have changed: {difference}"),
            N_("if they are right: huitong flow pause {flow}, huitong flow resume {flow}, then huitong dead retry --flow {flow}"),
            {"flow": self._flow, "table": self._table, "difference": str(difference)},
        )
        if self._stored(SHAPE_OFFERED) != text:
            self._facts[SHAPE_OFFERED] = text

    def _stored(self, name: str) -> str:
        return self._facts.get(name, self._state.memory.get(name, ""))
