"""Every statement of the writing connection and of the hot reads, in one place.

They are text, not expressions, because they are SQLite's own: each moves any number of rows in one step, taking them as one
JSON document, so that a batch costs a handful of statements (see `writer` for why that matters). What may move from where
to where is composed from `agent.model.TRANSITIONS`.
"""

# ruff: noqa: S608 - what is composed are constants of this package; every value is bound

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from agent.adapters.store.rows import (
    ENTRY_COLUMNS,
    FLOW_COLUMNS,
    ITEM_COLUMNS,
    MESSAGE_COLUMNS,
    RECEIPT_COLUMNS,
)
from agent.model import TRANSITIONS, State, Trigger


def sources(trigger: Trigger) -> str:
    """Return the states a trigger moves from, as an SQL list."""
    return ", ".join(f"'{state}'" for (state, by) in TRANSITIONS if by is trigger)


def target(trigger: Trigger) -> State:
    """Return the one state a trigger moves to."""
    (state,) = {to for (_, by), to in TRANSITIONS.items() if by is trigger}
    return state


# -- flows -----------------------------------------------------------------------------------------------------------

GET_META: Final = "SELECT value FROM meta WHERE name = ?"
PUT_META: Final = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

ADD_FLOW: Final = (
    "INSERT INTO flow (name, epoch) VALUES (?, (SELECT value FROM meta WHERE name = 'epoch')) ON CONFLICT (name) DO NOTHING"
)
FLOW_ID: Final = "SELECT flow_id, epoch, announced, rewrap, next_sequence FROM flow WHERE name = ?"
FLOW: Final = f"SELECT {FLOW_COLUMNS} FROM flow WHERE name = ?"
FLOWS: Final = f"SELECT {FLOW_COLUMNS} FROM flow ORDER BY name"
MEMORY: Final = "SELECT name, value FROM memory WHERE flow_id = (SELECT flow_id FROM flow WHERE name = ?)"
REMEMBER: Final = (
    "INSERT INTO memory (flow_id, name, value) SELECT ?, value ->> 0, value ->> 1 FROM json_each(?) WHERE true "
    "ON CONFLICT (flow_id, name) DO UPDATE SET value = excluded.value"
)
PAUSE: Final = "UPDATE flow SET paused = ? WHERE name = ?"
ANNOUNCED: Final = "UPDATE flow SET announced = 1 WHERE flow_id = ?"

ADVANCE: Final = """
UPDATE flow SET position = :position, next_sequence = :sequence, next_ordinal = :ordinal,
    loaded = max(:loaded, loaded AND incarnation = :incarnation), incarnation = :incarnation
WHERE name = :flow AND epoch = :epoch AND next_sequence = :sequence_before AND next_ordinal = :ordinal_before AND rewrap = 0
RETURNING flow_id, chunk_base, (SELECT coalesce(max(entry_id), 0) FROM message)
"""
"""The compare-and-swap of an append: no row when anything of `before` is not what is stored."""

# -- the ledger ------------------------------------------------------------------------------------------------------

UPSERT_LEDGER: Final = """
INSERT INTO ledger (flow_id, key, hash, ordinal, sequence, entry_id, deleted)
SELECT :flow_id, k.value, substr(:hashes, k.key * 16 + 1, 16), :ordinal + k.key,
    :sequence + CAST(substr(:places, k.key * 5 + 1, 5) AS INTEGER),
    :entry_id + CAST(substr(:places, k.key * 5 + 1, 5) AS INTEGER),
    CAST(substr(:deleted, k.key + 1, 1) AS INTEGER)
FROM json_each(:keys) AS k WHERE true
ON CONFLICT (flow_id, key) DO UPDATE SET hash = excluded.hash, ordinal = excluded.ordinal, sequence = excluded.sequence,
    entry_id = excluded.entry_id, deleted = excluded.deleted
"""
"""One step for thousands of rows: the keys as a JSON array, what is of fixed width packed beside it and cut by position.

What is packed is octets, never text: cutting text at a position walks to it from the start.
"""

