"""The tables of the agent's store: what the schema is. Migrations lead there, and a test compares the two.

Times are whole microseconds since 1970 in UTC, flags are 0 and 1, what is absent is NULL for a time and the empty string for
a text. Bodies live apart from what is known about a message, so that a confirm or a receipt rewrites two hundred octets and
not the whole message.

`tally` counts messages by state. Triggers keep it, so that it cannot drift from the messages, whatever statement moves them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    DDL,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    event,
    text,
)

metadata = MetaData()

CLUSTERED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}
PLAIN: dict[str, Any] = {"sqlite_strict": True}


def _integer(name: str, *args: Any, **options: Any) -> Column[int]:
    return Column(name, Integer, *args, nullable=False, **options)


def _text(name: str, *args: Any, **options: Any) -> Column[str]:
    return Column(name, Text, *args, nullable=False, **options)


def _blob(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=False)


def _time(name: str) -> Column[int | None]:
    return Column(name, Integer, nullable=True)


def _count(name: str) -> Column[int]:
    return _integer(name, server_default=text("0"))


meta = Table("meta", metadata, _text("name", primary_key=True), _text("value"), **CLUSTERED)

flow = Table(
    "flow",
    metadata,
    _integer("flow_id", primary_key=True),
    _text("name", unique=True),
    _text("epoch"),
    _text("previous_epoch", server_default=text("''")),
    _count("announced"),
    _text("incarnation", server_default=text("''")),
    _text("position", server_default=text("''")),
    _integer("next_sequence", server_default=text("1")),
    _integer("next_ordinal", server_default=text("1")),
    _text("paused", server_default=text("''")),
    _count("loaded"),
    _count("rewrap"),  # messages of an earlier epoch have to be re-wrapped before anything is appended
    _count("open_items"),
    _count("begun_after"),  # the last entry of earlier epochs: ledger rows up to it are older than every ordinal of this one
    _count("chunk_base"),  # what is added to the chunks in the ledger; those below it were forgotten
    **PLAIN,
)

memory = Table(
    "memory",
    metadata,
    _integer("flow_id", ForeignKey("flow.flow_id")),
    _text("name"),
    _text("value"),
    PrimaryKeyConstraint("flow_id", "name"),
    **CLUSTERED,
)

ledger = Table(
    "ledger",
    metadata,
    _integer("flow_id"),
    _text("key"),
    _blob("hash"),
    _integer("ordinal"),
    _integer("sequence"),
    _integer("entry_id"),
    _integer("deleted"),
    Column("chunk", Integer, nullable=True),
    PrimaryKeyConstraint("flow_id", "key"),
    **CLUSTERED,
)
Index("ledger_chunk", ledger.c.flow_id, ledger.c.chunk, sqlite_where=text("chunk IS NOT NULL"))

message = Table(
    "message",
    metadata,
    _integer("entry_id", primary_key=True),
    _integer("flow_id", ForeignKey("flow.flow_id")),
    _text("epoch"),
    _integer("sequence"),
    _text("message_id", unique=True),
    _text("kind"),
    _text("type"),
    _text("encoding"),
    _text("digest_alg"),
    _blob("digest"),
    _text("kid"),
    _integer("records"),
    _integer("size_bytes"),
    _text("state"),
    _text("code", server_default=text("''")),
    _text("closed_as", server_default=text("''")),
    _text("superseded_by", server_default=text("''")),
    _count("attempts"),
    _integer("created_at"),
    _time("confirmed_at"),
    _time("settled_at"),
    _time("purged_at"),
    **PLAIN,
)

WAITING = text("state = 'pending'")
UNANSWERED = text("state = 'confirmed'")
PURGEABLE = text("state IN ('stored', 'partly_stored') AND purged_at IS NULL")
DEAD = text("state = 'dead' AND closed_as = ''")
ENDED_BADLY = text("state = 'dead' OR state = 'partly_stored'")
SEQUENCED = text("sequence > 0")
OPEN = text("closed_as = ''")

Index("message_sequence", message.c.flow_id, message.c.epoch, message.c.sequence, unique=True, sqlite_where=SEQUENCED)
Index("message_pending", message.c.flow_id, message.c.entry_id, sqlite_where=WAITING)
Index("message_confirmed", message.c.flow_id, message.c.confirmed_at, message.c.entry_id, sqlite_where=UNANSWERED)
Index("message_purgeable", message.c.settled_at, sqlite_where=PURGEABLE)
Index("message_dead", message.c.flow_id, message.c.code, message.c.settled_at, sqlite_where=DEAD)
Index("message_ended", message.c.state, message.c.entry_id, sqlite_where=ENDED_BADLY)
Index("message_created", message.c.created_at)

content = Table(
    "content",
    metadata,
    _integer("entry_id", ForeignKey("message.entry_id"), primary_key=True),
    _blob("body"),
    _text("jws"),
    **PLAIN,
)

receipt = Table(
    "receipt",
    metadata,
    _integer("entry_id", ForeignKey("message.entry_id")),
    _text("stage"),
    _text("outcome"),
    _text("code"),
    _text("text"),
    _text("hub"),
    _text("kid"),
    _integer("received_at"),
    _integer("committed_at"),
    _integer("settled_at"),
    _integer("audit_sequence"),
    _text("audit_hash"),
    _blob("body"),
    _text("jws"),
    PrimaryKeyConstraint("entry_id", "stage"),
    **PLAIN,
)

refused = Table(
    "refused",
    metadata,
    _integer("refused_id", primary_key=True),
    _integer("entry_id", ForeignKey("message.entry_id"), index=True),
    _integer("flow_id", ForeignKey("flow.flow_id")),
    _text("record", index=True),
    _text("field"),
    _text("code"),
    _text("message"),
    _integer("refused_at"),
    _text("closed_as", server_default=text("''")),
    _time("closed_at"),
    **PLAIN,
)
Index("refused_open", refused.c.flow_id, refused.c.code, refused.c.field, refused.c.refused_at, sqlite_where=OPEN)

quarantine = Table(
    "quarantine",
    metadata,
    _integer("number", primary_key=True),
    _text("item_id", unique=True),
    _integer("flow_id", ForeignKey("flow.flow_id")),
    _text("entity"),
    _text("token"),
    Column("key", Text, nullable=True),
    _blob("raw"),
    _text("reason"),
    _text("code"),
    _text("field"),
    _text("text"),
    _text("details"),
    _integer("observed_at"),
    _text("closed_as", server_default=text("''")),
    _time("closed_at"),
    **PLAIN,
)
Index(
    "quarantine_open",
    quarantine.c.flow_id,
    quarantine.c.reason,
    quarantine.c.field,
    quarantine.c.observed_at,
    sqlite_where=OPEN,
)

gap = Table(
    "gap",
    metadata,
    _integer("flow_id", ForeignKey("flow.flow_id")),
    _integer("number"),
    _text("kind"),
    _text("text"),
    _text("details"),
    _integer("opened_at"),
    _time("closed_at"),
    PrimaryKeyConstraint("flow_id", "number"),
    **PLAIN,
)

tally = Table(
    "tally",
    metadata,
    _integer("flow_id"),
    _text("state"),
    _integer("messages"),
    _integer("records"),
    PrimaryKeyConstraint("flow_id", "state"),
    **CLUSTERED,
)

activity = Table(
    "activity",
    metadata,
    _integer("flow_id"),
    _integer("hour"),  # since 1970, UTC
    _count("captured"),
    _count("unchanged"),
    _count("messages"),
    _count("records"),
    _count("stored"),
    _count("refused"),
    _count("quarantined"),
    PrimaryKeyConstraint("flow_id", "hour"),
    **CLUSTERED,
)

action = Table(
    "action",
    metadata,
    _integer("action_id", primary_key=True),
    _integer("at"),
    _text("user"),
    _text("action"),
    _text("subject"),
    _text("why"),
    **PLAIN,
)

_COUNT_NEW = (
    "INSERT INTO tally (flow_id, state, messages, records) VALUES (new.flow_id, new.state, 1, new.records) "
    "ON CONFLICT (flow_id, state) DO UPDATE SET messages = messages + 1, records = records + excluded.records"
)
_UNCOUNT_OLD = (
    "UPDATE tally SET messages = messages - 1, records = records - old.records WHERE flow_id = old.flow_id AND state = old.state"
)

TRIGGERS = {
    "message_added": f"AFTER INSERT ON message BEGIN {_COUNT_NEW}; END",
    "message_moved": (f"AFTER UPDATE OF state ON message WHEN old.state <> new.state BEGIN {_UNCOUNT_OLD}; {_COUNT_NEW}; END"),
    "message_forgotten": f"AFTER DELETE ON message BEGIN {_UNCOUNT_OLD}; END",
    "item_added": (
        "AFTER INSERT ON quarantine WHEN new.closed_as = '' "
        "BEGIN UPDATE flow SET open_items = open_items + 1 WHERE flow_id = new.flow_id; END"
    ),
    "item_closed": (
        "AFTER UPDATE OF closed_as ON quarantine WHEN old.closed_as = '' AND new.closed_as <> '' "
        "BEGIN UPDATE flow SET open_items = open_items - 1 WHERE flow_id = new.flow_id; END"
    ),
}

for _name, _body in TRIGGERS.items():
    _trigger = DDL(f"CREATE TRIGGER {_name} {_body}")  # type: ignore[no-untyped-call]
    event.listen(metadata, "after_create", _trigger.execute_if(dialect="sqlite"))
