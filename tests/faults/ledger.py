"""The independent check: what the source holds against what hub and agent hold, by plain SQL, with nothing of the product.

`audit` names every difference; an empty answer means: nothing lost, nothing stored twice, every key's history in the order in
which it happened, every bad line accounted for, every message settled with a receipt over the octets the hub has.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psycopg

from tests.faults.registry import BAD_KEY, SLIPS, TABLES, Diary, Registry, Row

Rows = Sequence[tuple[Any, ...]]


class Books(Protocol):
    """A database to look into."""

    def rows(self, query: str) -> Rows:
        """Return the answer to a query."""
        ...


class SqliteBooks:
    """A file that somebody else may be writing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self, query: str) -> Rows:
        """See Books."""
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=30)) as db:
            return db.execute(query).fetchall()


class PostgresBooks:
    """A database on a server."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo

    def rows(self, query: str) -> Rows:
        """See Books."""
        with psycopg.connect(self._conninfo, connect_timeout=5) as db:
            return db.execute(query).fetchall()  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Stored:
    """A record at the hub."""

    record_id: str
    order: tuple[int, int, int]  # epoch ordinal, sequence, position
    row: Row


@dataclass(slots=True)
class Audit:
    """What is wrong, by kind; `records` counts what was compared."""

    records: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)  # at the hub, but never in the source
    unaccounted: list[str] = field(default_factory=list)  # bad lines
    unsettled: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.findings().values())

    def findings(self) -> Mapping[str, Sequence[str]]:
        """Return what is wrong by kind."""
        kinds = ("lost", "twice", "disorder", "foreign", "unaccounted", "unsettled")
        return {kind: getattr(self, kind) for kind in kinds}

    def __str__(self) -> str:
        shown = (f"{kind}: {len(some)} ({', '.join(some[:5])})" for kind, some in self.findings().items() if some)
        return "; ".join(shown) or f"{self.records} records, exact"


def audit(registry: Registry, diary: Diary, hub: Books, agent: Books, drop: Path) -> Audit:
    """Compare everything. The people at work have gone home."""
    found = Audit()
    stored = read_hub(hub)
    for flow, table in TABLES.items():
        _check_table(found, flow, registry.rows(table), stored.get(flow, []), diary)
    _check_slips(found, stored.get(SLIPS, []), diary)
    for flow, records in stored.items():
        _check_order(found, flow, records)
    found.unaccounted += _bad_lines(agent, diary, drop)
    found.unsettled += unsettled(agent, hub, drop)
    return found


def unsettled(agent: Books, hub: Books, drop: Path) -> Iterator[str]:
    """Yield what is not done with between agent and hub."""
    yield from (*_outbox(agent), *_waiting_answers(hub), *_digests(agent, hub), *_sequences(agent, hub), *_folder(drop))


def read_hub(hub: Books) -> Mapping[str, Sequence[Stored]]:
    """Return the records by flow, in the order of the guarantee."""
    stored: dict[str, list[Stored]] = defaultdict(list)
    query = (
        "SELECT f.flow, r.record_id, r.epoch_ordinal, r.sequence, r.position, r.data FROM record r "
        "JOIN flow f ON f.id = r.flow_id ORDER BY r.flow_id, r.epoch_ordinal, r.sequence, r.position"
    )
    for flow, record_id, epoch, sequence, position, data in hub.rows(query):
        record = data if isinstance(data, dict) else json.loads(data)
        row = (record["id"], record["rev"], record.get("name"), record.get("amount"))
        stored[flow].append(Stored(str(record_id), (epoch, sequence, position), row))
    return stored


def _check_table(found: Audit, flow: str, source: Iterable[Row], stored: Sequence[Stored], diary: Diary) -> None:
    """The newest version of each key equals the row; every version is one that was written."""
    newest = {record.row[0]: record.row for record in stored}
    found.records += len(stored)
    source = list(source)
    found.lost += [f"{flow} {row[0]}: {row} but {newest.get(row[0])}" for row in source if newest.get(row[0]) != row]
    keys = {row[0] for row in source}
    written = diary.tried.get(flow, set())
    for record in stored:
        if record.row[0] not in keys or record.row[:2] not in written:
            found.foreign.append(f"{flow} {record.row}")


def _check_slips(found: Audit, stored: Sequence[Stored], diary: Diary) -> None:
    """Every good line of every file is there, as it was written."""
    found.records += len(stored)
    there = {record.row[:2]: record.row for record in stored}
    found.lost += [f"{SLIPS} {place}" for place, row in diary.slips.items() if there.get(place) != row]
    found.foreign += [f"{SLIPS} {place}" for place in there if place not in diary.slips]


def _check_order(found: Audit, flow: str, stored: Sequence[Stored]) -> None:
    """No version is there twice, and those of a key are in the order in which they were written."""
    ids = Counter(record.record_id for record in stored)
    found.twice += [f"{flow} record {record_id}" for record_id, times in ids.items() if times > 1]
    versions = Counter(record.row[:2] for record in stored)
    found.twice += [f"{flow} {version} x {times}" for version, times in versions.items() if times > 1]
    last: dict[str, int] = {}
    for record in stored:
        key, rev = record.row[:2]
        if rev < last.get(key, 0):
            found.disorder.append(f"{flow} {key}: {rev} after {last[key]} at {record.order}")
        last[key] = rev


def _bad_lines(agent: Books, diary: Diary, drop: Path) -> Iterator[str]:
    """Each bad line is quarantined once, and stands once in a rejects file."""
    raws = (raw.decode("utf-8", "replace") for (raw,) in agent.rows("SELECT raw FROM quarantine"))
    quarantined = Counter(key for raw in raws for key in set(BAD_KEY.findall(raw)))
    files = (path.read_bytes().decode("gb18030", "replace") for path in (drop / "rejected").glob("*.rejected*.csv"))
    rejected = Counter(key for text in files for key in BAD_KEY.findall(text))
    for key in diary.bad:
        if quarantined[key] != 1 or rejected[key] != 1:
            yield f"{key}: {quarantined[key]} times in quarantine, {rejected[key]} times in rejects files"
    yield from (f"{key}: not a bad line" for key in (quarantined | rejected).keys() - set(diary.bad))


def _outbox(agent: Books) -> Iterator[str]:
    """No message waits for a confirm or a receipt, and each has a receipt."""
    yield from (
        f"{n} messages {state}"
        for state, n in agent.rows("SELECT state, count(*) FROM message GROUP BY state")
        if state not in ("stored", "partly_stored")
    )
    (without,) = agent.rows("SELECT count(*) FROM message WHERE entry_id NOT IN (SELECT entry_id FROM receipt)")[0]
    if without:
        yield f"{without} messages without a receipt"


def _waiting_answers(hub: Books) -> Iterator[str]:
    (due,) = hub.rows("SELECT count(*) FROM receipt WHERE published_at IS NULL")[0]
    if due:
        yield f"{due} answers of the hub not published"


def _digests(agent: Books, hub: Books) -> Iterator[str]:
    """Hub and agent have the same messages, octet for octet."""
    sent = {message_id: bytes(digest) for message_id, digest in agent.rows("SELECT message_id, digest FROM message")}
    query = "SELECT message_id, digest FROM message WHERE kind = 'records' AND outcome IN ('stored', 'partly_stored')"
    for message_id, digest in hub.rows(query):
        if sent.get(message_id) != bytes(digest):
            yield f"message {message_id} of the hub is not ours"


def _sequences(agent: Books, hub: Books) -> Iterator[str]:
    """The hub has closed every sequence of the current epoch, without a gap."""
    query = "SELECT f.flow, e.epoch, e.high_water, e.ahead, e.frozen FROM epoch e JOIN flow f ON f.id = e.flow_id"
    marks = {(flow, epoch): mark for flow, epoch, *mark in hub.rows(query)}
    for flow, epoch, next_sequence in agent.rows("SELECT name, epoch, next_sequence FROM flow"):
        if marks.get((flow, epoch)) != [next_sequence - 1, "", ""]:
            yield f"{flow}: next sequence {next_sequence}, hub {marks.get((flow, epoch))}"


def _folder(drop: Path) -> Iterator[str]:
    yield from (f"{path.name} left in the drop folder" for path in drop.iterdir() if path.is_file() and path.name[0] != ".")