KNOWN: Final = """
SELECT json_group_array(json_array(l.key, hex(l.hash), l.ordinal, l.sequence, l.deleted))
FROM json_each(:keys) AS k CROSS JOIN ledger AS l
    ON l.flow_id = (SELECT flow_id FROM flow WHERE name = :flow) AND l.key = k.value
"""

CARRIED: Final = """
WITH RECURSIVE standing(entry_id, flow_id, message_id) AS (
    SELECT entry_id, flow_id, message_id FROM message WHERE message_id = ?
    UNION SELECT m.entry_id, m.flow_id, m.message_id FROM message AS m
        JOIN standing ON m.superseded_by = standing.message_id AND m.state = 'dead')
SELECT l.key, l.hash, l.ordinal, l.sequence, l.deleted FROM ledger AS l
WHERE l.flow_id = (SELECT flow_id FROM standing LIMIT 1) AND l.entry_id IN (SELECT entry_id FROM standing) ORDER BY l.ordinal
"""
"""The keys a message carried last, itself or through the messages of earlier epochs that it stands for."""

WHEREABOUTS: Final = """
WITH RECURSIVE carrier(key, hash, ordinal, deleted, epoch, depth, entry_id, state, code, heir) AS (
    SELECT l.key, l.hash, l.ordinal, l.deleted, m.epoch, 0, m.entry_id, m.state, m.code, m.superseded_by
    FROM json_each(:keys) AS k CROSS JOIN ledger AS l
        ON l.flow_id = (SELECT flow_id FROM flow WHERE name = :flow) AND l.key = k.value
        LEFT JOIN message AS m ON m.entry_id = l.entry_id
    UNION ALL SELECT c.key, c.hash, c.ordinal, c.deleted, c.epoch, c.depth + 1, m.entry_id, m.state, m.code, m.superseded_by
    FROM carrier AS c JOIN message AS m ON m.message_id = c.heir AND c.state = 'dead')
SELECT json_group_array(json_array(key, hex(hash), ordinal, deleted, coalesce(epoch, ''), entry_id, state, code, heir))
FROM (SELECT * FROM carrier ORDER BY depth)
"""
"""Each key with the message that carried it last, and behind it those of later epochs that stand for that message."""

REFUSED_IN: Final = """
SELECT entry_id, record, field, code, message FROM refused
WHERE entry_id IN (SELECT value FROM json_each(?)) ORDER BY refused_id
"""
SAID_OF: Final = "SELECT entry_id, text FROM receipt WHERE entry_id IN (SELECT value FROM json_each(?)) ORDER BY settled_at"

# -- the ledger by chunks --------------------------------------------------------------------------------------------

CHUNKS: Final = 1 << 32
"""How many chunks there can be. What the ledger holds of a chunk is its number and the flow's `chunk_base`, a multiple of
this, so that forgetting all of them is a new base and no ledger row is rewritten. What is below the base is in no chunk."""

_IN_CHUNK: Final = "SELECT key FROM ledger INDEXED BY ledger_chunk WHERE flow_id = :flow_id AND chunk = :chunk"
LEAVE_CHUNK: Final = f"""
UPDATE ledger SET chunk = NULL
WHERE flow_id = :flow_id AND deleted = 0 AND key IN ({_IN_CHUNK} AND key NOT IN (SELECT value FROM json_each(:keys)))
"""
ENTER_CHUNK: Final = f"""
UPDATE ledger SET chunk = :chunk
WHERE flow_id = :flow_id AND chunk IS NOT :chunk
    AND key IN (SELECT value FROM json_each(:keys) WHERE value NOT IN ({_IN_CHUNK}))
"""
"""What is in the chunk already is told by its index alone: where nothing moved, no ledger row is looked at."""

FORGET_CHUNKS: Final = f"UPDATE flow SET chunk_base = chunk_base + {CHUNKS} WHERE name = ?"

