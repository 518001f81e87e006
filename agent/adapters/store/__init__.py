"""The durable store of the agent: the source position and the outbox in one SQLite database."""

from agent.adapters.store.sqlite import SqliteStore

__all__ = ["SqliteStore"]
