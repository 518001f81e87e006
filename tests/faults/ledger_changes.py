"""The independent check of a capture that sees more than new and changed rows: every change, or what is there in the end."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.faults.ledger import Audit, Books
from tests.faults.movers import Event, Journal
from tests.faults.registry import TABLES, Registry


@dataclass(frozen=True, slots=True)
class Told:
    """A record at the hub; `event` None for a delete."""

    record_id: str
    event: Event


Histories = Mapping[str, Sequence[Told]]


def read_changes(hub: Books) -> Mapping[str, Histories]:
    """Return the records of each key by flow, in the order of the guarantee."""
    found: dict[str, dict[str, list[Told]]] = defaultdict(lambda: defaultdict(list))
    query = (
        "SELECT f.flow, r.record_id, r.key, r.deleted, r.data FROM record r JOIN flow f ON f.id = r.flow_id "
        "ORDER BY r.flow_id, r.epoch_ordinal, r.sequence, r.position"
    )
    for flow, record_id, key, deleted, data in hub.rows(query):
        ident = _object(key)["id"]
        row = None if deleted else _object(data)
        event = None if row is None else (row["id"], row["rev"], row.get("name"), row.get("amount"))
        found[flow][ident].append(Told(str(record_id), event))
    return found


def check_changes(found: Audit, journal: Journal, hub: Books) -> None:
    """Every committed change of every key is there once, in order; what a first load saw stands for all before it."""
    stored = read_changes(hub)
    for flow in TABLES:
        histories, told = journal.of(flow), stored.get(flow, {})
        _check_ids(found, flow, told)
        for key in histories.keys() | told.keys():
            events = [each.event for each in told.get(key, ())]
            _check_key(found, f"{flow} {key}", histories.get(key, ()), events, journal.owed_from(flow, key))


def _check_key(found: Audit, name: str, history: Sequence[Event], events: Sequence[Event], owed: int) -> None:
    begins = len(history) - len(events)
    if 0 <= begins <= owed and list(history[begins:]) == list(events):
        return
    about = f"{name}: {_shown(history)} from {owed} but {_shown(events)}"
    extra, missing = Counter(events) - Counter(history), Counter(history[owed:]) - Counter(events)
    found.twice += [about for event in extra if event in history]
    found.foreign += [about for event in extra if event not in history]
    found.lost += [about] * missing.total()
    if not extra and not missing:  # all of it, but not so; or something between what a load saw and what is owed
        found.disorder.append(about)


def check_states(found: Audit, registry: Registry, journal: Journal, hub: Books, *, deletes: bool = True) -> None:
    """What is there last of each key is the row as it is, or a delete; nothing came twice, back to front or from nowhere.

    Without `deletes` nobody has told yet what is gone.
    """
    stored = read_changes(hub)
    for flow, table in TABLES.items():
        histories, told = journal.of(flow), stored.get(flow, {})
        rows = {row[0]: row for row in registry.rows(table)}
        _check_ids(found, flow, told)
        for key in rows.keys() | told.keys():
            events = [each.event for each in told.get(key, ())]
            last = events[-1] if events else None
            if last != rows.get(key) and (deletes or key in rows):
                found.lost.append(f"{flow} {key}: {rows.get(key)} but {last}")
            _check_skips(found, f"{flow} {key}", histories.get(key, ()), events)


def _check_skips(found: Audit, name: str, history: Sequence[Event], events: Sequence[Event]) -> None:
    """What came is what happened, with parts left out."""
    about = f"{name}: {_shown(history)} but {_shown(events)}"
    rows = Counter(event for event in events if event is not None)
    found.foreign += [about for row in rows if row not in history]
    found.twice += [about for times in rows.values() if times > 1]
    places = iter(history)
    if all(event in places for event in events):  # each of them after the one before
        return
    if all(row in history and times == 1 for row, times in rows.items()):
        found.disorder.append(about)


def _check_ids(found: Audit, flow: str, told: Histories) -> None:
    ids = Counter(each.record_id for some in told.values() for each in some)
    found.records += ids.total()
    found.twice += [f"{flow} record {record_id}" for record_id, times in ids.items() if times > 1]


def _shown(events: Sequence[Event]) -> str:
    return " ".join("-" if event is None else str(event[1]) for event in events) or "nothing"


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else json.loads(str(value))  # type: ignore[no-any-return]