_OF_FLOW: Final = "FROM flow AS f CROSS JOIN ledger AS l ON l.flow_id = f.flow_id WHERE f.name = :flow"
_UNPLACED: Final = (
    f"{_OF_FLOW} AND l.deleted = 0 AND (l.chunk IS NULL OR l.chunk < f.chunk_base) "
    "AND (l.ordinal < :before OR l.entry_id <= f.begun_after)"
)
ALIVE: Final = f"SELECT count(*) {_OF_FLOW} AND l.deleted = 0"
UNPLACED: Final = f"SELECT json_group_array(key) FROM (SELECT l.key {_UNPLACED} AND l.key > :after ORDER BY l.key LIMIT :limit)"
COUNT_UNPLACED: Final = f"SELECT count(*) {_UNPLACED}"
TOUCHED: Final = f"""
SELECT json_group_array(chunk) FROM (
    SELECT DISTINCT l.chunk - f.chunk_base AS chunk {_OF_FLOW} AND +l.chunk >= f.chunk_base
        AND l.ordinal >= :since AND l.entry_id > f.begun_after)
"""

# -- messages --------------------------------------------------------------------------------------------------------

LAST_ENTRY: Final = "SELECT coalesce(max(entry_id), 0) FROM message"
INSERT_MESSAGE: Final = f"INSERT INTO message ({MESSAGE_COLUMNS}) VALUES "
INSERT_CONTENT: Final = "INSERT INTO content (entry_id, body, jws) VALUES "

_ENTRY: Final = (
    f"SELECT {ENTRY_COLUMNS} FROM message AS m "
    "CROSS JOIN flow AS f ON f.flow_id = m.flow_id CROSS JOIN content AS c ON c.entry_id = m.entry_id "
)
PENDING: Final = (
    f"{_ENTRY} WHERE m.flow_id = (SELECT flow_id FROM flow WHERE name = :flow) AND m.state = 'pending' "
    "AND m.entry_id > :after AND m.epoch = f.epoch ORDER BY m.entry_id LIMIT :limit"
)
ENTRY_BY_ID: Final = f"{_ENTRY} WHERE m.message_id = ?"
OVERDUE: Final = (
    f"{_ENTRY} WHERE m.flow_id = :flow_id AND m.state = 'confirmed' AND m.confirmed_at < :before "
    "ORDER BY m.confirmed_at, m.entry_id LIMIT :limit"
)
LEFT_BEHIND: Final = (
    f"{_ENTRY} WHERE m.flow_id = (SELECT flow_id FROM flow WHERE name = :flow) AND m.state = 'pending' "
    "AND m.epoch <> f.epoch ORDER BY m.entry_id LIMIT :limit"
)

CONFIRM: Final = f"""
UPDATE message SET state = '{target(Trigger.CONFIRM)}', attempts = attempts + 1, confirmed_at = :now
WHERE entry_id IN (SELECT value FROM json_each(:entries)) AND state IN ({sources(Trigger.CONFIRM)})
"""
REOPEN: Final = f"""
UPDATE message SET state = '{target(Trigger.MISSING)}', confirmed_at = NULL
WHERE message_id IN (SELECT value FROM json_each(:ids)) AND state IN ({sources(Trigger.MISSING)})
"""
DISCARD: Final = f"""
UPDATE message SET state = '{target(Trigger.DISCARD)}', closed_as = 'discarded', settled_at = :now
WHERE message_id IN (SELECT value FROM json_each(:ids)) AND state IN ({sources(Trigger.DISCARD)})
"""
PURGE_WHICH: Final = (
    "SELECT entry_id FROM message WHERE state IN ('stored', 'partly_stored') AND purged_at IS NULL AND settled_at < :before "
    "ORDER BY settled_at, entry_id LIMIT :limit"
)
PURGE_MARK: Final = "UPDATE message SET purged_at = :now WHERE entry_id IN (SELECT value FROM json_each(:entries))"
PURGE_CONTENT: Final = "DELETE FROM content WHERE entry_id IN (SELECT value FROM json_each(:entries))"

