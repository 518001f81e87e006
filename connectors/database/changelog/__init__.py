"""Change logs: tables that triggers of the source fill, one for each flow. What the DBA creates for them."""
