"""The hub's store: SQLite or PostgreSQL behind one set of ports."""
