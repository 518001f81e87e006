"""The first schema of the exchange node."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

from hub.store.types import JsonText, RecordId, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")

CURRENT_VALUE = """
CREATE VIEW current_value AS
SELECT f.sender, f.flow, r.key, r.deleted, r.data, r.at, r.record_id, r.corrects, e.epoch, r.epoch_ordinal, r.sequence, r.position
FROM (
    SELECT record.*, row_number() OVER (
        PARTITION BY flow_id, key ORDER BY epoch_ordinal DESC, sequence DESC, position DESC
    ) AS age
    FROM record
) AS r
JOIN flow AS f ON f.id = r.flow_id
JOIN epoch AS e ON e.flow_id = r.flow_id AND e.ordinal = r.epoch_ordinal
WHERE r.age = 1
"""


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _big(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _time(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, UtcDateTime, nullable=nullable)


def _octets(name: str, *, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=nullable)


def upgrade() -> None:
    """Create everything."""
    _who()
    _flows()
    _messages()
    _records()
    _post_and_audit()
    _work()
    op.execute(CURRENT_VALUE)
    if op.get_bind().dialect.name == "postgresql":
        # Bodies are compressed before they are signed; trying again would only cost time.
        op.execute("ALTER TABLE message ALTER COLUMN body SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE quarantine ALTER COLUMN raw SET STORAGE EXTERNAL")


def _who() -> None:
    op.create_table(
        "department",
        sa.Column("code", sa.Text, primary_key=True),
        _text("title"),
        _text("contact"),
        _text("state"),
        _time("admitted_at"),
    )
    op.create_table(
        "audit_head",
        sa.Column("department", sa.Text, sa.ForeignKey("department.code"), primary_key=True),
        _big("sequence"),
        _octets("hash"),
    )
    op.create_table(
        "public_key",
        sa.Column("kid", sa.Text, primary_key=True),
        _text("owner"),
        _text("alg"),
        _octets("spki"),
        _text("state"),
        _time("added_at"),
        _time("changed_at"),
    )


def _flows() -> None:
    op.create_table(
        "flow",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sender", sa.Text, sa.ForeignKey("department.code"), nullable=False),
        _text("flow"),
        _big("messages"),
        _big("records"),
        _big("duplicates"),
        _big("repeats"),
        _time("opened_at"),
        _time("stored_at", nullable=True),
        sa.UniqueConstraint("sender", "flow"),
    )
    op.create_table(
        "epoch",
        sa.Column("flow_id", sa.Integer, sa.ForeignKey("flow.id"), primary_key=True),
        sa.Column("ordinal", sa.Integer, primary_key=True),
        _text("epoch"),
        _text("previous"),
        _big("high_water"),
        _text("ahead"),
        _text("frozen"),
        _time("opened_at"),
        sa.UniqueConstraint("flow_id", "epoch"),
    )


def _messages() -> None:
    op.create_table(
        "message",
        sa.Column("sender", sa.Text, primary_key=True),
        sa.Column("message_id", sa.Text, primary_key=True),
        sa.Column("flow_id", sa.Integer, sa.ForeignKey("flow.id")),
        sa.Column("epoch_ordinal", sa.Integer),
        sa.Column("sequence", sa.BigInteger),
        _text("kind"),
        _text("type"),
        _text("subject"),
        _text("dataschema"),
        _text("digest_alg"),
        _octets("digest"),
        _text("outcome"),
        _text("code"),
        _text("encoding"),
        _octets("body", nullable=True),
        _text("jws"),
        _text("kid"),
        sa.Column("records", sa.Integer, nullable=False),
        sa.Column("stored", sa.Integer, nullable=False),
        sa.Column("duplicates", sa.Integer, nullable=False),
        _time("received_at"),
        _time("committed_at"),
        sa.UniqueConstraint("flow_id", "epoch_ordinal", "sequence"),
    )
    op.create_index("ix_message_committed_at", "message", ["committed_at"])


def _records() -> None:
    op.create_table(
        "record",
        sa.Column("flow_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("record_id", RecordId, primary_key=True),
        sa.Column("epoch_ordinal", sa.Integer, nullable=False),
        _big("sequence"),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        _text("key"),
        sa.Column("data", JsonText),
        sa.Column("at", sa.Text),
        sa.Column("corrects", RecordId),
    )


def _post_and_audit() -> None:
    op.create_table(
        "receipt",
        sa.Column("id", SERIAL, primary_key=True),
        _text("department"),
        _text("about"),
        _text("kind"),
        _text("message_id"),
        _text("type"),
        _text("encoding"),
        _octets("body"),
        _text("jws"),
        _time("created_at"),
        _time("published_at", nullable=True),
    )
    op.create_index("ix_receipt_about", "receipt", ["department", "about"])
    op.create_index("ix_receipt_latest", "receipt", ["department", "id"])
    unpublished = sa.text("published_at IS NULL")
    op.create_index("ix_receipt_due", "receipt", ["department", "id"], postgresql_where=unpublished, sqlite_where=unpublished)
    op.create_table(
        "audit",
        sa.Column("department", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        _octets("previous"),
        _octets("hash"),
        _text("entry"),
        _time("at"),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", SERIAL, primary_key=True),
        _text("department"),
        _text("exchange"),
        _text("user_id"),
        _text("claimed_sender"),
        _text("message_id"),
        _text("outcome"),
        _text("code"),
        _text("text"),
        _octets("digest"),
        _text("encoding"),
        _text("headers"),
        _octets("raw", nullable=True),
        _big("size_bytes"),
        sa.Column("times", sa.Integer, nullable=False),
        _time("first_at"),
        _time("last_at"),
        sa.UniqueConstraint("department", "message_id", "digest", "code"),
    )
    op.create_index("ix_quarantine_last_at", "quarantine", ["last_at"])
    kept = sa.text("raw IS NOT NULL")
    op.create_index("ix_quarantine_share", "quarantine", ["department", "size_bytes"], postgresql_where=kept, sqlite_where=kept)


def _work() -> None:
    op.create_table("member", sa.Column("owner", sa.Text, primary_key=True), _time("until"))
    op.create_table(
        "lease",
        sa.Column("department", sa.Text, sa.ForeignKey("department.code"), primary_key=True),
        _text("owner"),
        _time("until"),
        _big("fence"),
    )


def downgrade() -> None:
    """Never: a rollback swaps programs, not the store."""
    raise RuntimeError("a rollback swaps programs, not the store")
