"""Alembic migrations of the hub's store. They only ever add: a release works on the schema of its successor."""
