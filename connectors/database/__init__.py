"""Tables of SQLite, PostgreSQL, MySQL and MariaDB as a source: first load, then polling by key and cursor."""
