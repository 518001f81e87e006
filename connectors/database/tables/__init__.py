"""What is read of a table: its columns, the statements that page through it, its rows."""