FORGET_WHICH: Final = """
SELECT m.entry_id FROM message AS m
WHERE m.created_at < :before AND m.settled_at < :before AND m.state IN ('stored', 'partly_stored')
    AND m.purged_at IS NOT NULL AND m.entry_id < (SELECT max(entry_id) FROM message)
    AND NOT EXISTS (SELECT 1 FROM refused AS r WHERE r.entry_id = m.entry_id AND r.closed_as = '')
ORDER BY m.created_at, m.entry_id LIMIT :limit
"""
"""The newest stays: a new message gets the number after it, and numbers in the ledger may never come again."""
_OF_ENTRIES = "WHERE entry_id IN (SELECT value FROM json_each(:entries))"
FORGET: Final = tuple(f"DELETE FROM {table} {_OF_ENTRIES}" for table in ("refused", "receipt", "message"))

# -- receipts --------------------------------------------------------------------------------------------------------

RECEIPTED: Final = """
SELECT json_group_array(json_array(m.message_id, m.entry_id, m.flow_id, f.name, m.epoch, m.sequence, m.digest_alg,
    hex(m.digest), m.state, m.records, m.created_at))
FROM json_each(:ids) AS k CROSS JOIN message AS m ON m.message_id = k.value JOIN flow AS f USING (flow_id)
"""
SETTLE: Final = """
UPDATE message SET state = j.value ->> 1, code = j.value ->> 2, settled_at = iif(j.value ->> 1 = 'pending', NULL, :now),
    confirmed_at = iif(j.value ->> 1 = 'pending', NULL, confirmed_at)
FROM json_each(:moves) AS j WHERE message.entry_id = j.value ->> 0
"""
KEEP_RECEIPT: Final = f"INSERT OR REPLACE INTO receipt ({RECEIPT_COLUMNS}) VALUES "
REFUSE: Final = """
INSERT INTO refused (entry_id, flow_id, record, field, code, message, refused_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, :now FROM json_each(:refused)
"""

# -- quarantine, gaps, counters --------------------------------------------------------------------------------------

QUARANTINE: Final = f"INSERT OR IGNORE INTO quarantine ({ITEM_COLUMNS}) VALUES "
CLOSE: Final = (
    """
    UPDATE quarantine SET closed_as = s.value ->> 1, closed_at = :now FROM json_each(:subjects) AS s
    WHERE quarantine.item_id = s.value ->> 0 AND quarantine.closed_as = ''
    """,
    """
    UPDATE refused SET closed_as = s.value ->> 1, closed_at = :now FROM json_each(:subjects) AS s
    WHERE refused.record = s.value ->> 0 AND refused.closed_as = ''
    """,
    """
    UPDATE message SET closed_as = s.value ->> 1 FROM json_each(:subjects) AS s
    WHERE message.message_id = s.value ->> 0 AND message.closed_as = '' AND message.state = 'dead'
    """,
)
ACTIVITY_COLUMNS: Final = ("captured", "unchanged", "messages", "records", "stored", "refused", "quarantined")
COUNT: Final = (
    f"INSERT INTO activity (flow_id, hour, {', '.join(ACTIVITY_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
    f"ON CONFLICT (flow_id, hour) DO UPDATE SET {', '.join(f'{c} = {c} + excluded.{c}' for c in ACTIVITY_COLUMNS)}"
)

FIND_GAP: Final = (
    "SELECT number, opened_at FROM gap WHERE flow_id = :flow_id AND kind = :kind AND details = :details AND closed_at IS NULL"
)
ADD_GAP: Final = """
INSERT INTO gap (flow_id, number, kind, text, details, opened_at)
SELECT :flow_id, coalesce(max(number), 0) + 1, :kind, :text, :details, :now FROM gap WHERE flow_id = :flow_id
RETURNING number
"""
CLOSE_GAP: Final = """
UPDATE gap SET closed_at = :now
WHERE flow_id = (SELECT flow_id FROM flow WHERE name = :flow) AND number = :number AND closed_at IS NULL
"""
NOTE: Final = "INSERT INTO action (at, user, action, subject, why) SELECT ?, ?, ?, value, ? FROM json_each(?)"

