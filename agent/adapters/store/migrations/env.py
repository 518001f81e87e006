"""Alembic runs this with the connection that `schema.migrate` opened; the transaction is the caller's."""

from __future__ import annotations

from alembic import context

from agent.adapters.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
