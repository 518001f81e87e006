"""The tables of the exchange node, one definition for PostgreSQL and SQLite.

Alembic brings a database here (migrations/); a test compares the two. Records are insert-only: what a key is worth now is
the view `current_value`, ordered by (epoch ordinal, sequence, position) and never by time.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from hub.store.types import JsonText, RecordId, UtcDateTime

metadata = MetaData()

# SQLite numbers rows only in a column that is exactly INTEGER PRIMARY KEY.
Serial = BigInteger().with_variant(Integer, "sqlite")

department = Table(
    "department",
    metadata,
    Column("code", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("contact", Text, nullable=False),
    Column("state", Text, nullable=False),  # admitted | suspended
    Column("admitted_at", UtcDateTime, nullable=False),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("department", Text, ForeignKey("department.code"), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

public_key = Table(
    "public_key",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("alg", Text, nullable=False),
    Column("spki", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),  # active | retiring | revoked
    Column("added_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)

flow = Table(
    "flow",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sender", Text, ForeignKey("department.code"), nullable=False),
    Column("flow", Text, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),  # records that were stored already
    Column("repeats", BigInteger, nullable=False),  # messages that came again
    Column("opened_at", UtcDateTime, nullable=False),
    Column("stored_at", UtcDateTime),
    UniqueConstraint("sender", "flow"),
)

epoch = Table(
    "epoch",
    metadata,
    Column("flow_id", Integer, ForeignKey("flow.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("epoch", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("high_water", BigInteger, nullable=False),
    Column("ahead", Text, nullable=False),  # closed beyond the high water: 5-9,12
    Column("frozen", Text, nullable=False),  # why nothing more is taken, empty when it is
    Column("opened_at", UtcDateTime, nullable=False),
    UniqueConstraint("flow_id", "epoch"),
)

message = Table(
    "message",
    metadata,
    Column("sender", Text, primary_key=True),
    Column("message_id", Text, primary_key=True),
    Column("flow_id", Integer, ForeignKey("flow.id")),
    Column("epoch_ordinal", Integer),
    Column("sequence", BigInteger),  # NULL for control messages, which take none
    Column("kind", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("dataschema", Text, nullable=False),
    Column("digest_alg", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("encoding", Text, nullable=False),
    Column("body", LargeBinary),  # NULL once purged by age
    Column("jws", Text, nullable=False),
    Column("kid", Text, nullable=False),
    Column("records", Integer, nullable=False),
    Column("stored", Integer, nullable=False),
    Column("duplicates", Integer, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("committed_at", UtcDateTime, nullable=False),
    UniqueConstraint("flow_id", "epoch_ordinal", "sequence"),
    Index("ix_message_committed_at", "committed_at"),
)

record = Table(
    "record",
    metadata,
    Column("flow_id", Integer, primary_key=True, autoincrement=False),
    Column("record_id", RecordId, primary_key=True),
    Column("epoch_ordinal", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),  # in the message, from 0
    Column("deleted", Boolean, nullable=False),
    Column("key", Text, nullable=False),  # JSON text exactly as received
    Column("data", JsonText),  # exactly as received; NULL for a delete without data
    Column("at", Text),  # time at the source, as it said
    Column("corrects", RecordId),
)

receipt = Table(
    "receipt",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("department", Text, nullable=False),  # whose queue it goes to
    Column("about", Text, nullable=False),  # message id it speaks of
    Column("kind", Text, nullable=False),  # receipt | refusal | answer
    Column("message_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("encoding", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("jws", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("published_at", UtcDateTime),
    Index("ix_receipt_about", "department", "about"),
    Index("ix_receipt_latest", "department", "id"),
)
receipt_due = Index(
    "ix_receipt_due",
    receipt.c.department,
    receipt.c.id,
    postgresql_where=text("published_at IS NULL"),
    sqlite_where=text("published_at IS NULL"),
)

audit = Table(
    "audit",
    metadata,
    Column("department", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("previous", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("entry", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("department", Text, nullable=False),  # owner of the exchange it came through
    Column("exchange", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("claimed_sender", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("encoding", Text, nullable=False),
    Column("headers", Text, nullable=False),  # JSON
    Column("raw", LargeBinary),  # NULL where the department's share is used up, or purged by age
    Column("size_bytes", BigInteger, nullable=False),
    Column("times", Integer, nullable=False),  # the same octets refused for the same reason
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    UniqueConstraint("department", "message_id", "digest", "code"),
    Index("ix_quarantine_last_at", "last_at"),
)

member = Table(
    "member",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("until", UtcDateTime, nullable=False),
)

quarantine_share = Index(
    "ix_quarantine_share",
    quarantine.c.department,
    quarantine.c.size_bytes,
    postgresql_where=text("raw IS NOT NULL"),
    sqlite_where=text("raw IS NOT NULL"),
)

lease = Table(
    "lease",
    metadata,
    Column("department", Text, ForeignKey("department.code"), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("until", UtcDateTime, nullable=False),
    Column("fence", BigInteger, nullable=False),
)