FREE_INSIDE: Final = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size"
TALLY: Final = "SELECT flow_id, state, messages, records FROM tally"
DEPTH_OF_FLOW: Final = """
SELECT f.flow_id, f.name, f.open_items,
    (SELECT created_at FROM message AS p WHERE p.flow_id = f.flow_id AND p.state = 'pending' ORDER BY p.entry_id LIMIT 1),
    (SELECT min(confirmed_at) FROM message AS c WHERE c.flow_id = f.flow_id AND c.state = 'confirmed')
FROM flow AS f ORDER BY f.name
"""

# -- a new epoch -----------------------------------------------------------------------------------------------------

FLOWS_TO_TURN: Final = "SELECT flow_id, name, epoch, next_sequence, next_ordinal FROM flow ORDER BY name"
BACK_IN_LINE: Final = (
    f"UPDATE message SET state = '{target(Trigger.RESEND)}', confirmed_at = NULL WHERE state IN ({sources(Trigger.RESEND)})"
)
DROP_CONTROLS: Final = f"""
UPDATE message SET state = '{target(Trigger.REWRAP)}', closed_as = 'superseded', settled_at = :now
WHERE state = 'pending' AND kind = 'control'
"""
TURN: Final = """
UPDATE flow SET previous_epoch = epoch, epoch = :epoch, announced = 0, next_sequence = 1, next_ordinal = 1,
    begun_after = (SELECT coalesce(max(entry_id), 0) FROM message),
    rewrap = EXISTS (SELECT 1 FROM message AS m WHERE m.flow_id = flow.flow_id AND m.state = 'pending')
"""
NEXT_LEFT_BEHIND: Final = """
SELECT json_group_array(message_id) FROM (
    SELECT message_id FROM message WHERE flow_id = :flow_id AND state = 'pending' AND epoch <> :epoch
    ORDER BY entry_id LIMIT :limit)
"""
REWRAP: Final = f"""
UPDATE message SET state = '{target(Trigger.REWRAP)}', closed_as = 'superseded', settled_at = :now,
    superseded_by = j.value ->> 1
FROM json_each(:pairs) AS j WHERE message.message_id = j.value ->> 0
"""
REWRAPPED: Final = """
UPDATE flow SET next_sequence = :sequence, rewrap = EXISTS (
    SELECT 1 FROM message AS m WHERE m.flow_id = flow.flow_id AND m.state = 'pending' AND m.epoch <> flow.epoch)
WHERE flow_id = :flow_id
"""

# -- helpers ---------------------------------------------------------------------------------------------------------

_CHUNKS: Final = (64, 16, 4, 1)


def insert_many(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Insert rows that carry octets, many to a step, through few distinct statements (each stays compiled); return how many."""
    inserted = 0
    for chunk in _chunks(rows):
        marks = f"({', '.join('?' * len(chunk[0]))})"
        values = [value for row in chunk for value in row]
        inserted += connection.execute(statement + ", ".join([marks] * len(chunk)), values).rowcount
    return inserted


def _chunks(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    start = 0
    while start < len(rows):
        size = next(size for size in _CHUNKS if size <= len(rows) - start)
        yield rows[start : start + size]
        start += size


def one(connection: sqlite3.Connection, statement: str, parameters: Iterable[Any] | dict[str, Any] = ()) -> Any:
    """Run a statement of at most one row to its end and return the row, None when there is none."""
    rows = connection.execute(statement, parameters if isinstance(parameters, dict) else tuple(parameters)).fetchall()
    return rows[0] if rows else None
