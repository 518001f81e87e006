"""The first schema."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None

CLUSTERED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}
PLAIN: dict[str, Any] = {"sqlite_strict": True}

COUNT_NEW: Final = (
    "INSERT INTO tally (flow_id, state, messages, records) VALUES (new.flow_id, new.state, 1, new.records) "
    "ON CONFLICT (flow_id, state) DO UPDATE SET messages = messages + 1, records = records + excluded.records"
)
UNCOUNT_OLD: Final = (
    "UPDATE tally SET messages = messages - 1, records = records - old.records WHERE flow_id = old.flow_id AND state = old.state"
)
TRIGGERS: Final = {
    "message_added": f"AFTER INSERT ON message BEGIN {COUNT_NEW}; END",
    "message_moved": (f"AFTER UPDATE OF state ON message WHEN old.state <> new.state BEGIN {UNCOUNT_OLD}; {COUNT_NEW}; END"),
    "message_forgotten": f"AFTER DELETE ON message BEGIN {UNCOUNT_OLD}; END",
    "item_added": (
        "AFTER INSERT ON quarantine WHEN new.closed_as = '' "
        "BEGIN UPDATE flow SET open_items = open_items + 1 WHERE flow_id = new.flow_id; END"
    ),
    "item_closed": (
        "AFTER UPDATE OF closed_as ON quarantine WHEN old.closed_as = '' AND new.closed_as <> '' "
        "BEGIN UPDATE flow SET open_items = open_items - 1 WHERE flow_id = new.flow_id; END"
    ),
}


def upgrade() -> None:
    """Create everything."""
    _flows()
    _messages()
    _receipts()
    _findings()
    _counts()
    for name, body in TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {body}")
    op.execute("INSERT INTO meta (name, value) VALUES ('schema_floor', '1')")


def _integer(name: str, *args: Any, default: str | None = None, nullable: bool = False, **options: Any) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, *args, nullable=nullable, server_default=_default(default), **options)


def _text(name: str, *, default: str | None = None, nullable: bool = False, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable, server_default=_default(default), **options)


def _blob(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False)


def _default(value: str | None) -> sa.TextClause | None:
    return None if value is None else sa.text(value)


def _flows() -> None:
    op.create_table("meta", _text("name", primary_key=True), _text("value"), **CLUSTERED)
    op.create_table(
        "flow",
        _integer("flow_id", primary_key=True),
        _text("name", unique=True),
        _text("epoch"),
        _text("previous_epoch", default="''"),
        _integer("announced", default="0"),
        _text("incarnation", default="''"),
        _text("position", default="''"),
        _integer("next_sequence", default="1"),
        _integer("next_ordinal", default="1"),
        _text("paused", default="''"),
        _integer("loaded", default="0"),
        _integer("rewrap", default="0"),
        _integer("open_items", default="0"),
        _integer("begun_after", default="0"),
        _integer("chunk_base", default="0"),
        **PLAIN,
    )
    op.create_table(
        "memory",
        _integer("flow_id", sa.ForeignKey("flow.flow_id")),
        _text("name"),
        _text("value"),
        sa.PrimaryKeyConstraint("flow_id", "name"),
        **CLUSTERED,
    )
    op.create_table(
        "ledger",
        _integer("flow_id"),
        _text("key"),
        _blob("hash"),
        _integer("ordinal"),
        _integer("sequence"),
        _integer("entry_id"),
        _integer("deleted"),
        _integer("chunk", nullable=True),
        sa.PrimaryKeyConstraint("flow_id", "key"),
        **CLUSTERED,
    )
    _index("ledger_chunk", "ledger", "flow_id", "chunk", where="chunk IS NOT NULL")


def _messages() -> None:
    op.create_table(
        "message",
        _integer("entry_id", primary_key=True),
        _integer("flow_id", sa.ForeignKey("flow.flow_id")),
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
        _text("code", default="''"),
        _text("closed_as", default="''"),
        _text("superseded_by", default="''"),
        _integer("attempts", default="0"),
        _integer("created_at"),
        _integer("confirmed_at", nullable=True),
        _integer("settled_at", nullable=True),
        _integer("purged_at", nullable=True),
        **PLAIN,
    )
    _index("message_sequence", "message", "flow_id", "epoch", "sequence", where="sequence > 0", unique=True)
    _index("message_pending", "message", "flow_id", "entry_id", where="state = 'pending'")
    _index("message_confirmed", "message", "flow_id", "confirmed_at", "entry_id", where="state = 'confirmed'")
    purgeable = "state IN ('stored', 'partly_stored') AND purged_at IS NULL"
    _index("message_purgeable", "message", "settled_at", where=purgeable)
    _index("message_dead", "message", "flow_id", "code", "settled_at", where="state = 'dead' AND closed_as = ''")
    _index("message_ended", "message", "state", "entry_id", where="state = 'dead' OR state = 'partly_stored'")
    op.create_index("message_created", "message", ["created_at"])
    op.create_table(
        "content",
        _integer("entry_id", sa.ForeignKey("message.entry_id"), primary_key=True),
        _blob("body"),
        _text("jws"),
        **PLAIN,
    )


def _receipts() -> None:
    op.create_table(
        "receipt",
        _integer("entry_id", sa.ForeignKey("message.entry_id")),
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
        sa.PrimaryKeyConstraint("entry_id", "stage"),
        **PLAIN,
    )
    op.create_table(
        "refused",
        _integer("refused_id", primary_key=True),
        _integer("entry_id", sa.ForeignKey("message.entry_id")),
        _integer("flow_id", sa.ForeignKey("flow.flow_id")),
        _text("record"),
        _text("field"),
        _text("code"),
        _text("message"),
        _integer("refused_at"),
        _text("closed_as", default="''"),
        _integer("closed_at", nullable=True),
        **PLAIN,
    )
    op.create_index("ix_refused_entry_id", "refused", ["entry_id"])
    op.create_index("ix_refused_record", "refused", ["record"])
    _index("refused_open", "refused", "flow_id", "code", "field", "refused_at", where="closed_as = ''")


def _findings() -> None:
    op.create_table(
        "quarantine",
        _integer("number", primary_key=True),
        _text("item_id", unique=True),
        _integer("flow_id", sa.ForeignKey("flow.flow_id")),
        _text("entity"),
        _text("token"),
        _text("key", nullable=True),
        _blob("raw"),
        _text("reason"),
        _text("code"),
        _text("field"),
        _text("text"),
        _text("details"),
        _integer("observed_at"),
        _text("closed_as", default="''"),
        _integer("closed_at", nullable=True),
        **PLAIN,
    )
    _index("quarantine_open", "quarantine", "flow_id", "reason", "field", "observed_at", where="closed_as = ''")
    op.create_table(
        "gap",
        _integer("flow_id", sa.ForeignKey("flow.flow_id")),
        _integer("number"),
        _text("kind"),
        _text("text"),
        _text("details"),
        _integer("opened_at"),
        _integer("closed_at", nullable=True),
        sa.PrimaryKeyConstraint("flow_id", "number"),
        **PLAIN,
    )


def _counts() -> None:
    op.create_table(
        "tally",
        _integer("flow_id"),
        _text("state"),
        _integer("messages"),
        _integer("records"),
        sa.PrimaryKeyConstraint("flow_id", "state"),
        **CLUSTERED,
    )
    counters = ("captured", "unchanged", "messages", "records", "stored", "refused", "quarantined")
    op.create_table(
        "activity",
        _integer("flow_id"),
        _integer("hour"),
        *[_integer(name, default="0") for name in counters],
        sa.PrimaryKeyConstraint("flow_id", "hour"),
        **CLUSTERED,
    )
    op.create_table(
        "action",
        _integer("action_id", primary_key=True),
        _integer("at"),
        _text("user"),
        _text("action"),
        _text("subject"),
        _text("why"),
        **PLAIN,
    )


def _index(name: str, table: str, *columns: str, where: str, unique: bool = False) -> None:
    op.create_index(name, table, list(columns), unique=unique, sqlite_where=sa.text(where))
