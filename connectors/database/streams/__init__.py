"""Ways to follow the changes of a table, one module for each mode; `stream` says what they have in common."""
