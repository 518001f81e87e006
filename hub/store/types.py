"""Column types that mean the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, LargeBinary, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC. SQLite has no such type: there it is text of one width, so that it compares as time does."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Python to database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone")
        return utc_text(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Database to Python."""
        if value is None:
            return None
        at: datetime = datetime.fromisoformat(value) if dialect.name == "sqlite" else value
        return at.astimezone(UTC)


def utc_text(at: datetime) -> str:
    """Return `2026-01-02T03:04:05.000006+00:00`, always of this width."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


class RecordId(TypeDecorator[str]):
    """A record id: 32 lower hex digits in Python, 16 octets in the database."""

    impl = LargeBinary(16)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(LargeBinary(16))
        return dialect.type_descriptor(postgresql.UUID(as_uuid=False))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Python to database."""
        return bytes.fromhex(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Database to Python."""
        if value is None:
            return None
        return value.hex() if dialect.name == "sqlite" else str(value).replace("-", "")


class JsonText(TypeDecorator[str]):
    """JSON kept as the text it came as: `json` on PostgreSQL (never `jsonb`, which would rewrite it), TEXT on SQLite."""

    impl = Text()
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else _PgJsonText())


class _PgJsonText(postgresql.JSON):
    """`json` without the conversions to and from Python objects."""

    def bind_processor(self, dialect: Dialect) -> None:  # noqa: ARG002 - SQLAlchemy's signature
        """Send text."""
        return

    def result_processor(self, dialect: Dialect, coltype: object) -> None:  # noqa: ARG002 - as above
        """Receive text; the connection is told to load it so."""
        return
